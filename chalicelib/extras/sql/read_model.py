"""
Create the schema of the SQL read model, and count each event in it exactly once.

Each transaction counts up to `EVENTS_PER_TRANSACTION` events. It inserts the events whose rows do not exist yet, and
adds their amounts to the counters. The primary key of a row, (counter id, event id), also identifies the event in the
log. Therefore, duplicates, order and batch boundaries do not matter. The read model lags behind the log and can be
rebuilt from it.

Errors of SQLAlchemy and its drivers are raised as the project's errors. A `ReadModelUnavailableError` means that the
database refuses the request or does not respond. A `ContendedError` means that every attempt conflicted with another
transaction or lost its connection.
"""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError
from sqlalchemy import create_engine, func, inspect, make_url, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, SQLAlchemyError

from chalicelib import retries, settings
from chalicelib.errors import (
    ContendedError,
    DoesNotFitError,
    PartlyCountedError,
    ReadModelUnavailableError,
    SettingsError,
    UnavailableError,
)
from chalicelib.extras.sql.schema import Row, counters, list_statements, tables
from chalicelib.extras.sql.schema import events as event_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import URL, Connection, Engine, Executable

    from chalicelib.domain.events import Event

_T = TypeVar("_T")

#: A transaction of Aurora DSQL may write at most 3,000 rows and 10 MiB. An index entry counts as a row, so an event
#: takes two rows, and its counter may take a third. (User guide, "Cluster quotas and database limits".)
EVENTS_PER_TRANSACTION = 500

_TRIES = 12

#: The longest wait for a lock or a connection. All attempts together take less than the function's timeout.
_WAIT_S = 2

#: The driver's arguments for database servers. A connection can break while a function is frozen. These arguments
#: detect that within seconds.
_CONNECT_ARGS = {
    "connect_timeout": _WAIT_S,
    "tcp_user_timeout": 3000,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
}

#: Aurora DSQL closes each connection after an hour (user guide, "Cluster quotas and database limits").
_RECYCLE_AFTER_S = 3000

#: SQLSTATEs of conflicts: PostgreSQL's serialization failure and deadlock, and Aurora DSQL's data and schema conflicts.
_CONFLICTS = frozenset({"40001", "40P01", "OC000", "OC001"})

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: SQLite's SQLITE_BUSY and SQLITE_LOCKED.
_LOCKED = frozenset({5, 6})


def count(events: Iterable[Event], _likely_counted: Collection[str] = ()) -> frozenset[tuple[str, str]]:
    """
    Count each event once, in the stage's database. Return the newly counted events, as (counter id, event id).

    Redelivery, order, batch boundaries and concurrent workers do not change the result. An interrupted worker has
    completed some transactions and left no trace of the others.

    Raises:
        ReadModelUnavailableError: the database refuses the request or does not respond. Some events may be counted:
            deliver all of them again.
        ContendedError: every attempt conflicted with a concurrent writer or lost its connection. Some events may be
            counted: deliver all of them again.
        PartlyCountedError: the database cannot store the values of some counters, or failed after it counted some
            events. The events of all other counters are counted.
    """
    return count_rows(map(make_row, events), client())


def count_rows(rows: Iterable[Row], engine: Engine) -> frozenset[tuple[str, str]]:
    """Count the events of these rows in this engine's database; see `count`."""
    by_key = {row[:2]: row for row in rows}
    # All workers use the same order, so that no two transactions wait for each other.
    ordered = [by_key[key] for key in sorted(by_key)]
    new: set[tuple[str, str]] = set()
    failures: dict[str, UnavailableError] = {}
    for start in range(0, len(ordered), EVENTS_PER_TRANSACTION):
        try:
            _count_storable(ordered[start : start + EVENTS_PER_TRANSACTION], engine, new, failures)
        except UnavailableError as outage:
            if not new:
                raise
            failures |= {row.counter_id: outage for row in ordered[start:]}
            break
    if failures:
        raise PartlyCountedError(frozenset(new), failures) from next(iter(failures.values()))
    return frozenset(new)


def _count_storable(
    rows: list[Row], engine: Engine, new: set[tuple[str, str]], failures: dict[str, UnavailableError]
) -> None:
    """Count the rows. Add new rows to `new`, and counters whose values the database cannot store to `failures`."""
    try:
        new |= _count(rows, engine)
    except DoesNotFitError:
        for counter_id, group in _group_by_counter(rows).items():
            try:
                new |= _count(group, engine)
            except DoesNotFitError as failure:
                failures[counter_id] = failure


def get_size() -> int:
    """Return the number of events that the SQL read model has counted, for all counters together."""
    ((number,),) = fetch(client(), select(func.count()).select_from(event_rows))
    return int(number)


def make_schema(url: str) -> None:
    """Create or update the tables and views in the database at this URL. The call is safe to repeat."""
    with open_engine(url) as engine:
        if engine.dialect.name == "sqlite":
            # With WAL, readers do not block writers. The file stores this setting.
            run_in_transaction(engine.begin, lambda connection: connection.execute(text("PRAGMA journal_mode = WAL")))
        for statement in list_statements(engine.dialect.name):
            # Aurora DSQL allows one DDL statement per transaction.
            fetch(engine, statement)


def has_schema(engine: Engine) -> bool:
    """Check whether the database has the read model's tables."""
    return run_in_transaction(engine.begin, lambda own: all(inspect(own).has_table(table.name) for table in tables))


@contextlib.contextmanager
def open_engine(url: str) -> Iterator[Engine]:
    """Provide an engine for the database at this URL until the block ends. It connects on first use."""
    engine = engine_at(url)
    try:
        yield engine
    finally:
        engine.dispose()


