"""
Void the events of junk counters in the log, then delete the counters from the read models.

A purge appends a `Purged` event to the partition of each part. `verify` and `rebuild` ignore the events that it voids,
so that the repair of a read model deletes the counter's items, archive pages and rows.
"""

import contextvars
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from chalicelib import clock, event_log
from chalicelib.access.names import Names
from chalicelib.aws import partitions
from chalicelib.aws.dynamodb import RawItem
from chalicelib.domain.events import Purged
from chalicelib.errors import DamagedReadModelError
from chalicelib.extras.chunks import split_into_chunks
from chalicelib.extras.temporary_db import TemporaryDatabase
from chalicelib.extras.verification.staging_db import StagingDb
from chalicelib.extras.verification.verifier import Comparison
from chalicelib.projections import SQL, Projection
from chalicelib.read_model import items, store
from chalicelib.settings import Settings
from ops.cli import progress
from ops.cli.errors import OperatorError
from ops.cli.result import Outcome, count
from ops.maintenance import projections
from ops.maintenance.notes import Note

#: The number of counters that are compared with the log together.
_AT_ONCE = 100

#: The number of concurrent appends.
_THREADS = 8

#: Functions with an outdated copy of the catalog may accept increments for less than this time.
_QUIET_MS = 60_000

#: The maximum number of names that a message lists.
_LISTED = 20


@dataclass(slots=True)
class _Result:
    """The numbers of purged counters and events, their total value, and the reason for each refusal, by counter."""

    counters: int = 0
    events: int = 0
    value: int = 0
    refused: dict[str, str] = field(default_factory=dict)


def purge(  # noqa: PLR0913  (decisions of the caller)
    settings: Settings,
    counters: Sequence[str],
    note: Note,
    *,
    is_open: Callable[[str], bool],
    confirm: Callable[[str], None],
    dry_run: bool,
) -> Outcome:
    """
    Purge the counters that these names and patterns select. Before that, call `confirm` with a question.

    With `dry_run`, only report the number of counters, their events and their total value.

    Refuse all counters if one of them accepts increments (`is_open`). Also refuse each counter with events that are
    uncounted, unreadable or less than a minute old, and purge the others. If a call is interrupted, at any point, the
    next call completes the purge. Safe while workers count events: the totals of other counters do not change. Memory
    use does not grow with the number of counters, except for the names of refused counters.
    """
    repairable = [name for name, maintenance in projections.MAINTENANCE.items() if maintenance.repair]
    selected = [each for each in settings.projections if each.name in repairable]
    with _Names() as names:
        with progress.status("Looking for counters"):
            _find_counters(settings, counters, selected, names)
        _check_closed(filter(is_open, names.all()))
        number, events, value = names.totals()
        facts = {"counters": number, "events": events, "value": value}
        described = f"{count(number, 'counter')} with {count(events, 'event')} and a total value of {value:,}"
        if dry_run or not number:
            lines = [f"{described} would be purged." if number else "There is nothing to purge."]
            return Outcome({**facts, "refused": {}, "dry_run": dry_run}, lines)
        confirm(f"Purge {described}? This cannot be undone.")
        result = _Result()
        with progress.bar("Purging", number, "counters") as advance:
            for chunk in split_into_chunks(names.all(), _AT_ONCE):
                _purge_chunk(settings, chunk, selected, note, result)
                advance(len(chunk))
    return _to_outcome(result, [each.name for each in settings.projections if each not in selected])


def make_purge_id(until_ms: int, part: int, parts: int) -> str:
    """
    Return the id of a part's `Purged` event. The same arguments give the same id, so that the event is appended once.

    The id is lower than the ids of all other events, and belongs to this part; see `FIRST_ID_AFTER_PURGES`.
    """
    high, low = divmod(until_ms, 1 << 20)
    return str(uuid.UUID(int=high << 48 | low * parts + part))


class _Names(TemporaryDatabase):
    """The counters to purge, with their totals in the read model, in a temporary file."""

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE part (counter_id, part, value, version, PRIMARY KEY (counter_id, part)) WITHOUT ROWID"
        )

    def add(self, counter_ids: Iterable[str]) -> None:
        """Add counters, without totals."""
        self.insert("part VALUES (?, -1, 0, 0)", [(counter_id,) for counter_id in counter_ids])

    def add_parts(self, found: Iterable[RawItem]) -> None:
        """Add the counters of these items. A damaged item has no totals."""
        rows: list[tuple[object, ...]] = []
        for item in found:
            key = (item["counter_id"]["S"], item["part"]["N"])
            try:
                totals = items.decode_totals(item)
            except DamagedReadModelError:
                rows.append((*key, 0, 0))
            else:
                rows.append((*key, str(totals.value), str(totals.version)))
        self.insert("part VALUES (?, ?, ?, ?)", rows)

    def all(self) -> Iterator[str]:
        """Yield the counters, ordered by id."""
        return (name for (name,) in self.rows("SELECT DISTINCT counter_id FROM part ORDER BY counter_id"))

    def totals(self) -> tuple[int, int, int]:
        """Return the number of counters, the number of their events, and the sum of their values."""
        query = "SELECT count(DISTINCT counter_id), exact_sum(version), exact_sum(value) FROM part"
        number, events, value = self.row(query) or (0, None, None)
        return number, int(events or 0), int(value or 0)


