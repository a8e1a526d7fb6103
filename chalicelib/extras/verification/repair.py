"""
Repair the read model in place, from the log, while workers count events and clients send queries.

Each correction is one conditional write, based on a consistent snapshot of the part (`part_comparison.settle`). If a
concurrent writer has changed the part, nothing is written and the part is read again. If the repair is interrupted at
any point, running it again completes it.

Entries are corrected first, and the totals last, in one step: queries return the old value, then the correct value.
Once the totals match the entries, missing events are counted in the same way as by a worker, oldest first.
"""

from __future__ import annotations

import contextlib
from collections import Counter as Numbers
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

from chalicelib import retries
from chalicelib.domain.archive import ENTRIES_PER_PLAN, Addition, PageWrite
from chalicelib.domain.counter import Part
from chalicelib.domain.entries import DamagedError, decode_entry
from chalicelib.errors import ArchiveGapError, ContendedError, DamagedReadModelError
from chalicelib.extras.chunks import split_into_chunks
from chalicelib.extras.verification import corrections
from chalicelib.extras.verification import report as kinds
from chalicelib.extras.verification.part_comparison import find_differences, settle
from chalicelib.extras.verification.report import Repaired
from chalicelib.extras.verification.staging_db import RECENT, SEEN, find_end
from chalicelib.read_model import items, planner, store, writer
from chalicelib.read_model.store import ChangedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chalicelib.aws.dynamodb import RawItem
    from chalicelib.domain.archive import Page, Plan
    from chalicelib.domain.counter import PartKey
    from chalicelib.domain.entries import Entry
    from chalicelib.extras.verification.part_comparison import PartComparison
    from chalicelib.extras.verification.staging_db import StagedPage, StagingDb

_TRIES = 50
_THREADS = 8

#: The maximum number of wrong entries that are collected before they are removed.
_REMOVED_AT_ONCE = 10_000


def repair_all(comparison: PartComparison, advance: Callable[[int], None] = lambda _: None) -> Repaired:
    """
    Delete a comparison's strays, then repair the staged parts that differ, several of them concurrently; see `repair`.

    Raises:
        LogUnavailableError, ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
            Run the repair again.
    """
    db, repaired = comparison.db, Repaired()
    # A stray page could shadow the page that covers a time.
    while comparison.strays:
        corrections.delete_stray(comparison.strays.pop())
        repaired.corrected[kinds.STRAY] += 1
    wrong = [key for key in db.parts() if any(find_differences(db, key)) or any(db.missing(key))]
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for key, future in [(key, pool.submit(repair, db, key, advance)) for key in wrong]:
                try:
                    repaired.corrected += future.result()
                except ContendedError:
                    repaired.failed[key.counter_id] = "it changed during every repair attempt; run rebuild again"
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # otherwise, the block would wait for every part
            raise
    return repaired


def repair(db: StagingDb, key: PartKey, advance: Callable[[int], None] = lambda _: None) -> Numbers[str]:
    """
    Repair one part of a counter according to the staged log.

    Return the number of differences before the repair, by kind, including uncounted events. Call `advance` with the
    number of events counted. The repair is safe to repeat, and to run while any number of workers count events.

    Raises:
        ContendedError: the part changed at every attempt. It may be partly corrected: run the repair again.
        LogUnavailableError, ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
            Run the repair again.
    """
    numbers: Numbers[str] | None = None
    doubtful: list[tuple[int, int]] = []
    for _ in retries.with_backoff(_TRIES):
        try:
            while (item := settle(db, key)) is not None:
                if numbers is None:
                    numbers = Numbers(difference.kind for difference in find_differences(db, key))
                    numbers[kinds.UNCOUNTED] = sum(1 for _ in db.missing(key))
                if not _correct(db, key, item, doubtful) and _count_missing(db, key, advance):
                    return +numbers
        except ChangedError:
            continue
    raise ContendedError(f"counter {key.counter_id} changed during every repair attempt")


def _correct(db: StagingDb, key: PartKey, item: RawItem, doubtful: list[tuple[int, int]]) -> bool:
    """Write the next corrections that the part needs. Return whether the part needed any. It may need more."""
    pages = db.pages(key)
    if not db.has_logged(key):
        return _delete(key, item, pages)
    if db.item(key).damage is not None:
        corrections.replace_damaged_item(item, _build_sound_part(db, key, item, find_end(pages)))
        return True
    if damaged := [page for page in pages if page.damage is not None]:
        for page in damaged:
            corrections.replace_damaged_page(key, page.before_ms, page.end_ms)
        return True
    part = items.decode_part(item, key)
    if _link_pages(key, pages) or _correct_end(part, find_end(pages)) or _remove(db, part):
        return True
    return _correct_totals(db, part, doubtful)


def _correct_totals(db: StagingDb, part: Part, doubtful: list[tuple[int, int]]) -> bool:
    """
    If the totals differ from the entries, add missing entries or, if there are none, correct the totals.

    Return whether the totals differed.

    Events counted in the meantime change totals and entries equally, so the difference stays the same. But a page that
    was read too early causes a difference that soon disappears. So the totals are corrected once the same difference
    occurs twice in a row; `doubtful` contains the previous difference.
    """
    totals = db.totals(part.key)
    value, version = totals.sum - part.value, totals.number - part.version
    if (value, version) == (0, 0):
        return False
    if _add_missing(db, part.key):
        return True
    if doubtful == [(value, version)]:
        corrections.correct(part.key, value=value, version=version, amended=part.amended)
    else:
        doubtful[:] = [(value, version)]
        retries.pause()
    return True


