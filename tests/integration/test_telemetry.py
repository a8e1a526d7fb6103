"""Trace one increment by the ids in log lines, and check that metrics are written once per invocation."""

import json
import types
from dataclasses import dataclass
from typing import Any

import pytest

import app
from chalicelib import codec, command_handlers, publisher, settings, telemetry
from chalicelib.domain.archive import ENTRIES_PER_PLAN
from chalicelib.domain.commands import Increment
from chalicelib.errors import PartlyCountedError, QueueUnavailableError, ReadModelUnavailableError
from testkit import faults
from testkit.builders import an_event, api_event, message_body, queue_record, stream_batch, stream_record

CONTEXT = types.SimpleNamespace(aws_request_id="an invocation")


@dataclass
class Seen:
    """The standard output since the last call."""

    lines: list[dict[str, Any]]
    metrics: list[dict[str, Any]]

    @property
    def sums(self):
        return {name: one[name][0] for one in self.metrics for name in telemetry.METRICS if name in one}


@pytest.fixture
def seen(pipeline, capsys):
    """Return the log lines as operators see them. A line that is not JSON fails."""

    def read():
        written = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return Seen([one for one in written if "_aws" not in one], [one for one in written if "_aws" in one])

    read()
    return read


def test_one_increment_is_followed_from_its_request_to_its_count_by_ids(pipeline, seen):
    path = {"counter_id": pipeline.counter_id}
    request = api_event("POST", "/counters/{counter_id}/increments", path=path)
    app.app(request, CONTEXT)
    (accepted,) = seen().lines
    app.publish(stream_batch(pipeline.new_records()), CONTEXT)
    (published,) = seen().lines
    (message,) = pipeline.drain(pipeline.queue_url)
    app.project(stream_batch([{**queue_record(message["Body"]), "messageId": message["MessageId"]}]), CONTEXT)
    (projected,) = seen().lines

    assert accepted["request_id"] == request["requestContext"]["requestId"]
    assert (accepted["message"], accepted["counter_id"]) == ("command accepted", pipeline.counter_id)
    assert (accepted["outcome"], accepted["is_retry"]) == ("recorded", False)
    assert published["event_ids"] == [accepted["event_id"]]
    assert (published["message"], published["events"]) == ("published", 1)
    assert projected["message_ids"] == [published["message_id"]]
    assert (projected["message"], projected["events"], projected["new"]) == ("projected", 1, 1)
    assert 0 <= projected["lag_s"] < 60
    for line in (accepted, published, projected):
        assert (line["level"], line["service"], line["invocation_id"]) == ("INFO", "counter", "an invocation")
        assert line["timestamp"].endswith("+00:00")


def test_metrics_are_written_in_one_line_of_the_embedded_format(pipeline, seen):
    pipeline.increment()

    (metric,) = seen().metrics
    (described,) = metric["_aws"]["CloudWatchMetrics"]
    assert described["Namespace"] == "Counter"
    assert sorted(described["Dimensions"][0]) == ["service", "stage"]
    assert described["Metrics"] == [{"Name": "Recorded", "Unit": "Count"}, {"Name": "Delivered", "Unit": "Count"}]
    assert (metric["service"], metric["stage"]) == ("counter", "pipeline")
    assert (metric["Recorded"], metric["Delivered"]) == ([1], [0])


@pytest.mark.parametrize(
    ("headers", "outcome", "sums"),
    [
        ({}, "recorded", {"Recorded": 1, "Delivered": 0}),
        ({"If_Match": '"0"'}, "counted", {"Recorded": 1, "Delivered": 0, "Counted": 1}),
        ({"Prefer": "return=representation"}, "counted", {"Recorded": 1, "Delivered": 0, "Counted": 1}),
    ],
)
def test_command_logs_its_outcome_and_a_retry_measures_nothing(pipeline, seen, headers, outcome, sums):
    pipeline.increment({"by": 2}, Idempotency_Key="k", **headers)
    first = seen()
    pipeline.increment({"by": 2}, Idempotency_Key="k", **headers)
    again = seen()

    assert [(line["outcome"], line["is_retry"]) for line in first.lines] == [(outcome, False)]
    assert [(line["outcome"], line["is_retry"]) for line in again.lines] == [(outcome, True)]
    assert again.lines[0]["event_id"] == first.lines[0]["event_id"]
    assert (first.sums, again.sums) == (sums, {})


def test_many_events_are_one_log_line_per_message_and_one_per_batch(pipeline, seen):
    events = [
        an_event(counter_id=pipeline.counter_id, recorded_at_ms=ms) for ms in (1_700_000_005_000, 1_700_000_000_000)
    ]

    pipeline.publish([stream_record(event) for event in events])
    published = seen()
    pipeline.project([message_body(*events), message_body(*events)])
    projected = seen()

    (line,) = published.lines
    assert (line["events"], line["event_ids"]) == (2, [event.event_id for event in events])
    assert published.sums == {"Published": 2}
    (line,) = projected.lines
    assert (line["events"], line["new"], len(line["message_ids"])) == (4, 2, 2)
    names = ("Delivered", "Counted", "Duplicates")
    assert {name: projected.sums[name] for name in names} == {"Delivered": 4, "Counted": 2, "Duplicates": 2}


