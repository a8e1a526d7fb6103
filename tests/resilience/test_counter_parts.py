"""A counter of several parts has one state, one list of events, one history, and swaps."""

import random
import uuid

import pytest

from chalicelib import command_handlers
from chalicelib.domain.commands import Adjust, Increment
from chalicelib.domain.events import choose_part
from chalicelib.read_model import queries, store
from testkit.builders import an_adjustment, an_event, message_body
from testkit.faults import Attempt
from tests.environments import environment
from tests.pipeline import newest_first

A_TIME_MS = 1_700_000_000_000


@pytest.fixture
def pipeline(new_pipeline, four_shards):
    """Return a pipeline with its own counter, which has four parts."""
    return new_pipeline(20181)


def an_id_of(part, parts=4):
    """Return an event id that belongs to this part."""
    return next(event_id for event_id in iter(lambda: str(uuid.uuid4()), None) if choose_part(event_id, parts) == part)


def keyed_event_of(pipeline, part):
    """Return an idempotency key whose event belongs to this part."""
    return next(
        key
        for key in map(str, range(1000))
        if choose_part(command_handlers.choose_event_id(Increment(pipeline.counter_id, idempotency_key=key), 0), 4)
        == part
    )


def test_the_state_of_a_counter_is_the_sum_of_its_parts(pipeline):
    events = [an_event(counter_id=pipeline.counter_id, by=n) for n in range(1, 200)]
    adjustments = [an_adjustment(counter_id=pipeline.counter_id, by=-n) for n in range(1, 20)]

    pipeline.count(*events, *adjustments)

    parts = store.read_parts(pipeline.counter_id)
    assert [part.key.part for part in parts] == [0, 1, 2, 3]
    assert all(0 < part.version < 218 for part in parts)
    assert pipeline.counter().body == {
        "counter_id": pipeline.counter_id,
        "value": sum(event.by for event in events) + sum(event.by for event in adjustments),
        "version": 218,
        "updated_at": pipeline.counter().body["updated_at"],
    }
    assert pipeline.counter().headers["ETag"] == '"218"'


def test_counter_has_the_latest_update_time_of_its_parts(pipeline):
    pipeline.count(*[an_event(counter_id=pipeline.counter_id, event_id=an_id_of(part)) for part in (3, 0)])

    latest_ms = max(part.updated_at_ms or 0 for part in store.read_parts(pipeline.counter_id))
    assert queries.get_counter(pipeline.counter_id).updated_at_ms == latest_ms


def test_hostile_deliveries_to_parts_count_each_event_once(pipeline):
    for _ in range(30):
        pipeline.increment({"by": 2})
    pipeline.deliver()

    assert (pipeline.value, pipeline.version) == (60, 30)


def test_events_and_history_of_archived_parts_are_merged(pipeline):
    chance = random.Random(7)
    events = [
        an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS + chance.randrange(60_000), by=2)
        for _ in range(900)
    ]
    for start in range(0, 900, 50):
        pipeline.record(*events[start : start + 50])

    seen = [event_id for page in pipeline.event_pages(100) for event_id in page]
    history = pipeline.history(from_="2023-11-14T22:13:00Z", to="2023-11-14T22:15:00Z")

    assert seen == newest_first(events)
    assert sum(point["increments"] for point in history.body["points"]) == 900
    assert sum(point["sum"] for point in history.body["points"]) == 1800


def test_swaps_follow_each_other_over_all_parts(pipeline):
    for version in range(12):
        swapped = pipeline.increment({"by": 2}, If_Match=f'"{version}"')

        assert (swapped.status, swapped.headers["ETag"]) == (200, f'"{version + 1}"')
        assert swapped.body["value"] == 2 * (version + 1)

    assert len(store.read_parts(pipeline.counter_id)) > 1
    pipeline.deliver()
    assert (pipeline.value, pipeline.version) == (24, 12)


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("other", [1, 3])
def test_swap_is_refused_if_another_part_changes_during_it(engine, pipeline, other, exists):
    """The swap is refused even if the part did not exist when the swap read the counter."""
    counted = [an_event(counter_id=pipeline.counter_id, event_id=an_id_of(other))] * exists
    pipeline.count(*counted)
    concurrent = message_body(an_event(counter_id=pipeline.counter_id, event_id=an_id_of(other), by=100))
    swaps: list[Attempt] = []
    carry_out = engine.gate

    def count_before_the_swap(attempt):
        if attempt.operation == "TransactWriteItems" and not swaps:
            swaps.append(attempt)
            pipeline.project([concurrent])
        return carry_out(attempt)

    engine.gate = count_before_the_swap
    try:
        swap = pipeline.increment(If_Match=f'"{len(counted)}"', Idempotency_Key=keyed_event_of(pipeline, part=0))
    finally:
        engine.gate = carry_out

    assert len(swaps) == 1
    assert (swap.status, swap.body["current"]["version"]) == (412, len(counted) + 1)
    assert (pipeline.value, pipeline.new_records()) == (100 + len(counted), [])


def test_an_adjustment_to_a_value_sees_all_parts(pipeline):
    pipeline.count(*[an_event(counter_id=pipeline.counter_id) for _ in range(40)])

    accepted = command_handlers.adjust(Adjust(pipeline.counter_id, "k", "a test", "ann", to=7))

    assert accepted is not None
    assert accepted.counter is not None
    assert (accepted.event.by, accepted.counter.value, pipeline.value, pipeline.version) == (-33, 7, 7, 41)


def test_add_and_gets_return_the_state_of_all_parts(pipeline):
    versions = [pipeline.increment(Prefer="return=representation").body["version"] for _ in range(20)]

    assert versions == list(range(1, 21))


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_the_list_of_counters_has_each_counter_once_with_all_its_parts(engine, pipeline, limit):
    """A page of the scan may end with any item of a counter."""
    names = [f"{pipeline.counter_id}.{number}" for number in range(9)]
    by_name = {name: number + 1 for number, name in enumerate(names)}
    pipeline.count(*[an_event(counter_id=name) for name, number in by_name.items() for _ in range(number)])

    listed = pipeline.list_counters(limit)

    assert {name: listed[name] for name in names} == by_name


def test_list_of_counters_has_a_counter_with_more_parts_than_the_page(engine, pipeline):
    """A stage that was created again with fewer parts still has the items of the earlier parts."""
    names = [f"{pipeline.counter_id}.{number}" for number in range(3)]
    pipeline.count(*[an_event(counter_id=name) for name in names for _ in range(20)])

    with environment(SHARDS="1"):
        listed = pipeline.list_counters(1)

    assert [listed[name] for name in names] == [20] * 3
