"""
What operators see of the functions: one line of JSON for each thing that happened, and metrics. Powertools stops here.

One increment is followed by the ids in these lines:

    command accepted    request_id (the gateway's), counter_id, event_id
    published           message_id (the queue's), event_ids: one line for each message on each queue
    projected           message_ids: one line for each batch of each projection
    drift               counter_id, event_id: what the scheduled check found wrong and could not repair

and all lines of one run of a function have its `invocation_id`. Metrics gather while a function runs and leave as one
more line, in CloudWatch's embedded metric format, when it ends, however it ends. No body or idempotency key of a client
is ever written.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import sys
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics

from chalicelib import settings
from chalicelib.errors import KeyReusedError, RequestError, UnavailableError, VersionMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from chalicelib.domain.events import Event

#: Also the name of the Chalice application, whose own lines are therefore written in the same way.
SERVICE = "counter"
NAMESPACE = "Counter"

#: Every metric, with its unit. Names of alarms and dashboards: a public interface, never renamed.
METRICS = {
    "Recorded": "Count",
    "Published": "Count",
    "Delivered": "Count",
    "Counted": "Count",
    "Duplicates": "Count",
    "SqlCounted": "Count",
    "SqlDuplicates": "Count",
    "NotCounted": "Count",
    "Parked": "Count",
    "Refused": "Count",
    "Unavailable": "Count",
    "Lag": "Seconds",
    "SqlLag": "Seconds",
    "Drift": "Count",
    "Repaired": "Count",
    "OnDeadLetterQueue": "Count",
    "OldestUncounted": "Seconds",
    "CheckAge": "Seconds",
}


class _StandardOutput(logging.Handler):
    """Writes to what is standard output by then, each line at one go."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stdout.write(f"{self.format(record)}\n")


#: Half a surrogate pair, too, can be written so.
_in_ascii = functools.partial(json.dumps, default=str, separators=(",", ":"))

_log = Logger(
    service=SERVICE,
    level="INFO",
    logger_handler=_StandardOutput(),
    json_serializer=_in_ascii,
    utc=True,
    use_rfc3339=True,
    serialize_stacktrace=False,  # it is there as text
    location=None,  # always in this module
    xray_trace_id=None,
)
logging.getLogger(SERVICE).propagate = False

#: What the function that runs now has measured so far; None while none runs.
_measured: ContextVar[dict[str, float] | None] = ContextVar("measured", default=None)


def set_level(level: str) -> None:
    """Lines below this level are not written; metrics are, all the same."""
    _log.setLevel(level)


@contextlib.contextmanager
def watch_invocation(received: object) -> Iterator[None]:
    """
    A function runs, on what Chalice received: its lines have its ids, and its metrics are written when it ends.

    What it raises is written with its traceback, and goes on.
    """
    measured: dict[str, float] = {}
    outer = _measured.set(measured)
    _log.thread_safe_clear_keys()
    _log.thread_safe_append_keys(**_ids(received))
    try:
        yield
    except Exception as error:
        say = _log.warning if isinstance(error, UnavailableError) else _log.error
        say("the function failed", exc_info=True)
        raise
    finally:
        _write(measured)
        _log.thread_safe_clear_keys()
        _measured.reset(outer)


def add_event_keys(event: Event) -> None:
    """From here on the lines of this invocation name the event that a command is about."""
    if _measured.get() is not None:
        _log.thread_safe_append_keys(counter_id=event.counter_id, event_id=event.event_id)


def log_accepted(*, counted: bool, replayed: bool) -> None:
    """
    Report that a command's event is in the log: since before if `replayed`, and counted already if `counted`.

    Each recorded event also adds 0 to `Delivered`. So a period in which events are recorded and none are delivered has
    a data point, which an alarm can compare with 1 without metric math.
    """
    _log.info("command accepted", extra={"outcome": "counted" if counted else "recorded", "replayed": replayed})
    if not replayed:
        _count("Recorded", 1)
        _measure("Delivered", 0)
        _count("Counted", int(counted))


