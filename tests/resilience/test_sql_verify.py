"""Verifying the SQL read model: each difference is reported by its kind, in each database."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event as listening

from chalicelib import event_log
from chalicelib.extras.sql import read_model, rows
from chalicelib.extras.verification import report as kinds
from tests.builders import a_counter_id, an_event
from tests.comparisons import verify_rows
from tests.resilience import sql_damage
from tests.resilience.sql_damage import DAMAGES

pytestmark = pytest.mark.sample(1)


@pytest.fixture
def name(engine):
    """A counter of the test's own."""
    return a_counter_id()


def verified(*names, waits=False, lag_s=0, advance=lambda _: None):
    return verify_rows(names, names, lag_s=lag_s, waits=waits, advance=advance)


def of_all(*names, advance=lambda _: None):
    """All counters of the database, with what the log has of these."""
    return verify_rows(names, (), advance=advance)


def now_ms():
    return time.time_ns() // 1_000_000


def test_read_model_that_matches_the_log_passes(database, name):
    other = f"{name}.other"
    sql_damage.count_events(name)
    sql_damage.count_events(other)

    some, all_of_it = verified(name, other), of_all(name, other)

    for report in (some, all_of_it):
        assert (report.holds, report.counters, report.events, report.entries) == (True, 2, 10, 10)


def test_a_counter_never_incremented_holds(database, name):
    assert verified(name).holds


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_told_by_its_kind_and_of_its_counter(database, name, damage):
    events, sound = sql_damage.count_events(name), f"{name}.sound"
    sql_damage.count_events(sound)

    DAMAGES[damage].apply(database, events)

    for report in (verified(name, sound), of_all(name, sound)):
        assert dict(report.numbers) == DAMAGES[damage].kinds
        assert {difference.counter_id for difference in report.differences} == {name}


def test_what_differs_is_told_with_what_it_is_and_what_it_should_be(database, name):
    events = sql_damage.count_events(name)
    for damage in ("an amount is wrong", "a reason is wrong"):
        DAMAGES[damage].apply(database, events)

    told = {difference.event_id: difference.detail for difference in verified(name).differences}

    assert told == {
        events[3].event_id: "its amount is 500, and the log says 8",
        events[4].event_id: "its reason is 'none', and the log says 'counted twice by hand'",
    }


def test_a_counter_of_which_the_log_knows_nothing_is_told(database, name):
    sql_damage.count_events(name)
    read_model.count([an_event(counter_id=f"{name}.stranger")])
    database.ask(f"INSERT INTO counters VALUES ('{name}.empty', 3, 1)")

    told = {difference.counter_id: difference.kind for difference in of_all(name).differences}

    assert told == {f"{name}.stranger": kinds.UNKNOWN_ROW, f"{name}.empty": kinds.EMPTY}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_a_file_takes_that_no_event_has_is_told_and_ends_nothing(database, name):
    events = sql_damage.count_events(name)
    database.ask(f"UPDATE events SET recorded_at = 'yesterday' WHERE event_id = '{events[0].event_id}'")
    database.ask(f"UPDATE events SET amount = 'many' WHERE event_id = '{events[1].event_id}'")
    database.ask(f"UPDATE events SET event_id = 'one' WHERE event_id = '{events[2].event_id}'")

    report = verified(name)

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

    right = verified(name)
    database.ask("UPDATE counters SET value = value + 1")
    wrong = verified(name)

    assert right.holds
    assert dict(wrong.numbers) == {kinds.TOO_HIGH: 1}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_young_event_is_pending_and_an_old_one_is_wrong(database, name):
    sql_damage.count_events(name)
    event_log.append(an_event(counter_id=name, recorded_at_ms=now_ms()))

    young, old = verified(name, lag_s=3600), verified(name, lag_s=0)

    assert (young.holds, young.pending) == (True, 1)
    assert dict(old.numbers) == {kinds.UNCOUNTED: 1}
    assert old.differences[0].detail.startswith("by 1, recorded ")


