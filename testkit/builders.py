"""
Builders of events, messages and requests, with typical defaults.

By default, every event and message gets a new id.
"""

import itertools
import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from chalicelib import codec
from chalicelib.domain.events import Adjusted, Event, Incremented, IncrementedByCaller

_sequence = itertools.count(1)

A_TIME_MS = 1_700_000_000_123


def a_counter_id() -> str:
    return f"counter-{uuid.uuid4()}"


def an_event(
    *, counter_id: str = "clicks", event_id: str | None = None, by: int = 1, recorded_at_ms: int = A_TIME_MS
) -> Incremented:
    return Incremented(counter_id, event_id or str(uuid.uuid4()), by, recorded_at_ms)


def an_event_by_caller(
    *,
    counter_id: str = "clicks",
    event_id: str | None = None,
    by: int = 1,
    recorded_at_ms: int = A_TIME_MS,
    who: str = "jwt ann",
) -> IncrementedByCaller:
    return IncrementedByCaller(counter_id, event_id or str(uuid.uuid4()), by, recorded_at_ms, who)


def an_adjustment(
    *,
    counter_id: str = "clicks",
    event_id: str | None = None,
    by: int = -1,
    recorded_at_ms: int = A_TIME_MS,
    reason: str = "counted twice by hand",
    who: str = "ann",
) -> Adjusted:
    return Adjusted(counter_id, event_id or str(uuid.uuid4()), by, recorded_at_ms, reason, who)


def log_items(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the events as the log of a stage with SHARDS=1 stores them, in DynamoDB's JSON."""
    return [
        {
            "partition": {"S": event.counter_id},
            **{
                name: {"N": str(value)} if isinstance(value, int) else {"S": value}
                for name, value in codec.encode_event(event).items()
            },
        }
        for event in events
    ]


def stream_record(event: Event, **changes: Any) -> dict[str, Any]:
    (image,) = log_items([event])
    return {
        "eventID": uuid.uuid4().hex,
        "eventName": "INSERT",
        "eventSource": "aws:dynamodb",
        "dynamodb": {"NewImage": image, "SequenceNumber": str(next(_sequence)), "StreamViewType": "NEW_IMAGE"},
        **changes,
    }


def stream_note(first_ms: int, last_ms: int) -> str:
    """Return Lambda's record of a discarded stream batch whose records arrived between these times."""
    first, last = (datetime.fromtimestamp(ms // 1000, UTC).isoformat() for ms in (first_ms, last_ms))
    return json.dumps(
        {
            "requestContext": {"condition": "MaxRecordAgeExceeded", "approximateInvokeCount": 40},
            "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
            "version": "1.0",
            "timestamp": last.replace("+00:00", "Z"),
            "DDBStreamBatchInfo": {
                "shardId": "shardId-1",
                "approximateArrivalOfFirstRecord": first.replace("+00:00", "Z"),
                "approximateArrivalOfLastRecord": last.replace("+00:00", "Z"),
                "batchSize": 1,
            },
        }
    )


def stream_batch(records: Iterable[Any]) -> dict[str, Any]:
    return {"Records": list(records)}


def a_scheduled_turn() -> dict[str, Any]:
    """Return the event that EventBridge sends on a schedule."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": "2026-01-31T12:00:00Z",
        "region": "us-east-1",
        "resources": [],
        "detail": {},
    }


def message_body(*events: Event) -> str:
    (body,) = codec.encode_bodies(events)
    return body


def queue_record(body: Any, received: int = 1) -> dict[str, Any]:
    """Return a record that SQS delivers. `received` is the number of deliveries, including this one."""
    return {
        "messageId": str(uuid.uuid4()),
        "receiptHandle": uuid.uuid4().hex,
        "body": body,
        "attributes": {"ApproximateReceiveCount": str(received)},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
    }


def received_record(message: dict[str, Any]) -> dict[str, Any]:
    """Return the record in which Lambda passes on a message that SQS returned to a receiver."""
    attributes = {
        name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
        for name, value in message.get("MessageAttributes", {}).items()
    }
    return {**queue_record(message["Body"]), "messageAttributes": attributes}


def queue_batch(bodies: Iterable[Any], received: int = 1) -> dict[str, Any]:
    return {"Records": [queue_record(body, received) for body in bodies]}


def api_event(
    method: str,
    resource: str,
    *,
    path: dict[str, str] | None = None,
    query: dict[str, list[str]] | None = None,
    headers: dict[str, str] | None = None,
    body: Any = None,
    address: str | None = None,
    context: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """
    Return API Gateway's event for one request. A `body` other than text is sent as JSON.

    `path` has the path's parameters as API Gateway passes them on, percent-encoded. `address` is the path in the URL.
    `context` replaces members of the request's context, such as the identity that API Gateway authenticated.
    """
    sent = dict(headers or {})
    if body is not None and not isinstance(body, str):
        body = json.dumps(body)
        sent.setdefault("Content-Type", "application/json")
    return {
        "resource": resource,
        "path": resource,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": {name: values[-1] for name, values in (query or {}).items()} or None,
        "multiValueQueryStringParameters": query,
        "pathParameters": path,
        "stageVariables": None,
        "requestContext": {
            "requestId": str(uuid.uuid4()),
            "httpMethod": method,
            "resourcePath": resource,
            "path": address or f"/api{resource}",
            "stage": "api",
            "identity": {},
            **(context or {}),
        },
        "body": body,
        "isBase64Encoded": False,
    }


def front_event(method: str, path: str, host: str, headers: dict[str, str]) -> dict[str, Any]:
    """Return the event of an HTTP API or a function URL, in the payload format 2.0. The host distinguishes the two."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": host, **headers},
        "requestContext": {
            "domainName": host,
            "requestId": str(uuid.uuid4()),
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
        },
        "isBase64Encoded": False,
    }
