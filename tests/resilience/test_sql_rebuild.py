"""
Rebuilding the SQL read model in place, from any damage, interrupted anywhere, next to workers.

`make check` interrupts and disturbs it at each statement and commit; the number of points is asserted.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import create_engine, insert
from sqlalchemy.exc import DBAPIError

from chalicelib import event_log, settings
from chalicelib.domain.events import LARGEST_AMOUNT
from chalicelib.errors import ContendedError, ReadModelUnavailableError, UnavailableError
from chalicelib.extras.sql import read_model, repair, rows, schema
from chalicelib.extras.verification import report as kinds
from chalicelib.settings import SQL
from ops.cli.errors import OperatorError, describe
from ops.maintenance import projections, rebuild, verify
from tests import databases, sql_faults
from tests.builders import a_counter_id, an_event
from tests.comparisons import repair_rows
from tests.faults import DiedError
from tests.resilience import sql_damage
from tests.resilience.sql_damage import DAMAGES, find_wrong_totals
from tests.resilience.test_sql_crash_points import FAULTS, FAULTS_BY_DATABASE, check_in_the_end

if TYPE_CHECKING:
    from chalicelib.domain.events import Event

pytestmark = pytest.mark.sample(1)

#: All that may be wrong, where it can be wrong at once, and what else there is.
TOGETHER = ("an event is missing", "a row has no event", "an amount is wrong", "a value is too high")

#: Statements and commits that it takes to put right counters with all that and more.
STEPS = 38

#: Steps times the faults of each database. A change of this number is a change of what is proved.
POINTS = 38 * (4 + 7)


@pytest.fixture
def name(engine):
    """A counter of the test's own, and the start of the names of others."""
    return a_counter_id()


@pytest.fixture
def one_engine(monkeypatch):
    """The operator's engine is this process's own, so that its steps can be disturbed; and they come one by one."""
    monkeypatch.setattr(projections, "connect_sql", lambda _: nullcontext(read_model.client()))
    monkeypatch.setattr(read_model, "_TRIES", 3)


def rebuilt(*names):
    return rebuild.rebuild(settings.current(), names, SQL)


def corrections(outcome):
    return outcome.facts[SQL]["corrected"]


def damaged(database, name):
    """Counters with all that may be wrong. Gives their names, and the events of all."""
    many, without_totals, stranger = (f"{name}.{kind}" for kind in ("many", "without-totals", "stranger"))
    events, others = sql_damage.count_events(many), sql_damage.count_events(without_totals)
    for damage in TOGETHER:
        DAMAGES[damage].apply(database, events)
    DAMAGES["the totals are gone"].apply(database, others)
    read_model.count([an_event(counter_id=stranger)])
    return [many, without_totals, stranger], [*events, *others]


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_put_right(database, name, damage):
    events, other = sql_damage.count_events(name), sql_damage.count_events(f"{name}.other")
    DAMAGES[damage].apply(database, events)

    done = rebuilt(name)

    assert (done.holds, done.facts[SQL]["numbers"]) == (True, {})
    check_in_the_end(database, [*events, *other])
    with read_model.open_engine(database.url) as engine:
        assert {*rows.scan(engine)} == {read_model.row_of(event) for event in [*events, *other]}


def test_what_was_done_is_told_and_done_again_is_nothing(database, name):
    names, events = damaged(database, name)

    done, again = rebuilt(*names), rebuilt(*names)

    assert corrections(done) == {
        kinds.UNCOUNTED: 1,
        kinds.DIFFERENT_ROW: 1,
        kinds.UNKNOWN_ROW: 2,
        kinds.TOO_HIGH: 1,
        kinds.TOO_LOW: 1,
    }
    assert corrections(again) == {}
    assert "2 corrected: row without an event." in done.text.splitlines()
    check_in_the_end(database, events)


def test_a_stage_that_has_been_counting_is_filled(database, name):
    events = [event for n in range(3) for event in sql_damage.log_events(f"{name}.{n}")]

    done = rebuilt(*(f"{name}.{n}" for n in range(3)))

    assert (done.holds, corrections(done)) == (True, {kinds.UNCOUNTED: 15})
    check_in_the_end(database, events)


