"""
Simulate the events of the stream, `publish`, the queue, `project` and a counter's items, for the lag and its causes.

Events are simulated in batches. The events of a shard arrive evenly, or at random if they are few. The first event, the
last event and the number of events therefore describe a batch. One run of `publish` at a time reads a shard, and begins
when a batch is full or its window has passed. Each batch is sent as one message. Each poller of the queue receives up
to `queue_batch` messages and runs `project`.

For one counter, each request of `project` is simulated. A shard of the stream represents a part of the counter, and
`domain.archive` plans the writes (benchmarks/models/steady_state.py). A write conflicts if a transaction locks the
item, or if a concurrent write has changed it so that the condition fails. `project` then waits for a random time and
retries, as the application does. With many counters, the model assumes no conflicts.
"""

import bisect
import itertools
import math
import random
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import simpy

from benchmarks.models import limits
from benchmarks.models.steady_state import InMemoryPart, Units
from chalicelib.domain.archive import RECENT_MAX, Addition
from chalicelib.domain.entries import Entry

Steps = Generator[simpy.Event, Any, None]

#: The retries of the application (`retries.with_backoff`, and `_ATTEMPTS` of the read model's writer).
_TRIES = 12
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.01, 0.5

#: Below this rate per second, the events of a shard arrive at random.
_EVENLY_FROM = 100

_BEGAN_MS = 1_700_000_000_000

#: The number of lags, evenly chosen, that represent the lags of a batch.
_SAMPLES = 5


@dataclass(frozen=True, slots=True)
class System:
    """
    The simulated system, with times in seconds.

    `publish_s` and `project_s` return the time of a run with a given number of events. For one counter, `project_s`
    excludes requests, each of which takes `request_s`.
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
    The outcome after the warm-up.

    `lags_s` contains lags, each with its number of events, and `oldest_s` the lag of the first event each time that
    messages are counted. `waiting` events are still uncounted at the end. `retries_exhausted` events were left to the
    queue after the last attempt. `units` are only known for one counter, and include conflicts.
    """

    counted: int = 0
    waiting: int = 0
    published: int = 0
    publishes: int = 0
    runs: int = 0
    conflicts: int = 0
    retries_exhausted: int = 0
    units: Units = field(default_factory=Units)
    lags_s: list[tuple[float, float]] = field(default_factory=list)
    oldest_s: list[float] = field(default_factory=list)

    def lag_s(self, share: float) -> float:
        """Return the lag that this share of the events does not exceed."""
        ordered = sorted(self.lags_s)
        wanted = share * sum(weight for _, weight in ordered)
        reached = itertools.accumulate(weight for _, weight in ordered)
        return next((lag for (lag, _), so_far in zip(ordered, reached, strict=True) if so_far >= wanted), math.nan)

    @property
    def batch(self) -> float:
        """The mean number of events that are published together."""
        return self.published / max(1, self.publishes)


def simulate(system: System, *, warm_up_s: float, measured_s: float, seed: int = 1) -> Result:
    """Run the system, and return its outcome after the warm-up."""
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
    is_redelivered: bool = False

    def entries(self) -> Iterator[Entry]:
        """Yield the entries of the message's events, evenly spread."""
        step_s = (self.last_s - self.first_s) / max(1, self.events - 1)
        for number in range(self.events):
            at_ms = _BEGAN_MS + int(1000 * (self.first_s + number * step_s))
            yield Entry(at_ms, (self.first_id + number).to_bytes(16, "big"), 1)


class _Arrivals:
    """The times of a shard's events, which are numbered from 0."""

    def __init__(self, rate: float, chance: random.Random) -> None:
        self._rate = rate
        self._phase = chance.random()
        self._chance = chance
        self._random_times: list[float] = []

    def find_time(self, number: int) -> float:
        if self._rate >= _EVENLY_FROM:
            return (number + self._phase) / self._rate
        times = self._random_times
        while len(times) <= number:
            times.append((times[-1] if times else 0.0) + self._chance.expovariate(self._rate))
        return times[number]

    def number_by(self, time_s: float) -> int:
        if self._rate >= _EVENLY_FROM:
            return max(0, math.floor(time_s * self._rate - self._phase) + 1)
        while not self._random_times or self._random_times[-1] <= time_s:
            self.find_time(len(self._random_times))
        return bisect.bisect_right(self._random_times, time_s)


