"""
Simulate where events wait between being accepted and being counted: a discrete-event model of the stream, `publish`,
the queue, `project` and the items of one counter.

Events are simulated batch by batch. The events of a shard come evenly, or at random if they are few, so a batch is
described by its first and its last event and their number. A shard is read by one run of `publish` at a time, which
begins when a batch is full or its window is over. Each batch is a message. Each of the queue's pollers takes messages,
up to a batch, and runs `project`.

For one counter, the requests of `project` are simulated one by one. A shard of the stream is a part of the counter, and
`domain.archive` decides what is written to it (benchmarks/measure/steady_state.py). A write is refused if a transaction
holds the item, or if the item has changed so that the write's condition fails; then `project` waits at random and
tries again, as the
application does. Many counters are taken to meet no conflicts.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import simpy

from benchmarks.measure.steady_state import Shelf, Units
from benchmarks.models import limits
from chalicelib.domain.archive import RECENT_MAX, Addition
from chalicelib.domain.entries import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from simpy import Environment, Event, Store

    Steps = Generator[Event, object, None]

#: As the application tries again: `retries.attempts`, and `_TRIES` of the read model.
_TRIES = 12
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.01, 0.5

#: Below so many a second, the events of a shard come at random.
_EVENLY_FROM = 100

_BEGAN_MS = 1_700_000_000_000

#: Of each batch, the lags of so many events, evenly chosen, stand for those of all.
_SAMPLES = 5


@dataclass(frozen=True, slots=True)
class System:
    """
    What is simulated. Times are in seconds. `publish_s` and `project_s` are how long a run takes for so many events; of
    one counter, `project_s` leaves out the requests, of which each takes `request_s`.
    """

    rate: float
    shards: int
    one_counter: bool
    window_s: float
    stream_batch: int
    queue_batch: int
    publish_s: Callable[[int], float]
    project_s: Callable[[int], float]
    request_s: float
    poll_s: float = limits.STREAM_POLL_S
    first_pollers: int = limits.FIRST_POLLERS
    pollers_more_a_minute: int = limits.POLLERS_MORE_A_MINUTE
    most_pollers: int = int(limits.POLLERS.most)


@dataclass(slots=True)
class Result:
    """
    The outcome. `lags_s` has seconds from accepted to counted, each with how many events it is for, and `oldest_s`
    those of the first event of each run of `project`. `waiting` is how many events are accepted and not counted at the
    end, and `given_up` how many were left to the queue at some time. `units` are of one counter only, and include
    refused requests.
    """

    counted: int = 0
    waiting: int = 0
    published: int = 0
    publishes: int = 0
    runs: int = 0
    refused: int = 0
    given_up: int = 0
    most_pollers: int = 0
    units: Units = field(default_factory=Units)
    lags_s: list[tuple[float, float]] = field(default_factory=list)
    oldest_s: list[float] = field(default_factory=list)

    def lag_s(self, share: float) -> float:
        """The lag that so large a share of the events does not exceed."""
        ordered = sorted(self.lags_s)
        wanted = share * sum(weight for _, weight in ordered)
        reached = itertools.accumulate(weight for _, weight in ordered)
        return next((lag for (lag, _), so_far in zip(ordered, reached, strict=True) if so_far >= wanted), math.nan)

    @property
    def batch(self) -> float:
        """How many events were published together, on the average."""
        return self.published / max(1, self.publishes)


def simulated(system: System, *, warm_up_s: float, measured_s: float, seed: int = 1) -> Result:
    """The system for so long, seen after it has warmed up."""
    environment = simpy.Environment()
    run = _Run(system, environment, random.Random(seed), begins_s=warm_up_s)
    environment.run(until=warm_up_s + measured_s)
    accepted = sum(arrivals.number_by(warm_up_s + measured_s) for arrivals in run.arrivals)
    run.result.waiting = accepted - run.counted
    return run.result


@dataclass(frozen=True, slots=True)
class _Message:
    shard: int
    events: int
    first_s: float
    last_s: float
    first_id: int
    is_repeated: bool = False

    def entries(self) -> Iterator[Entry]:
        """Yield the entries of its events, as they come evenly."""
        each_s = (self.last_s - self.first_s) / max(1, self.events - 1)
        for number in range(self.events):
            at_ms = _BEGAN_MS + int(1000 * (self.first_s + number * each_s))
            yield Entry(at_ms, (self.first_id + number).to_bytes(16, "big"), 1)


@dataclass(slots=True)
class _Item:
    """A part of the counter, and until when a transaction holds it."""

    shelf: Shelf = field(default_factory=Shelf)
    busy_until_s: float = 0.0


class _Arrivals:
    """The events of one shard, by their number from 0 on."""

    def __init__(self, rate: float, chance: random.Random) -> None:
        self._rate = rate
        self._phase = chance.random()
        self._chance = chance
        self._at_random: list[float] = []

    def time_of(self, number: int) -> float:
        if self._rate >= _EVENLY_FROM:
            return (number + self._phase) / self._rate
        while len(self._at_random) <= number:
            before = self._at_random[-1] if self._at_random else 0.0
            self._at_random.append(before + self._chance.expovariate(self._rate))
        return self._at_random[number]

    def number_by(self, time_s: float) -> int:
        if self._rate >= _EVENLY_FROM:
            return max(0, math.floor(time_s * self._rate - self._phase) + 1)
        while not self._at_random or self._at_random[-1] <= time_s:
            self.time_of(len(self._at_random))
        return bisect.bisect_right(self._at_random, time_s)


class _Run:
    def __init__(self, system: System, environment: Environment, chance: random.Random, begins_s: float) -> None:
        self.result = Result()
        self.counted = 0
        self._system = system
        self._now = environment
        self._chance = chance
        self._begins_s = begins_s
        self._queue: Store = simpy.Store(environment)
        self._shelves = [_Item() for _ in range(system.shards)]
        self.arrivals = [_Arrivals(system.rate / system.shards, chance) for _ in range(system.shards)]
        for shard in range(system.shards):
            environment.process(self._publish(shard))
        environment.process(self._pollers())

    def _publish(self, shard: int) -> Steps:
        system, arrivals = self._system, self.arrivals[shard]
        phase_s = self._chance.uniform(0, system.poll_s)
        # No two shards begin together.
        yield self._now.timeout(self._chance.uniform(0, system.window_s))
        taken = 0

        def polled(time_s: float) -> float:
            if time_s <= self._now.now or not system.poll_s:
                return max(time_s, self._now.now)
            return math.ceil((time_s - phase_s) / system.poll_s) * system.poll_s + phase_s

        while True:
            seen_s = polled(arrivals.time_of(taken))
            full_s = polled(arrivals.time_of(taken + system.stream_batch - 1))
            yield self._until(max(seen_s, min(full_s, seen_s + system.window_s)))
            events = min(system.stream_batch, arrivals.number_by(self._now.now) - taken)
            yield self._now.timeout(system.publish_s(events))
            first_s, last_s = arrivals.time_of(taken), arrivals.time_of(taken + events - 1)
            if self._now.now >= self._begins_s:
                self.result.publishes += 1
                self.result.published += events
            self._queue.put(_Message(shard, events, first_s, last_s, taken))
            taken += events

    def _pollers(self) -> Steps:
        system, running = self._system, 0
        for allowed in itertools.count(system.first_pollers, system.pollers_more_a_minute // 60):
            wanted = running == 0 or bool(self._queue.items)
            while wanted and running < min(allowed, system.most_pollers):
                self._now.process(self._project())
                running += 1
            self.result.most_pollers = running
            yield self._now.timeout(1)

    def _project(self) -> Steps:
        while True:
            messages: list[_Message] = [(yield self._queue.get())]  # type: ignore[list-item]
            while self._queue.items and len(messages) < self._system.queue_batch:
                messages.append((yield self._queue.get()))  # type: ignore[arg-type]
            self.result.runs += self._now.now >= self._begins_s
            yield self._now.timeout(self._system.project_s(sum(message.events for message in messages)))
            if not self._system.one_counter:
                self._count(messages)
                continue
            by_shard: dict[int, list[_Message]] = defaultdict(list)
            for message in messages:
                by_shard[message.shard].append(message)
            yield simpy.AllOf(
                self._now, [self._now.process(self._write(shard, of_part)) for shard, of_part in by_shard.items()]
            )

    def _write(self, shard: int, messages: list[_Message]) -> Steps:
        """Count messages of one part, as `writer.count` does, or leave them to the queue after too many conflicts."""
        item = self._shelves[shard]
        entries = frozenset(entry for message in messages for entry in message.entries())
        is_known = False
        if len(entries) <= RECENT_MAX and not any(message.is_repeated for message in messages):
            is_free = self._now.now >= item.busy_until_s
            yield self._now.timeout(self._system.request_s)
            added = item.shelf.add(entries) if is_free else None
            if added is not None:
                self._asked(added)
                self._count(messages)
                return
            self._refused(item.shelf.refusal())
            is_known = is_free  # the refusal returned the item
        for attempt in range(_TRIES):
            if attempt:
                longest_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)
                yield self._now.timeout(self._chance.uniform(0, longest_s))
            if not is_known:
                yield self._now.timeout(self._system.request_s)
                self._asked(Units(read=1, requests=1))
            is_known = False
            plan, read = item.shelf.plan(entries, _BEGAN_MS + int(1000 * self._now.now))
            self._asked(read)
            if read.requests:
                yield self._now.timeout(read.requests * self._system.request_s)
            if plan is None:
                self._count(messages)
                return
            is_free = self._now.now >= item.busy_until_s
            if is_free and not isinstance(plan, Addition):
                item.busy_until_s = self._now.now + self._system.request_s
            yield self._now.timeout(self._system.request_s)
            if is_free and item.shelf.holds(plan):
                self._asked(item.shelf.write(plan))
                self._count(messages)
                return
            self._refused(
                item.shelf.refusal()
                if isinstance(plan, Addition)
                else item.shelf.refusal().plus(Units(write=item.shelf.plan_units(plan)))
            )
        if self._now.now >= self._begins_s:
            self.result.given_up += sum(message.events for message in messages)
        self._now.process(self._deliver_again(messages))

    def _asked(self, units: Units) -> None:
        if self._now.now >= self._begins_s:
            self.result.units = self.result.units.plus(units)

    def _refused(self, units: Units) -> None:
        self._asked(units)
        self.result.refused += self._now.now >= self._begins_s

    def _deliver_again(self, messages: list[_Message]) -> Steps:
        yield self._now.timeout(limits.VISIBILITY_TIMEOUT_S)
        for message in messages:
            self._queue.put(replace(message, is_repeated=True))

    def _count(self, messages: list[_Message]) -> None:
        self.counted += sum(message.events for message in messages)
        if self._now.now < self._begins_s:
            return
        self.result.oldest_s.append(self._now.now - min(message.first_s for message in messages))
        for message in messages:
            self.result.counted += message.events
            for sample in range(_SAMPLES):
                at_s = message.first_s + (sample + 0.5) / _SAMPLES * (message.last_s - message.first_s)
                self.result.lags_s.append((self._now.now - at_s, message.events / _SAMPLES))

    def _until(self, time_s: float) -> Event:
        return self._now.timeout(max(0.0, time_s - self._now.now))
