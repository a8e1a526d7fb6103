"""
Define entries, the read model's records of counted events, and encode them as bytes.

Both encodings are stored formats, which never change. Tests compare them with golden bytes.

A recent entry is one element of a counter's set. It has 23 to 29 bytes:

    6 bytes   recorded time, ms since 1970, big-endian
    16 bytes  event id
    1 to 7    amount, zigzag, big-endian, without leading zeros

An archive page is the byte 0x01, followed by each entry in order of time and id:

    varint    ms since the previous entry; for the first, since 1970
    16 bytes  event id
    varint    amount, zigzag

"Zigzag" maps 0, -1, 1, -2, 2, ... to 0, 1, 2, 3, 4, ... A varint has 7 bits per byte, least significant first. The
highest bit is set in all bytes except the last (Protocol Buffers documentation, "Encoding").
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, NamedTuple

from chalicelib.domain.events import LARGEST_AMOUNT, LATEST_MS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chalicelib.domain.events import Event

_PAGE_FORMAT = 1
_TIME_BYTES = 6
_ID_BYTES = 16
_AMOUNT_AT = _TIME_BYTES + _ID_BYTES

#: No field of an entry has more than 54 bits. A longer varint is damaged, and decoding stops there.
_MAX_VARINT_BITS = 56


class DamagedError(ValueError):
    """The stored bytes are not a valid encoding. The message states the broken rule."""


class Entry(NamedTuple):
    """
    The id, time and amount of a counted event. Entries sort by time, then by id.

    An entry depends only on the event, so each delivery yields the same entry.
    """

    recorded_at_ms: int
    id: bytes
    amount: int

    @property
    def event_id(self) -> str:
        """The event's id in its canonical text form."""
        return id_text(self.id)


def make_entry(event: Event) -> Entry:
    """Return the event's entry."""
    return Entry(event.recorded_at_ms, id_bytes(event.event_id), event.by)


def id_bytes(event_id: str) -> bytes:
    """Return an event id as its 16 bytes."""
    return bytes.fromhex(event_id.replace("-", ""))


def id_text(stored: bytes) -> str:
    """Return the event id with these 16 bytes, in its canonical text form."""
    return str(uuid.UUID(bytes=stored))


def encode_entry(entry: Entry) -> bytes:
    """Encode a recent entry."""
    amount = _zigzag(entry.amount)
    return (
        entry.recorded_at_ms.to_bytes(_TIME_BYTES, "big")
        + entry.id
        + amount.to_bytes((amount.bit_length() + 7) // 8 or 1, "big")
    )


def decode_entry(stored: bytes) -> Entry:
    """
    Decode a recent entry.

    Raises:
        DamagedError: `encode_entry` never returns these bytes.
    """
    if not _AMOUNT_AT < len(stored) <= _AMOUNT_AT + 7:
        raise DamagedError(f"a recent entry must have 23 to 29 bytes, got {len(stored)}")
    if stored[_AMOUNT_AT] == 0:
        raise DamagedError("the amount of a recent entry must not have leading zeros")
    return _build_entry(
        int.from_bytes(stored[:_TIME_BYTES], "big"),
        stored[_TIME_BYTES:_AMOUNT_AT],
        _unzigzag(int.from_bytes(stored[_AMOUNT_AT:], "big")),
    )


def encode_page(entries: Iterable[Entry]) -> bytes:
    """Encode an archive page. The entries must be sorted."""
    page = bytearray([_PAGE_FORMAT])
    previous_ms = 0
    for recorded_at_ms, event_id, amount in entries:
        _append_varint(page, recorded_at_ms - previous_ms)
        page += event_id
        _append_varint(page, _zigzag(amount))
        previous_ms = recorded_at_ms
    return bytes(page)


def decode_page(stored: bytes) -> tuple[Entry, ...]:
    """
    Decode an archive page into its sorted entries.

    Raises:
        DamagedError: `encode_page` never returns these bytes.
    """
    if stored[:1] != bytes([_PAGE_FORMAT]):
        raise DamagedError(f"an archive page must begin with the byte {_PAGE_FORMAT}, got {stored[:1]!r}")
    entries: list[Entry] = []
    at, recorded_at_ms = 1, 0
    while at < len(stored):
        elapsed_ms, at = _read_varint(stored, at)
        recorded_at_ms += elapsed_ms
        event_id = stored[at : at + _ID_BYTES]
        amount, at = _read_varint(stored, at + _ID_BYTES)
        entry = _build_entry(recorded_at_ms, event_id, _unzigzag(amount))
        if entries and entries[-1] >= entry:
            raise DamagedError("the entries of an archive page must be sorted, and each must occur once")
        entries.append(entry)
    return tuple(entries)


def _build_entry(recorded_at_ms: int, event_id: bytes, amount: int) -> Entry:
    if recorded_at_ms > LATEST_MS:
        raise DamagedError(f"the time of an entry must be before the year 10000, got {recorded_at_ms}")
    if not 0 < abs(amount) <= LARGEST_AMOUNT:
        raise DamagedError(f"the amount of an entry must be from -(2**53 - 1) to 2**53 - 1 and not 0, got {amount}")
    return Entry(recorded_at_ms, event_id, amount)


def _zigzag(amount: int) -> int:
    return amount << 1 if amount >= 0 else (-amount << 1) - 1


def _unzigzag(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


def _append_varint(page: bytearray, number: int) -> None:
    while number > 0x7F:
        page.append(number & 0x7F | 0x80)
        number >>= 7
    page.append(number)


def _read_varint(stored: bytes, at: int) -> tuple[int, int]:
    """Return the number at this offset, and the offset after it."""
    number = shift = 0
    while at < len(stored) and shift < _MAX_VARINT_BITS:
        byte = stored[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                break  # a shorter form of the same number exists
            return number, at
        shift += 7
    raise DamagedError("an archive page must end with a whole entry, and its numbers must be in their shortest form")