class _Run:
    def __init__(self, system: System, environment: simpy.Environment, chance: random.Random, begins_s: float) -> None:
        self.result = Result()
        self.counted = 0
        self._system = system
        self._environment = environment
        self._chance = chance
        self._begins_s = begins_s
        self._queue: simpy.Store = simpy.Store(environment)
        self._parts = [InMemoryPart() for _ in range(system.shards)]
        self._held_until_s = [0.0] * system.shards
        self.arrivals = [_Arrivals(system.rate / system.shards, chance) for _ in range(system.shards)]
        for shard in range(system.shards):
            environment.process(self._publish(shard))
        environment.process(self._start_pollers())

    @property
    def _now_s(self) -> float:
        return float(self._environment.now)

    @property
    def _is_warm(self) -> bool:
        return self._now_s >= self._begins_s

    def _wait(self, seconds: float) -> simpy.Event:
        return self._environment.timeout(max(0.0, seconds))

    def _publish(self, shard: int) -> Steps:
        system, arrivals = self._system, self.arrivals[shard]
        phase_s = self._chance.uniform(0, system.poll_s)
        yield self._wait(self._chance.uniform(0, system.window_s))  # shards begin at different times
        published = 0

        def next_poll_s(time_s: float) -> float:
            if time_s <= self._now_s or not system.poll_s:
                return max(time_s, self._now_s)
            return math.ceil((time_s - phase_s) / system.poll_s) * system.poll_s + phase_s

        while True:
            first_s = next_poll_s(arrivals.find_time(published))
            full_s = next_poll_s(arrivals.find_time(published + system.stream_batch - 1))
            yield self._wait(max(first_s, min(full_s, first_s + system.window_s)) - self._now_s)
            events = min(system.stream_batch, arrivals.number_by(self._now_s) - published)
            yield self._wait(system.publish_s(events))
            if self._is_warm:
                self.result.publishes += 1
                self.result.published += events
            times_s = arrivals.find_time(published), arrivals.find_time(published + events - 1)
            self._queue.put(_Message(shard, events, *times_s, published))
            published += events

    def _start_pollers(self) -> Steps:
        system, running = self._system, 0
        for allowed in itertools.count(system.first_pollers, system.pollers_more_a_minute // 60):
            wanted = running == 0 or bool(self._queue.items)
            while wanted and running < min(allowed, system.most_pollers):
                self._environment.process(self._project())
                running += 1
            yield self._wait(1)

    def _project(self) -> Steps:
        while True:
            messages: list[_Message] = [(yield self._queue.get())]
            while self._queue.items and len(messages) < self._system.queue_batch:
                messages.append((yield self._queue.get()))
            self.result.runs += self._is_warm
            yield self._wait(self._system.project_s(sum(message.events for message in messages)))
            if not self._system.one_counter:
                self._count(messages)
                continue
            by_shard: dict[int, list[_Message]] = defaultdict(list)
            for message in messages:
                by_shard[message.shard].append(message)
            writes = [self._environment.process(self._write(*part)) for part in by_shard.items()]
            yield simpy.AllOf(self._environment, writes)

    def _write(self, shard: int, messages: list[_Message]) -> Steps:
        """Count messages of one part like `writer.count`, or leave them to the queue after the last attempt."""
        part, request_s = self._parts[shard], self._system.request_s
        entries = frozenset(entry for message in messages for entry in message.entries())
        is_read = False
        if len(entries) <= RECENT_MAX and not any(message.is_redelivered for message in messages):
            is_free = self._now_s >= self._held_until_s[shard]
            yield self._wait(request_s)
            added = part.add(entries) if is_free else None
            if added is not None:
                self._add_units(added)
                self._count(messages)
                return
            self._add_units(part.refusal_units())
            is_read = is_free  # a failed condition returns the item
        for attempt in range(_TRIES):
            if attempt:
                yield self._wait(self._chance.uniform(0, min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)))
            if not is_read:
                yield self._wait(request_s)
                self._add_units(Units(read=1, requests=1))
            is_read = False
            plan, read = part.plan(entries, _BEGAN_MS + int(1000 * self._now_s))
            self._add_units(read)
            if read.requests:
                yield self._wait(read.requests * request_s)
            if plan is None:
                self._count(messages)
                return
            is_free = self._now_s >= self._held_until_s[shard]
            if is_free and not isinstance(plan, Addition):
                self._held_until_s[shard] = self._now_s + request_s
            yield self._wait(request_s)
            if is_free and part.holds(plan):
                self._add_units(part.write(plan))
                self._count(messages)
                return
            self._add_units(part.refusal_units(plan))
        if self._is_warm:
            self.result.retries_exhausted += sum(message.events for message in messages)
        self._environment.process(self._redeliver(messages))

    def _add_units(self, units: Units) -> None:
        if self._is_warm:
            self.result.units = self.result.units.add(units)
            self.result.conflicts += int(units.conflicts)

    def _redeliver(self, messages: list[_Message]) -> Steps:
        yield self._wait(limits.VISIBILITY_TIMEOUT_S)
        for message in messages:
            self._queue.put(replace(message, is_redelivered=True))

    def _count(self, messages: list[_Message]) -> None:
        self.counted += sum(message.events for message in messages)
        if not self._is_warm:
            return
        self.result.oldest_s.append(self._now_s - min(message.first_s for message in messages))
        for message in messages:
            self.result.counted += message.events
            for sample in range(_SAMPLES):
                at_s = message.first_s + (sample + 0.5) / _SAMPLES * (message.last_s - message.first_s)
                self.result.lags_s.append((self._now_s - at_s, message.events / _SAMPLES))
