"""
Invalid messages and records are parked once with their reason; the others in the batch are counted.

tests/resilience/test_arbitrary_messages.py has generated messages.
"""

import json

import pytest

import app
from testkit.builders import an_event, message_body, stream_record


def reasons(parked):
    return [message["MessageAttributes"]["reason"]["StringValue"] for message in parked]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("not JSON at all", "the body is not JSON"),
        ('{"version":1,"events":[', "the body is not JSON"),
        ('{"version":7,"events":[]}', "the body is not a message of version 1"),
        ('["Incremented"]', "the body is not a message of version 1"),
        (
            '{"version":1,"events":[{"type":"Incremented","version":9}]}',
            "unknown event type or version: 'Incremented' 9",
        ),
        ('{"version":1,"events":["é"]}', "an event must be an object"),
    ],
)
def test_broken_message_is_parked_and_the_others_are_counted(pipeline, body, reason):
    good = [an_event(counter_id=pipeline.counter_id, by=by) for by in (1, 2)]

    pipeline.project([message_body(good[0]), body, message_body(good[1])])

    (parked,) = pipeline.parked()
    assert pipeline.value == 3
    assert parked["Body"] == body
    assert reasons([parked])[0].startswith(reason)
    assert parked["MessageAttributes"]["source"]["StringValue"] == "projection queue"


def test_redriven_message_counts_only_its_uncounted_events(pipeline):
    message = json.loads(message_body(*[an_event(counter_id=pipeline.counter_id) for _ in range(3)]))
    message["events"][1]["version"] = 2
    pipeline.project([json.dumps(message)])
    (parked,) = pipeline.parked()

    pipeline.project([parked["Body"].replace('"version": 2', '"version": 1')])

    assert (pipeline.value, pipeline.version) == (3, 3)


def test_parked_stream_record_is_sent_back_and_counted_by_newer_code(pipeline):
    record = stream_record(an_event(counter_id=pipeline.counter_id, by=5))
    record["dynamodb"]["NewImage"]["version"] = {"N": "2"}
    pipeline.publish([record])
    (parked,) = pipeline.parked()

    pipeline.project([parked["Body"]])
    still_parked = pipeline.parked()
    pipeline.project([parked["Body"].replace('{"N": "2"}', '{"N": "1"}')])

    assert [message["Body"] for message in still_parked] == [parked["Body"]]
    assert (pipeline.value, pipeline.version, pipeline.parked()) == (5, 1, [])


@pytest.mark.parametrize(
    "record",
    [
        {"eventName": "INSERT", "dynamodb": {"NewImage": {"partition": {"S": "clicks"}}}},
        {"eventName": "REMOVE", "dynamodb": {"Keys": {}}},
        {"eventSource": "aws:kinesis"},
        {},
        "a text",
        None,
    ],
)
def test_broken_stream_record_is_parked_and_the_others_are_published(pipeline, record):
    good = [an_event(counter_id=pipeline.counter_id) for _ in range(2)]

    pipeline.publish([stream_record(good[0]), record, stream_record(good[1])])
    pipeline.project(pipeline.published())

    (parked,) = pipeline.parked()
    assert pipeline.value == 2
    assert json.loads(parked["Body"]) == record if not isinstance(record, str) else parked["Body"] == record
    assert parked["MessageAttributes"]["source"]["StringValue"] == "event log stream"


def test_message_of_the_maximum_size_is_parked_whole(pipeline):
    body = json.dumps({"version": 2, "filler": "x" * (256 * 1024 - 28)})

    pipeline.project([body])

    assert [message["Body"] for message in pipeline.parked()] == [body]


def test_message_longer_than_the_queues_limit_is_cut_and_marked(pipeline):
    record = {"eventName": "INSERT", "dynamodb": "\u00e9" * 600_000}

    pipeline.publish([record, stream_record(an_event(counter_id=pipeline.counter_id))])

    (parked,) = pipeline.parked()
    whole = json.dumps(record, ensure_ascii=False)
    assert whole.startswith(parked["Body"])
    assert len(parked["Body"].encode()) > 999_990
    assert reasons([parked])[0].startswith(f"truncated from {len(whole.encode())} bytes; not a stream record")
    assert len(pipeline.published()) == 1


def test_message_nested_too_deeply_for_json_is_parked_shortened(pipeline):
    record: list[object] = []
    for _ in range(5000):
        record = [record]

    pipeline.publish([record, stream_record(an_event(counter_id=pipeline.counter_id))])

    (parked,) = pipeline.parked()
    assert parked["Body"] == '"[[[[[[[...]]]]]]]"'
    assert len(pipeline.published()) == 1


def test_record_without_a_body_is_parked_unchanged(pipeline):
    app.project({"Records": [{"messageId": "1"}]}, None)

    assert [json.loads(message["Body"]) for message in pipeline.parked()] == [{"messageId": "1"}]


def test_characters_that_sqs_refuses_are_parked_as_json(pipeline):
    pipeline.project(["bell \x07 and \ud800 half a pair"])

    assert [json.loads(message["Body"]) for message in pipeline.parked()] == ["bell \x07 and \ud800 half a pair"]


def test_empty_batch_changes_nothing(pipeline):
    pipeline.project([])
    pipeline.publish([])

    assert (pipeline.value, pipeline.published(), pipeline.parked()) == (0, [], [])


@pytest.mark.parametrize("batch", [None, [], {}, {"Records": None}, {"Records": 5}, {"Records": "ab"}])
@pytest.mark.parametrize("function", ["publish", "project"])
def test_invalid_batch_is_parked_whole(pipeline, function, batch):
    getattr(app, function)(batch, None)

    assert [json.loads(message["Body"]) for message in pipeline.parked()] == [batch]
