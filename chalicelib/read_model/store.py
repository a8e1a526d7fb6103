"""
Items of DynamoDB to and from the states of `domain`: consistent reads, and the conditional writes of its plans.

A damaged item is an error with a name, never a crash: `verify` reports it and `rebuild` repairs it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pynamodb.expressions.condition import size

from chalicelib import codec, settings
from chalicelib.aws import dynamodb
from chalicelib.aws.dynamodb import RawItem, RefusedError
from chalicelib.aws.tables import CounterItem, PageItem
from chalicelib.domain.archive import PAGES_PER_PLAN, RECENT_MAX, Addition, Page, late_entries
from chalicelib.domain.counter import NOTHING_ARCHIVED, Counter, Part, PartKey
from chalicelib.domain.entries import DamagedError, decode_entry, decode_page, encode_entry, encode_page
from chalicelib.domain.events import LATEST_MS, MAX_PARTS, is_counter_id
from chalicelib.errors import DamagedReadModelError, ReadModelUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence, Set

    from pynamodb.expressions.condition import Condition
    from pynamodb.expressions.update import Action
    from pynamodb.transactions import TransactWrite

    from chalicelib.domain.archive import PageWrite, Plan
    from chalicelib.domain.entries import Entry

#: Pages per request: 1 first, doubled for each request that returns only useful pages, up to 32.
_FEW_PAGES = 1
_MANY_PAGES = 32


#: DynamoDB keeps numbers of up to 38 digits, and SQLite of 64 bits.
_INTEGER = re.compile("-?[0-9]{1,38}")
_LARGEST_TOTAL = 10**37
_LARGEST_COUNT = 2**63 - 1


class ChangedError(Exception):
    """A concurrent writer changed the part. Nothing was written. `part` is its new state, if the response had it."""

    def __init__(self, part: Part | None = None) -> None:
        super().__init__()
        self.part = part


def read_part(key: PartKey) -> Part:
    """
    Return the part's state now. One consistent read, of at most 1 read unit.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
        DamagedReadModelError: the item cannot be decoded.
    """
    return part_from(read_part_item(key), key)


def read_part_item(key: PartKey) -> RawItem:
    """
    Return the part's item now, undecoded; empty if there is none. One consistent read.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    with dynamodb.translate_errors(ReadModelUnavailableError):
        found = CounterItem._get_connection().get_item(key.counter_id, range_key=str(key.part), consistent_read=True)
    return found.get("Item") or {}


def read_parts(counter_id: str) -> list[Part]:
    """
    Return the state now of each part of the counter that was ever counted in. One consistent request.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
        DamagedReadModelError: an item cannot be decoded.
    """
    return [part_from(item) for item in query_parts(counter_id)]


def read_counter(counter_id: str) -> Counter:
    """
    Return the counter's state now: the sum of its parts. One consistent request, of 1 read unit for each 4 parts.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
        DamagedReadModelError: an item cannot be decoded.
    """
    return add_up(counter_id, (totals_from(item) for item in query_parts(counter_id)))


def add_up(counter_id: str, parts: Iterable[Counter | Part]) -> Counter:
    """Return the state of a counter that has these parts."""
    value = version = 0
    updated_at_ms: int | None = None
    for part in parts:
        value += part.value
        version += part.version
        updated_at_ms = max(updated_at_ms or 0, part.updated_at_ms or 0) or None
    return Counter(counter_id, value, version, updated_at_ms)


def read_pages_for(part: Part, entries: Set[Entry]) -> tuple[list[Page], frozenset[Entry]]:
    """
    Return the pages that `plan` needs, and the entries that these pages allow it to plan.

    At most `PAGES_PER_PLAN` pages are read: with late entries in more pages, only the oldest are planned for at first.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
        DamagedReadModelError: a page cannot be decoded.
    """
    needed = late_entries(part, entries)
    pages: list[Page] = []
    reached, at_once = 0, _FEW_PAGES
    while reached < len(needed):
        if len(pages) >= PAGES_PER_PLAN:
            return pages, frozenset(needed[:reached])
        found = read_pages(part.key, needed[reached].recorded_at_ms, min(at_once, PAGES_PER_PLAN - len(pages)))
        before = reached
        useful = []
        for page in found:
            covered = reached
            while reached < len(needed) and page.start_ms < needed[reached].recorded_at_ms <= page.end_ms:
                reached += 1
            if reached > covered:
                useful.append(page)
        pages += useful
        if reached == before:
            break  # no page covers it, which `plan` reports
        at_once = min(2 * at_once, _MANY_PAGES) if useful == found else _FEW_PAGES
    return pages, frozenset(entries)


