"""
Bring the events of a restored table back into the log.

The command may be interrupted at any request; the next run finishes it.
"""

import contextlib
import functools
import json
from dataclasses import replace

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import event_log, log_reader, settings
from chalicelib.errors import UnavailableError
from chalicelib.read_model import queries
from ops.cli.errors import OperatorError
from ops.maintenance import missing_events, notes, other_log, purge
from testkit import faults
from testkit.builders import A_TIME_MS, an_event
from tests.environments import environment
from tests.resilience.read_model_damage import empty_tables
from tests.resilience.test_crash_points import FAULTS
from tests.resilience.test_export_import import append_events, empty_log, put_raw, read_log, rebuild, verify

pytestmark = pytest.mark.usefixtures("no_waits", "empty")

RESTORED = "counter-pipeline-event-log-restored"


@pytest.fixture
def empty(engine):
    """Empty the tables, because a restore reads the whole log."""
    empty_tables(engine)
    empty_log(engine)
    yield
    client = engine.client("dynamodb")
    with contextlib.suppress(client.exceptions.ResourceNotFoundException):
        client.delete_table(TableName=RESTORED)


@pytest.fixture
def back_up(engine):
    """Restore a backup of the log, made now, to another table."""

    def make():
        client, log = engine.client("dynamodb"), settings.current().event_log_table
        backup = client.create_backup(TableName=log, BackupName="now")["BackupDetails"]["BackupArn"]
        client.restore_table_from_backup(TargetTableName=RESTORED, BackupArn=backup)

    return make


def run_restore(table=RESTORED, *, dry_run=False):
    return other_log.restore(settings.current(), table, 10**9, dry_run=dry_run)


def delete(engine, events):
    for event in events:
        position = log_reader.locate(event)
        key = {"partition": {"S": position.partition}, "event_id": {"S": position.event_id}}
        engine.client("dynamodb").delete_item(TableName=settings.current().event_log_table, Key=key)


def test_deleted_events_are_restored_and_counted_once(engine, pipeline, back_up):
    """The restored events include counted events, and events that the check no longer counts."""
    events = append_events(12)
    pipeline.deliver()
    back_up()
    delete(engine, events[:8])
    pipeline.new_records()
    later = an_event(counter_id="c1", by=100)
    event_log.append(later)
    pipeline.deliver()

    planned = run_restore(dry_run=True)
    outcome = run_restore()
    pipeline.deliver()
    again = run_restore()

    assert planned.text == "8 events would be appended (2 Adjusted, 6 Incremented), 4 already in the log, 0 problems."
    assert (outcome.facts["appended"], outcome.facts["present"], outcome.holds) == (8, 4, True)
    assert outcome.lines[-1] == ("Workers count the appended events. Next: python -m ops rebuild --stage pipeline")
    assert (again.facts["appended"], again.facts["present"]) == (0, 12)
    assert again.lines[-1] == "Next: python -m ops rebuild --stage pipeline"
    assert {*read_log()} == {*events, later}
    assert verify() == {}


def test_restored_events_are_appended_in_the_order_of_time(engine, back_up, pipeline):
    """Late events cost more to count."""
    events = append_events(12)
    back_up()
    empty_log(engine)
    pipeline.new_records()

    run_restore()

    times = [int(record["dynamodb"]["NewImage"]["recorded_at"]["N"]) for record in pipeline.new_records()]
    assert times == sorted(event.recorded_at_ms for event in events)


def test_retry_of_a_deleted_increment_is_the_same_event(engine, back_up):
    """The client repeats the increment with its key, after the deletion and before the restore."""
    (event,) = append_events(1)
    back_up()
    delete(engine, [event])
    retried = replace(event, recorded_at_ms=event.recorded_at_ms + 5_000)
    event_log.append(retried)

    outcome = run_restore()

    assert (outcome.facts["present"], outcome.facts["problems"], outcome.holds) == (1, 0, True)
    assert read_log() == [retried]


@pytest.mark.parametrize("change", [{"by": 9}, {"recorded_at_ms": A_TIME_MS - 1}])
def test_event_that_differs_from_the_recorded_one_is_reported(engine, back_up, change):
    event, *others = append_events(3)
    back_up()
    delete(engine, [event, *others])
    edited = replace(event, **change)
    event_log.append(edited)

    outcome = run_restore()

    assert outcome.facts["listed"] == [
        f"{RESTORED}: event {event.event_id} of counter {event.counter_id} is already recorded as Incremented "
        f"{edited.by:+} with different content"
    ]
    assert (outcome.holds, outcome.facts["appended"]) == (False, 2)
    assert {*read_log()} == {edited, *others}


def test_unreadable_event_is_reported_and_the_others_are_restored(engine, back_up):
    events = append_events(3)
    put_raw(engine, version={"N": "9"})
    back_up()
    empty_log(engine)

    outcome = run_restore()

    (problem,) = outcome.facts["listed"]
    assert problem.startswith(f"{RESTORED}: event ")
    assert "cannot be read by this version: unknown event type or version: 'Incremented' 9" in problem
    assert (outcome.holds, {*read_log()}) == (False, {*events})


@pytest.mark.parametrize("shards", ["1", "3"])
def test_purged_counter_does_not_come_back(engine, pipeline, back_up, shards):
    """The log has lost both the counter's events and their purge. The restored table has both."""
    junk = [an_event(counter_id="junk", recorded_at_ms=A_TIME_MS + at) for at in range(5)]
    pipeline.record(*junk)
    note = notes.Note("spam", "ann")
    purge.purge(settings.current(), ["junk"], note, is_open=lambda _: False, confirm=lambda _: None, dry_run=False)
    back_up()
    empty_log(engine)

    with environment(SHARDS=shards):
        run_restore()
        pipeline.deliver()
        rebuild()
        differences, counter = verify(), queries.get_counter("junk")

    assert differences == {}
    assert (counter.value, counter.version) == (0, 0)


