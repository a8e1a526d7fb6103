"""
What counting asks of DynamoDB in the steady state, by the application's own rules and without an AWS.

`Shelf` holds one part of a counter in memory, and `domain.archive` decides what is written to it, as it does for
`read_model.writer`. Units follow the published rules (tests/aws_requests.py): a refused conditional write costs as much
as the item that it found. The proof of the figures compares this with what the application itself asks for.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from chalicelib.domain import archive
from chalicelib.domain.archive import PAGE_MAX, RECENT_MAX, Addition, Archiving, Page
from chalicelib.domain.counter import Part, PartKey
from chalicelib.domain.entries import Entry, encode_entry, encode_page

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from chalicelib.domain.archive import Plan

#: A counter's name of usual length, on which the size of its items depends.
_KEY: Final = PartKey("counter-0123456789ab")

_BEGAN_MS: Final = 1_700_000_000_000

#: Pages that a shelf keeps. An older one that is amended is taken to be full.
_PAGES_KEPT: Final = 40


@dataclass(slots=True)
class Units:
    """What was asked for: write units, those among them for the counter's item, read units, requests and refusals."""

    write: float = 0
    item: float = 0
    read: float = 0
    requests: float = 0
    refused: float = 0

    def plus(self, other: Units, times: float = 1) -> Units:
        """Return the sum of both, the other one times as many."""
        return Units(
            self.write + times * other.write,
            self.item + times * other.item,
            self.read + times * other.read,
            self.requests + times * other.requests,
            self.refused + times * other.refused,
        )

    def each(self, of: float) -> Units:
        """Return the share of each, of so many."""
        return Units().plus(self, 1 / of)


@dataclass(slots=True)
class Shelf:
    """One part of a counter, and the latest pages of its archive."""

    part: Part = field(default_factory=lambda: Part(_KEY))
    pages: list[Page] = field(default_factory=list)

    def add(self, entries: frozenset[Entry]) -> Units | None:
        """Add entries without reading first, if there is room and none is late; return None if it is refused."""
        if not self._can_add(entries):
            return None
        self._count(entries, self.part.recent | entries, self.part.archived_until_ms)
        return self._update()

    def refusal(self) -> Units:
        """Return what a refused update costs."""
        return replace(self._update(), refused=1)

    def plan(self, entries: frozenset[Entry], now_ms: int) -> tuple[Plan | None, Units]:
        """Decide what to write for these entries, and return it with what reading the pages for it costs."""
        pages: list[Page] = []
        read = Units()
        for entry in archive.late_entries(self.part, entries):
            if pages and pages[-1].end_ms >= entry.recorded_at_ms:
                continue
            pages.append(self._page_for(entry.recorded_at_ms))
            read.read += _read_units(_page_bytes(pages[-1].entries))
            read.requests += 1
        return archive.plan(self.part, pages, entries, now_ms), read

    def write(self, plan: Plan) -> Units:
        """Execute a plan whose conditions hold."""
        assert self.holds(plan)
        if isinstance(plan, Addition):
            added = self.add(plan.entries)
            assert added is not None
            return added
        before = self.item_units()
        written = Units(write=self.plan_units(plan), requests=1)
        for page in plan.pages:
            self._file(Page(page.start_ms, page.end_ms, (page.revision_before or 0) + 1, page.entries))
        if plan.revision is None:
            self._count(plan.entries, self.part.recent, self.part.archived_until_ms)
        else:
            self._count(plan.entries, plan.recent, plan.archived_until_ms)
        written.item = 2 * max(before, self.item_units())
        written.write += written.item
        return written

    def holds(self, plan: Plan) -> bool:
        """Check whether the conditions of a plan still hold."""
        if isinstance(plan, Addition):
            return self._can_add(plan.entries)
        revisions = {page.end_ms: page.revision for page in self.pages}
        return plan.revision in (None, self.part.revision) and all(
            revisions.get(page.end_ms, page.revision_before) == page.revision_before for page in plan.pages
        )

    def plan_units(self, plan: Archiving) -> int:
        """Return what a plan costs but for the counter's own item: its pages, each at its larger size."""
        sizes = [_page_bytes(page.entries) for page in plan.pages]
        return sum(2 * _write_units(size) for size in sizes)

    def item_units(self) -> int:
        """Return what a write of the counter's item as it is now costs outside of a transaction."""
        recent = sum(len(encode_entry(entry)) for entry in self.part.recent)
        return _write_units(_item_bytes() + recent) if self.part.revision else 0

    def _update(self) -> Units:
        units = max(1, self.item_units())
        return Units(write=units, item=units, requests=1)

    def _can_add(self, entries: frozenset[Entry]) -> bool:
        part = self.part
        return (
            len(part.recent) + len(entries) <= RECENT_MAX
            and part.recent.isdisjoint(entries)
            and min(entry.recorded_at_ms for entry in entries) > part.archived_until_ms
        )

    def _count(self, entries: Iterable[Entry], recent: frozenset[Entry], archived_until_ms: int) -> None:
        counted = list(entries)
        self.part = replace(
            self.part,
            value=self.part.value + sum(entry.amount for entry in counted),
            version=self.part.version + len(counted),
            recent=recent,
            archived_until_ms=archived_until_ms,
            revision=self.part.revision + 1,
        )

    def _page_for(self, time_ms: int) -> Page:
        at = bisect.bisect_left(self.pages, time_ms, key=lambda page: page.end_ms)
        if at or not self.pages or len(self.pages) < _PAGES_KEPT:
            return self.pages[at]
        # It may be in an older page, which is not kept.
        return Page(time_ms - PAGE_MAX - 1, time_ms, 1, tuple(_entries(range(time_ms - PAGE_MAX, time_ms))))

    def _file(self, page: Page) -> None:
        at = bisect.bisect_left(self.pages, page.end_ms, key=lambda page: page.end_ms)
        if at < len(self.pages) and self.pages[at].end_ms == page.end_ms:
            self.pages[at] = page
        else:
            self.pages.insert(at, page)
        del self.pages[:-_PAGES_KEPT]


