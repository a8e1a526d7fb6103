"""
Every crash point: each request that a function makes to AWS, with each fault, then everything delivered again.

Nothing is sampled. A scenario is run once undisturbed to learn how many requests it makes; then once more for each of
them and each fault. How many points that makes is asserted, so that none can get lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib import queues
from chalicelib.errors import UnavailableError
from tests import faults
from tests.building import an_event, message_body
from tests.proof.invariant import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults import Attempt, Fault
    from tests.harness import Pipeline
    from tests.proof.engine import Engine

#: Counters beside the one that a scenario is about, where it has any.
OTHERS = 3

FAULTS: dict[str, tuple[Fault, bool]] = {
    "the request never arrives, once": (faults.never_arrives, False),
    "the request never arrives, however often": (faults.never_arrives, True),
    "the answer is lost, once": (faults.loses_its_answer, False),
    "the answer is lost, however often": (faults.loses_its_answer, True),
    "the request is throttled, once": (faults.is_throttled, False),
    "the request is throttled, however often": (faults.is_throttled, True),
    "the function dies before it": (faults.dies_before, True),
    "the function dies after it": (faults.dies_after, True),
}


@dataclass(frozen=True)
class Scenario:
    """What is there before, what is then done with faults, and whether a client would do it again with its key."""

    prepare: Callable[[Pipeline], list[Any]]
    act: Callable[[Pipeline, list[Any]], list[Any]]
    is_repeatable: bool
    requests: int


def nothing_before(_pipeline):
    return []


def sent_before(pipeline):
    pipeline.increment({"by": 3}, Idempotency_Key="k")
    return []


def command(**headers):
    """A command that is acknowledged, or not, and then not acknowledged."""

    def act(pipeline, _prepared):
        answer = pipeline.increment({"by": 3}, **headers)
        if answer.status in (200, 202):
            return [answer]
        assert answer.status == 503
        return []

    return act


def in_the_log(events):
    """Events of three seconds, appended and not delivered; two of them came by a client's key."""

    def prepare(pipeline):
        for number in range(events):
            pipeline.increment({"by": number + 1}, **({"Idempotency_Key": f"k{number}"} if number < 2 else {}))
        return pipeline.new_records()

    return prepare


def on_the_queue(messages, events_each, *, seconds=1, others=0):
    """Messages with events that the log holds, of so many seconds, some with events of other counters."""

    def prepare(pipeline):
        bodies = []
        for number in range(messages):
            mine = [
                in_log(pipeline, pipeline.counter_id, 1_700_000_000_000 + (number * events_each + n) % seconds * 1000)
                for n in range(events_each)
            ]
            theirs = [in_log(pipeline, f"{pipeline.counter_id}.{n}", 1_700_000_000_000) for n in range(others)]
            bodies.append(message_body(*mine, *theirs))
        return bodies

    return prepare


def in_log(pipeline, counter_id, recorded_at_ms):
    from chalicelib import event_log

    event = an_event(counter_id=counter_id, by=2, recorded_at_ms=recorded_at_ms)
    event_log.append(event)
    return event


def publish(pipeline, records):
    pipeline.publish(records)
    return []


def project(pipeline, bodies):
    pipeline.project(bodies)
    return []


def with_poison(prepare, poison):
    return lambda pipeline: [*prepare(pipeline), poison]


