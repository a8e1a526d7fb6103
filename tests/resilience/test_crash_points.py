"""
Test every crash point: each AWS request of a function, with each fault, followed by redeliveries.

`make check` runs every point. A scenario runs once undisturbed to count its requests, then once for each request and
fault. The number of points is asserted, so that none can get lost.
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import pytest

from chalicelib import codec, settings
from chalicelib.aws import sqs
from chalicelib.domain.archive import PAGE_MAX, PAGES_PER_PLAN, RECENT_MAX
from chalicelib.domain.entries import encode_page, make_entry
from chalicelib.domain.events import Event
from chalicelib.errors import UnavailableError
from testkit import faults
from testkit.builders import A_TIME_MS, an_event, message_body
from testkit.engine import Engine
from testkit.faults import Fault
from tests.pipeline import Pipeline
from tests.resilience.invariant import Watcher

pytestmark = pytest.mark.usefixtures("no_waits")

#: The number of additional counters, if a scenario has any.
OTHERS = 3

#: The amount of each command. No other event has this amount.
BY = 1000

FAULTS: dict[str, tuple[Fault, bool]] = {
    "the request never arrives, once": (faults.drop_request, False),
    "the request never arrives, however often": (faults.drop_request, True),
    "the answer is lost, once": (faults.lose_answer, False),
    "the answer is lost, however often": (faults.lose_answer, True),
    "the request is throttled, once": (faults.throttle, False),
    "the request is throttled, however often": (faults.throttle, True),
    "the request exceeds the throughput, once": (faults.exceed_throughput, False),
    "the request exceeds the throughput, however often": (faults.exceed_throughput, True),
    "the request meets a transaction": (faults.meet_transaction, True),
    "the function dies before it": (faults.die_before, True),
    "the function dies after it": (faults.die_after, True),
}


@dataclass(frozen=True)
class Scenario:
    """
    The initial state, the actor, the action that meets the faults, and the action's number of requests.

    A client with a key sends its command again, regardless of the response. The platform delivers again, but not
    necessarily the same batch.
    """

    by: Literal["a client", "a client with a key", "the platform"]
    prepare: Callable[[Pipeline], list[Any]]
    act: Callable[[Pipeline, list[Any]], list[Any]]
    requests: int
    has_others: bool = False


def nothing_before(_pipeline):
    return []


def sent_before(**headers):
    """Record the client's increment with this key."""

    def prepare(pipeline):
        assert pipeline.increment({"by": BY}, Idempotency_Key="k", **headers).status in (200, 202)
        return []

    return prepare


def command(**headers):
    """Send a command and return its answer if it is acknowledged."""

    def act(pipeline, _prepared):
        answer = pipeline.increment({"by": BY}, **headers)
        if answer.status in (200, 202):
            return [answer]
        assert answer.status in (412, 503)
        return []

    return act


def in_the_log(events):
    """Return a function that appends events by commands, two of them with a client's key, and does not deliver them."""

    def prepare(pipeline):
        for number in range(events):
            pipeline.increment({"by": number + 1}, **({"Idempotency_Key": f"k{number}"} if number < 2 else {}))
        return pipeline.new_records()

    return prepare


def in_the_log_of_many(pipeline):
    """Append events of several counters, and do not deliver them."""
    for counter_id in (pipeline.counter_id, *others(pipeline)):
        logged(pipeline, range(6), counter_id=counter_id)
    return pipeline.new_records()


def logged(pipeline, times_ms: Iterable[int], counter_id: str = "") -> list[Event]:
    """Append events with these times, in ms after `A_TIME_MS`."""
    name = counter_id or pipeline.counter_id
    events: list[Event] = [an_event(counter_id=name, by=2, recorded_at_ms=A_TIME_MS + ms) for ms in times_ms]
    pipeline.log(events)
    return events


def counted(pipeline, times_ms: Iterable[int], counter_id: str = "") -> list[Event]:
    """Append events and count them, with one plan if there are more than fit into the recent entries."""
    events = logged(pipeline, times_ms, counter_id)
    pipeline.count(*events)
    return events


def on_the_queue(messages, events_each):
    """Return a function that returns messages with events that the log has."""

    def prepare(pipeline):
        return [message_body(*logged(pipeline, range(events_each))) for _ in range(messages)]

    return prepare


def on_the_queue_of_many(pipeline):
    """Return messages with events of several counters each."""
    names = [pipeline.counter_id, *others(pipeline)]
    return [message_body(*[event for name in names for event in logged(pipeline, range(2), name)]) for _ in range(3)]


def counted_before(pipeline):
    return [message_body(*counted(pipeline, range(5)))]


