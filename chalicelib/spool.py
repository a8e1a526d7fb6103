"""
Temporary databases in which the log and a read model are compared, however large they are.

SQLite keeps each in a file that is gone with the connection, so memory stays flat. Sums may exceed its 64-bit integers:
they are kept as text, and `exact_sum` adds them up.
"""

from __future__ import annotations

import sqlite3
import threading
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


_T = TypeVar("_T")

_ROWS_AT_ONCE = 1000

_COLUMNS = "counter_id, event_id, type, amount, recorded_at_ms, reason"

_SCHEMA_OF_ROWS = f"""
CREATE TABLE logged ({_COLUMNS}, PRIMARY KEY (counter_id, event_id)) WITHOUT ROWID;
CREATE TABLE kept ({_COLUMNS}, PRIMARY KEY (counter_id, event_id)) WITHOUT ROWID;
CREATE TABLE unreadable (counter_id, event_id, reason, PRIMARY KEY (counter_id, event_id)) WITHOUT ROWID;
CREATE TABLE named (counter_id PRIMARY KEY) WITHOUT ROWID;
"""

_IS_KEPT = "SELECT EXISTS (SELECT 1 FROM kept WHERE (counter_id, event_id) = (?, ?))"

_MISSING = "SELECT logged.* FROM logged LEFT JOIN kept USING (counter_id, event_id) WHERE kept.event_id IS NULL"

_STRANGERS = """
SELECT kept.* FROM kept LEFT JOIN logged USING (counter_id, event_id) LEFT JOIN unreadable USING (counter_id, event_id)
WHERE logged.event_id IS NULL AND unreadable.event_id IS NULL
"""

_DIFFERING = """
SELECT logged.* FROM logged JOIN kept USING (counter_id, event_id)
WHERE (logged.type, logged.amount, logged.recorded_at_ms, logged.reason)
    IS NOT (kept.type, kept.amount, kept.recorded_at_ms, kept.reason)
"""

_NAMES = """
SELECT counter_id FROM logged UNION SELECT counter_id FROM kept UNION SELECT counter_id FROM named ORDER BY counter_id
"""


class TemporaryDatabase:
    """A SQLite database in a temporary file. Several threads may use it at once."""

    def __init__(self, schema: str) -> None:
        self._lock = threading.Lock()
        # An empty name stands for a temporary file (https://www.sqlite.org/inmemorydb.html).
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.create_aggregate("exact_sum", 1, _ExactSum)  # type: ignore[arg-type]
        self._database.executescript(schema)

    def close(self) -> None:
        """Remove the file."""
        self._database.close()

    def row(self, question: str, values: Sequence[object] = ()) -> tuple[Any, ...] | None:
        """Return the first row of an answer, or None."""
        with self._lock:
            found: tuple[Any, ...] | None = self._database.execute(question, values).fetchone()
        return found

    def rows(self, question: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of an answer. Memory does not grow with their number."""
        with self._lock:
            cursor = self._database.execute(question, values)
        while True:
            with self._lock:
                rows = cursor.fetchmany(_ROWS_AT_ONCE)
            if not rows:
                return
            yield from rows

    def execute(self, statement: str, values: Sequence[object] = ()) -> None:
        """Execute a statement that returns nothing."""
        with self._lock:
            self._database.execute(statement, values)

    def insert(self, into: str, rows: Sequence[tuple[object, ...]], otherwise: str = "IGNORE") -> None:
        """Insert rows in one transaction. `otherwise` says what happens to those whose key exists: IGNORE, REPLACE."""
        with self._lock:
            self._database.execute("BEGIN")
            try:
                self._database.executemany(f"INSERT OR {otherwise} INTO {into}", rows)
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")


class Row(NamedTuple):
    """
    What an event is as a row, in the log's words: all that the relational read model keeps of it.

    From a database that takes anything anywhere, as SQLite does, a row may hold what no event has: `recorded_at_ms`
    is a number for any moment, and what stands there for anything else.
    """

    counter_id: str
    event_id: str
    type: str
    amount: int
    recorded_at_ms: float | str | None
    reason: str | None


class RowSpool(TemporaryDatabase):
    """The events of the log as rows, and the rows of the relational read model. Several threads may add at once."""

    def __init__(self) -> None:
        super().__init__(_SCHEMA_OF_ROWS)

    def add_logged(self, rows: Iterable[Row]) -> None:
        """The log holds these events."""
        for some in some_at_a_time(rows, _ROWS_AT_ONCE):
            self.insert("logged VALUES (?, ?, ?, ?, ?, ?)", some)

    def add_unreadable(self, counter_id: str, event_id: str, reason: str) -> None:
        """The log holds this event, which cannot be read, and why."""
        self.insert("unreadable VALUES (?, ?, ?)", [(counter_id, event_id, reason)])

    def add_kept(self, rows: Iterable[Row]) -> None:
        """The read model holds these rows, whatever was there before."""
        for some in some_at_a_time(rows, _ROWS_AT_ONCE):
            self.insert("kept VALUES (?, ?, ?, ?, ?, ?)", some, "REPLACE")

    def add_counters(self, counter_ids: Iterable[str]) -> None:
        """These counters are to be looked at, whether anything else is known of them or not."""
        for some in some_at_a_time(counter_ids, _ROWS_AT_ONCE):
            self.insert("named VALUES (?)", [(one,) for one in some])

    def forget_kept(self, row: Row) -> None:
        """The row is not there any more."""
        with self._lock:
            self._database.execute("DELETE FROM kept WHERE (counter_id, event_id) = (?, ?)", row[:2])

    def sizes(self) -> tuple[int, int]:
        """How many events of the log, and how many rows there are in it."""
        events, rows = self.row("SELECT (SELECT count(*) FROM logged), (SELECT count(*) FROM kept)") or (0, 0)
        return events, rows

    def is_kept(self, counter_id: str, event_id: str) -> bool:
        """Whether such a row was there."""
        with self._lock:
            return bool(self._database.execute(_IS_KEPT, [counter_id, event_id]).fetchone()[0])

    def unreadable(self) -> Iterator[tuple[str, str, str]]:
        """The events that cannot be read: whose, its id, and why."""
        yield from self.rows("SELECT counter_id, event_id, reason FROM unreadable")

    def missing(self) -> Iterator[Row]:
        """The events that the log holds and the read model lacks."""
        return map(Row._make, self.rows(_MISSING))

    def strangers(self) -> Iterator[Row]:
        """The rows that the read model holds and the log lacks."""
        return map(Row._make, self.rows(_STRANGERS))

    def differing(self) -> Iterator[Row]:
        """The events whose rows say something else, as the log has them."""
        return map(Row._make, self.rows(_DIFFERING))

    def counter_ids(self) -> Iterator[str]:
        """Each counter that was read of anywhere, in order."""
        return (name for (name,) in self.rows(_NAMES))


class _ExactSum:
    """SQL's sum(), exact however large it gets, as text; 0 of nothing."""

    def __init__(self) -> None:
        self._total = 0

    def step(self, number: str | int | None) -> None:
        self._total += int(number or 0)

    def finalize(self) -> str:
        return str(self._total)


def some_at_a_time(things: Iterable[_T], most: int) -> Iterator[list[_T]]:
    """The same things, in order, up to `most` at a time."""
    remaining = iter(things)
    while some := list(islice(remaining, most)):
        yield some
