"""Verify the SQL read model: report each difference by its kind, in each database."""

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event as listening

from chalicelib import event_log
from chalicelib.extras.sql import read_model, rows
from chalicelib.extras.verification import report as kinds
from testkit.builders import a_counter_id, an_event
from tests.comparisons import verify_rows
from tests.resilience import sql_damage
from tests.resilience.sql_damage import DAMAGES

pytestmark = pytest.mark.sample(1)


@pytest.fixture
def name(engine):
    """Return the id of the test's own counter."""
    return a_counter_id()


def verify_counters(*names, waits=False, lag_s=0, advance=lambda _: None):
    return verify_rows(names, names, lag_s=lag_s, waits=waits, advance=advance)


def verify_all(*names, advance=lambda _: None):
    """Verify all counters of the database, with the logged events of these counters."""
    return verify_rows(names, (), advance=advance)


def now_ms():
    return time.time_ns() // 1_000_000


def test_read_model_that_matches_the_log_passes(database, name):
    other = f"{name}.other"
    sql_damage.count_events(name)
    sql_damage.count_events(other)

    selected, complete = verify_counters(name, other), verify_all(name, other)

    for report in (selected, complete):
        assert (report.holds, report.counters, report.events, report.entries) == (True, 2, 10, 10)


def test_counter_never_incremented_passes(database, name):
    assert verify_counters(name).holds


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_reported_with_its_kind_and_counter(database, name, damage):
    events, sound = sql_damage.count_events(name), f"{name}.sound"
    sql_damage.count_events(sound)

    DAMAGES[damage].apply(database, events)

    for report in (verify_counters(name, sound), verify_all(name, sound)):
        assert dict(report.numbers) == DAMAGES[damage].kinds
        assert {difference.counter_id for difference in report.differences} == {name}


def test_difference_is_reported_with_actual_and_expected_value(database, name):
    events = sql_damage.count_events(name)
    for damage in ("an amount is wrong", "a reason is wrong"):
        DAMAGES[damage].apply(database, events)

    details = {difference.event_id: difference.detail for difference in verify_counters(name).differences}

    assert details == {
        events[3].event_id: "the amount is 500, but the log has 8",
        events[4].event_id: "the reason is 'none', but the log has 'counted twice by hand'",
    }


def test_counter_without_logged_events_is_reported(database, name):
    sql_damage.count_events(name)
    read_model.count([an_event(counter_id=f"{name}.stranger")])
    database.ask(f"INSERT INTO counters VALUES ('{name}.empty', 3, 1)")

    kinds_by_counter = {difference.counter_id: difference.kind for difference in verify_all(name).differences}

    assert kinds_by_counter == {f"{name}.stranger": kinds.UNKNOWN_ROW, f"{name}.empty": kinds.EMPTY}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_invalid_values_in_sqlite_are_reported(database, name):
    events = sql_damage.count_events(name)
    database.ask(f"UPDATE events SET recorded_at = 'yesterday' WHERE event_id = '{events[0].event_id}'")
    database.ask(f"UPDATE events SET amount = 'many' WHERE event_id = '{events[1].event_id}'")
    database.ask(f"UPDATE events SET event_id = 'one' WHERE event_id = '{events[2].event_id}'")

    report = verify_counters(name)

    assert dict(report.numbers) == {
        kinds.DIFFERENT_ROW: 2,
        kinds.UNCOUNTED: 1,
        kinds.UNKNOWN_ROW: 1,
        kinds.TOO_HIGH: 1,
    }


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_sums_beyond_64_bits_are_compared_exactly(database, name):
    events = [an_event(counter_id=name, by=2**53 - 1) for _ in range(1030)]
    read_model.count(events)
    for event in events:
        event_log.append(event)

    correct = verify_counters(name)
    database.ask("UPDATE counters SET value = value + 1")
    wrong = verify_counters(name)

    assert correct.holds
    assert dict(wrong.numbers) == {kinds.TOO_HIGH: 1}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_young_event_is_pending_and_old_event_is_a_difference(database, name):
    sql_damage.count_events(name)
    event_log.append(an_event(counter_id=name, recorded_at_ms=now_ms()))

    young, old = verify_counters(name, lag_s=3600), verify_counters(name, lag_s=0)

    assert (young.holds, young.pending) == (True, 1)
    assert dict(old.numbers) == {kinds.UNCOUNTED: 1}
    assert old.differences[0].detail.startswith("by 1, recorded ")


