"""Compare the SQL read model's rows with the log, and its totals with its rows; see `verifier`."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from chalicelib import log_reader
from chalicelib.domain.entries import Entry, id_bytes, id_text
from chalicelib.domain.events import choose_part, is_counter_id, is_event_id
from chalicelib.extras.chunks import split_into_chunks
from chalicelib.extras.sql import rows as stored
from chalicelib.extras.sql.schema import Row
from chalicelib.extras.verification.report import DIFFERENT_ROW, PURGED_ROW, UNKNOWN_ROW, Difference, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Engine

    from chalicelib.extras.verification.staging_db import StagingDb

#: Events or counters in one request.
_AT_ONCE = 100

#: The number of rows that are read or corrected at once. Replacing a row means deleting and inserting it and its index
#: entry. It takes 4 of the 3,000 rows that a transaction of Aurora DSQL may write.
ROWS_AT_ONCE = 100

_STAGED_AT_ONCE = 1000

#: The tables of the staged rows, which have the same key as the log's events, and of counter names. A counter may have
#: no rows.
_SCHEMA = (
    "CREATE TABLE kept (counter_id, part, id, type, amount, recorded_at_ms, reason, "
    "PRIMARY KEY (counter_id, part, id)) WITHOUT ROWID",
    "CREATE TABLE named (counter_id PRIMARY KEY) WITHOUT ROWID",
)

_MISSING = """
SELECT counter_id, id, l.type, l.amount, l.recorded_at_ms, l.reason
FROM logged AS l LEFT JOIN kept USING (counter_id, part, id)
WHERE kept.id IS NULL AND l.recorded_at_ms >= ? ORDER BY counter_id
"""

#: Each wrong row, with the values of its event in the log. An unreadable event matches any row. `LIMIT -1` keeps SQLite
#: from flattening the subquery, so it evaluates the CASE once per row.
_WRONG = f"""
SELECT * FROM (SELECT counter_id, id, r.type, r.amount, r.recorded_at_ms, r.reason, CASE
    WHEN u.id IS NOT NULL THEN NULL
    WHEN r.id IS NULL THEN '{UNKNOWN_ROW}'
    WHEN NOT EXISTS (SELECT 1 FROM logged AS l WHERE (l.counter_id, l.part, l.id) = (r.counter_id, r.part, r.id))
        THEN '{PURGED_ROW}'
    WHEN (r.type, r.amount, r.recorded_at_ms, r.reason)
        IS NOT (kept.type, kept.amount, kept.recorded_at_ms, kept.reason) THEN '{DIFFERENT_ROW}' END AS kind
    FROM kept LEFT JOIN recorded AS r USING (counter_id, part, id) LEFT JOIN unreadable AS u
    USING (counter_id, part, id) LIMIT -1)
