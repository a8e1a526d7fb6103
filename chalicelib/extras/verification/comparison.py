"""
Compare the read model with the log, while increments are counted and queries answered.

The read model is read first, then the log. An event is recorded before it is counted, so an entry whose event is not in
the log is wrong. Reads at different moments cannot agree to the event under traffic. So each part that
seems to differ is read again until its item did not change while its pages were read (`settle`).
"""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from chalicelib import event_log, retries
from chalicelib.aws import partitions
from chalicelib.domain.counter import NOTHING_ARCHIVED, PartKey
from chalicelib.domain.entries import entry_of, id_bytes
from chalicelib.domain.events import is_counter_id, is_event_id
from chalicelib.errors import DamagedReadModelError
from chalicelib.event_log import Unreadable
from chalicelib.extras.chunks import chunked
from chalicelib.extras.verification import report as kinds
from chalicelib.extras.verification.report import Difference, Report
from chalicelib.extras.verification.staging_db import RECENT, SEEN, StagingDb
from chalicelib.read_model import items, queries, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from chalicelib.aws.dynamodb import RawItem
    from chalicelib.domain.entries import Entry
    from chalicelib.domain.events import Event
    from chalicelib.extras.verification.staging_db import Counted, Totals

_THREADS = 8

#: Archive pages in one request: at most 1 MB.
_PAGES_AT_ONCE = 200

#: Events in one request to the log for them.
_EVENTS_AT_ONCE = 100

_SETTLE_TRIES = 20

#: A transaction that was begun longer ago is visible in all of its items.
_YOUNG_MS = 60_000
_POLL_AFTER_S = 0.5


@dataclass(frozen=True, slots=True)
class Readings:
    """What to compare. Each function reads a segment; segments of one kind are read at the same time."""

    parts: Sequence[Callable[[], Iterable[list[RawItem]]]]
    pages: Sequence[Callable[[], Iterable[list[RawItem]]]]
    log: Sequence[Callable[[], Iterable[Event | Unreadable]]]


def everything(segments: int) -> Readings:
    """Return the readings of the whole stage, in this many segments."""
    numbers = range(segments)
    return Readings(
        [lambda number=number: store.scan_parts(number, segments) for number in numbers],  # type: ignore[misc]
        [lambda number=number: store.scan_pages(number, segments) for number in numbers],  # type: ignore[misc]
        [lambda number=number: event_log.scan(number, segments) for number in numbers],  # type: ignore[misc]
    )


def some(counter_ids: Iterable[str]) -> Readings:
    """Return the readings of these counters."""
    names = list(dict.fromkeys(counter_ids))
    readings = of_parts([key for name in names for key in partitions.keys_of(name)])
    # Queries add up every item of a counter, including items of parts beyond `SHARDS`.
    parts = [lambda name=name: [store.query_parts(name)] for name in names]
    return replace(readings, parts=parts)


def of_parts(keys: Iterable[PartKey]) -> Readings:
    """Return the readings of these parts of counters."""
    keys = list(keys)
    return Readings(
        [lambda key=key: [[item] if (item := store.read_part_item(key)) else []] for key in keys],  # type: ignore[misc]
        [lambda key=key: store.query_pages(key, 0, _PAGES_AT_ONCE) for key in keys],  # type: ignore[misc]
        [lambda key=key: event_log.scan_partition(partitions.partition_of(key)) for key in keys],  # type: ignore[misc]
    )


