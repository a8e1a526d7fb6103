"""
Rebuild the SQL read model in place, from any damage, interrupted anywhere, next to workers.

`make check` interrupts the rebuild at each statement and commit. The number of crash points is asserted.
"""

import contextlib
import gc
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import psycopg
import pytest
from sqlalchemy import create_engine, insert
from sqlalchemy.exc import DBAPIError

from chalicelib import event_log, log_reader, settings
from chalicelib.domain.events import LARGEST_AMOUNT, Event
from chalicelib.errors import ContendedError, ReadModelUnavailableError, UnavailableError
from chalicelib.extras.sql import read_model, repair, row_comparison, rows, schema
from chalicelib.extras.verification import report as kinds
from chalicelib.projections import SQL
from ops.cli.errors import OperatorError, describe
from ops.maintenance import projections, rebuild, verify
from testkit.builders import a_counter_id, an_event
from testkit.faults import DiedError
from tests import databases, sql_faults
from tests.comparisons import repair_rows
from tests.resilience import sql_damage
from tests.resilience.sql_damage import DAMAGES, find_wrong_totals
from tests.resilience.test_sql_crash_points import FAULTS, FAULTS_BY_DATABASE, check_in_the_end

pytestmark = pytest.mark.sample(1)

#: Damages that one counter can have at once.
COMBINED_DAMAGES = ("an event is missing", "a row has no event", "an amount is wrong", "a value is too high")

#: Statements and commits of a repair of the counters of `damage_counters`.
STEPS = 38

#: Steps times the faults of each database. A different number means different coverage.
POINTS = 38 * (4 + 7)


@pytest.fixture
def name(engine):
    """Return the id of the test's own counter, which is also the prefix of other ids."""
    return a_counter_id()


@pytest.fixture
def shared_engine(monkeypatch):
    """Run the operator's commands on the engine of this process, where a test can disturb each step."""
    monkeypatch.setattr(projections, "connect_sql", lambda _: nullcontext(read_model.client()))
    monkeypatch.setattr(read_model, "_TRIES", 3)
    gc.collect()
    gc.freeze()  # so that later collections cover only the leftovers of interrupted rebuilds


def run_rebuild(*names):
    return rebuild.rebuild(settings.current(), names, [SQL])


def get_corrections(outcome):
    return outcome.facts[SQL.name]["corrected"]


def damage_counters(database, name):
    """Damage three counters in different ways. Return their ids, and the logged events."""
    many, without_totals, stranger = (f"{name}.{kind}" for kind in ("many", "without-totals", "stranger"))
    events, others = sql_damage.count_events(many), sql_damage.count_events(without_totals)
    for damage in COMBINED_DAMAGES:
        DAMAGES[damage].apply(database, events)
    DAMAGES["the totals are gone"].apply(database, others)
    read_model.count([an_event(counter_id=stranger)])
    return [many, without_totals, stranger], [*events, *others]


@pytest.mark.parametrize("damage", DAMAGES)
def test_rebuild_repairs_each_damage(database, name, damage):
    events, other = sql_damage.count_events(name), sql_damage.count_events(f"{name}.other")
    DAMAGES[damage].apply(database, events)

    done = run_rebuild(name)

    assert (done.holds, done.facts[SQL.name]["numbers"]) == (True, {})
    check_in_the_end(database, [*events, *other])
    with read_model.open_engine(database.url) as engine:
        assert {*rows.scan(engine)} == {read_model.make_row(event) for event in [*events, *other]}


def test_second_rebuild_corrects_nothing(database, name):
    """Report each correction of the first rebuild."""
    names, events = damage_counters(database, name)

    done, again = run_rebuild(*names), run_rebuild(*names)

    assert get_corrections(done) == {
        kinds.UNCOUNTED: 1,
        kinds.DIFFERENT_ROW: 1,
        kinds.UNKNOWN_ROW: 2,
        kinds.TOO_HIGH: 1,
        kinds.TOO_LOW: 1,
    }
    assert get_corrections(again) == {}
    assert "2 corrected: row without an event." in done.text.splitlines()
    check_in_the_end(database, events)


def test_rebuild_fills_an_empty_database_from_the_log(database, name):
    events = [event for n in range(3) for event in sql_damage.log_events(f"{name}.{n}")]

    done = run_rebuild(*(f"{name}.{n}" for n in range(3)))

    assert (done.holds, get_corrections(done)) == (True, {kinds.UNCOUNTED: 15})
    check_in_the_end(database, events)


