"""
The relational read model: count events once, and make what that needs. Late, disposable, and made from the log alone.

Counting a batch: insert its events, leave alone those that are there, and add to the counters what was new, all in one
transaction. Whether an event is there is told by its primary key, (counter id, event id), which is its identity in the
log, too: duplicates, order and batch boundaries make no difference.

SQLAlchemy and the drivers below it stop here; what they raise leaves as ours.
"""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError
from sqlalchemy import create_engine, func, inspect, make_url, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from chalicelib import codec, retries, settings
from chalicelib.domain.events import Adjusted
from chalicelib.errors import (
    ContendedError,
    DoesNotFitError,
    PartlyCountedError,
    ReadModelUnavailableError,
    UnavailableError,
)
from chalicelib.extras.sql.schema import counters, statements, tables
from chalicelib.extras.sql.schema import events as event_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy import URL, Connection, Engine

    from chalicelib.domain.events import Event

_T = TypeVar("_T")

#: Aurora DSQL's limit is 3,000 rows a transaction, and an entry of an index is a row; the other, of 10 MiB, is far.
#: (User guide, "Cluster quotas and database limits".) An event is a row and an entry, and its counter may be a third.
EVENTS_PER_TRANSACTION = 500

_TRIES = 12

#: How long a rival's lock, or a connection, is waited for. The tries and this are less than the function's time.
_WAIT_S = 2

#: Of servers. A connection whose other end is gone, as happens while a function sleeps, is known for one in seconds.
_CONNECTING = {
    "connect_timeout": _WAIT_S,
    "tcp_user_timeout": 3000,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
}

#: Aurora DSQL ends a connection after an hour, whatever it does (user guide, "Cluster quotas and database limits").
_KEPT_S = 3000

#: Not now, because of others: PostgreSQL's serialization failure and deadlock, and what Aurora DSQL says of conflicts
#: over data and over the schema.
_CONFLICTS = frozenset({"40001", "40P01", "OC000", "OC001"})

#: SQLite's SQLITE_BUSY and SQLITE_LOCKED.
_LOCKED = frozenset({5, 6})


def count(events: Iterable[Event], engine: Engine | None = None) -> frozenset[tuple[str, str]]:
    """
    Every one of these events is counted, and once. Returns those that were not before, as counter's id and own.

    In the process's own database, unless another `engine` is given. Twice, in part, in another order or at once with
    other workers: the counters end the same. A worker that stops half way has counted some transactions wholly and the
    others not at all.

    Raises:
        ReadModelUnavailableError: the database refuses or does not answer. Some may be counted: deliver all again.
        ContendedError: other workers were quicker at every try. Likewise.
        PartlyCountedError: the events of some counters do not fit, or one of these failures came after some were
            counted; all events of the other counters, if there are any, are.
    """
    engine = engine or client()
    by_identity = {(event.counter_id, event.event_id): event for event in events}
    # In one order everywhere, so that no two transactions wait for each other.
    in_order = [by_identity[identity] for identity in sorted(by_identity)]
    new: set[tuple[str, str]] = set()
    troubles: dict[str, UnavailableError] = {}
    for start in range(0, len(in_order), EVENTS_PER_TRANSACTION):
        try:
            _count_what_fits(in_order[start : start + EVENTS_PER_TRANSACTION], engine, new, troubles)
        except UnavailableError as outage:  # of all that is left
            if not new:
                raise
            troubles |= {event.counter_id: outage for event in in_order[start:]}
            break
    if troubles:
        raise PartlyCountedError(frozenset(new), troubles) from next(iter(troubles.values()))
    return frozenset(new)


def _count_what_fits(
    events: list[Event], engine: Engine, new: set[tuple[str, str]], troubles: dict[str, UnavailableError]
) -> None:
    """These are counted, each that was not is in `new` as soon as it is, and counters that do not fit in `troubles`."""
    try:
        new |= _count(events, engine)
    except DoesNotFitError:
        for counter_id, its_own in _by_counter(events).items():
            try:
                new |= _count(its_own, engine)
            except DoesNotFitError as trouble:  # of this counter: the others are not to wait for it
                troubles[counter_id] = trouble


def counted() -> int:
    """
    How many events are counted, of all counters.

    Raises:
        ReadModelUnavailableError, ContendedError: the database refuses or does not answer.
    """
    number = select(func.count()).select_from(event_rows)
    return within_transaction(client(), lambda connection: connection.execute(number).scalar_one())


def make_schema(url: str) -> None:
    """
    The database at this address has the tables and views, whatever older version of them was there. Safe to repeat.

    Raises:
        ReadModelUnavailableError: the database refuses or does not answer.
        ContendedError: others change its schema all the time.
    """
    with connected(url) as engine:
        if engine.dialect.name == "sqlite":
            # Who reads does not hold up who writes. It is kept in the file.
            within_transaction(engine, lambda connection: connection.execute(text("PRAGMA journal_mode = WAL")))
        for statement in statements(engine.dialect.name):
            # One for each: Aurora DSQL takes no more.
            within_transaction(engine, lambda connection, one=statement: connection.execute(one))  # type: ignore[misc]


