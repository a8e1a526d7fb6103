"""
The rules of counting, and nothing else: no clock, no randomness, no environment, no AWS.

A counter's value is the sum over the distinct events in its log, its version their number. Events are counted in
buckets, one per counter (and shard) and second, which hold the ids of what they have counted. What is in its bucket is
counted; what is not, is not. That is all there is to counting once.

A counter's read model can be made anew beside the old one: each making is a generation with buckets of its own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Set

#: The largest integer that every JSON reader keeps exact (RFC 8259, section 6).
LARGEST_AMOUNT = 2**53 - 1

#: The most partitions that one counter's events may be spread over.
MOST_SHARDS = 64

#: The largest time that RFC 3339 can write: the end of the year 9999.
LATEST_MS = 253_402_300_799_999

_COUNTER_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_EVENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Increment:
    """
    Command: add `by` to a counter.

    With `idempotency_key`, all that carry the same key are one increment. With `at_version`, only if the counter is at
    that version. With `wants_counter`, the caller would like the state that this increment leads to.
    """

    counter_id: str
    by: int = 1
    idempotency_key: str | None = None
    at_version: int | None = None
    wants_counter: bool = False


@dataclass(frozen=True, slots=True)
class Incremented:
    """Event: `by` was added to a counter. `recorded_at_ms` counts milliseconds since 1970 in UTC and never changes."""

    counter_id: str
    event_id: str
    by: int
    recorded_at_ms: int

    @property
    def amount(self) -> int:
        """What counting this event adds to the value."""
        return self.by


#: Every kind of event. What they have in common is counted: counter_id, event_id, recorded_at_ms and amount.
Event = Incremented


@dataclass(frozen=True, slots=True)
class Generations:
    """The makings of one counter's read model that are kept current: what queries see, and one beside it, if any."""

    live: int = 1
    other: int | None = None

    @property
    def kept(self) -> tuple[int, ...]:
        """In all of these an event is counted at once, in one transaction."""
        return (self.live,) if self.other is None else (self.live, self.other)


@dataclass(frozen=True, slots=True)
class Counter:
    """
    State: the sum (`value`) and the number (`version`) of the events counted so far, in the live generation.

    `other` is the same pair for the generation beside it, `dropping` is one whose buckets are being removed, and
    `newest` the last that was begun: none is begun twice.
    """

    counter_id: str
    value: int = 0
    version: int = 0
    updated_at_ms: int | None = None
    generations: Generations = Generations()
    other: tuple[int, int] | None = None
    dropping: int | None = None
    newest: int = 1

    def after(self, event: Event, now_ms: int) -> Counter:
        """The state once this event, too, is counted."""
        return replace(self, value=self.value + event.amount, version=self.version + 1, updated_at_ms=now_ms)


@dataclass(frozen=True, slots=True, order=True)
class BucketKey:
    """Where an event is counted. It depends on the event alone, so every delivery meets the same bucket."""

    counter_id: str
    shard: int
    second: int
    generation: int = 1


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is counted of one counter (and shard) and one second: which events, and what they add up to."""

    key: BucketKey
    event_ids: frozenset[str]
    sum: int


@dataclass(frozen=True, slots=True)
class BucketUpdate:
    """Ids that a bucket lacks, what they add up to, and how many ids it held when this was decided."""

    key: BucketKey
    event_ids: frozenset[str]
    total: int
    size_before: int


@dataclass(frozen=True, slots=True)
class CounterUpdate:
    """What one transaction writes: some buckets of one counter and the counter itself, if it has these generations."""

    counter_id: str
    generations: Generations
    buckets: tuple[BucketUpdate, ...]

    def total(self, generation: int) -> int:
        """What is added to the counter's value in this generation."""
        return sum(bucket.total for bucket in self.buckets if bucket.key.generation == generation)

    def events(self, generation: int) -> int:
        """What is added to the counter's version in this generation."""
        return sum(len(bucket.event_ids) for bucket in self.buckets if bucket.key.generation == generation)

    @property
    def new(self) -> int:
        """How many events are counted that queries did not see before."""
        return self.events(self.generations.live)


