"""The scheduled check: a part at a time, within its budget; what a replay can repair is repaired, the rest is told."""

from __future__ import annotations

import json

import boto3
import pytest

from chalicelib import checker, event_log, read_model, settings, verifier
from chalicelib.errors import QueueUnavailableError
from tests import faults
from tests.building import a_scheduled_turn, an_event, log_items


def logged(pipeline, name, number):
    events = [an_event(counter_id=name, by=n + 1) for n in range(number)]
    for event in events:
        event_log.append(event)
    return events


def turn_of(counter_id):
    """A time at which it is this counter's turn."""
    parts = settings.current().check_parts
    (part,) = [
        part
        for part in range(parts)
        if counter_id in {counter.counter_id for counter in read_model.scan_counters(part, parts)}
    ]
    return part * settings.CHECK_EVERY_S


def drift(capsys, counter_id):
    """What is in the log of it, by kind."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line["kind"] for line in lines if line.get("message") == "drift" and line["counter_id"] == counter_id]


def test_an_event_that_was_lost_on_the_way_is_counted(pipeline, capsys):
    events = logged(pipeline, pipeline.counter_id, 4)
    pipeline.count(*events[:3])

    checked = checker.check(turn_of(pipeline.counter_id))

    assert checked.repaired >= 1
    assert checked.oldest_s > 1_000_000
    assert drift(capsys, pipeline.counter_id) == []
    assert (pipeline.value, pipeline.version) == (10, 4)


def test_what_a_replay_cannot_repair_is_told_and_left(pipeline, capsys):
    pipeline.count(*logged(pipeline, pipeline.counter_id, 3))
    boto3.client("dynamodb").update_item(
        TableName="counter-pipeline-counters",
        Key={"counter_id": {"S": pipeline.counter_id}},
        UpdateExpression="ADD #v :n",
        ExpressionAttributeNames={"#v": "value"},
        ExpressionAttributeValues={":n": {"N": "5"}},
    )

    checked = checker.check(turn_of(pipeline.counter_id))

    assert drift(capsys, pipeline.counter_id) == [verifier.TOO_HIGH]
    assert checked.drift >= 1
    assert pipeline.value == 11


def test_what_cannot_be_read_hides_nothing_that_can_be_repaired(pipeline, capsys):
    pipeline.count(*logged(pipeline, pipeline.counter_id, 1))
    items = log_items(an_event(counter_id=pipeline.counter_id) for _ in range(120))
    for item in items:
        boto3.client("dynamodb").put_item(
            TableName="counter-pipeline-event-log", Item=item | {"type": {"S": "Squared"}}
        )
    logged(pipeline, pipeline.counter_id, 1)

    checker.check(turn_of(pipeline.counter_id))

    assert (pipeline.value, pipeline.version) == (2, 2)


def test_every_counter_has_its_turn_within_a_round(pipeline):
    names = [f"{pipeline.counter_id}.{n}" for n in range(20)]
    for name in names:
        pipeline.count(*logged(pipeline, name, 1))
    parts = settings.current().check_parts

    checked = [checker.check(turn * settings.CHECK_EVERY_S) for turn in range(parts)]

    assert sum(one.counters for one in checked) >= 20
    assert sum(one.left_out for one in checked) == 0


def test_a_counter_beyond_the_budget_is_left_out_and_told(pipeline, a_small_budget):
    pipeline.count(*logged(pipeline, pipeline.counter_id, a_small_budget + 1))

    checked = checker.check(0)

    assert checked.left_out >= 1
    assert checked.counters <= 1


def test_parked_messages_are_told(pipeline):
    pipeline.project(["poison"])

    assert checker.check(0).parked == 1


def test_a_run_as_lambda_makes_it_writes_its_metrics_also_where_they_are_0(pipeline, capsys):
    import app

    app.check(a_scheduled_turn(), None)

    (metrics,) = [line for text in capsys.readouterr().out.splitlines() if "Drift" in (line := json.loads(text))]
    assert {"Drift", "Repaired", "LeftOut", "OnDeadLetterQueue", "OldestUncounted"} <= set(metrics)


def test_a_queue_that_does_not_answer_fails_the_check_as_an_outage(pipeline):
    with faults.at("GetQueueAttributes", faults.never_arrives, faults.ALWAYS), pytest.raises(QueueUnavailableError):
        checker.check(0)
