"""
Verify: hold the read model against the log, and tell what is wrong from what is merely pending.

It may go on beside all traffic. What is read at different moments cannot agree to the event, so whatever seems to
differ is looked at again, by itself, until it is certain.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import Counter as Tally
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING

from chalicelib import codec, counting, event_log, read_model, settings
from chalicelib.event_log import Unreadable
from chalicelib.spool import Spool, some_at_a_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from chalicelib.domain.counter import Counter
    from chalicelib.domain.events import Event
    from chalicelib.counting import Bucket, BucketKey  # FIX
    from chalicelib.spool import Fold

UNCOUNTED = "event not counted"
UNKNOWN = "event counted that the log lacks"
UNREADABLE = "event that cannot be read"
WRONG_SUM = "sum of a bucket wrong"
TOO_LOW = "value too low"
TOO_HIGH = "value too high"
WRONG_VERSION = "version wrong"
UNSETTLED = "counter that moves too fast to be judged"

#: How many differences a report tells one by one. All are in its numbers.
_TOLD = 100

#: Buckets of seconds that are longer ago rarely change.
_RECENT_S = 60

_LOOKS = 20
_BUCKETS_AT_ONCE = 100
_EVENTS_AT_ONCE = 100
_LOOK_AGAIN_AFTER_S = 0.5


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is wrong with one counter. `second` is that of the bucket concerned, in seconds since 1970."""

    kind: str
    counter_id: str
    detail: str
    event_id: str | None = None
    second: int | None = None


@dataclass(slots=True)
class Report:
    """
    What was compared, and what came of it.

    `pending` are events that are not counted and are younger than the lag that is allowed; `lag_s` is the age of the
    oldest event that is not counted. `buckets` are those of the read model, `rows` those of the relational one.
    `numbers` has every difference by kind, and `differences` the first of them. `lacking` are all counters that have
    not counted an event.
    """

    counters: int = 0
    events: int = 0
    buckets: int = 0
    rows: int = 0
    pending: int = 0
    lag_s: float = 0
    numbers: Tally[str] = field(default_factory=Tally)
    differences: list[Difference] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    lacking: set[str] = field(default_factory=set)

    @property
    def holds(self) -> bool:
        """Whether the read model is what the log says, but for what is pending."""
        return not self.numbers

    @property
    def can_be_switched_to(self) -> bool:
        """Whether nothing else is wrong than that the log has events for a newer version, of counters `unreadable`."""
        return set(self.numbers) <= {UNREADABLE}

    def tell(self, difference: Difference) -> None:
        """Take note of it."""
        self.numbers[difference.kind] += 1
        if difference.kind == UNCOUNTED:
            self.lacking.add(difference.counter_id)
        if len(self.differences) < _TOLD:
            self.differences.append(difference)


@dataclass(frozen=True, slots=True)
class Readings:
    """
    What is to be compared: counters, and parts of the log and of the buckets that may be read at the same time.

    The counters are read before all else, and once more at the end.
    """

    counters: Callable[[], Iterable[Counter]]
    log: list[Callable[[], Iterable[Event | Unreadable]]]
    buckets: list[Callable[[], Iterable[Bucket]]]


def everything(parts: int) -> Readings:
    """The whole stage, read in so many parts at once."""
    return Readings(
        read_model.scan_counters,
        [lambda part=part: event_log.scan(part, parts) for part in range(parts)],  # type: ignore[misc]
        [lambda part=part: read_model.scan_buckets(part, parts) for part in range(parts)],  # type: ignore[misc]
    )


def some(counter_ids: Iterable[str]) -> Readings:
    """These counters only."""
    names = list(dict.fromkeys(counter_ids))
    return Readings(
        lambda: map(read_model.counter, names),
        [lambda name=name: event_log.of_counter(name) for name in names],  # type: ignore[misc]
        [lambda name=name: _buckets_of(read_model.counter(name)) for name in names],  # type: ignore[misc]
    )


def verify(  # noqa: PLR0913  (all but the first are named)
    readings: Readings,
    *,
    lag_s: float = 30,
    beside: bool = False,
    waits: bool = True,
    advance: Callable[[int], None] = lambda _: None,
    if_it_holds: Callable[[Iterator[tuple[str, int]]], None] = lambda _: None,
) -> Report:
    """
    The read model of these counters has been compared with the log, event by event.

    An event that is not counted is pending until it is `lag_s` seconds old, and wrong after that; with `waits`, this
    returns once it is known of each. With `beside`, the generation beside the live one is looked at, of those counters
    that have one. `advance` is told how many more things were read, and `if_it_holds` which generation was looked at of
    each counter whose log can be read. Memory does not grow with the log; a temporary file does.

    Raises:
        LogUnavailableError, ReadModelUnavailableError: DynamoDB throttles or does not answer.
    """
    report = Report()
    with contextlib.closing(Spool()) as spool:
        one = _Verification(spool, report, beside, advance)
        one.read(readings)
        one.wait_for_what_is_pending(lag_s, waits=waits)
        one.find_what_was_recorded_since()
        one.compare()
        if report.can_be_switched_to:
            if_it_holds(one for one in spool.generations() if one[0] not in report.unreadable)
    return report


