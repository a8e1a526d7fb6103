"""Prepare runs of the functions on new counters, which the measurements then start."""

import functools
import uuid
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import app
from chalicelib import codec, command_handlers
from chalicelib.domain.events import Incremented
from chalicelib.read_model import writer
from testkit.builders import api_event, front_event, queue_batch, stream_batch, stream_record

#: A prepared run. The run of a request returns the gateway's response.
Run = Callable[[], Any]

#: A default time in the future, so that no event is old when it is counted, and all log lines with an age have the same
#: length.
FUTURE_MS = 4_000_000_000_000


def increment(counter_id: str | None = None, target: Any = None, **headers: str) -> Run:
    """Prepare an increment with our app or another app."""
    path = {"counter_id": counter_id or new_counter_id()}
    event = api_event("POST", "/counters/{counter_id}/increments", path=path, headers=headers or None)
    return functools.partial(target or app.app, event, lambda_context())


def keyed_increment() -> Run:
    """Prepare an increment with an idempotency key."""
    return increment(**{"Idempotency-Key": str(uuid.uuid4())})


def query() -> Run:
    """Prepare a query for a counter that has been incremented."""
    event = api_event("GET", "/counters/{counter_id}", path={"counter_id": counted_counter()})
    return functools.partial(app.app, event, lambda_context())


def serve(method: str, path: str, host: str, headers: dict[str, str]) -> Run:
    """Prepare a request to an HTTP API or a function URL with this host."""
    return functools.partial(app.serve, front_event(method, path, host, headers), lambda_context())


def publish(events: Iterable[Incremented]) -> Run:
    """Prepare a run of `publish`."""
    return functools.partial(app.publish, stream_batch([stream_record(event) for event in events]), lambda_context())


def project(events: Iterable[Incremented]) -> Run:
    """Prepare a run of `project`, with a message of these events."""
    return project_messages([*codec.encode_bodies(events)])


def project_messages(bodies: Sequence[str]) -> Run:
    """Prepare a run of `project`, with messages of these bodies."""
    return functools.partial(app.project, queue_batch(bodies), lambda_context())


def events_of_one_counter(size: int, first_ms: int = FUTURE_MS) -> list[Incremented]:
    """Return events of a new counter, a millisecond apart."""
    counter_id = new_counter_id()
    return [new_event(counter_id, first_ms + number) for number in range(size)]


def events_of_many_counters(size: int, at_ms: int = FUTURE_MS) -> list[Incremented]:
    """Return events, each of a new counter."""
    return [new_event(new_counter_id(), at_ms) for _ in range(size)]


def new_event(counter_id: str, recorded_at_ms: int = FUTURE_MS) -> Incremented:
    """Return an event with a new id."""
    return Incremented(counter_id, command_handlers.generate_event_id(recorded_at_ms), 1, recorded_at_ms)


def counted_counter() -> str:
    """Return the id of a new counter that has been incremented."""
    counter_id = new_counter_id()
    writer.count([new_event(counter_id)])
    return counter_id


def new_counter_id() -> str:
    """Return a counter id of typical length."""
    return f"counter-{uuid.uuid4().hex[:12]}"


def lambda_context() -> Any:
    """Return Lambda's context of an invocation that has just started."""
    return SimpleNamespace(aws_request_id=str(uuid.uuid4()), get_remaining_time_in_millis=lambda: 30_000)
