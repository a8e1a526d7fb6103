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
from itertools import chain, groupby
from typing import TYPE_CHECKING

from chalicelib.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Set

#: The largest integer that every JSON reader keeps exact (RFC 8259, section 6).
LARGEST_AMOUNT = 2**53 - 1

#: The most partitions that one counter's events may be spread over.
MOST_SHARDS = 64

#: The largest time that RFC 3339 can write: the end of the year 9999.
LATEST_MS = 253_402_300_799_999

COUNTER_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}")
EVENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

#: No controls, line ends, marks that turn the direction of text, or halves of characters: the same in every version of
#: Unicode, so that what one function wrote another can read.
_REMARK = re.compile("[^\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]{1,200}")

#: Stands before every event's id.
_LOWEST_ID = "00000000-0000-0000-0000-000000000000"

#: Seconds in a step of a history, by the name of its resolution, the finest first.
RESOLUTIONS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


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
class Adjust:
    """
    Command: add `by`, of either sign, to a counter; or, with `to`, what it lacks to stand there.

    All that carry the same `key` are one adjustment of the counter. `reason` and `who` are for those who read the log.
    """

    counter_id: str
    key: str
    reason: str
    who: str
    by: int = 0
    to: int | None = None


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


@dataclass(frozen=True, slots=True)
class Adjusted:
    """Event: an operator, `who`, added `by`, of either sign and never 0, to a counter for a `reason`."""

    counter_id: str
    event_id: str
    by: int
    recorded_at_ms: int
    reason: str
    who: str

    @property
    def amount(self) -> int:
        """What counting this event adds to the value."""
        return self.by


#: Every kind of event. What they have in common is counted: counter_id, event_id, recorded_at_ms and amount.
Event = Incremented | Adjusted