@functools.cache
def client() -> Engine:
    """Return the process's only engine for counting, with its connection pool. It connects on first use."""
    return engine_at(settings.current().sql_url)


def engine_at(url: str) -> Engine:
    """
    Return an engine for the database at this URL. It connects on first use, with a short timeout.

    Raises:
        SettingsError: the URL has malformed parameters.
    """
    address = make_url(url)
    if address.get_backend_name() == "auroradsql":
        return _dsql_engine(address)
    arguments = {"timeout": _WAIT_S} if address.get_backend_name() == "sqlite" else _CONNECT_ARGS
    try:
        return create_engine(address, connect_args=arguments)
    except ArgumentError as error:
        raise SettingsError(f"The SQL read model's address is malformed: {error}") from error


def is_conflict(error: object) -> bool:
    """Check whether a driver's error is a conflict with a concurrent transaction, so that a retry may succeed."""
    locked = getattr(error, "sqlite_errorcode", 0) & 0xFF in _LOCKED  # the other bits are an extended code
    return locked or getattr(error, "sqlstate", None) in _CONFLICTS


def _count(rows: list[Row], engine: Engine) -> frozenset[tuple[str, str]]:
    return run_in_transaction(engine.begin, lambda connection: add(connection, rows))


def add(connection: Connection, rows: list[Row]) -> frozenset[tuple[str, str]]:
    """
    Insert the rows whose keys do not exist, and add their amounts to the totals. Return the keys of the inserted rows.

    Each key must occur once. The driver's errors are raised unchanged; the caller, which opened the transaction,
    translates them.
    """
    insert: Any = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    key = (event_rows.c.counter_id, event_rows.c.event_id)
    if_new = insert(event_rows).on_conflict_do_nothing(index_elements=key).returning(*key)
    values = [encode_row(row) for row in rows]
    added = frozenset((row.counter_id, row.event_id) for row in connection.execute(if_new, values))
    if new := [row for row in rows if row[:2] in added]:
        upsert = insert(counters)
        sums = {name: counters.c[name] + upsert.excluded[name] for name in ("value", "version")}
        addition = upsert.on_conflict_do_update(index_elements=[counters.c.counter_id], set_=sums)
        # RETURNING makes every driver send one statement. SQLite cannot commit before its results are read or closed.
        connection.execute(addition.returning(counters.c.counter_id), _sum_by_counter(new)).close()
    return added


def make_row(event: Event) -> Row:
    """Return the event's row."""
    reason = getattr(event, "reason", None)
    return Row(event.counter_id, event.event_id, event.type_name, event.by, event.recorded_at_ms, reason)


def encode_row(row: Row) -> dict[str, Any]:
    """Return the row's values by column."""
    values = row._asdict()
    recorded_at_ms = values.pop("recorded_at_ms")
    return {**values, "recorded_at": _EPOCH + timedelta(milliseconds=recorded_at_ms)}


def _sum_by_counter(rows: list[Row]) -> list[dict[str, Any]]:
    return [
        {"counter_id": counter_id, "value": sum(row.amount for row in group), "version": len(group)}
        for counter_id, group in _group_by_counter(rows).items()
    ]


def _group_by_counter(rows: list[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.counter_id].append(row)
    return groups


def fetch(engine: Engine, statement: Executable) -> list[Any]:
    """Execute a statement in a separate transaction, and return its rows; see `run_in_transaction`."""

    def work(connection: Connection) -> list[Any]:
        result = connection.execute(statement)
        return list(result) if result.returns_rows else []

    return run_in_transaction(engine.begin, work)


def run_in_transaction(
    begin: Callable[[], AbstractContextManager[Connection]], work: Callable[[Connection], _T], tries: int | None = None
) -> _T:
    """
    Call `work` in one transaction, which `begin` opens. Retry after a conflict or a broken connection.

    `tries` is the maximum number of attempts. Default: 12.

    Raises:
        DoesNotFitError: the database cannot store a value; nothing is changed.
        ReadModelUnavailableError: the database refuses the request or does not respond. The outcome is unknown.
        ContendedError: every attempt conflicted with a concurrent writer or lost its connection.
    """
    # Use the driver's error as the cause: SQLAlchemy's would put the whole statement into the log.
    tries = tries or _TRIES
    for _ in retries.with_backoff(tries):
        try:
            with begin() as connection:
                return work(connection)
        except (DataError, IntegrityError) as error:
            raise DoesNotFitError(str(error.orig)) from error.orig
        except OverflowError as error:  # SQLite's driver, for integers of more than 64 bits
            raise DoesNotFitError(str(error)) from error
        except DBAPIError as error:
            if not (error.connection_invalidated or is_conflict(error.orig)):
                raise ReadModelUnavailableError(str(error.orig)) from error.orig
            conflict = error.orig
        except (SQLAlchemyError, BotoCoreError) as error:
            raise ReadModelUnavailableError(str(error)) from error
    raise ContendedError(f"gave up after {tries} tries: {conflict}") from conflict


def _dsql_engine(address: URL) -> Engine:
    """Return an engine for Aurora DSQL. Each connection's password is a new token, generated from AWS credentials."""
    from aurora_dsql_sqlalchemy import create_dsql_engine  # noqa: PLC0415  (packaged only for Aurora DSQL)

    engine: Engine = create_dsql_engine(
        host=address.host or "",
        user=address.username or "admin",
        dbname=address.database or "postgres",
        pool_recycle=_RECYCLE_AFTER_S,
        connect_args={**_CONNECT_ARGS, **address.query},
    )
    return engine