def log_failed_request(error: Exception) -> None:
    """A request is answered with a problem document. That a request is malformed is between us and the client."""
    match error:
        case VersionMismatchError(asked=asked, counter=counter):
            what = {"counter_id": counter.counter_id, "asked": asked, "version": counter.version}
            _log.info("command refused: the counter is at another version", extra=what)
            _count("Refused", 1)
        case KeyReusedError():
            _log.info("command refused: its key came with another body before")
        case RequestError():
            pass
        case UnavailableError():
            _log.warning("request not answered", exc_info=True)
            _count("Unavailable", 1)
        case _:
            _log.error("request not answered", exc_info=True)


def log_published(message_id: str, event_ids: Sequence[str], queue: str) -> None:
    """A message with these events is on this queue, which is one projection's."""
    is_first = queue == settings.current().projection_queue
    what = {"message_id": message_id, "events": len(event_ids), "event_ids": event_ids}
    _log.info("published", extra=what if is_first else {"queue": queue, **what})
    if is_first:  # each event is published once, to however many
        _count("Published", len(event_ids))


def log_projected(
    message_ids: Sequence[object], *, events: int, new: int, oldest_ms: int | None, metrics: str = ""
) -> None:
    """
    Report how many events of a batch of messages are counted, and how many of them are `new`.

    `oldest_ms` is when the oldest new event was recorded. `message_ids` are the messages of which every event is
    counted. `metrics` is the prefix of the names of the projection's metrics. `Delivered` is of the first projection
    only: a duplicate shows as well as a new event that events arrive.
    """
    if not events:
        return
    lag_s = None if oldest_ms is None else max(0, time.time_ns() // 1_000_000 - oldest_ms) / 1000
    what = {"events": events, "new": new, "lag_s": lag_s, "message_ids": message_ids}
    _log.info("projected", extra=what)
    if not metrics:
        _count("Delivered", events)
    _count(f"{metrics}Counted", new)
    _count(f"{metrics}Duplicates", events - new)
    if lag_s is not None:
        _measure(f"{metrics}Lag", lag_s)


def log_not_counted(message_ids: Sequence[object], counter_ids: Iterable[str]) -> None:
    """These messages come again, for events of these counters could not be counted, and the rest of the batch could."""
    what = {"message_ids": message_ids, "counter_ids": sorted(counter_ids)}
    _log.warning("not counted", exc_info=True, extra=what)
    _count("NotCounted", len(message_ids))


def log_parked(source: str, reason: str, message_id: object, parked_as: str) -> None:
    """Something from `source`, there as `message_id`, is on the dead-letter queue as `parked_as`."""
    what = {"source": source, "reason": reason, "message_id": message_id, "parked_as": parked_as}
    _log.warning("parked", extra=what)
    _count("Parked", 1)


def log_check(counters: int, events: int, found: Mapping[str, float]) -> None:
    """Report what a run of the scheduled check read and found. `found` holds metrics; zeros are written, too."""
    _log.info("checked", extra={"counters": counters, "events": events, "found": found})
    for name, value in found.items():
        _measure(name, value)


def log_drift(counter_id: str, kind: str, detail: str, event_id: str | None) -> None:
    """Something is wrong with a counter that a replay of its events does not repair."""
    _log.error("drift", extra={"counter_id": counter_id, "event_id": event_id, "kind": kind, "detail": detail})


def _ids(received: Any) -> dict[str, Any]:
    """The gateway's id of a request, and Lambda's of the invocation."""
    context = getattr(received, "context", None)
    function = getattr(received, "lambda_context", context)
    return {
        "request_id": context.get("requestId") if isinstance(context, dict) else None,
        "invocation_id": getattr(function, "aws_request_id", None),
    }


def _count(name: str, number: int) -> None:
    if number:
        _measure(name, number)


def _measure(name: str, value: float) -> None:
    measured = _measured.get()
    if measured is not None:
        measured[name] = measured.get(name, 0) + value


def _write(measured: dict[str, float]) -> None:
    if not measured:
        return
    metrics = EphemeralMetrics(namespace=NAMESPACE, service=SERVICE)
    metrics.add_dimension("stage", settings.current().stage)
    for name, value in measured.items():
        metrics.add_metric(name, METRICS[name], value)
    metrics.flush_metrics()
