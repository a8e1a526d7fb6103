"""
Decide the writes that count a set of entries exactly once.

A part of a counter (`Part`) remembers its latest entries; archive pages hold the older ones. A page covers the times
after its start, up to and including its end. Each page starts where the previous page ends. An entry's time alone
determines where the entry is:

    later than `archived_until_ms`   it is in `recent`, or it is not counted
    not later                        it is in the page that covers its time, or it is not counted

`plan` decides and does no I/O; `read_model.store` executes its plans. Each plan lists its conditions. If a condition
fails, nothing is written: read the part and its pages again, then plan again.

DynamoDB commits the items of a transaction one by one, so a query may see only some of them. For example, if a page was
split, its new first half may not be visible yet. Then no page covers the times of that half, and `plan` raises
`PageMissingError` instead of counting the entries again.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence, Set

    from chalicelib.domain.counter import Part
    from chalicelib.domain.entries import Entry

#: The maximum number of recent entries, so that a counter's item has at most 1 KB, the size of one write unit. An entry
#: with an amount from -128 to 127 takes 23 bytes. With larger amounts, an update may cost one more unit.
RECENT_MAX = 36

#: The maximum number of entries on a page. An entry takes 18 to 21 bytes, so a full page has about 4 KB, the size of
#: one read unit.
PAGE_MAX = 200

#: When older entries are archived, entries younger than this stay in `recent`. Therefore, an event that is delivered a
#: few seconds late is not a late event. Neither is an event that is recorded after an event with a time in the future.
KEEP_MS = 5000

#: The maximum number of these younger entries: `KEPT_MAX`, or fewer to leave room for another batch of the same size,
#: but never fewer than `KEPT_MIN`.
KEPT_MAX = 10
KEPT_MIN = 4

#: Limits of one plan, so that it fits into a DynamoDB transaction of 100 items. The largest plan writes 91 pages: each
#: page in which entries are missing is split in two or more.
ENTRIES_PER_PLAN = 2000
PAGES_PER_PLAN = 40


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it was read. Its entries are sorted, later than its start and not later than its end."""

    start_ms: int
    end_ms: int
    revision: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class PageWrite:
    """A page to write if its revision is still `revision_before`. None means that no page may have this end yet."""

    start_ms: int
    end_ms: int
    revision_before: int | None
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Addition:
    """
    Add entries to `recent`: one update of the counter's item.

    Conditions: `recent` contains none of the entries and has room for all of them, and each entry is later than
    `archived_until_ms`.
    """

    entries: frozenset[Entry]


@dataclass(frozen=True, slots=True)
class Archiving:
    """
    Write pages and count `entries` in the counter's item, in one transaction.

    Conditions: the conditions of the pages and, if `revision` is not None, that the part still has this revision. In
    that case, `recent` and `archived_until_ms` replace the part's values. If `revision` is None, both stay unchanged.
    """

    entries: frozenset[Entry]
    pages: tuple[PageWrite, ...]
    revision: int | None = None
    recent: frozenset[Entry] = frozenset()
    archived_until_ms: int = -1


#: The result of `plan`.
Plan = Addition | Archiving


class PageMissingError(ValueError):
    """No page covers `time_ms`, which is not later than `archived_until_ms`: the page is lost or not visible yet."""

    def __init__(self, time_ms: int) -> None:
        super().__init__(f"no archive page covers the time {time_ms}")
        self.time_ms = time_ms


def late_entries(part: Part, entries: Iterable[Entry]) -> list[Entry]:
    """Return the late entries that are not in `recent`, sorted. `plan` needs the pages that cover them."""
    return sorted(
        entry for entry in entries if entry.recorded_at_ms <= part.archived_until_ms and entry not in part.recent
    )


