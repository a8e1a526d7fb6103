"""
Read the rows and totals of the SQL read model, page by page, while workers count events.

If the database refuses a request or does not respond, the functions raise the errors of `run_in_transaction`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, String, cast, func, literal, select, tuple_, type_coerce, union_all

from chalicelib.extras.sql import read_model
from chalicelib.extras.sql.schema import Row, counters, events
from chalicelib.extras.verification.report import EMPTY, Difference, Totals

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy import ColumnElement, Engine, Select

#: Rows per page.
_PAGE = 2000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: A sum of 64-bit integers may need more than 64 bits, and then SQLite's sum fails. Therefore, the high and low halves
#: of the integers are summed separately.
_HALF = 2**32


def scan(engine: Engine, counter_id: str | None = None) -> Iterator[Row]:
    """Yield the rows of all counters, or of one, in order of key. Each page is read in a separate transaction."""
    query = _select_rows()
    if counter_id is not None:
        query = query.where(events.c.counter_id == counter_id)
    return map(_to_row, _scan(engine, query, events.c.counter_id, events.c.event_id))


def find(engine: Engine, keys: Collection[tuple[str, str]]) -> list[Row]:
    """
    Return the rows with these keys, in no particular order.

    A key is (counter id, event id). Pass at most a few hundred keys.
    """
    query = _select_rows().where(tuple_(events.c.counter_id, events.c.event_id).in_(list(keys)))
    return [*map(_to_row, read_model.fetch(engine, query))]


def scan_counter_ids(engine: Engine) -> Iterator[str]:
    """Yield the counters that have totals, in order. Each page is read in a separate transaction."""
    return (name for (name,) in _scan(engine, select(counters.c.counter_id), counters.c.counter_id))


def has_counter(engine: Engine, counter_id: str) -> bool:
    """Check whether the counter has totals or a row."""
    return read_totals(engine, [counter_id])[counter_id] != Totals(None, None, 0, 0)


def read_totals(engine: Engine, counter_ids: Collection[str]) -> dict[str, Totals]:
    """Return the stored totals of these counters and the totals of their rows. One statement reads one snapshot."""
    totals = select(
        literal(0).label("of"),
        counters.c.counter_id,
        literal(0).label("high"),
        counters.c.value.label("low"),
        counters.c.version.label("number"),
    ).where(counters.c.counter_id.in_(counter_ids))
    rows = select(literal(1), events.c.counter_id, *select_sums()).where(events.c.counter_id.in_(counter_ids))
    both: dict[str, list[Any]] = {counter_id: [(None, None), (0, 0)] for counter_id in counter_ids}
    query = union_all(totals, rows.group_by(events.c.counter_id))
    for of, counter_id, high, low, number in read_model.fetch(engine, query):
        both[counter_id][of] = (add_halves(high, low), number)
    return {counter_id: Totals(*stored, *summed) for counter_id, (stored, summed) in both.items()}


def compare_totals(counter_id: str, totals: Totals) -> Difference | None:
    """Return the difference between a counter's totals and its rows. A counter without rows must have no totals."""
    if totals.value is not None and totals.number == 0:
        return Difference(
            EMPTY, counter_id, f"the value is {totals.value} at version {totals.version}, but the counter has no rows"
        )
    return totals.compare(counter_id, "rows")


def select_sums() -> tuple[ColumnElement[Any], ...]:
    """Return the columns that sum the amounts, in two halves for `add_halves`, and count the rows."""
    amount = cast(events.c.amount, BigInteger)
    return func.sum(amount.op("/")(_HALF)), func.sum(amount.op("%")(_HALF)), func.count()


def add_halves(high: int | None, low: int | None) -> int:
    """Return the sum from its two halves."""
    return int(high or 0) * _HALF + int(low or 0)


def _scan(engine: Engine, query: Select[Any], *key: ColumnElement[Any]) -> Iterator[Any]:
    """Yield the results in the order of this key. Its columns must be the first columns of the query."""
    query = query.order_by(*key).limit(_PAGE)
    after = None
    while page := read_model.fetch(engine, query if after is None else query.where(tuple_(*key) > after)):
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1][: len(key)]


def _select_rows() -> Select[Any]:
    # Read times as the driver returns them: SQLite may store text that is not a time.
    recorded_at = type_coerce(events.c.recorded_at, String)
    return select(*(recorded_at if column is events.c.recorded_at else column for column in events.c))


def _to_row(result: Any) -> Row:
    *columns, recorded_at, reason = result
    return Row._make((*columns, _to_ms(recorded_at), reason))


def _to_ms(stored: datetime | str) -> float | str:
    """Return a stored time in ms since 1970, with a fraction if it has one. Return any other text unchanged."""
    try:
        moment = datetime.fromisoformat(stored) if isinstance(stored, str) else stored
    except ValueError:
        return stored  # type: ignore[return-value]
    us = (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) // timedelta(microseconds=1)
    return us / 1000 if us % 1000 else us // 1000
