"""
Repair the SQL read model in place, from the staged log, while workers count events and clients send queries.

A worker inserts rows and adds their amounts to the counter's totals in one transaction. A correction writes to the
counter first, which locks the counter until the correction ends, so the correction's later reads stay valid. No
transaction makes a counter's totals differ from its rows if they matched before. Each step is safe to repeat, so the
next repair completes an interrupted repair.

There is one exception: if the database cannot store a counter's totals, its rows are corrected first, and its totals
separately afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, cast, delete, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from chalicelib.errors import DoesNotFitError, PartlyCountedError
from chalicelib.extras.chunks import split_into_chunks
from chalicelib.extras.sql import read_model, rows
from chalicelib.extras.sql.schema import Total, counters, events
from chalicelib.extras.verification.report import DIFFERENT_ROW, UNCOUNTED, Repaired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection, Engine

    from chalicelib.extras.sql.row_comparison import RowComparison
    from chalicelib.extras.sql.schema import Row

_COUNTERS_AT_ONCE = 100
_EVENTS_AT_ONCE = 1000


def repair_all(comparison: RowComparison, advance: Callable[[int], None] = lambda _: None) -> Repaired:
    """
    Correct the rows of a comparison's counters according to the log, and their totals according to the rows.

    Call `advance` with the number of events counted. The repair is safe to repeat, and to run while any number of
    workers count events.

    Raises:
        LogUnavailableError, ReadModelUnavailableError, ContendedError, PartlyCountedError: DynamoDB or the database
            throttles or refuses the request, or does not respond. Run the repair again.
    """
    engine, repaired = comparison.engine, Repaired()
    too_large = _correct_totals(engine, comparison.counter_ids(), repaired)
    for kind, wrong in comparison.find_wrong():
        _replace(engine, wrong, wrong if kind == DIFFERENT_ROW else [], too_large)
        repaired.corrected[kind] += len(wrong)
    too_large = _correct_totals(engine, sorted(too_large), repaired)
    for chunk in split_into_chunks(comparison.missing(), _EVENTS_AT_ONCE):
        new, uncounted = _count(engine, chunk)
        comparison.add(row for row in chunk if row.counter_id not in uncounted)
        repaired.corrected[UNCOUNTED] += len(new)
        too_large |= uncounted
        advance(len(chunk))
    repaired.corrected = +repaired.corrected
    repaired.failed = dict.fromkeys(sorted(too_large), "its value is larger than the database can store exactly")
    return repaired


def recompute(engine: Engine, counter_id: str) -> None:
    """
    Recompute the counter's totals from its rows. A counter without rows has no totals.

    Raises:
        DoesNotFitError: the database cannot store the sum exactly; nothing is changed.
        ReadModelUnavailableError, ContendedError: see `read_model.run_in_transaction`. The outcome is unknown: repeat
            the call.
    """

    def work(connection: Connection) -> None:
        _lock(connection, counter_id)
        # Use a second statement, because a statement that waits for a lock sees the rows as they were before the wait.
        sums = select(*rows.select_sums()).where(events.c.counter_id == counter_id)
        high, low, number = connection.execute(sums).one()
        connection.execute(_update(counter_id).values(value=rows.add_halves(high, low), version=number))
        _delete_if_empty(connection, counter_id)

    read_model.run_in_transaction(engine.begin, work)


def replace_rows(engine: Engine, wrong: list[Row], replacements: list[Row], *, adjust_totals: bool = True) -> None:
    """
    Replace wrong rows of one counter, at most `ROWS_AT_ONCE`, and adjust its totals.

    Without `adjust_totals`, leave the totals to `recompute`, because the database cannot store an intermediate total.

    Raises:
        DoesNotFitError: the database cannot store the totals exactly; nothing is changed.
        ReadModelUnavailableError, ContendedError: see `read_model.run_in_transaction`. The outcome is unknown: repeat
            the call.
    """
    counter_id, event_ids = wrong[0].counter_id, [row.event_id for row in wrong]

    def work(connection: Connection) -> None:
        _lock(connection, counter_id)
        is_wrong = (events.c.counter_id == counter_id) & events.c.event_id.in_(event_ids)
        removal = delete(events).where(is_wrong).returning(cast(events.c.amount, BigInteger))
        amounts = connection.execute(removal).scalars().all()
        if not adjust_totals:
            if replacements:
                connection.execute(insert(events).values([read_model.encode_row(row) for row in replacements]))
            return
        value, version = counters.c.value - literal(sum(amounts), Total), counters.c.version - len(amounts)
        connection.execute(_update(counter_id).values(value=value, version=version))
        if replacements:
            read_model.add(connection, replacements)
        _delete_if_empty(connection, counter_id)

    read_model.run_in_transaction(engine.begin, work)


def _correct_totals(engine: Engine, counter_ids: Iterable[str], repaired: Repaired) -> set[str]:
    """Recompute the totals that differ from the rows. Return the counters whose totals the database cannot store."""
    too_large = set()
    for chunk in split_into_chunks(counter_ids, _COUNTERS_AT_ONCE):
        for counter_id, totals in rows.read_totals(engine, chunk).items():
            if difference := rows.compare_totals(counter_id, totals):
                try:
                    recompute(engine, counter_id)
                    repaired.corrected[difference.kind] += 1
                except DoesNotFitError:
                    too_large.add(counter_id)
    return too_large


def _replace(engine: Engine, wrong: list[Row], replacements: list[Row], too_large: set[str]) -> None:
    """Replace rows of one counter and adjust its totals, or replace only the rows if the totals are too large."""
    counter_id = wrong[0].counter_id
    if counter_id not in too_large:
        try:
            replace_rows(engine, wrong, replacements)
        except DoesNotFitError:
            too_large.add(counter_id)
    if counter_id in too_large:
        replace_rows(engine, wrong, replacements, adjust_totals=False)


def _count(engine: Engine, missing: list[Row]) -> tuple[frozenset[tuple[str, str]], frozenset[str]]:
    """
    Count missing rows.

    Return the keys of the counted rows, and the counters whose totals the database cannot store.
    """
    try:
        return read_model.count_rows(missing, engine), frozenset()
    except PartlyCountedError as error:
        if not all(isinstance(failure, DoesNotFitError) for failure in error.failures.values()):
            raise
        return error.new, error.uncounted


def _lock(connection: Connection, counter_id: str) -> None:
    """
    Lock the counter until the transaction ends. Insert totals of 0 if the counter has none.

    FOR UPDATE would lock nothing if there are no totals, and in SQLite it would not even begin a transaction.
    """
    dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
    zero = dialect.insert(counters).values(counter_id=counter_id, value=0, version=0)
    unchanged = {"value": counters.c.value}
    connection.execute(zero.on_conflict_do_update(index_elements=[counters.c.counter_id], set_=unchanged))


def _delete_if_empty(connection: Connection, counter_id: str) -> None:
    connection.execute(delete(counters).where(counters.c.counter_id == counter_id, counters.c.version == 0))


def _update(counter_id: str) -> Any:
    return update(counters).where(counters.c.counter_id == counter_id)
