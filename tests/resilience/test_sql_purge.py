"""Purge counters that are also in the SQL read model."""

from dataclasses import replace

import pytest

from chalicelib import event_log, log_reader, settings
from chalicelib.extras.sql import read_model
from chalicelib.extras.verification import report as kinds
from chalicelib.projections import SQL
from chalicelib.read_model import queries, writer
from ops.maintenance import notes, projections, purge, rebuild, verify
from testkit.builders import A_TIME_MS, a_counter_id, an_event

pytestmark = pytest.mark.sample(1)


@pytest.fixture
def name(engine):
    """Return the id of the test's own counter, which is also the prefix of other ids."""
    return a_counter_id()


def record(counter_id, number, first_ms=0):
    """Append events to the log, and count them in both read models."""
    events = [an_event(counter_id=counter_id, by=3, recorded_at_ms=A_TIME_MS + first_ms + ms) for ms in range(number)]
    for event in events:
        event_log.append(event)
    writer.count(events)
    read_model.count(events)
    return events


def run_purge(*names):
    return purge.purge(
        settings.current(),
        names,
        notes.Note("spam", "ann"),
        is_open=lambda _: False,
        confirm=lambda _: None,
        dry_run=False,
    )


def verify_counters(*names):
    outcome = verify.verify(settings.current(), names, 0, waits=False)
    return {**outcome.facts["numbers"], **outcome.facts[SQL.name]["numbers"]}


def test_purge_deletes_rows_and_totals(database, name):
    events, others = record(f"{name}.spam", 250), record(f"{name}.other", 4)
    new = record(f"{name}.again", 3)

    outcome = run_purge(f"{name}.spam", f"{name}.again")
    new = record(f"{name}.again", 2, first_ms=1000)

    assert (outcome.holds, outcome.facts["events"]) == (True, len(events) + 3)
    assert database.counters() == {f"{name}.other": (12, 4), f"{name}.again": (6, 2)}
    assert database.event_ids() == {(event.counter_id, event.event_id) for event in [*others, *new]}
    assert verify_counters(f"{name}.spam", f"{name}.other", f"{name}.again") == {}


def test_counter_with_an_event_that_only_sql_lacks_is_refused(database, name):
    (event,) = record(name, 1)
    database.ask("DELETE FROM events")
    database.ask("DELETE FROM counters")

    outcome = run_purge(name)

    assert outcome.facts["refused"] == {name: "some of its events are not counted yet: run verify"}
    assert queries.get_counter(name).version == 1
    assert log_reader.read_purge(log_reader.locate(event).partition) == log_reader.NEVER_PURGED


def test_purge_that_ended_before_the_rows_is_finished_by_the_next(database, name, monkeypatch):
    """The other read model no longer has the counter, so its name is found in the database."""
    record(f"{name}.spam", 5)
    record(f"{name}.spam-2", 2)
    with monkeypatch.context() as patched:
        patched.setitem(projections.MAINTENANCE, SQL.name, replace(projections.MAINTENANCE[SQL.name], repair=None))
        first = run_purge(f"{name}.spam*")
    rows_before = database.counters()

    again = run_purge(f"{name}.spam*")

    assert first.lines[-1] == "Projection sql keeps its data: it does not support rebuild."
    assert rows_before == {f"{name}.spam": (15, 5), f"{name}.spam-2": (6, 2)}
    assert (again.facts["counters"], again.facts["events"], database.counters()) == (2, 0, {})
    assert verify_counters(f"{name}.spam", f"{name}.spam-2") == {}


def test_redelivered_row_of_a_purged_event_is_named_and_removed(database, name):
    events = record(name, 5)
    run_purge(name)

    read_model.count(events[:2])

    assert verify_counters(name) == {kinds.PURGED_ROW: 2}
    rebuilt = rebuild.rebuild(settings.current(), [name], [SQL])
    assert rebuilt.facts[SQL.name]["corrected"] == {kinds.PURGED_ROW: 2}
    assert (database.counters(), verify_counters(name)) == ({}, {})