def _delete(key: PartKey, item: RawItem, pages: list[StagedPage]) -> bool:
    """Delete the item and pages of a part without events in the log. Return whether it had an item or pages."""
    # The item comes first: if its revision is unchanged, no event was counted since, so no event needs these pages.
    if item:
        corrections.delete(item)
    for page in pages:
        stored = corrections.read_page(key, page.end_ms)
        try:
            revision = items.decode_page(stored).revision
        except DamagedReadModelError:
            revision = None
        if revision != page.revision:
            raise ChangedError
        corrections.delete(stored)
    return bool(pages or item)


def _link_pages(key: PartKey, pages: list[StagedPage]) -> bool:
    """Make each page start where the previous page ends: fill gaps with empty pages, and cut overlaps."""
    links = [page for page in pages if not page.is_linked]
    for before_ms, start_ms, end_ms, *_ in links:
        if start_ms > before_ms:
            # If the missing page exists but is not visible yet, DynamoDB refuses this.
            page = PageWrite(before_ms, start_ms, None, ())
        else:
            stored = _read_page(key, end_ms)
            kept = tuple(entry for entry in stored.entries if entry.recorded_at_ms > before_ms)
            page = PageWrite(before_ms, end_ms, stored.revision, kept)
        corrections.correct(key, [page])
    return bool(links)


def _read_page(key: PartKey, end_ms: int) -> Page:
    return items.decode_page(corrections.read_page(key, end_ms))


def _correct_end(part: Part, last_ms: int) -> bool:
    """Set the item's `archived_until_ms` to the end of the last page. Return whether the two differed."""
    until_ms = part.archived_until_ms
    if until_ms == last_ms:
        return False
    recent = frozenset(entry for entry in part.recent if entry.recorded_at_ms > last_ms)
    # If the last page exists but is not visible yet, DynamoDB refuses this.
    absent_end_ms = until_ms if until_ms > last_ms else None
    corrections.correct(
        part.key, recent=recent, archived_until_ms=last_ms, revision=part.revision, absent_end_ms=absent_end_ms
    )
    return True


def _remove(db: StagingDb, part: Part) -> bool:
    """Remove the part's wrong entries. Return whether it had any."""
    by_page: dict[int, set[Entry]] = defaultdict(set)
    for entry, page, _ in islice(db.wrong(part.key), _REMOVED_AT_ONCE):
        by_page[page].add(entry)
    # The item comes first: its correction is conditional on the revision that each correction of a page raises.
    for page, entries in sorted(by_page.items()):
        if page == RECENT:
            corrections.correct(part.key, recent=part.recent - entries, revision=part.revision)
        else:
            stored = _read_page(part.key, page)
            kept = tuple(entry for entry in stored.entries if entry not in entries)
            corrections.correct(part.key, [PageWrite(stored.start_ms, page, stored.revision, kept)])
    return bool(by_page)


def _add_missing(db: StagingDb, key: PartKey) -> bool:
    """Write missing entries, oldest first, without changing the totals. Return whether entries were missing."""
    is_changed = False
    for chunk in split_into_chunks(db.missing(key), ENTRIES_PER_PLAN):
        entries = frozenset(chunk)
        while entries:
            part = store.read_part(key)
            try:
                step = planner.plan_next(part, entries)
            except ArchiveGapError as gap:  # the staged archive has no gap, so the part changed
                raise ChangedError from gap
            if step.plan:
                _execute_without_totals(step.plan, part)
                is_changed = True
            entries -= step.entries
    return is_changed


def _execute_without_totals(plan: Plan, part: Part) -> None:
    """Write the entries of a plan without changing the totals."""
    if isinstance(plan, Addition):
        corrections.correct(part.key, recent=part.recent | plan.entries, revision=part.revision)
    elif plan.revision is None:
        corrections.correct(part.key, plan.pages)
    else:
        until_ms = plan.archived_until_ms
        corrections.correct(
            part.key, plan.pages, recent=plan.recent, archived_until_ms=until_ms, revision=plan.revision
        )


def _count_missing(db: StagingDb, key: PartKey, advance: Callable[[int], None]) -> bool:
    """
    Count missing events like a worker, oldest first. Return whether all of them were still uncounted.

    If not, a worker counted some of them in the meantime, or a page was read too early: read the part again.
    """
    counted = total = 0
    for chunk in split_into_chunks(db.missing(key), ENTRIES_PER_PLAN):
        total += len(chunk)
        counted += len(writer.count_entries(key, chunk))
        db.add_counted(key, chunk, SEEN)
        advance(len(chunk))
    return counted == total


def _build_sound_part(db: StagingDb, key: PartKey, item: RawItem, until_ms: int) -> Part:
    """Build a valid part from those attributes of a damaged item that can be decoded, and from the staged entries."""
    recent = frozenset(entry for entry in _decode_valid(item) if entry.recorded_at_ms > until_ms)
    value, version, amended, updated_at_ms = (
        corrections.read_integer(item, name) for name in ("value", "version", "amended", "updated_at")
    )
    if value is None or version is None:
        totals = db.totals(key)
        value = totals.sum + sum(entry.amount for entry in recent)
        version = totals.number + len(recent)
    return Part(key, value, version, recent, until_ms, amended=amended or 0, updated_at_ms=updated_at_ms)


def _decode_valid(item: RawItem) -> Iterator[Entry]:
    for stored in item.get("recent", {}).get("BS", []):
        with contextlib.suppress(DamagedError):
            yield decode_entry(stored)
