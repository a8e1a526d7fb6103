"""Test the past state of a part, computed from its item and its archive pages, in both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain import past
from chalicelib.domain.archive import Page, PageMissingError
from chalicelib.domain.counter import NOTHING_ARCHIVED, Part, PartKey
from chalicelib.domain.entries import Entry
from chalicelib.domain.past import PastPart

#: Few times, so that many entries share a millisecond or are at the end of a page.
TIMES = st.integers(0, 30)


@st.composite
def parts(draw):
    """Draw a part and its pages. A page may be empty, and may end at a time without entries."""
    drawn = draw(st.lists(st.tuples(TIMES, st.integers(-5, 5).filter(bool)), max_size=40))
    entries = sorted(Entry(ms, number.to_bytes(16, "big"), amount) for number, (ms, amount) in enumerate(drawn))
    ends = sorted(draw(st.sets(TIMES, max_size=6)))
    pages = [
        Page(start, end, 1, tuple(entry for entry in entries if start < entry.recorded_at_ms <= end))
        for start, end in zip([NOTHING_ARCHIVED, *ends], ends, strict=False)
    ]
    until_ms = ends[-1] if ends else NOTHING_ARCHIVED
    recent = frozenset(entry for entry in entries if entry.recorded_at_ms > until_ms)
    total = sum(entry.amount for entry in entries)
    return Part(PartKey("clicks"), total, len(entries), recent, until_ms, revision=1), pages, entries


def read_pages(part, pages, choose_way):
    """Read pages in the way that `choose_way` returns, until the state is known. Return the number read in each way."""
    subtracted = added = 0
    while not part.is_known:
        if choose_way():
            subtracted += 1
            part.subtract(pages[-subtracted])
        else:
            part.add(pages[added])
            added += 1
    return subtracted, added


def fold(entries, at_ms):
    """Return the value and version as of `at_ms`."""
    amounts = [entry.amount for entry in entries if entry.recorded_at_ms <= at_ms]
    return sum(amounts), len(amounts)


@given(parts(), st.integers(-1, 31), st.data())
def test_past_state_is_the_fold_of_its_events_in_both_ways(drawn, at_ms, data):
    stored, pages, entries = drawn
    part = PastPart(stored, at_ms)

    read_pages(part, pages, lambda: data.draw(st.booleans()))

    assert (part.totals.value, part.totals.version) == fold(entries, at_ms)


@given(parts(), st.integers(-1, 31))
def test_alternating_ways_read_at_most_twice_the_shorter_way(drawn, at_ms):
    stored, pages, _ = drawn
    lengths = [sum(read_pages(PastPart(stored, at_ms), pages, lambda way=way: way)) for way in (True, False)]
    turns = iter([True, False] * len(pages))

    read = sum(read_pages(PastPart(stored, at_ms), pages, lambda: next(turns)))

    assert read <= 2 * min(lengths)
    assert min(lengths) > 0 or read == 0


@given(parts(), st.data())
def test_accepted_times_need_no_additional_pages(drawn, data):
    stored, pages, entries = drawn
    count = data.draw(st.integers(0, len(pages) // 2))
    part = PastPart(stored, 15)
    for number in range(count):
        if not part.is_known:
            part.subtract(pages[-1 - number])
        if not part.is_known:
            part.add(pages[number])
    earliest_ms, latest_ms = past.acceptable_times([part])

    for at_ms in (earliest_ms, latest_ms):
        again = PastPart(stored, at_ms)
        subtracted, added = read_pages(again, pages, iter([True, False] * len(pages)).__next__)
        assert max(subtracted, added) <= count
        assert (again.totals.value, again.totals.version) == fold(entries, at_ms)


def test_a_page_out_of_place_is_refused():
    entry = Entry(5, bytes(16), 1)
    pages = [Page(NOTHING_ARCHIVED, 3, 1, ()), Page(3, 7, 1, (entry,))]
    part = PastPart(Part(PartKey("clicks"), 1, 1, archived_until_ms=7, revision=1), 4)

    with pytest.raises(PageMissingError, match="the time 7"):
        part.subtract(pages[0])
    with pytest.raises(PageMissingError, match="the time 0"):
        part.add(pages[1])


@pytest.mark.parametrize(("amended", "revision", "may_be_torn"), [(0, 1, False), (1, 1, True), (0, 2, True)])
def test_a_subtracted_page_may_be_torn_only_after_late_events(amended, revision, may_be_torn):
    part = PastPart(Part(PartKey("clicks"), archived_until_ms=7, amended=amended, revision=1), 4)

    assert not part.may_be_torn
    part.subtract(Page(3, 7, revision, ()))

    assert part.may_be_torn == may_be_torn