def verify(
    readings: Readings,
    *,
    lag_s: float = 30,
    waits: bool = True,
    advance: Callable[[int], None] = lambda _: None,
) -> Report:
    """
    Compare the read model with the log, event by event, and return what differs.

    An event that is not counted is pending until it is `lag_s` seconds old, and a difference after that. With `waits`,
    poll until no event is pending. `advance` is told how many more things were read.
    Memory does not grow with the log; a temporary file does.

    Raises:
        LogUnavailableError, ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    with Comparison(advance) as comparison:
        comparison.read(readings)
        young_from_ms = poll_pending(comparison.count_pending, lag_s, waits=waits)
        for key in comparison.parts():
            comparison.report_part(key, young_from_ms)
        return comparison.finish()


class Comparison:
    """
    One comparison: what was read is in `db`, what differs in `report`.

    `strays` are items of the read model whose keys are those of no part of a counter.
    """

    def __init__(self, advance: Callable[[int], None] = lambda _: None, report: Report | None = None) -> None:
        self.db = StagingDb()
        self.report = report or Report()
        self.strays: list[RawItem] = []
        self._advance = advance
        self._lagging: list[PartKey] | None = None
        self._cut_off = threading.Event()

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()

    def read(self, readings: Readings) -> None:
        """Read everything into the database, in the order on which the comparison depends."""
        self._in_threads(self._read_parts, readings.parts)
        self._in_threads(self._read_pages, readings.pages)
        self._in_threads(self._read_log, readings.log)

    def parts(self) -> list[PartKey]:
        """Return every part of which anything was read."""
        return list(self.db.parts())

    def count_pending(self, oldest_ms: int, young_from_ms: int) -> int:
        """Look for each uncounted event from `oldest_ms` on again; return how many are uncounted and still young."""
        young = 0
        if self._lagging is None:
            self._lagging = [key for key in self.parts() if next(self.db.missing(key), None) is not None]
        for key in self._lagging:
            for some_entries in chunked(self.db.missing(key), _EVENTS_AT_ONCE):
                entries = frozenset(entry for entry in some_entries if entry.recorded_at_ms >= oldest_ms)
                try:
                    uncounted = queries.find_uncounted(key, entries)
                except DamagedReadModelError:
                    uncounted = entries
                self.db.add_counted(key, entries - uncounted, SEEN)
                young += sum(entry.recorded_at_ms >= young_from_ms for entry in uncounted)
        return young

    def report_part(self, key: PartKey, young_from_ms: int) -> None:
        """Report the differences of one part, after settling it."""
        # Twice: of a transaction that is being committed, a query may see one item and not yet another one.
        for _ in range(2):
            if next(differences(self.db, key), None) is not None and settle(self.db, key) is None:
                self.report.add(Difference(kinds.UNSETTLED, key.counter_id, "it changed each time it was read"))
                return
        for difference in differences(self.db, key):
            self.report.add(difference)
        now_ms = _now_ms()
        for entry in self.db.missing(key):
            self.report.lag_s = max(self.report.lag_s, (now_ms - entry.recorded_at_ms) / 1000)
            if entry.recorded_at_ms >= young_from_ms:
                self.report.pending += 1
                continue
            detail = f"by {entry.amount}, recorded {(now_ms - entry.recorded_at_ms) // 1000} s ago"
            self.report.add(Difference(kinds.UNCOUNTED, key.counter_id, detail, entry.event_id))

    def finish(self) -> Report:
        """Add the numbers of what was compared, and the events that cannot be read."""
        self.report.events, self.report.entries = self.db.sizes()
        self.report.counters = len({key.counter_id for key in self.db.parts()})
        for key, entry, reason in self.db.unreadable():
            self.report.unreadable.add(key.counter_id)
            self.report.add(Difference(kinds.UNREADABLE, key.counter_id, reason, entry.event_id))
        for item in self.strays:
            self.report.add(Difference(kinds.STRAY, *_key_texts(item)))
        return self.report

    def _in_threads(self, work: Callable[[Iterable], None], segments: Sequence[Callable[[], Iterable]]) -> None:  # type: ignore[type-arg]
        if len(segments) == 1:
            work(segments[0]())
            return
        with ThreadPoolExecutor(_THREADS) as pool:
            try:
                for done in [pool.submit(lambda read=read: work(read())) for read in segments]:  # type: ignore[misc]
                    done.result()
            except BaseException:
                self._cut_off.set()  # or the end of the block would wait until everything is read
                raise

    def _tell(self, number: int) -> None:
        if self._cut_off.is_set():
            raise CancelledError
        self._advance(number)

    def _read_parts(self, requests: Iterable[list[RawItem]]) -> None:
        for item in chain.from_iterable(requests):
            self._tell(1)
            if key := items.part_key(item):
                _add_part(self.db, key, item)
            else:
                self.strays.append(item)

    def _read_pages(self, requests: Iterable[list[RawItem]]) -> None:
        for item in chain.from_iterable(requests):
            self._tell(1)
            if key := items.page_key(item):
                _add_page(self.db, key, item)
            else:
                self.strays.append(item)

    def _read_log(self, events: Iterable[Event | Unreadable]) -> None:
        for some_events in chunked(events, 1000):
            self._tell(len(some_events))
            _add_events(self.db, some_events)


def settle(db: StagingDb, key: PartKey) -> RawItem | None:
    """
    Read one part again until the database has it as it was at one moment; return its item then, empty if there is none.

    Counting and corrections raise the item's revision. If it is the same before and after the pages were read, the part
    did not change meanwhile. Pages that did not change since the last try, as `amended` tells, are not
    read again. Returns None if the part changed at every try. What the read model has counted after the log was read is
    looked up in the log.
    """
    unchanged_until_ms, amended = NOTHING_ARCHIVED, None
    for _ in retries.attempts(_SETTLE_TRIES):
        before = store.read_part_item(key)
        if before.get("amended", {}) != amended:
            unchanged_until_ms = NOTHING_ARCHIVED
        db.forget_part(key, unchanged_until_ms)
        if before:
            _add_part(db, key, before)
        for item in chain.from_iterable(store.query_pages(key, unchanged_until_ms + 1, _PAGES_AT_ONCE)):
            if items.page_key(item) == key:
                _add_page(db, key, item)
        after = store.read_part_item(key)
        if (after.get("revision"), not after) == (before.get("revision"), not before):
            _look_up_unknown(db, key)
            return before
        # Pages that were read in between may be older or newer than an amendment: then all are read again.
        amended = before.get("amended", {}) if after.get("amended") == before.get("amended") else None
        unchanged_until_ms = db.archive_ends(key)[0]
    return None


def differences(db: StagingDb, key: PartKey) -> Iterator[Difference]:
    """Yield what the database shows to be wrong with one part, except for events that are not counted."""

    def difference(kind: str, detail: str, event_id: str | None = None) -> Difference:
        return Difference(kind, key.counter_id, detail, event_id)

    damage = db.item_damage(key)
    if damage is not None:
        yield difference(kinds.DAMAGED, damage)
    damaged_pages = db.damaged_pages(key)
    for *_, page_damage in damaged_pages:
        yield difference(kinds.DAMAGED, page_damage)
    for before_ms, start_ms, end_ms in db.broken_links(key):
        kind = kinds.PAGE_MISSING if start_ms > before_ms else kinds.PAGES_OVERLAP
        yield difference(kind, f"the page until {end_ms} starts at {start_ms}, and the one before ends at {before_ms}")
    until_ms, last_ms = db.archive_ends(key)
    if damage is None and until_ms != last_ms:
        kind = kinds.PAGE_MISSING if until_ms > last_ms else kinds.PAGE_BEYOND
        yield difference(kind, f"archived_until is {until_ms}, and the last page ends at {last_ms}")
    for entry, page in db.unknown(key):
        kind = kinds.DIFFERENT if db.has_logged_id(key, entry.id) else kinds.UNKNOWN
        yield difference(kind, f"{_place(page)}, by {entry.amount}", entry.event_id)
    for entry, page in db.misplaced(key):
        yield difference(kinds.MISPLACED, f"{_place(page)}, recorded at {entry.recorded_at_ms}", entry.event_id)
    for entry, page in superfluous(db, key):
        yield difference(kinds.REPEATED, _place(page), entry.event_id)
    if damage is None and not damaged_pages:
        yield from compare_totals(key, db.totals(key))


def compare_totals(key: PartKey, totals: Totals) -> Iterator[Difference]:
    """Yield the difference between a part's totals and its entries, if there is one."""
    value, version = totals.value or 0, totals.version or 0
    if value != totals.sum:
        kind = kinds.TOO_LOW if value < totals.sum else kinds.TOO_HIGH
        detail = f"it is {value}, and its entries add up to {totals.sum}"
        yield Difference(kind, key.counter_id, detail)
    elif version != totals.number:
        detail = f"it is {version}, and it has {totals.number} entries"
        yield Difference(kinds.WRONG_VERSION, key.counter_id, detail)


