"""
Read the read model consistently, and execute `domain.archive`'s plans with conditional writes.

The module `items` decodes and encodes items. Decoding a damaged item raises a `DamagedReadModelError`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from pynamodb.expressions.condition import size

from chalicelib.aws import dynamodb, partitions
from chalicelib.aws.dynamodb import RefusedError, UnwritableItemError
from chalicelib.aws.tables import CounterItem, PageItem
from chalicelib.domain.archive import RECENT_MAX, Addition
from chalicelib.domain.counter import NOTHING_ARCHIVED, Counter, Part, PartKey
from chalicelib.errors import DamagedReadModelError, ReadModelUnavailableError
from chalicelib.read_model import items

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Set

    from pynamodb.expressions.condition import Condition
    from pynamodb.expressions.update import Action
    from pynamodb.transactions import TransactWrite

    from chalicelib.aws.dynamodb import RawItem
    from chalicelib.domain.archive import Archiving, Page, PageWrite, Plan
    from chalicelib.domain.entries import Entry


class ChangedError(Exception):
    """
    The part's state or a transaction in progress prevents the write. Nothing was written.

    `part` is the current state if the response contains it.
    """

    def __init__(self, part: Part | None = None) -> None:
        super().__init__()
        self.part = part


def add_entries(key: PartKey, entries: frozenset[Entry], now_ms: int) -> Counter:
    """
    Add entries to the part's recent entries, and return its new totals. The call takes one write and no read.

    Raises:
        ChangedError: an entry is already counted or late, or `recent` has no room. `part` is the part's state; None
            after a conflict with a transaction.
        ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond. The outcome is
            unknown.
        DamagedReadModelError: the item cannot be decoded.
    """
    actions, condition = _addition_update(entries, now_ms)
    with _translate_refusals(key):
        updated = dynamodb.update(CounterItem(key.counter_id, key.part), actions, condition, ReadModelUnavailableError)
    return items.decode_totals(updated)


def _addition_update(entries: frozenset[Entry], now_ms: int) -> tuple[list[Action], Condition]:
    """
    Return the actions that add entries to a counter's item, and the condition that each entry is new.

    The condition: no entry is late or already in the item, and the item has room for all entries. In DynamoDB, a
    comparison with a missing attribute is false, so each term of the condition also accepts a missing attribute.
    """
    stored = items.encode_recent(entries)
    recent, archived_until = CounterItem.recent, CounterItem.archived_until
    has_room = size(recent) <= RECENT_MAX - len(stored)  # type: ignore[no-untyped-call]
    earliest_ms = min(entry.recorded_at_ms for entry in entries)
    condition = _join(
        [
            *(~recent.contains(each) for each in sorted(stored)),
            recent.does_not_exist() | has_room,
            archived_until.does_not_exist() | (archived_until < earliest_ms),
        ]
    )
    return [*_add_totals(entries, now_ms), recent.add(stored)], condition


def _add_totals(entries: Set[Entry], now_ms: int) -> list[Action]:
    return [
        CounterItem.value.add(sum(entry.amount for entry in entries)),
        CounterItem.version.add(len(entries)),
        CounterItem.revision.add(1),
        CounterItem.updated_at.set(now_ms),
    ]


def _join(conditions: Sequence[Condition]) -> Condition:
    """Join conditions with AND, as a balanced tree, because DynamoDB limits the nesting of expressions."""
    if len(conditions) == 1:
        return conditions[0]
    middle = len(conditions) // 2
    joined: Condition = _join(conditions[:middle]) & _join(conditions[middle:])
    return joined


@contextlib.contextmanager
def _translate_refusals(key: PartKey) -> Iterator[None]:
    """Raise a `ChangedError` for a refused write, and a `DamagedReadModelError` for an item that DynamoDB rejects."""
    try:
        yield
    except RefusedError as refused:
        raise ChangedError(None if refused.item is None else items.decode_part(refused.item, key)) from refused
    except UnwritableItemError as error:
        raise DamagedReadModelError(key.counter_id, str(error)) from error


def read_part(key: PartKey) -> Part:
    """
    Return the part's current state. The call takes one consistent read, which costs 1 read unit.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
        DamagedReadModelError: the item cannot be decoded.
    """
    return items.decode_part(read_part_item(key), key)


def read_part_item(key: PartKey) -> RawItem:
    """
    Return the part's current item, undecoded, or an empty item if it does not exist.

    The call takes one consistent read.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
    """
    with dynamodb.translate_errors(ReadModelUnavailableError):
        response = CounterItem._get_connection().get_item(key.counter_id, range_key=str(key.part), consistent_read=True)
    return response.get("Item") or {}


def read_parts(counter_id: str) -> list[Part]:
    """
    Return the current state of each part in which an event was counted. The call takes one consistent request.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
        DamagedReadModelError: an item cannot be decoded.
    """
    return [items.decode_part(item) for item in query_part_items(counter_id)]


def query_part_items(counter_id: str) -> list[RawItem]:
    """
    Return the undecoded items of all parts of the counter. The call takes one consistent request.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
    """
    responses = _request_items(CounterItem.query(counter_id, consistent_read=True).page_iter)
    return [item for response in responses for item in response]


def read_pages(key: PartKey, from_ms: int, limit: int) -> list[Page]:
    """
    Return up to `limit` archive pages, in ascending order, starting with the page that covers a time.

    The call takes one consistent request.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
        DamagedReadModelError: an archive page cannot be decoded.
    """
    return [items.decode_page(item) for item in next(query_pages(key, from_ms, limit), [])]


def query_pages(key: PartKey, from_ms: int, at_once: int) -> Iterator[list[RawItem]]:
    """
    Yield the part's undecoded archive pages in ascending order, starting with the page that covers a time.

    Each list contains the pages of one request.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
    """
    yield from _request_items(
        PageItem.query(
            partitions.format_partition(key), PageItem.end >= from_ms, consistent_read=True, page_size=at_once
        ).page_iter
    )


def query_pages_backward(key: PartKey, before_end_ms: int | None, at_once: int) -> Iterator[list[RawItem]]:
    """
    Yield the part's undecoded archive pages that end before a time, newest first: one list per request.

    If `before_end_ms` is None, yield all pages.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
    """
    bound = None if before_end_ms is None else PageItem.end < before_end_ms
    yield from _request_items(
        PageItem.query(
            partitions.format_partition(key), bound, consistent_read=True, page_size=at_once, scan_index_forward=False
        ).page_iter
    )


def scan_parts(
    segment: int = 0, segments: int = 1, after: RawItem | None = None, at_once: int | None = None
) -> Iterator[list[RawItem]]:
    """
    Yield the undecoded items in one of `segments` segments of the counters' table: one list per request.

    The scan continues after the item with the key `after`. Each request returns at most `at_once` items and 1 MB.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
    """
    yield from _request_items(
        CounterItem.scan(
            segment=segment, total_segments=segments, consistent_read=True, last_evaluated_key=after, page_size=at_once
        ).page_iter
    )


def scan_pages(segment: int = 0, segments: int = 1) -> Iterator[list[RawItem]]:
    """
    Yield the undecoded archive pages in one of `segments` segments of the table: one list per request.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
    """
    for pages in _request_items(
        PageItem.scan(segment=segment, total_segments=segments, consistent_read=True).page_iter
    ):
        # A counter id cannot start with "#", so such an item is a checkpoint.
        yield [page for page in pages if not page["partition"]["S"].startswith("#")]


def _request_items(page_iter: Any) -> Iterator[list[RawItem]]:
    """Yield the raw items of each response to a query or scan. PynamoDB would decode item by item, which is slower."""
    while True:
        with dynamodb.translate_errors(ReadModelUnavailableError):
            response = next(page_iter, None)
        if response is None:
            return
        yield response["Items"]


def execute_plan(part: Part, plan: Plan, now_ms: int) -> Counter | None:
    """
    Execute all writes of a plan, or none if a condition fails. The call takes one request.

    `part` is the state that the plan is for. Return the part's totals right after the plan, or None if the plan is an
    `Archiving` without a `revision`.

    Raises:
        ChangedError: a condition failed, or the write conflicted with a transaction.
        ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond. The outcome is
            unknown.
        DamagedReadModelError: the item cannot be decoded.
    """
    if isinstance(plan, Addition):
        return add_entries(part.key, plan.entries, now_ms)
    with _translate_refusals(part.key), dynamodb.transact(ReadModelUnavailableError) as transaction:
        include_plan(transaction, part.key, plan, now_ms)
    if plan.revision is None:
        return None
    value = part.value + sum(entry.amount for entry in plan.entries)
    return Counter(part.key.counter_id, value, part.version + len(plan.entries), now_ms)


def include_plan(
    transaction: TransactWrite, key: PartKey, plan: Plan, now_ms: int, revision: int | None = None
) -> None:
    """
    Include a plan in a transaction.

    If `revision` is not None, the part must still have it. The plan was decided for that revision, so this condition
    replaces the plan's own condition on the item.
    """
    actions: list[Action]
    condition: Condition | None
    if isinstance(plan, Addition):
        actions, condition = _addition_update(plan.entries, now_ms)
    else:
        for page in plan.pages:
            include_page(transaction, key, page)
        actions, condition = _archiving_update(plan, now_ms)
    if revision is not None:
        condition = revision_condition(revision)
    transaction.update(CounterItem(key.counter_id, key.part), actions=actions, condition=condition)


def include_page(transaction: TransactWrite, key: PartKey, page: PageWrite) -> None:
    """Include the write of an archive page, with its own condition, in a transaction."""
    transaction.save(
        items.encode_page(key, page),
        condition=PageItem.end.does_not_exist()
        if page.revision_before is None
        else PageItem.revision == page.revision_before,
    )


def include_revision_check(transaction: TransactWrite, part: Part) -> None:
    """Include a check in a transaction: this part must not have changed since it was read."""
    condition = revision_condition(part.revision)
    transaction.condition_check(CounterItem, part.key.counter_id, part.key.part, condition=condition)


def _archiving_update(plan: Archiving, now_ms: int) -> tuple[list[Action], Condition | None]:
    """Return the actions that count a plan's entries in a counter's item, and their condition."""
    actions = _add_totals(plan.entries, now_ms)
    if any(page.revision_before is not None for page in plan.pages):
        actions.append(CounterItem.amended.add(1))
    if plan.revision is None:
        return actions, None
    actions.append(set_recent(plan.recent))
    if plan.archived_until_ms != NOTHING_ARCHIVED:
        actions.append(CounterItem.archived_until.set(plan.archived_until_ms))
    return actions, revision_condition(plan.revision)


def set_recent(entries: frozenset[Entry]) -> Action:
    """Return the action that replaces the recent entries. DynamoDB has no empty sets: remove the attribute instead."""
    stored = items.encode_recent(entries)
    action: Action = CounterItem.recent.set(stored) if stored else CounterItem.recent.remove()
    return action


def revision_condition(revision: int) -> Condition:
    """Return the condition that a counter's item has this revision. Revision 0 means that the item does not exist."""
    condition: Condition = CounterItem.revision == revision if revision else CounterItem.revision.does_not_exist()
    return condition
