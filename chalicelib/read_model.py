"""
The read model: count events once, and read what is counted. Late, disposable, and made from the log alone.

Counting a batch: read the buckets it touches, drop what they hold, and in one transaction add the rest to a counter's
buckets, each on condition that it is unchanged, and the sum to the counter. A bucket's set only grows, so its size
tells whether it is unchanged. Duplicates, order and batch boundaries make no difference: the bucket of an event depends
on the event alone. A transaction takes several counters of which little is to be written; those because of which it is
refused are tried again in fewer together, down to each by itself, so that none waits for another.

While a counter's read model is made anew (see `generations`), the same transaction writes both makings. Which there are
stands in the counter's own item, and is a condition of every write to it: who believes otherwise is refused, and looks.
"""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pynamodb.exceptions import DoesNotExist, TransactWriteError
from pynamodb.expressions.condition import size
from pynamodb.transactions import TransactWrite

from chalicelib import codec, counting, dynamodb, event_log, retries, settings
from chalicelib.counting import Bucket, BucketKey, Counter, Generations, Tally
from chalicelib.errors import (
    ContendedError,
    PartlyCountedError,
    RangeTooLongError,
    ReadModelUnavailableError,
    RecordedBeforeError,
    UnavailableError,
)
from chalicelib.tables import BucketItem, CounterItem, connection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

    from pynamodb.expressions.condition import Condition
    from pynamodb.expressions.update import Action
    from pynamodb.pagination import PageIterator

    from chalicelib.counting import Batch, BucketUpdate, CounterUpdate, Event, EventPage, Place, Point, Span

#: DynamoDB's limit is 100 items a transaction; one of them is the counter.
BUCKETS_PER_TRANSACTION = 99

#: Of several counters, fewer are written together: DynamoDB takes no more than 4 MB at once, and charges for a
#: transaction that it refuses. They still fit where each of their buckets is to be written in two generations.
ITEMS_OF_SEVERAL = 50

#: Refusals after which a counter is written by itself.
_ALONE = ITEMS_OF_SEVERAL.bit_length()

_TRIES = 12

#: What one request for a history may read of buckets, and what one page of a query holds of that at most (DynamoDB
#: developer guide, "Paginating table query results").
HISTORY_BYTES = 4 * 1024 * 1024
_QUERY_PAGE_BYTES = 1024 * 1024

#: How many buckets are read at once, newest first: few, for one may hold all that is wanted, and then twice as many.
_FEW_BUCKETS = 4
_MANY_BUCKETS = 32

#: Buckets in one answer to who reads many.
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Page:
    """Some counters, and where the next page starts: after this counter id, or None at the end."""

    counters: list[Counter]
    last: str | None


def count(events: Iterable[Event]) -> list[CounterUpdate]:
    """
    Every one of these events is counted, and once. Returns what was written: those that were not counted before.

    What several counters had written together when the answer was lost is found counted, and so is not returned.

    Twice, in part, in another order or at once with other workers: the counters end the same. A worker that stops half
    way has counted some transactions wholly and the others not at all.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer. Some events may be counted: deliver all again.
        ContendedError: other workers were quicker at every try. Likewise.
        PartlyCountedError: either happened to some of the counters, or after a part of their events was counted.
    """
    batch = counting.in_buckets(events, settings.current().shards)
    return _count(batch, {counter_id: _believed(counter_id) for counter_id in batch})


def fill(counter: Counter, events: Iterable[Event]) -> None:
    """
    Every one of these events of one counter is counted in all generations that it has.

    (`count` does not know of a generation until a write tells it, and makes none for what the live one holds.)

    Raises:
        ReadModelUnavailableError, ContendedError, PartlyCountedError: as of `count`.
    """
    _count(counting.in_buckets(events, settings.current().shards), {counter.counter_id: counter.generations})


