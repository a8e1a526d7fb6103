"""What clients ask of the read model. Reads are consistent, unless a function says otherwise."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING

from chalicelib import event_log, settings
from chalicelib.aws import dynamodb
from chalicelib.aws.tables import CounterItem
from chalicelib.domain import history as domain_history
from chalicelib.domain.counter import Counter, PartKey
from chalicelib.domain.entries import entry_of, id_bytes
from chalicelib.domain.events import MAX_PARTS, part_of
from chalicelib.domain.history import EventPage, EventPosition, position_of
from chalicelib.errors import DamagedReadModelError, RangeTooLongError, ReadModelUnavailableError
from chalicelib.read_model import store, writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chalicelib.aws.dynamodb import RawItem
    from chalicelib.domain.counter import Part
    from chalicelib.domain.entries import Entry
    from chalicelib.domain.events import Event
    from chalicelib.domain.history import Point, Span

#: The archive that one request for a history may read. One more request of each part may be added.
HISTORY_BYTES = 4 * 1024 * 1024

#: Archive pages, of up to 4 KB, in one request: all parts together read less than `HISTORY_BYTES` in their first ones.
_PAGES_AT_ONCE = 128

#: Archive pages in one request for a list of events: a page of events needs one or two.
_FEW_PAGES = 2


@dataclass(frozen=True, slots=True)
class CounterPage:
    """Counters, in the table's own order. The next page starts behind the counter `last`; None is the last page."""

    counters: list[Counter]
    last: str | None


def counter(counter_id: str) -> Counter:
    """
    Return the counter's state now; a counter that was never incremented has value 0. One request.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer, or the counter's item is damaged.
    """
    return store.read_counter(counter_id)


def counters(limit: int, after: str | None = None) -> CounterPage:
    """
    Return up to `limit` counters, in the table's own order, from the one behind `after`. Eventually consistent.

    A counter that exists from the first page to the last is on exactly one of them.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer, or an item is damaged.
    """
    start = {"counter_id": {"S": after}, "part": {"N": str(MAX_PARTS)}} if after else None
    # A counter's parts stand together. One more item tells whether the last counter is there with all of its parts.
    size = max(limit * settings.current().shards, MAX_PARTS) + 1
    with dynamodb.unavailable_as(ReadModelUnavailableError):
        found = next(CounterItem.scan(page_size=size, last_evaluated_key=start).page_iter)
    groups = [
        store.add_up(counter_id, map(store.totals_from, items))
        for counter_id, items in groupby(found["Items"], key=lambda item: item["counter_id"]["S"])
    ]
    is_whole = "LastEvaluatedKey" not in found
    page = (groups if is_whole else groups[:-1])[:limit]
    return CounterPage(page, None if is_whole and len(page) == len(groups) else page[-1].counter_id)


def has_counted(event: Event) -> bool:
    """
    Check whether this event is part of its counter's value. One read; two if it is old.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer, or what was read is damaged.
    """
    entry = entry_of(event)
    part = store.read(PartKey(event.counter_id, part_of(event.event_id, settings.current().shards)))
    if entry in part.recent or entry.recorded_at_ms > part.archived_until_ms:
        return entry in part.recent
    pages = store.read_pages(part.key, entry.recorded_at_ms, limit=1)
    if not pages:
        raise DamagedReadModelError(event.counter_id, f"no archive page covers the time {entry.recorded_at_ms}")
    return entry in pages[0].entries


def uncounted(
    key: PartKey, entries: frozenset[Entry], advance: Callable[[int], None] = lambda _: None
) -> frozenset[Entry]:
    """
    Return those of one part's entries that are not counted. One read, and one for each few pages with older entries.

    `advance` is told how many items and pages were read.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer, or what was read is damaged.
    """
    part = store.read(key)
    advance(1)
    missing: frozenset[Entry] = frozenset()
    while entries:
        pages, planned = store.pages_for(part, entries)
        advance(len(pages))
        if needed := writer.plan_next(part, pages, planned):
            missing |= needed.entries
        entries -= planned
    return missing


