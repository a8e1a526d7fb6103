"""
Copy the log of another stage, while clients use both stages.

The command may be interrupted at any request; the next run finishes it.
"""

import functools
import random
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import event_log, log_reader, settings
from chalicelib.aws import tables
from chalicelib.domain.events import Purged
from chalicelib.errors import UnavailableError
from chalicelib.read_model import queries
from ops.cli.errors import OperatorError
from ops.maintenance import counters, missing_events, other_log, purge
from testkit import engine as testkit_engine
from testkit import faults
from testkit.builders import A_TIME_MS, an_adjustment, an_event, an_event_by_caller, log_items
from tests.environments import environment
from tests.resilience.read_model_damage import empty_tables
from tests.resilience.test_crash_points import FAULTS
from tests.resilience.test_export_import import an_id, empty_log, read_log, rebuild, verify

pytestmark = pytest.mark.usefixtures("no_waits", "empty")

SOURCE = settings.read({"STAGE": "source", "COUNTERS": "*"})


@pytest.fixture
def empty(engine):
    """Empty the stage's tables, and create those of another stage."""
    empty_tables(engine)
    empty_log(engine)
    client = engine.client("dynamodb")
    definitions = testkit_engine.table_definitions(SOURCE.stage)
    for definition in definitions:
        client.create_table(**definition)
    yield
    for definition in definitions:
        client.delete_table(TableName=definition["TableName"])


def aws_client() -> Any:
    """Return the application's client, whose requests the engine serves."""
    return tables.client()


def run_copy(*, dry_run=False):
    return other_log.copy(settings.current(), SOURCE, aws_client(), 10**9, dry_run=dry_run)


@pytest.fixture
def record(engine):
    """Record an event in the source's log, unless the log has its id, as the source's commands do."""

    def put(event):
        (item,) = log_items([event])
        client = engine.client("dynamodb")
        try:
            client.put_item(
                TableName=SOURCE.event_log_table, Item=item, ConditionExpression="attribute_not_exists(event_id)"
            )
        except client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    return put


def make_events(number=12):
    makers: list[Any] = [an_event, an_event_by_caller, an_adjustment]
    return [
        makers[at % 3](counter_id=f"c{at % 4}", event_id=an_id(at), by=at + 1, recorded_at_ms=A_TIME_MS + at)
        for at in range(number)
    ]


@pytest.mark.parametrize("shards", ["1", "3"])
def test_copy_has_each_event_of_the_source_once(pipeline, record, shards):
    events = make_events(40)
    for event in events:
        record(event)

    with environment(SHARDS=shards):
        planned, first = run_copy(dry_run=True), run_copy()
        pipeline.deliver()
        later = an_event(counter_id="c1", recorded_at_ms=A_TIME_MS + 50)
        record(later)
        second, third = run_copy(), run_copy()
        pipeline.deliver()
        differences, log = verify(), read_log()

    numbers = [(each.facts["appended"], each.facts["present"]) for each in (planned, first, second, third)]
    assert numbers == [(40, 0), (40, 0), (1, 40), (0, 41)]
    assert first.lines[-1] == "Workers count the appended events. Next: python -m ops rebuild --stage pipeline"
    assert {*log} == {*events, later}
    assert differences == {}


@pytest.mark.parametrize("seed", range(5))
def test_increment_that_is_sent_to_both_stages_counts_once(pipeline, record, seed):
    """Clients switch to the other stage during the copy, and repeat increments with an unknown outcome."""
    chance = random.Random(seed)
    increments = [an_event(counter_id=f"c{at % 3}", event_id=an_id(at), by=at + 1) for at in range(30)]
    for at, event in enumerate(increments):
        stages = chance.choice(["source", "both", "other"])
        if stages != "other":
            record(replace(event, recorded_at_ms=A_TIME_MS + at))
        if chance.random() < 0.2:
            run_copy()
        if stages != "source":
            event_log.append(replace(event, recorded_at_ms=A_TIME_MS + at + chance.randint(-5, 5)))
    outcome = run_copy()
    pipeline.deliver()

    log = read_log()
    assert (outcome.holds, outcome.facts["problems"]) == (True, 0)
    assert sorted((event.event_id, event.by) for event in log) == sorted(
        (each.event_id, each.by) for each in increments
    )
    assert sum(queries.get_counter(f"c{at}").value for at in range(3)) == sum(each.by for each in increments)
    assert verify() == {}


def test_event_that_differs_in_both_stages_is_reported(record):
    event, other = make_events(2)
    record(event)
    record(other)
    event_log.append(replace(event, by=99))

    outcome = run_copy()

    assert outcome.facts["listed"] == [
        f"{SOURCE.event_log_table}: event {event.event_id} of counter {event.counter_id} is already recorded as "
        "Incremented +99 with different content"
    ]
    assert (outcome.holds, outcome.facts["appended"]) == (False, 1)


