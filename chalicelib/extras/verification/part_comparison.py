"""
Compare the parts of counters with the log; see `verifier`.

Each part that seems to differ is read again until its item stays unchanged while its pages are read (`settle`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from chalicelib import clock, log_reader, retries
from chalicelib.aws import partitions
from chalicelib.domain.counter import NOTHING_ARCHIVED, PartKey
from chalicelib.domain.events import is_counter_id
from chalicelib.errors import DamagedReadModelError
from chalicelib.extras.chunks import split_into_chunks
from chalicelib.extras.verification import report as kinds
from chalicelib.extras.verification import verifier
from chalicelib.extras.verification.report import Difference, Report
from chalicelib.extras.verification.staging_db import RECENT, SEEN, StagingDb, find_end
from chalicelib.read_model import items, queries, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from chalicelib.aws.dynamodb import RawItem
    from chalicelib.extras.verification.verifier import LogSegment

    Segments = Sequence[Callable[[], Iterable[list[RawItem]]]]

#: Archive pages in one request: at most 1 MB.
_PAGES_AT_ONCE = 200

#: Events in one request to the log.
_EVENTS_AT_ONCE = 100

_SETTLE_TRIES = 20

#: All items of a transaction that began longer ago than this are visible.
_YOUNG_MS = 60_000


@dataclass(frozen=True, slots=True)
class Scope:
    """The segments to compare. Each function reads one segment. Segments of the same kind are read concurrently."""

    parts: Segments
    pages: Segments
    log: Sequence[LogSegment]


def select_all(segments: int) -> Scope:
    """Return the scope of the whole stage, in this many segments."""
    numbers = range(segments)
    return Scope(
        [partial(store.scan_parts, number, segments) for number in numbers],
        [partial(store.scan_pages, number, segments) for number in numbers],
        [partial(log_reader.scan, number, segments) for number in numbers],
    )


def select_counters(counter_ids: Iterable[str]) -> Scope:
    """Return the scope of these counters."""
    names = list(dict.fromkeys(counter_ids))
    scope = select_parts([key for name in names for key in partitions.part_keys(name)])
    # Queries add up every item of a counter, including items of parts beyond `SHARDS`.
    return replace(scope, parts=[lambda name=name: [store.query_part_items(name)] for name in names])  # type: ignore[misc]


def select_parts(keys: Iterable[PartKey]) -> Scope:
    """Return the scope of these parts of counters."""
    keys = list(keys)
    return Scope(
        [lambda key=key: [[item] if (item := store.read_part_item(key)) else []] for key in keys],  # type: ignore[misc]
        [partial(store.query_pages, key, 0, _PAGES_AT_ONCE) for key in keys],
        [partial(log_reader.scan_partition, partitions.format_partition(key)) for key in keys],
    )


class PartComparison:
    """
    The comparison of counters' parts with the log.

    `strays` are items of the read model whose keys belong to no part of a counter.
    """

    def __init__(self, db: StagingDb, scope: Scope, report: Report | None = None) -> None:
        self.db = db
        self.report = report or Report()
        self.strays: list[RawItem] = []
        self._scope = scope
        self._lagging: list[PartKey] | None = None

    def read(self, advance: Callable[[int], None]) -> None:
        """Stage the items of parts, then their pages."""
        for segments in (self._scope.parts, self._scope.pages):
            verifier.run_in_parallel(self._add_items, segments, advance)

    def count_pending(self, oldest_ms: int, young_from_ms: int) -> int:
        """Check again for an entry of each uncounted event since `oldest_ms`. Return the number of pending events."""
        young = 0
        if self._lagging is None:
            self._lagging = [key for key in self.db.parts() if next(self.db.missing(key), None) is not None]
        for key in self._lagging:
            for chunk in split_into_chunks(self.db.missing(key), _EVENTS_AT_ONCE):
                entries = frozenset(entry for entry in chunk if entry.recorded_at_ms >= oldest_ms)
                try:
                    uncounted = queries.find_uncounted(key, entries)
                except DamagedReadModelError:
                    uncounted = entries
                self.db.add_counted(key, entries - uncounted, SEEN)
                young += sum(entry.recorded_at_ms >= young_from_ms for entry in uncounted)
        return young

    def report_differences(self, young_from_ms: int) -> Report:
        """Report the differences of every part, after settling each part that seems to differ."""
        for key in self.db.parts():
            self.report_part(key, young_from_ms)
        self.report.events, self.report.entries = self.db.sizes()
        self.report.counters = len({key.counter_id for key in self.db.parts()})
        self.report.add_unreadable(self.db.unreadable())
        for item in self.strays:
            self.report.add(describe_stray(item))
        return self.report

    def report_part(self, key: PartKey, young_from_ms: int) -> None:
        """Report the differences of one part. If the part seems to differ, settle it first."""
        # Try twice, because a query may see only some items of a transaction that is being committed.
        for _ in range(2):
            if next(find_differences(self.db, key), None) is not None and settle(self.db, key) is None:
                self.report.add(Difference(kinds.UNSETTLED, key.counter_id, "it changed each time it was read"))
                return
        for difference in find_differences(self.db, key):
            self.report.add(difference)
        for entry in self.db.missing(key):
            self.report.add_uncounted(key.counter_id, entry, young_from_ms)

    def _add_items(self, batch: Iterable[RawItem]) -> None:
        for item in batch:
            if key := items.parse_page_key(item) if "partition" in item else items.parse_part_key(item):
                self.db.add_item(key, item)
            else:
                self.strays.append(item)


def settle(db: StagingDb, key: PartKey) -> RawItem | None:
    """
    Stage a consistent snapshot of one part, and return its item in that snapshot, empty if the item does not exist.

    Counting and corrections raise the item's revision. If the revision is the same before and after the pages are read,
    the snapshot is consistent. Otherwise, read the part again, except for pages that are unchanged according to
    `amended`. Return None if the part changed at every attempt. Look up in the log events that were counted after the
    log was staged. If an event is uncounted, also look up a purge of the part.
    """
    unchanged_until_ms, amended = NOTHING_ARCHIVED, None
    for _ in retries.with_backoff(_SETTLE_TRIES):
        before = store.read_part_item(key)
        if before.get("amended", {}) != amended:
            unchanged_until_ms = NOTHING_ARCHIVED
        db.forget_part(key, unchanged_until_ms)
        if before:
            db.add_item(key, before)
        for item in chain.from_iterable(store.query_pages(key, unchanged_until_ms + 1, _PAGES_AT_ONCE)):
            if items.parse_page_key(item) == key:
                db.add_item(key, item)
        after = store.read_part_item(key)
        if (after.get("revision"), not after) == (before.get("revision"), not before):
            _look_up_unknown(db, key)
            _look_up_purge(db, key)
            return before
        # If a page was amended in between, pages may have been read before or after that: read all of them again.
        amended = before.get("amended", {}) if after.get("amended") == before.get("amended") else None
        unchanged_until_ms = db.item(key).archived_until_ms
    return None


def find_differences(db: StagingDb, key: PartKey) -> Iterator[Difference]:
    """Yield the differences of one staged part, except for uncounted events."""

    def difference(kind: str, detail: str, event_id: str | None = None) -> Difference:
        return Difference(kind, key.counter_id, detail, event_id)

    item, pages = db.item(key), db.pages(key)
    damages = [damage for damage in (item.damage, *(page.damage for page in pages)) if damage is not None]
    for damage in damages:
        yield difference(kinds.DAMAGED, damage)
    for page in pages:
        if not page.is_linked:
            kind = kinds.PAGE_MISSING if page.start_ms > page.before_ms else kinds.PAGES_OVERLAP
            detail = f"the page that ends at {page.end_ms} starts at {page.start_ms}, but the page before it ends at"
            yield difference(kind, f"{detail} {page.before_ms}")
    until_ms, last_ms = item.archived_until_ms, find_end(pages)
    if item.damage is None and until_ms != last_ms:
        kind = kinds.PAGE_MISSING if until_ms > last_ms else kinds.PAGE_BEYOND
        yield difference(kind, f"archived_until is {until_ms}, but the last page ends at {last_ms}")
    for entry, end_ms, kind in db.wrong(key):
        place = "in the counter's item" if end_ms == RECENT else f"in the page that ends at {end_ms}"
        yield difference(kind, f"{place}, by {entry.amount}, recorded at {entry.recorded_at_ms}", entry.event_id)
    if not damages and (total := db.totals(key).compare(key.counter_id)):
        yield total


def describe_stray(item: RawItem) -> Difference:
    """Describe an item whose key belongs to no part, as a difference."""
    if "partition" in item:
        return Difference(kinds.STRAY, item["partition"]["S"], f"archive page that ends at {item['end']['N']}")
    return Difference(kinds.STRAY, item["counter_id"]["S"], f"item of part {item['part']['N']}")


def _look_up_unknown(db: StagingDb, key: PartKey) -> None:
    """Look up the events of the part's entries in the log, unless they are staged already, and stage them."""
    if not is_counter_id(key.counter_id):
        return
    young_from_ms = clock.now_ms() - _YOUNG_MS
    for is_again in (False, True):
        unknown = [entry for entry, _, kind in db.wrong(key) if kind == kinds.UNKNOWN]
        if is_again:
            unknown = [entry for entry in unknown if entry.recorded_at_ms >= young_from_ms]
        if not unknown:
            return
        if is_again:
            retries.pause()  # the event of a swap may become visible a moment after its entry
        for entries in split_into_chunks(unknown, _EVENTS_AT_ONCE):
            db.add_events(log_reader.find_many(key.counter_id, {entry.event_id for entry in entries}))


def _look_up_purge(db: StagingDb, key: PartKey) -> None:
    """
    If a part has uncounted events, look up its purge, which may explain them.

    A purge is recorded before the part is deleted, so it is visible if the snapshot lacks the part.
    """
    if next(db.missing(key), None) is not None:
        db.add_purge(key, log_reader.read_purge(partitions.format_partition(key)))
