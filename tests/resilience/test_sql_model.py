"""Count each event exactly once in the SQL read model, within the limits of its databases."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import event as listening
from sqlalchemy import select

from chalicelib.domain.events import LARGEST_AMOUNT, LATEST_MS, Event
from chalicelib.errors import ContendedError, PartlyCountedError, ReadModelUnavailableError
from chalicelib.extras.sql import read_model
from chalicelib.extras.sql.schema import events as events_table
from testkit.builders import a_counter_id, an_adjustment, an_event
from tests import databases, sql_faults
from tests.environments import sql_environment
from tests.pipeline import run_concurrently
from tests.resilience.test_sql_crash_points import check_in_the_end, check_meanwhile, fold

pytestmark = pytest.mark.sample(1)

ROUNDS = 6
WORKERS = 4
SCHEDULES = 40

#: The codes of a conflict in PostgreSQL and Aurora DSQL.
CODES = ["40001", "40P01", "OC000", "OC001"]


def test_event_in_overlapping_batches_is_new_to_one_worker(database):
    for turn in range(ROUNDS):
        chance = random.Random(turn)
        events = [an_event(counter_id=f"{turn}-{n % 3}", by=n + 1) for n in range(40)]
        batches = [chance.sample(events, 30) for _ in range(WORKERS)]
        conflicts: list[str] = []

        new = run_concurrently(
            WORKERS,
            lambda worker, batches=batches, conflicts=conflicts: count_until_accepted(batches[worker], conflicts),
        )

        counted = {(event.counter_id, event.event_id) for batch in batches for event in batch}
        assert sum(map(len, new)) == len(counted)
        assert frozenset().union(*new) == counted
    check_totals_match_rows(database)


def test_size_grows_by_the_number_of_distinct_events(database):
    before = read_model.get_size()
    events = [an_event(counter_id=a_counter_id()) for _ in range(7)]

    read_model.count([*events, *events[:3]])
    read_model.count(events[2:])

    assert read_model.get_size() - before == 7


def test_concurrent_workers_on_one_counter_conflict_and_retry(database):
    """Retry a transaction that loses a conflict. Aurora DSQL reports conflicts, because transactions read snapshots."""
    conflicts: list[object] = []
    listening.listen(read_model.client(), "handle_error", lambda context: conflicts.append(context.original_exception))

    for turn in range(ROUNDS):
        run_concurrently(
            WORKERS, lambda _, turn=turn: count_until_accepted([an_event(counter_id=f"hot-{turn}")], conflicts)
        )

    assert database.counters() == {f"hot-{turn}": (WORKERS, WORKERS) for turn in range(ROUNDS)}
    if database.name == "auroradsql":
        assert {getattr(error, "sqlstate", None) for error in conflicts} == {"40001"}


def count_until_accepted(batch, conflicts):
    """Count the batch, as often as the queue redelivers it, and return its new events."""
    while True:
        try:
            return read_model.count(batch)
        except ContendedError as error:
            conflicts.append(str(error))


def check_totals_match_rows(database):
    """Check that the totals match the rows."""
    rows = database.ask("SELECT counter_id, sum(amount), count(*) FROM events GROUP BY counter_id")

    assert database.counters() == {name: (int(total), number) for name, total, number in rows}


deliveries = st.lists(st.lists(st.integers(0, 11), max_size=8), max_size=8)


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
@hypothesis_settings(max_examples=SCHEDULES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedule=deliveries, amounts=st.lists(st.integers(-5, 5).filter(bool), min_size=12, max_size=12))
def test_any_delivery_schedule_ends_at_the_sum_of_the_events(database, schedule, amounts):
    names = [a_counter_id() for _ in range(2)]
    log: list[Event] = [an_adjustment(counter_id=names[n % 2], by=by) for n, by in enumerate(amounts)]
    before = database.counters()

    delivered: dict[tuple[str, str], Event] = {}
    for batch in schedule:
        events: list[Event] = [log[n] for n in batch]
        new = read_model.count(events)
        assert new == {(event.counter_id, event.event_id) for event in events} - delivered.keys()
        delivered |= {(event.counter_id, event.event_id): event for event in events}
        assert database.counters() == before | fold(delivered.values())
    read_model.count(log)

    assert database.counters() == before | fold(log)


def test_event_is_stored_as_recorded(database):
    name = a_counter_id()
    events: list[Event] = [
        an_event(counter_id=name, by=LARGEST_AMOUNT, recorded_at_ms=0),
        an_event(counter_id=name, by=1, recorded_at_ms=1_700_000_000_009),
        an_adjustment(counter_id=name, by=-LARGEST_AMOUNT, recorded_at_ms=4_102_444_799_999, reason="\U0001f4a5" * 200),
    ]

    read_model.count(events)

    with read_model.client().connect() as connection:
        rows = connection.execute(select(events_table).order_by(events_table.c.recorded_at)).all()
    assert [(row.counter_id, row.event_id, row.amount) for row in rows] == [
        (event.counter_id, event.event_id, event.by) for event in events
    ]
    assert [row.recorded_at.isoformat(timespec="milliseconds") for row in rows] == [
        "1970-01-01T00:00:00.000+00:00",
        "2023-11-14T22:13:20.009+00:00",
        "2099-12-31T23:59:59.999+00:00",
    ]
    assert [(row.type, row.reason) for row in rows] == [
        ("Incremented", None),
        ("Incremented", None),
        ("Adjusted", "\U0001f4a5" * 200),
    ]


def test_name_of_the_adjusting_operator_is_not_stored(database):
    read_model.count([an_adjustment(who="someone in particular")])

    assert "someone" not in str(database.ask("SELECT * FROM events"))


def test_event_with_the_latest_allowed_time_is_counted(database):
    read_model.count([an_event(counter_id="late", recorded_at_ms=LATEST_MS)])

    assert database.counters() == {"late": (1, 1)}


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_totals_are_exact_beyond_64_bits(database):
    events = [an_event(counter_id="large", by=LARGEST_AMOUNT) for _ in range(1100)]

    read_model.count(events)

    assert 1100 * LARGEST_AMOUNT > 2**63
    assert database.counters() == {"large": (1100 * LARGEST_AMOUNT, 1100)}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_sqlite_overflow_is_refused_and_does_not_block_other_counters(database):
    large = [an_event(counter_id="large", by=LARGEST_AMOUNT) for _ in range(1024)]
    small = an_event(counter_id="small")
    read_model.count(large)

    with pytest.raises(PartlyCountedError) as refused:
        read_model.count([an_event(counter_id="large", by=LARGEST_AMOUNT), small])

    assert refused.value.uncounted == {"large"}
    assert refused.value.new == {("small", small.event_id)}
    assert database.counters() == {"large": (1024 * LARGEST_AMOUNT, 1024), "small": (1, 1)}


def fail_from(number):
    """Return a fault in which the server fails from this step on."""

    def disturb(position, step):
        if position >= number:
            raise psycopg.OperationalError("the server is gone")
        step.carry_out()

    return disturb


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_outage_between_transactions_reports_the_counted_events(database, monkeypatch):
    monkeypatch.setattr(read_model, "EVENTS_PER_TRANSACTION", 2)
    events = [an_event(counter_id=name) for name in ("a", "b", "b", "c")]

    with sql_faults.inject(read_model.client(), fail_from(3)), pytest.raises(PartlyCountedError) as outage:
        read_model.count(events)
    with sql_faults.inject(read_model.client(), fail_from(2)), pytest.raises(ReadModelUnavailableError):
        read_model.count(events)  # the first two are already counted, and no event is new
    new_meanwhile, counted_meanwhile = outage.value.new, database.event_ids()
    remaining = read_model.count(events)

    assert outage.value.uncounted == {"b", "c"}
    assert new_meanwhile == counted_meanwhile
    assert (len(new_meanwhile), len(remaining)) == (2, 2)
    assert "the server is gone" in str(outage.value)
    check_in_the_end(database, events)


@pytest.mark.parametrize("database", ["auroradsql"], indirect=True)
def test_largest_batch_of_new_counters_fits_one_transaction(database, guard):
    events = [
        an_adjustment(counter_id=f"{n:04}" + "x" * 60, reason="\U0001f4a5" * 200)
        for n in range(read_model.EVENTS_PER_TRANSACTION + 1)
    ]

    read_model.count(events)

    assert len(database.counters()) == len(events)
    assert guard.most_rows == 3 * read_model.EVENTS_PER_TRANSACTION <= databases.MOST_ROWS


@pytest.mark.parametrize("database", ["auroradsql"], indirect=True)
@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE one (n integer)", "CREATE TABLE two (n integer)"],
        ["CREATE TABLE one (n integer REFERENCES counters)"],
        ["CREATE INDEX by_value ON counters (value)"],
        ["CREATE TABLE one (n serial)"],
        ["TRUNCATE events"],
        ["SAVEPOINT one"],
        ["DELETE FROM counters", "DROP VIEW daily"],
        ["INSERT INTO counters SELECT n::text, 0, 0 FROM generate_series(1, 3001) AS n"],
    ],
)
def test_guard_refuses_statements_that_aurora_dsql_refuses(database, statements):
    with read_model.client().begin() as connection:
        for statement in statements[:-1]:
            connection.exec_driver_sql(statement)
        with pytest.raises(databases.RefusedByDsqlError):
            connection.exec_driver_sql(statements[-1])
        connection.rollback()


@pytest.mark.parametrize("database", ["auroradsql"], indirect=True)
@pytest.mark.parametrize(("user", "action"), [("admin", "DbConnectAdmin"), ("counter", "DbConnect")])
def test_aurora_dsql_connection_uses_an_iam_token_as_password(database, postgresql, user, action):
    if not postgresql.ask("postgres", f"SELECT 1 FROM pg_roles WHERE rolname = '{user}'"):
        postgresql.ask("postgres", f"CREATE ROLE {user} LOGIN")
    engine = read_model.engine_at(database.url.replace("postgres@", f"{user}@", 1))

    with engine.connect() as connection:
        driver_connection: Any = connection.connection.driver_connection
        password = driver_connection.info.password
    engine.dispose()

    assert f"Action={action}&" in password
    assert "X-Amz-Signature=" in password


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("position", range(3))
def test_conflict_with_any_code_is_retried(database, code, position):
    events = [an_event(counter_id=name) for name in "ab"]

    def conflict_twice(number, step):
        if number in (position, 2 * position + 1):
            raise sql_faults.conflict(step.connection, code)
        step.carry_out()

    with sql_faults.inject(read_model.client(), conflict_twice) as steps:
        new = read_model.count(events)

    assert len(new) == 2
    assert len(steps) == 2 * position + 2 + 3
    check_in_the_end(database, events)


def test_conflict_at_every_attempt_is_a_temporary_failure(database, monkeypatch):
    monkeypatch.setattr(read_model, "_TRIES", 3)
    events = [an_event()]

    with (
        sql_faults.inject(read_model.client(), lambda _, step: sql_faults.abort(step)) as steps,
        pytest.raises(ContendedError),
    ):
        read_model.count(events)
    check_meanwhile(database, events)
    read_model.count(events)

    assert len(steps) == 3
    check_in_the_end(database, events)


def test_returned_rows_do_not_block_the_commit(database):
    """Fetch all returned rows: SQLite cannot commit while a writing statement has more rows to return."""
    cursors: list[object] = []  # so that garbage collection does not close them
    listening.listen(
        read_model.client(), "after_cursor_execute", lambda _connection, cursor, *_: cursors.append(cursor)
    )

    read_model.count([an_event(counter_id="a")])

    assert len(cursors) == 2, "the transaction was retried"
    assert database.counters() == {"a": (1, 1)}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_open_reader_does_not_block_counting(database):
    read_model.count([an_event(counter_id="before")])
    with read_model.client().connect() as reader:
        result = reader.exec_driver_sql("SELECT counter_id FROM counters")

        read_model.count([an_event(counter_id="meanwhile")])

        assert result.all() == [("before",)]
    assert database.counters().keys() == {"before", "meanwhile"}


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/file", "postgresql+psycopg://postgres@/counter?host=/no"])
def test_unreachable_database_is_a_temporary_failure(url):
    with sql_environment(url), pytest.raises(ReadModelUnavailableError):
        read_model.count([an_event()])


def test_missing_schema_is_a_temporary_failure_and_not_created(tmp_path):
    empty = databases.sqlite_database(tmp_path / "empty.sqlite")

    with sql_environment(empty.url):
        with pytest.raises(ReadModelUnavailableError, match="no such table"):
            read_model.count([an_event()])
        read_model.make_schema(empty.url)
        read_model.count([an_event(counter_id="a")])

    assert empty.counters() == {"a": (1, 1)}


def test_schema_can_be_created_again_during_counting(database):
    events = [an_event(counter_id="a") for _ in range(50)]
    done = threading.Event()

    with ThreadPoolExecutor(1) as pool:

        def count_all():
            try:
                for event in events:
                    count_until_accepted([event], [])
            finally:
                done.set()

        counting = pool.submit(count_all)
        while not done.is_set():
            read_model.make_schema(database.url)
        counting.result()

    assert database.counters() == {"a": (50, 50)}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_counting_needs_no_right_to_alter_or_delete(database):
    database.ask("DROP ROLE IF EXISTS function")
    database.ask("CREATE ROLE function LOGIN")
    database.ask("GRANT SELECT, INSERT ON events TO function")
    database.ask("GRANT SELECT, INSERT, UPDATE ON counters TO function")
    events = [an_event(counter_id=name) for name in "aab"]

    with sql_environment(database.url.replace("postgres@", "function@", 1)):
        read_model.count(events)
        read_model.count(events)

    check_in_the_end(database, events)
    database.ask("DROP OWNED BY function")
    database.ask("DROP ROLE function")
