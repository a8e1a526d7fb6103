"""What an increment costs, from the command to the counter, in requests and in units by the published rules."""

from __future__ import annotations

import dataclasses
import json

import pytest

from bench import cost
from chalicelib import codec, event_log, projector, publisher, settings
from tests import aws
from tests.building import a_scheduled_turn, an_event, message_body, queue_batch, stream_batch, stream_record

A_SECOND_MS = 1_700_000_000_000


def test_an_append_is_one_request_and_one_unit(pipeline):
    with aws.requests() as requests:
        pipeline.increment({"by": 1000}, Idempotency_Key="x" * 255)

    assert requests.operations == ["PutItem"]
    assert requests.write_units() == 1


def test_a_query_is_one_request_and_one_unit(pipeline):
    pipeline.increment(If_Match='"0"')

    with aws.requests() as requests:
        pipeline.counter()

    assert requests.operations == ["GetItem"]
    assert requests.read_units() == 1


def test_a_badge_is_one_request_and_one_unit(pipeline):
    pipeline.increment(If_Match='"0"')

    with aws.requests() as requests:
        answer = pipeline.badge()

    assert "<title>" in answer.body
    assert requests.operations == ["GetItem"]
    assert requests.read_units() == 1


def test_asking_for_a_counted_event_is_two_requests_and_two_units(pipeline):
    event_id = pipeline.increment(If_Match='"0"').headers["Location"].rpartition("/")[2]

    with aws.requests() as requests:
        answer = pipeline.event(event_id)

    assert answer.body["status"] == "counted"
    assert requests.operations == ["GetItem", "BatchGetItem"]
    assert requests.read_units() == 2


def test_asking_for_a_pending_event_is_a_request_and_a_unit_more(pipeline):
    event_id = pipeline.increment().body["event_id"]

    with aws.requests() as requests:
        answer = pipeline.event(event_id)

    assert answer.body["status"] == "pending"
    assert requests.operations == ["GetItem", "BatchGetItem", "GetItem"]
    assert requests.read_units() == 3


def test_asking_for_a_pending_event_of_a_full_second_is_six_units(pipeline):
    events = [an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_SECOND_MS) for _ in range(1000)]
    event_log.append(events[0])
    pipeline.count(*events[1:])

    with aws.requests() as requests:
        answer = pipeline.event(events[0].event_id)

    assert answer.body["status"] == "pending"
    assert len(requests.operations) == 3
    assert requests.read_units() == 6


def test_a_lone_increment_costs_five_write_units_from_command_to_counter(pipeline):
    with aws.requests() as requests:
        pipeline.increment()
        pipeline.publish(pipeline.new_records())
        pipeline.project(pipeline.published())

    assert requests.operations == ["PutItem", "SendMessage", "BatchGetItem", "TransactWriteItems"]
    assert requests.write_units() == 5
    assert pipeline.value == 1


def test_a_hundred_increments_of_one_second_cost_little_more_than_their_appends(pipeline):
    with aws.requests() as appended:
        for _ in range(100):
            pipeline.increment()
    in_one_second = [an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_SECOND_MS + n) for n in range(100)]
    with aws.requests() as counted:
        pipeline.publish([stream_record(event) for event in in_one_second])
        pipeline.project(pipeline.published())

    assert counted.operations == ["SendMessage", "BatchGetItem", "TransactWriteItems"]
    assert (appended.write_units(), counted.write_units()) == (100, 6)
    assert pipeline.value == 100


def test_an_event_delivered_again_costs_no_write(pipeline):
    event = an_event(counter_id=pipeline.counter_id)
    pipeline.count(event)

    with aws.requests() as requests:
        pipeline.count(event)

    assert requests.operations == ["BatchGetItem"]
    assert requests.write_units() == 0


def test_a_swap_is_a_read_and_a_transaction(pipeline):
    with aws.requests() as requests:
        pipeline.increment(If_Match='"0"')

    assert requests.operations == ["GetItem", "TransactWriteItems"]
    assert requests.write_units() == 6


def test_a_refused_swap_costs_one_read(pipeline):
    with aws.requests() as requests:
        pipeline.increment(If_Match='"3"')

    assert requests.operations == ["GetItem"]


def test_a_thousand_stream_records_are_one_message(pipeline):
    records = [stream_record(an_event(counter_id=pipeline.counter_id)) for _ in range(1000)]

    with aws.requests() as requests:
        publisher.publish(stream_batch(records)["Records"])

    assert requests.operations == ["SendMessage"]


