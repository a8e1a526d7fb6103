"""The rows of the SQL read model, staged next to the log, and the queries that compare them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.domain.entries import id_bytes, id_text
from chalicelib.domain.events import choose_part, is_event_id
from chalicelib.extras.chunks import split_into_chunks
from chalicelib.extras.sql.schema import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chalicelib.extras.verification.staging_db import StagingDb

_ROWS_AT_ONCE = 1000

_SCHEMA = (
    "CREATE TABLE kept (counter_id, part, id, type, amount, recorded_at_ms, reason, "
    "PRIMARY KEY (counter_id, part, id)) WITHOUT ROWID",
    "CREATE TABLE named (counter_id PRIMARY KEY) WITHOUT ROWID",
)

_COLUMNS = "counter_id, id, l.type, l.amount, l.recorded_at_ms, l.reason"

_MISSING = f"""
SELECT {_COLUMNS} FROM logged AS l LEFT JOIN kept USING (counter_id, part, id)
WHERE kept.id IS NULL AND l.recorded_at_ms >= ? ORDER BY counter_id
"""  # noqa: S608

_UNKNOWN = """
SELECT counter_id, id, kept.type, kept.amount, kept.recorded_at_ms, kept.reason
FROM kept LEFT JOIN recorded AS r USING (counter_id, part, id) LEFT JOIN unreadable AS u USING (counter_id, part, id)
WHERE r.id IS NULL AND u.id IS NULL ORDER BY counter_id
"""

_PURGED = """
SELECT counter_id, id, kept.type, kept.amount, kept.recorded_at_ms, kept.reason
FROM kept JOIN recorded AS r USING (counter_id, part, id) WHERE NOT EXISTS (
    SELECT 1 FROM logged AS l WHERE (l.counter_id, l.part, l.id) = (r.counter_id, r.part, r.id)) ORDER BY counter_id
"""

_DIFFERENT = f"""
SELECT {_COLUMNS} FROM logged AS l JOIN kept USING (counter_id, part, id)
WHERE (l.type, l.amount, l.recorded_at_ms, l.reason)
    IS NOT (kept.type, kept.amount, kept.recorded_at_ms, kept.reason) ORDER BY counter_id
"""  # noqa: S608

_NAMES = """
SELECT counter_id FROM logged UNION SELECT counter_id FROM kept UNION SELECT counter_id FROM named ORDER BY counter_id
"""


class RowStaging:
    """
    The staged rows. Their key is the counter, the part and the event's id, like that of the log's events.

    Queries yield rows grouped by counter.
    """

    def __init__(self, db: StagingDb) -> None:
        self.db = db
        for statement in _SCHEMA:
            db.execute(statement)

    def add(self, rows: Iterable[Row]) -> None:
        """Stage these rows. They replace rows with the same keys."""
        for chunk in split_into_chunks(rows, _ROWS_AT_ONCE):
            self.db.insert(
                "kept VALUES (?, ?, ?, ?, ?, ?, ?)", [(*self._key(row), *row[2:]) for row in chunk], "REPLACE"
            )

    def add_counters(self, counter_ids: Iterable[str]) -> None:
        """Stage the names of counters, which may have no rows."""
        for chunk in split_into_chunks(counter_ids, _ROWS_AT_ONCE):
            self.db.insert("named VALUES (?)", [(name,) for name in chunk])

    def remove(self, row: Row) -> None:
        """Remove a row that the read model no longer has."""
        self.db.execute("DELETE FROM kept WHERE (counter_id, part, id) = (?, ?, ?)", self._key(row))

    def sizes(self) -> tuple[int, int]:
        """Return the numbers of the log's events and of the read model's rows."""
        events, rows = self.db.row("SELECT (SELECT count(*) FROM logged), (SELECT count(*) FROM kept)") or (0, 0)
        return events, rows

    def missing(self, oldest_ms: int = 0) -> Iterator[Row]:
        """Yield, as rows, the log's events from `oldest_ms` on that the read model lacks."""
        return self._rows(_MISSING, (oldest_ms,))

    def unknown(self) -> Iterator[Row]:
        """Yield the read model's rows without an event in the log."""
        return self._rows(_UNKNOWN)

    def purged(self) -> Iterator[Row]:
        """Yield the read model's rows of purged events."""
        return self._rows(_PURGED)

    def different(self) -> Iterator[Row]:
        """Yield, as rows, the log's events that differ from their rows in the read model."""
        return self._rows(_DIFFERENT)

    def counter_ids(self) -> Iterator[str]:
        """Yield every counter that has staged data, in order."""
        return (name for (name,) in self.db.rows(_NAMES))

    def _key(self, row: Row) -> tuple[str, int, object]:
        if not is_event_id(row.event_id):  # SQLite stores any text as an id
            return row.counter_id, 0, row.event_id
        return row.counter_id, choose_part(row.event_id, self.db.shards), id_bytes(row.event_id)

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> Iterator[Row]:
        for counter_id, event_id, *columns in self.db.rows(query, values):
            yield Row(counter_id, id_text(event_id) if isinstance(event_id, bytes) else event_id, *columns)
