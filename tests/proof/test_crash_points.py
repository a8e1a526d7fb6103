"""
Every crash point: each request that a function makes to AWS, with each fault, then everything delivered again.

Nothing is sampled. A scenario is run once undisturbed to learn how many requests it makes; then once more for each of
them and each fault. How many points that makes is asserted, so that none can get lost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest

from chalicelib import codec, generations, queues, retries, settings
from chalicelib.errors import UnavailableError
from tests import faults
from tests.building import an_event, message_body, stream_record
from tests.proof.invariant import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults import Fault
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
    "the request exceeds the throughput, once": (faults.exceeds_the_throughput, False),
    "the request exceeds the throughput, however often": (faults.exceeds_the_throughput, True),
    "the function dies before it": (faults.dies_before, True),
    "the function dies after it": (faults.dies_after, True),
}


@dataclass(frozen=True)
class Scenario:
    """
    What is there before, what is then done with faults, by whom, and in how many requests.

    Who has a key asks again whatever came of it. The platform delivers again, but not necessarily what returned.
    """

    by: Literal["a client", "a client with a key", "the platform"]
    prepare: Callable[[Pipeline], list[Any]]
    act: Callable[[Pipeline, list[Any]], list[Any]]
    requests: int
    has_others: bool = False


def nothing_before(_pipeline):
    return []


def sent_before(**headers):
    """The client's increment with this key is in the log."""

    def prepare(pipeline):
        assert pipeline.increment({"by": 3}, Idempotency_Key="k", **headers).status in (200, 202)
        return []

    return prepare


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
    """Events, appended by commands and not delivered; two of them came by a client's key."""

    def prepare(pipeline):
        for number in range(events):
            pipeline.increment({"by": number + 1}, **({"Idempotency_Key": f"k{number}"} if number < 2 else {}))
        return pipeline.new_records()

    return prepare


def in_the_log_of_many(pipeline):
    """Two events of each of several seconds of several counters, in the log and not delivered."""
    for counter_id in (pipeline.counter_id, *others(pipeline)):
        in_log(pipeline, counter_id, [1_700_000_000_000 + number % 3 * 1000 for number in range(6)])
    return pipeline.new_records()


def on_the_queue(messages, events_each, *, seconds=1, with_others=False):
    """Messages with events that the log holds, of so many seconds, some with events of other counters."""

    def prepare(pipeline):
        bodies = []
        for number in range(messages):
            times = [1_700_000_000_000 + (number * events_each + n) % seconds * 1000 for n in range(events_each)]
            counters = [pipeline.counter_id, *(others(pipeline) if with_others else ())]
            bodies.append(message_body(*[event for name in counters for event in in_log(pipeline, name, times)]))
        return bodies

    return prepare


def in_log(pipeline, counter_id, times_ms):
    """Events of these times, as the log would hold them, put there at once."""
    events = [an_event(counter_id=counter_id, by=2, recorded_at_ms=time_ms) for time_ms in times_ms]
    puts = [{"PutRequest": {"Item": stream_record(event)["dynamodb"]["NewImage"]}} for event in events]
    for start in range(0, len(puts), 25):
        asked = {settings.current().event_log_table: puts[start : start + 25]}
        assert not pipeline.client("dynamodb").batch_write_item(RequestItems=asked)["UnprocessedItems"]
    return events


def others(pipeline):
    return [f"{pipeline.counter_id}.{n}" for n in range(OTHERS)]


def publish(pipeline, records):
    pipeline.publish(records)
    return []


def publish_in_small_messages(pipeline, records):
    usual, codec.MESSAGE_BYTES = codec.MESSAGE_BYTES, 500
    try:
        pipeline.publish(records)
    finally:
        codec.MESSAGE_BYTES = usual
    return []


def project(pipeline, bodies):
    pipeline.project(bodies)
    return []


def with_poison(prepare, poison):
    return lambda pipeline: [*prepare(pipeline), poison]


