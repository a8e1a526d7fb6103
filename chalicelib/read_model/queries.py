"""What clients ask of the read model. Reads are consistent, unless a function says otherwise."""

from __future__ import annotations

import contextlib
import heapq
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, TypeVar

from chalicelib import event_log, retries, settings
from chalicelib.aws import dynamodb
from chalicelib.aws.tables import CounterItem
from chalicelib.domain import history as domain_history
from chalicelib.domain.counter import NOTHING_ARCHIVED, Counter, PartKey
from chalicelib.domain.entries import entry_of, id_bytes
from chalicelib.domain.events import MAX_PARTS, part_of
from chalicelib.domain.history import EventPage, EventPosition, position_of
from chalicelib.errors import ArchiveGapError, RangeTooLongError, ReadModelUnavailableError
from chalicelib.read_model import store, writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chalicelib.aws.dynamodb import RawItem
    from chalicelib.domain.archive import Page
    from chalicelib.domain.counter import Part
    from chalicelib.domain.entries import Entry
    from chalicelib.domain.events import Event
    from chalicelib.domain.history import Point, Span

_T = TypeVar("_T")

#: The size of the archive pages that one history may read. Each part may add one request.
HISTORY_BYTES = 4 * 1024 * 1024

#: Archive pages, of up to 4 KB, in one request. The first requests of all parts read less than `HISTORY_BYTES`.
_PAGES_AT_ONCE = 128

#: An entry of a page has 18 bytes at least, and one or two more as a rule.
_ENTRY_BYTES = 20

#: Archive pages in one request for a list of events: a page of events needs one or two.
_FEW_PAGES = 2


@dataclass(frozen=True, slots=True)
class CounterPage:
    """Counters, in the table's own order. The next page starts behind the counter `last`; None is the last page."""

    counters: list[Counter]
    last: str | None


def get_counter(counter_id: str) -> Counter:
    """
    Return the counter's state now; a counter that was never incremented has value 0. One request.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer, or the counter's item is damaged.
    """
    return store.read_counter(counter_id)


def list_counters(limit: int, after: str | None = None) -> CounterPage:
    """
    Return up to `limit` counters, in the table's own order, from the one behind `after`. Eventually consistent.

    A counter that exists from the first page to the last is on exactly one of them.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer, or an item is damaged.
    """
    start: RawItem | None = {"counter_id": {"S": after}, "part": {"N": str(MAX_PARTS)}} if after else None
    # A counter's parts stand together. One more item tells whether the last counter is there with all of its parts.
    size = max(limit * settings.current().shards, MAX_PARTS) + 1
    items: list[RawItem] = []
    while True:
        with dynamodb.translate_errors(ReadModelUnavailableError):
            found = next(CounterItem.scan(page_size=size, last_evaluated_key=start).page_iter)
        items += found["Items"]
        start = found.get("LastEvaluatedKey")
        groups = [(name, list(group)) for name, group in groupby(items, key=lambda item: item["counter_id"]["S"])]
        whole = groups if start is None else groups[:-1]
        if whole or start is None:
            break
    page = whole[:limit]
    states = [store.add_up(name, map(store.totals_from, group)) for name, group in page]
    has_more = start is not None or len(page) < len(groups)
    return CounterPage(states, page[-1][0] if has_more else None)


def is_counted(event: Event) -> bool:
    """
    Check whether this event is part of its counter's value. One read; two if the event is older than the recent ones.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer, or what was read is damaged.
    """
    key = PartKey(event.counter_id, part_of(event.event_id, settings.current().shards))
    return not find_uncounted(key, frozenset([entry_of(event)]))


def find_uncounted(
    key: PartKey, entries: frozenset[Entry], advance: Callable[[int], None] = lambda _: None
) -> frozenset[Entry]:
    """
    Return the entries of one part that are not counted. One read, and one for each few pages with older entries.

    Calls `advance` with the number of items and pages of each read.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer, or what was read is damaged.
    """

    def read() -> frozenset[Entry]:
        part = store.read_part(key)
        advance(1)
        missing: frozenset[Entry] = frozenset()
        left = entries
        while left:
            pages, planned = store.read_pages_for(part, left)
            advance(len(pages))
            if needed := writer.plan_writes(part, pages, planned):
                missing |= needed.entries
            left -= planned
        return missing

    return _without_gaps(read)


def list_events(counter_id: str, limit: int, before: EventPosition | None = None) -> EventPage:
    """
    Return up to `limit` counted events, newest first, from the one behind the position `before`.

    An event keeps its position, so it is on at most one page, whatever is counted between two requests. A late event
    appears if its position is behind the cursor. An entry without an event in the log is left out.

    Raises:
        ReadModelUnavailableError, LogUnavailableError: DynamoDB throttles or does not answer, or what was read is
            damaged.
        NotUnderstoodError: an event cannot be read by this version of the code.
    """
    bound = None if before is None else (before.recorded_at_ms, id_bytes(before.event_id))

    def read() -> list[Entry]:
        parts = store.read_parts(counter_id)
        return list(islice(heapq.merge(*(_entries_back(part, bound) for part in parts), reverse=True), limit + 1))

    entries = _without_gaps(read)
    page = entries[:limit]
    found = event_log.get_many(counter_id, {entry.event_id for entry in page})
    has_more = len(entries) > limit
    last = EventPosition(page[-1].recorded_at_ms, page[-1].event_id) if has_more else None
    return EventPage(sorted(found, key=position_of, reverse=True), last)