def test_lag_is_measured_from_the_oldest_new_event(pipeline, seen):
    old, new = (an_event(counter_id=pipeline.counter_id, recorded_at_ms=ms) for ms in (0, 1_700_000_000_000))
    pipeline.project([message_body(old)])
    first = seen().sums["Lag"]

    pipeline.project([message_body(old, new)])
    pipeline.project([message_body(old, new)])
    later = seen()

    assert first - 1_700_000_000 == pytest.approx(later.metrics[0]["Lag"][0], abs=60)
    assert [line.get("lag_s") for line in later.lines] == [later.metrics[0]["Lag"][0], None]
    assert "Lag" not in later.metrics[1]


def test_parked_message_is_logged_with_reason_source_and_destination(pipeline, seen):
    record = queue_record("broken")
    app.project(stream_batch([record]), CONTEXT)
    pipeline.publish([{"eventName": "REMOVE"}])
    found = seen()

    queued, streamed = pipeline.parked()
    first, second = found.lines
    assert (first["level"], first["message"]) == ("WARNING", "parked")
    assert first["reason"].startswith("the body is not JSON")
    assert (first["source"], first["message_id"]) == ("projection queue", record["messageId"])
    assert (second["source"], "message_id" in second) == ("event log stream", False)
    assert [first["parked_as"], second["parked_as"]] == [queued["MessageId"], streamed["MessageId"]]
    assert [metric["Parked"] for metric in found.metrics] == [[1], [1]]


def test_refused_swap_is_logged_and_measured(pipeline, seen):
    pipeline.increment(If_Match='"7"')

    found = seen()
    (line,) = found.lines
    assert (line["level"], line["message"]) == ("INFO", "command refused: the counter is at another version")
    assert (line["counter_id"], line["expected"], line["version"]) == (pipeline.counter_id, 7, 0)
    assert found.sums == {"Refused": 1}


def test_refused_key_is_logged_with_its_event(pipeline, seen):
    pipeline.increment({"by": 1}, Idempotency_Key="k")
    (accepted,) = seen().lines

    pipeline.increment({"by": 2}, Idempotency_Key="k")

    found = seen()
    (line,) = found.lines
    assert (line["event_id"], line["message"].startswith("command refused")) == (accepted["event_id"], True)
    assert found.sums == {}


def test_request_answered_503_is_logged_with_ids_and_traceback(pipeline, seen):
    with faults.inject("PutItem", faults.throttle, faults.ALWAYS):
        pipeline.increment()

    found = seen()
    (line,) = found.lines
    assert (line["level"], line["message"], line["exception_name"]) == (
        "WARNING",
        "request failed",
        "LogUnavailableError",
    )
    assert line["exception"].startswith("Traceback")
    assert {"request_id", "counter_id", "event_id"} <= line.keys()
    assert found.sums == {"Unavailable": 1}


def test_unexpected_failure_of_a_request_is_an_error_with_a_traceback(pipeline, seen):
    def breaks(_attempt):
        raise RuntimeError("broken")

    with faults.inject("Query", breaks, faults.ALWAYS):
        answer = pipeline.counter()

    (line,) = seen().lines
    assert (answer.status, line["level"], line["message"]) == (500, "ERROR", "request failed")
    assert "RuntimeError" in line["exception"]


@pytest.mark.parametrize("body", [{"by": "many"}, "no JSON"])
def test_queries_and_malformed_requests_are_not_logged(pipeline, seen, body):
    pipeline.counter()
    pipeline.send("GET", "/counters")
    pipeline.increment(body)

    assert seen() == Seen([], [])


def test_events_counted_before_a_failure_are_measured(pipeline, seen):
    bodies = [message_body(an_event(counter_id=pipeline.counter_id)), "broken"]

    with faults.inject("SendMessage", faults.drop_request, faults.ALWAYS), pytest.raises(QueueUnavailableError):
        pipeline.project(bodies)

    found = seen()
    projected, failed = found.lines
    assert (projected["message"], projected["new"]) == ("projected", 1)
    assert (failed["level"], failed["message"]) == ("WARNING", "the function failed")
    assert failed["exception_name"] == "QueueUnavailableError"
    assert found.sums.keys() == {"Delivered", "Counted", "Lag"}


def test_redelivered_messages_are_logged_with_the_failing_counter(pipeline, seen, answers_by_message):
    hot, calm = an_event(counter_id=f"{pipeline.counter_id}.hot"), an_event(counter_id=pipeline.counter_id)

    def hot_conflicts(attempt):
        return faults.conflict(attempt) if b".hot" in attempt.request.body else attempt.carry_out()

    with faults.inject("UpdateItem", hot_conflicts, faults.ALWAYS):
        again = pipeline.project([message_body(hot), message_body(calm)])

    found = seen()
    projected, left = found.lines
    assert again == [message_body(hot)]
    assert (left["level"], left["message"], left["counter_ids"]) == ("WARNING", "not counted", [hot.counter_id])
    assert (len(left["message_ids"]), len(projected["message_ids"])) == (1, 1)
    assert (projected["events"], projected["new"]) == (1, 1)
    assert (found.sums["NotCounted"], found.sums["Counted"]) == (1, 1)
    assert "Duplicates" not in found.sums


