"""`ops verify` on the embedded AWS under traffic. `tests/resilience/test_repair.py` has all differences."""

import itertools
import re
import time
import uuid

import boto3
import pytest

from chalicelib import clock, event_log, settings
from chalicelib.extras.verification import report as kinds
from chalicelib.extras.verification.part_comparison import Scope, select_counters
from chalicelib.read_model import queries
from ops.maintenance import verify
from testkit.builders import an_event, log_items
from tests.comparisons import verify_parts

A_SECOND = 1_700_000_000


def counted(pipeline, number=3):
    """Append old events with the amounts 1, 2, 4, ..., and count them."""
    events = logged(pipeline, number)
    pipeline.count(*events)
    return events


def logged(pipeline, number, recorded_at_ms=A_SECOND * 1000):
    events = [an_event(counter_id=pipeline.counter_id, by=2**n, recorded_at_ms=recorded_at_ms) for n in range(number)]
    for event in events:
        event_log.append(event)
    return events


def verified(pipeline, **options):
    return verify_parts(select_counters([pipeline.counter_id]), waits=False, **options)


def numbers(report):
    return dict(report.numbers)


def update_counter(pipeline, expression, **values):
    ((name, value),) = values.items()
    boto3.client("dynamodb").update_item(
        TableName="counter-pipeline-counters",
        Key={"counter_id": {"S": pipeline.counter_id}, "part": {"N": "0"}},
        UpdateExpression=expression,
        ExpressionAttributeNames={"#a": name},
        ExpressionAttributeValues={":n": value if isinstance(value, dict) else {"N": str(value)}},
    )


def test_read_model_that_matches_the_log_passes(pipeline):
    counted(pipeline)

    report = verified(pipeline)

    assert (report.holds, report.counters, report.events, report.entries, report.pending) == (True, 1, 3, 3, 0)


def test_counter_never_incremented_matches(pipeline):
    assert verified(pipeline).holds


@pytest.mark.exhaustive
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
    assert numbers(wrong) == {kinds.TOO_HIGH: 1}