def plan(part: Part, pages: Sequence[Page], entries: Set[Entry], now_ms: int) -> Plan | None:
    """
    Return the writes that count all of these entries, or None if they are already counted.

    `pages` must have been read after the part, and include every page that covers one of its `late_entries`. At most
    `ENTRIES_PER_PLAN` entries, with late ones in at most `PAGES_PER_PLAN` pages, fit into one transaction.

    Raises:
        PageMissingError: no page covers a late entry.
    """
    fresh = frozenset(
        entry for entry in entries if entry.recorded_at_ms > part.archived_until_ms and entry not in part.recent
    )
    missing: frozenset[Entry] = frozenset()
    writes: list[PageWrite] = []
    for page, missing_here in _group_missing(pages, late_entries(part, entries)):
        missing |= missing_here
        writes += amend_page(page, missing_here)
    if not fresh:
        return Archiving(missing, tuple(writes)) if writes else None
    together = part.recent | fresh
    if len(together) <= RECENT_MAX:
        if not writes:
            return Addition(fresh)
        return Archiving(fresh | missing, tuple(writes), part.revision, together, part.archived_until_ms)
    archived, recent = _split_recent(together, len(fresh), now_ms)
    writes += new_pages(archived, part.archived_until_ms)
    return Archiving(fresh | missing, tuple(writes), part.revision, frozenset(recent), archived[-1].recorded_at_ms)


def amend_page(page: Page, missing: Set[Entry]) -> Iterator[PageWrite]:
    """
    Yield the writes that add these entries to the page that covers them.

    The writes split the page by time if it grows too large. The last page keeps the end of the original page. New pages
    cover the earlier times.
    """
    *first, last = new_pages(sorted({*page.entries, *missing}), page.start_ms)
    yield from first
    yield PageWrite(last.start_ms, page.end_ms, page.revision, last.entries)


def new_pages(entries: Sequence[Entry], start_ms: int) -> list[PageWrite]:
    """
    Return new pages for these sorted entries.

    The first page starts at `start_ms`. Each page ends at the time of its last entry.
    """
    pages: list[PageWrite] = []
    for chunk in split_by_time(entries):
        pages.append(PageWrite(start_ms, chunk[-1].recorded_at_ms, None, chunk))
        start_ms = chunk[-1].recorded_at_ms
    return pages


def split_by_time(entries: Sequence[Entry]) -> list[tuple[Entry, ...]]:
    """
    Split sorted entries into chunks of similar size for pages of at most `PAGE_MAX` entries.

    Entries of the same millisecond stay in one chunk, because the boundary between two pages is a time. Such a chunk
    may exceed `PAGE_MAX`.
    """
    chunks: list[tuple[Entry, ...]] = []
    size = -(-len(entries) // max(1, -(-len(entries) // PAGE_MAX)))
    start = 0
    while start < len(entries):
        end = min(start + size, len(entries))
        while end < len(entries) and entries[end].recorded_at_ms == entries[end - 1].recorded_at_ms:
            end += 1
        chunks.append(tuple(entries[start:end]))
        start = end
    return chunks


def _split_recent(entries: Set[Entry], new: int, now_ms: int) -> tuple[list[Entry], list[Entry]]:
    """Split a part's entries into at least one entry to archive, and the entries that stay recent."""
    ordered = sorted(entries)
    kept = max(KEPT_MIN, min(KEPT_MAX, RECENT_MAX - new))
    cut = max(1, len(ordered) - kept)
    while cut < len(ordered) and (
        ordered[cut].recorded_at_ms <= now_ms - KEEP_MS
        or ordered[cut].recorded_at_ms == ordered[cut - 1].recorded_at_ms
    ):
        cut += 1
    return ordered[:cut], ordered[cut:]


def _group_missing(pages: Sequence[Page], entries: Sequence[Entry]) -> Iterator[tuple[Page, set[Entry]]]:
    """Yield, in order, each page that lacks some of these sorted entries, with the entries that it lacks."""
    by_end: dict[int, set[Entry]] = defaultdict(set)
    ordered = sorted(pages, key=lambda page: page.end_ms)
    index = 0
    for entry in entries:
        while index < len(ordered) and ordered[index].end_ms < entry.recorded_at_ms:
            index += 1
        if index == len(ordered) or ordered[index].start_ms >= entry.recorded_at_ms:
            raise PageMissingError(entry.recorded_at_ms)
        by_end[ordered[index].end_ms].add(entry)
    for page in ordered:
        if missing := by_end[page.end_ms].difference(page.entries):
            yield page, missing