#: One event more than one plan may count.
MANY = ENTRIES_PER_PLAN + 1


@pytest.fixture
def hot(pipeline):
    """Return events of another counter, all but the last of which fit one transaction."""
    return [an_event(counter_id=f"{pipeline.counter_id}.hot", recorded_at_ms=n * 1000) for n in range(MANY)]


def hot_is_throttled(attempt):
    return faults.exceed_throughput(attempt) if b".hot" in attempt.request.body else attempt.carry_out()


def test_events_counted_before_a_failure_are_measured_with_their_batch(pipeline, seen, answers_by_message, hot):
    calm = an_event(counter_id=pipeline.counter_id)
    bodies = [*codec.encode_bodies(hot)]

    with faults.inject("UpdateItem", hot_is_throttled, faults.ALWAYS):
        again = pipeline.project([*bodies, message_body(calm)])
    first = seen()
    pipeline.project(again)
    second = seen()

    projected = [first.lines[0], second.lines[0]]
    assert [(line["events"], line["new"]) for line in projected] == [(MANY, MANY), (MANY, 1)]
    assert "Duplicates" not in first.sums
    assert second.sums["Duplicates"] == MANY - 1


@pytest.mark.parametrize("others", [0, 1])
def test_counted_events_are_measured_if_all_messages_are_redelivered(pipeline, seen, hot, others):
    bodies = [*codec.encode_bodies(hot), *[message_body(an_event(counter_id=pipeline.counter_id))] * others]

    with faults.inject("UpdateItem", hot_is_throttled, faults.ALWAYS), pytest.raises(PartlyCountedError):
        pipeline.project(bodies)
    first = seen()
    pipeline.project(bodies)
    second = seen()

    assert [line["message"] for line in first.lines] == ["projected", "the function failed"]
    assert first.sums["Counted"] == MANY - 1 + others
    assert "Duplicates" not in first.sums
    assert (second.sums["Counted"], second.sums["Duplicates"]) == (1, MANY - 1 + others)


def test_log_fields_of_one_invocation_are_not_in_the_next(pipeline, seen):
    body = message_body(an_event(counter_id=pipeline.counter_id))
    pipeline.increment()
    with faults.inject("UpdateItem", faults.throttle, faults.ALWAYS), pytest.raises(ReadModelUnavailableError):
        pipeline.project([body])

    pipeline.project([body])

    last = seen().lines[-1]
    assert not {"request_id", "event_id", "counter_id", "exception"} & last.keys()


def test_outside_a_function_nothing_is_measured(pipeline, seen):
    command_handlers.record(Increment(pipeline.counter_id))
    publisher.publish(stream_batch(pipeline.new_records()))

    found = seen()
    accepted, published = found.lines
    assert (accepted["message"], published["message"]) == ("command accepted", "published")
    assert "event_id" not in published
    assert found.metrics == []


def test_empty_batch_logs_nothing(pipeline, seen):
    pipeline.project([])
    pipeline.publish([])

    assert seen() == Seen([], [])


def test_log_lines_contain_no_client_input(pipeline, capsys):
    capsys.readouterr()

    pipeline.increment({"by": 137}, Idempotency_Key="jane@example.com")
    pipeline.increment({"by": 731}, Idempotency_Key="jane@example.com")
    pipeline.increment({"name": "Jane"})

    written = capsys.readouterr().out
    assert pipeline.counter_id in written
    assert "jane" not in written.lower()
    # Compare whole values, because a time or an id may contain these digits.
    lines = [json.loads(line) for line in written.splitlines()]
    assert not [line for line in lines if 137 in line.values() or 731 in line.values()]


def test_below_the_level_only_metrics_are_written(pipeline, seen):
    telemetry.set_level("WARNING")
    try:
        pipeline.increment()
    finally:
        telemetry.set_level(settings.current().log_level)

    found = seen()
    assert (found.lines, found.sums) == ([], {"Recorded": 1, "Delivered": 0})


def test_chalices_own_log_lines_are_json_too(pipeline, seen):
    pipeline.send("GET", "/counters/{counter_id}/events/{event_id}")  # without an event id

    ours, chalices = seen().lines
    assert (ours["message"], ours["level"]) == ("the function failed", "ERROR")
    assert (chalices["message"].partition(" /")[0], chalices["level"]) == ("Caught exception for path", "ERROR")


def test_any_text_can_be_logged(pipeline, seen):
    telemetry.log_parked("a source", "half a pair \ud800, a bell \x07, two\nlines", {"odd": b"bytes"}, "1")

    (line,) = seen().lines
    assert line["reason"] == "half a pair \ud800, a bell \x07, two\nlines"