def events(counter_id: str, limit: int, before: EventPosition | None = None) -> EventPage:
    """
    Return up to `limit` counted events, newest first, from the one behind the position `before`.

    An event keeps its position, so it is on one page at most, whatever is counted between two requests; an event that
    is counted late is on a page if its position is still to come. An entry without an event in the log is left out.

    Raises:
        ReadModelUnavailableError, LogUnavailableError: DynamoDB throttles or does not answer, or what was read is
            damaged.
        NotUnderstoodError: an event cannot be read by this version of the code.
    """
    bound = None if before is None else (before.recorded_at_ms, id_bytes(before.event_id))
    newest_first = heapq.merge(*(_entries_back(part, bound) for part in store.read_parts(counter_id)), reverse=True)
    entries = list(islice(newest_first, limit + 1))
    page = entries[:limit]
    found = event_log.get_many(counter_id, {entry.event_id for entry in page})
    has_more = len(entries) > limit
    last = EventPosition(page[-1].recorded_at_ms, page[-1].event_id) if has_more else None
    return EventPage(sorted(found, key=position_of, reverse=True), last)


def history(counter_id: str, span: Span) -> list[Point]:
    """
    Return what was counted in this span, step by step. Reads at most `HISTORY_BYTES` and a request of each part.

    Raises:
        RangeTooLongError: that is not enough. The error has an end for which it would be.
        ReadModelUnavailableError: DynamoDB throttles or does not answer, or what was read is damaged.
    """
    if span.steps == 0:
        return []
    parts = store.read_parts(counter_id)
    entries: list[Entry] = [entry for part in parts for entry in part.recent]
    at_once = max(1, min(_PAGES_AT_ONCE, HISTORY_BYTES // 4096 // (2 * max(1, len(parts)))))
    requests = {part.key: store.query_pages(part.key, span.first * 1000, at_once) for part in parts}
    archived_until_ms = {part.key: part.archived_until_ms for part in parts}
    reached_ms = dict.fromkeys(requests, -1)
    size = 0
    while reached_ms:
        if size > HISTORY_BYTES and -1 not in reached_ms.values():
            detail = "The range holds more events than one response can cover."
            raise RangeTooLongError(detail, domain_history.acceptable_end(min(reached_ms.values()), span))
        # The part that was read least far is read next, so that all parts get equally far.
        key = min(reached_ms, key=lambda key: reached_ms[key])
        items = next(requests[key], [])
        pages = [store.page_from(item) for item in items]
        size += sum(_size_of(item) for item in items)
        # A later entry was recent when the part was read, and archived since: it is in `entries` already.
        entries += (entry for page in pages for entry in page.entries if entry.recorded_at_ms <= archived_until_ms[key])
        if pages and pages[-1].end_ms < span.end * 1000 - 1:
            reached_ms[key] = pages[-1].end_ms
        else:
            del reached_ms[key]
    return domain_history.points(entries, span)


def _entries_back(part: Part, bound: tuple[int, bytes] | None) -> Iterator[Entry]:
    """
    Yield a part's entries, newest first, from the one before `bound` on, each once. Pages are read as they are needed.

    A concurrent writer may archive recent entries, or split a page, between two reads: then a page repeats entries.
    """
    for entry in _stored_back(part, bound):
        if bound is None or entry[:2] < bound:
            yield entry
            bound = entry[:2]


def _stored_back(part: Part, bound: tuple[int, bytes] | None) -> Iterator[Entry]:
    yield from sorted(part.recent, reverse=True)
    before_end_ms: int | None = None
    if bound is not None and bound[0] <= part.archived_until_ms:
        for page in store.read_pages(part.key, bound[0], limit=1):
            yield from reversed(page.entries)
            before_end_ms = page.end_ms
    for items in store.query_pages_back(part.key, before_end_ms, _FEW_PAGES):
        for item in items:
            yield from reversed(store.page_from(item).entries)


def _size_of(page: RawItem) -> int:
    """Return about what DynamoDB counts for this page ("Item sizes and formats"): its entries, and all else at most."""
    return len(page["entries"]["B"]) + 150