def read_pages(key: PartKey, from_ms: int, limit: int) -> list[Page]:
    """
    Return up to `limit` pages, ascending, from the one that covers a time on. One consistent request.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
        DamagedReadModelError: a page cannot be decoded.
    """
    return [page_from(item) for item in next(query_pages(key, from_ms, limit), [])]


def query_pages(key: PartKey, from_ms: int, at_once: int) -> Iterator[list[RawItem]]:
    """
    Yield the part's pages, ascending, from the one that covers a time on, undecoded, as many as each request brings.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    yield from _requests(
        PageItem.query(partition_of(key), PageItem.end >= from_ms, consistent_read=True, page_size=at_once).page_iter
    )


def query_pages_backward(key: PartKey, before_end_ms: int | None, at_once: int) -> Iterator[list[RawItem]]:
    """
    Yield the part's pages, newest first, from the one before an end on, undecoded, as many as each request brings.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    bound = None if before_end_ms is None else PageItem.end < before_end_ms
    yield from _requests(
        PageItem.query(
            partition_of(key), bound, consistent_read=True, page_size=at_once, scan_index_forward=False
        ).page_iter
    )


def scan_parts(
    segment: int = 0, segments: int = 1, after: RawItem | None = None, at_once: int | None = None
) -> Iterator[list[RawItem]]:
    """
    Yield every counter's item, undecoded, as many as each request brings, of one of `segments` equal parts of all.

    `after` is the key of the item to continue behind. A request brings at most `at_once` items, or 1 MB.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    yield from _requests(
        CounterItem.scan(
            segment=segment, total_segments=segments, consistent_read=True, last_evaluated_key=after, page_size=at_once
        ).page_iter
    )


def scan_pages(segment: int = 0, segments: int = 1) -> Iterator[list[RawItem]]:
    """
    Yield every archive page, undecoded, as many as each request brings, of one of `segments` equal parts of all.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    for items in _requests(PageItem.scan(segment=segment, total_segments=segments, consistent_read=True).page_iter):
        # No counter's name begins with "#": such an item is a checkpoint.
        yield [item for item in items if not item["partition"]["S"].startswith("#")]


def add_entries(key: PartKey, entries: frozenset[Entry], now_ms: int) -> Counter:
    """
    Add entries to the part's recent ones without reading it first, and return its totals then. One request.

    Raises:
        ChangedError: an entry is counted or late, or there is no room. `part` is the part's state; None after a
            conflict with a transaction.
        ReadModelUnavailableError: DynamoDB throttles or does not answer. The outcome is unknown.
        DamagedReadModelError: the item cannot be decoded.
    """
    actions, condition = _counter_change(Addition(entries), now_ms)
    try:
        updated = dynamodb.update(item_of(key), actions, condition, ReadModelUnavailableError)
    except RefusedError as refused:
        raise ChangedError(None if refused.item is None else part_from(refused.item, key)) from refused
    return totals_from(updated)


def execute_plan(key: PartKey, plan: Plan, now_ms: int) -> Counter | None:
    """
    Execute a plan: wholly and if its conditions hold, or not at all. One request.

    Returns the part's totals then, if the response has them.

    Raises:
        ChangedError: a condition does not hold any more.
        ReadModelUnavailableError: DynamoDB throttles or does not answer. The outcome is unknown.
        DamagedReadModelError: the item cannot be decoded.
    """
    if isinstance(plan, Addition):
        return add_entries(key, plan.entries, now_ms)
    try:
        dynamodb.transact(
            lambda transaction: include_plan(transaction, key, plan, now_ms, None), ReadModelUnavailableError
        )
    except RefusedError as refused:
        raise ChangedError from refused
    return None


def include_plan(transaction: TransactWrite, key: PartKey, plan: Plan, now_ms: int, also: Condition | None) -> None:
    """Make a plan part of a transaction. `also` is one more condition on the counter's item."""
    if not isinstance(plan, Addition):
        for page in plan.pages:
            include_page(transaction, key, page)
    actions, condition = _counter_change(plan, now_ms)
    conditions = [each for each in (condition, also) if each is not None]
    transaction.update(item_of(key), actions=actions, condition=_all(conditions) if conditions else None)


