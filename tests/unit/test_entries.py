"""The encodings of entries: golden bytes, round trips, and the refusal of damaged data."""

import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.domain.entries import (
    DamagedError,
    Entry,
    decode_entry,
    decode_page,
    encode_entry,
    encode_page,
    id_bytes,
    id_text,
    make_entry,
)
from chalicelib.domain.events import LARGEST_AMOUNT, LATEST_MS
from testkit.builders import an_adjustment, an_event

ID = bytes(range(16))
A_TIME_MS = 1_700_000_000_123

amounts = st.integers(-LARGEST_AMOUNT, LARGEST_AMOUNT).filter(bool) | st.sampled_from([1, -1, 63, 64, -64, -65])
times = st.integers(0, LATEST_MS) | st.integers(A_TIME_MS, A_TIME_MS + 3)
entries = st.builds(Entry, times, st.binary(min_size=16, max_size=16), amounts)
pages = st.lists(entries, unique_by=lambda entry: entry[:2], max_size=30).map(lambda some: tuple(sorted(some)))


@pytest.mark.parametrize(
    ("amount", "amount_bytes"),
    [
        (1, "02"),
        (-1, "01"),
        (127, "fe"),
        (128, "0100"),
        (-300, "0257"),
        (LARGEST_AMOUNT, "3ffffffffffffe"),
        (-LARGEST_AMOUNT, "3ffffffffffffd"),
    ],
)
def test_a_recent_entry_has_its_golden_bytes(amount, amount_bytes):
    stored = bytes.fromhex("018bcfe5687b" + "000102030405060708090a0b0c0d0e0f" + amount_bytes)

    assert encode_entry(Entry(A_TIME_MS, ID, amount)) == stored
    assert decode_entry(stored) == Entry(A_TIME_MS, ID, amount)


def test_an_archive_page_has_its_golden_bytes():
    other = bytes(range(16, 32))
    page = (Entry(A_TIME_MS, ID, 1), Entry(A_TIME_MS, other, -300), Entry(A_TIME_MS + 300, ID, LARGEST_AMOUNT))
    stored = bytes.fromhex(
        "01"
        "fbd095ffbc31" + "000102030405060708090a0b0c0d0e0f" + "02"
        "00" + "101112131415161718191a1b1c1d1e1f" + "d704"
        "ac02" + "000102030405060708090a0b0c0d0e0f" + "feffffffffffff1f"
    )

    assert encode_page(page) == stored
    assert decode_page(stored) == page


def test_page_without_entries_has_only_its_format_byte():
    assert encode_page(()) == b"\x01"
    assert decode_page(b"\x01") == ()


@given(entries)
@example(Entry(0, bytes(16), 1))
@example(Entry(LATEST_MS, b"\xff" * 16, -LARGEST_AMOUNT))
def test_a_recent_entry_is_decoded_as_it_was(entry):
    stored = encode_entry(entry)

    assert decode_entry(stored) == entry
    assert 23 <= len(stored) <= 29


@given(pages)
def test_an_archive_page_is_decoded_as_it_was(page):
    assert decode_page(encode_page(page)) == page


@given(st.uuids().map(str))
def test_an_event_id_is_stored_in_16_bytes(event_id):
    assert len(id_bytes(event_id)) == 16
    assert id_text(id_bytes(event_id)) == event_id


@pytest.mark.parametrize("event", [an_event(by=7), an_adjustment(by=-7)])
def test_an_entry_has_the_time_id_and_amount_of_its_event(event):
    entry = make_entry(event)

    assert entry == Entry(event.recorded_at_ms, uuid.UUID(event.event_id).bytes, event.by)
    assert entry.event_id == event.event_id


def test_entries_are_ordered_by_time_then_id():
    first, second, third = Entry(1, b"\x02" * 16, 5), Entry(2, b"\x00" * 16, 9), Entry(2, b"\x01" * 16, 1)

    assert sorted([third, first, second]) == [first, second, third]