def good_in_part(prepare):
    """The last message has an event of a kind that nobody understands beside its good ones."""

    def spoilt(pipeline):
        *bodies, last = prepare(pipeline)
        message = json.loads(last)
        message["events"].insert(1, {"type": "poison"})
        return [*bodies, json.dumps(message)]

    return spoilt


def one_made_anew(prepare):
    """The read model of one of the others is being made anew, which the projector does not know yet."""

    def prepared(pipeline):
        generations.begin(others(pipeline)[0])
        return prepare(pipeline)

    return prepared


SCENARIOS = {
    "a plain increment": Scenario("a client", nothing_before, command(), 1),
    "a keyed increment": Scenario("a client with a key", nothing_before, command(Idempotency_Key="k"), 1),
    "a swap": Scenario("a client", nothing_before, command(If_Match='"0"'), 2),
    "a keyed swap": Scenario("a client with a key", nothing_before, command(If_Match='"0"', Idempotency_Key="k"), 2),
    "an add-and-get": Scenario("a client", nothing_before, command(Prefer="return=representation"), 2),
    "a keyed add-and-get": Scenario(
        "a client with a key", nothing_before, command(Prefer="return=representation", Idempotency_Key="k"), 2
    ),
    "a keyed increment sent again": Scenario("a client with a key", sent_before(), command(Idempotency_Key="k"), 2),
    "a keyed increment sent again as a swap": Scenario(
        "a client with a key", sent_before(), command(Idempotency_Key="k", If_Match='"0"'), 6
    ),
    "a keyed swap sent again": Scenario(
        "a client with a key", sent_before(If_Match='"0"'), command(Idempotency_Key="k", If_Match='"0"'), 5
    ),
    "a keyed increment sent again as an add-and-get": Scenario(
        "a client with a key", sent_before(), command(Idempotency_Key="k", Prefer="return=representation"), 6
    ),
    "publish, one event": Scenario("the platform", in_the_log(1), publish, 2),
    "publish, a batch": Scenario("the platform", in_the_log(7), publish, 2),
    "publish, a batch of many counters and seconds": Scenario("the platform", in_the_log_of_many, publish, 2, True),
    "publish, a batch in several messages": Scenario("the platform", in_the_log(7), publish_in_small_messages, 5),
    "publish, a batch with poison": Scenario(
        "the platform", with_poison(in_the_log(3), {"eventName": "REMOVE", "of": "poison"}), publish, 4
    ),
    "project, one event": Scenario("the platform", on_the_queue(1, 1), project, 2),
    "project, a batch of one counter and second": Scenario("the platform", on_the_queue(4, 5), project, 2),
    "project, a batch of one counter and many seconds": Scenario(
        "the platform", on_the_queue(4, 26, seconds=104), project, 4
    ),
    "project, a batch of many counters": Scenario(
        "the platform", on_the_queue(3, 2, with_others=True), project, 2, True
    ),
    "project, a batch of many counters and seconds": Scenario(
        "the platform", on_the_queue(3, 2, seconds=5, with_others=True), project, 2, True
    ),
    "project, a batch of many counters that are refused together": Scenario(
        "the platform", one_made_anew(on_the_queue(3, 2, with_others=True)), project, 7, True
    ),
    "project, a batch with poison": Scenario("the platform", with_poison(on_the_queue(2, 2), "poison"), project, 4),
    "project, a message that is good in part": Scenario("the platform", good_in_part(on_the_queue(2, 2)), project, 4),
}

#: Requests of all scenarios, times the faults. A change of this number is a change of what is proved.
POINTS = 71 * len(FAULTS)