def include_page(transaction: TransactWrite, key: PartKey, page: PageWrite) -> None:
    """Make the write of a page part of a transaction, on the page's own condition."""
    transaction.save(
        PageItem(
            partition_of(key),
            page.end_ms,
            start=page.start_ms,
            entries=encode_page(page.entries),
            revision=(page.revision_before or 0) + 1,
        ),
        condition=PageItem.end.does_not_exist()
        if page.revision_before is None
        else PageItem.revision == page.revision_before,
    )


def include_page_absence(transaction: TransactWrite, key: PartKey, end_ms: int) -> None:
    """Make it a condition of a transaction that there is no page with this end, visible or not."""
    transaction.condition_check(PageItem, partition_of(key), end_ms, condition=PageItem.end.does_not_exist())


def include_revision_check(transaction: TransactWrite, part: Part) -> None:
    """Make it a condition of a transaction that this part is unchanged since it was read."""
    condition = revision_condition(part.revision)
    transaction.condition_check(CounterItem, part.key.counter_id, part.key.part, condition=condition)


def partition_of(key: PartKey) -> str:
    """Return the archive's partition of this part: that of its events in the log."""
    return codec.partition_key(key.counter_id, key.part, settings.current().shards)


def page_key(item: RawItem) -> PartKey | None:
    """Return the part that an archive page belongs to, or None if its key is invalid."""
    partition, end = item["partition"]["S"], item["end"]["N"]
    counter_id, _, part = partition.partition("#")
    key = PartKey(counter_id, int(part) if re.fullmatch("[0-9]{1,2}", part) else 0)
    is_part = key.part < settings.current().shards and partition_of(key) == partition
    is_end = re.fullmatch("[0-9]{1,15}", end) and int(end) <= LATEST_MS
    return key if is_counter_id(counter_id) and is_part and is_end else None


def part_key(item: RawItem) -> PartKey | None:
    """Return the part that a counter's item is, or None if its key is invalid."""
    counter_id, part = item["counter_id"]["S"], item["part"]["N"]
    is_part = part.isdecimal() and int(part) < settings.current().shards
    return PartKey(counter_id, int(part)) if is_counter_id(counter_id) and is_part else None


def part_from(item: RawItem, key: PartKey | None = None) -> Part:
    """
    Decode a counter's item; an empty one is a part in which nothing was counted yet, and needs the `key`.

    Raises:
        DamagedReadModelError: it cannot be decoded.
    """
    if not item and key is not None:
        return Part(key)
    totals = totals_from(item)
    found = key or PartKey(totals.counter_id, _integer(item, "part", 0, MAX_PARTS))
    try:
        recent = frozenset(decode_entry(stored) for stored in item.get("recent", {"BS": []})["BS"])
    except (DamagedError, KeyError, TypeError) as error:
        raise _damaged(item, f"recent: {error}") from error
    archived_until_ms = NOTHING_ARCHIVED
    if "archived_until" in item:
        archived_until_ms = _integer(item, "archived_until", NOTHING_ARCHIVED, LATEST_MS)
    if any(entry.recorded_at_ms <= archived_until_ms for entry in recent):
        raise _damaged(item, "a recent entry is not later than archived_until")
    return Part(
        key=found,
        value=totals.value,
        version=totals.version,
        recent=recent,
        archived_until_ms=archived_until_ms,
        revision=_integer(item, "revision", 1, _LARGEST_COUNT),
        amended=_integer(item, "amended", 0, _LARGEST_COUNT) if "amended" in item else 0,
        updated_at_ms=totals.updated_at_ms,
    )


def totals_from(item: RawItem) -> Counter:
    """
    Decode only the totals of a counter's item.

    Raises:
        DamagedReadModelError: they cannot be decoded.
    """
    return Counter(
        item["counter_id"]["S"],
        _integer(item, "value", -_LARGEST_TOTAL, _LARGEST_TOTAL),
        _integer(item, "version", 0, _LARGEST_COUNT),
        _integer(item, "updated_at", 0, LATEST_MS) if "updated_at" in item else None,
    )


