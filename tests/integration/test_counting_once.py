"""Increments are counted once, from the request to the value."""

from testkit.builders import an_event


def test_an_increment_is_pending_until_it_is_counted(pipeline):
    accepted = pipeline.increment({"by": 3})

    before = pipeline.event(accepted.body["event_id"]).body["status"], pipeline.value
    pipeline.deliver()
    after = pipeline.event(accepted.body["event_id"]).body["status"], pipeline.value

    assert (accepted.status, before, after) == (202, ("pending", 0), ("counted", 3))


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


def test_a_batch_too_large_for_one_transaction_is_counted_once(pipeline):
    """Deliver more new events than one plan may write, and then more late events in more pages."""
    events = [an_event(counter_id=pipeline.counter_id, recorded_at_ms=n) for n in range(12_000)]
    for start in range(0, 12_000, 2_500):
        pipeline.count(*events[start : start + 2_500 : 2])
    pipeline.count(*events[1::2])
    pipeline.count(*events[::7])

    assert (pipeline.value, pipeline.version) == (12_000, 12_000)


def test_counting_with_shards_equals_counting_without(pipeline, four_shards):
    for n in range(24):
        pipeline.increment(Idempotency_Key=f"key {n}")
    records = pipeline.new_records()
    again = pipeline.increment(Idempotency_Key="key 7")
    before = pipeline.event(again.body["event_id"]).body["status"]
    pipeline.publish(records)
    pipeline.project(pipeline.published())

    partitions = {record["dynamodb"]["Keys"]["partition"]["S"] for record in records}
    # The parts are random, because the ids derive from the counter's random name.
    assert partitions <= {f"{pipeline.counter_id}#{shard}" for shard in range(four_shards)}
    assert len(partitions) > 1
    assert (again.headers["Idempotency-Replayed"], before) == ("true", "pending")
    assert pipeline.event(again.body["event_id"]).body["status"] == "counted"
    assert (pipeline.value, pipeline.version) == (24, 24)
