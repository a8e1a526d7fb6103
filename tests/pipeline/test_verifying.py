"""Verifying: whatever is wrong with the read model is told by its kind, and nothing else is."""

from __future__ import annotations

import itertools
import time
import uuid

import boto3
import pytest

from chalicelib import event_log, generations, read_model, verifier
from chalicelib.codec import id_bytes
from tests.building import an_event, log_items

A_SECOND = 1_700_000_000


def counted(pipeline, number=3):
    """Events of one second long ago, by 1, 2, 4 ..., in the log and counted."""
    events = logged(pipeline, number)
    pipeline.count(*events)
    return events


def logged(pipeline, number, recorded_at_ms=A_SECOND * 1000):
    events = [an_event(counter_id=pipeline.counter_id, by=2**n, recorded_at_ms=recorded_at_ms) for n in range(number)]
    for event in events:
        event_log.append(event)
    return events


def verified(pipeline, **options):
    return verifier.verify(verifier.some([pipeline.counter_id]), waits=False, **options)


def kinds(report):
    return dict(report.numbers)


def update_counter(pipeline, expression, **values):
    boto3.client("dynamodb").update_item(
        TableName="counter-pipeline-counters",
        Key={"counter_id": {"S": pipeline.counter_id}},
        UpdateExpression=expression,
        ExpressionAttributeNames={"#a": "version" if "version" in values else "value"},
        ExpressionAttributeValues={":n": {"N": str(next(iter(values.values())))}},
    )


def update_bucket(pipeline, expression, **values):
    boto3.client("dynamodb").update_item(
        TableName="counter-pipeline-buckets",
        Key={"partition": {"S": pipeline.counter_id}, "second": {"N": str(A_SECOND)}},
        UpdateExpression=expression.replace("ids", "#a").replace("sum", "#a"),
        ExpressionAttributeNames={"#a": "ids" if "ids" in expression else "sum"},
        ExpressionAttributeValues={":x": next(iter(values.values()))},
    )


def test_a_read_model_that_is_what_the_log_says_holds(pipeline):
    counted(pipeline)

    report = verified(pipeline)

    assert (report.holds, report.counters, report.events, report.buckets, report.pending) == (True, 1, 3, 1, 0)


def test_a_counter_never_incremented_holds(pipeline):
    assert verified(pipeline).holds


def test_sums_beyond_64_bits_are_compared_exactly(pipeline):
    events = [
        an_event(counter_id=pipeline.counter_id, by=2**53 - 1, recorded_at_ms=A_SECOND * 1000) for _ in range(1030)
    ]
    for event in events:
        event_log.append(event)
    pipeline.count(*events)

    right = verified(pipeline)
    update_counter(pipeline, "ADD #a :n", value=1)
    wrong = verified(pipeline)

    assert right.holds
    assert kinds(wrong) == {verifier.TOO_HIGH: 1}


@pytest.mark.parametrize(("by", "kind"), [(5, verifier.TOO_HIGH), (-5, verifier.TOO_LOW)])
def test_a_value_that_is_wrong_is_told(pipeline, by, kind):
    counted(pipeline)
    update_counter(pipeline, "ADD #a :n", value=by)

    report = verified(pipeline)

    assert kinds(report) == {kind: 1}
    assert report.differences[0].detail == f"it is {7 + by}, and the log adds up to 7"


def test_a_version_that_is_wrong_is_told(pipeline):
    counted(pipeline)
    update_counter(pipeline, "SET #a = :n", version=4)

    assert kinds(verified(pipeline)) == {verifier.WRONG_VERSION: 1}


def test_a_bucket_that_lost_an_id_is_told_with_the_event(pipeline):
    events = counted(pipeline)
    update_bucket(pipeline, "DELETE ids :x", ids={"BS": [id_bytes(events[1].event_id)]})

    report = verified(pipeline)

    assert kinds(report) == {verifier.UNCOUNTED: 1, verifier.WRONG_SUM: 1}
    (lost,) = [difference for difference in report.differences if difference.kind == verifier.UNCOUNTED]
    assert (lost.event_id, lost.second) == (events[1].event_id, A_SECOND)


def test_an_id_that_the_log_lacks_is_told(pipeline):
    counted(pipeline)
    stranger = str(uuid.uuid4())
    update_bucket(pipeline, "ADD ids :x", ids={"BS": [id_bytes(stranger)]})

    report = verified(pipeline)

    assert kinds(report) == {verifier.UNKNOWN: 1}
    assert report.differences[0].event_id == stranger


def test_a_sum_that_is_wrong_is_told(pipeline):
    counted(pipeline)
    update_bucket(pipeline, "SET sum = :x", sum={"N": "9"})

    report = verified(pipeline)

    assert kinds(report) == {verifier.WRONG_SUM: 1}
    assert report.differences[0].detail == "it is 9, and that of its events is 7"


def test_an_event_that_was_never_logged_and_counted_makes_the_value_too_high(pipeline):
    counted(pipeline)
    pipeline.count(an_event(counter_id=pipeline.counter_id, by=100))

    assert kinds(verified(pipeline)) == {verifier.UNKNOWN: 1, verifier.WRONG_SUM: 1, verifier.TOO_HIGH: 1}