def counted_in_part(pipeline):
    return [message_body(*counted(pipeline, range(3)), *logged(pipeline, range(3, 6)))]


def full(pipeline):
    """Leave room for one recent entry. The older half of the message's events belongs among the recent ones."""
    counted(pipeline, range(1, 2 * RECENT_MAX - 2, 2))
    return [message_body(*logged(pipeline, [10, 1000, 1001]))]


def full_of_new(pipeline):
    """Fill the recent entries with events of the last seconds, some of which stay recent."""
    now_ms = time.time_ns() // 1_000_000 - A_TIME_MS
    counted(pipeline, [now_ms - 2 * number for number in range(RECENT_MAX)])
    return [message_body(*logged(pipeline, [now_ms - 1, now_ms - 21]))]


def archived(pipeline, entries=RECENT_MAX + 1):
    """Put all entries with even times into one page."""
    assert entries <= PAGE_MAX
    return counted(pipeline, range(0, 2 * entries, 2))


def late(pipeline):
    """Return a message with late events, one of them already counted."""
    return [message_body(archived(pipeline)[3], *logged(pipeline, [5, 9]))]


def late_in_a_full_page(pipeline):
    archived(pipeline, PAGE_MAX)
    return [message_body(*logged(pipeline, [5, 301]))]


def late_and_fresh(pipeline):
    """Return a message with a late event, and with a new event that fits into the recent entries."""
    archived(pipeline)
    counted(pipeline, [1000])
    return [message_body(*logged(pipeline, [5, 1001]))]


def late_and_full(pipeline):
    """Return a message with a late event, and with new events that do not fit into the recent entries."""
    archived(pipeline)
    counted(pipeline, range(1000, 1000 + RECENT_MAX))
    return [message_body(*logged(pipeline, [5, 1001, 2000]))]


def stored(pipeline, pages: list[list[int]]) -> None:
    """Write a counter with these archive pages and no recent entries, in few requests."""
    events = [logged(pipeline, times_ms) for times_ms in pages]
    items = [
        {
            "partition": {"S": pipeline.counter_id},
            "end": {"N": str(page[-1].recorded_at_ms)},
            "start": {"N": str(before[-1].recorded_at_ms if before else -1)},
            "entries": {"B": encode_page(map(make_entry, page))},
            "revision": {"N": "1"},
        }
        for before, page in zip([[], *events], events, strict=False)
    ]
    names, dynamodb = settings.current(), pipeline.client("dynamodb")
    for start in range(0, len(items), 25):
        puts = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
        dynamodb.batch_write_item(RequestItems={names.archive_table: puts})
    number = sum(map(len, pages))
    totals = {"part": 0, "value": 2 * number, "version": number, "revision": 1, "archived_until": items[-1]["end"]["N"]}
    item = {"counter_id": {"S": pipeline.counter_id}} | {name: {"N": str(total)} for name, total in totals.items()}
    dynamodb.put_item(TableName=names.counters_table, Item=item)


def late_in_several_pages(pipeline):
    """Return a message with late events in three of four pages, the second of which is full."""
    stored(pipeline, [[0, 6], [1000 + 2 * ms for ms in range(PAGE_MAX)], [2000], [3001]])
    return [message_body(*logged(pipeline, [1, 2, 1001, 3000]))]


def late_in_more_pages_than_a_plan_has(pipeline):
    """Return a late event in each of many pages."""
    stored(pipeline, [[100 * number] for number in range(PAGES_PER_PLAN + 1)])
    return [message_body(*logged(pipeline, [100 * number - 1 for number in range(PAGES_PER_PLAN + 1)]))]


def more_than_is_recent(pipeline):
    """Return a batch larger than the recent entries, partly counted."""
    return [message_body(*counted(pipeline, range(5)), *logged(pipeline, range(3, RECENT_MAX + 3)))]


def of_all_kinds(pipeline):
    """Return messages of four counters: not full, with counted events, full, and with late events."""
    hot, *calm = others(pipeline)
    bodies = [message_body(*logged(pipeline, range(3)), *counted(pipeline, range(3), hot))]
    counted(pipeline, range(RECENT_MAX), calm[0])
    counted(pipeline, range(RECENT_MAX + 1), calm[1])
    return [*bodies, message_body(*logged(pipeline, [1], calm[0]), *logged(pipeline, [2], calm[1]))]


def fast_clock(pipeline):
    """Let the archive reach beyond the time of an increment recorded now."""
    hour_ms = time.time_ns() // 1_000_000 - A_TIME_MS + 3_600_000
    counted(pipeline, [hour_ms + number for number in range(RECENT_MAX + 1)])
    return []


