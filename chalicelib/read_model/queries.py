"""Query the read model. Reads are consistent unless a function states otherwise."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING

from chalicelib import event_log
from chalicelib.aws import dynamodb, partitions
from chalicelib.aws.tables import CounterItem
from chalicelib.domain import history as domain_history
from chalicelib.domain.counter import NOTHING_ARCHIVED, Counter, PartKey, add_up
from chalicelib.domain.entries import id_bytes, make_entry
from chalicelib.domain.events import MAX_PARTS
from chalicelib.domain.history import EventPage, EventPosition, make_position
from chalicelib.errors import ArchiveGapError, RangeTooLongError, ReadModelUnavailableError
from chalicelib.read_model import items, planner, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chalicelib.aws.dynamodb import RawItem
    from chalicelib.domain.archive import Page
    from chalicelib.domain.counter import Part
    from chalicelib.domain.entries import Entry
    from chalicelib.domain.events import Event
    from chalicelib.domain.history import Point, Span

#: The maximum size of the archive pages read for one history, in bytes. Each part may exceed it by one request.
#: Decoding this much takes about half a second of CPU time, and the API's function has less than a third of a CPU.
HISTORY_BYTES = 2 * 1024 * 1024

#: Archive pages, of up to 4 KB, per request. Together, the first requests of all parts read less than `HISTORY_BYTES`.
PAGES_AT_ONCE = 64

#: Archive pages per request for a list of events, which needs one or two.
_FEW_PAGES = 2


@dataclass(frozen=True, slots=True)
class CounterPage:
    """Counters in the table's order. The next page starts after the counter `last`, which is None on the last page."""

    counters: list[Counter]
    last: str | None


def get_counter(counter_id: str) -> Counter:
    """
    Return the counter's current state: the sum of its parts. A counter without counted events has the value 0.

    The call takes one request, which costs 1 read unit per 4 parts.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request or does not respond, or the counter's item
            is damaged.
    """
    return add_up(counter_id, map(items.decode_totals, store.query_part_items(counter_id)))


def list_counters(limit: int, after: str | None = None) -> CounterPage:
    """
    Return up to `limit` counters after the counter `after`, in the table's order. The read is eventually consistent.

    A counter that exists during the whole iteration is on exactly one page.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request or does not respond, or an item is damaged.
    """
    start: RawItem | None = {"counter_id": {"S": after}, "part": {"N": str(MAX_PARTS)}} if after else None
    # A counter's parts are adjacent. One more item shows whether the last counter is complete.
    size = max(limit * partitions.count_parts(), MAX_PARTS) + 1
    scanned: list[RawItem] = []
    while True:
        with dynamodb.translate_errors(ReadModelUnavailableError):
            response = next(CounterItem.scan(page_size=size, last_evaluated_key=start).page_iter)
        scanned += response["Items"]
        start = response.get("LastEvaluatedKey")
        groups = [(name, list(group)) for name, group in groupby(scanned, key=lambda item: item["counter_id"]["S"])]
        complete = groups if start is None else groups[:-1]
        if complete or start is None:
            break
    page = complete[:limit]
    states = [add_up(name, map(items.decode_totals, group)) for name, group in page]
    has_more = start is not None or len(page) < len(groups)
    return CounterPage(states, page[-1][0] if has_more else None)


def is_counted(event: Event) -> bool:
    """
    Check whether this event is counted. The call takes one read, or two if the event is older than the recent entries.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request or does not respond, or an item is damaged.
    """
    return not find_uncounted(partitions.part_key(event), frozenset([make_entry(event)]))


def find_uncounted(
    key: PartKey, entries: frozenset[Entry], advance: Callable[[int], None] = lambda _: None
) -> frozenset[Entry]:
    """
    Return the entries of one part that are not counted. The call takes one read, plus one for every few archive pages.

    Call `advance` with the number of items or pages of each read.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request or does not respond, or an item is damaged.
    """

    def read() -> frozenset[Entry]:
        part = store.read_part(key)
        advance(1)
        missing: frozenset[Entry] = frozenset()
        remaining = entries
        while remaining:
            step = planner.plan_next(part, remaining)
            advance(step.pages)
            if step.plan:
                missing |= step.plan.entries
            remaining -= step.entries
        return missing

    return planner.retry_at_gaps(read)


def list_events(counter_id: str, limit: int, before: EventPosition | None = None) -> EventPage:
    """
    Return up to `limit` counted events before a position, newest first.

    An event keeps its position, so it is on at most one page, even if more events are counted between two requests. A
    late event appears only if it is older than `before`. Entries without an event in the log are omitted.

    Raises:
        ReadModelUnavailableError, LogUnavailableError: DynamoDB throttles or refuses the request or does not respond,
            or an item is damaged.
        NotUnderstoodError: this version of the code cannot decode an event.
    """
    bound = None if before is None else (before.recorded_at_ms, id_bytes(before.event_id))

    def read() -> list[Entry]:
        parts = store.read_parts(counter_id)
        return list(islice(heapq.merge(*(_iterate_back(part, bound) for part in parts), reverse=True), limit + 1))

    entries = planner.retry_at_gaps(read)
    page = entries[:limit]
    events = event_log.get_many(counter_id, {entry.event_id for entry in page})
    has_more = len(entries) > limit
    last = EventPosition(page[-1].recorded_at_ms, page[-1].event_id) if has_more else None
    return EventPage(sorted(events, key=make_position, reverse=True), last)


