"""A temporary database in which the log is compared with the rows of the relational read model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

from chalicelib.extras.chunks import chunked
from chalicelib.extras.temporary_db import TemporaryDatabase

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


class RowStaging(TemporaryDatabase):
    """The events of the log as rows, and the rows of the relational read model. Several threads may add at once."""

    def __init__(self) -> None:
        super().__init__(_SCHEMA_OF_ROWS)

    def add_logged(self, rows: Iterable[Row]) -> None:
        """The log holds these events."""
        for some in chunked(rows, _ROWS_AT_ONCE):
            self.insert("logged VALUES (?, ?, ?, ?, ?, ?)", some)

    def add_unreadable(self, counter_id: str, event_id: str, reason: str) -> None:
        """The log holds this event, which cannot be read, and why."""
        self.insert("unreadable VALUES (?, ?, ?)", [(counter_id, event_id, reason)])

    def add_kept(self, rows: Iterable[Row]) -> None:
        """The read model holds these rows, whatever was there before."""
        for some in chunked(rows, _ROWS_AT_ONCE):
            self.insert("kept VALUES (?, ?, ?, ?, ?, ?)", some, "REPLACE")

    def add_counters(self, counter_ids: Iterable[str]) -> None:
        """These counters are to be looked at, whether anything else is known of them or not."""
        for some in chunked(counter_ids, _ROWS_AT_ONCE):
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