class _Verification:
    def __init__(self, spool: Spool, report: Report, beside: bool, advance: Callable[[int], None]) -> None:
        self._spool = spool
        self._report = report
        self._beside = beside
        self._advance = advance
        self._cut_off = threading.Event()
        self._shards = settings.current().shards
        self._generation_of = functools.lru_cache(maxsize=10_000)(self._look_up_generation)

    def read(self, readings: Readings) -> None:
        # In this order, what buckets hold is in the log that was read, but for the events of the meantime.
        for counter in readings.counters():
            generation, value, version = self._made(counter)
            if generation is not None:
                self._spool.add_counter(counter.counter_id, generation, value, version)
        self._in_threads(self._read_log, readings.log)
        self._in_threads(self._read_buckets, readings.buckets)
        # A counter that is the same now was the same while its buckets were read: only then do they have to agree.
        for counter in readings.counters():
            self._read_again(counter)
        self._generation_of.cache_clear()

    def _read_again(self, counter: Counter) -> None:
        before, now = self._spool.counter(counter.counter_id), self._made(counter)
        generation, value, version = now
        if now == before or generation is None or (self._beside and before is None):
            return
        self._spool.add_counter(counter.counter_id, generation, value, version, moved=True)
        if generation != self._generation_of(counter.counter_id):
            self._spool.forget_buckets(counter.counter_id)
            self._spool.add_buckets(read_model.buckets_of(counter.counter_id, generation))

    def _made(self, counter: Counter) -> tuple[int | None, int, int]:
        """The generation that is looked at, with its value and version."""
        if self._beside:
            return (counter.generations.other, *(counter.other or (0, 0)))
        return counter.generations.live, counter.value, counter.version

    def _look_up_generation(self, counter_id: str) -> int | None:
        return self._spool.generation_of(counter_id) or (None if self._beside else 1)

    def _in_generation(self, key: BucketKey) -> BucketKey:
        return replace(key, generation=self._generation_of(key.counter_id) or 1)

    def _in_threads(self, work: Callable[[Iterable], None], parts: list[Callable[[], Iterable]]) -> None:  # type: ignore[type-arg]
        with ThreadPoolExecutor(max_workers=8) as pool:
            try:
                for done in [pool.submit(lambda part=part: work(part())) for part in parts]:  # type: ignore[misc]
                    done.result()
            except BaseException:
                self._cut_off.set()  # or the end of the block would wait until all is read
                raise

    def _advance_one(self) -> None:
        if self._cut_off.is_set():
            raise CancelledError
        self._advance(1)

    def _read_log(self, events: Iterable[Event | Unreadable]) -> None:
        self._spool.add_events(self._located(events))

    def _located(self, events: Iterable[Event | Unreadable]) -> Iterator[tuple[BucketKey, Event]]:
        for event in events:
            self._advance_one()
            if isinstance(event, Unreadable):
                counter_id = str(codec.owner(event.partition))
                self._report.unreadable.add(counter_id)
                self._report.tell(Difference(UNREADABLE, counter_id, event.reason, event.event_id))
            elif self._generation_of(event.counter_id) is not None:
                yield counting.bucket_of(event, self._shards), event

    def _read_buckets(self, buckets: Iterable[Bucket]) -> None:
        self._spool.add_buckets(self._wanted(buckets))

    def _wanted(self, buckets: Iterable[Bucket]) -> Iterator[Bucket]:
        for bucket in buckets:
            self._advance_one()
            if bucket.key.generation == self._generation_of(bucket.key.counter_id):
                yield bucket

    def wait_for_what_is_pending(self, lag_s: float, *, waits: bool) -> None:
        young_from_ms = looked_again(self._look_again, lag_s, waits=waits)
        # It may have been counted in a generation that was not there yet when the buckets were read.
        for counter_id in self._spool.lagging():
            self._read_again(read_model.counter(counter_id))
        self._generation_of.cache_clear()
        self._look_again(0, young_from_ms)
        for event in self._spool.uncounted():
            self._report.lag_s = max(self._report.lag_s, (_now_ms() - event.recorded_at_ms) / 1000)
            if event.recorded_at_ms >= young_from_ms:
                self._report.pending += 1
                self._spool.forget(event)
            else:
                age_s = (_now_ms() - event.recorded_at_ms) // 1000
                self._tell(UNCOUNTED, event.key, f"by {event.amount}, recorded {age_s} s ago", event.event_id)

    def _look_again(self, oldest_ms: int, young_from_ms: int) -> int:
        """How many events are pending. Those that have been counted since are taken for counted."""
        young = 0
        uncounted = (event for event in self._spool.uncounted() if event.recorded_at_ms >= oldest_ms)
        for events in some_at_a_time(uncounted, _BUCKETS_AT_ONCE):
            keys = {event.key: self._in_generation(event.key) for event in events}
            held = read_model.ids_in(keys.values())
            for event in events:
                if event.event_id in held.get(keys[event.key], ()):
                    self._spool.count(event)
                elif event.recorded_at_ms >= young_from_ms:
                    young += 1
        return young

    def find_what_was_recorded_since(self) -> None:
        for counter_id, unlogged in groupby(self._spool.unlogged(), key=lambda one: one[0].counter_id):
            for some in some_at_a_time(unlogged, _EVENTS_AT_ONCE):
                self._find(counter_id, {event_id: key for key, event_id in some})

    def _find(self, counter_id: str, unlogged: dict[str, BucketKey]) -> None:
        for event in event_log.find_many(counter_id, unlogged.keys()):
            if isinstance(event, Unreadable):
                # Counted by a version that could read it. It was told when the log was read.
                unlogged.pop(event.event_id)
            elif (key := counting.bucket_of(event, self._shards)) == unlogged[event.event_id]:
                unlogged.pop(event.event_id)
                self._spool.add_events([(key, event)])
        for event_id, key in unlogged.items():
            self._tell(UNKNOWN, key, "its bucket holds its id, and the log has no such event", event_id)

    def compare(self) -> None:
        self._report.events, self._report.buckets = self._spool.sizes()
        for key, found, expected in self._spool.wrong_sums():
            self._tell(WRONG_SUM, key, f"it is {found}, and that of its events is {expected}")
        for fold in self._spool.folds():
            self._report.counters += 1
            self._compare_counter(fold)

    def _compare_counter(self, fold: Fold) -> None:
        by_buckets, itself = fold.by_buckets, fold.itself
        if fold.moved or by_buckets != itself:
            settled = self._settled(fold.counter_id)
            if settled is None:
                self._report.tell(Difference(UNSETTLED, fold.counter_id, "it changed each time that it was looked at"))
                return
            by_buckets, itself = settled
        # What the buckets lack or have too much was found event by event: it does not change with traffic.
        value, version = (by_buckets[n] + fold.by_log[n] - fold.by_buckets[n] for n in (0, 1))
        if itself[0] != value:
            kind = TOO_LOW if itself[0] < value else TOO_HIGH
            self._report.tell(Difference(kind, fold.counter_id, f"it is {itself[0]}, and the log adds up to {value}"))
        elif itself[1] != version:
            detail = f"it is {itself[1]}, and the log has {version} events"
            self._report.tell(Difference(WRONG_VERSION, fold.counter_id, detail))

    def _settled(self, counter_id: str) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """What the counter's buckets add up to and what it says itself, at one moment; None if it never held still."""
        recent = _now_ms() // 1000 - _RECENT_S
        old: tuple[int, int] | None = None
        for _ in range(_LOOKS):
            before = read_model.counter(counter_id)
            generation, *itself = self._made(before)
            if generation is None:
                return (0, 0), (0, 0)
            is_whole = old is None
            old = old or _add_up(read_model.buckets_of(counter_id, generation, to_second=recent))
            new = _add_up(read_model.buckets_of(counter_id, generation, from_second=recent))
            if self._made(read_model.counter(counter_id)) != (generation, *itself):
                continue
            by_buckets = (old[0] + new[0], old[1] + new[1])
            if is_whole or by_buckets == tuple(itself):
                return by_buckets, (itself[0], itself[1])
            old = None  # an event of long ago was counted meanwhile
        return None

    def _tell(self, kind: str, key: BucketKey, detail: str, event_id: str | None = None) -> None:
        self._report.tell(Difference(kind, key.counter_id, detail, event_id, key.second))


def looked_again(look_again: Callable[[int, int], int], lag_s: float, *, waits: bool) -> int:
    """
    It was looked again for what is pending until none of it is young, or once. Returns from when on events are young.

    `look_again` takes the oldest and the youngest time of what it is about, in ms since 1970, and gives how many events
    younger than that are pending.
    """
    pause = threading.Event()
    oldest_ms = 0
    while True:
        young_from_ms = _now_ms() - int(lag_s * 1000)
        if not (look_again(oldest_ms, young_from_ms) and waits):
            return young_from_ms
        oldest_ms = max(oldest_ms, young_from_ms)
        pause.wait(_LOOK_AGAIN_AFTER_S)


def _buckets_of(counter: Counter) -> Iterator[Bucket]:
    for generation in counter.generations.kept:
        yield from read_model.buckets_of(counter.counter_id, generation)


def _add_up(buckets: Iterable[Bucket]) -> tuple[int, int]:
    total = number = 0
    for bucket in buckets:
        total += bucket.sum
        number += len(bucket.event_ids)
    return total, number


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