def get_history(counter_id: str, span: Span) -> list[Point]:
    """
    Return the number of counted events and the sum of their amounts for each step of this span, without empty steps.

    The call reads up to `HISTORY_BYTES` of archive pages, plus one request per part.

    Raises:
        RangeTooLongError: the span requires more reads. The error contains an `end` that would be accepted.
        ReadModelUnavailableError: DynamoDB throttles or refuses the request or does not respond, or an item is damaged.
    """
    if span.steps == 0:
        return []
    return domain_history.add_up_steps(planner.retry_at_gaps(lambda: _read_entries(counter_id, span)), span)


def _read_entries(counter_id: str, span: Span) -> list[Entry]:
    """Return all entries in a span, and some entries around it."""
    parts = store.read_parts(counter_id)
    entries = [entry for part in parts for entry in part.recent]
    at_once = max(1, min(PAGES_AT_ONCE, HISTORY_BYTES // 4096 // (2 * max(1, len(parts)))))
    readers = {
        part.key: _ArchiveReader(part, span, at_once) for part in parts if part.archived_until_ms >= span.first * 1000
    }
    size = 0
    while readers:
        if size > HISTORY_BYTES and all(reader.has_begun for reader in readers.values()):
            detail = "The range contains more events than one request may read."
            end = domain_history.acceptable_end(min(reader.reached_ms for reader in readers.values()), span)
            raise RangeTooLongError(detail, end)
        # Read the part that is furthest behind, so that all parts advance together.
        reader = min(readers.values(), key=lambda reader: (reader.has_begun, reader.reached_ms))
        pages = reader.read()
        size += sum(map(items.estimate_size, pages))
        entries += (entry for page in pages for entry in page.entries)
        if reader.is_done:
            del readers[reader.part.key]
    return entries


class _ArchiveReader:
    """A reader of one part's archive, from the start to the end of a span. A missing page is an error."""

    def __init__(self, part: Part, span: Span, at_once: int) -> None:
        self.part = part
        self.has_begun = self.is_done = False
        self.reached_ms = max(span.first * 1000 - 1, NOTHING_ARCHIVED)
        self._until_ms = min(span.end * 1000 - 1, part.archived_until_ms)
        self._requests = store.query_pages(part.key, self.reached_ms + 1, at_once)

    def read(self) -> list[Page]:
        """Return the pages of the next request."""
        response = map(items.decode_page, next(self._requests, []))
        # Later pages were written after the part was read, so their entries are still in `part.recent`.
        pages = [page for page in response if page.start_ms < self.part.archived_until_ms]
        for page in pages:
            is_next = page.start_ms == self.reached_ms if self.has_begun else page.start_ms <= self.reached_ms
            if not is_next:
                raise ArchiveGapError(self.part.key.counter_id, self.reached_ms + 1)
            self.has_begun, self.reached_ms = True, page.end_ms
        if not pages and self.reached_ms < self._until_ms:
            raise ArchiveGapError(self.part.key.counter_id, self.reached_ms + 1)
        self.is_done = self.reached_ms >= self._until_ms
        return pages


def _iterate_back(part: Part, bound: tuple[int, bytes] | None) -> Iterator[Entry]:
    """
    Yield each of a part's entries before `bound` once, newest first. Read archive pages as needed.

    If a concurrent writer splits a page between two reads, the second page repeats entries, which are skipped.
    """
    for entry in _read_back(part, bound):
        if bound is None or entry[:2] < bound:
            yield entry
            bound = entry[:2]


def _read_back(part: Part, bound: tuple[int, bytes] | None) -> Iterator[Entry]:
    yield from sorted(part.recent, reverse=True)
    next_end_ms, before_end_ms = part.archived_until_ms, part.archived_until_ms + 1
    if bound is not None and bound[0] <= part.archived_until_ms:
        for page in store.read_pages(part.key, bound[0], limit=1):
            if page.start_ms >= bound[0]:
                raise ArchiveGapError(part.key.counter_id, bound[0])
            yield from reversed(page.entries)
            next_end_ms, before_end_ms = page.start_ms, page.end_ms
    for response in store.query_pages_backward(part.key, before_end_ms, _FEW_PAGES):
        for page in map(items.decode_page, response):
            if page.end_ms > next_end_ms:
                continue  # split off a page that was already read
            if page.end_ms < next_end_ms:
                raise ArchiveGapError(part.key.counter_id, next_end_ms)
            yield from reversed(page.entries)
            next_end_ms = page.start_ms
    if next_end_ms != NOTHING_ARCHIVED:
        raise ArchiveGapError(part.key.counter_id, next_end_ms)
