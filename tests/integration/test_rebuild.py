"""The results of `ops rebuild`. `tests/resilience/test_repair.py` tests each repair."""

import uuid

import boto3

from chalicelib import event_log, settings
from chalicelib.extras.verification import report as kinds
from chalicelib.read_model import queries
from ops.maintenance import lookups, rebuild
from testkit.builders import an_event


def logged(pipeline, counter_id=None, number=4):
    events = [an_event(counter_id=counter_id or pipeline.counter_id, by=2**n) for n in range(number)]
    for event in events:
        event_log.append(event)
    return events


def change_value(pipeline, value):
    boto3.client("dynamodb").update_item(
        TableName="counter-pipeline-counters",
        Key={"counter_id": {"S": pipeline.counter_id}, "part": {"N": "0"}},
        UpdateExpression="SET #v = :v",
        ExpressionAttributeNames={"#v": "value"},
        ExpressionAttributeValues={":v": value},
    )


def test_rebuild_of_a_counter_named_twice_repairs_it_once(pipeline):
    logged(pipeline)

    rebuilt = rebuild.rebuild(settings.current(), [pipeline.counter_id] * 2)

    assert (pipeline.value, rebuilt.facts["corrected"], rebuilt.holds) == (15, {kinds.UNCOUNTED: 4}, True)
    assert (rebuilt.facts["counters"], rebuilt.facts["failed"]) == (1, {})
    assert (rebuilt.lines or [])[0] == "4 events counted."


def test_rebuild_of_a_sound_counter_corrects_nothing(pipeline):
    pipeline.count(*logged(pipeline))

    rebuilt = rebuild.rebuild(settings.current(), [pipeline.counter_id])

    assert (rebuilt.lines or [])[0] == "Nothing to correct."
    assert (rebuilt.facts["corrected"], rebuilt.holds) == ({}, True)


def test_dry_rebuild_reports_differences_and_corrects_none(pipeline):
    pipeline.count(*logged(pipeline))
    change_value(pipeline, {"N": "16"})
    logged(pipeline, number=1)

    dry = rebuild.rebuild(settings.current(), [pipeline.counter_id], dry_run=True)

    assert dry.facts["numbers"] == {kinds.TOO_HIGH: 1, kinds.UNCOUNTED: 1}
    assert (dry.holds, pipeline.value) == (False, 16)


def test_rebuild_repairs_a_counter_that_no_query_can_read(pipeline):
    pipeline.count(*logged(pipeline))
    change_value(pipeline, {"S": "x"})
    refused = pipeline.counter().status

    lookups.check_counters([pipeline.counter_id])
    rebuilt = rebuild.rebuild(settings.current(), [pipeline.counter_id])

    assert (refused, pipeline.value, rebuilt.holds) == (503, 15, True)
    assert rebuilt.facts["corrected"] == {kinds.DAMAGED: 1, kinds.UNCOUNTED: 4}


def test_rebuild_with_an_unreadable_event_counts_all_others(pipeline):
    """The outcome reports the unreadable event, and the exit status is 1."""
    logged(pipeline)
    (other,) = logged(pipeline, f"{pipeline.counter_id}.other", 1)
    item = {"partition": {"S": pipeline.counter_id}, "event_id": {"S": str(uuid.uuid4())}, "type": {"S": "Squared"}}
    boto3.client("dynamodb").put_item(TableName="counter-pipeline-event-log", Item=item)

    rebuilt = rebuild.rebuild(settings.current(), [pipeline.counter_id, other.counter_id])

    assert (pipeline.value, queries.get_counter(other.counter_id).value, rebuilt.holds) == (15, 1, False)
    assert rebuilt.facts["corrected"] == {kinds.UNCOUNTED: 5}
    assert rebuilt.facts["numbers"] == {kinds.UNREADABLE: 1}