def test_dry_rebuild_reports_differences_and_changes_nothing(database, name):
    names, _ = damage_counters(database, name)
    before = database.counters(), database.event_ids()

    dry = rebuild.rebuild(settings.current(), names, [SQL], dry_run=True)

    assert not dry.holds
    assert dry.facts[SQL.name]["numbers"] == {
        kinds.UNCOUNTED: 1,
        kinds.DIFFERENT_ROW: 1,
        kinds.UNKNOWN_ROW: 2,
        kinds.TOO_HIGH: 1,
        kinds.TOO_LOW: 1,
    }
    assert (database.counters(), database.event_ids()) == before


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_database_without_tables_is_refused_with_the_way_out(database, name, tmp_path, monkeypatch):
    monkeypatch.setenv("SQL_OWNER_URL", databases.sqlite_database(tmp_path / "empty.sqlite").url)

    for command in (
        lambda: run_rebuild(name),
        lambda: verify.verify(settings.current(), [name], 0, waits=False, selected=[SQL]),
    ):
        with pytest.raises(OperatorError, match="has no tables: run provision"):
            command()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_rebuild_without_a_documented_right_is_refused(database, name, monkeypatch):
    names, events = damage_counters(database, name)
    database.ask("DROP ROLE IF EXISTS operator")
    database.ask("CREATE ROLE operator LOGIN")
    database.ask("GRANT SELECT ON events, counters TO operator")
    monkeypatch.setenv("SQL_OWNER_URL", database.url.replace("postgres@", "operator@", 1))

    verified = verify.verify(settings.current(), names, 0, waits=False, selected=[SQL])
    with pytest.raises(ReadModelUnavailableError) as refused:
        run_rebuild(*names)
    database.ask("GRANT INSERT, UPDATE, DELETE ON events, counters TO operator")
    done = run_rebuild(*names)
    database.ask("DROP OWNED BY operator")
    database.ask("DROP ROLE operator")

    assert not verified.holds
    assert describe(refused.value).startswith("The database role lacks a privilege: connect as a role that has it")
    assert done.holds
    check_in_the_end(database, events)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_counter_too_large_for_the_database_does_not_block_other_repairs(database, name):
    large = [an_event(counter_id=f"{name}.large", by=LARGEST_AMOUNT) for _ in range(1025)]
    small = an_event(counter_id=f"{name}.small")
    for event in (*large, small):
        event_log.append(event)

    done = run_rebuild(f"{name}.large", f"{name}.small")

    assert not done.holds
    assert f"Counter {name}.large: its value is larger than the database can store exactly." in done.text
    assert database.counters()[f"{name}.small"] == (1, 1)
    assert find_wrong_totals(database) == set()


#: Statements and commits of a repair of two counters: the rows of the first overflow, and the second is missing.
OVERFLOW_STEPS = 23

LARGE = 9_000_000_000_000_000_000
LARGEST = 2**63 - 1

#: Statements after which the sum of a counter's rows exceeds 64 bits, at first or during the repair.
OVERFLOWS = {
    "amounts": ["UPDATE events SET amount = {large}"],
    "amounts, and a total at the largest integer, which no event can increase": [
        "UPDATE events SET amount = {large}",
        "DELETE FROM events WHERE event_id = '{last}'",
        "UPDATE counters SET value = {largest}",
    ],
    "rows without events": [
        "UPDATE events SET event_id = 'no-event-' || rowid, amount = {large}",
    ],
    "amounts, some of them negative": [
        "UPDATE events SET amount = -{large}",
        "UPDATE events SET amount = {large} WHERE event_id IN ('{first}', '{last}')",
    ],
    "amounts whose sum is in range, but not without the first": [
        "UPDATE events SET amount = 0",
        "UPDATE events SET amount = -{large} WHERE event_id = '{first}'",
        "UPDATE events SET amount = {large} WHERE event_id IN ('{second}', '{last}')",
        "UPDATE counters SET value = {large}",
    ],
}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("damage", OVERFLOWS)
@pytest.mark.parametrize("at_once", [1, 100])
def test_counter_whose_rows_overflow_is_repaired_with_the_others(database, name, monkeypatch, damage, at_once):
    events, others = sql_damage.count_events(f"{name}.a"), sql_damage.log_events(f"{name}.b")
    first, second, *_, last = sorted(event.event_id for event in events)
    for statement in OVERFLOWS[damage]:
        database.ask(statement.format(large=LARGE, largest=LARGEST, first=first, second=second, last=last))
    monkeypatch.setattr(row_comparison, "ROWS_AT_ONCE", at_once)

    done, again = run_rebuild(f"{name}.a", f"{name}.b"), run_rebuild(f"{name}.a", f"{name}.b")

    assert (done.holds, again.holds) == (True, True), done.text
    assert done.facts[SQL.name]["failed"] == {}
    assert get_corrections(again) == {}
    check_in_the_end(database, [*events, *others])


