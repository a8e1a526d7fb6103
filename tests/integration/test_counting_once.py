"""Increments are counted once, from the request to the value."""

import pytest

from chalicelib.read_model import queries
from testkit import aws_requests
from testkit.builders import an_event, message_body


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


def test_overlapping_batches_count_each_event_once(pipeline):
    events = [an_event(counter_id=pipeline.counter_id, by=2) for _ in range(6)]

    pipeline.count(*events[:4])
    pipeline.count(*events[2:])
    pipeline.count(events[0], an_event(counter_id=pipeline.counter_id, by=100, recorded_at_ms=0))

    assert (pipeline.value, pipeline.version) == (112, 7)


def test_a_batch_of_many_seconds_is_counted_once_however_often(pipeline):
    events = [an_event(counter_id=pipeline.counter_id, recorded_at_ms=second * 1000) for second in range(250)]

    pipeline.count(*events)
    pipeline.count(*events[50:])

    assert (pipeline.value, pipeline.version) == (250, 250)


def test_a_batch_too_large_for_one_transaction_is_counted_once(pipeline):
    """More new events, and later more late events in more pages, than one plan may write."""
    events = [an_event(counter_id=pipeline.counter_id, recorded_at_ms=n) for n in range(12_000)]
    for start in range(0, 12_000, 2_500):
        pipeline.count(*events[start : start + 2_500 : 2])
    pipeline.count(*events[1::2])
    pipeline.count(*events[::7])

    assert (pipeline.value, pipeline.version) == (12_000, 12_000)


def test_messages_delivered_again_are_counted_once_without_a_write(pipeline):
    bodies = [message_body(an_event(counter_id=pipeline.counter_id)) for _ in range(3)]
    pipeline.project(bodies)

    with aws_requests.record() as requests:
        pipeline.project(bodies, received=2)

    assert requests.operations == ["GetItem"]
    assert (pipeline.value, pipeline.version) == (3, 3)


def test_a_batch_of_several_counters_is_counted_for_each(pipeline):
    other = f"{pipeline.counter_id}-other"
    events = [an_event(counter_id=name, by=by) for name in (pipeline.counter_id, other) for by in (1, 2, 4)]

    pipeline.count(*events)

    assert (queries.get_counter(other).value, pipeline.value) == (7, 7)


@pytest.mark.exhaustive
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


def test_counting_with_shards_equals_counting_without(pipeline, four_shards):
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