def test_dry_rebuild_reports_differences_and_changes_nothing(database, name):
    names, _ = damaged(database, name)
    before = database.counters(), database.event_ids()

    dry = rebuild.rebuild(settings.current(), names, SQL, dry_run=True)

    assert not dry.holds
    assert dry.facts[SQL]["numbers"] == {
        kinds.UNCOUNTED: 1,
        kinds.DIFFERENT_ROW: 1,
        kinds.UNKNOWN_ROW: 2,
        kinds.TOO_HIGH: 1,
        kinds.TOO_LOW: 1,
    }
    assert (database.counters(), database.event_ids()) == before


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_database_without_tables_is_refused_with_the_way_out(database, name, tmp_path, monkeypatch):
    monkeypatch.setenv("SQL_OWNER_URL", databases.sqlite_database(tmp_path / "empty.sqlite").url)

    for command in (
        lambda: rebuilt(name),
        lambda: verify.verify(settings.current(), [name], 0, waits=False, projection=SQL),
    ):
        with pytest.raises(OperatorError, match="has no tables: run provision"):
            command()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_operator_without_a_documented_right_is_refused_by_its_name(database, name, monkeypatch):
    names, events = damaged(database, name)
    database.ask("DROP ROLE IF EXISTS operator")
    database.ask("CREATE ROLE operator LOGIN")
    database.ask("GRANT SELECT ON events, counters TO operator")
    monkeypatch.setenv("SQL_OWNER_URL", database.url.replace("postgres@", "operator@", 1))

    verified = verify.verify(settings.current(), names, 0, waits=False, projection=SQL)
    with pytest.raises(ReadModelUnavailableError) as lacking:
        rebuilt(*names)
    database.ask("GRANT INSERT, UPDATE, DELETE ON events, counters TO operator")
    done = rebuilt(*names)
    database.ask("DROP OWNED BY operator")
    database.ask("DROP ROLE operator")

    assert not verified.holds
    assert describe(lacking.value).startswith("The database role lacks a right: connect as a role that has it")
    assert done.holds
    check_in_the_end(database, events)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_counter_the_database_cannot_hold_blocks_no_other_repair(database, name):
    large = [an_event(counter_id=f"{name}.large", by=LARGEST_AMOUNT) for _ in range(1025)]
    small = an_event(counter_id=f"{name}.small")
    for event in (*large, small):
        event_log.append(event)

    done = rebuilt(f"{name}.large", f"{name}.small")

    assert not done.holds
    assert f"Counter {name}.large: its value is larger than the database can store exactly." in done.text
    assert database.counters()[f"{name}.small"] == (1, 1)
    assert find_wrong_totals(database) == set()


#: Statements and commits that it takes to put right one counter whose rows come to too much, and one that is missing.
BEYOND_STEPS = 23

FAR = 9_000_000_000_000_000_000
END = 2**63 - 1

#: What makes a counter come to more than SQLite holds: with the rows that it has, or on the way to what they ought to
#: be.
BEYOND = {
    "amounts": ["UPDATE events SET amount = {far}"],
    "amounts, and the totals are at their end, so that nothing can be counted": [
        "UPDATE events SET amount = {far}",
        "DELETE FROM events WHERE event_id = '{last}'",
        "UPDATE counters SET value = {end}",
    ],
    "rows without events": [
        "UPDATE events SET event_id = 'no-event-' || rowid, amount = {far}",
    ],
    "amounts of which some are negative": [
        "UPDATE events SET amount = -{far}",
        "UPDATE events SET amount = {far} WHERE event_id IN ('{first}', '{last}')",
    ],
    "amounts that come to less together than without the first": [
        "UPDATE events SET amount = 0",
        "UPDATE events SET amount = -{far} WHERE event_id = '{first}'",
        "UPDATE events SET amount = {far} WHERE event_id IN ('{second}', '{last}')",
        "UPDATE counters SET value = {far}",
    ],
}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("damage", BEYOND)
@pytest.mark.parametrize("at_once", [1, 100])
def test_counter_whose_rows_overflow_is_repaired_with_the_others(database, name, monkeypatch, damage, at_once):
    events, others = sql_damage.count_events(f"{name}.a"), sql_damage.log_events(f"{name}.b")
    first, second, *_, last = sorted(event.event_id for event in events)
    for statement in BEYOND[damage]:
        database.ask(statement.format(far=FAR, end=END, first=first, second=second, last=last))
    monkeypatch.setattr(repair, "_ROWS_AT_ONCE", at_once)

    done, again = rebuilt(f"{name}.a", f"{name}.b"), rebuilt(f"{name}.a", f"{name}.b")

    assert (done.holds, again.holds) == (True, True), done.text
    assert done.facts[SQL]["failed"] == {}
    assert corrections(again) == {}
    check_in_the_end(database, [*events, *others])