def test_a_young_event_is_pending_and_an_old_one_is_wrong(pipeline):
    counted(pipeline)
    logged(pipeline, 1, recorded_at_ms=time.time_ns() // 1_000_000)

    young, old = verified(pipeline, lag_s=3600), verified(pipeline, lag_s=0)

    assert (young.holds, young.pending) == (True, 1)
    assert numbers(old) == {kinds.UNCOUNTED: 1}


def test_verify_waits_until_each_pending_event_is_counted(pipeline):
    counted(pipeline)
    (late,) = logged(pipeline, 1, recorded_at_ms=time.time_ns() // 1_000_000)
    read = []

    def count_it_meanwhile(number):
        # Once the item and then the log are read, the event is known to be pending.
        read.append(number)
        if sum(read) == 5:
            pipeline.count(late)

    report = verify_parts(select_counters([pipeline.counter_id]), lag_s=3600, advance=count_it_meanwhile)

    assert (report.holds, report.pending, report.events) == (True, 0, 4)


def test_verify_stops_waiting_for_an_event_once_it_is_old(pipeline):
    logged(pipeline, 1, recorded_at_ms=time.time_ns() // 1_000_000)

    report = verify_parts(select_counters([pipeline.counter_id]), lag_s=1)

    assert numbers(report) == {kinds.UNCOUNTED: 1}


@pytest.mark.parametrize(("lag_s", "waits"), [(1, True), (0, False)])
def test_event_recorded_in_the_future_is_waited_for_as_long_as_others(pipeline, monkeypatch, lag_s, waits):
    """Each reading of the clock is 0.1 s after the previous reading, even on the slowest machine."""
    times = itertools.count(time.time_ns() // 1_000_000, 100)
    logged(pipeline, 1, recorded_at_ms=next(times) + 3_600_000)
    monkeypatch.setattr(clock, "now_ms", lambda: next(times))

    report = verify_parts(select_counters([pipeline.counter_id]), lag_s=lag_s, waits=waits)

    assert numbers(report) == {kinds.UNCOUNTED: 1}
    assert re.fullmatch(r"by 1, recorded with a time 359\d s in the future", report.differences[0].detail)


def test_ops_verify_states_what_it_waits_for(pipeline, capsys):
    logged(pipeline, 2, recorded_at_ms=time.time_ns() // 1_000_000 + 3_600_000)

    outcome = verify.verify(settings.current(), [pipeline.counter_id], 1, waits=True)

    assert capsys.readouterr().err == "Waiting for 2 pending events, at most 1 s.\n"
    assert not outcome.holds


def test_ops_verify_without_a_wait_reports_the_pending_events(pipeline, capsys):
    logged(pipeline, 2, recorded_at_ms=time.time_ns() // 1_000_000)

    outcome = verify.verify(settings.current(), [pipeline.counter_id], 3_600, waits=False)

    assert capsys.readouterr().err == ""
    assert (outcome.holds, outcome.facts["pending"]) == (True, 2)


def test_events_recorded_during_verify_are_not_differences(pipeline):
    counted(pipeline)
    calls = []

    def traffic(number):
        calls.append(number)
        pipeline.count(*logged(pipeline, 1, recorded_at_ms=time.time_ns() // 1_000_000))
        if len(calls) == 2:
            pipeline.count(*logged(pipeline, 1, recorded_at_ms=A_SECOND * 1000 + 5))

    report = verify_parts(select_counters([pipeline.counter_id]), advance=traffic)

    assert numbers(report) == {}
    assert pipeline.version > 5


def test_traffic_does_not_hide_an_event_that_was_counted_twice(pipeline):
    counted(pipeline, 1)
    update_counter(pipeline, "ADD #a :n", value=1)
    update_counter(pipeline, "ADD #a :n", version=1)
    calls = []

    def traffic(number):
        calls.append(number)
        if len(calls) == 1:
            pipeline.count(*logged(pipeline, 1, recorded_at_ms=A_SECOND * 1000))

    report = verify_parts(select_counters([pipeline.counter_id]), waits=False, advance=traffic)

    assert numbers(report) == {kinds.TOO_HIGH: 1}


def test_event_of_a_newer_type_is_reported_as_unreadable(pipeline):
    counted(pipeline)
    item = {"partition": {"S": pipeline.counter_id}, "event_id": {"S": str(uuid.uuid4())}, "type": {"S": "Squared"}}
    boto3.client("dynamodb").put_item(TableName="counter-pipeline-event-log", Item=item)

    assert numbers(verified(pipeline)) == {kinds.UNREADABLE: 1}


def test_event_that_a_newer_version_counted_does_not_end_verify(pipeline):
    counted(pipeline)
    newer = an_event(counter_id=pipeline.counter_id)
    (item,) = log_items([newer])
    boto3.client("dynamodb").put_item(TableName="counter-pipeline-event-log", Item=item | {"type": {"S": "Squared"}})
    pipeline.count(newer)

    assert numbers(verified(pipeline)) == {kinds.UNREADABLE: 1}


@pytest.mark.parametrize("field", [{"by": {"S": "3"}}, {"version": {"M": {}}}, {"type": {"N": "1"}}])
def test_event_with_wrong_field_types_is_reported_as_unreadable(pipeline, field):
    (event,) = counted(pipeline, 1)
    (item,) = log_items([an_event(counter_id=event.counter_id)])
    boto3.client("dynamodb").put_item(TableName="counter-pipeline-event-log", Item=item | field)

    assert numbers(verified(pipeline)) == {kinds.UNREADABLE: 1}


def test_interrupted_verify_does_not_read_the_remaining_log():
    read = itertools.count()

    def log():
        event = an_event()
        for _ in range(MANY):
            next(read)
            yield event

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_parts(Scope([], [], [interrupted, log]))

    assert next(read) < MANY


MANY = 1_000_000


def test_verify_with_shards_equals_verify_without(pipeline, four_shards):
    events = logged(pipeline, 12)
    pipeline.count(*events)

    report = verified(pipeline)

    assert (report.holds, report.events, report.entries, report.counters) == (True, 12, 12, 1)
    assert queries.get_counter(pipeline.counter_id).version == 12