def count(shelf: Shelf, entries: frozenset[Entry], now_ms: int) -> Units:
    """Count a batch as `writer.count` does for a message that was not delivered before."""
    taken = Units()
    if len(entries) <= RECENT_MAX:
        added = shelf.add(entries)
        if added is not None:
            return added
        taken = shelf.refusal()
    else:
        taken = Units(read=1, requests=1)
    plan, read = shelf.plan(entries, now_ms)
    taken = taken.plus(read)
    return taken if plan is None else taken.plus(shelf.write(plan))


def steady(messages: Iterator[tuple[int, Sequence[int]]], batches: int = 200) -> Units:
    """
    Return what an event takes in the steady state, if a counter's messages come like these.

    A message is the time when it is counted and the times of its events, in ms. The first cycles of the archive are
    left out. At least so many batches are measured, and whole cycles.
    """
    shelf, taken, events = Shelf(), Units(), 0
    ids = itertools.count()
    archived = measured = 0
    for now_ms, times in messages:
        entries = frozenset(_entries(times, ids))
        before = shelf.part.archived_until_ms
        found = count(shelf, entries, now_ms)
        is_archived = shelf.part.archived_until_ms != before
        if archived >= _CYCLES_LEFT_OUT:
            taken = taken.plus(found)
            events += len(entries)
            measured += 1
            if measured >= batches and is_archived:
                break
        archived += is_archived
    return taken.each(events)


def in_order(events: int, each_ms: int) -> Iterator[tuple[int, Sequence[int]]]:
    """Yield messages with so many events each, evenly spread over a span of so many ms, at whose end they come."""
    for number in itertools.count():
        first_ms = _BEGAN_MS + number * each_ms
        yield first_ms + each_ms, [first_ms + n * each_ms // events for n in range(events)]


def in_pairs(
    messages: Iterator[tuple[int, Sequence[int]]],
) -> Iterator[tuple[int, Sequence[int]]]:
    """Yield the second message of each pair before the first, both when the second comes."""
    for _, first in messages:
        now_ms, second = next(messages)
        yield now_ms, second
        yield now_ms, first


def delayed(
    messages: Iterator[tuple[int, Sequence[int]]], share: float, seed: int = 1
) -> Iterator[tuple[int, Sequence[int]]]:
    """Yield messages of which so large a share, drawn by the seed, comes 0.5 to 2.5 seconds later."""
    chance = random.Random(seed)
    waiting: list[tuple[int, int, Sequence[int]]] = []
    for number, (now_ms, times) in enumerate(messages):
        later_ms = chance.randint(500, 2500) if chance.random() < share else 0
        bisect.insort(waiting, (now_ms + later_ms, number, times))
        while waiting and waiting[0][0] <= now_ms:
            at_ms, _, arrived = waiting.pop(0)
            yield at_ms, arrived


#: So that neither a new counter nor an empty archive is taken for the steady state.
_CYCLES_LEFT_OUT: Final = 2


def _entries(times: Iterable[int], ids: Iterator[int] | None = None) -> Iterator[Entry]:
    numbers = itertools.count() if ids is None else ids
    return (Entry(time_ms, next(numbers).to_bytes(16, "big"), 1) for time_ms in times)


def _write_units(size: int) -> int:
    return -(-size // 1024)


def _read_units(size: int) -> int:
    return max(1, -(-size // 4096))


def _page_bytes(entries: Sequence[Entry]) -> int:
    return _empty_page_bytes() + len(encode_page(entries))


@functools.cache
def _item_bytes() -> int:
    """Return the size of the counter's item without its entries."""
    return _size(
        {
            "counter_id": {"S": _KEY.counter_id},
            "part": {"N": "0"},
            "value": {"N": "1000000"},
            "version": {"N": "1000000"},
            "recent": {"BS": []},
            "archived_until": {"N": str(_BEGAN_MS + 123)},
            "revision": {"N": "1000000"},
            "updated_at": {"N": str(_BEGAN_MS + 123)},
        }
    )


@functools.cache
def _empty_page_bytes() -> int:
    """Return the size of a page without its entries."""
    return _size(
        {
            "partition": {"S": _KEY.counter_id},
            "end": {"N": str(_BEGAN_MS + 123)},
            "start": {"N": str(_BEGAN_MS + 12)},
            "entries": {"B": b""},
            "revision": {"N": "1"},
        }
    )


def _size(item: dict[str, Any]) -> int:
    from tests import aws_requests  # noqa: PLC0415  (reads the stage's settings)

    return aws_requests.size(item)