def page_from(item: RawItem) -> Page:
    """
    Decode an archive page.

    Raises:
        DamagedReadModelError: it cannot be decoded.
    """
    end_ms = _integer(item, "end", 0, LATEST_MS)
    start_ms = _integer(item, "start", NOTHING_ARCHIVED, end_ms - 1)
    revision = _integer(item, "revision", 1, _LARGEST_COUNT)
    try:
        entries = decode_page(item["entries"]["B"])
    except (DamagedError, KeyError, TypeError) as error:
        raise _damaged(item, f"entries: {error}") from error
    if entries and entries[-1].recorded_at_ms > end_ms:
        raise _damaged(item, "an entry is later than its end")
    return Page(start_ms, end_ms, revision, entries)


def query_parts(counter_id: str) -> list[RawItem]:
    """
    Return the items of all parts of the counter, undecoded. One consistent request.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    pages = _requests(CounterItem.query(counter_id, consistent_read=True).page_iter)
    return [item for page in pages for item in page]


def _requests(page_iter: Any) -> Iterator[list[RawItem]]:
    """Yield the raw items that each request of a query or scan brings. PynamoDB would decode them item by item."""
    while True:
        with dynamodb.translate_errors(ReadModelUnavailableError):
            found = next(page_iter, None)
        if found is None:
            return
        yield found["Items"]


def item_of(key: PartKey) -> CounterItem:
    """Return the item of a part, to be updated."""
    return CounterItem(key.counter_id, key.part)


def _counter_change(plan: Plan, now_ms: int) -> tuple[list[Action], Condition | None]:
    """Return what a plan does to the counter's item, and on what condition."""
    item = CounterItem
    actions: list[Action] = [
        item.value.add(sum(entry.amount for entry in plan.entries)),
        item.version.add(len(plan.entries)),
        item.revision.add(1),
        item.updated_at.set(now_ms),
    ]
    if isinstance(plan, Addition):
        stored = {encode_entry(entry) for entry in plan.entries}
        return [*actions, item.recent.add(stored)], _can_add(plan.entries, stored)
    if any(page.revision_before is not None for page in plan.pages):
        actions.append(item.amended.add(1))
    if plan.revision is None:
        return actions, None
    actions.append(set_recent(plan.recent))
    if plan.archived_until_ms != NOTHING_ARCHIVED:
        actions.append(item.archived_until.set(plan.archived_until_ms))
    return actions, revision_condition(plan.revision)


def set_recent(entries: frozenset[Entry]) -> Action:
    """Return the action that replaces the recent entries. DynamoDB has no empty set."""
    stored = {encode_entry(entry) for entry in entries}
    action: Action = CounterItem.recent.set(stored) if stored else CounterItem.recent.remove()
    return action


def revision_condition(revision: int) -> Condition:
    """Return the condition that a counter's item has this revision; 0: that there is no item."""
    has: Condition = CounterItem.revision == revision if revision else CounterItem.revision.does_not_exist()
    return has


def _can_add(entries: frozenset[Entry], stored: Set[bytes]) -> Condition:
    """
    Return the condition under which a part has counted none of these entries, and has room for them.

    In DynamoDB, a comparison with a missing attribute is false, so each condition also accepts a missing attribute.
    """
    recent, archived_until = CounterItem.recent, CounterItem.archived_until
    fits = size(recent) <= RECENT_MAX - len(stored)  # type: ignore[no-untyped-call]
    earliest_ms = min(entry.recorded_at_ms for entry in entries)
    return _all(
        [
            *(~recent.contains(each) for each in sorted(stored)),
            recent.does_not_exist() | fits,
            archived_until.does_not_exist() | (archived_until < earliest_ms),
        ]
    )


def _all(conditions: Sequence[Condition]) -> Condition:
    """Join conditions as a balanced tree: DynamoDB limits how deep an expression may be nested."""
    if len(conditions) == 1:
        return conditions[0]
    middle = len(conditions) // 2
    both: Condition = _all(conditions[:middle]) & _all(conditions[middle:])
    return both


def _integer(item: RawItem, name: str, lowest: int, highest: int) -> int:
    text = item.get(name, {}).get("N")
    if not isinstance(text, str) or not _INTEGER.fullmatch(text) or not lowest <= int(text) <= highest:
        raise _damaged(item, f"{name} must be an integer from {lowest} to {highest}")
    return int(text)


def _damaged(item: RawItem, detail: str) -> DamagedReadModelError:
    if "partition" in item:
        counter_id, _, _ = item["partition"]["S"].partition("#")
        return DamagedReadModelError(counter_id, f"archive page {item['end']['N']}: {detail}")
    return DamagedReadModelError(item["counter_id"]["S"], detail)