def test_a_young_event_is_pending_and_an_old_one_is_wrong(pipeline):
    counted(pipeline)
    logged(pipeline, 1, recorded_at_ms=time.time_ns() // 1_000_000)

    young, old = verified(pipeline, lag_s=3600), verified(pipeline, lag_s=0)

    assert (young.holds, young.pending) == (True, 1)
    assert kinds(old) == {verifier.UNCOUNTED: 1, verifier.TOO_LOW: 1}


def test_verifying_waits_until_it_is_known_of_each_pending_event(pipeline):
    counted(pipeline)
    (late,) = logged(pipeline, 1, recorded_at_ms=time.time_ns() // 1_000_000)
    told = []

    def count_it_meanwhile(number):
        # The log is read before the buckets are: with the first bucket, the event is known to be pending.
        told.append(number)
        if len(told) == 5:
            pipeline.count(late)

    report = verifier.verify(verifier.some([pipeline.counter_id]), lag_s=3600, advance=count_it_meanwhile)

    assert (report.holds, report.pending, report.events) == (True, 0, 4)


def test_verifying_gives_up_on_an_event_once_it_is_old(pipeline):
    logged(pipeline, 1, recorded_at_ms=time.time_ns() // 1_000_000)

    report = verifier.verify(verifier.some([pipeline.counter_id]), lag_s=1)

    assert kinds(report) == {verifier.UNCOUNTED: 1, verifier.TOO_LOW: 1}


def test_what_is_recorded_and_counted_while_verifying_is_no_difference(pipeline):
    counted(pipeline)
    told = []

    def traffic(number):
        told.append(number)
        pipeline.count(*logged(pipeline, 1, recorded_at_ms=time.time_ns() // 1_000_000))
        if len(told) == 2:
            pipeline.count(*logged(pipeline, 1, recorded_at_ms=A_SECOND * 1000 + 5))

    report = verifier.verify(verifier.some([pipeline.counter_id]), advance=traffic)

    assert kinds(report) == {}
    assert pipeline.version > 5


def test_traffic_does_not_hide_an_event_that_was_counted_twice(pipeline):
    counted(pipeline, 1)
    update_counter(pipeline, "ADD #a :n", value=1)
    update_counter(pipeline, "ADD #a :n", version=1)
    told = []

    def traffic(number):
        told.append(number)
        if len(told) == 1:
            pipeline.count(*logged(pipeline, 1, recorded_at_ms=A_SECOND * 1000))

    report = verifier.verify(verifier.some([pipeline.counter_id]), waits=False, advance=traffic)

    assert kinds(report) == {verifier.TOO_HIGH: 1}


def test_a_rebuild_and_a_drop_while_verifying_are_no_difference(pipeline):
    events = counted(pipeline)
    told = []

    def rebuild_and_drop(number):
        told.append(number)
        if len(told) == 1:
            read_model.fill(generations.begin(pipeline.counter_id), events)
            generations.switch(pipeline.counter_id, 2)
            generations.drop(pipeline.counter_id)

    report = verifier.verify(verifier.some([pipeline.counter_id]), lag_s=0, waits=False, advance=rebuild_and_drop)

    assert kinds(report) == {}


def test_an_event_of_a_newer_kind_is_told_as_unreadable(pipeline):
    counted(pipeline)
    item = {"partition": {"S": pipeline.counter_id}, "event_id": {"S": str(uuid.uuid4())}, "type": {"S": "Squared"}}
    boto3.client("dynamodb").put_item(TableName="counter-pipeline-event-log", Item=item)

    assert kinds(verified(pipeline)) == {verifier.UNREADABLE: 1}


def test_an_event_that_a_newer_version_counted_ends_no_verification(pipeline):
    counted(pipeline)
    newer = str(uuid.uuid4())
    item = {"partition": {"S": pipeline.counter_id}, "event_id": {"S": newer}, "type": {"S": "Squared"}}
    boto3.client("dynamodb").put_item(TableName="counter-pipeline-event-log", Item=item)
    update_bucket(pipeline, "ADD ids :x", ids={"BS": [id_bytes(newer)]})

    assert kinds(verified(pipeline)) == {verifier.UNREADABLE: 1}


@pytest.mark.parametrize("field", [{"by": {"S": "3"}}, {"version": {"M": {}}}, {"type": {"N": "1"}}])
def test_an_event_whose_fields_have_other_types_is_told_as_unreadable(pipeline, field):
    (event,) = counted(pipeline, 1)
    (item,) = log_items([an_event(counter_id=event.counter_id)])
    boto3.client("dynamodb").put_item(TableName="counter-pipeline-event-log", Item=item | field)

    assert kinds(verified(pipeline)) == {verifier.UNREADABLE: 1}


def test_cut_off_it_does_not_first_read_the_rest_of_the_log():
    read = itertools.count()

    def log():
        event = an_event()
        for _ in range(MANY):
            next(read)
            yield event

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verifier.verify(verifier.Readings(list, [interrupted, log], []))

    assert next(read) < MANY


MANY = 1_000_000


def test_with_shards_everything_is_as_without(pipeline, four_shards):
    events = logged(pipeline, 12)
    pipeline.count(*events)

    report = verified(pipeline)

    assert (report.holds, report.events, report.buckets) == (
        True,
        12,
        len({int(e.event_id[-12:], 16) % 4 for e in events}),
    )
    assert read_model.counter(pipeline.counter_id).version == 12
