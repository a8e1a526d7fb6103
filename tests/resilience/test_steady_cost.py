"""
The cost of counting in the steady state, for messages in order and out of order.

The clock is simulated, because it decides which entries stay recent when older ones are archived.
"""

import random
from dataclasses import dataclass

import pytest

from testkit import aws_requests
from testkit.builders import an_event, message_body

A_TIME_MS = 1_700_000_000_000


@dataclass
class Clock:
    """The time that a worker sees."""

    now_ms: int = A_TIME_MS


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let the test set the worker's clock."""
    worker = Clock()
    monkeypatch.setattr("chalicelib.clock.now_ms", lambda: worker.now_ms)
    return worker


def deliveries(counter_id, size, messages, disorder, seed=1):
    """
    Return messages of `size` events from one second each, as (time of delivery, events).

    `disorder` is None, "swapped" for messages that overtake their predecessor, or the fraction of messages that are
    delayed by 0.5 to 2.5 seconds.
    """
    chance = random.Random(seed)
    sent = []
    for second in range(messages):
        times = sorted(A_TIME_MS + second * 1000 + chance.randrange(1000) for _ in range(size))
        sent.append([an_event(counter_id=counter_id, recorded_at_ms=ms) for ms in times])
    arrives_ms = [A_TIME_MS + (second + 1) * 1000 for second in range(messages)]
    if disorder == "swapped":
        arrives_ms = [ms + (1500 if second % 2 == 0 else 0) for second, ms in enumerate(arrives_ms)]
    elif disorder:
        arrives_ms = [ms + (chance.randint(500, 2500) if chance.random() < disorder else 0) for ms in arrives_ms]
    return sorted(zip(arrives_ms, sent, strict=True), key=lambda delivery: delivery[0])


def deliver(pipeline):
    """Publish and project what was recorded, once."""
    pipeline.publish(pipeline.new_records())
    pipeline.project_messages(pipeline.drain(pipeline.queue_url))


#: By the number of events in a message: the number of messages, and the goal, in write units per event.
GOALS = {1: (400, 2.15), 10: (120, 1.3), 100: (40, 1.08), 1000: (20, 1.05)}

#: The cost of a put of an event into the log; `test_an_append_is_one_request_and_one_unit` measures it.
APPEND = 1


@pytest.mark.sample(1)
@pytest.mark.no_cover
@pytest.mark.parametrize("disorder", [None, "swapped", 0.1, 0.3])
@pytest.mark.parametrize("size", GOALS)
def test_increments_of_one_counter_cost_at_most_the_goal(engine, pipeline, clock, size, disorder):
    messages, goal = GOALS[size]

    with aws_requests.record(reader=engine.client("dynamodb")) as requests:
        for clock.now_ms, events in deliveries(pipeline.counter_id, size, messages, disorder):
            pipeline.project([message_body(*events)])

    assert pipeline.version == size * messages
    assert APPEND + requests.write_units() / (size * messages) <= goal


@pytest.mark.no_cover
def test_increments_of_a_thousand_counters_cost_about_two_units_each(engine, pipeline, clock):
    """Count ten times for 100 counters with different numbers of recent entries, so that some of them archive."""
    chance = random.Random(2)
    names = [f"{pipeline.counter_id}.{number}" for number in range(100)]
    for number, name in enumerate(names):
        ages = sorted(A_TIME_MS - chance.randrange(10**8) for _ in range(number % 36))
        pipeline.count(*[an_event(counter_id=name, recorded_at_ms=ms) for ms in ages])

    with aws_requests.record(reader=engine.client("dynamodb")) as requests:
        for batch in range(10):
            clock.now_ms = A_TIME_MS + batch * 1000
            pipeline.count(*[an_event(counter_id=name, recorded_at_ms=clock.now_ms - 1) for name in names])

    assert APPEND + requests.write_units() / 1000 <= 2.15


@pytest.mark.no_cover
def test_lone_increment_in_a_busy_second_costs_about_two_units(engine, pipeline, clock):
    """Half a second of 1,000 increments a second is counted. Then increments arrive one by one."""
    clock.now_ms = A_TIME_MS + 500
    pipeline.count(*[an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS + n) for n in range(500)])

    with aws_requests.record(reader=engine.client("dynamodb")) as requests:
        for number in range(120):
            clock.now_ms = A_TIME_MS + 500 + number * 4
            pipeline.count(an_event(counter_id=pipeline.counter_id, recorded_at_ms=clock.now_ms))

    assert pipeline.version == 620
    assert APPEND + requests.write_units() / 120 <= 2.15


@pytest.mark.no_cover
def test_add_and_gets_cost_about_two_units_each(engine, pipeline):
    """Measure from the command to the counter. The stream also delivers each event, which is already counted."""
    with aws_requests.record(reader=engine.client("dynamodb")) as requests:
        for _ in range(200):
            assert pipeline.increment(Prefer="return=representation").status == 200
            deliver(pipeline)

    assert pipeline.version == 200
    assert requests.write_units() / 200 <= 2.15
    assert requests.operations.count("PutItem") == 200
    assert requests.operations.count("UpdateItem") == 200


@pytest.mark.no_cover
def test_swaps_cost_about_four_units_each(engine, pipeline):
    with aws_requests.record(reader=engine.client("dynamodb")) as requests:
        for version in range(200):
            assert pipeline.increment(If_Match=f'"{version}"').status == 200
            deliver(pipeline)

    assert pipeline.version == 200
    assert requests.write_units() / 200 <= 4.15
    assert requests.operations.count("TransactWriteItems") == 200
    assert "UpdateItem" not in requests.operations


@pytest.mark.no_cover
@pytest.mark.parametrize("size", [1, 10, 1000])
def test_events_counted_before_cost_no_write_when_redelivered(engine, pipeline, clock, size):
    sent = deliveries(pipeline.counter_id, size, 2_000 // size if size > 1 else 100, None)
    for clock.now_ms, events in sent:
        pipeline.project([message_body(*events)])

    with aws_requests.record(reader=engine.client("dynamodb")) as requests:
        for _, events in sent:
            pipeline.project([message_body(*events)], received=2)

    assert set(requests.operations) <= {"GetItem", "Query"}
    assert requests.write_units() == 0


@pytest.mark.no_cover
def test_a_replay_of_counted_events_costs_no_write(engine, pipeline, clock):
    """The messages are marked like those of `replay`, so the projector reads first."""
    from chalicelib import codec
    from testkit.builders import queue_record

    (_, events), *_ = deliveries(pipeline.counter_id, 1000, 1, None)
    pipeline.count(*events)
    attributes = {name: {"dataType": "String", "stringValue": value} for name, value in codec.LIKELY_COUNTED.items()}
    records = [{**queue_record(message_body(*events[n : n + 20])), "messageAttributes": attributes} for n in (0, 500)]

    with aws_requests.record(reader=engine.client("dynamodb")) as requests:
        import app

        app.project({"Records": records}, None)

    assert set(requests.operations) <= {"GetItem", "Query"}
    assert requests.write_units() == 0
