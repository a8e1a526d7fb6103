"""
Put this design and the alternatives behind one interface, on the in-process engine (tests/resilience/engine.py).

Events are handed over as messages on a queue, by `publish` or by the front of an alternative. A worker counts the
messages. The caller decides which messages are delivered, when, and how often.
"""

from __future__ import annotations

import contextlib
import functools
import io
import uuid
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import app
from benchmarks import alternatives
from benchmarks.measure import scope
from chalicelib import settings
from chalicelib.aws import session
from chalicelib.aws import sqs as aws_sqs
from tests.builders import queue_batch, stream_batch, stream_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chalicelib.domain.events import Incremented
    from tests.resilience.engine import Engine

_MS_LEFT = 30_000


@dataclass(frozen=True, slots=True)
class Design:
    """
    How events are put on a queue, which queue, how a worker counts message bodies, and how to read a counter's value.

    `hand_over` and workers make requests through the engine's gate. If they raise, the caller repeats all of it.
    `worker` returns the worker with this number, which keeps its state like a function's process. `value` passes no
    gate.
    """

    name: str
    hand_over: Callable[[Sequence[Incremented]], None]
    queue_url: str
    worker: Callable[[int], Callable[[Sequence[str]], None]]
    value: Callable[[str], int]


@contextlib.contextmanager
def on(engine: Engine) -> Iterator[list[Design]]:
    """Provide each design with empty tables and queues of its own. Suppress what the functions print."""
    with engine.serving(*alternative_clients()), contextlib.redirect_stdout(io.StringIO()):
        alternatives.provision(engine.client("dynamodb"))
        aws_sqs.queue_url.cache_clear()
        yield [_ours(engine), *(_alternative(engine, alternative) for alternative in alternatives.ALL)]


@functools.cache
def alternative_clients() -> list[Any]:
    """Return the clients of the alternatives, configured as ours. Powertools modifies the client that it gets."""
    return [session.create_session().create_client(service) for service in ("dynamodb", "sqs")]


def context() -> Any:
    """Return Lambda's context of an invocation that has just begun."""
    return SimpleNamespace(aws_request_id=str(uuid.uuid4()), get_remaining_time_in_millis=lambda: _MS_LEFT)


def alternative_message(event: Incremented) -> str:
    """Return the message that the front of an alternative sends for this event."""
    return alternatives.message(event.counter_id, event.event_id, event.by)


def bodies(engine: Engine, queue_url: str) -> list[str]:
    """Receive and delete everything on the queue, and return the bodies."""
    sqs, found = engine.client("sqs"), []
    while messages := sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            found.append(message["Body"])
    return found


def _ours(engine: Engine) -> Design:
    def value(counter_id: str) -> int:
        found = engine.client("dynamodb").query(
            TableName=settings.current().counters_table,
            KeyConditionExpression="counter_id = :id",
            ExpressionAttributeValues={":id": {"S": counter_id}},
            ConsistentRead=True,
        )
        return sum(int(item["value"]["N"]) for item in found["Items"])

    return Design(scope.OURS, _publish, engine.outputs["ProjectionQueueUrl"], lambda _number: _project, value)


def _publish(events: Sequence[Incremented]) -> None:
    app.publish(stream_batch([stream_record(event) for event in events]), context())


def _project(bodies: Sequence[str]) -> None:
    # Without partial batch responses, `project` raises if any message has to be delivered again.
    app.project(queue_batch(bodies), context())


def _alternative(engine: Engine, alternative: alternatives.Alternative) -> Design:
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"} if alternative.fifo else {}
    name = f"alternatives-{alternatives.ALL.index(alternative)}{'.fifo' if alternative.fifo else ''}"
    database, queue = alternative_clients()
    queue_url = engine.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def hand_over(events: Sequence[Incremented]) -> None:
        for event in events:
            group: Any = {"MessageGroupId": event.counter_id} if alternative.fifo else {}
            queue.send_message(QueueUrl=queue_url, MessageBody=alternative_message(event), **group)

    @functools.cache
    def worker(_number: int) -> Callable[[Sequence[str]], None]:
        work = alternative.worker(database)
        return lambda bodies: work(queue_batch(bodies), context())

    value = functools.partial(alternatives.value, engine.client("dynamodb"))
    return Design(alternative.name, hand_over, queue_url, worker, value)


def forget(engine: Engine, seconds: int) -> None:
    """
    Let so many seconds pass for FIFO queues, idempotency tables and client tokens, which remember for a time only.

    No clock moves: their entries become older.
    """
    from ministack.services import dynamodb, sqs  # noqa: PLC0415  (the engine's own; it has set their logging)

    for _, queue in sqs._queues.all_items():
        for entry in queue["dedup_cache"].values():
            entry["expire"] -= seconds
    for _, token in dynamodb._txn_idempotency.all_items():
        token["completed_at"] -= seconds
    client = engine.client("dynamodb")
    for item in client.get_paginator("scan").paginate(TableName=alternatives.MARKERS).search("Items[]"):
        for name, unit_s in (("expiration", 1), ("in_progress_expiration", 1000)):
            if name in item:
                item[name] = {"N": str(int(item[name]["N"]) - seconds * unit_s)}
                client.put_item(TableName=alternatives.MARKERS, Item=item)