@pytest.mark.parametrize("shards", ["1", "3"])
def test_purged_counter_stays_purged_in_the_copy(pipeline, record, shards):
    for at in range(6):
        record(an_event(counter_id="junk", event_id=an_id(at), recorded_at_ms=A_TIME_MS + at))
    until_ms = A_TIME_MS + 5
    a_purge = Purged("junk", purge.make_purge_id(until_ms, 0, 1), 0, until_ms + 9, until_ms, "spam", "ann")
    record(a_purge)
    record(an_event(counter_id="junk", event_id=an_id(9), by=5, recorded_at_ms=A_TIME_MS + 100))

    with environment(SHARDS=shards):
        run_copy()
        pipeline.deliver()
        rebuild()
        differences, value = verify(), queries.get_counter("junk").value
        again = run_copy()

    assert (differences, value) == ({}, 5)
    assert again.facts["appended"] == 0


def test_copy_names_the_entries_that_the_catalog_lacks(engine):
    """A stage that moves has closed all counters. They must not be closed in the other stage."""
    engine.client("dynamodb").put_item(
        TableName=SOURCE.catalog_table,
        Item={
            "name": {"S": "counters"},
            "added": {"SS": ["both", "new"]},
            "closed": {"SS": ["*"]},
            "hidden": {"SS": ["spam-*"]},
        },
    )
    counters.change("add", ("both",))

    outcome = run_copy()

    assert outcome.lines[-3:] == [
        "The catalog of stage source has entries that stage pipeline lacks. To add them:",
        "python -m ops counters add new --stage pipeline",
        "python -m ops counters hide 'spam-*' --stage pipeline",
    ]


def test_copy_of_a_log_to_itself_is_refused():
    with pytest.raises(OperatorError, match=r"counter-pipeline-event-log must be another log"):
        other_log.copy(settings.current(), settings.current(), aws_client(), 1, dry_run=False)


def test_copy_of_a_stage_without_a_log_is_refused():
    other = settings.read({"STAGE": "nowhere"})

    with pytest.raises(OperatorError, match=r"No such table: counter-nowhere-event-log in us-east-1"):
        other_log.copy(settings.current(), other, aws_client(), 1, dry_run=False)


#: The requests of a copy of 8 of 12 events, in pages and chunks of 4.
REQUESTS = 14


def work_in_small_chunks(monkeypatch):
    monkeypatch.setattr(log_reader, "scan", functools.partial(log_reader.scan, at_once=4))
    monkeypatch.setattr(other_log, "_AT_ONCE", 4)
    monkeypatch.setattr(missing_events, "_AT_ONCE", 4)
    monkeypatch.setattr(missing_events, "_THREADS", 1)


def copy_some(record, pipeline):
    events = make_events()
    for event in events[8:]:
        record(event)
    run_copy()
    pipeline.deliver()
    for event in events[:8]:
        record(event)
    return events


def test_undisturbed_copy_makes_the_asserted_number_of_requests(engine, pipeline, record, monkeypatch):
    work_in_small_chunks(monkeypatch)
    copy_some(record, pipeline)
    engine.gate = disturbance = faults.Disturbance(None, faults.no_fault, every_attempt=False)

    run_copy()

    assert len(disturbance.calls) == REQUESTS


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("at", range(REQUESTS))
def test_interrupted_copy_is_finished_by_the_next(engine, pipeline, record, monkeypatch, name, at):  # noqa: PLR0917
    work_in_small_chunks(monkeypatch)
    events = copy_some(record, pipeline)
    engine.gate = disturbance = faults.Disturbance(at, *FAULTS[name])

    try:
        assert run_copy().holds
        assert len(disturbance.calls) >= REQUESTS
    except (faults.DiedError, UnavailableError, ClientError, BotoCoreError):
        pass
    engine.gate = faults.no_fault
    assert {*read_log()} <= {*events}
    again = run_copy()
    pipeline.deliver()

    assert again.facts["appended"] + again.facts["present"] == len(events)
    assert {*read_log()} == {*events}
    assert verify() == {}


@pytest.mark.parametrize("table", [SOURCE.event_log_table, "counter-pipeline-event-log"])
def test_copy_waits_until_throttling_of_a_scan_ends(engine, record, table):
    events = make_events()
    for event in events:
        record(event)
    throttle = faults.Throttle("Scan", faults.throttle, times=20)
    engine.gate = lambda attempt: throttle(attempt) if table in str(attempt.request.body) else attempt.carry_out()

    outcome = run_copy()

    assert (throttle.left, outcome.facts["appended"], outcome.holds) == (0, 12, True)
