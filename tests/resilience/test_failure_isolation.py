"""A failure affects only its own counter or message. The others are counted, and failed messages are redelivered."""

import contextlib
import json

import pytest

from chalicelib import settings
from chalicelib.domain.archive import RECENT_MAX
from chalicelib.errors import (
    DamagedReadModelError,
    PartlyCountedError,
    QueueUnavailableError,
    ReadModelUnavailableError,
    UnavailableError,
)
from chalicelib.read_model import queries
from testkit import faults
from testkit.builders import an_event, message_body, stream_record

THROTTLED = [
    ("ThrottlingError",),
    (None, "ThrottlingError"),
    ("ProvisionedThroughputExceeded", None),
    ("TransactionConflict", "ThrottlingError"),
    ("ConditionalCheckFailed", "ThrottlingError"),
]


@contextlib.contextmanager
def at(engine, operation, fault, times=faults.ALWAYS):
    """Inject the fault into the first `times` attempts at this operation; yield all attempts."""
    made: list[str] = []

    def gate(attempt):
        if attempt.operation != operation:
            return attempt.carry_out()
        made.append(operation)
        return fault(attempt) if len(made) <= times else attempt.carry_out()

    engine.gate = gate
    try:
        yield made
    finally:
        engine.gate = faults.no_fault


def to_the_dead_letter_queue(attempt):
    return faults.drop_request(attempt) if b"dead-letter" in attempt.request.body else attempt.carry_out()


def hot_conflicts(attempt):
    return faults.conflict(attempt) if b".hot" in attempt.request.body else attempt.carry_out()


def hot_is_throttled(attempt):
    return faults.throttle(attempt) if b".hot" in attempt.request.body else attempt.carry_out()


def test_broken_message_is_redelivered_if_parking_fails(engine, pipeline):
    """Count the good messages of the batch before the function raises."""
    bodies = ["broken", message_body(an_event(counter_id=pipeline.counter_id))]

    with at(engine, "SendMessage", to_the_dead_letter_queue), pytest.raises(QueueUnavailableError):
        pipeline.project(bodies)
    counted_meanwhile = pipeline.value
    pipeline.project(bodies)

    assert (counted_meanwhile, pipeline.value) == (1, 1)
    assert [message["Body"] for message in pipeline.parked()] == ["broken"]


def test_broken_record_is_redelivered_if_parking_fails(engine, pipeline):
    """Publish the good records of the batch before the function raises."""
    records = ["broken", stream_record(an_event(counter_id=pipeline.counter_id))]

    with at(engine, "SendMessage", to_the_dead_letter_queue), pytest.raises(QueueUnavailableError):
        pipeline.publish(records)
    published_meanwhile = len(pipeline.published())
    pipeline.publish(records)

    assert (published_meanwhile, len(pipeline.published())) == (1, 1)
    assert [message["Body"] for message in pipeline.parked()] == ["broken"]


@pytest.mark.parametrize("fault", [hot_conflicts, hot_is_throttled])
def test_failing_counter_does_not_block_others_and_stays_uncounted(engine, pipeline, fault):
    calm = [f"{pipeline.counter_id}.{number}" for number in range(6)]
    hot = f"{pipeline.counter_id}.hot"

    with at(engine, "UpdateItem", fault), pytest.raises(PartlyCountedError) as refusal:
        pipeline.project([message_body(*(an_event(counter_id=name) for name in (hot, *calm)))])

    assert refusal.value.uncounted == {hot}
    assert [queries.get_counter(name).value for name in (hot, *calm)] == [0] + [1] * 6


def test_damaged_counter_does_not_affect_others(engine, pipeline):
    """Count the other counters of a batch with a damaged one."""
    damaged = f"{pipeline.counter_id}.damaged"
    item = {"counter_id": {"S": damaged}, "part": {"N": "0"}, "recent": {"BS": [b"no entry"]}, "revision": {"N": "1"}}
    engine.client("dynamodb").put_item(TableName=settings.current().counters_table, Item=item)
    full = [an_event(counter_id=damaged) for _ in range(RECENT_MAX)]

    with pytest.raises(PartlyCountedError) as raised:
        pipeline.project([message_body(*full, an_event(counter_id=pipeline.counter_id))])

    assert raised.value.uncounted == {damaged}
    assert isinstance(raised.value.failures[damaged], DamagedReadModelError)
    assert pipeline.value == 1


def test_only_uncounted_messages_are_redelivered_with_partial_responses(engine, pipeline, answers_by_message):
    hot, calm = f"{pipeline.counter_id}.hot", pipeline.counter_id
    bodies = [
        message_body(an_event(counter_id=calm)),
        message_body(an_event(counter_id=hot), an_event(counter_id=calm)),
        "broken",
        "[broken, too" + message_body(an_event(counter_id=hot)),
    ]

    with at(engine, "UpdateItem", hot_conflicts):
        again = pipeline.project(bodies)
    parked_meanwhile = [message["Body"] for message in pipeline.parked()]
    nothing_more = pipeline.project(again)

    assert again == bodies[1:2]
    assert parked_meanwhile == bodies[2:]
    assert nothing_more == []
    assert pipeline.value == 2
    pipeline.counter_id = hot
    assert pipeline.value == 1


