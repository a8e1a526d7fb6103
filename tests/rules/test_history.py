"""History and pages of events, from buckets that are counted meanwhile: the laws, without AWS."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib import counting
from chalicelib.domain.history import EventPosition, Point, RESOLUTIONS, Span
from chalicelib.counting import Bucket, BucketKey, Tally  # FIX
from tests.building import an_adjustment, an_event

AN_HOUR = 3600

increments = st.builds(an_event, by=st.integers(1, 1000), recorded_at_ms=st.integers(0, 200_000_000))
adjustments = st.builds(an_adjustment, by=st.integers(-1000, -1), recorded_at_ms=st.integers(0, 200_000_000))
#: Many in few seconds, many in one millisecond.
crowded = st.builds(an_event, event_id=st.uuids().map(str), recorded_at_ms=st.integers(0, 30).map(lambda n: n * 250))


def tallies_of(events, shards=1):
    by_key = defaultdict(list)
    for event in events:
        by_key[counting.bucket_of(event, shards)].append(event)
    return [Tally(key.second, len(held), sum(event.amount for event in held)) for key, held in by_key.items()]


@given(st.lists(increments | adjustments), st.sampled_from(sorted(RESOLUTIONS.values())), st.integers(1, 4))
def test_points_add_up_to_the_events_whatever_the_resolution(events, step_s, shards):
    points = counting.points(tallies_of(events, shards), step_s)

    assert sum(point.total for point in points) == sum(event.amount for event in events)
    assert sum(point.events for point in points) == len(events)
    assert [point.start for point in points] == sorted({e.recorded_at_ms // 1000 // step_s * step_s for e in events})


@given(st.lists(increments | adjustments), st.integers(1, 4))
def test_coarser_points_are_sums_of_finer_ones(events, shards):
    tallies = tallies_of(events, shards)
    for finer, coarser in ((1, 60), (60, 3600), (3600, 86_400)):
        again = [Tally(point.start, point.events, point.total) for point in counting.points(tallies, finer)]

        assert counting.points(again, coarser) == counting.points(tallies, coarser)


def test_a_point_whose_events_cancel_each_other_is_there():
    events = [an_event(by=5, recorded_at_ms=61_000), an_adjustment(by=-5, recorded_at_ms=119_999)]

    assert counting.points(tallies_of(events), 60) == [Point(60, 2, 0)]


@pytest.mark.parametrize(
    ("first", "end", "steps"),
    [(0, 60, 1), (0, 61, 2), (59, 60, 1), (59, 61, 2), (60, 120, 1), (61, 119, 1), (60, 60, 0)],
)
def test_a_span_touches_each_step_that_it_has_a_second_of(first, end, steps):
    assert Span(first, end, 60).steps == steps


@given(
    st.lists(st.tuples(st.integers(1000, 5000), st.integers(1, 900)), min_size=1),
    st.integers(1001, 5000),
    st.integers(1000, 20_000),
    st.sampled_from([1, 60, 3600]),
)
def test_an_end_that_fits_leaves_no_more_than_fits_and_at_least_a_second(read, reached, most, step_s):
    span = Span(1000, 6000, step_s)

    end = counting.end_that_fits(read, reached, most, span)

    assert span.first < end <= reached
    assert sum(size for second, size in read if second < end) <= most or end == span.first + 1


def test_an_end_that_fits_is_where_a_step_starts_if_there_is_one():
    read = [(second, 10) for second in range(1000, 2000)]

    assert counting.end_that_fits(read, 2000, 5000, Span(1000, 6000, 60)) == 1500
    assert counting.end_that_fits(read, 2000, 5050, Span(1000, 6000, 60)) == 1500
    assert counting.end_that_fits(read, 2000, 5050, Span(1000, 6000, 3600)) == 1505


class Counted:
    """A log and its buckets, as the two functions that make a page see them."""

    def __init__(self, events, shards):
        self.shards = shards
        self.log = {}
        self.buckets = defaultdict(set)
        self.count(events)

    def count(self, events):
        """Those that are new."""
        new = list({event.event_id: event for event in events if event.event_id not in self.log}.values())
        for event in new:
            self.log[event.event_id] = event
            self.buckets[counting.bucket_of(event, self.shards)].add(event.event_id)
        return new

    def pages(self, limit):
        """Each page, as long as there is a next one; of pages with progress there are no more than events."""
        before = None
        for _ in range(1000):
            page = self.page(limit, before)
            yield page
            before = page.last
            if before is None:
                return
        raise AssertionError("the pages do not end")

    def page(self, limit, before):
        newest = sorted(self.buckets.items(), key=lambda item: -item[0].second)
        back = [Bucket(key, frozenset(ids), 0) for key, ids in newest if before is None or key.second <= before.second]
        ids, older = counting.ids_for_page(back, limit, before)
        found = [self.log[event_id] for event_id in ids if event_id in self.log]
        return counting.page_of_events(found, limit, before, older)


def newest_first(events):
    return sorted(events, key=domain_history.position_of, reverse=True)


@given(
    st.lists(crowded, max_size=40), st.lists(st.lists(crowded, max_size=5), max_size=30), st.integers(1, 7), st.data()
)
@example([], [], 1, None)
def test_pages_one_after_another_are_all_events_whatever_is_counted_meanwhile(there, meanwhile, limit, data):
    shards = data.draw(st.integers(1, 3)) if data else 1
    counted = Counted(there, shards)
    there = list(counted.log.values())
    seen, late = [], []

    for page in counted.pages(limit):
        assert len(page.events) <= limit
        seen += page.events
        arriving = counted.count(meanwhile.pop()) if meanwhile and page.last else []
        late += [event for event in arriving if domain_history.position_of(event) < page.last]

    assert seen == newest_first([*there, *late])
    assert len({event.event_id for event in seen}) == len(seen)


def test_a_page_that_ends_with_the_last_event_has_no_next():
    counted = Counted([an_event(recorded_at_ms=n * 700) for n in range(6)], 1)

    assert counted.page(6, None).last is None
    assert counted.page(7, None).last is None
    assert counted.page(5, None).last is not None


def test_only_as_many_seconds_are_read_as_a_page_needs():
    seconds = [Bucket(BucketKey("clicks", 0, second), frozenset({str(second)}), 0) for second in range(100, 0, -1)]

    ids, older = counting.ids_for_page(iter(seconds), 10, None)

    assert ids == {str(second) for second in range(91, 101)}
    assert older == EventPosition(91_000, "00000000-0000-0000-0000-000000000000")


def test_ids_that_the_log_lacks_end_no_listing():
    counted = Counted([an_event(recorded_at_ms=n * 1000) for n in range(10)], 1)
    for event_id in [e.event_id for e in counted.log.values() if 3000 <= e.recorded_at_ms <= 7000]:
        del counted.log[event_id]

    seen = [event for page in counted.pages(2) for event in page.events]

    assert seen == newest_first(counted.log.values())