def _find_counters(settings: Settings, counters: Sequence[str], selected: Sequence[Projection], names: _Names) -> None:
    """
    Add the selected counters of all read models.

    Also read the archive, because an interrupted purge may have left pages of a counter without an item.
    """
    single = [name for name in counters if "*" not in name]
    projections.check_counters(settings, single, selected)
    names.add(single)
    for name in single:
        names.add_parts(store.query_part_items(name))
    patterns = Names(name for name in counters if "*" in name)
    if not patterns.entries:
        return
    for response in store.scan_parts():
        names.add_parts(item for item in response if item["counter_id"]["S"] in patterns)
    for response in store.scan_pages():
        keys = filter(None, map(items.parse_page_key, response))
        names.add(key.counter_id for key in keys if key.counter_id in patterns)
    if SQL in selected:
        from chalicelib.extras.sql import rows  # noqa: PLC0415  (only loaded if SQL is on)

        with projections.connect_sql(settings) as engine:
            for chunk in split_into_chunks(rows.scan_counter_ids(engine), _AT_ONCE):
                names.add(counter_id for counter_id in chunk if counter_id in patterns)


def _check_closed(still_open: Iterator[str]) -> None:
    if listed := list(islice(still_open, _LISTED)):
        more = f" and {count(number, 'other')}" if (number := sum(1 for _ in still_open)) else ""
        raise OperatorError(
            f"These counters accept increments: {', '.join(listed)}{more}. Close or hide them "
            "with `python -m ops counters`, and purge them a minute later. Nothing was changed."
        )


def _purge_chunk(
    settings: Settings, counter_ids: list[str], selected: Sequence[Projection], note: Note, result: _Result
) -> None:
    """Purge these counters. Instead of purging counters with an obstacle, add them to `result.refused`."""
    with projections.stage_comparisons(settings, counter_ids, selected) as (db, comparisons):
        obstacle = _find_obstacle(db, comparisons.values())
        if not obstacle:
            result.counters += len(counter_ids)
            purges = _make_purges(db, note, result)
            _append(purges)
            db.add_events(purges)
            for name, repair in projections.get_repairs(selected).items():
                result.refused |= repair(comparisons[name], lambda _: None).failed
            return
    if len(counter_ids) == 1:
        result.refused[counter_ids[0]] = obstacle
        return
    middle = len(counter_ids) // 2
    for half in (counter_ids[:middle], counter_ids[middle:]):
        _purge_chunk(settings, half, selected, note, result)


def _find_obstacle(db: StagingDb, comparisons: Iterable[Comparison]) -> str:
    """Return the reason why these counters cannot be purged together; an empty string if they can."""
    if next(db.unreadable(), None) is not None:
        return "this version of the code cannot read all of its events"
    ((latest_ms,),) = db.rows("SELECT max(recorded_at_ms) FROM logged")
    if latest_ms is not None and latest_ms > clock.now_ms() - _QUIET_MS:
        return "its latest event is less than a minute old"
    if any(comparison.count_pending(0, 0) for comparison in comparisons):
        return "some of its events are not counted yet: run verify"
    return ""


def _make_purges(db: StagingDb, note: Note, result: _Result) -> list[Purged]:
    """
    Make the purges that void the staged events: one for each part of each counter. Skip counters with only void events.

    A purge ends at the time of the latest event, so it does not depend on this machine's clock.
    """
    parts, now_ms = partitions.count_parts(), clock.now_ms()
    purges = []
    query = "SELECT counter_id, max(recorded_at_ms), count(*), exact_sum(amount) FROM logged GROUP BY counter_id"
    for counter_id, until_ms, events, value in db.rows(query):
        result.events += events
        result.value += int(value)
        for part in range(parts):
            event_id = make_purge_id(until_ms, part, parts)
            purges.append(Purged(counter_id, event_id, 0, now_ms, until_ms, note.reason, note.who))
    return purges


def _append(purges: Iterable[Purged]) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        for future in [pool.submit(contextvars.copy_context().run, event_log.append, each) for each in purges]:
            future.result()


def _to_outcome(result: _Result, unsupported: list[str]) -> Outcome:
    facts = {"counters": result.counters, "events": result.events, "value": result.value, "refused": result.refused}
    lines = [
        f"{count(result.counters, 'counter')} purged, with {count(result.events, 'event')} and a total value of "
        f"{result.value:,}."
    ]
    listed = list(result.refused.items())[:_LISTED]
    lines += [f"Not purged: {counter_id}: {reason}." for counter_id, reason in listed]
    if unlisted := len(result.refused) - len(listed):
        lines.append(f"... and {unlisted:,} more")
    lines += [f"Projection {name} keeps its data: it does not support rebuild." for name in unsupported]
    return Outcome({**facts, "dry_run": False}, lines, holds=not result.refused)