def run(engine: Engine, pipeline: Pipeline, scenario: Scenario, disturbance: faults.Disturbance) -> None:
    """The scenario with its disturbance, then what clients and the platform do about it, then the invariant."""
    counters = [pipeline.counter_id, *(others(pipeline) if scenario.has_others else ())]
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
    if scenario.by == "the platform" and returned:
        # Nobody will deliver it again.
        check_in_the_end(pipeline, watchers, prepared)

    if scenario.by != "a client":
        acknowledged += scenario.act(pipeline, prepared)
    if scenario.act is project:
        pipeline.project(prepared[::-1])
    watchers[0].acknowledged = [answer.headers["Location"].rpartition("/")[2] for answer in acknowledged]
    check_in_the_end(pipeline, watchers, prepared)
    if scenario.by != "the platform":
        # However often it was sent, by the client or by the SDK, it is recorded once; or, without a key, never.
        assert len(watchers[0].events()) in ((0, 1) if scenario.by == "a client" else (1,))


def check_in_the_end(pipeline, watchers, prepared):
    """What is on its way arrives; then the invariant holds, and what nobody understands is parked, and only that."""
    pipeline.deliver()
    for watcher in watchers:
        watcher.check_in_the_end()
    texts = [thing if isinstance(thing, str) else json.dumps(thing, default=repr) for thing in prepared]
    assert {message["Body"] for message in pipeline.parked()} == {text for text in texts if "poison" in text}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_makes_the_requests_that_are_disturbed(engine, new_pipeline, name):
    scenario = SCENARIOS[name]
    disturbance = faults.Disturbance(None, faults.carried_out, every_attempt=False)

    run(engine, new_pipeline(1), scenario, disturbance)

    assert len(disturbance.calls) == scenario.requests


@pytest.mark.no_cover
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_at_every_request_of_a_scenario_a_fault_changes_no_total(engine, new_pipeline, name, fault):
    scenario = SCENARIOS[name]

    for at in range(scenario.requests):
        run(engine, new_pipeline(at), scenario, faults.Disturbance(at, *FAULTS[fault]))


def test_the_number_of_crash_points_is_what_it_was():
    points = sum(scenario.requests for scenario in SCENARIOS.values()) * len(FAULTS)

    print(f"{points} crash points")  # noqa: T201  (for pytest -s)
    assert points == POINTS


@pytest.mark.parametrize(
    ("operation", "act"),
    [
        ("PutItem", lambda pipeline: pipeline.increment().status),
        ("TransactWriteItems", lambda pipeline: pipeline.increment(Prefer="return=representation").status),
        ("SendMessage", lambda pipeline: pipeline.publish(pipeline.new_records())),
    ],
)
@pytest.mark.parametrize("fault", [faults.is_throttled, faults.exceeds_the_throughput])
def test_each_service_throttles_in_its_own_words(engine, new_pipeline, operation, act, fault):
    pipeline = new_pipeline(0)
    pipeline.increment()
    met = []

    def throttle(attempt):
        if attempt.operation != operation:
            return attempt.carry_out()
        met.append(fault(attempt).content)
        return fault(attempt)

    engine.gate = throttle
    try:
        outcome = act(pipeline)
    except UnavailableError:
        outcome = 503
    finally:
        engine.gate = faults.carried_out

    assert outcome == 503
    # Whether the SDK tries again is its own affair: it does not for a transaction that was cancelled.
    is_cancelled = fault is faults.exceeds_the_throughput and operation == "TransactWriteItems"
    assert len(met) == (1 if is_cancelled else 4)


def test_buckets_that_were_not_read_for_want_of_throughput_are_asked_for_again_after_a_pause(
    engine, new_pipeline, monkeypatch
):
    pipeline = new_pipeline(0)
    pipeline.count(counted := an_event(counter_id=pipeline.counter_id))
    met: list[str] = []
    monkeypatch.setattr(retries, "pause", lambda: met.append("pause"))

    def hand_back_once(attempt):
        met.append(attempt.operation)
        is_first_read = len(met) == 1
        return faults.is_answered_with_nothing_yet(attempt) if is_first_read else attempt.carry_out()

    engine.gate = hand_back_once
    try:
        pipeline.count(counted, an_event(counter_id=pipeline.counter_id))
    finally:
        engine.gate = faults.carried_out

    assert met == ["BatchGetItem", "pause", "BatchGetItem", "TransactWriteItems"]
    assert (pipeline.value, pipeline.version) == (2, 2)