@pytest.mark.exhaustive
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("fault", ["the function dies before it", "the function dies after it"])
def test_rebuild_after_an_interrupted_overflow_repair_finishes_it(database, name, shared_engine, fault):
    cause, _ = FAULTS[fault]
    is_complete = None

    for position in itertools.count():
        events, others = sql_damage.count_events(f"{name}.{position}.a"), sql_damage.log_events(f"{name}.{position}.b")
        names = [others[0].counter_id, events[0].counter_id]
        database.ask(f"UPDATE events SET amount = {LARGE}")
        database.ask("UPDATE counters SET value = 0")

        def disturb(number, step, position=position):
            cause(step) if number >= position else step.carry_out()

        with contextlib.suppress(DiedError), sql_faults.inject(read_model.client(), disturb) as steps:
            is_complete = repair_rows(*names)
        gc.collect()
        repair_rows(*names)
        check_in_the_end(database, [*events, *others])
        if is_complete:
            break
        database.ask("DELETE FROM events")
        database.ask("DELETE FROM counters")

    assert position == len(steps) == OVERFLOW_STEPS, steps


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_counter_whose_log_overflows_has_its_rows_repaired(database, name):
    """Report the counter as failed."""
    events = [an_event(counter_id=f"{name}.large", by=LARGEST_AMOUNT) for _ in range(1025)]
    other = an_event(counter_id=f"{name}.small")
    for event in (*events, other):
        event_log.append(event)
    read_model.count([events[0]])
    with read_model.client().begin() as connection:
        connection.execute(
            insert(schema.events), [read_model.encode_row(read_model.make_row(event)) for event in events[1:]]
        )

    done = run_rebuild(f"{name}.large", f"{name}.small")

    assert not done.holds
    assert f"Counter {name}.large: its value is larger than the database can store exactly." in done.text
    assert database.counters()[f"{name}.small"] == (1, 1)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_outage_during_rebuild_is_not_reported_as_an_overflow(database, name, shared_engine, monkeypatch):
    monkeypatch.setattr(read_model, "EVENTS_PER_TRANSACTION", 1)
    events = sql_damage.log_events(name)
    outages: list[str] = []

    def fail_once_after_the_first_event(_, step):
        if not outages and database.event_ids():
            outages.append(step.operation)
            raise psycopg.OperationalError("the server is gone")
        step.carry_out()

    with (
        sql_faults.inject(read_model.client(), fail_once_after_the_first_event),
        pytest.raises(UnavailableError, match="the server is gone"),
    ):
        run_rebuild(name)
    counted_before = len(database.event_ids())
    repair_rows(name)

    assert counted_before == 1
    check_in_the_end(database, events)


@pytest.mark.parametrize("database", ["auroradsql"], indirect=True)
def test_largest_repair_fits_one_transaction(database, name, guard):
    events = [an_event(counter_id=name, recorded_at_ms=n) for n in range(row_comparison.ROWS_AT_ONCE + 1)]
    for event in events:
        event_log.append(event)
    read_model.count(events)
    database.ask("UPDATE events SET amount = amount + 1")
    guard.most_rows = 0

    done = run_rebuild(name)

    assert (done.holds, get_corrections(done)[kinds.DIFFERENT_ROW]) == (True, len(events))
    assert guard.most_rows == 4 * row_comparison.ROWS_AT_ONCE + 3 <= databases.MOST_ROWS


def test_rebuild_without_fault_takes_the_expected_steps(database, name, shared_engine):
    names, events = damage_counters(database, name)

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
def test_fault_at_any_step_leaves_totals_that_match_the_rows(database, name, shared_engine, fault):
    """Finish the repair with a second rebuild."""
    cause, recurs = FAULTS[fault]

    for position in range(STEPS):
        names, events = damage_counters(database, f"{name}.{position}")
        wrong = find_wrong_totals(database)

        def disturb(number, step, position=position):
            nonlocal wrong
            is_due = number >= position if recurs else number == position
            try:
                cause(step) if is_due else step.carry_out()
            finally:
                now = find_wrong_totals(database)
                assert now <= wrong, "a concurrent reader sees a new difference between a total and its rows"
                wrong = now

        returned = None
        with contextlib.suppress(DiedError, UnavailableError), sql_faults.inject(read_model.client(), disturb) as steps:
            returned = repair_rows(*names)
        gc.collect()  # a process that dies loses its connections
        assert len(steps) > position
        if returned:
            check_in_the_end(database, events)
        assert find_wrong_totals(database) <= wrong
        repair_rows(*names)
        check_in_the_end(database, events)
        database.ask("DELETE FROM events")
        database.ask("DELETE FROM counters")


