"""
Plan the writes that count entries of a part, from its item and its archive pages.

DynamoDB commits a transaction item by item, so a read may see only some of the transaction's pages. Such a gap in the
archive closes within milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from chalicelib import clock, retries
from chalicelib.domain import archive
from chalicelib.domain.archive import PAGES_PER_PLAN, PageMissingError, late_entries
from chalicelib.errors import ArchiveGapError
from chalicelib.read_model import store

if TYPE_CHECKING:
    from collections.abc import Callable, Set

    from chalicelib.domain.archive import Page, Plan
    from chalicelib.domain.counter import Part, PartKey
    from chalicelib.domain.entries import Entry

_T = TypeVar("_T")

#: The maximum number of attempts if the archive has a gap.
_ATTEMPTS = 4

#: Archive pages per request: 1 at first, doubled up to 32 while all returned pages are useful, otherwise 1 again.
_FEW_PAGES = 1
_MANY_PAGES = 32


class Step(NamedTuple):
    """A `plan` that counts the `entries`, or None if they are counted already, and the number of `pages` used."""

    plan: Plan | None
    entries: frozenset[Entry]
    pages: int


def read_and_plan(key: PartKey, entries: frozenset[Entry], part: Part | None = None) -> tuple[Part, Step]:
    """
    Read the part, unless `part` is its current state, and plan one write. If the archive has a gap, start over.

    Return the state that the plan is for, and the step.

    Raises:
        ArchiveGapError: every attempt found a gap.
        ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
        DamagedReadModelError: an item cannot be decoded.
    """

    def plan() -> tuple[Part, Step]:
        nonlocal part
        current, part = part or store.read_part(key), None
        return current, plan_next(current, entries)

    return retry_at_gaps(plan)


def plan_next(part: Part, entries: frozenset[Entry]) -> Step:
    """
    Read the archive pages that these entries need, and plan one write.

    Use at most `PAGES_PER_PLAN` pages. If late entries are in more pages, the step covers only the oldest of them.

    Raises:
        ArchiveGapError: no page covers a late entry.
        ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
        DamagedReadModelError: an archive page cannot be decoded.
    """
    pages, planned = _read_pages(part, entries)
    try:
        return Step(archive.plan(part, pages, planned, clock.now_ms()), planned, len(pages))
    except PageMissingError as error:
        raise ArchiveGapError(part.key.counter_id, error.time_ms) from error


def retry_at_gaps(read: Callable[[], _T]) -> _T:
    """
    Call `read`, and retry if it finds a gap in the archive.

    Raises:
        ArchiveGapError: every attempt found a gap.
    """
    for _ in retries.with_backoff(_ATTEMPTS):
        try:
            return read()
        except ArchiveGapError as error:
            gap = error
    raise gap


def _read_pages(part: Part, entries: Set[Entry]) -> tuple[list[Page], frozenset[Entry]]:
    """Return the pages that `archive.plan` needs, and the entries that it can plan with these pages."""
    needed = late_entries(part, entries)
    pages: list[Page] = []
    reached, at_once = 0, _FEW_PAGES
    while reached < len(needed):
        if len(pages) >= PAGES_PER_PLAN:
            return pages, frozenset(needed[:reached])
        limit = min(at_once, PAGES_PER_PLAN - len(pages))
        response = store.read_pages(part.key, needed[reached].recorded_at_ms, limit)
        reached_before = reached
        useful = []
        for page in response:
            covered = reached
            while reached < len(needed) and page.start_ms < needed[reached].recorded_at_ms <= page.end_ms:
                reached += 1
            if reached > covered:
                useful.append(page)
        pages += useful
        if reached == reached_before:
            break  # no page covers the next entry; `plan` will report that
        at_once = min(2 * at_once, _MANY_PAGES) if useful == response else _FEW_PAGES
    return pages, frozenset(entries)
