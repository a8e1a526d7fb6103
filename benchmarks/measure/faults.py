"""
Run each design under each fault, with the engine and the faults of the resilience tests.

Messages are delivered at least once, until the worker acknowledges them. Each counter's value must then be the sum of
its events. The seeds of the schedules are fixed, so every run gives the same figures.
"""

import functools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.awsrequest import AWSResponse

from benchmarks import alternatives
from benchmarks.measure import designs, environment, workloads
from benchmarks.measure.designs import Design
from benchmarks.models.limits import VISIBILITY_TIMEOUT_S
from chalicelib.domain.events import Incremented
from testkit import faults, scheduler
from testkit.builders import A_TIME_MS
from testkit.engine import Engine
from testkit.faults import Attempt, Fault

#: One run with a fault at one point, from the first event to the last acknowledgement.
Script = Callable[["Trial"], None]

#: A design that has not acknowledged a message after this number of deliveries is assumed never to acknowledge it.
_MOST_DELIVERIES: Final = 10

_MINUTE_S: Final = 60
_DAY_S: Final = 24 * 3600


class NeverAcknowledgedError(Exception):
    """The worker failed at every delivery."""


@dataclass
class Trial:
    """A design with two new counters, and two events for each counter."""

    engine: Engine
    design: Design
    events: list[Incremented] = field(default_factory=list)

    def __post_init__(self) -> None:
        alternatives.provision(self.engine.client("dynamodb"))
        counters = [workloads.new_counter_id(), workloads.new_counter_id()]
        for number in range(2):
            for counter_id in counters:
                event_id = workloads.new_event(counter_id, A_TIME_MS).event_id
                self.events.append(Incremented(counter_id, event_id, number + 1, A_TIME_MS + number * 1000))

    def send(self, events: Sequence[Incremented], fault: Fault = faults.no_fault) -> list[str]:
        """Send these events, with the fault on the first attempt. Drain the queue, and return its message bodies."""
        self._repeat(lambda: self.design.send(events), fault)
        return designs.drain(self.engine, self.design.queue_url)

    def work(self, bodies: Sequence[str], fault: Fault = faults.no_fault) -> None:
        """Deliver these messages as one batch until they are acknowledged, with the fault on the first delivery."""
        work = self.design.worker(0)
        self._repeat(lambda: work(bodies), fault)

    def work_concurrently(self, batches: Sequence[Sequence[str]], chance: random.Random) -> None:
        """Interleave a worker for each batch at random, request by request. Redeliver batches whose workers fail."""
        workers: dict[str, Callable[[], Any]] = {
            str(number): functools.partial(self.design.worker(number), bodies) for number, bodies in enumerate(batches)
        }
        ran = scheduler.run(self.engine, workers, chance.randrange)
        for name, bodies in zip(workers, batches, strict=True):
            if isinstance(ran.results[name], Exception):
                designs.pass_time(self.engine, VISIBILITY_TIMEOUT_S)
                self.work(bodies)

    def error(self) -> int:
        """Return the largest error of a counter: positive if its value is too high."""
        errors = [0]
        for counter_id in {event.counter_id for event in self.events}:
            expected = sum(event.by for event in self.events if event.counter_id == counter_id)
            errors.append(self.design.value(counter_id) - expected)
        return max(errors, key=abs)

    def _repeat(self, act: Callable[[], None], fault: Fault) -> None:
        for gate in (fault, *[faults.no_fault] * (_MOST_DELIVERIES - 1)):
            try:
                with designs.pass_gate(self.engine, gate):
                    return act()
            except (Exception, faults.DiedError):  # noqa: BLE001  (after any failure, delivery is repeated)
                designs.pass_time(self.engine, VISIBILITY_TIMEOUT_S)
        raise NeverAcknowledgedError


@dataclass
class Trials:
    """The trials of one design, and the operations that its sender and its worker request without a fault."""

    engine: Engine
    design: Design
    sent: list[str] = field(default_factory=list)
    worked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        Trial(self.engine, self.design).send([])  # caches the queue URLs
        trial = Trial(self.engine, self.design)
        trial.work(trial.send(trial.events, _record(self.sent)), _record(self.worked))

    def count_outcomes(self, fault: str) -> dict[str, int]:
        """Count the runs with this fault, and the runs that end with a wrong value or without an acknowledgement."""
        outcomes = {"runs": 0, "too_high": 0, "too_low": 0, "never_acknowledged": 0}
        for script in FAULTS[fault](self):
            trial = Trial(self.engine, self.design)
            outcomes["runs"] += 1
            try:
                script(trial)
            except NeverAcknowledgedError:
                outcomes["never_acknowledged"] += 1
            error = trial.error()
            outcomes["too_high"] += error > 0
            outcomes["too_low"] += error < 0
        return outcomes


