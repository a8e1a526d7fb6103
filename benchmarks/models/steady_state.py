"""
Compute the units that counting takes in the steady state, with the application's own rules, without AWS.

`InMemoryPart` contains one part of a counter. `domain.archive` plans its writes, as for `read_model.writer`. Units
follow the published rules (testkit/aws_requests.py): a refused conditional write costs as much as writing the existing
item. Tests compare the result with the units that the application's own requests take.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from chalicelib.domain import archive
from chalicelib.domain.archive import PAGE_MAX, RECENT_MAX, Addition, Archiving, Page, Plan
from chalicelib.domain.counter import Part, PartKey
from chalicelib.domain.entries import Entry, encode_entry, encode_page

#: The time at which a message is counted, and the times of its events, in ms.
Message = tuple[int, Sequence[int]]

_BEGAN_MS: Final = 1_700_000_000_000

#: The number of pages in memory. Older pages are assumed to be full.
_PAGES_HELD: Final = 40

#: Cycles of the archive before the steady state.
_CYCLES_LEFT_OUT: Final = 2

#: The bytes of a counter's item and of a page without their entries, if the counter's id has 20 characters.
_ITEM_BYTES: Final = 116
_PAGE_BYTES: Final = 70


class Units(NamedTuple):
    """Write units in total, write units of the counter's item alone, read units, requests and conflicts."""

    write: float = 0
    item: float = 0
    read: float = 0
    requests: float = 0
    conflicts: float = 0

    def add(self, other: Units, times: float = 1) -> Units:
        """Return the sum of these and `times` the other units."""
        return Units(*(mine + times * its for mine, its in zip(self, other, strict=True)))

    def divide(self, events: float) -> Units:
        """Return the units per event, for this number of events."""
        return Units().add(self, 1 / events)