def test_whole_batch_is_redelivered_without_partial_responses(engine, pipeline):
    hot = an_event(counter_id=f"{pipeline.counter_id}.hot")

    with at(engine, "UpdateItem", hot_conflicts), pytest.raises(PartlyCountedError):
        pipeline.project([message_body(hot), message_body(an_event(counter_id=pipeline.counter_id))])

    assert pipeline.value == 1


def test_poison_message_is_parked_once_its_good_events_are_counted(engine, pipeline, answers_by_message):
    hot = an_event(counter_id=f"{pipeline.counter_id}.hot")
    message = json.loads(message_body(hot))
    good_in_part = json.dumps({**message, "events": [*message["events"], {"type": "poison"}]})

    with at(engine, "UpdateItem", hot_conflicts):
        again = pipeline.project([good_in_part, message_body(an_event(counter_id=pipeline.counter_id))])
    parked_meanwhile = pipeline.parked()
    pipeline.project(again)

    assert (again, parked_meanwhile) == ([good_in_part], [])
    assert [message["Body"] for message in pipeline.parked()] == [good_in_part]


@pytest.mark.parametrize("fault", [faults.conflict, faults.throttle])
def test_wholly_uncounted_batch_raises_with_partial_responses_too(engine, pipeline, answers_by_message, fault):
    bodies = [message_body(an_event(counter_id=f"{pipeline.counter_id}.{n}")) for n in range(3)]

    with at(engine, "UpdateItem", fault), pytest.raises(UnavailableError):
        pipeline.project(bodies)


def test_batch_raises_if_each_message_has_an_uncounted_event(engine, pipeline, answers_by_message):
    bodies = [
        message_body(an_event(counter_id=f"{pipeline.counter_id}.hot"), an_event(counter_id=pipeline.counter_id))
        for _ in range(2)
    ]

    with at(engine, "UpdateItem", hot_conflicts), pytest.raises(PartlyCountedError):
        pipeline.project(bodies)


def fill_recent(pipeline):
    """Fill the recent entries, so that the next update is refused and a transaction archives."""
    pipeline.record(*[an_event(counter_id=pipeline.counter_id) for _ in range(RECENT_MAX)])


@pytest.mark.parametrize("reasons", THROTTLED)
def test_throttled_transaction_is_an_outage_and_not_retried(engine, pipeline, reasons):
    fill_recent(pipeline)
    body = message_body(an_event(counter_id=pipeline.counter_id))
    throttled = faults.cancel_for(*reasons)

    with at(engine, "TransactWriteItems", throttled) as counted, pytest.raises(ReadModelUnavailableError):
        pipeline.project([body])
    with at(engine, "TransactWriteItems", throttled) as swapped:
        swap = pipeline.increment(If_Match=f'"{RECENT_MAX}"')
    with at(engine, "TransactWriteItems", throttled) as added:
        wish = pipeline.increment(Prefer="return=representation")
    pipeline.deliver()
    pipeline.project([body])

    assert [len(made) for made in (counted, swapped, added)] == [1, 1, 1]
    # The add-and-get is recorded, so it is accepted, and the stream counts it.
    assert (swap.status, wish.status) == (503, 202)
    assert (pipeline.value, pipeline.version) == (RECENT_MAX + 2, RECENT_MAX + 2)


@pytest.mark.parametrize("reasons", [("TransactionConflict",), (None, "TransactionConflict")])
def test_conflicting_transaction_is_retried(engine, pipeline, reasons):
    fill_recent(pipeline)
    event = an_event(counter_id=pipeline.counter_id)
    conflict = faults.cancel_for(*reasons)

    with at(engine, "TransactWriteItems", conflict, times=1) as counted:
        pipeline.project([message_body(event)])
    with at(engine, "TransactWriteItems", conflict, times=1) as swapped:
        swap = pipeline.increment(If_Match=f'"{RECENT_MAX + 1}"')

    assert (len(counted), len(swapped), swap.status) == (2, 2, 200)
    assert (pipeline.value, pipeline.version) == (RECENT_MAX + 2, RECENT_MAX + 2)


def test_conflicting_update_is_retried(engine, pipeline):
    with at(engine, "UpdateItem", faults.conflict, times=1) as counted:
        pipeline.project([message_body(an_event(counter_id=pipeline.counter_id))])

    assert len(counted) == 2
    assert (pipeline.value, pipeline.version) == (1, 1)