def full_of_old(pipeline):
    counted(pipeline, range(RECENT_MAX))
    return []


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


def project_again(pipeline, bodies):
    pipeline.project(bodies, received=2)
    return []


def with_poison(prepare, poison):
    return lambda pipeline: [*prepare(pipeline), poison]


def good_in_part(prepare):
    """Add an event of an unknown type to the last message."""

    def spoilt(pipeline):
        *bodies, last = prepare(pipeline)
        message = json.loads(last)
        message["events"].insert(1, {"type": "poison"})
        return [*bodies, json.dumps(message)]

    return spoilt


KEYED: Final = "a client with a key"
PLATFORM: Final = "the platform"
WISH = {"Prefer": "return=representation"}

SCENARIOS = {
    "a plain increment": Scenario("a client", nothing_before, command(), 1),
    "a keyed increment": Scenario(KEYED, nothing_before, command(Idempotency_Key="k"), 1),
    "a swap": Scenario("a client", nothing_before, command(If_Match='"0"'), 2),
    "a keyed swap": Scenario(KEYED, nothing_before, command(If_Match='"0"', Idempotency_Key="k"), 2),
    "a keyed swap that archives": Scenario(
        KEYED, full_of_old, command(If_Match=f'"{RECENT_MAX}"', Idempotency_Key="k"), 2
    ),
    "a keyed swap that is late": Scenario(
        KEYED, fast_clock, command(If_Match=f'"{RECENT_MAX + 1}"', Idempotency_Key="k"), 3
    ),
    "an add-and-get": Scenario("a client", nothing_before, command(**WISH), 2),
    "a keyed add-and-get": Scenario(KEYED, nothing_before, command(**WISH, Idempotency_Key="k"), 2),
    "a keyed add-and-get that archives": Scenario(KEYED, full_of_old, command(**WISH, Idempotency_Key="k"), 3),
    "a keyed add-and-get that is late": Scenario(KEYED, fast_clock, command(**WISH, Idempotency_Key="k"), 5),
    "a keyed increment sent again": Scenario(KEYED, sent_before(), command(Idempotency_Key="k"), 2),
    "a keyed increment sent again as a swap": Scenario(
        KEYED, sent_before(), command(Idempotency_Key="k", If_Match='"0"'), 5
    ),
    "a keyed swap sent again": Scenario(
        KEYED, sent_before(If_Match='"0"'), command(Idempotency_Key="k", If_Match='"0"'), 6
    ),
    "a keyed increment sent again as an add-and-get": Scenario(
        KEYED, sent_before(), command(Idempotency_Key="k", **WISH), 4
    ),
    "publish, one event": Scenario(PLATFORM, in_the_log(1), publish, 2),
    "publish, a batch": Scenario(PLATFORM, in_the_log(7), publish, 2),
    "publish, a batch of many counters": Scenario(PLATFORM, in_the_log_of_many, publish, 2, True),
    "publish, a batch in several messages": Scenario(PLATFORM, in_the_log(7), publish_in_small_messages, 5),
    "publish, a batch with poison": Scenario(
        PLATFORM, with_poison(in_the_log(3), {"eventName": "REMOVE", "of": "poison"}), publish, 4
    ),
    "project, one event": Scenario(PLATFORM, on_the_queue(1, 1), project, 1),
    "project, a batch of one counter": Scenario(PLATFORM, on_the_queue(4, 5), project, 1),
    "project, a batch that is counted": Scenario(PLATFORM, counted_before, project, 1),
    "project, a batch that is counted in part": Scenario(PLATFORM, counted_in_part, project, 2),
    "project, a batch that archives": Scenario(PLATFORM, full, project, 2),
    "project, a batch that archives and keeps entries": Scenario(PLATFORM, full_of_new, project, 2),
    "project, a batch larger than what is recent": Scenario(PLATFORM, more_than_is_recent, project, 2),
    "project, late events": Scenario(PLATFORM, late, project, 3),
    "project, late events that split a page": Scenario(PLATFORM, late_in_a_full_page, project, 3),
    "project, late and fresh events": Scenario(PLATFORM, late_and_fresh, project, 3),
    "project, late and fresh events that archive": Scenario(PLATFORM, late_and_full, project, 3),
    "project, late events in several pages": Scenario(PLATFORM, late_in_several_pages, project, 5),
    "project, late events in many pages": Scenario(PLATFORM, late_in_more_pages_than_a_plan_has, project, 11),
    "project, a batch of many counters": Scenario(PLATFORM, on_the_queue_of_many, project, 4, True),
    "project, a batch of many counters of all kinds": Scenario(PLATFORM, of_all_kinds, project, 7, True),
    "project, a redelivered batch": Scenario(PLATFORM, on_the_queue(2, 2), project_again, 2),
    "project, a redelivered batch that is counted": Scenario(PLATFORM, counted_before, project_again, 1),
    "project, a redelivered batch of late events": Scenario(PLATFORM, late, project_again, 3),
    "project, a batch with poison": Scenario(PLATFORM, with_poison(on_the_queue(2, 2), "poison"), project, 3),
    "project, a message that is good in part": Scenario(PLATFORM, good_in_part(on_the_queue(2, 2)), project, 3),
}

