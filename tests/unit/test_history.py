"""History and event positions over entries, without DynamoDB."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain import history
from chalicelib.domain.entries import Entry, make_entry
from chalicelib.domain.events import LARGEST_AMOUNT
from chalicelib.domain.history import RESOLUTIONS, EventPosition, Point, Span, make_position
from testkit.builders import an_adjustment, an_event

steps = st.sampled_from(sorted(RESOLUTIONS.values()))
entries = st.builds(
    Entry,
    st.integers(0, 200_000_000),
    st.binary(min_size=16, max_size=16),
    st.integers(-1000, 1000).filter(bool) | st.sampled_from([LARGEST_AMOUNT, -LARGEST_AMOUNT]),
)
spans = st.builds(
    lambda first, length, step_s: Span(first, first + length, step_s), *[st.integers(0, 200_000)] * 2, steps
)


@given(st.lists(entries), spans)
def test_points_add_up_to_the_entries_within_the_span(held, span):
    within = [entry for entry in held if span.first * 1000 <= entry.recorded_at_ms < span.end * 1000]

    points = history.add_up_steps(held, span)

    assert sum(point.total for point in points) == sum(entry.amount for entry in within)
    assert sum(point.events for point in points) == len(within)
    assert [point.start for point in points] == sorted(
        {entry.recorded_at_ms // 1000 // span.step_s * span.step_s for entry in within}
    )
    assert len(points) <= span.steps


@given(st.lists(entries))
def test_coarser_points_are_sums_of_finer_points(held):
    for finer, coarser in ((1, 60), (60, 3600), (3600, 86_400)):
        found = history.add_up_steps(held, Span(0, 10**6, coarser))
        parts = history.add_up_steps(held, Span(0, 10**6, finer))

        for point in found:
            of_this = [part for part in parts if point.start <= part.start < point.start + coarser]
            assert point.events == sum(part.events for part in of_this)
            assert point.total == sum(part.total for part in of_this)


def test_a_point_whose_amounts_cancel_out_is_not_empty():
    held = [make_entry(an_event(by=5, recorded_at_ms=61_000)), make_entry(an_adjustment(by=-5, recorded_at_ms=119_999))]

    assert history.add_up_steps(held, Span(0, 120, 60)) == [Point(60, 2, 0)]


def test_a_span_includes_its_start_and_excludes_its_end():
    held = [make_entry(an_event(recorded_at_ms=ms)) for ms in (59_999, 60_000, 119_999, 120_000)]

    assert history.add_up_steps(held, Span(60, 120, 1)) == [Point(60, 1, 1), Point(119, 1, 1)]


@pytest.mark.parametrize(
    ("first", "end", "touched"),
    [(0, 60, 1), (0, 61, 2), (59, 60, 1), (59, 61, 2), (60, 120, 1), (61, 119, 1), (60, 60, 0), (120, 60, 0)],
)
def test_span_touches_each_step_that_shares_a_second_with_it(first, end, touched):
    assert Span(first, end, 60).steps == touched


@given(st.integers(0, 10**7), spans)
def test_an_acceptable_end_needs_no_later_page(reached_ms, span):
    """Everything before the end was read, except that the first second of the span is always accepted."""
    end = history.acceptable_end(reached_ms, span)

    assert end * 1000 <= reached_ms or end == span.first + 1
    assert end > span.first


@pytest.mark.parametrize(("step_s", "end"), [(1, 1_555), (60, 1_500), (600, 1_200), (3_600, 1_555)])
def test_an_acceptable_end_is_at_a_step_if_one_was_read(step_s, end):
    assert history.acceptable_end(1_555_999, Span(1_000, 6_000, step_s)) == end


def test_positions_order_events_as_entries_are_ordered():
    """Otherwise, a cursor would skip events of one millisecond."""
    events = [
        an_event(recorded_at_ms=ms, event_id=f"{number:08x}-0000-7000-8000-{number * 7 % 5:012x}")
        for ms in (5, 6)
        for number in (0, 1, 9, 10, 15, 16, 255)
    ]

    assert sorted(events, key=make_position) == sorted(events, key=make_entry)
    assert make_position(events[0]) == EventPosition(5, events[0].event_id)