def measure(*, quick: bool) -> dict[str, dict[str, dict[str, int]]]:  # noqa: ARG001  (there is no smaller sample)
    """Count the outcomes for each design and fault, on a separate engine."""
    engine = environment.new_engine()
    with designs.connect(engine) as every:
        return {
            design.name: {fault: trials.count_outcomes(fault) for fault in FAULTS}
            for design in environment.show_progress(every, "Faults")
            for trials in [Trials(engine, design)]
        }


def _record(operations: list[str]) -> Fault:
    def record(attempt: Attempt) -> AWSResponse:
        operations.append(attempt.operation)
        return attempt.carry_out()

    return record


def _regroup(seed: int, trial: Trial) -> None:
    """Deliver each message one to three times, shuffled and in random batches."""
    chance = random.Random(seed)
    bodies = [body for event in trial.events for body in trial.send([event])]
    copies = [body for body in bodies for _ in range(chance.randint(1, 3))]
    chance.shuffle(copies)
    while copies:
        size = chance.randint(1, len(copies))
        batch, copies = copies[:size], copies[size:]
        trial.work(batch)


def _repeat_later(seconds: int, is_sent: bool, trial: Trial) -> None:
    """Count the events. After `seconds`, deliver their messages again, or with `is_sent`, send the events again."""
    bodies = trial.send(trial.events)
    trial.work(bodies)
    designs.pass_time(trial.engine, seconds)
    trial.work(trial.send(trial.events) if is_sent else bodies)


def _race(same_messages: bool, seed: int, trial: Trial) -> None:
    """Run two workers with the same messages, or with different messages of the same counters."""
    first, second = trial.send(trial.events[:2]), trial.send(trial.events[2:])
    batches = [[*first, *second]] * 2 if same_messages else [first, second]
    trial.work_concurrently(batches, random.Random(seed))


def _each_request(
    *kinds: Fault, attempts: Sequence[bool] = (False, True), only: Sequence[str] = ()
) -> Callable[[Trials], Iterator[Script]]:
    """Inject the fault into each request of the sender and of the worker, on its first or on every attempt."""

    def strike(at: int, fault: Fault, every_attempt: bool, is_sender: bool, trial: Trial) -> None:
        disturbance = faults.Disturbance(at, fault, every_attempt)
        bodies = trial.send(trial.events, disturbance if is_sender else faults.no_fault)
        trial.work(bodies, faults.no_fault if is_sender else disturbance)

    def scripts(trials: Trials) -> Iterator[Script]:
        for is_sender, operations in ((True, trials.sent), (False, trials.worked)):
            for at, operation in enumerate(operations):
                if not only or operation in only:
                    for fault in kinds:
                        for every_attempt in attempts:
                            yield functools.partial(strike, at, fault, every_attempt, is_sender)

    return scripts


#: The runs with each fault. A request fault is injected into each request; schedules are random, with fixed seeds.
FAULTS: dict[str, Callable[[Trials], Iterator[Script]]] = {
    "nothing goes wrong": lambda _: iter([lambda trial: trial.work(trial.send(trial.events))]),
    "an event is sent twice, and both are in one batch": lambda _: iter(
        [lambda trial: trial.work(trial.send([*trial.events, *trial.events]))]
    ),
    "a batch is delivered again": lambda _: iter([functools.partial(_repeat_later, 0, False)]),
    "messages are redelivered, in another order and grouping": lambda _: (
        functools.partial(_regroup, seed) for seed in range(10)
    ),
    "a function crashes before one of its requests": _each_request(faults.die_before, attempts=[True]),
    "a function crashes after one of its requests": _each_request(faults.die_after, attempts=[True]),
    "a request never arrives": _each_request(faults.drop_request),
    "a response is lost": _each_request(faults.lose_answer),
    "a request is throttled": _each_request(faults.throttle, faults.exceed_throughput),
    "a write is in conflict with a transaction": _each_request(
        faults.meet_transaction, only=("PutItem", "UpdateItem", "TransactWriteItems")
    ),
    "two workers have the same messages at once": lambda _: (
        functools.partial(_race, True, seed) for seed in range(15)
    ),
    "two workers count on the same counters at once": lambda _: (
        functools.partial(_race, False, seed) for seed in range(15)
    ),
    "an event is redelivered after 6 minutes": lambda _: (
        functools.partial(_repeat_later, 6 * _MINUTE_S, is_sent) for is_sent in (True, False)
    ),
    "an event is redelivered after 31 days": lambda _: (
        functools.partial(_repeat_later, 31 * _DAY_S, is_sent) for is_sent in (True, False)
    ),
}