def test_what_is_counted_after_the_rows_were_read_is_not_missing(database, name):
    sql_damage.count_events(name)
    late = an_event(counter_id=name)
    event_log.append(late)

    def count_it(_):
        read_model.count([late])

    report = verified(name, advance=count_it)

    assert (report.holds, report.events, report.entries) == (True, 6, 6)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_verifying_waits_until_it_is_known_of_each_pending_event(database, name):
    sql_damage.count_events(name)
    late = an_event(counter_id=name, recorded_at_ms=now_ms())
    event_log.append(late)

    looked = []

    def count_it_meanwhile(_connection, _cursor, statement, *_):
        if " IN (" in statement:
            looked.append(statement)
            if len(looked) == 3:
                read_model.count([late])

    listening.listen(read_model.client(), "before_cursor_execute", count_it_meanwhile)
    report = verified(name, waits=True, lag_s=3600)

    assert (report.holds, report.pending, report.events) == (True, 0, 6)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_verifying_gives_up_on_an_event_once_it_is_old(database, name):
    event_log.append(an_event(counter_id=name, recorded_at_ms=now_ms()))

    assert dict(verified(name, waits=True, lag_s=1).numbers) == {kinds.UNCOUNTED: 1}


def test_events_counted_at_any_moment_of_verify_are_not_differences(database, name):
    sql_damage.count_events(name)
    made = []

    def traffic(_):
        made.append(sql_damage.count_events(name))
        made.append(sql_damage.count_events(f"{name}.new-{len(made)}"))

    some, all_of_it = verified(name, advance=traffic), of_all(name, advance=traffic)

    assert len(made) > 4
    assert dict(some.numbers) == {}
    # Of counters that are new since, the log was not read; each of their rows is looked up in it.
    assert dict(all_of_it.numbers) == {}


def test_traffic_does_not_hide_a_total_that_is_wrong(database, name):
    events = sql_damage.count_events(name)
    DAMAGES["a value is too high"].apply(database, events)

    report = verified(name, advance=lambda _: sql_damage.count_events(name))

    assert dict(report.numbers) == {kinds.TOO_HIGH: 1}


def test_beside_workers_on_real_threads_there_is_no_difference(database, name):
    sql_damage.count_events(name)
    ended = threading.Event()

    def work(number):
        while not ended.is_set():
            event = an_event(counter_id=f"{name}.{number % 2}", recorded_at_ms=now_ms())
            event_log.append(event)
            read_model.count([event])

    with ThreadPoolExecutor(3) as pool:
        working = [pool.submit(work, number) for number in range(3)]
        try:
            reports = [verified(name, f"{name}.0", f"{name}.1", waits=True, lag_s=60) for _ in range(4)]
        finally:
            ended.set()
        for one in working:
            one.result()

    assert [dict(report.numbers) for report in reports] == [{}] * 4
    assert reports[-1].events > reports[0].events


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_is_put_right_or_removed_meanwhile_is_no_difference(database, name):
    events = sql_damage.count_events(name)
    stranger = str(uuid.uuid4())
    DAMAGES["an amount is wrong"].apply(database, events)
    sql_damage.add_stray_row(database, events, stranger)

    def put_right(_):
        database.ask(f"DELETE FROM events WHERE event_id = '{stranger}'")
        database.ask(f"UPDATE events SET amount = 8 WHERE event_id = '{events[3].event_id}'")
        database.ask(f"UPDATE counters SET value = 14, version = 5 WHERE counter_id = '{name}'")

    report = verified(name, advance=put_right)

    assert dict(report.numbers) == {}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_event_that_cannot_be_read_is_told_and_its_row_is_no_stranger(database, name, engine):
    events = sql_damage.count_events(name)
    newer = str(uuid.uuid4())
    item = {"partition": {"S": name}, "event_id": {"S": newer}, "type": {"S": "Squared"}}
    engine.client("dynamodb").put_item(TableName="counter-pipeline-event-log", Item=item)
    sql_damage.add_stray_row(database, events, newer)

    report = verified(name)

    assert dict(report.numbers) == {kinds.UNREADABLE: 1}
    assert (report.differences[0].event_id, report.unreadable) == (newer, {name})


def test_pages_of_any_size_make_the_same_whole(database, name, monkeypatch):
    names = [f"{name}.{n}" for n in range(3)]
    for one in names:
        sql_damage.count_events(one)

    for size in (1, 2, 5, 7, 15, 16):
        monkeypatch.setattr(rows, "_PAGE", size)
        scanned = [*rows.scan(read_model.client())]
        assert len(scanned) == len(set(scanned)) == 15
        assert [*rows.scan_counter_ids(read_model.client())] == sorted(names)
        assert of_all(*names).holds
