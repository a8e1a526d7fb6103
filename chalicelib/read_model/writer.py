"""
Count events exactly once, in the counter's own item.

Usually, one update counts a batch without a read. It adds to value, version and recent entries, on the condition that
none of the entries is already counted. If DynamoDB refuses the update, the response contains the item, from which
`planner` decides the next write. Duplicates, order and batch boundaries do not matter, because the event alone
determines where it is counted.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from chalicelib import clock, event_log, retries
from chalicelib.aws import dynamodb, partitions
from chalicelib.aws.dynamodb import RefusedError, UnwritableItemError
from chalicelib.domain.archive import ENTRIES_PER_PLAN, RECENT_MAX
from chalicelib.domain.counter import Counter, Part, PartKey, add_up
from chalicelib.domain.entries import make_entry
from chalicelib.errors import (
    ContendedError,
    DamagedReadModelError,
    PartlyCountedError,
    ReadModelUnavailableError,
    RecordedBeforeError,
    UnavailableError,
)
from chalicelib.read_model import planner, store
from chalicelib.read_model.store import ChangedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from chalicelib.domain.entries import Entry
    from chalicelib.domain.events import Event
    from chalicelib.read_model.planner import Step

_ATTEMPTS = 12

#: The number of parts that are counted concurrently. A worker that counts a part mostly waits for DynamoDB.
_THREADS = 8


def count(events: Iterable[Event], likely_counted: Collection[str] = ()) -> frozenset[tuple[str, str]]:
    """
    Count each event once, and return the events that were not counted before, as (counter id, event id).

    Redelivery, order, batch boundaries and concurrent workers do not change the result. An interrupted worker may have
    counted some of the events; a redelivery counts the others. Up to 8 parts are counted concurrently and
    independently: a failure or conflict of one part does not stop the others.

    `likely_counted` names the counters whose events are probably counted already. The worker reads these counters
    before it writes, because a refused write costs as much as a successful one. If DynamoDB's response to a write is
    lost, the events of that write are counted but not returned.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request or does not respond, or an item is damaged.
            Some events may be counted: deliver all of them again.
        ContendedError: every attempt conflicted with other workers. Some events may be counted: deliver all of them
            again.
        PartlyCountedError: one of these errors occurred for only some counters, or after some events were counted.
    """
    batches: defaultdict[PartKey, dict[Entry, str]] = defaultdict(dict)
    for event in events:
        batches[partitions.part_key(event)][make_entry(event)] = event.event_id
    new: set[tuple[str, str]] = set()
    failures: dict[str, UnavailableError] = {}

    def count_batch(key: PartKey) -> None:
        batch = batches[key]
        try:
            for counted in _count_part(key, frozenset(batch), likely_counted=key.counter_id in likely_counted):
                new.update((key.counter_id, batch[entry]) for entry in counted)
        except UnavailableError as failure:
            failures[key.counter_id] = failure

    if len(batches) == 1:
        count_batch(*batches)
    elif batches:
        with ThreadPoolExecutor(min(_THREADS, len(batches))) as pool:
            # Each thread needs a copy of the context, which has the invocation's remaining time.
            for future in [pool.submit(contextvars.copy_context().run, count_batch, key) for key in batches]:
                future.result()
    if failures:
        first = next(iter(failures.values()))
        if not new and len(failures) == len({key.counter_id for key in batches}):
            raise first
        raise PartlyCountedError(frozenset(new), failures) from first
    return frozenset(new)


def count_one(event: Event) -> Counter | None:
    """
    Count one event, once. The call usually takes one request.

    Return the counter's state right after the event, or None if DynamoDB's responses do not contain it.

    Raises:
        ReadModelUnavailableError, ContendedError: see `count`.
    """
    key, entries = partitions.part_key(event), frozenset([make_entry(event)])
    totals: Counter | None
    try:
        totals = store.add_entries(key, entries, clock.now_ms())
    except ChangedError as changed:
        _, totals = _execute_next_plan(key, entries, changed.part)
    return totals if partitions.count_parts() == 1 else None


def append_and_count(event: Event, parts: Sequence[Part]) -> Counter:
    """
    Append the event to the log and count it, in one transaction, if the counter is still in the state of `parts`.

    `parts` is the result of `store.read_parts`. Return the counter's new state. The stream still delivers the event
    later; the projector then finds that the event is already counted.

    Raises:
        RecordedBeforeError: the log already has the event's id; nothing was written.
        ContendedError: concurrent writers changed the counter after it was read; nothing was written.
        ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond. The outcome is
            unknown: retry with the same event id.
        DamagedReadModelError: an item of the counter is damaged; nothing was written.
    """
    by_key = {key: Part(key) for key in partitions.part_keys(event.counter_id)} | {part.key: part for part in parts}
    own = by_key.pop(partitions.part_key(event))
    now_ms = clock.now_ms()
    plan = planner.retry_at_gaps(lambda: planner.plan_next(own, frozenset([make_entry(event)]))).plan
    if plan is None:
        raise RecordedBeforeError(event.counter_id, event.event_id)
    try:
        with dynamodb.transact(ReadModelUnavailableError) as transaction:
            for other in by_key.values():
                store.include_revision_check(transaction, other)
            event_log.include_append(transaction, event)
            store.include_plan(transaction, own.key, plan, now_ms, own.revision)
    except RefusedError as refused:
        if event_log.is_duplicate(refused):
            raise RecordedBeforeError(event.counter_id, event.event_id) from refused
        raise ContendedError(f"a concurrent writer changed counter {event.counter_id}") from refused
    except UnwritableItemError as error:
        raise DamagedReadModelError(event.counter_id, str(error)) from error
    before = add_up(event.counter_id, parts)
    return Counter(event.counter_id, before.value + event.by, before.version + 1, now_ms)


def count_entries(key: PartKey, entries: Collection[Entry]) -> frozenset[Entry]:
    """
    Count entries of one part, each once, and return the newly counted entries; see `count`.

    The part is read before it is written.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request or does not respond, or an item is damaged.
        ContendedError: every attempt conflicted with other workers.
    """
    return frozenset().union(*_count_part(key, frozenset(entries), likely_counted=True))


def _count_part(key: PartKey, entries: frozenset[Entry], *, likely_counted: bool) -> Iterator[frozenset[Entry]]:
    """Count one part's entries. After each write, yield the newly counted entries."""
    if len(entries) <= RECENT_MAX and not likely_counted:
        try:
            store.add_entries(key, entries, clock.now_ms())
        except ChangedError as changed:
            yield from _count_by_plans(key, entries, changed.part)
        else:
            yield entries
        return
    ordered = sorted(entries)
    for start in range(0, len(ordered), ENTRIES_PER_PLAN):
        yield from _count_by_plans(key, frozenset(ordered[start : start + ENTRIES_PER_PLAN]))


def _count_by_plans(key: PartKey, entries: frozenset[Entry], part: Part | None = None) -> Iterator[frozenset[Entry]]:
    """
    Count one part's entries, with as many plans as they need. After each write, yield the entries that it counted.

    `part` is the part's current state, if known.
    """
    while entries:
        step, _ = _execute_next_plan(key, entries, part)
        if step.plan:
            yield step.plan.entries
        entries, part = entries - step.entries, None


def _execute_next_plan(key: PartKey, entries: frozenset[Entry], part: Part | None) -> tuple[Step, Counter | None]:
    """
    Plan one write and execute it. After a conflict, wait and read the part again.

    Return the step, and the part's totals right after the write, if they are known.
    """
    for _ in retries.with_backoff(_ATTEMPTS):
        current, step = planner.read_and_plan(key, entries, part)
        part = None
        if step.plan is None:
            return step, None
        with contextlib.suppress(ChangedError):
            return step, store.execute_plan(current, step.plan, clock.now_ms())
    raise ContendedError(f"concurrent writers changed counter {key.counter_id} at every attempt")