SCENARIOS = {
    "a plain increment": Scenario(nothing_before, command(), False, 1),
    "a keyed increment": Scenario(nothing_before, command(Idempotency_Key="k"), True, 1),
    "a swap": Scenario(nothing_before, command(If_Match='"0"'), False, 2),
    "a keyed swap": Scenario(nothing_before, command(If_Match='"0"', Idempotency_Key="k"), True, 2),
    "an add-and-get": Scenario(nothing_before, command(Prefer="return=representation"), False, 2),
    "a keyed add-and-get": Scenario(
        nothing_before, command(Prefer="return=representation", Idempotency_Key="k"), True, 2
    ),
    "a keyed increment sent again": Scenario(sent_before, command(Idempotency_Key="k"), True, 2),
    "a keyed swap sent again": Scenario(sent_before, command(Idempotency_Key="k", If_Match='"0"'), True, 6),
    "publish, one event": Scenario(in_the_log(1), publish, True, 2),
    "publish, a batch": Scenario(in_the_log(7), publish, True, 2),
    "publish, a batch with poison": Scenario(with_poison(in_the_log(3), {"eventName": "REMOVE"}), publish, True, 4),
    "project, one event": Scenario(on_the_queue(1, 1), project, True, 2),
    "project, a batch of one counter and second": Scenario(on_the_queue(4, 5), project, True, 2),
    "project, a batch of one counter and many seconds": Scenario(on_the_queue(5, 30, seconds=150), project, True, 4),
    "project, a batch of many counters": Scenario(on_the_queue(3, 2, others=OTHERS), project, True, 5),
    "project, a batch with poison": Scenario(with_poison(on_the_queue(2, 2), "poison"), project, True, 4),
}

#: Requests of all scenarios, times the faults. A change of this number is a change of what is proved.
POINTS = 43 * len(FAULTS)


class Disturbance:
    """Lets a fault happen at the k-th request (from 0), at its first attempt or at all."""

    def __init__(self, at: int | None, fault: Fault, every_attempt: bool) -> None:
        self.calls: list[str] = []
        self._at = at
        self._fault = fault
        self._every_attempt = every_attempt

    def __call__(self, attempt: Attempt):
        is_first = attempt.call not in self.calls
        if is_first:
            self.calls.append(attempt.call)
        if self.calls.index(attempt.call) == self._at and (is_first or self._every_attempt):
            return self._fault(attempt)
        return attempt.carry_out()


def run(engine: Engine, pipeline: Pipeline, scenario: Scenario, disturbance: Disturbance) -> None:
    """The scenario with its disturbance, then what clients and the platform do about it, then the invariant."""
    counters = [pipeline.counter_id, *(f"{pipeline.counter_id}.{n}" for n in range(OTHERS))]
    watchers = [Watcher(engine.client, counter_id) for counter_id in counters]
    prepared = scenario.prepare(pipeline)
    # As a fresh function does, which has to ask for the addresses of its queues.
    queues.url.cache_clear()
    acknowledged = []
    engine.gate = disturbance
    returned = False
    try:
        acknowledged += scenario.act(pipeline, prepared)
        returned = True
    except (faults.DiedError, UnavailableError):
        pass
    finally:
        engine.gate = faults.carried_out
    for watcher in watchers:
        watcher.check_meanwhile()
        if returned and scenario.act is project:
            # Nobody will deliver it again.
            watcher.check_in_the_end()

    if scenario.is_repeatable:
        acknowledged += scenario.act(pipeline, prepared)
    pipeline.deliver()
    if scenario.act is project:
        pipeline.project(prepared[::-1])
    watchers[0].acknowledged = [event_named_in(answer) for answer in acknowledged]
    for watcher in watchers:
        watcher.check_in_the_end()
    assert len(set(watchers[0].acknowledged)) <= 1


def event_named_in(answer):
    return answer.headers["Location"].rpartition("/")[2]


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_makes_the_requests_that_are_disturbed(engine, new_pipeline, name):
    scenario = SCENARIOS[name]
    disturbance = Disturbance(None, faults.carried_out, every_attempt=False)

    run(engine, new_pipeline(1), scenario, disturbance)

    assert len(disturbance.calls) == scenario.requests


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_at_every_request_of_a_scenario_a_fault_changes_no_total(engine, new_pipeline, name, fault):
    scenario = SCENARIOS[name]

    for at in range(scenario.requests):
        run(engine, new_pipeline(at), scenario, Disturbance(at, *FAULTS[fault]))


def test_the_number_of_crash_points_is_what_it_was():
    points = sum(scenario.requests for scenario in SCENARIOS.values()) * len(FAULTS)

    print(f"{points} crash points")  # noqa: T201  (for pytest -s)
    assert points == POINTS