def test_number_of_crash_points_is_unchanged():
    assert sum(map(len, FAULTS_BY_DATABASE.values())) * STEPS == POINTS


def connect_worker(database):
    """Return an engine that does not wait for locks, or waits for 20 ms at most."""
    if database.name == "sqlite":
        return create_engine(database.url, connect_args={"timeout": 0})
    return read_model.engine_at(f"{database.url}&options=-c%20lock_timeout%3D20")


@pytest.mark.exhaustive
def test_worker_that_counts_at_any_step_counts_once(database, name, shared_engine):
    """Redeliver the messages of a worker that has to wait for a lock."""
    worker = connect_worker(database)
    waits = []

    for position in range(STEPS):
        names, events = damage_counters(database, f"{name}.{position}")
        waiting: list[Event] = []

        def count_concurrently(number, step, position=position, counters=(names, events, waiting)):
            names, events, waiting = counters
            if number == position:
                waiting += [an_event(counter_id=counter_id, by=100) for counter_id in names]
                for event in waiting:
                    event_log.append(event)
                events += waiting
            for event in [*waiting]:
                with contextlib.suppress(DBAPIError):
                    with worker.begin() as connection:
                        read_model.add(connection, [read_model.make_row(event)])
                    waiting.remove(event)
            waits.append(len(waiting))
            step.carry_out()

        with sql_faults.inject(read_model.client(), count_concurrently) as steps, contextlib.suppress(ContendedError):
            repair_rows(*names)
        assert len(steps) > position
        read_model.count(waiting)

        assert find_wrong_totals(database) == set()
        repair_rows(*names)
        check_in_the_end(database, events)
        database.ask("DELETE FROM events")
        database.ask("DELETE FROM counters")

    worker.dispose()
    assert any(waits), "the worker never had to wait for a lock"


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
@pytest.mark.parametrize("has_totals", [True, False])
def test_recompute_after_a_wait_for_a_lock_includes_new_rows(database, name, has_totals):
    events = sql_damage.count_events(name)
    database.ask("UPDATE counters SET value = 500" if has_totals else "DELETE FROM counters")
    late = an_event(counter_id=name, by=100)

    with ThreadPoolExecutor(1) as pool, read_model.open_engine(database.url) as worker:
        with worker.begin() as connection:
            read_model.add(connection, [read_model.make_row(late)])
            recomputing = pool.submit(repair.recompute, read_model.client(), name)
            while not (
                recomputing.done() or database.ask("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            ):
                threading.Event().wait(0.01)
        recomputing.result()

    check_in_the_end(database, [*events, late])


def test_rebuild_next_to_worker_threads_ends_right(database, name):
    """Show no reader a total that differs from its rows."""
    names, events = damage_counters(database, name)
    run_rebuild(*names)  # after this repair, all totals match the rows
    for damage in ("a time is wrong", "a type is wrong"):
        DAMAGES[damage].apply(database, sql_damage.count_events(f"{name}.many"))
    events = [
        *log_reader.skip_unreadable(event for counter_id in names for event in log_reader.scan_counter(counter_id))
    ]
    is_done, recorded, differences = threading.Event(), list(events), []

    def work(number):
        while not is_done.is_set():
            event = an_event(counter_id=names[number], recorded_at_ms=time.time_ns() // 1_000_000)
            event_log.append(event)
            recorded.append(event)
            read_model.count([event, *events[:3]])

    def read():
        while not is_done.is_set():
            differences.append(find_wrong_totals(database))

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(work, number) for number in range(3)] + [pool.submit(read)]
        try:
            for turn in range(4):
                stranger = an_event(counter_id=names[turn % 2])
                read_model.count([stranger])
                done = run_rebuild(*names)
                assert (done.holds, get_corrections(done)[kinds.UNKNOWN_ROW]) == (True, 1), done.text
        finally:
            is_done.set()
        for future in futures:
            future.result()

    assert set().union(*differences) == set()
    assert len(differences) > 4
    check_in_the_end(database, recorded)
