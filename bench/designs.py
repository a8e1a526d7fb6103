"""
The design and its rivals, all with one face, on the engine within this process (tests/proof/engine.py).

An event is handed over, by `publish` here and by the front there, and lies in messages on a queue; a worker counts
what the queue brings. What lies between is in the caller's hands.
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
from bench import rivals, scope
from chalicelib import queues, settings, timing
from tests.building import queue_batch, stream_batch, stream_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chalicelib.domain.events import Incremented
    from tests.proof.engine import Engine

_MS_LEFT = 30_000


@dataclass(frozen=True, slots=True)
class Design:
    """
    How events get on a queue, which one, how a worker counts the bodies of messages, and what a counter stands at.

    `hand_over` and workers ask AWS through the engine's gate; they raise where they fail, and all has to be repeated.
    `worker` gives the worker with this number, which lives on, as a function's process does. `value` passes no gate.
    """

    name: str
    hand_over: Callable[[Sequence[Incremented]], None]
    queue_url: str
    worker: Callable[[int], Callable[[Sequence[str]], None]]
    value: Callable[[str], int]


@contextlib.contextmanager
def on(engine: Engine) -> Iterator[list[Design]]:
    """Inside, each design is there, with tables and queues of its own, empty; and what the functions print is not."""
    with engine.serving(*rivals_clients()), contextlib.redirect_stdout(io.StringIO()):
        rivals.provision(engine.client("dynamodb"))
        queues.url.cache_clear()
        yield [_ours(engine), *(_rivals(engine, rival) for rival in rivals.ALL)]


@functools.cache
def rivals_clients() -> list[Any]:
    """The rivals' clients, for Powertools leaves its mark on what it gets: a database and a queue, set as ours are."""
    return [timing.session().create_client(service) for service in ("dynamodb", "sqs")]


def context() -> Any:
    """What Lambda says of a run that has begun just now."""
    return SimpleNamespace(aws_request_id=str(uuid.uuid4()), get_remaining_time_in_millis=lambda: _MS_LEFT)


def rival_message(event: Incremented) -> str:
    """What a rival's front sends of this event."""
    return rivals.message(event.counter_id, event.event_id, event.by)


def bodies(engine: Engine, queue_url: str) -> list[str]:
    """What lies on the queue, which is empty then."""
    sqs, found = engine.client("sqs"), []
    while messages := sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            found.append(message["Body"])
    return found


def _ours(engine: Engine) -> Design:
    def value(counter_id: str) -> int:
        item = engine.client("dynamodb").get_item(
            TableName=settings.current().counters_table, Key={"counter_id": {"S": counter_id}}, ConsistentRead=True
        )
        return int(item["Item"]["value"]["N"]) if "Item" in item else 0

    return Design(scope.OURS, _publish, engine.outputs["ProjectionQueueUrl"], lambda _number: _project, value)


def _publish(events: Sequence[Incremented]) -> None:
    app.publish(stream_batch([stream_record(event) for event in events]), context())


def _project(bodies: Sequence[str]) -> None:
    # Without the event source that reads answers, `project` raises where anything has to come again.
    app.project(queue_batch(bodies), context())


def _rivals(engine: Engine, rival: rivals.Rival) -> Design:
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"} if rival.fifo else {}
    name = f"rivals-{rivals.ALL.index(rival)}{'.fifo' if rival.fifo else ''}"
    database, queue = rivals_clients()
    queue_url = engine.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def hand_over(events: Sequence[Incremented]) -> None:
        for event in events:
            group: Any = {"MessageGroupId": event.counter_id} if rival.fifo else {}
            queue.send_message(QueueUrl=queue_url, MessageBody=rival_message(event), **group)

    @functools.cache
    def worker(_number: int) -> Callable[[Sequence[str]], None]:
        work = rival.worker(database)
        return lambda bodies: work(queue_batch(bodies), context())

    value = functools.partial(rivals.value, engine.client("dynamodb"))
    return Design(rival.name, hand_over, queue_url, worker, value)


def forget(engine: Engine, seconds: int) -> None:
    """
    So much time has passed for what remembers events for a time only: FIFO queues, idempotency tables, client tokens.

    No clock is moved: what was noted gets so much older.
    """
    from ministack.services import dynamodb, sqs  # noqa: PLC0415  (the engine's own; it has set their logging)

    for _, queue in sqs._queues.all_items():
        for entry in queue["dedup_cache"].values():
            entry["expire"] -= seconds
    for _, token in dynamodb._txn_idempotency.all_items():
        token["completed_at"] -= seconds
    client = engine.client("dynamodb")
    for item in client.get_paginator("scan").paginate(TableName=rivals.MARKERS).search("Items[]"):
        for name, unit_s in (("expiration", 1), ("in_progress_expiration", 1000)):
            if name in item:
                item[name] = {"N": str(int(item[name]["N"]) - seconds * unit_s)}
                client.put_item(TableName=rivals.MARKERS, Item=item)
