"""
Provide one interface to this project's design and the alternatives, on the engine in this process (testkit/engine.py).

`publish`, or the producer of an alternative, sends events as messages on a queue. A worker counts messages. The caller
decides which messages are delivered, when, and how often.
"""

import contextlib
import functools
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.awsrequest import AWSResponse

from benchmarks import alternatives
from benchmarks.measure import scope, workloads
from chalicelib import codec, settings
from chalicelib.aws import session
from chalicelib.aws import sqs as aws_sqs
from chalicelib.domain.events import Incremented
from testkit.builders import queue_batch
from testkit.engine import Engine
from testkit.faults import Attempt


@dataclass(frozen=True, slots=True)
class Design:
    """
    A design: how it sends events, its queue and messages, its workers, and how to read a counter's value.

    `send` and the workers make requests through the engine's gate. If one of them raises, the caller repeats the whole
    call. `encode` returns the bodies of the messages that `send` sends. `worker` returns the worker with this number,
    which counts the events in message bodies. Workers keep their state between calls, like a function's process.
    `value` bypasses the gate.
    """

    name: str
    send: Callable[[Sequence[Incremented]], None]
    queue_url: str
    encode: Callable[[Sequence[Incremented]], Iterable[str]]
    worker: Callable[[int], Callable[[Sequence[str]], None]]
    value: Callable[[str], int]


@contextlib.contextmanager
def connect(engine: Engine) -> Iterator[list[Design]]:
    """
    Provide all designs, each with a separate queue, and discard the output of the functions.

    The alternatives share their tables, which are empty at first.
    """
    with engine.serve_clients(*alternative_clients()), contextlib.redirect_stdout(io.StringIO()):
        alternatives.provision(engine.client("dynamodb"))
        aws_sqs.queue_url.cache_clear()
        yield [_connect_ours(engine), *(_connect_alternative(engine, alternative) for alternative in alternatives.ALL)]


@functools.cache
def alternative_clients() -> list[Any]:
    """Return separate clients for the alternatives, configured like ours: Powertools modifies its client."""
    return [session.create_session().create_client(service) for service in ("dynamodb", "sqs")]


@contextlib.contextmanager
def pass_gate(engine: Engine, gate: Callable[[Attempt], AWSResponse]) -> Iterator[None]:
    """Pass the engine's requests through `gate` within the block."""
    before, engine.gate = engine.gate, gate
    try:
        yield
    finally:
        engine.gate = before


def drain(engine: Engine, queue_url: str) -> list[str]:
    """Receive and delete all messages on the queue, and return their bodies."""
    sqs, bodies = engine.client("sqs"), []
    while messages := sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            bodies.append(message["Body"])
    return bodies


def pass_time(engine: Engine, seconds: int) -> None:
    """Age the entries of FIFO queues, idempotency tables and client tokens by `seconds`, without changing the clock."""
    from ministack.services import dynamodb, sqs  # noqa: PLC0415  (the engine has set their logging)

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


def _connect_ours(engine: Engine) -> Design:
    def value(counter_id: str) -> int:
        parts = engine.client("dynamodb").query(
            TableName=settings.current().counters_table,
            KeyConditionExpression="counter_id = :id",
            ExpressionAttributeValues={":id": {"S": counter_id}},
            ConsistentRead=True,
        )
        return sum(int(item["value"]["N"]) for item in parts["Items"])

    # Without partial batch responses, `project` raises if any message has to be redelivered.
    return Design(
        scope.OURS,
        lambda events: workloads.publish(events)(),
        engine.outputs["ProjectionQueueUrl"],
        codec.encode_bodies,
        lambda _number: lambda bodies: workloads.project_messages(bodies)(),
        value,
    )


def _connect_alternative(engine: Engine, alternative: alternatives.Alternative) -> Design:
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"} if alternative.fifo else {}
    name = f"alternatives-{alternatives.ALL.index(alternative)}{'.fifo' if alternative.fifo else ''}"
    database, queue = alternative_clients()
    queue_url = engine.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def encode(events: Sequence[Incremented]) -> list[str]:
        return [alternatives.message(event.counter_id, event.event_id, event.by) for event in events]

    def send(events: Sequence[Incremented]) -> None:
        for event, body in zip(events, encode(events), strict=True):
            group: Any = {"MessageGroupId": event.counter_id} if alternative.fifo else {}
            queue.send_message(QueueUrl=queue_url, MessageBody=body, **group)

    @functools.cache
    def worker(_number: int) -> Callable[[Sequence[str]], None]:
        work = alternative.worker(database)
        return lambda bodies: work(queue_batch(bodies), workloads.lambda_context())

    value = functools.partial(alternatives.value, engine.client("dynamodb"))
    return Design(alternative.name, send, queue_url, encode, worker, value)