WHERE kind IS NOT NULL ORDER BY counter_id, kind
"""  # noqa: S608

_NAMES = """
SELECT counter_id FROM logged UNION SELECT counter_id FROM kept UNION SELECT counter_id FROM named ORDER BY counter_id
"""

_SIZES = "SELECT (SELECT count(*) FROM logged), (SELECT count(*) FROM kept)"

_DETAILS = {UNKNOWN_ROW: "the log has no such event", PURGED_ROW: "the counter was purged after this event"}


class RowComparison:
    """The comparison of the SQL read model with the log: these counters or, if `counter_ids` is empty, all counters."""

    def __init__(self, db: StagingDb, engine: Engine, counter_ids: Sequence[str]) -> None:
        self.engine = engine
        self.report = Report(unit="rows")
        self._db = db
        self._counter_ids = tuple(dict.fromkeys(counter_ids))
        for statement in _SCHEMA:
            db.execute(statement)

    def read(self, advance: Callable[[int], None]) -> None:
        """Stage the counters and their rows."""
        for names in split_into_chunks(self._counter_ids or stored.scan_counter_ids(self.engine), _STAGED_AT_ONCE):
            self._db.insert("named VALUES (?)", [(name,) for name in names])
        for counter_id in self._counter_ids or (None,):
            for chunk in split_into_chunks(stored.scan(self.engine, counter_id), _STAGED_AT_ONCE):
                self.add(chunk)
                advance(len(chunk))

    def add(self, rows: Iterable[Row]) -> None:
        """Stage these rows. They replace rows with the same keys."""
        self._db.insert("kept VALUES (?, ?, ?, ?, ?, ?, ?)", [(*self._key(row), *row[2:]) for row in rows], "REPLACE")

    def count_pending(self, oldest_ms: int, young_from_ms: int) -> int:
        """Check again whether each uncounted event since `oldest_ms` has a row. Return the number of pending events."""
        young = 0
        for chunk in split_into_chunks(self.missing(oldest_ms), _AT_ONCE):
            current = self._read_again(chunk)
            self.add(current.values())
            young += sum(row.recorded_at_ms >= young_from_ms for row in chunk if row[:2] not in current)
        return young

    def report_differences(self, young_from_ms: int) -> Report:
        """Report the rows that still differ, and the totals that differ from the rows in one snapshot."""
        self.report.add_unreadable(self._db.unreadable())
        for row in self.missing():
            entry = Entry(int(row.recorded_at_ms), id_bytes(row.event_id), row.amount)
            self.report.add_uncounted(row.counter_id, entry, young_from_ms)
        for kind, chunk in self.find_wrong():
            current = self._read_again(chunk)
            for row in chunk:
                if row[:2] not in current:
                    self._db.execute("DELETE FROM kept WHERE (counter_id, part, id) = (?, ?, ?)", self._key(row))
                elif detail := _DETAILS.get(kind) or _describe_difference(row, current[row[:2]]):
                    self.report.add(Difference(kind, row.counter_id, detail, row.event_id))
        self.report.events, self.report.entries = self._db.row(_SIZES) or (0, 0)
        for counter_ids in split_into_chunks(self.counter_ids(), _AT_ONCE):
            self.report.counters += len(counter_ids)
            for counter_id, totals in stored.read_totals(self.engine, counter_ids).items():
                self.report.add(stored.compare_totals(counter_id, totals))
        return self.report

    def counter_ids(self) -> Iterator[str]:
        """Yield every counter that has staged data, in order."""
        return (name for (name,) in self._db.rows(_NAMES))

    def missing(self, oldest_ms: int = 0) -> Iterator[Row]:
        """Yield the events since `oldest_ms` that the read model lacks, as rows grouped by counter."""
        return (_to_row(columns) for columns in self._db.rows(_MISSING, (oldest_ms,)))

    def find_wrong(self) -> Iterator[tuple[str, list[Row]]]:
        """
        Yield a kind of difference, and up to `ROWS_AT_ONCE` rows of one counter that have it.

        Each row has the values of its event in the log. Rows without an event have no values. Events that were recorded
        after the log was staged are read and staged.

        Raises:
            LogUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
        """
        for (counter_id, kind), found in groupby(self._db.rows(_WRONG), key=lambda columns: (columns[0], columns[6])):
            for rows in split_into_chunks((_to_row(columns[:6]) for columns in found), ROWS_AT_ONCE):
                logged = self._look_up(counter_id, rows) if kind == UNKNOWN_ROW else frozenset()
                if wrong := [row for row in rows if row.event_id not in logged]:
                    yield kind, wrong

    def _look_up(self, counter_id: str, rows: Iterable[Row]) -> frozenset[str]:
        """Look up the events of these rows in the log, and stage them. Return their ids."""
        event_ids = {row.event_id for row in rows if is_event_id(row.event_id)}
        logged = log_reader.find_many(counter_id, event_ids) if event_ids and is_counter_id(counter_id) else []
        self._db.add_events(logged)
        return frozenset(event.event_id for event in logged)

    def _read_again(self, rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
        """Read the rows with these keys again, and return them by key."""
        return {row[:2]: row for row in stored.find(self.engine, [row[:2] for row in rows])}

    def _key(self, row: Row) -> tuple[str, int, object]:
        if not is_event_id(row.event_id):  # SQLite stores any text as an id
            return row.counter_id, 0, row.event_id
        return row.counter_id, choose_part(row.event_id, self._db.shards), id_bytes(row.event_id)


def _to_row(columns: Sequence[object]) -> Row:
    counter_id, event_id, *values = columns
    return Row._make((counter_id, id_text(event_id) if isinstance(event_id, bytes) else event_id, *values))


def _describe_difference(logged: Row, current: Row) -> str:
    return "; ".join(
        f"the {column} is {value!r}, but the log has {expected!r}"
        for column, value, expected in zip(current._fields, current, logged, strict=True)
        if value != expected
    )
