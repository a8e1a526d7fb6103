"""
Run each design through every fault, with the engine and the faults of the proof.

Everything is delivered at least once, until it is acknowledged: a function that fails or dies gets the same messages
again after the queue's visibility timeout. Then each counter's value must be the sum of its events. Schedules are drawn
by fixed seeds, so every run finds the same.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchmarks import alternatives, designs
from chalicelib import command_handlers
from chalicelib.domain.events import Incremented
from tests import faults
from tests.builders import A_TIME_MS, a_counter_id
from tests.resilience import scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from botocore.awsrequest import AWSResponse

    from benchmarks.designs import Design
    from tests.faults import Attempt, Fault
    from tests.resilience.engine import Engine

    #: One way in which a fault can strike, from the first event to the last acknowledgement.
    Script = Callable[["Trial"], None]
    #: All ways in which it can strike a design.
    Scripts = Callable[["Trials"], Iterator[Script]]

#: The visibility timeout of the projection queue in the template.
_VISIBILITY_TIMEOUT_S: Final = 180

#: A design that has not acknowledged after so many deliveries never will.
_MOST_DELIVERIES: Final = 10

_MINUTE_S: Final = 60
_DAY_S: Final = 24 * 3600


class NeverAcknowledgedError(Exception):
    """The worker failed at every delivery."""


@dataclass
class Trial:
    """A design with two new counters, and two events of each."""

    engine: Engine
    design: Design
    events: list[Incremented] = field(default_factory=list)

    def __post_init__(self) -> None:
        alternatives.provision(self.engine.client("dynamodb"))
        counters = [a_counter_id(), a_counter_id()]
        self.events = [
            Incremented(
                counter_id, command_handlers.generate_event_id(A_TIME_MS), number + 1, A_TIME_MS + number * 1000
            )
            for number in range(2)
            for counter_id in counters
        ]

    def hand_over(self, events: Sequence[Incremented], fault: Fault = faults.no_fault) -> list[str]:
        """Hand these events over, the first time with the fault, and return the bodies on the queue."""
        self._until_done(lambda: self.design.hand_over(events), fault)
        return designs.bodies(self.engine, self.design.queue_url)

    def work(self, bodies: Sequence[str], fault: Fault = faults.no_fault) -> None:
        """Deliver these messages as one batch until they are acknowledged, the first time with the fault."""
        work = self.design.worker(0)
        self._until_done(lambda: work(bodies), fault)

    def work_at_once(self, one: Sequence[str], other: Sequence[str], chance: random.Random) -> None:
        """Let two workers take turns by chance, request by request. A worker that fails gets its messages again."""
        batches = {"one": one, "other": other}
        workers: dict[str, Callable[[], Any]] = {
            name: functools.partial(self.design.worker(number), bodies)
            for number, (name, bodies) in enumerate(batches.items())
        }
        ran = scheduler.run(self.engine, workers, chance.randrange)
        for name, bodies in batches.items():
            if isinstance(ran.results[name], Exception):
                designs.forget(self.engine, _VISIBILITY_TIMEOUT_S)
                self.work(bodies)

    def error(self) -> int:
        """Return the largest error of a counter: positive if its value is too high."""
        error = 0
        for counter_id in {event.counter_id for event in self.events}:
            expected = sum(event.by for event in self.events if event.counter_id == counter_id)
            error = max(error, self.design.value(counter_id) - expected, key=abs)
        return error

    def _until_done(self, act: Callable[[], None], fault: Fault) -> None:
        self.engine.gate = fault
        try:
            for _ in range(_MOST_DELIVERIES):
                try:
                    return act()
                except (Exception, faults.DiedError):  # noqa: BLE001  (whatever it is, it is delivered again)
                    self.engine.gate = faults.no_fault
                    designs.forget(self.engine, _VISIBILITY_TIMEOUT_S)
            raise NeverAcknowledgedError
        finally:
            self.engine.gate = faults.no_fault


def _undisturbed(_trials: Trials) -> Iterator[Script]:
    yield lambda trial: trial.work(trial.hand_over(trial.events))


def _twice_in_a_batch(_trials: Trials) -> Iterator[Script]:
    yield lambda trial: trial.work(trial.hand_over([*trial.events, *trial.events]))


def _a_batch_again(_trials: Trials) -> Iterator[Script]:
    def script(trial: Trial) -> None:
        bodies = trial.hand_over(trial.events)
        trial.work(bodies)
        trial.work(bodies)

    yield script


def _regrouped(_trials: Trials) -> Iterator[Script]:
    def script(trial: Trial, seed: int) -> None:
        chance = random.Random(seed)
        bodies = [body for event in trial.events for body in trial.hand_over([event])]
        copies = [body for body in bodies for _ in range(chance.randint(1, 3))]
        chance.shuffle(copies)
        while copies:
            size = chance.randint(1, len(copies))
            batch, copies = copies[:size], copies[size:]
            trial.work(batch)

    for seed in range(10):
        yield functools.partial(script, seed=seed)


def _later(seconds: int) -> Scripts:
    """Send, and deliver, the events again after so many seconds."""

    def script(trial: Trial, *, sent: bool) -> None:
        bodies = trial.hand_over(trial.events)
        trial.work(bodies)
        designs.forget(trial.engine, seconds)
        trial.work(trial.hand_over(trial.events) if sent else bodies)

    def scripts(_trials: Trials) -> Iterator[Script]:
        for sent in (True, False):
            yield functools.partial(script, sent=sent)

    return scripts


def _two_workers(*, same: bool) -> Scripts:
    """Run two workers with the same messages, or each with its own, of the same counters."""

    def script(trial: Trial, seed: int) -> None:
        halves = (trial.hand_over(trial.events[:2]), trial.hand_over(trial.events[2:]))
        both = [*halves[0], *halves[1]]
        one, other = (both, both) if same else halves
        trial.work_at_once(one, other, random.Random(seed))

    def scripts(_trials: Trials) -> Iterator[Script]:
        for seed in range(15):
            yield functools.partial(script, seed=seed)

    return scripts


def _at_each_request(*kinds: tuple[Fault, bool], only: frozenset[str] = frozenset()) -> Scripts:
    """Let each request of the sender and of the worker meet each fault, at its first or at every attempt."""

    def script(trial: Trial, *, sender: bool, disturbance: Callable[[], Fault]) -> None:
        bodies = trial.hand_over(trial.events, disturbance() if sender else faults.no_fault)
        trial.work(bodies, faults.no_fault if sender else disturbance())

    def scripts(trials: Trials) -> Iterator[Script]:
        for sender, operations in ((True, trials.sent), (False, trials.worked)):
            for at, operation in enumerate(operations):
                for fault, always in kinds:
                    if not only or operation in only:
                        made = functools.partial(faults.Disturbance, at, fault, always)
                        yield functools.partial(script, sender=sender, disturbance=made)

    return scripts


def _is_in_conflict(attempt: Attempt) -> AWSResponse:
    is_transaction = attempt.operation == "TransactWriteItems"
    return faults.cancel(attempt) if is_transaction else faults.conflict(attempt)


_ONCE_AND_ALWAYS: Final = (False, True)

FAULTS: dict[str, Scripts] = {
    "nothing goes wrong": _undisturbed,
    "an event is sent twice, and both are in one batch": _twice_in_a_batch,
    "a batch is delivered again": _a_batch_again,
    "messages come again, in another order and grouping": _regrouped,
    "a function dies before one of its requests": _at_each_request((faults.die_before, True)),
    "a function dies after one of its requests": _at_each_request((faults.die_after, True)),
    "a request never arrives": _at_each_request(*((faults.drop_request, always) for always in _ONCE_AND_ALWAYS)),
    "a response is lost": _at_each_request(*((faults.lose_answer, always) for always in _ONCE_AND_ALWAYS)),
    "a request is throttled": _at_each_request(
        *((kind, always) for kind in (faults.throttle, faults.exceed_throughput) for always in _ONCE_AND_ALWAYS)
    ),
    "a write is in conflict with a transaction": _at_each_request(
        (_is_in_conflict, False),
        (_is_in_conflict, True),
        only=frozenset({"PutItem", "UpdateItem", "TransactWriteItems"}),
    ),
    "two workers have the same messages at once": _two_workers(same=True),
    "two workers count on the same counters at once": _two_workers(same=False),
    "an event comes again after 6 minutes": _later(6 * _MINUTE_S),
    "an event comes again after 31 days": _later(31 * _DAY_S),
}


@dataclass
class Trials:
    """The trials of one design, and the requests that its sender and its worker make without a fault."""

    engine: Engine
    design: Design
    sent: list[str] = field(default_factory=list)
    worked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        Trial(self.engine, self.design).hand_over([])  # so that the addresses of queues are cached
        trial = Trial(self.engine, self.design)
        bodies = trial.hand_over(trial.events, self._noted(self.sent))
        trial.work(bodies, self._noted(self.worked))

    def outcome(self, fault: str) -> dict[str, Any]:
        """Return the number of runs with this fault, and of those that ended too high, too low or unacknowledged."""
        found = {"runs": 0, "too_much": 0, "too_little": 0, "never_acknowledged": 0}
        for script in FAULTS[fault](self):
            trial = Trial(self.engine, self.design)
            found["runs"] += 1
            try:
                script(trial)
            except NeverAcknowledgedError:
                found["never_acknowledged"] += 1
            error = trial.error()
            found["too_much"] += error > 0
            found["too_little"] += error < 0
        return found

    @staticmethod
    def _noted(operations: list[str]) -> Fault:
        def note(attempt: Attempt) -> AWSResponse:
            operations.append(attempt.operation)
            return attempt.carry_out()

        return note


def measured(engine: Engine, advance: Callable[[int], None]) -> dict[str, dict[str, dict[str, int]]]:
    """Return the outcomes by design and fault. `advance` is called with 1 after each design."""
    found = {}
    with designs.on(engine) as every:
        for design in every:
            trials = Trials(engine, design)
            found[design.name] = {fault: trials.outcome(fault) for fault in FAULTS}
            advance(1)
    return found