@pytest.mark.exhaustive
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("fault", ["the function dies before it", "the function dies after it"])
def test_rebuild_of_an_overflow_cut_off_anywhere_is_finished_by_the_next(database, name, one_engine, fault):
    happens, _ = FAULTS[fault]
    whole = None

    for at in itertools.count():
        events, others = sql_damage.count_events(f"{name}.{at}.a"), sql_damage.log_events(f"{name}.{at}.b")
        names = [others[0].counter_id, events[0].counter_id]
        database.ask(f"UPDATE events SET amount = {FAR}")
        database.ask("UPDATE counters SET value = 0")

        def disturb(number, step, at=at):
            happens(step) if number >= at else step.carry_out()

        with contextlib.suppress(DiedError), sql_faults.inject(read_model.client(), disturb) as steps:
            whole = repair_rows(*names)
        gc.collect()
        repair_rows(*names)
        check_in_the_end(database, [*events, *others])
        if whole:
            break
        database.ask("DELETE FROM events")
        database.ask("DELETE FROM counters")

    assert at == len(steps) == BEYOND_STEPS, steps


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_counter_whose_log_overflows_has_its_rows_repaired(database, name):
    """The rebuild reports the counter."""
    events = [an_event(counter_id=f"{name}.large", by=LARGEST_AMOUNT) for _ in range(1025)]
    other = an_event(counter_id=f"{name}.small")
    for event in (*events, other):
        event_log.append(event)
    read_model.count([events[0]])
    with read_model.client().begin() as connection:
        connection.execute(
            insert(schema.events), [read_model.values_of(read_model.row_of(event)) for event in events[1:]]
        )

    done = rebuilt(f"{name}.large", f"{name}.small")

    assert not done.holds
    assert f"Counter {name}.large: its value is larger than the database can store exactly." in done.text
    assert database.counters()[f"{name}.small"] == (1, 1)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_an_outage_half_way_is_not_taken_for_what_does_not_fit(database, name, one_engine, monkeypatch):
    monkeypatch.setattr(read_model, "EVENTS_PER_TRANSACTION", 1)
    events = sql_damage.log_events(name)
    outages: list[str] = []

    def gone_once_when_the_first_is_counted(_, step):
        if not outages and database.event_ids():
            outages.append(step.operation)
            raise psycopg.OperationalError("the server is gone")
        step.carry_out()

    with (
        sql_faults.inject(read_model.client(), gone_once_when_the_first_is_counted),
        pytest.raises(UnavailableError, match="the server is gone"),
    ):
        rebuilt(name)
    counted_meanwhile = len(database.event_ids())
    repair_rows(name)

    assert counted_meanwhile == 1
    check_in_the_end(database, events)


@pytest.mark.parametrize("database", ["auroradsql"], indirect=True)
def test_largest_repair_fits_one_transaction(database, name, guard):
    events = [an_event(counter_id=name, recorded_at_ms=n) for n in range(repair._ROWS_AT_ONCE + 1)]
    for event in events:
        event_log.append(event)
    read_model.count(events)
    database.ask("UPDATE events SET amount = amount + 1")
    guard.most_rows = 0

    done = rebuilt(name)

    assert (done.holds, corrections(done)[kinds.DIFFERENT_ROW]) == (True, len(events))
    assert guard.most_rows == 4 * repair._ROWS_AT_ONCE + 3 <= databases.MOST_ROWS


def test_the_steps_of_a_rebuild_are_those_that_are_disturbed(database, name, one_engine):
    names, events = damaged(database, name)

    with sql_faults.inject(read_model.client(), lambda _, step: step.carry_out()) as steps:
        repair_rows(*names)

    assert len(steps) == STEPS
    check_in_the_end(database, events)


@pytest.mark.exhaustive
@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("database", "fault"),
    [(name, fault) for name in FAULTS_BY_DATABASE for fault in FAULTS_BY_DATABASE[name]],
    indirect=["database"],
)
def test_fault_at_any_step_leaves_totals_that_match_the_rows(database, name, one_engine, fault):
    """A second rebuild finishes the repair."""
    happens, always = FAULTS[fault]

    for at in range(STEPS):
        names, events = damaged(database, f"{name}.{at}")
        wrong = find_wrong_totals(database)

        def disturb(number, step, at=at):
            nonlocal wrong
            is_meant = number >= at if always else number == at
            try:
                happens(step) if is_meant else step.carry_out()
            finally:
                now = find_wrong_totals(database)
                assert now <= wrong, "a counter that was the sum of its rows is not, for who reads meanwhile"
                wrong = now

        returned = None
        with contextlib.suppress(DiedError, UnavailableError), sql_faults.inject(read_model.client(), disturb) as steps:
            returned = repair_rows(*names)
        gc.collect()  # with a process that dies, all that it holds is gone
        assert len(steps) > at
        if returned:
            check_in_the_end(database, events)
        assert find_wrong_totals(database) <= wrong
        repair_rows(*names)
        check_in_the_end(database, events)
        database.ask("DELETE FROM events")
        database.ask("DELETE FROM counters")