#: Requests of all scenarios, times the faults. A different number means different coverage.
POINTS = 117 * len(FAULTS)


def run(engine: Engine, pipeline: Pipeline, scenario: Scenario, disturbance: faults.Disturbance) -> None:
    """Run the scenario with its disturbance, then the retries and redeliveries, then check the invariants."""
    counters = [pipeline.counter_id, *(others(pipeline) if scenario.has_others else ())]
    watchers = [Watcher(engine.client, counter_id) for counter_id in counters]
    prepared = scenario.prepare(pipeline)
    # A new function must first look up its queue URLs.
    sqs.queue_url.cache_clear()
    acknowledged = []
    engine.gate = disturbance
    returned = False
    try:
        acknowledged += scenario.act(pipeline, prepared)
        returned = True
    except (faults.DiedError, UnavailableError):
        pass
    finally:
        engine.gate = faults.no_fault
    for watcher in watchers:
        watcher.check_between_requests()
    if scenario.by == PLATFORM and returned:
        # The queue will not deliver the batch again.
        check_in_the_end(pipeline, watchers, prepared)

    if scenario.by != "a client":
        acknowledged += scenario.act(pipeline, prepared)
    if scenario.act is project:
        pipeline.project(prepared[::-1])
    watchers[0].acknowledged = [answer.headers["Location"].rpartition("/")[2] for answer in acknowledged]
    check_in_the_end(pipeline, watchers, prepared)
    if scenario.by != PLATFORM:
        # The client or the SDK may send the command again. It is recorded once or, without a key, at most once.
        sent = [event for event in watchers[0].events() if event["by"]["N"] == str(BY)]
        assert len(sent) in ((0, 1) if scenario.by == "a client" else (1,))


def check_in_the_end(pipeline, watchers, prepared):
    """Deliver everything, then check the invariants and that only poison is parked."""
    pipeline.deliver()
    for watcher in watchers:
        watcher.check_in_the_end()
    texts = [thing if isinstance(thing, str) else json.dumps(thing, default=repr) for thing in prepared]
    assert {message["Body"] for message in pipeline.parked()} == {text for text in texts if "poison" in text}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_makes_the_asserted_number_of_requests(engine, new_pipeline, name):
    scenario = SCENARIOS[name]
    disturbance = faults.Disturbance(None, faults.no_fault, every_attempt=False)

    run(engine, new_pipeline(1), scenario, disturbance)

    assert len(disturbance.calls) == scenario.requests


@pytest.mark.sample(12)
@pytest.mark.no_cover
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_fault_at_any_request_changes_no_total(engine, new_pipeline, name, fault):
    scenario = SCENARIOS[name]

    for at in range(scenario.requests):
        run(engine, new_pipeline(at), scenario, faults.Disturbance(at, *FAULTS[fault]))


def test_number_of_crash_points_is_asserted():
    points = sum(scenario.requests for scenario in SCENARIOS.values()) * len(FAULTS)

    print(f"{points} crash points")  # noqa: T201  (for pytest -s)
    assert points == POINTS


@pytest.mark.parametrize(
    ("operation", "act"),
    [
        ("PutItem", lambda pipeline: pipeline.increment().status),
        ("TransactWriteItems", lambda pipeline: pipeline.increment(If_Match='"0"').status),
        ("UpdateItem", lambda pipeline: pipeline.count(an_event(counter_id=pipeline.counter_id))),
        ("SendMessage", lambda pipeline: pipeline.publish(pipeline.new_records())),
    ],
)
@pytest.mark.parametrize("fault", [faults.throttle, faults.exceed_throughput])
def test_throttling_of_each_service_is_retried_and_503(engine, pipeline, operation, act, fault):
    if operation == "SendMessage":
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
        engine.gate = faults.no_fault

    assert outcome == 503
    # The SDK decides whether to retry. It does not retry a transaction that was cancelled.
    is_cancelled = fault is faults.exceed_throughput and operation == "TransactWriteItems"
    assert len(met) == (1 if is_cancelled else 4)
