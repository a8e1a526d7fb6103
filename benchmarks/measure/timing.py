"""
What one run of each function asks of AWS, logs, returns and takes, on tables and queues of the embedded AWS.

Requests, units and bytes are the same on any machine; CPU time is not. Each batch is of counters that are new, and so
are its units: what counting takes in the steady state follows from benchmarks/measure/steady_state.py.
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
from benchmarks import alternatives
from benchmarks.models.costing import Step
from chalicelib import codec, command_handlers
from chalicelib.domain.events import Incremented
from chalicelib.read_model import writer
from tests import aws_requests
from tests.builders import api_event, queue_batch, stream_batch, stream_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.client import BaseClient

    #: Prepares a run, and returns it. A run of a request returns the gateway's response.
    Prepare = Callable[[], Callable[[], dict[str, Any] | None]]

#: So that no event is old when it is counted, and lines about its age are of one length.
_IN_FUTURE_MS = 4_000_000_000_000


def increment() -> Callable[[], Any]:
    """Return a plain command, by a client with an idempotency key."""
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    return _request(api_event("POST", "/counters/{counter_id}/increments", path=_path(), headers=headers))


def query() -> Callable[[], Any]:
    """Return a query for a counter that has been incremented."""
    path = _path()
    writer.count([Incremented(path["counter_id"], str(uuid.uuid4()), 1, _IN_FUTURE_MS)])
    return _request(api_event("GET", "/counters/{counter_id}", path=path))


def publish(size: int) -> Callable[[], None]:
    """Return a run of `publish`, of so many events."""
    batch = stream_batch([stream_record(event) for event in _events_of_many_counters(size)])
    return lambda: app.publish(batch, _context())


def project_one(size: int) -> Callable[[], None]:
    """Return a run of `project` with one message, of so many events of one counter."""
    counter_id = _a_counter_id()
    return _project([_event(counter_id, _IN_FUTURE_MS + number) for number in range(size)])


def project_apart(size: int) -> Callable[[], None]:
    """Return a run of `project` with one message, of so many events of as many counters."""
    return _project(_events_of_many_counters(size))


def _project(events: list[Incremented]) -> Callable[[], None]:
    batch = queue_batch(list(codec.encode_bodies(events)))
    return lambda: app.project(batch, _context())


def work(alternative: alternatives.Alternative, database: Any, size: int) -> Callable[[], None]:
    """Return a run of an alternative's worker, of so many messages of one counter."""
    counter_id = _a_counter_id()
    batch = queue_batch([alternatives.message(counter_id, str(uuid.uuid4())) for _ in range(size)])
    worker = alternative.worker(database)
    return lambda: worker(batch, _context())


def event_bytes() -> int:
    """Return the size of an event in the log."""
    run = increment()
    with aws_requests.record() as requests, contextlib.redirect_stdout(io.StringIO()):
        run()
    ((_, put),) = requests.made
    return aws_requests.size(put["Item"])


def alternative_message_bytes() -> int:
    """Return the size of a message from the front of an alternative."""
    return len(alternatives.message(_a_counter_id(), str(uuid.uuid4())))


def measured(prepare: Prepare, repeats: int, *clients: BaseClient) -> Step:
    """Measure one run at these clients, or else the application's. CPU time is the median of so many repetitions."""
    run, written = prepare(), io.StringIO()
    with aws_requests.record(*clients, reader=aws_requests.reader()) as requests, contextlib.redirect_stdout(written):
        answer = run()
    cpu_ms = []
    for _ in range(repeats):
        run = prepare()  # and no one looks on, which would take time itself
        with contextlib.redirect_stdout(io.StringIO()):
            began = time.process_time()
            run()
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
    return [_event(_a_counter_id(), _IN_FUTURE_MS) for _ in range(size)]


def _event(counter_id: str, recorded_at_ms: int) -> Incremented:
    return Incremented(counter_id, command_handlers.generate_event_id(recorded_at_ms), 1, recorded_at_ms)


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
    """Return Lambda's context of an invocation."""
    return SimpleNamespace(aws_request_id=str(uuid.uuid4()), get_remaining_time_in_millis=lambda: 30_000)


def database() -> Any:
    """Create the tables of the alternatives from scratch, and return the one client of their workers."""
    client = boto3.client("dynamodb")
    alternatives.provision(client)
    return client
