"""
What one run of each function asks of AWS, writes, answers and takes, on tables and queues of the embedded AWS.

Requests, units and bytes are the same on any machine; CPU time is not.
"""

from __future__ import annotations

import contextlib
import functools
import io
import statistics
import time
import uuid
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3

import app
from bench import alternatives
from bench.costing import Load, Step
from chalicelib import codec, commands, read_model
from chalicelib.domain.events import Incremented
from tests import aws
from tests.building import api_event, queue_batch, stream_batch, stream_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.client import BaseClient

    #: Makes ready, and returns what is to be measured. That returns the gateway's answer, if it is a request's.
    Prepare = Callable[[], Callable[[], dict[str, Any] | None]]

#: So that no event is old when it is counted, and lines about its age are of one length.
_IN_FUTURE_MS = 4_000_000_000_000


def increment() -> Callable[[], Any]:
    """The command, plain, by a client with an idempotency key."""
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    return _request(api_event("POST", "/counters/{counter_id}/increments", path=_path(), headers=headers))


def query() -> Callable[[], Any]:
    """The query for a counter that has been incremented."""
    path = _path()
    read_model.count([Incremented(path["counter_id"], str(uuid.uuid4()), 1, _IN_FUTURE_MS)])
    return _request(api_event("GET", "/counters/{counter_id}", path=path))


def publish(size: int) -> Callable[[], None]:
    """`publish`, of so many events."""
    batch = stream_batch([stream_record(event) for event in _events_of_many_counters(size)])
    return lambda: app.publish(batch, _context())


def project(load: Load, rate: int, size: int) -> Callable[[], None]:
    """`project`, of one message with so many events, as they come at this rate, while counting goes on."""
    events = _events_of_one_counter(rate, size) if load.one_counter else _events_of_many_counters(size)
    batch = queue_batch(list(codec.to_messages(events)))
    return lambda: app.project(batch, _context())


def work(alternative: alternatives.Alternative, database: Any, size: int) -> Callable[[], None]:
    """A alternative's worker, of so many messages of one counter."""
    counter_id = _a_counter_id()
    batch = queue_batch([alternatives.message(counter_id, str(uuid.uuid4())) for _ in range(size)])
    worker = alternative.worker(database)
    return lambda: worker(batch, _context())


def event_bytes() -> int:
    """What an event takes in the log."""
    run = increment()
    with aws.requests() as requests, contextlib.redirect_stdout(io.StringIO()):
        run()
    ((_, put),) = requests.made
    return aws.size(put["Item"])


def alternative_message_bytes() -> int:
    """What a message takes that a alternative's front sends."""
    return len(alternatives.message(_a_counter_id(), str(uuid.uuid4())))


def measured(prepare: Prepare, repeats: int, *clients: BaseClient) -> Step:
    """
    One run, seen at these clients, or else the application's. CPU time is the median of so many repetitions.

    Units are those of the items as they are afterwards, which for what is read before a write is a little too much.
    """
    cpu_ms = []
    for _ in range(repeats):
        run, written = prepare(), io.StringIO()
        with aws.requests(*clients) as requests, contextlib.redirect_stdout(written):
            began = time.process_time()
            answer = run()
            cpu_ms.append((time.process_time() - began) * 1000)
    return Step(
        requests=len(requests.made),
        write_units=requests.write_units(),
        read_units=requests.read_units(),
        message_bytes=tuple(len(sent["MessageBody"].encode()) for name, sent in requests.made if name == "SendMessage"),
        log_bytes=len(written.getvalue().encode()),
        answer_bytes=_answer_bytes(answer),
        cpu_ms=round(statistics.median(cpu_ms), 1),
    )


def _events_of_many_counters(size: int) -> list[Incremented]:
    return [
        Incremented(_a_counter_id(), commands.time_ordered_id(_IN_FUTURE_MS), 1, _IN_FUTURE_MS) for _ in range(size)
    ]


def _events_of_one_counter(rate: int, size: int) -> list[Incremented]:
    """
    A batch that begins half way between two seconds, as batches do on the average, so many a second.

    What the second holds by then has been counted with the batch before.
    """
    counter_id = _a_counter_id()

    def at(number: int) -> Incremented:
        recorded_at_ms = _IN_FUTURE_MS + number * 1000 // rate
        return Incremented(counter_id, commands.time_ordered_id(recorded_at_ms), 1, recorded_at_ms)

    half = rate // 2
    read_model.count([at(number) for number in range(half)])
    return [at(number) for number in range(half, half + size)]


def _request(event: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    return functools.partial(app.app, event, _context())


def _answer_bytes(answer: dict[str, Any] | None) -> int:
    if answer is None or "headers" not in answer:  # the platform's, and not a client's
        return 0
    headers = "".join(f"{name}: {value}\r\n" for name, value in answer["headers"].items())
    return len((headers + answer["body"]).encode())


def _path() -> dict[str, str]:
    return {"counter_id": _a_counter_id()}


def _a_counter_id() -> str:
    return f"counter-{uuid.uuid4().hex[:12]}"


def _context() -> Any:
    """Lambda's context of a run."""
    return SimpleNamespace(aws_request_id=str(uuid.uuid4()), get_remaining_time_in_millis=lambda: 30_000)


def database() -> Any:
    """The one client of the alternatives' workers; their tables are there, made anew."""
    client = boto3.client("dynamodb")
    alternatives.provision(client)
    return client