def test_the_number_of_crash_points_is_what_it_was():
    assert sum(map(len, FAULTS_BY_DATABASE.values())) * STEPS == POINTS


def rival_of(database):
    """An engine that waits for no lock, or hardly."""
    if database.name == "sqlite":
        return create_engine(database.url, connect_args={"timeout": 0})
    return read_model.engine_at(f"{database.url}&options=-c%20lock_timeout%3D20")


@pytest.mark.exhaustive
def test_worker_that_counts_at_any_step_counts_once(database, name, one_engine):
    """Of a rival that has to wait, the queue delivers the messages again."""
    rival = rival_of(database)
    met = []

    for at in range(STEPS):
        names, events = damaged(database, f"{name}.{at}")
        waiting: list[Event] = []

        def counts_beside(number, step, at=at, of=(names, events, waiting)):
            names, events, waiting = of
            if number == at:
                waiting += [an_event(counter_id=one, by=100) for one in names]
                for event in waiting:
                    event_log.append(event)
                events += waiting
            for event in [*waiting]:
                with contextlib.suppress(DBAPIError):
                    with rival.begin() as connection:
                        read_model.add(connection, [read_model.row_of(event)])
                    waiting.remove(event)
            met.append(len(waiting))
            step.carry_out()

        with sql_faults.inject(read_model.client(), counts_beside) as steps, contextlib.suppress(ContendedError):
            repair_rows(*names)
        assert len(steps) > at
        read_model.count(waiting)

        assert find_wrong_totals(database) == set()
        repair_rows(*names)
        check_in_the_end(database, events)
        database.ask("DELETE FROM events")
        database.ask("DELETE FROM counters")

    rival.dispose()
    assert any(met), "no rival had to wait: nothing was locked"


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
@pytest.mark.parametrize("has_totals", [True, False])
def test_who_has_waited_for_a_rival_knows_what_it_counted(database, name, has_totals):
    events = sql_damage.count_events(name)
    database.ask("UPDATE counters SET value = 500" if has_totals else "DELETE FROM counters")
    late = an_event(counter_id=name, by=100)

    with ThreadPoolExecutor(1) as pool, read_model.open_engine(database.url) as rival:
        with rival.begin() as connection:
            read_model.add(connection, [read_model.row_of(late)])
            mending = pool.submit(repair.recompute, read_model.client(), name)
            while not (mending.done() or database.ask("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")):
                threading.Event().wait(0.01)
        mending.result()

    check_in_the_end(database, [*events, late])


def test_rebuild_next_to_worker_threads_ends_right(database, name):
    """No reader sees a total that differs from its rows."""
    names, events = damaged(database, name)
    rebuilt(*names)  # from here on, all totals are those of the rows
    for damage in ("a time is wrong", "a type is wrong"):
        DAMAGES[damage].apply(database, sql_damage.count_events(f"{name}.many"))
    events = [*event_log.skip_unreadable(event for one in names for event in event_log.scan_counter(one))]
    ended, made, seen = threading.Event(), list(events), []

    def work(number):
        while not ended.is_set():
            event = an_event(counter_id=names[number], recorded_at_ms=time.time_ns() // 1_000_000)
            event_log.append(event)
            made.append(event)
            read_model.count([event, *events[:3]])

    def read():
        while not ended.is_set():
            seen.append(find_wrong_totals(database))

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(work, number) for number in range(3)] + [pool.submit(read)]
        try:
            for turn in range(4):
                stranger = an_event(counter_id=names[turn % 2])
                read_model.count([stranger])
                done = rebuilt(*names)
                assert (done.holds, corrections(done)[kinds.UNKNOWN_ROW]) == (True, 1), done.text
        finally:
            ended.set()
        for one in working:
            one.result()

    assert set().union(*seen) == set()
    assert len(seen) > 4
    check_in_the_end(database, made)
