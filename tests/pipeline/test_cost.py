"""What an increment costs, from the command to the counter, in requests and in units by the published rules."""

from __future__ import annotations

from chalicelib import projector, publisher
from tests import aws
from tests.building import an_event, message_body, queue_batch, stream_batch, stream_record

A_SECOND_MS = 1_700_000_000_000


def test_an_append_is_one_request_and_one_unit(pipeline):
    with aws.requests() as requests:
        pipeline.increment({"by": 1000}, Idempotency_Key="x" * 255)

    assert requests.operations == ["PutItem"]
    assert requests.write_units() == 1


def test_a_query_is_one_request_and_one_unit(pipeline):
    pipeline.increment(If_Match='"0"')

    with aws.requests() as requests:
        pipeline.counter()

    assert requests.operations == ["GetItem"]
    assert requests.read_units() == 1


def test_a_lone_increment_costs_five_write_units_from_command_to_counter(pipeline):
    with aws.requests() as requests:
        pipeline.increment()
        pipeline.publish(pipeline.new_records())
        pipeline.project(pipeline.published())

    assert requests.operations == ["PutItem", "SendMessage", "BatchGetItem", "TransactWriteItems"]
    assert requests.write_units() == 5
    assert pipeline.value == 1


def test_a_hundred_increments_of_one_second_cost_little_more_than_their_appends(pipeline):
    with aws.requests() as appended:
        for _ in range(100):
            pipeline.increment()
    in_one_second = [an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_SECOND_MS + n) for n in range(100)]
    with aws.requests() as counted:
        pipeline.publish([stream_record(event) for event in in_one_second])
        pipeline.project(pipeline.published())

    assert counted.operations == ["SendMessage", "BatchGetItem", "TransactWriteItems"]
    assert (appended.write_units(), counted.write_units()) == (100, 6)
    assert pipeline.value == 100


def test_an_event_delivered_again_costs_no_write(pipeline):
    event = an_event(counter_id=pipeline.counter_id)
    pipeline.count(event)

    with aws.requests() as requests:
        pipeline.count(event)

    assert requests.operations == ["BatchGetItem"]
    assert requests.write_units() == 0


def test_a_swap_is_a_read_and_a_transaction(pipeline):
    with aws.requests() as requests:
        pipeline.increment(If_Match='"0"')

    assert requests.operations == ["GetItem", "TransactWriteItems"]
    assert requests.write_units() == 6


def test_a_refused_swap_costs_one_read(pipeline):
    with aws.requests() as requests:
        pipeline.increment(If_Match='"3"')

    assert requests.operations == ["GetItem"]


def test_a_thousand_stream_records_are_one_message(pipeline):
    records = [stream_record(an_event(counter_id=pipeline.counter_id)) for _ in range(1000)]

    with aws.requests() as requests:
        publisher.publish(stream_batch(records)["Records"])

    assert requests.operations == ["SendMessage"]


def test_ten_messages_of_one_counter_and_second_are_one_read_and_one_transaction(pipeline):
    bodies = [message_body(an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_SECOND_MS)) for _ in range(10)]

    with aws.requests() as requests:
        projector.project(queue_batch(bodies)["Records"])

    assert requests.operations == ["BatchGetItem", "TransactWriteItems"]
    assert pipeline.value == 10
