"""
Write the events of the log to a file, ordered by time.

DynamoDB returns the events in an order that depends on its partitions. Events are therefore first collected in a SQLite
file, which SQLite then sorts on disk. The SQLite file also stores the position in the log after which an interrupted
export resumes.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from chalicelib import clock, codec, log_reader
from chalicelib.api.formats import format_time
from chalicelib.domain.events import Event
from chalicelib.extras.chunks import split_into_chunks
from chalicelib.extras.temporary_db import TemporaryDatabase
from chalicelib.log_reader import LogPosition, Unreadable
from chalicelib.settings import Settings
from ops.cli import progress
from ops.cli.errors import OperatorError
from ops.cli.result import Outcome, count
from ops.maintenance import event_file, lookups
from ops.maintenance.event_file import Target
from ops.maintenance.event_selection import EventSelection

_AT_ONCE = 1000
#: Less than a day, so that a daily export does not resume an export that was killed the day before.
_EXPIRES_MS = 6 * 3_600_000

#: The maximum number of unreadable events that the outcome lists.
_LISTED = 20

_SCHEMA = """
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE IF NOT EXISTS event (recorded_at_ms, counter_id, event_id, type, line);
CREATE TABLE IF NOT EXISTS unreadable (partition, event_id, reason);
CREATE TABLE IF NOT EXISTS state (key PRIMARY KEY, owner, started_ms, partition, event_id);
"""


def export(
    settings: Settings, selection: EventSelection, target: Target | None, *, from_start: bool = False
) -> Outcome:
    """
    Write the selected events to the target, or to standard output if it is None, ordered by time, counter and id.

    The file contains every selected event that was in the log when the export began and that this version can read.
    The next call with the same selection, file and log table resumes an interrupted export, up to six hours after its
    start. An interrupted export to standard output starts over. Memory use does not grow with the log.
    """
    with _open_staging(target) as db:
        after, resumed_after = db.resume(_identify(settings, selection), from_start=from_start)
        if after:
            click.echo(f"Resuming after {count(resumed_after, 'event')}. --from-start starts over.", err=True)
        with progress.bar("Reading", selection.estimate_size(settings.event_log_table)) as advance:
            for batch in split_into_chunks(selection.read(after), _AT_ONCE):
                db.add(batch, selection)
                advance(len(batch))
        if target is None:
            facts = _write(db, None)
        else:
            with event_file.replace(target) as draft:
                facts = _write(db, draft)
                event_file.write_manifest(draft, settings.stage, facts)
        unreadable = [*db.rows("SELECT partition, event_id, reason FROM unreadable ORDER BY 1, 2 LIMIT ?", [_LISTED])]
    if target:
        _locate_staging(target.path).unlink()
    name = str(target or event_file.STANDARD)
    facts = {"stage": settings.stage, "file": name, **facts, "resumed_after": resumed_after}
    return Outcome(facts, [*_describe(facts, target, unreadable)], not facts["unreadable"], is_on_stderr=target is None)


class _Staging(TemporaryDatabase):
    """The events that an export has read, and its position in the log."""

    def __init__(self, file: str) -> None:
        super().__init__(_SCHEMA, file)

    def resume(self, owner: str, *, from_start: bool = False) -> tuple[LogPosition | None, int]:
        """
        Return the position of this owner's interrupted export and the number of collected events, or start over.

        Drop the state of another owner, and state that is more than six hours old. With `from_start`, drop any state.
        """
        now_ms = clock.now_ms()
        row = self.row("SELECT owner, started_ms, partition, event_id FROM state")
        if not from_start and row and row[0] == owner and 0 <= now_ms - row[1] < _EXPIRES_MS and row[2] is not None:
            return LogPosition(row[2], row[3]), self.count("event")
        for table in ("event", "unreadable", "state"):
            self.execute(f"DELETE FROM {table}")  # noqa: S608  (no input)
        self.execute("INSERT INTO state VALUES (1, ?, ?, NULL, NULL)", [owner, now_ms])
        return None, 0

    def add(self, batch: Sequence[Event | Unreadable], selection: EventSelection) -> None:
        """Add the selected events of the batch, and advance the position, in one transaction."""
        events, unreadable = [], []
        for event in batch:
            if isinstance(event, Unreadable):
                unreadable.append((event.partition, event.event_id, event.reason))
            elif selection.has(event):
                key = (event.recorded_at_ms, event.counter_id, event.event_id)
                events.append((*key, event.type_name, codec.encode_line(event)))
        position = log_reader.locate(batch[-1])
        with self._lock, self._database:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?)", events)
            self._database.executemany("INSERT INTO unreadable VALUES (?, ?, ?)", unreadable)
            self._database.execute(
                "UPDATE state SET (partition, event_id) = (?, ?)", (position.partition, position.event_id)
            )

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the file."""
        query = "SELECT line FROM event ORDER BY recorded_at_ms, counter_id, event_id"
        return (f"{line}\n".encode() for (line,) in self.rows(query))

    def count(self, table: str) -> int:
        """Return the number of rows in this table so far: the readable or the unreadable events."""
        ((number,),) = self.rows(f"SELECT count(*) FROM {table}")  # noqa: S608  (no input)
        return int(number)

    def summarize(self) -> dict[str, Any]:
        """Return the numbers of events by type, and the times of the first and the last event, for the manifest."""
        types = dict(self.rows("SELECT type, count(*) FROM event GROUP BY type ORDER BY type"))
        ((first_ms, last_ms),) = self.rows("SELECT min(recorded_at_ms), max(recorded_at_ms) FROM event")
        return {
            "events": sum(types.values()),
            "types": types,
            "first_recorded_at": None if first_ms is None else format_time(first_ms),
            "last_recorded_at": None if last_ms is None else format_time(last_ms),
        }


def _open_staging(target: Target | None) -> _Staging:
    staging = _locate_staging(target.path) if target else None
    try:
        return _Staging(str(staging or ""))
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        raise OperatorError(f"Another export is writing {target}.") from error


def _locate_staging(file: Path) -> Path:
    return file.with_name(f"{file.name}.partial")


def _identify(settings: Settings, selection: EventSelection) -> str:
    """Describe the export that a position belongs to. A table that was created again counts as a different table."""
    table = lookups.table_ids(settings.event_log_table)
    return json.dumps({"stage": settings.stage, "table": table, "selection": asdict(selection)})


def _write(db: _Staging, file: Path | None) -> dict[str, Any]:
    """Write the lines to the file, or to standard output, and return the facts for the manifest."""
    digest = hashlib.sha256()
    with progress.bar("Writing", db.count("event")) as advance, event_file.open_for_write(file) as stream:
        for lines in split_into_chunks(db.lines(), _AT_ONCE):
            for line in lines:
                digest.update(line)
                stream.write(line)
            advance(len(lines))
    return {**db.summarize(), "sha256": digest.hexdigest(), "unreadable": db.count("unreadable")}


def _describe(
    facts: dict[str, Any], target: Target | None, unreadable: Iterable[tuple[str, str, str]]
) -> Iterator[str]:
    place = target or "standard output"
    yield f"{count(facts['events'], 'event')} of stage {facts['stage']} written to {place}."
    if target:
        yield f"Manifest: {event_file.name_manifest(str(target))}"
    if number := facts["unreadable"]:
        yield f"{count(number, 'event')} cannot be read by this version and {'is' if number == 1 else 'are'} missing:"
    yield from (f"  {partition} {event_id}: {reason}" for partition, event_id, reason in unreadable)