def is_counter_id(text: object) -> bool:
    """Whether this names a counter: 1 to 64 unreserved URI characters (RFC 3986, section 2.3)."""
    return isinstance(text, str) and _COUNTER_ID.fullmatch(text) is not None


def is_event_id(text: object) -> bool:
    """Whether this is a UUID in its canonical text form (RFC 9562, section 4)."""
    return isinstance(text, str) and _EVENT_ID.fullmatch(text) is not None


def decide(command: Increment, event_id: str, now_ms: int) -> Event:
    """The event that this command leads to, if it is not refused. Who names it and when it is are the caller's."""
    return Incremented(command.counter_id, event_id, command.by, now_ms)


def says_the_same(one: Event, other: Event) -> bool:
    """Whether two events with one id are one increment: all but the time at which each was attempted."""
    return one == replace(other, recorded_at_ms=one.recorded_at_ms)


def shard_of(event_id: str, shards: int) -> int:
    """The shard, 0 to `shards` - 1, of a counter's partitions that an event belongs to. Its id alone decides."""
    return int(event_id[-12:], 16) % shards


def bucket_of(event: Event, shards: int, generation: int = 1) -> BucketKey:
    """The bucket in which this event is counted: the second in which it was recorded."""
    return BucketKey(event.counter_id, shard_of(event.event_id, shards), event.recorded_at_ms // 1000, generation)


def in_buckets(events: Iterable[Event], shards: int) -> dict[str, dict[BucketKey, dict[str, Event]]]:
    """A batch by counter, then by bucket, then by event id, so that what is in it twice is in the result once."""
    counters: dict[str, dict[BucketKey, dict[str, Event]]] = defaultdict(lambda: defaultdict(dict))
    for event in events:
        counters[event.counter_id][bucket_of(event, shards)].setdefault(event.event_id, event)
    return {counter_id: dict(buckets) for counter_id, buckets in counters.items()}


def in_each(generations: Generations, keys: Iterable[BucketKey]) -> Iterator[BucketKey]:
    """The buckets with these keys in every generation that is kept."""
    for key in keys:
        for generation in generations.kept:
            yield replace(key, generation=generation)


def updates(
    counter_id: str,
    buckets: Mapping[BucketKey, Mapping[str, Event]],
    counted: Mapping[BucketKey, Set[str]],
    generations: Generations,
    most_buckets: int,
) -> Iterator[CounterUpdate]:
    """
    What is still to be written for one counter, given the ids that its buckets were seen to hold.

    Each update is complete in itself, so that no event is counted in one generation and not in the other, and touches
    at most `most_buckets` buckets. None at all if everything is counted.
    """
    lacking = [
        found
        for key, events in sorted(buckets.items(), key=lambda item: item[0])
        if (found := [update for update in _bucket_updates(key, events, counted, generations) if update.event_ids])
    ]
    at_once = most_buckets // len(generations.kept)
    for start in range(0, len(lacking), at_once):
        yield CounterUpdate(counter_id, generations, tuple(chain.from_iterable(lacking[start : start + at_once])))


def _bucket_updates(
    key: BucketKey, events: Mapping[str, Event], counted: Mapping[BucketKey, Set[str]], generations: Generations
) -> Iterator[BucketUpdate]:
    for bucket in in_each(generations, [key]):
        yield bucket_update(bucket, events, counted.get(bucket, frozenset()))


def bucket_update(key: BucketKey, events: Mapping[str, Event], counted: Set[str]) -> BucketUpdate:
    """What a bucket lacks of these events, given the ids that it was seen to hold."""
    new = {event_id: event for event_id, event in events.items() if event_id not in counted}
    return BucketUpdate(key, frozenset(new), sum(event.amount for event in new.values()), len(counted))


def oldest_ms(events: Iterable[Event], updates: Iterable[CounterUpdate]) -> int | None:
    """When the oldest of these events that these updates count was recorded; None if they count none of them."""
    new = {
        (update.counter_id, event_id)
        for update in updates
        for bucket in update.buckets
        if bucket.key.generation == update.generations.live
        for event_id in bucket.event_ids
    }
    return min((event.recorded_at_ms for event in events if (event.counter_id, event.event_id) in new), default=None)