def superfluous(db: StagingDb, key: PartKey) -> Iterator[Counted]:
    """Yield the redundant copies of repeated entries. The copy in the earliest page is kept."""
    last_id = b""
    for counted in db.repeated(key):
        if counted.entry.id == last_id:
            yield counted
        last_id = counted.entry.id


def poll_pending(count_pending: Callable[[int, int], int], lag_s: float, *, waits: bool) -> int:
    """
    Poll until no pending event is younger than `lag_s`, or once; return the time, in ms, from which events are young.

    `count_pending` gets the oldest time that is of interest and the time from which events are young.
    """
    pause = threading.Event()
    oldest_ms = 0
    while True:
        young_from_ms = _now_ms() - int(lag_s * 1000)
        if not (count_pending(oldest_ms, young_from_ms) and waits):
            # Older events may have been counted since: look at all of them once more.
            count_pending(0, young_from_ms)
            return young_from_ms
        oldest_ms = max(oldest_ms, young_from_ms)
        pause.wait(_POLL_AFTER_S)


def _add_part(db: StagingDb, key: PartKey, item: RawItem) -> None:
    try:
        db.add_part(items.decode_part(item))
    except DamagedReadModelError as error:
        db.add_damaged_part(key, error.detail)


def _add_page(db: StagingDb, key: PartKey, item: RawItem) -> None:
    try:
        db.add_page(key, items.decode_page(item))
    except DamagedReadModelError as error:
        db.add_damaged_page(key, int(item["end"]["N"]), error.detail)


