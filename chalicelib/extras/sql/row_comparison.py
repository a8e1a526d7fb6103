"""Compare the rows of the SQL read model with the log, and its totals with its rows; see `verifier`."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from chalicelib import event_log
from chalicelib.domain.entries import Entry, id_bytes
from chalicelib.domain.events import is_counter_id, is_event_id
from chalicelib.extras.chunks import split_into_chunks
from chalicelib.extras.sql import rows as stored
from chalicelib.extras.sql.row_staging import RowStaging
from chalicelib.extras.verification.report import DIFFERENT_ROW, PURGED_ROW, UNKNOWN_ROW, Difference, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Engine

    from chalicelib.extras.sql.schema import Row
    from chalicelib.extras.verification.staging_db import StagingDb

#: Rows, events or counters in one request.
_AT_ONCE = 100

_STAGED_AT_ONCE = 1000

_DETAILS = {UNKNOWN_ROW: "the log has no such event", PURGED_ROW: "the counter was purged after it"}


class RowComparison:
    """The comparison of the SQL read model with the log, of these counters, or of all if the list is empty."""

    def __init__(self, db: StagingDb, engine: Engine, counter_ids: Sequence[str]) -> None:
        self.engine = engine
        self.rows = RowStaging(db)
        self.report = Report(unit="rows")
        self._counter_ids = tuple(dict.fromkeys(counter_ids))

    def read(self, advance: Callable[[int], None]) -> None:
        """Stage the counters and their rows."""
        self.rows.add_counters(self._counter_ids or stored.scan_counter_ids(self.engine))
        for counter_id in self._counter_ids or (None,):
            for chunk in split_into_chunks(stored.scan(self.engine, counter_id), _STAGED_AT_ONCE):
                self.rows.add(chunk)
                advance(len(chunk))

    def count_pending(self, oldest_ms: int, young_from_ms: int) -> int:
        """Read each uncounted event's row again, from `oldest_ms` on. Return the number of pending events."""
        young = 0
        for chunk in split_into_chunks(self.rows.missing(oldest_ms), _AT_ONCE):
            current = self._read_again(chunk)
            self.rows.add(current.values())
            young += sum(row.recorded_at_ms >= young_from_ms for row in chunk if row[:2] not in current)
        return young

    def report_differences(self, young_from_ms: int) -> Report:
        """Report the rows that still differ, and the totals that differ from the rows in one snapshot."""
        self.report.add_unreadable(self.rows.db.unreadable())
        for row in self.rows.missing():
            entry = Entry(int(row.recorded_at_ms), id_bytes(row.event_id), row.amount)
            self.report.add_uncounted(row.counter_id, entry, young_from_ms)
        for kind, chunk in self.find_unknown():
            current = self._read_again(chunk)
            for row in chunk:
                if row[:2] in current:
                    self._report(kind, row, _DETAILS[kind])
                else:
                    self.rows.remove(row)
        for chunk in split_into_chunks(self.rows.different(), _AT_ONCE):
            current = self._read_again(chunk)
            for row in chunk:
                if detail := _describe_difference(row, current.get(row[:2], row)):
                    self._report(DIFFERENT_ROW, row, detail)
        self.report.events, self.report.entries = self.rows.sizes()
        for counter_ids in split_into_chunks(self.rows.counter_ids(), _AT_ONCE):
            self.report.counters += len(counter_ids)
            for counter_id, totals in stored.read_totals(self.engine, counter_ids).items():
                self.report.add(stored.compare_totals(counter_id, totals))
        return self.report

    def find_unknown(self) -> Iterator[tuple[str, list[Row]]]:
        """
        Yield the rows of purged events, and those without an event in the log: a kind, and rows of one counter.

        Events that were recorded after the log was staged are read and staged.

        Raises:
            LogUnavailableError: DynamoDB throttles or does not answer.
        """
        for _, purged in groupby(self.rows.purged(), key=lambda row: row.counter_id):
            for rows in split_into_chunks(purged, _AT_ONCE):
                yield PURGED_ROW, rows
        for counter_id, unknown in groupby(self.rows.unknown(), key=lambda row: row.counter_id):
            for chunk in split_into_chunks(unknown, _AT_ONCE):
                event_ids = {row.event_id for row in chunk if is_event_id(row.event_id)}
                logged = event_log.find_many(counter_id, event_ids) if event_ids and is_counter_id(counter_id) else []
                self.rows.db.add_events(logged)
                logged_ids = {event.event_id for event in logged}
                if rows := [row for row in chunk if row.event_id not in logged_ids]:
                    yield UNKNOWN_ROW, rows

    def _read_again(self, rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
        """Return the current rows with the keys of these rows, by key."""
        return {row[:2]: row for row in stored.find(self.engine, [row[:2] for row in rows])}

    def _report(self, kind: str, row: Row, detail: str) -> None:
        self.report.add(Difference(kind, row.counter_id, detail, row.event_id))


def _describe_difference(logged: Row, current: Row) -> str:
    return "; ".join(
        f"its {column} is {value!r}, and the log says {expected!r}"
        for column, value, expected in zip(current._fields, current, logged, strict=True)
        if value != expected
    )