def test_table_from_before_a_purge_changes_nothing(engine, pipeline, back_up):
    junk = [an_event(counter_id="junk", recorded_at_ms=A_TIME_MS + at) for at in range(5)]
    pipeline.record(*junk)
    pipeline.new_records()
    back_up()
    note = notes.Note("spam", "ann")
    purge.purge(settings.current(), ["junk"], note, is_open=lambda _: False, confirm=lambda _: None, dry_run=False)

    outcome = run_restore()
    pipeline.deliver()

    assert (outcome.facts["appended"], outcome.facts["present"]) == (0, 5)
    assert verify() == {}
    assert queries.get_counter("junk").version == 0


def describe_as(engine, **changes):
    """Change the description of the restored table."""

    def gate(attempt):
        answer = attempt.carry_out()
        if attempt.operation == "DescribeTable" and RESTORED in str(attempt.request.body):
            content = json.loads(answer.content)
            content["Table"] |= changes
            return faults.response(attempt.request, 200, {}, json.dumps(content).encode())
        return answer

    engine.gate = gate


AN_ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"RestoreSummary": {"SourceTableArn": f"{AN_ARN}counter-other-event-log"}},
            "must be restored from counter-pipeline-event-log, or from a table whose name starts with "
            "counter-pipeline-event-log-, got counter-other-event-log",
        ),
        ({"TableStatus": "CREATING"}, "is not ready: it is CREATING. Wait with `aws dynamodb wait table-exists"),
        (
            {"KeySchema": [{"AttributeName": "event_id", "KeyType": "HASH"}]},
            r"must have the key of an event log, got \{'event_id': \('HASH', 'S'\)\}",
        ),
    ],
)
def test_table_that_is_not_a_restored_log_is_refused(engine, back_up, changes, message):
    back_up()
    describe_as(engine, **changes)

    with pytest.raises(OperatorError, match=rf"Table {RESTORED} {message}"):
        run_restore()


@pytest.mark.parametrize("source", ["counter-pipeline-event-log", "counter-pipeline-event-log-at-noon"])
def test_table_that_was_restored_from_this_log_is_accepted(engine, back_up, source):
    append_events(3)
    back_up()
    describe_as(engine, RestoreSummary={"SourceTableArn": f"{AN_ARN}{source}"})

    assert run_restore().facts["present"] == 3


def test_log_of_another_stage_is_refused(engine):
    """Such a log is a separate table, which AWS did not restore."""
    client, own = engine.client("dynamodb"), settings.current().event_log_table
    table = client.describe_table(TableName=own)["Table"]
    keys = {name: table[name] for name in ("KeySchema", "AttributeDefinitions")}
    client.create_table(TableName="counter-other-event-log", BillingMode="PAY_PER_REQUEST", **keys)

    try:
        with pytest.raises(OperatorError, match=rf"must be restored from {own}, .* got counter-other-event-log"):
            run_restore("counter-other-event-log")
    finally:
        client.delete_table(TableName="counter-other-event-log")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("nowhere", "No such table: nowhere in us-east-1"),
        ("counter-pipeline-counters", "must have the key of an event log"),
        ("counter-pipeline-event-log", "must be another log, got this stage's own"),
    ],
)
def test_other_table_is_refused(table, message):
    with pytest.raises(OperatorError, match=message):
        run_restore(table)


#: The requests of a restore of 8 of 12 events, in pages and chunks of 4.
REQUESTS = 12


def work_in_small_chunks(monkeypatch):
    scan = log_reader.scan
    monkeypatch.setattr(log_reader, "scan", functools.partial(scan, at_once=4))
    monkeypatch.setattr(other_log, "_AT_ONCE", 4)
    monkeypatch.setattr(missing_events, "_AT_ONCE", 4)
    monkeypatch.setattr(missing_events, "_THREADS", 1)


def test_undisturbed_restore_makes_the_asserted_number_of_requests(engine, back_up, monkeypatch):
    work_in_small_chunks(monkeypatch)
    events = append_events()
    back_up()
    delete(engine, events[2:10])
    engine.gate = disturbance = faults.Disturbance(None, faults.no_fault, every_attempt=False)

    run_restore()

    assert len(disturbance.calls) == REQUESTS


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("at", range(REQUESTS))
def test_interrupted_restore_is_finished_by_the_next(engine, pipeline, back_up, monkeypatch, name, at):  # noqa: PLR0917
    work_in_small_chunks(monkeypatch)
    events = append_events()
    pipeline.deliver()
    back_up()
    delete(engine, events[2:10])
    pipeline.new_records()
    engine.gate = disturbance = faults.Disturbance(at, *FAULTS[name])

    try:
        assert run_restore().holds
        assert len(disturbance.calls) >= REQUESTS
    except (faults.DiedError, UnavailableError, ClientError, BotoCoreError):
        pass
    engine.gate = faults.no_fault
    assert {*read_log()} <= {*events}
    again = run_restore()
    pipeline.deliver()

    assert again.facts["appended"] + again.facts["present"] == len(events)
    assert {*read_log()} == {*events}
    assert verify() == {}


@pytest.mark.parametrize("operation", ["Scan", "TransactWriteItems"])
def test_restore_waits_until_throttling_ends(engine, back_up, operation):
    """The reads of both tables, or the writes, are throttled."""
    events = append_events()
    back_up()
    delete(engine, events[2:10])
    engine.gate = throttle = faults.Throttle(operation, faults.exceed_throughput, times=20)

    outcome = run_restore()

    assert (throttle.left, outcome.facts["appended"], outcome.holds) == (0, 8, True)
