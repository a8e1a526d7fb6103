"""Record the caller of an increment in the log, and never show it to clients."""

import json

import boto3
import pytest

from chalicelib import codec, settings

INCREMENTS = "/counters/{counter_id}/increments"

CALLERS = {
    "api-key": ({"identity": {"apiKeyId": "8x2k1"}}, "api-key 8x2k1"),
    "iam": ({"identity": {"userArn": "arn:aws:iam::1:user/ann"}}, "iam arn:aws:iam::1:user/ann"),
    "jwt": ({"authorizer": {"principalId": "a\nb\ud800"}}, r"jwt a\nb\ud800"),
}

KINDS = {
    "increment": {},
    "add-and-get": {"Prefer": "return=representation"},
    "swap": {"If-Match": '"0"'},
}


def increment(pipeline, context=None, body=None, **headers):
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return pipeline.send("POST", INCREMENTS, headers=sent, body=body, context=context or {})


def read_log(pipeline):
    """Return the items of the counter in the log, in DynamoDB's JSON."""
    return boto3.client("dynamodb").query(
        TableName=settings.current().event_log_table,
        KeyConditionExpression="#p = :p",
        ExpressionAttributeNames={"#p": "partition"},
        ExpressionAttributeValues={":p": {"S": pipeline.counter_id}},
    )["Items"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("caller", CALLERS)
def test_caller_is_recorded_and_no_response_shows_it(pipeline, caller, kind):
    context, who = CALLERS[caller]
    answer = increment(pipeline, context, **KINDS[kind])
    pipeline.deliver()
    (item,) = read_log(pipeline)
    event_id = item["event_id"]["S"]

    shown = [answer, pipeline.counter(), pipeline.event(event_id), pipeline.events(), pipeline.history()]

    assert (item["version"]["N"], item["who"]["S"]) == ("2", who)
    assert (pipeline.value, pipeline.version, pipeline.parked()) == (1, 1, [])
    assert pipeline.event(event_id).body["status"] == "counted"
    for response in shown:
        assert response.status in (200, 202)
        text = json.dumps([response.headers, response.body])
        assert json.dumps(who)[1:-1] not in text
        assert '"who"' not in text


def test_increment_by_anyone_is_stored_without_a_caller(pipeline):
    increment(pipeline, {"identity": {"apiKeyId": None, "userArn": None, "sourceIp": "192.0.2.1"}})

    (item,) = read_log(pipeline)
    assert sorted(item) == ["by", "event_id", "partition", "recorded_at", "type", "version"]
    assert item["version"] == {"N": "1"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("first", "second"),
    [({}, "jwt"), ("api-key", {}), ("api-key", "iam"), ("jwt", {"authorizer": {"principalId": "x"}})],
)
def test_retry_by_another_caller_is_the_same_increment(pipeline, kind, first, second):
    """In between, the stage changed `WRITERS`, or the client changed its credentials."""
    contexts = [CALLERS[each][0] if isinstance(each, str) else each for each in (first, second)]
    answers = [
        increment(pipeline, context, {"by": 2}, Idempotency_Key="k", **KINDS[kind])
        for context in (*contexts, *contexts)
    ]
    pipeline.deliver()

    assert len({(answer.status, json.dumps(answer.body)) for answer in answers}) == 1
    assert [answer.headers.get("Idempotency-Replayed") for answer in answers] == [None, "true", "true", "true"]
    assert (pipeline.value, len(read_log(pipeline))) == (2, 1)
    assert increment(pipeline, contexts[1], {"by": 3}, Idempotency_Key="k").status == 422


def test_older_code_parks_the_event_and_newer_code_counts_it(pipeline, monkeypatch):
    increment(pipeline, CALLERS["jwt"][0], {"by": 2})
    records = pipeline.new_records()
    with monkeypatch.context() as older:
        older.delitem(codec._DECODERS, ("Incremented", 2))
        pipeline.publish(records)
        (parked,) = pipeline.parked()

    pipeline.project([parked["Body"]])

    assert parked["MessageAttributes"]["reason"]["StringValue"] == "unknown event type or version: 'Incremented' 2"
    assert pipeline.value == 2