@dataclass(slots=True)
class InMemoryPart:
    """One part of a counter, and the latest pages of its archive."""

    part: Part = field(default_factory=lambda: Part(PartKey("counter")))
    pages: list[Page] = field(default_factory=list)

    def add(self, entries: frozenset[Entry]) -> Units | None:
        """Add entries with one update, or return None if its condition fails."""
        if not self._can_add(entries):
            return None
        self._count(entries, self.part.recent | entries, self.part.archived_until_ms)
        return self._update_units()

    def refusal_units(self, plan: Plan | None = None) -> Units:
        """Return the units of a refused update, or of a cancelled transaction."""
        units = self._update_units()._replace(conflicts=1)
        return units.add(Units(write=self._page_units(plan))) if isinstance(plan, Archiving) else units

    def plan(self, entries: frozenset[Entry], now_ms: int) -> tuple[Plan | None, Units]:
        """Plan the writes for these entries. Return the plan, and the units of reading the pages that it needs."""
        pages: list[Page] = []
        read = Units()
        for entry in archive.late_entries(self.part, entries):
            if not pages or pages[-1].end_ms < entry.recorded_at_ms:
                pages.append(self._page_covering(entry.recorded_at_ms))
                size = _PAGE_BYTES + len(encode_page(pages[-1].entries))
                read = read.add(Units(read=max(1, -(-size // 4096)), requests=1))
        return archive.plan(self.part, pages, entries, now_ms), read

    def write(self, plan: Plan) -> Units:
        """Execute a plan whose conditions hold."""
        assert self.holds(plan)
        if isinstance(plan, Addition):
            added = self.add(plan.entries)
            assert added is not None
            return added
        item_before = self._item_units()
        for page in plan.pages:
            self._store(Page(page.start_ms, page.end_ms, (page.revision_before or 0) + 1, page.entries))
        if plan.revision is None:
            self._count(plan.entries, self.part.recent, self.part.archived_until_ms)
        else:
            self._count(plan.entries, plan.recent, plan.archived_until_ms)
        item = 2 * max(item_before, self._item_units())
        return Units(write=self._page_units(plan) + item, item=item, requests=1)

    def holds(self, plan: Plan) -> bool:
        """Check whether the conditions of a plan still hold."""
        if isinstance(plan, Addition):
            return self._can_add(plan.entries)
        revisions = {page.end_ms: page.revision for page in self.pages}
        return plan.revision in (None, self.part.revision) and all(
            revisions.get(page.end_ms, page.revision_before) == page.revision_before for page in plan.pages
        )

    @staticmethod
    def _page_units(plan: Archiving) -> int:
        return sum(2 * -(-(_PAGE_BYTES + len(encode_page(page.entries))) // 1024) for page in plan.pages)

    def _item_units(self) -> int:
        recent = sum(len(encode_entry(entry)) for entry in self.part.recent)
        return -(-(_ITEM_BYTES + recent) // 1024) if self.part.revision else 0

    def _update_units(self) -> Units:
        units = max(1, self._item_units())
        return Units(write=units, item=units, requests=1)

    def _can_add(self, entries: frozenset[Entry]) -> bool:
        part = self.part
        return (
            len(part.recent) + len(entries) <= RECENT_MAX
            and part.recent.isdisjoint(entries)
            and min(entry.recorded_at_ms for entry in entries) > part.archived_until_ms
        )

    def _count(self, entries: frozenset[Entry], recent: frozenset[Entry], archived_until_ms: int) -> None:
        self.part = replace(
            self.part,
            value=self.part.value + sum(entry.amount for entry in entries),
            version=self.part.version + len(entries),
            recent=recent,
            archived_until_ms=archived_until_ms,
            revision=self.part.revision + 1,
        )

    def _page_covering(self, time_ms: int) -> Page:
        at = bisect.bisect_left(self.pages, time_ms, key=lambda page: page.end_ms)
        if at or not self.pages or len(self.pages) < _PAGES_HELD:
            return self.pages[at]
        times = range(time_ms - PAGE_MAX, time_ms)  # of an older page, which is not in memory
        return Page(time_ms - PAGE_MAX - 1, time_ms, 1, tuple(_make_entries(times, itertools.count())))

    def _store(self, page: Page) -> None:
        at = bisect.bisect_left(self.pages, page.end_ms, key=lambda page: page.end_ms)
        replaced = at < len(self.pages) and self.pages[at].end_ms == page.end_ms
        self.pages[at : at + replaced] = [page]
        del self.pages[:-_PAGES_HELD]


def count(part: InMemoryPart, entries: frozenset[Entry], now_ms: int) -> Units:
    """Count a batch like `writer.count`, for a message that was not delivered before."""
    if len(entries) <= RECENT_MAX:
        if (added := part.add(entries)) is not None:
            return added
        units = part.refusal_units()
    else:
        units = Units(read=1, requests=1)
    plan, read = part.plan(entries, now_ms)
    units = units.add(read)
    return units if plan is None else units.add(part.write(plan))


def measure(messages: Iterator[Message], batches: int = 200) -> Units:
    """
    Return the average units per event in the steady state.

    The average is over complete archive cycles and at least `batches` batches.
    """
    part, total, events = InMemoryPart(), Units(), 0
    ids = itertools.count()
    cycles = measured = 0
    for now_ms, times in messages:
        entries = frozenset(_make_entries(times, ids))
        before_ms = part.part.archived_until_ms
        units = count(part, entries, now_ms)
        is_archived = part.part.archived_until_ms != before_ms
        if cycles >= _CYCLES_LEFT_OUT:
            total = total.add(units)
            events += len(entries)
            measured += 1
            if measured >= batches and is_archived:
                break
        cycles += is_archived
    return total.divide(events)


def in_order(events: int, span_ms: int) -> Iterator[Message]:
    """Yield messages of this number of events, spread evenly over a span, at the end of which the message arrives."""
    for first_ms in itertools.count(_BEGAN_MS, span_ms):
        yield first_ms + span_ms, [first_ms + n * span_ms // events for n in range(events)]


def swap_pairs(messages: Iterator[Message]) -> Iterator[Message]:
    """Yield the second message of each pair before the first, both at the arrival time of the second."""
    for _, first in messages:
        now_ms, second = next(messages)
        yield now_ms, second
        yield now_ms, first


def delay(messages: Iterator[Message], share: float, seed: int = 1) -> Iterator[Message]:
    """Yield these messages, each delayed with probability `share` by 0.5 to 2.5 seconds. The seed fixes the delays."""
    chance = random.Random(seed)
    waiting: list[tuple[int, int, Sequence[int]]] = []
    for number, (now_ms, times) in enumerate(messages):
        later_ms = chance.randint(500, 2500) if chance.random() < share else 0
        bisect.insort(waiting, (now_ms + later_ms, number, times))
        while waiting and waiting[0][0] <= now_ms:
            at_ms, _, arrived = waiting.pop(0)
            yield at_ms, arrived


def _make_entries(times: Iterable[int], ids: Iterator[int]) -> Iterator[Entry]:
    return (Entry(time_ms, next(ids).to_bytes(16, "big"), 1) for time_ms in times)