def test_ten_messages_of_one_counter_and_second_are_one_read_and_one_transaction(pipeline):
    bodies = [message_body(an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_SECOND_MS)) for _ in range(10)]

    with aws.requests() as requests:
        projector.project(queue_batch(bodies)["Records"])

    assert requests.operations == ["BatchGetItem", "TransactWriteItems"]
    assert pipeline.value == 10


def test_a_history_of_a_day_with_an_event_every_minute_is_one_query(pipeline):
    pipeline.count(
        *[an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_SECOND_MS + n * 60_000) for n in range(1440)]
    )

    with aws.requests() as requests:
        answer = pipeline.history(from_="2023-11-14T22:13:20Z", to="2023-11-15T22:13:20Z")

    assert len(answer.body["points"]) == 1440
    assert requests.operations == ["GetItem", "Query"]
    assert requests.read_units() <= 31


def test_a_page_of_50_events_one_a_second_is_six_requests_and_31_units(pipeline):
    pipeline.record(
        *[an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_SECOND_MS + n * 1000) for n in range(80)]
    )

    with aws.requests() as requests:
        answer = pipeline.events()

    assert len(answer.body["events"]) == 50
    assert requests.operations == ["GetItem", *["Query"] * 4, "BatchGetItem"]
    assert requests.read_units() <= 31


@pytest.mark.parametrize("lone", [59, 99])
def test_the_dearest_page_of_events_costs_what_readme_says_at_most(pipeline, put_for_now, lone):
    """The cursor at the end of a full second, then seconds of one event, then full ones, of which one is needed."""
    full = [
        (0, 1000),
        *((second, 1) for second in range(1, lone + 1)),
        *((second, 1000) for second in range(lone + 1, lone + 70)),
    ]
    events = {
        second: [
            an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_SECOND_MS - second * 1000) for _ in range(held)
        ]
        for second, held in full
    }
    put_for_now(settings.current().buckets_table, [a_bucket(pipeline.counter_id, *held) for held in events.values()])
    logged = [event for of_second in list(events.values())[: lone + 2] for event in of_second]
    put_for_now(
        settings.current().event_log_table,
        [{"partition": pipeline.counter_id, **codec.fields(event)} for event in logged],
    )
    oldest_of_first = min(events[0], key=lambda event: (event.recorded_at_ms, event.event_id))

    with aws.requests() as requests:
        answer = pipeline.events(limit=100, cursor=cursor_behind(oldest_of_first))

    assert len(answer.body["events"]) == 100
    assert len(requests.operations) <= 28
    assert 1_150 < requests.read_units() <= 1_200


def cursor_behind(event):
    from chalicelib import http
    from chalicelib.domain.history import EventPage, position_of

    return http.events_page(EventPage([], position_of(event))).body["next_cursor"]


def a_bucket(partition, *events):
    return {
        "partition": partition,
        "second": events[0].recorded_at_ms // 1000,
        "ids": {codec.id_bytes(event.event_id) for event in events},
        "sum": len(events),
    }


def test_what_the_cost_table_is_computed_from_is_what_is_measured_now(pipeline):
    stored = cost.read()

    now = cost.measured(cost.setup(), repeats=1)

    assert now.event_bytes == stored.event_bytes
    assert now.rival_message_bytes == stored.rival_message_bytes
    assert now.steps.keys() == stored.steps.keys()
    for name, step in now.steps.items():
        assert dataclasses.replace(step, cpu_ms=0) == dataclasses.replace(stored.steps[name], cpu_ms=0), name


def test_the_hourly_check_writes_as_many_metrics_as_the_cost_table_says(pipeline, capsys):
    import app

    app.check(a_scheduled_turn(), None)

    (written,) = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" in line]
    (metrics,) = written["_aws"]["CloudWatchMetrics"]
    assert len(metrics["Metrics"]) == cost.METRICS_OF_THE_CHECK


def test_an_adjustment_is_two_reads_and_a_transaction(pipeline):
    from chalicelib import commands
    from chalicelib.domain.commands import Adjust

    with aws.requests() as requests:
        commands.adjust(Adjust(pipeline.counter_id, "k", "a test", "ann", by=5))

    assert requests.operations == ["GetItem", "GetItem", "TransactWriteItems"]
    assert requests.write_units() == 6