#: Events to be counted: by counter id, then by bucket, then by event id.
Batch = dict[str, dict["BucketKey", dict[str, "Event"]]]


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

    `other` is the same pair for the generation beside it, which no query has seen if it is `unseen`; `dropping` is one
    whose buckets are being removed, and `newest` the last that was begun: none is begun twice.
    """

    counter_id: str
    value: int = 0
    version: int = 0
    updated_at_ms: int | None = None
    generations: Generations = Generations()
    other: tuple[int, int] | None = None
    unseen: bool = False
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
    """Some buckets of one counter and the counter itself, to be written at once, if it has these generations."""

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


@dataclass(frozen=True, slots=True)
class Tally:
    """What a bucket comes to: how many events are counted for one second (and shard), and what they add up to."""

    second: int
    events: int
    total: int


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds since 1970 from `first` to before `end`, in steps of `step_s` seconds that begin at multiples of it."""

    first: int
    end: int
    step_s: int

    @property
    def steps(self) -> int:
        """How many steps it touches."""
        return max(0, -(-self.end // self.step_s) - self.first // self.step_s)


@dataclass(frozen=True, slots=True)
class Point:
    """A step of a history: the second at which it starts, how many events it has and what they add up to."""

    start: int
    events: int
    total: int


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where an event stands among its counter's: by time, and within a millisecond by id."""

    recorded_at_ms: int
    event_id: str

    @property
    def second(self) -> int:
        """The second of the bucket in which it is counted."""
        return self.recorded_at_ms // 1000


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some counted events, newest first, and where the next page starts: behind `last`, or None at the end."""

    events: list[Event]
    last: Place | None


def is_counter_id(text: object) -> bool:
    """Whether this names a counter: 1 to 64 unreserved URI characters (RFC 3986, section 2.3)."""
    return isinstance(text, str) and COUNTER_ID.fullmatch(text) is not None


def is_event_id(text: object) -> bool:
    """Whether this is a UUID in its canonical text form (RFC 9562, section 4)."""
    return isinstance(text, str) and EVENT_ID.fullmatch(text) is not None


def is_remark(text: object) -> bool:
    """Whether this can be a reason, or say who somebody is: 1 to 200 printable characters, not all of them blank."""
    return isinstance(text, str) and _REMARK.fullmatch(text) is not None and not text.isspace()


def is_adjustment(by: int) -> bool:
    """Whether an adjustment can have this amount."""
    return 0 < abs(by) <= LARGEST_AMOUNT


def decide(command: Increment, event_id: str, now_ms: int) -> Event:
    """The event that this command leads to, if it is not refused. Who names it and when it is are the caller's."""
    return Incremented(command.counter_id, event_id, command.by, now_ms)


def decide_adjustment(command: Adjust, counter: Counter, event_id: str, now_ms: int) -> Event | None:
    """
    The event that this command leads to while the counter is in this state; None if it stands at `to` already.

    Raises:
        InvalidRequestError: the amount is 0 or beyond what an event can hold.
    """
    by = command.by if command.to is None else command.to - counter.value
    if by == 0 and command.to is not None:
        return None
    if not is_adjustment(by):
        raise InvalidRequestError(f"An adjustment is from -(2**53 - 1) to 2**53 - 1 and not 0; this one would be {by}.")
    return Adjusted(command.counter_id, event_id, by, now_ms, command.reason, command.who)


def is_adjustment_by(command: Adjust, event: Event) -> bool:
    """Whether this event, which has the command's id, is what the command asked for when it was first sent."""
    same_amount = command.to is not None or event.amount == command.by
    return isinstance(event, Adjusted) and event.reason == command.reason and same_amount


def says_the_same(one: Event, other: Event) -> bool:
    """Whether two events with one id are one: all but the time at which each was attempted, and by whom."""
    return _said(one) == _said(other)


def _said(event: Event) -> Event:
    said = replace(event, recorded_at_ms=0)
    return replace(said, who="") if isinstance(said, Adjusted) else said


def shard_of(event_id: str, shards: int) -> int:
    """The shard, 0 to `shards` - 1, of a counter's partitions that an event belongs to. Its id alone decides."""
    return int(event_id[-12:], 16) % shards


def bucket_of(event: Event, shards: int, generation: int = 1) -> BucketKey:
    """The bucket in which this event is counted: the second in which it was recorded."""
    return BucketKey(event.counter_id, shard_of(event.event_id, shards), event.recorded_at_ms // 1000, generation)


def in_buckets(events: Iterable[Event], shards: int) -> Batch:
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


def groups(batch: Batch, refusals: Mapping[str, int], most_items: int) -> list[list[str]]:
    """
    Which of a batch's counters are written together, group by group, in the order in which groups are to be written.

    `refusals` has the counters that are still to be counted, and how often each was refused. The counters of a group
    were refused equally often, and have at most `most_items` items in all: half of that after one refusal, a quarter
    after two, and so on. A counter that has more is by itself.

    Groups are filled in the order of ids, so two workers with the same counters have whole groups in common, and a
    rival in one is none in the others. The order of groups is by chance, the same whenever the same events are counted,
    so the two begin at different ones.
    """
    by_refusals: dict[int, dict[str, int]] = defaultdict(dict)
    for counter_id, number in refusals.items():
        by_refusals[number][counter_id] = len(batch[counter_id]) + 1  # the counter itself is an item, too
    found = [group for number, items in by_refusals.items() for group in _together(items, most_items >> number)]
    return sorted(found, key=lambda group: _chance_of(batch[group[0]]))


def _together(items: Mapping[str, int], most_items: int) -> list[list[str]]:
    groups: list[list[str]] = []
    room = 0
    for counter_id in sorted(items):
        if items[counter_id] > room:
            groups.append([])
            room = most_items
        groups[-1].append(counter_id)
        room -= items[counter_id]
    return groups


def _chance_of(buckets: Mapping[BucketKey, Mapping[str, Event]]) -> str:
    """The random end of the first event's id."""
    return next(iter(next(iter(buckets.values()))))[-12:]


def _bucket_updates(
    key: BucketKey, events: Mapping[str, Event], counted: Mapping[BucketKey, Set[str]], generations: Generations
) -> Iterator[BucketUpdate]:
    for bucket in in_each(generations, [key]):
        yield bucket_update(bucket, events, counted.get(bucket, frozenset()))


def bucket_update(key: BucketKey, events: Mapping[str, Event], counted: Set[str]) -> BucketUpdate:
    """What a bucket lacks of these events, given the ids that it was seen to hold."""
    new = {event_id: event for event_id, event in events.items() if event_id not in counted}
    return BucketUpdate(key, frozenset(new), sum(event.amount for event in new.values()), len(counted))


def points(tallies: Iterable[Tally], step_s: int) -> list[Point]:
    """A history in steps of so many seconds, ascending; only steps that hold events."""
    steps: dict[int, tuple[int, int]] = {}
    for tally in tallies:
        start = tally.second // step_s * step_s
        events, total = steps.get(start, (0, 0))
        steps[start] = (events + tally.events, total + tally.total)
    return [Point(start, *steps[start]) for start in sorted(steps)]


def end_that_fits(read: Iterable[tuple[int, int]], reached: int, most_bytes: float, span: Span) -> int:
    """
    An end for which a span's buckets are at most so many bytes, as far as can be told from what was read of it.

    `read` is the second and the size of each bucket that was, and has all of them before the second `reached`. The end
    is where a step starts, if it can be.
    """
    end = reached
    for second, size in sorted(read):
        most_bytes -= size
        if most_bytes < 0:
            end = min(end, second)
            break
    aligned = end // span.step_s * span.step_s
    return aligned if aligned > span.first else max(end, span.first + 1)


def place_of(event: Event) -> Place:
    """Where this event stands among its counter's."""
    return Place(event.recorded_at_ms, event.event_id)


def ids_for_page(buckets: Iterable[Bucket], limit: int, before: Place | None) -> tuple[set[str], Place | None]:
    """
    Which events have to be read for a page of so many, and the place behind which further ones stand, if there are any.

    The buckets come newest first, from the second of `before` on back. They are taken only as far as they are needed,
    and each as a whole, for only the events themselves tell their order within a second. Of the second of `before` any
    number may have been on earlier pages, so that it is read besides.
    """
    ids: set[str] = set()
    enough = 0
    oldest = Place(0, _LOWEST_ID)
    for second, together in groupby(buckets, key=lambda bucket: bucket.key.second):
        if enough >= limit:
            return ids, oldest
        of_second = {event_id for bucket in together for event_id in bucket.event_ids}
        ids |= of_second
        enough += 0 if before is not None and second == before.second else len(of_second)
        oldest = Place(second * 1000, _LOWEST_ID)
    return ids, None


def page_of_events(events: Iterable[Event], limit: int, before: Place | None, older: Place | None) -> EventPage:
    """The newest of these events that stand behind `before`, given where further ones stand that were not read."""
    to_come = [event for event in events if before is None or place_of(event) < before]
    page = sorted(to_come, key=place_of, reverse=True)[:limit]
    if len(page) == len(to_come) and older is None:
        return EventPage(page, None)
    return EventPage(page, place_of(page[-1]) if page else older)


def newly_counted(updates: Iterable[CounterUpdate]) -> frozenset[tuple[str, str]]:
    """The events that queries see by these updates and did not before, each as its counter's id and its own."""
    return frozenset(
        (update.counter_id, event_id)
        for update in updates
        for bucket in update.buckets
        if bucket.key.generation == update.generations.live
        for event_id in bucket.event_ids
    )


def oldest_ms(events: Iterable[Event], new: Set[tuple[str, str]]) -> int | None:
    """When the oldest of these events that are new was recorded; None if none of them is."""
    return min((event.recorded_at_ms for event in events if (event.counter_id, event.event_id) in new), default=None)