def _add_events(db: StagingDb, events: Iterable[Event | Unreadable]) -> None:
    readable: list[tuple[PartKey, Entry]] = []
    for event in events:
        if isinstance(event, Unreadable):
            _add_unreadable(db, event)
        else:
            readable.append((partitions.key_of(event), entry_of(event)))
    db.add_logged(readable)


def _add_unreadable(db: StagingDb, event: Unreadable) -> None:
    counter_id, _, part = event.partition.partition("#")
    event_id = id_bytes(event.event_id) if is_event_id(event.event_id) else bytes(16)
    number = int(part) if re.fullmatch("[0-9]{1,2}", part) else 0
    db.add_unreadable(PartKey(counter_id, number), event_id, event.reason)


def _look_up_unknown(db: StagingDb, key: PartKey) -> None:
    """Ask the log for the events of entries that it lacked when it was read."""
    if not is_counter_id(key.counter_id):
        return
    young_from_ms = _now_ms() - _YOUNG_MS
    for is_again in (False, True):
        unknown = [entry for entry, _ in db.unknown(key) if not is_again or entry.recorded_at_ms >= young_from_ms]
        if is_again and unknown:
            retries.pause()  # the event of a swap may become visible a moment after its entry
        for some_entries in chunked(unknown, _EVENTS_AT_ONCE):
            found = event_log.find_many(key.counter_id, {entry.event_id for entry in some_entries})
            _add_events(db, found)


def _key_texts(item: RawItem) -> tuple[str, str]:
    if "partition" in item:
        return item["partition"]["S"], f"archive page that ends at {item['end']['N']}"
    return item["counter_id"]["S"], f"item of part {item['part']['N']}"


def _place(page: int) -> str:
    return "in the counter's item" if page == RECENT else f"in the page that ends at {page}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