WHOLE = encode_entry(Entry(A_TIME_MS, ID, 1))
TIME = WHOLE[:6]


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (b"", "23 to 29 bytes"),
        (WHOLE[:-1], "23 to 29 bytes"),
        (WHOLE[:22] + b"\x01" * 8, "23 to 29 bytes"),
        (WHOLE[:22] + b"\x00", "leading zeros"),
        (WHOLE[:22] + b"\x00\x02", "leading zeros"),
        (WHOLE[:22] + b"\x40" + bytes(6), "2\\*\\*53 - 1"),
        (WHOLE[:22] + b"\x3f" + b"\xff" * 6, "2\\*\\*53 - 1"),
        ((LATEST_MS + 1).to_bytes(6, "big") + WHOLE[6:], "year 10000"),
        (b"\xff" * 6 + WHOLE[6:], "year 10000"),
    ],
)
def test_a_damaged_recent_entry_is_refused(stored, reason):
    with pytest.raises(DamagedError, match=reason):
        decode_entry(stored)


#: Handwritten pages: a varint for the time, an id, and a varint for the amount.
FIRST = b"\x05" + ID + b"\x02"


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (b"", "begin with the byte 1"),
        (b"\x00", "begin with the byte 1"),
        (b"\x02" + FIRST, "begin with the byte 1"),
        (FIRST, "begin with the byte 1"),
        (b"\x01\x80", "whole entry"),
        (b"\x01" + FIRST[:1], "whole entry"),
        (b"\x01" + FIRST[:9], "whole entry"),
        (b"\x01" + FIRST[:-1], "whole entry"),
        (b"\x01" + FIRST[:-1] + b"\x82", "whole entry"),
        (b"\x01" + FIRST + b"\x00", "whole entry"),
        (b"\x01" + FIRST[:-1] + b"\x82\x00", "shortest form"),
        (b"\x01\x85\x00" + FIRST[1:], "shortest form"),
        (b"\x01\x80\x00" + FIRST[1:], "shortest form"),
        (b"\x01" + b"\x80" * 100 + b"\x01" + FIRST[1:], "shortest form"),
        (b"\x01" + FIRST[:-1] + b"\xff" * 1000, "shortest form"),
        (b"\x01" + FIRST[:-1] + b"\x00", "not 0"),
        (b"\x01" + FIRST[:-1] + b"\xff" * 7 + b"\x7f", "2\\*\\*53 - 1"),
        (b"\x01" + b"\x80\xc0\x8f\xf8\x9e\xcf\x39" + FIRST[1:], "year 10000"),
        (b"\x01" + FIRST + b"\x00" + ID + b"\x02", "sorted, and each must"),
        (b"\x01\x05" + b"\x01" * 16 + b"\x02\x00" + ID + b"\x02", "sorted, and each must"),
    ],
)
def test_a_damaged_archive_page_is_refused(stored, reason):
    with pytest.raises(DamagedError, match=reason):
        decode_page(stored)


@given(pages.filter(bool), st.data())
def test_an_archive_page_cut_inside_an_entry_is_refused(page, data):
    stored = encode_page(page)
    whole = [len(encode_page(page[:number])) for number in range(len(page) + 1)]
    cut = data.draw(st.integers(0, len(stored)).filter(lambda length: length not in whole))

    with pytest.raises(DamagedError):
        decode_page(stored[:cut])


def test_page_can_contain_a_forged_copy_with_another_amount():
    """The copy is counted with its own amount, and `verify` reports it. It must not damage the page."""
    entries = (Entry(5, ID, 1), Entry(5, ID, 2))

    assert decode_page(encode_page(entries)) == entries


def near(stored: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Draw variants of stored bytes with up to two bytes changed, removed or added. Many variants can be decoded."""
    change = st.tuples(st.integers(0, 2**16), st.sampled_from(["change", "remove", "add"]), st.integers(0, 255))

    def changed(original: bytes, changes: list[tuple[int, str, int]]) -> bytes:
        made = bytearray(original)
        for place, kind, byte in changes:
            at = place % (len(made) + 1)
            made[at : at + (kind != "add")] = b"" if kind == "remove" else bytes([byte])
        return bytes(made)

    return st.builds(changed, stored, st.lists(change, max_size=2))


@given(near(entries.map(encode_entry)) | st.binary(min_size=20, max_size=30))
def test_recent_entry_has_only_one_encoding(stored):
    try:
        decoded = decode_entry(stored)
    except DamagedError:
        return
    assert encode_entry(decoded) == stored


@given(near(pages.map(encode_page)) | st.binary(max_size=80).map(lambda rest: b"\x01" + rest))
def test_archive_page_has_only_one_encoding(stored):
    try:
        decoded = decode_page(stored)
    except DamagedError:
        return
    assert encode_page(decoded) == stored
