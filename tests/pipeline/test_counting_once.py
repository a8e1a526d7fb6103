"""From the click to the count, whatever delivery does in between."""

from __future__ import annotations

from chalicelib import read_model
from tests.building import an_event


def test_an_increment_is_pending_until_it_is_counted(pipeline):
    accepted = pipeline.increment({"by": 3})

    before = pipeline.event(accepted.body["event_id"]).body["status"], pipeline.value
    pipeline.deliver()
    after = pipeline.event(accepted.body["event_id"]).body["status"], pipeline.value

    assert (accepted.status, before, after) == (202, ("pending", 0), ("counted", 3))


def test_many_increments_add_up_and_the_version_is_their_number(pipeline):
    for by in range(1, 41):
        pipeline.increment({"by": by})

    pipeline.deliver()

    assert (pipeline.value, pipeline.version) == (820, 40)


def test_everything_delivered_again_later_changes_nothing(pipeline):
    for _ in range(5):
        pipeline.increment()
    records = pipeline.new_records()
    pipeline.publish(records)
    bodies = pipeline.published()
    pipeline.project(bodies)

    pipeline.project(bodies)
    pipeline.publish(records[3:])
    pipeline.publish(records[:4])
    pipeline.project(pipeline.published())

    assert (pipeline.value, pipeline.version) == (5, 5)


def test_a_second_is_counted_in_one_bucket_however_its_events_arrive(pipeline):
    events = [an_event(counter_id=pipeline.counter_id, by=2) for _ in range(6)]

    pipeline.count(*events[:4])
    pipeline.count(*events[2:])
    pipeline.count(events[0], an_event(counter_id=pipeline.counter_id, by=100, recorded_at_ms=0))

    assert (pipeline.value, pipeline.version) == (112, 7)


def test_a_batch_of_more_seconds_than_a_transaction_takes_is_counted_whole(pipeline):
    events = [an_event(counter_id=pipeline.counter_id, recorded_at_ms=second * 1000) for second in range(250)]

    pipeline.count(*events)
    pipeline.count(*events[50:])

    assert (pipeline.value, pipeline.version) == (250, 250)


def test_a_batch_of_several_counters_is_counted_for_each(pipeline):
    other = f"{pipeline.counter_id}-other"
    events = [an_event(counter_id=name, by=by) for name in (pipeline.counter_id, other) for by in (1, 2, 4)]

    pipeline.count(*events)

    assert (read_model.counter(other).value, pipeline.value) == (7, 7)


def test_counters_of_one_page_follow_those_of_the_last(pipeline):
    names = sorted(f"{pipeline.counter_id}-{n}" for n in range(7))
    pipeline.count(*[an_event(counter_id=name) for name in names])

    found, cursor = [], None
    while True:
        answer = pipeline.send("GET", "/counters", query={"limit": ["3"], **({"cursor": [cursor]} if cursor else {})})
        found += [counter["counter_id"] for counter in answer.body["counters"]]
        cursor = answer.body["next_cursor"]
        if cursor is None:
            break

    assert sorted(name for name in found if name.startswith(pipeline.counter_id)) == names
    assert len(found) == len(set(found))


def test_an_event_counted_at_once_is_not_counted_when_the_stream_brings_it(pipeline):
    at_once = pipeline.increment({"by": 5}, Prefer="return=representation")

    pipeline.deliver()

    assert (at_once.status, at_once.body["value"], pipeline.value, pipeline.version) == (200, 5, 5, 1)


def test_with_shards_everything_is_as_without(pipeline, four_shards):
    for n in range(24):
        pipeline.increment(Idempotency_Key=f"key {n}")
    records = pipeline.new_records()
    again = pipeline.increment(Idempotency_Key="key 7")
    before = pipeline.event(again.body["event_id"]).body["status"]
    pipeline.publish(records)
    pipeline.project(pipeline.published())

    partitions = {record["dynamodb"]["Keys"]["partition"]["S"] for record in records}
    # Which of them is chance, for the ids come from the counter's name.
    assert partitions <= {f"{pipeline.counter_id}#{shard}" for shard in range(four_shards)}
    assert len(partitions) > 1
    assert (again.headers["Idempotency-Replayed"], before) == ("true", "pending")
    assert pipeline.event(again.body["event_id"]).body["status"] == "counted"
    assert (pipeline.value, pipeline.version) == (24, 24)
