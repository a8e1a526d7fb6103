"""Lists of events and histories over archive pages, while a concurrent worker counts and archives between requests."""

import random

import pytest

from chalicelib.domain.archive import RECENT_MAX
from testkit.builders import an_event
from tests.pipeline import newest_first

A_TIME_MS = 1_700_000_000_000
SPAN = {"from_": "2023-11-14T22:13:20Z", "to": "2023-11-14T22:15:00Z"}


@pytest.fixture
def before_request(engine):
    """Return a function that runs an action once, before request number `number` of an operation, counted from 1."""
    carry_out = engine.gate

    def arrange(operation, number, work):
        attempts = []

        def gate(attempt):
            if attempt.operation == operation:
                attempts.append(attempt)
                if len(attempts) == number:
                    engine.gate = carry_out
                    work()
                    engine.gate = gate
            return carry_out(attempt)

        engine.gate = gate
        return attempts

    return arrange


def at(pipeline, ms):
    return an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS + ms)


def ids(answer):
    return [event["event_id"] for event in answer.body["events"]]


def record(pipeline, events, size=50):
    pipeline.log(events)
    for start in range(0, len(events), size):
        pipeline.count(*events[start : start + size])


def test_an_event_of_the_last_archived_millisecond_is_late(pipeline, watcher):
    record(pipeline, [at(pipeline, n) for n in range(RECENT_MAX + 1)], RECENT_MAX + 1)

    record(pipeline, [at(pipeline, RECENT_MAX)])

    watcher.check_in_the_end()
    (part,) = watcher.parts()
    assert [*part.pages] == [A_TIME_MS + RECENT_MAX]


@pytest.mark.sample(2)
@pytest.mark.parametrize("limit", [7, 100])
@pytest.mark.parametrize("each_ms", [0, 1, 50])
def test_events_over_archive_pages_are_newest_first(pipeline, limit, each_ms):
    events = [at(pipeline, n * each_ms) for n in range(450)]
    record(pipeline, random.Random(3).sample(events, len(events)))

    found = [*pipeline.event_pages(limit)]

    assert [event_id for page in found for event_id in page] == newest_first(events)
    assert {len(page) for page in found[:-1]} == {limit}


def test_full_last_page_has_no_next_cursor(pipeline):
    record(pipeline, [at(pipeline, n) for n in range(100)])

    assert pipeline.events(limit=100).body["next_cursor"] is None
    assert pipeline.events(limit=99).body["next_cursor"]


def test_a_cursor_stays_valid_while_pages_are_written_and_split(pipeline):
    """Each existing event is listed once. A late event is listed if its position is after the cursor."""
    chance = random.Random(5)
    events = [at(pipeline, 2 * n) for n in range(600)]
    record(pipeline, events)
    late = [at(pipeline, 2 * chance.randrange(600) + 1) for _ in range(300)]
    newer = [at(pipeline, 10_000 + n) for n in range(300)]
    arriving = list(zip(late, newer, strict=True))
    listed = []

    def count_some():
        some = [event for pair in arriving[:10] for event in pair]
        del arriving[:10]
        record(pipeline, some)
        listed.append(some)

    found = [*pipeline.event_pages(23, count_some)]

    flat = [event_id for page in found for event_id in page]
    assert len(flat) == len(set(flat))
    assert {event.event_id for event in events} <= set(flat)
    ordered = newest_first([*events, *late, *newer])
    assert flat == [event_id for event_id in ordered if event_id in set(flat)]
    still_to_come = [
        event.event_id
        for number, some in enumerate(listed[:-1])
        for event in some
        if ordered.index(event.event_id) > ordered.index(found[number][-1])
    ]
    assert set(still_to_come) <= set(flat)


def test_entries_archived_during_a_list_of_events_are_listed_once(pipeline, before_request):
    """The counter is read first. By the time that pages are read, its recent entries are in a page."""
    events = [at(pipeline, n) for n in range(86)]
    record(pipeline, events)
    newer = [at(pipeline, 1_000 + n) for n in range(60)]
    pipeline.log(newer)

    queries = before_request("Query", 2, lambda: pipeline.count(*newer))
    found = ids(pipeline.events(limit=100))

    assert len(queries) >= 2
    assert found == newest_first(events)


def test_pages_split_during_a_list_of_events_are_listed_once(pipeline, before_request):
    events = [at(pipeline, 2 * n) for n in range(1_000)]
    record(pipeline, events, 1_000)
    late = [at(pipeline, 2 * n + 1) for n in range(950)]
    pipeline.log(late)
    inside_a_page = pipeline.events(limit=50, cursor=pipeline.events(limit=100).body["next_cursor"])
    cursor = inside_a_page.body["next_cursor"]

    queries = before_request("Query", 3, lambda: pipeline.count(*late))
    found = ids(pipeline.events(limit=100, cursor=cursor))

    assert len(queries) >= 3
    assert len(found) == len(set(found)) == 100
    assert found == [event_id for event_id in newest_first([*events, *late]) if event_id in set(found)]


def test_entries_archived_during_a_history_are_added_once(pipeline, before_request):
    events = [at(pipeline, n) for n in range(86)]
    record(pipeline, events)
    newer = [at(pipeline, 1_000 + n) for n in range(60)]
    pipeline.log(newer)

    queries = before_request("Query", 2, lambda: pipeline.count(*newer))
    history = pipeline.history(**SPAN, resolution="second").body["points"]

    assert len(queries) >= 2
    assert [(point["increments"], point["sum"]) for point in history] == [(86, 86)]