def _count(batch: Batch, generations: dict[str, Generations]) -> list[CounterUpdate]:
    """
    As `count`, given what each counter's generations are believed to be.

    What is refused is tried again, up to so many times, in groups half as large each time, beside what was refused as
    often: a counter that rivals are always about ends up by itself, and those that it was written with go on together.
    Of many, one or another may meet a rival at every try: so every second try counts as a refusal of all that are left,
    and the last ones are made for each by itself.
    """
    new: list[CounterUpdate] = []
    troubles: dict[str, UnavailableError] = {}
    refusals = dict.fromkeys(batch, 0)  # of each counter that is not counted yet
    counted = ids_in(_keys(batch, generations))
    for attempt in retries.attempts(_TRIES):
        refusals = {name: max(number, attempt // 2) for name, number in refusals.items()}
        for group in counting.groups(batch, refusals, ITEMS_OF_SEVERAL):
            try:
                if attempt:
                    generations |= {name: _believe(counter(name)) for name in group if name not in generations}
                    counted = ids_in(_keys({name: batch[name] for name in group}, generations))
                _write_each(_transactions(group, batch, counted, generations), new)
            except _RefusedError as refusal:
                refusals |= {name: refusals[name] + 1 for name in refusal.counter_ids}
                _forget(generations, refusal.of_other_generations)
            except UnavailableError as trouble:
                if len(group) > 1:  # nobody says whose it is
                    refusals |= dict.fromkeys(group, _ALONE)
                else:  # it is this counter's: the others are not to wait for it
                    _forget(refusals, group)
                    troubles[group[0]] = trouble
            else:
                _forget(refusals, group)
        if not refusals:
            break
    troubles |= {name: ContendedError(f"counter {name} is being counted by others") for name in refusals}
    _raise_of(troubles, batch, new)
    return new


def _forget(of_counters: dict[str, Any], counter_ids: Iterable[str]) -> None:
    for counter_id in counter_ids:
        del of_counters[counter_id]


def _raise_of(troubles: Mapping[str, UnavailableError], batch: Batch, new: list[CounterUpdate]) -> None:
    """Returns if no counter is in trouble. Who calls is told which are, unless all are and nothing was written."""
    if troubles:
        first = next(iter(troubles.values()))
        if len(troubles) == len(batch) and not new:
            raise first
        raise PartlyCountedError(counting.newly_counted(new), troubles) from first


def _transactions(
    group: list[str], batch: Batch, counted: Mapping[BucketKey, set[str]], generations: Mapping[str, Generations]
) -> Iterator[list[CounterUpdate]]:
    """What is to be written at once: all that several counters lack, or one after another what one counter lacks."""
    updates = [
        update
        for name in group
        for update in counting.updates(name, batch[name], counted, generations[name], BUCKETS_PER_TRANSACTION)
    ]
    if len(group) > 1:
        yield from [updates] if updates else []
    else:
        yield from ([update] for update in updates)


def _keys(batch: Batch, generations: Mapping[str, Generations]) -> Iterator[BucketKey]:
    """The buckets of these counters in every generation."""
    for name, buckets in batch.items():
        yield from counting.in_each(generations[name], buckets)


def append_counted(event: Event, counter: Counter) -> Counter:
    """
    Record the event and count it, in one transaction, if the counter still is at this state. Returns the next state.

    A new event cannot be in its bucket, so the bucket needs no condition. The stream delivers the event later all the
    same, and it is found to be counted.

    Raises:
        RecordedBeforeError: the log holds the event's id; nothing was written.
        ContendedError: the counter has moved on, or others are writing to it; nothing was written.
        ReadModelUnavailableError: DynamoDB throttles or does not answer. Nothing is known: retry with the same id.
    """
    now_ms = _now_ms()
    key = counting.bucket_of(event, settings.current().shards)
    (update,) = counting.updates(
        counter.counter_id, {key: {event.event_id: event}}, {}, counter.generations, BUCKETS_PER_TRANSACTION
    )
    transaction = TransactWrite(connection=connection())
    event_log.append_within(transaction, event)
    for bucket in update.buckets:
        _add_to_bucket(transaction, bucket, condition=None)
    _add_to_counter(transaction, update, now_ms, condition=_is_at(counter.version))
    try:
        _commit(transaction)
    except _CancelledError as cancelled:
        if cancelled.reasons[0] == dynamodb.CONDITION_FAILED:
            raise RecordedBeforeError(event.counter_id, event.event_id) from cancelled
        raise ContendedError(f"counter {counter.counter_id} is being written by others") from cancelled
    return counter.after(event, now_ms)


def counter(counter_id: str) -> Counter:
    """
    The counter's state now; one that was never incremented stands at zero. One strongly consistent read.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    with dynamodb.unavailable_as(ReadModelUnavailableError):
        try:
            return _counter(CounterItem.get(counter_id, consistent_read=True))
        except DoesNotExist:
            return Counter(counter_id)


def counters(limit: int, after: str | None = None) -> Page:
    """
    Up to `limit` counters in the table's own order, from the one behind `after`. One read.

    A counter that is there all the while is on exactly one page; one that is new may be missed.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    start = {"counter_id": {"S": after}} if after else None
    with dynamodb.unavailable_as(ReadModelUnavailableError):
        found = CounterItem.scan(limit=limit, page_size=limit, last_evaluated_key=start)
        states = [_counter(item) for item in found]
        end = found.last_evaluated_key
    return Page(states, end["counter_id"]["S"] if end else None)


def scan_counters(segment: int = 0, segments: int = 1) -> Iterator[Counter]:
    """
    Every counter that is there when this begins, of one of so many equal parts of all.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    with dynamodb.unavailable_as(ReadModelUnavailableError):
        for item in CounterItem.scan(segment=segment, total_segments=segments, consistent_read=True):
            yield _counter(item)


def history(counter_id: str, span: Span) -> list[Point]:
    """
    What was counted in this span, step by step, as far as eventually consistent reads show it.

    Reads at most `HISTORY_BYTES` of buckets, in as many requests as there are shards and up to 4 more; and the counter,
    which tells the generation.

    Raises:
        RangeTooLongError: that is not enough. It is for a page less than that.
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    if span.steps == 0:
        return []
    return counting.points(_tallies_in(_live_partitions(counter_id), span), span.step_s)


def events(counter_id: str, limit: int, before: Place | None = None) -> EventPage:
    """
    Up to `limit` counted events, newest first, from the one behind the place `before` on. Strongly consistent.

    An event has its place for good, so it is on one page at most, whatever is counted between two; and one that is
    counted late is on a page if its place is still to come. An id that the log lacks is left out.

    Raises:
        ReadModelUnavailableError, LogUnavailableError: DynamoDB throttles or does not answer.
        NotUnderstoodError: an event cannot be read by this version of the code.
    """
    streams = [_back_from(before.second if before else None, partition) for partition in _live_partitions(counter_id)]
    buckets = heapq.merge(*streams, key=lambda bucket: bucket.key.second, reverse=True)
    ids, older = counting.ids_for_page(buckets, limit, before)
    return counting.page_of_events(event_log.get_many(counter_id, ids), limit, before, older)


def _live_partitions(counter_id: str) -> list[str]:
    """The partitions, one for each shard, of the buckets that queries see now. One strongly consistent read."""
    shards, live = settings.current().shards, counter(counter_id).generations.live
    return [codec.bucket_partition(BucketKey(counter_id, shard, 0, live), shards) for shard in range(shards)]


def _tallies_in(partitions: list[str], span: Span) -> list[Tally]:
    """What is in these partitions of a span; of those with more than a page, the one that is least far is read next."""
    seconds = BucketItem.second.between(span.first, span.end - 1)
    pages = [BucketItem.query(partition, seconds).page_iter for partition in partitions]
    begun, reached = 0, dict[int, int]()
    found: list[Tally] = []
    sizes: list[tuple[int, int]] = []
    size = 0
    while begun < len(pages) or reached:
        if size > HISTORY_BYTES - _QUERY_PAGE_BYTES:
            raise _too_long(span, sizes, min(reached.values(), default=span.end), begun / len(pages))
        number = begun if begun < len(pages) else min(reached, key=lambda number: reached[number])
        begun = max(begun, number + 1)
        for item in _next_page(pages[number]):
            tally = Tally(int(item.second), len(item.ids), int(item.sum))
            found.append(tally)
            sizes.append((tally.second, _bytes_of(item.partition, tally)))
            size += sizes[-1][1]
            reached[number] = tally.second
        if pages[number].last_evaluated_key is None:
            reached.pop(number, None)
    return found


def _bytes_of(partition: str, tally: Tally) -> int:
    """What DynamoDB counts for this bucket, and a little more: two digits are a byte ("Item sizes and formats")."""
    names = len("partition") + len("second") + len("ids") + len("sum")
    return names + len(partition) + 16 * tally.events + sum(len(str(n)) // 2 + 2 for n in (tally.second, tally.total))


def _too_long(span: Span, sizes: list[tuple[int, int]], reached: int, share: float) -> RangeTooLongError:
    """The refusal, with an end for which this share of the shards, which was read, leaves room for the others."""
    room = (HISTORY_BYTES - _QUERY_PAGE_BYTES) * (share if share == 1 else share / 2)
    detail = "So much is counted in this range that one answer cannot hold it."
    return RangeTooLongError(detail, counting.end_that_fits(sizes, reached, room, span))


def _back_from(second: int | None, partition: str) -> Iterator[Bucket]:
    """A partition's buckets, newest first, from this second on. Read as they are asked for."""
    pages = BucketItem.query(
        partition,
        None if second is None else BucketItem.second <= second,
        consistent_read=True,
        scan_index_forward=False,
        page_size=_FEW_BUCKETS,
    ).page_iter
    while page := _next_page(pages):
        yield from (_bucket(item) for item in page)
        pages.page_size = min(2 * (pages.page_size or 1), _MANY_BUCKETS)


def _next_page(pages: PageIterator[Any]) -> list[BucketItem]:
    """What the next request of a query brings; nothing once there is no more to ask for."""
    with dynamodb.unavailable_as(ReadModelUnavailableError):
        return [BucketItem.from_raw_data(raw) for raw in next(pages, {"Items": []})["Items"]]


def scan_buckets(segment: int, segments: int) -> Iterator[Bucket]:
    """
    Every bucket of every generation that is there when this begins, of one of so many equal parts of all.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    with dynamodb.unavailable_as(ReadModelUnavailableError):
        for item in BucketItem.scan(segment=segment, total_segments=segments, consistent_read=True, page_size=_PAGE):
            yield _bucket(item)


def buckets_of(
    counter_id: str, generation: int, from_second: int = 0, to_second: int = counting.LATEST_MS
) -> Iterator[Bucket]:
    """
    The counter's buckets of this generation in this range, whose end is not in it; ascending in each shard.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    shards = settings.current().shards
    within = BucketItem.second.between(from_second, to_second - 1)
    with dynamodb.unavailable_as(ReadModelUnavailableError):
        for shard in range(shards):
            partition = codec.bucket_partition(BucketKey(counter_id, shard, 0, generation), shards)
            for item in BucketItem.query(partition, within, consistent_read=True, page_size=_PAGE):
                yield _bucket(item)


def has_counted(event: Event) -> bool:
    """
    Whether this event is part of its counter's value. One strongly consistent read if it is, as a rule, and two if not.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    # What was counted in any generation is counted in the live one, so only a "no" has to be asked of the live one.
    believed = _believed(event.counter_id)
    if _is_in(event, believed.live):
        return True
    generations = _believe(counter(event.counter_id))
    return generations.live != believed.live and _is_in(event, generations.live)


def _is_in(event: Event, generation: int) -> bool:
    key = counting.bucket_of(event, settings.current().shards, generation)
    return event.event_id in ids_in([key]).get(key, set())


def ids_in(keys: Iterable[BucketKey]) -> dict[BucketKey, set[str]]:
    """
    The ids that these buckets hold. One strongly consistent request for up to 100 buckets.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    shards = settings.current().shards
    by_item_key = {(codec.bucket_partition(key, shards), key.second): key for key in keys}
    with dynamodb.unavailable_as(ReadModelUnavailableError):
        return {
            by_item_key[item.partition, int(item.second)]: {codec.id_text(stored) for stored in item.ids}
            for item in BucketItem.batch_get(by_item_key, consistent_read=True)
        }


class _CancelledError(Exception):
    """The transaction was refused because of rivals; `reasons` has one entry for each member."""

    def __init__(self, reasons: list[str | None]) -> None:
        super().__init__(reasons)
        self.reasons = reasons


class _RefusedError(Exception):
    """Rivals of these counters were quicker, and nothing was written; some have other generations than was believed."""

    def __init__(self, counter_ids: Set[str], of_other_generations: Set[str]) -> None:
        super().__init__(counter_ids)
        self.counter_ids = counter_ids
        self.of_other_generations = of_other_generations


def _believed(counter_id: str) -> Generations:
    return _beliefs.get(counter_id, Generations())


def _believe(found: Counter) -> Generations:
    if found.generations == Generations():
        _beliefs.pop(found.counter_id, None)
    else:
        if len(_beliefs) >= _MOST_BELIEFS:
            _beliefs.clear()
        _beliefs[found.counter_id] = found.generations
    return found.generations


#: What this process last saw of counters that were made anew. A belief may be wrong: no write goes by it unchecked.
_beliefs: dict[str, Generations] = {}
_MOST_BELIEFS = 100_000


def _write_each(transactions: Iterable[list[CounterUpdate]], written: list[CounterUpdate]) -> None:
    """All of these transactions are written, and each is in `written` as soon as it is."""
    for updates in transactions:
        _write(updates)
        written += updates


def _write(updates: Sequence[CounterUpdate]) -> None:
    transaction = TransactWrite(connection=connection())
    for update in updates:
        for bucket in update.buckets:
            _add_to_bucket(transaction, bucket, condition=_is_unchanged(bucket))
        _add_to_counter(transaction, update, _now_ms(), condition=None)
    try:
        _commit(transaction)
    except _CancelledError as cancelled:
        refused = [(*member, why) for member, why in zip(_members(updates), cancelled.reasons, strict=False) if why]
        raise _RefusedError(
            {name for name, _, _ in refused},
            {name for name, is_counter, why in refused if is_counter and why == dynamodb.CONDITION_FAILED},
        ) from cancelled


def _members(updates: Sequence[CounterUpdate]) -> Iterator[tuple[str, bool]]:
    """Of each item of the transaction, whose it is, and whether it is the counter itself."""
    for update in updates:
        yield from ((update.counter_id, False) for _ in update.buckets)
        yield update.counter_id, True


def _commit(transaction: TransactWrite) -> None:
    try:
        with transaction:
            pass  # PynamoDB commits when the block ends
    except TransactWriteError as error:
        if reasons := dynamodb.refusals(error):
            raise _CancelledError(reasons) from error
        raise ReadModelUnavailableError(str(error)) from error


def _add_to_bucket(transaction: TransactWrite, bucket: BucketUpdate, condition: Condition | None) -> None:
    partition = codec.bucket_partition(bucket.key, settings.current().shards)
    ids = {codec.id_bytes(event_id) for event_id in bucket.event_ids}
    transaction.update(
        BucketItem(partition, bucket.key.second),
        actions=[BucketItem.ids.add(ids), BucketItem.sum.add(bucket.total)],
        condition=condition,
    )


def _add_to_counter(
    transaction: TransactWrite, update: CounterUpdate, now_ms: int, condition: Condition | None
) -> None:
    live, other = update.generations.live, update.generations.other
    actions: list[Action] = [
        CounterItem.value.add(update.total(live)),
        CounterItem.version.add(update.events(live)),
        CounterItem.updated_at.set(now_ms),
    ]
    if other is not None:
        actions += [
            CounterItem.other_value.add(update.total(other)),
            CounterItem.other_version.add(update.events(other)),
        ]
    unchanged = has(update.generations)
    transaction.update(
        CounterItem(update.counter_id),
        actions=actions,
        condition=unchanged if condition is None else unchanged & condition,
    )


def has(generations: Generations) -> Condition:
    """The condition on a counter's item that it has just these generations."""
    live, other = CounterItem.generation, CounterItem.other
    has_live: Condition = live.does_not_exist() if generations.live == 1 else live == generations.live
    has_other: Condition = other.does_not_exist() if generations.other is None else other == generations.other
    both: Condition = has_live & has_other
    return both


def _is_unchanged(bucket: BucketUpdate) -> Condition:
    if bucket.size_before == 0:
        return BucketItem.ids.does_not_exist()
    size_now = size(BucketItem.ids)  # type: ignore[no-untyped-call]
    unchanged: Condition = size_now == bucket.size_before
    return unchanged


def _is_at(version: int) -> Condition:
    at: Condition = CounterItem.version == version
    return at if version else at | CounterItem.version.does_not_exist()


def _counter(item: CounterItem) -> Counter:
    other = _maybe_int(item.other)
    return Counter(
        item.counter_id,
        int(item.value or 0),
        int(item.version or 0),
        _maybe_int(item.updated_at),
        Generations(int(item.generation or 1), other),
        None if other is None else (int(item.other_value), int(item.other_version)),
        bool(item.unseen),
        _maybe_int(item.dropping),
        max(int(item.newest or 1), int(item.generation or 1), other or 1),
    )


def _bucket(item: BucketItem) -> Bucket:
    ids = frozenset(codec.id_text(stored) for stored in item.ids)
    return Bucket(codec.bucket_key(item.partition, int(item.second)), ids, int(item.sum))


def _maybe_int(stored: float | None) -> int | None:
    return None if stored is None else int(stored)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