def test_event_counted_after_the_rows_were_read_is_not_missing(database, name):
    sql_damage.count_events(name)
    late = an_event(counter_id=name)
    event_log.append(late)

    def count_late_event(_):
        read_model.count([late])

    report = verify_counters(name, advance=count_late_event)

    assert (report.holds, report.events, report.entries) == (True, 6, 6)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_verify_with_wait_waits_until_pending_events_are_counted(database, name):
    sql_damage.count_events(name)
    late = an_event(counter_id=name, recorded_at_ms=now_ms())
    event_log.append(late)

    lookups = []

    def count_at_third_lookup(_connection, _cursor, statement, *_):
        if " IN (" in statement:
            lookups.append(statement)
            if len(lookups) == 3:
                read_model.count([late])

    listening.listen(read_model.client(), "before_cursor_execute", count_at_third_lookup)
    report = verify_counters(name, waits=True, lag_s=3600)

    assert (report.holds, report.pending, report.events) == (True, 0, 6)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_verify_with_wait_reports_events_older_than_the_lag(database, name):
    event_log.append(an_event(counter_id=name, recorded_at_ms=now_ms()))

    assert dict(verify_counters(name, waits=True, lag_s=1).numbers) == {kinds.UNCOUNTED: 1}


def test_events_counted_at_any_moment_of_verify_are_not_differences(database, name):
    sql_damage.count_events(name)
    batches = []

    def traffic(_):
        batches.append(sql_damage.count_events(name))
        batches.append(sql_damage.count_events(f"{name}.new-{len(batches)}"))

    selected, complete = verify_counters(name, advance=traffic), verify_all(name, advance=traffic)

    assert len(batches) > 4
    assert dict(selected.numbers) == {}
    # The log was not read for counters that are new since then. Each of their rows is looked up in the log.
    assert dict(complete.numbers) == {}


def test_traffic_does_not_hide_a_wrong_total(database, name):
    events = sql_damage.count_events(name)
    DAMAGES["a value is too high"].apply(database, events)

    report = verify_counters(name, advance=lambda _: sql_damage.count_events(name))

    assert dict(report.numbers) == {kinds.TOO_HIGH: 1}


def test_verify_next_to_worker_threads_reports_no_difference(database, name):
    sql_damage.count_events(name)
    is_done = threading.Event()

    def work(number):
        while not is_done.is_set():
            event = an_event(counter_id=f"{name}.{number % 2}", recorded_at_ms=now_ms())
            event_log.append(event)
            read_model.count([event])

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(work, number) for number in range(3)]
        try:
            reports = [verify_counters(name, f"{name}.0", f"{name}.1", waits=True, lag_s=60) for _ in range(4)]
        finally:
            is_done.set()
        for future in futures:
            future.result()

    assert [dict(report.numbers) for report in reports] == [{}] * 4
    assert reports[-1].events > reports[0].events


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_difference_repaired_during_verify_is_not_reported(database, name):
    events = sql_damage.count_events(name)
    stranger = str(uuid.uuid4())
    DAMAGES["an amount is wrong"].apply(database, events)
    sql_damage.add_stray_row(database, events, stranger)

    def repair_rows(_):
        database.ask(f"DELETE FROM events WHERE event_id = '{stranger}'")
        database.ask(f"UPDATE events SET amount = 8 WHERE event_id = '{events[3].event_id}'")
        database.ask(f"UPDATE counters SET value = 14, version = 5 WHERE counter_id = '{name}'")

    report = verify_counters(name, advance=repair_rows)

    assert dict(report.numbers) == {}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_unreadable_event_is_reported_and_its_row_is_not_unknown(database, name, engine):
    events = sql_damage.count_events(name)
    newer = str(uuid.uuid4())
    item = {"partition": {"S": name}, "event_id": {"S": newer}, "type": {"S": "Squared"}}
    engine.client("dynamodb").put_item(TableName="counter-pipeline-event-log", Item=item)
    sql_damage.add_stray_row(database, events, newer)

    report = verify_counters(name)

    assert dict(report.numbers) == {kinds.UNREADABLE: 1}
    assert (report.differences[0].event_id, report.differences[0].counter_id) == (newer, name)


def test_scan_with_any_page_size_returns_every_row_once(database, name, monkeypatch):
    names = [f"{name}.{n}" for n in range(3)]
    for counter_id in names:
        sql_damage.count_events(counter_id)

    for size in (1, 2, 5, 7, 15, 16):
        monkeypatch.setattr(rows, "_PAGE", size)
        scanned = [*rows.scan(read_model.client())]
        assert len(scanned) == len(set(scanned)) == 15
        assert [*rows.scan_counter_ids(read_model.client())] == sorted(names)
        assert verify_all(*names).holds
