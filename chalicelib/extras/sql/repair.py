"""
The rows of the relational read model, looked at and put right, while others go on counting.

Whoever counts inserts rows, and adds them to their counter in the same transaction. Whoever puts something right writes
to the counter first, so that no other transaction of this counter ends before its own does: what is read after that
stays so. After each transaction, a counter's totals are those of its rows, if they were so before; `recompute` makes
them so.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    String,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
    type_coerce,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from chalicelib.extras.sql import read_model
from chalicelib.extras.sql.row_staging import Row
from chalicelib.extras.sql.schema import Total, counters
from chalicelib.extras.sql.schema import events as event_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from sqlalchemy import ColumnElement, Connection, Delete, Engine, Select

    from chalicelib.domain.events import Event

#: Rows in one answer to who reads many.
_PAGE = 2000

_SINCE = datetime(1970, 1, 1, tzinfo=UTC)

#: A sum of 64-bit integers may need more, and SQLite's fails then: halves are added up, and put together by us.
_HALF = 2**32


class State(NamedTuple):
    """
    What a counter's totals say, and what its rows come to, each as value and version: at one moment.

    `itself` is None where the counter has no totals.
    """

    counter_id: str
    itself: tuple[int, int] | None
    by_rows: tuple[int, int]

    @property
    def is_right(self) -> bool:
        """Whether the totals are those of the rows. A counter without rows has none."""
        return self.itself == (self.by_rows if self.by_rows[1] else None)


def of_event(event: Event) -> Row:
    """The row that this event is to have."""
    row = read_model.row_of(event)
    return Row(event.counter_id, event.event_id, row["type"], event.by, event.recorded_at_ms, row["reason"])


def scan(engine: Engine, counter_id: str | None = None) -> Iterator[Row]:
    """
    The rows that are there when they are read, of all counters or of one, in the order of their key.

    They are read page by page, each at a moment of its own.

    Raises:
        ReadModelUnavailableError, ContendedError: the database refuses or does not answer.
    """
    key = tuple_(event_rows.c.counter_id, event_rows.c.event_id)
    in_order = _rows().order_by(event_rows.c.counter_id, event_rows.c.event_id).limit(_PAGE)
    if counter_id is not None:
        in_order = in_order.where(event_rows.c.counter_id == counter_id)
    after = None
    while page := _read(engine, in_order if after is None else in_order.where(key > after)):
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1][:2]


def find(engine: Engine, keys: Collection[tuple[str, str]]) -> list[Row]:
    """
    Those of the rows with these keys, counter's id and event's, that are there, in no order. Meant for some hundred.

    Raises:
        ReadModelUnavailableError, ContendedError: the database refuses or does not answer.
    """
    return _read(engine, _rows().where(tuple_(event_rows.c.counter_id, event_rows.c.event_id).in_(list(keys))))


def counter_ids(engine: Engine) -> Iterator[str]:
    """
    The counters that have totals when they are read, in order.

    Raises:
        ReadModelUnavailableError, ContendedError: the database refuses or does not answer.
    """
    in_order = select(counters.c.counter_id).order_by(counters.c.counter_id).limit(_PAGE)
    after = None
    while page := _column(engine, in_order if after is None else in_order.where(counters.c.counter_id > after)):
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1]


def sizes(engine: Engine, names: Collection[str] = ()) -> tuple[int, int]:
    """
    How many of these counters, or of all if there are none, have totals, and how many rows they have.

    Raises:
        ReadModelUnavailableError, ContendedError: the database refuses or does not answer.
    """
    numbers = [select(func.count()).select_from(table) for table in (counters, event_rows)]
    if names:
        numbers = [
            number.where(table.c.counter_id.in_(names))
            for number, table in zip(numbers, (counters, event_rows), strict=True)
        ]
    both = select(*(number.scalar_subquery() for number in numbers))
    of_counters, of_rows = read_model.within_transaction(engine, lambda connection: connection.execute(both).one())
    return of_counters, of_rows


def has(engine: Engine, counter_id: str) -> bool:
    """
    Whether the counter has totals or a row.

    Raises:
        ReadModelUnavailableError, ContendedError: the database refuses or does not answer.
    """
    return sizes(engine, [counter_id]) != (0, 0)


def states(engine: Engine, names: Collection[str]) -> list[State]:
    """
    What these counters' totals and rows say. One statement, and so one moment.

    Raises:
        ReadModelUnavailableError, ContendedError: the database refuses or does not answer.
    """
    totals = select(
        literal(0).label("of"),
        counters.c.counter_id,
        literal(0).label("high"),
        counters.c.value.label("low"),
        counters.c.version.label("number"),
    ).where(counters.c.counter_id.in_(names))
    rows = select(literal(1), event_rows.c.counter_id, *_sums()).where(event_rows.c.counter_id.in_(names))
    both = union_all(totals, rows.group_by(event_rows.c.counter_id))
    found: dict[str, dict[int, tuple[int, int]]] = {name: {} for name in names}
    for of, name, high, low, number in read_model.within_transaction(engine, lambda one: one.execute(both).all()):
        found[name][of] = (int(high) * _HALF + int(low), number)
    return [State(name, by.get(0), by.get(1, (0, 0))) for name, by in found.items()]


def recompute(engine: Engine, counter_id: str) -> None:
    """
    The counter's totals are those of its rows, whoever counts meanwhile; without rows, it has none.

    Raises:
        DoesNotFitError: the rows come to more than the database holds exactly; nothing is changed.
        ReadModelUnavailableError, ContendedError: the database refuses or does not answer; nothing is changed.
    """

    def work(connection: Connection) -> None:
        _lock(connection, counter_id)
        # In a statement of its own: one that waits for a lock sees what was there before it waited.
        (high, low, number) = connection.execute(select(*_sums()).where(event_rows.c.counter_id == counter_id)).one()
        value = int(high or 0) * _HALF + int(low or 0)
        connection.execute(_its(counter_id).values(value=value, version=number))
        _drop_if_empty(connection, counter_id)

    read_model.within_transaction(engine, work)


def put_right(engine: Engine, counter_id: str, event_ids: Collection[str], events: list[Event]) -> None:
    """
    Of the counter's rows with these ids only those of these events are left, as the events say, and its totals have
    moved by as much. Meant for some hundred.

    Raises:
        DoesNotFitError: the totals would come to more than the database holds exactly; nothing is changed.
        ReadModelUnavailableError, ContendedError: the database refuses or does not answer; nothing is changed.
    """

    def work(connection: Connection) -> None:
        _lock(connection, counter_id)
        gone = _rows_of(counter_id, event_ids)
        amounts = connection.execute(gone.returning(cast(event_rows.c.amount, BigInteger))).scalars().all()
        value, version = counters.c.value - literal(sum(amounts), Total), counters.c.version - len(amounts)
        connection.execute(_its(counter_id).values(value=value, version=version))
        if events:
            read_model.add(connection, events)
        _drop_if_empty(connection, counter_id)

    read_model.within_transaction(engine, work)


def replace(engine: Engine, counter_id: str, event_ids: Collection[str], events: list[Event]) -> None:
    """
    Of the counter's rows with these ids only those of these events are left, as the events say. Meant for some hundred.

    Its totals are as they were: `recompute` is to follow. For who cannot move them by as much, for the rows are of
    amounts that add up to more than the database holds.

    Raises:
        ReadModelUnavailableError, ContendedError: the database refuses or does not answer; nothing is changed.
    """

    def work(connection: Connection) -> None:
        _lock(connection, counter_id)
        connection.execute(_rows_of(counter_id, event_ids))
        if rows := [*map(read_model.row_of, events)]:
            connection.execute(insert(event_rows).values(rows))

    read_model.within_transaction(engine, work)


def _lock(connection: Connection, counter_id: str) -> None:
    """
    No other transaction of this counter ends before this one. It has totals, which need not be right.

    To read them FOR UPDATE would lock nothing where they are missing, and in SQLite not even begin a transaction.
    """
    insert_or: Any = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    nothing = insert_or(counters).values(counter_id=counter_id, value=0, version=0)
    as_it_is = {"value": counters.c.value}
    connection.execute(nothing.on_conflict_do_update(index_elements=[counters.c.counter_id], set_=as_it_is))


def _drop_if_empty(connection: Connection, counter_id: str) -> None:
    connection.execute(delete(counters).where(counters.c.counter_id == counter_id, counters.c.version == 0))


def _rows_of(counter_id: str, event_ids: Collection[str]) -> Delete:
    return delete(event_rows).where(event_rows.c.counter_id == counter_id, event_rows.c.event_id.in_(list(event_ids)))


def _its(counter_id: str) -> Any:
    return update(counters).where(counters.c.counter_id == counter_id)


def _sums() -> Iterable[ColumnElement[Any]]:
    amount = cast(event_rows.c.amount, BigInteger)
    return func.sum(amount.op("/")(_HALF)), func.sum(amount.op("%")(_HALF)), func.count()


def _rows() -> Select[Any]:
    # Times as the driver gives them: of what is no time, too, it is to be told what it is.
    recorded_at = type_coerce(event_rows.c.recorded_at, String)
    return select(
        event_rows.c.counter_id,
        event_rows.c.event_id,
        event_rows.c.type,
        event_rows.c.amount,
        recorded_at,
        event_rows.c.reason,
    )


def _read(engine: Engine, question: Select[Any]) -> list[Row]:
    found = read_model.within_transaction(engine, lambda connection: connection.execute(question).all())
    return [Row._make((*columns, _ms(recorded_at), reason)) for *columns, recorded_at, reason in found]


def _column(engine: Engine, question: Select[Any]) -> list[str]:
    return read_model.within_transaction(engine, lambda connection: [*connection.execute(question).scalars()])


def _ms(stored: datetime | str) -> float | str:
    """Milliseconds since 1970, a fraction only where there is one; and as it is what is no time."""
    try:
        moment = datetime.fromisoformat(stored) if isinstance(stored, str) else stored
    except ValueError:
        return stored  # type: ignore[return-value]
    us = (moment.replace(tzinfo=moment.tzinfo or UTC) - _SINCE) // timedelta(microseconds=1)
    return us / 1000 if us % 1000 else us // 1000