def get_history(counter_id: str, span: Span) -> list[Point]:
    """
    Return what was counted in this span, step by step. Reads at most `HISTORY_BYTES` and a request of each part.

    Raises:
        RangeTooLongError: the span needs more. The error has an accepted `end`.
        ReadModelUnavailableError: DynamoDB throttles or does not answer, or what was read is damaged.
    """
    if span.steps == 0:
        return []
    return domain_history.add_up_steps(_without_gaps(lambda: _entries_within(counter_id, span)), span)


def _entries_within(counter_id: str, span: Span) -> list[Entry]:
    """Return all entries in a span, and some around it."""
    parts = store.read_parts(counter_id)
    entries = [entry for part in parts for entry in part.recent]
    at_once = max(1, min(_PAGES_AT_ONCE, HISTORY_BYTES // 4096 // (2 * max(1, len(parts)))))
    walks = {part.key: _Walk(part, span, at_once) for part in parts if part.archived_until_ms >= span.first * 1000}
    size = 0
    while walks:
        if size > HISTORY_BYTES and all(walk.has_begun for walk in walks.values()):
            detail = "The range holds more events than one response can cover."
            end = domain_history.acceptable_end(min(walk.reached_ms for walk in walks.values()), span)
            raise RangeTooLongError(detail, end)
        # The part that was read least far is read next, so that all parts get equally far.
        walk = min(walks.values(), key=lambda walk: (walk.has_begun, walk.reached_ms))
        pages = walk.read()
        size += sum(_size_of(page) for page in pages)
        entries += (entry for page in pages for entry in page.entries)
        if walk.is_done:
            del walks[walk.part.key]
    return entries


class _Walk:
    """Read the archive of one part forward, from the start of a span to its end. Each page must follow the last one."""

    def __init__(self, part: Part, span: Span, at_once: int) -> None:
        self.part = part
        self.has_begun = self.is_done = False
        self.reached_ms = max(span.first * 1000 - 1, NOTHING_ARCHIVED)
        self._until_ms = min(span.end * 1000 - 1, part.archived_until_ms)
        self._requests = store.query_pages(part.key, self.reached_ms + 1, at_once)

    def read(self) -> list[Page]:
        """Return the pages that the next request brings."""
        found = [store.page_from(item) for item in next(self._requests, [])]
        # Pages behind these were written after the part was read, when their entries were recent.
        pages = [page for page in found if page.start_ms < self.part.archived_until_ms]
        for page in pages:
            is_next = page.start_ms == self.reached_ms if self.has_begun else page.start_ms <= self.reached_ms
            if not is_next:
                raise ArchiveGapError(self.part.key.counter_id, self.reached_ms + 1)
            self.has_begun, self.reached_ms = True, page.end_ms
        if not pages and self.reached_ms < self._until_ms:
            raise ArchiveGapError(self.part.key.counter_id, self.reached_ms + 1)
        self.is_done = self.reached_ms >= self._until_ms
        return pages


def _without_gaps(read: Callable[[], _T]) -> _T:
    """
    Return what `read` returns, and try again at a gap in the archive.

    A transaction is committed item by item, so a query may see a page of it and not yet another one.

    Raises:
        ArchiveGapError: the gap is there at every try.
    """
    for _ in retries.attempts(writer.GAP_TRIES - 1):
        with contextlib.suppress(ArchiveGapError):
            return read()
    return read()


def _entries_back(part: Part, bound: tuple[int, bytes] | None) -> Iterator[Entry]:
    """
    Yield a part's entries, newest first, from the one before `bound` on, each once. Pages are read as they are needed.

    A concurrent writer may split a page between two reads: then a page repeats entries.
    """
    for entry in _stored_back(part, bound):
        if bound is None or entry[:2] < bound:
            yield entry
            bound = entry[:2]


def _stored_back(part: Part, bound: tuple[int, bytes] | None) -> Iterator[Entry]:
    yield from sorted(part.recent, reverse=True)
    next_end_ms, before_end_ms = part.archived_until_ms, part.archived_until_ms + 1
    if bound is not None and bound[0] <= part.archived_until_ms:
        for page in store.read_pages(part.key, bound[0], limit=1):
            if page.start_ms >= bound[0]:
                raise ArchiveGapError(part.key.counter_id, bound[0])
            yield from reversed(page.entries)
            next_end_ms, before_end_ms = page.start_ms, page.end_ms
    for items in store.query_pages_backward(part.key, before_end_ms, _FEW_PAGES):
        for page in map(store.page_from, items):
            if page.end_ms > next_end_ms:
                continue  # split off from a page that was read before
            if page.end_ms < next_end_ms:
                raise ArchiveGapError(part.key.counter_id, next_end_ms)
            yield from reversed(page.entries)
            next_end_ms = page.start_ms
    if next_end_ms != NOTHING_ARCHIVED:
        raise ArchiveGapError(part.key.counter_id, next_end_ms)


def _size_of(page: Page) -> int:
    """Estimate the size of a page in bytes, as DynamoDB counts it ("Item sizes and formats"), rounded up."""
    return _ENTRY_BYTES * len(page.entries) + 180
