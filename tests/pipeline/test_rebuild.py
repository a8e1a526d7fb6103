"""What the command comes to. That other operators at work spoil nothing is shown in tests/proof/test_generations.py."""

from __future__ import annotations

import uuid

import boto3

from chalicelib import event_log, read_model, settings, verifier
from ops import rebuild
from tests.building import an_event


def counted(pipeline):
    events = [an_event(counter_id=pipeline.counter_id, by=2**n) for n in range(4)]
    for event in events:
        event_log.append(event)
    pipeline.count(*events)


def test_a_counter_that_is_named_twice_is_rebuilt_once(pipeline):
    counted(pipeline)

    rebuilt = rebuild.rebuild(settings.current(), [pipeline.counter_id] * 2)

    assert (pipeline.value, rebuilt.facts["switched"], rebuilt.holds) == (15, 1, True)


def test_a_counter_with_an_event_that_cannot_be_read_is_left_as_it_is_and_the_others_are_rebuilt(pipeline):
    counted(pipeline)
    other = an_event(counter_id=f"{pipeline.counter_id}.other", by=3)
    event_log.append(other)
    item = {"partition": {"S": pipeline.counter_id}, "event_id": {"S": str(uuid.uuid4())}, "type": {"S": "Squared"}}
    boto3.client("dynamodb").put_item(TableName="counter-pipeline-event-log", Item=item)

    rebuilt = rebuild.rebuild(settings.current(), [pipeline.counter_id, other.counter_id])

    assert (read_model.counter(other.counter_id).value, rebuilt.facts["switched"], rebuilt.holds) == (3, 1, False)
    assert rebuilt.facts["numbers"] == {verifier.UNREADABLE: 1}
    assert read_model.counter(pipeline.counter_id).generations.live == 1


def test_switching_back_twice_is_switching_back_once(pipeline):
    counted(pipeline)
    rebuild.rebuild(settings.current(), [pipeline.counter_id])

    switched = [rebuild.back([pipeline.counter_id]).facts["switched"] for _ in range(2)]

    assert switched == [1, 0]
    assert read_model.counter(pipeline.counter_id).generations.live == 1