def has_schema(engine: Engine) -> bool:
    """
    Whether the database has the tables.

    Raises:
        ReadModelUnavailableError: the database refuses or does not answer.
    """
    return within_transaction(
        engine, lambda connection: all(inspect(connection).has_table(table.name) for table in tables)
    )


@contextlib.contextmanager
def connected(url: str) -> Iterator[Engine]:
    """An engine of the database at this address, which is asked when it is first used; gone when the block ends."""
    engine = engine_at(url)
    try:
        yield engine
    finally:
        engine.dispose()


@functools.cache
def client() -> Engine:
    """The one engine, and so the one pool of connections, of this process. It connects when it is first used."""
    return engine_at(settings.current().sql_url)


def engine_at(url: str) -> Engine:
    """An engine for the database at this address. It connects when it is first used, and does not wait for it long."""
    address = make_url(url)
    match address.get_backend_name():
        case "sqlite":
            return create_engine(address, connect_args={"timeout": _WAIT_S})
        case "auroradsql":
            return _dsql_engine(address)
        case _:
            return create_engine(address, connect_args=_CONNECTING)


def is_conflict(error: object) -> bool:
    """Whether this, which a driver raised, is passing and due to others: the same may be asked for again at once."""
    locked = getattr(error, "sqlite_errorcode", 0) & 0xFF in _LOCKED  # the rest of it says more exactly why
    return locked or getattr(error, "sqlstate", None) in _CONFLICTS


def _count(events: list[Event], engine: Engine) -> frozenset[tuple[str, str]]:
    """In one transaction. These are in one order, and each once."""
    return within_transaction(engine, lambda connection: add(connection, events))


def add(connection: Connection, events: list[Event]) -> frozenset[tuple[str, str]]:
    """
    Which of these events, each given once, were not there; they are now, and in the totals, in this transaction.

    Raises what the driver does, for who opened the transaction.
    """
    insert: Any = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    key = (event_rows.c.counter_id, event_rows.c.event_id)
    if_new = insert(event_rows).on_conflict_do_nothing(index_elements=key).returning(*key)
    added = frozenset((row.counter_id, row.event_id) for row in connection.execute(if_new, [*map(row_of, events)]))
    new = [event for event in events if (event.counter_id, event.event_id) in added]
    if new:
        upsert = insert(counters)
        sums = {name: counters.c[name] + upsert.excluded[name] for name in ("value", "version")}
        in_addition = upsert.on_conflict_do_update(index_elements=[counters.c.counter_id], set_=sums)
        # What is returned is of no use, but makes it one statement, whatever the driver. SQLite commits nothing while a
        # statement that writes has not given out all that it returns.
        connection.execute(in_addition.returning(counters.c.counter_id), _sums(new)).close()
    return added


def row_of(event: Event) -> dict[str, Any]:
    """The event's row, by columns."""
    return {
        "counter_id": event.counter_id,
        "event_id": event.event_id,
        "type": codec.event_type(event),
        "amount": event.by,
        "recorded_at": datetime.fromtimestamp(event.recorded_at_ms // 1000, UTC).replace(
            microsecond=event.recorded_at_ms % 1000 * 1000
        ),
        "reason": event.reason if isinstance(event, Adjusted) else None,
    }


def _sums(events: list[Event]) -> list[dict[str, Any]]:
    return [
        {"counter_id": counter_id, "value": sum(event.by for event in its_own), "version": len(its_own)}
        for counter_id, its_own in _by_counter(events).items()
    ]


def _by_counter(events: list[Event]) -> dict[str, list[Event]]:
    """In the order in which the events come."""
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        found[event.counter_id].append(event)
    return found


def within_transaction(engine: Engine, work: Callable[[Connection], _T]) -> _T:
    """
    The work is done, wholly and once, or not at all. What met a rival, or a connection that broke, is done again.

    Raises:
        DoesNotFitError: the database cannot hold what the work wrote; it is not done.
        ReadModelUnavailableError: the database refuses or does not answer. Of its last statement, nothing is known.
        ContendedError: others were quicker at every try.
    """
    # The driver's error is kept as the cause, and not SQLAlchemy's, which would put all of the statement into the log.
    for _ in retries.attempts(_TRIES):
        try:
            with engine.begin() as connection:
                return work(connection)
        except (DataError, IntegrityError) as error:
            raise DoesNotFitError(str(error.orig)) from error.orig
        except OverflowError as error:  # SQLite's driver, of what its integers cannot hold
            raise DoesNotFitError(str(error)) from error
        except DBAPIError as error:
            if not (error.connection_invalidated or is_conflict(error.orig)):
                raise ReadModelUnavailableError(str(error.orig)) from error.orig
            met = error.orig
        except (SQLAlchemyError, BotoCoreError) as error:
            raise ReadModelUnavailableError(str(error)) from error
    raise ContendedError(f"not done in {_TRIES} tries: {met}") from met


def _dsql_engine(address: URL) -> Engine:
    """Each connection has a token of its own, made from the function's credentials, as its password."""
    from aurora_dsql_sqlalchemy import create_dsql_engine  # noqa: PLC0415  (packaged only where it is needed)

    engine: Engine = create_dsql_engine(
        host=address.host or "",
        user=address.username or "admin",
        dbname=address.database or "postgres",
        pool_recycle=_KEPT_S,
        connect_args={**_CONNECTING, **address.query},
    )
    return engine
