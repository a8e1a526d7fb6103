"""
Write the logs and metrics of the functions: one line of JSON per occurrence. Only this module uses Powertools.

The ids in these lines trace one increment:

    command accepted    request_id (the gateway's), counter_id, event_id
    published           message_id (the queue's), event_ids: one line for each message on each queue
    projected           message_ids: one line for each batch of each projection
    drift               counter_id, event_id: a difference that the scheduled check could not repair

All log lines of an invocation contain its `invocation_id`. When the invocation ends, even with an error, its metrics
are written as one more line, in CloudWatch's embedded metric format. Request bodies and idempotency keys are never
written.
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
from chalicelib.projections import PROJECTIONS, READ_MODEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from chalicelib.domain.events import Event
    from chalicelib.projections import Projection

#: Also the name of the Chalice application, so that its own log lines have the same format.
SERVICE = "counter"
NAMESPACE = "Counter"

#: Units of a stage's metrics, and of each projection's metrics, whose names start with the projection's prefix.
_OF_STAGE = {
    "Recorded": "Count",
    "Published": "Count",
    "Delivered": "Count",
    "NotCounted": "Count",
    "Parked": "Count",
    "Refused": "Count",
    "Unavailable": "Count",
    "Drift": "Count",
    "Repaired": "Count",
    "OnDeadLetterQueue": "Count",
    "OldestUncounted": "Seconds",
    "CheckAge": "Seconds",
}
_OF_PROJECTION = {"Counted": "Count", "Duplicates": "Count", "Lag": "Seconds"}


def list_metrics(projections: Iterable[Projection]) -> dict[str, str]:
    """Return the names of the metrics that a stage with these projections has, each with its unit."""
    names = {f"{each.prefix}{name}": unit for each in projections for name, unit in _OF_PROJECTION.items()}
    return _OF_STAGE | names


#: Units of all metrics. The names are a public interface, which alarms and dashboards use, and never change.
METRICS = list_metrics(PROJECTIONS)


class _StandardOutput(logging.Handler):
    """A handler that writes each line to the current `sys.stdout`, even if it was replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stdout.write(f"{self.format(record)}\n")


#: ASCII-only JSON can represent even a lone surrogate.
_encode_ascii = functools.partial(json.dumps, default=str, separators=(",", ":"))

_log = Logger(
    service=SERVICE,
    level="INFO",
    logger_handler=_StandardOutput(),
    json_serializer=_encode_ascii,
    utc=True,
    use_rfc3339=True,
    serialize_stacktrace=False,  # the text form is enough
    location=None,  # always this module
    xray_trace_id=None,
)
logging.getLogger(SERVICE).propagate = False

#: Metrics of the current invocation; None outside an invocation.
_measured: ContextVar[dict[str, float] | None] = ContextVar("measured", default=None)


def set_level(level: str) -> None:
    """Suppress log lines below this level. Metrics are always written."""
    _log.setLevel(level)


@contextlib.contextmanager
def watch_invocation(received: object) -> Iterator[None]:
    """
    Add the ids of an invocation to its log lines, and write its metrics when it ends.

    `received` is the event that Chalice passes to middleware. Errors are logged with a traceback and raised again.
    """
    measured: dict[str, float] = {}
    outer = _measured.set(measured)
    _log.thread_safe_clear_keys()
    _log.thread_safe_append_keys(**_ids(received))
    try:
        yield
    except Exception as error:
        log = _log.warning if isinstance(error, UnavailableError) else _log.error
        log("the function failed", exc_info=True)
        raise
    finally:
        _write(measured)
        _log.thread_safe_clear_keys()
        _measured.reset(outer)


def add_event_ids(event: Event) -> None:
    """Add the ids of a command's event to the remaining log lines of this invocation."""
    if _measured.get() is not None:
        _log.thread_safe_append_keys(counter_id=event.counter_id, event_id=event.event_id)


def log_accepted(*, counted: bool, is_retry: bool) -> None:
    """
    Log that a command's event is recorded. With `is_retry`, an earlier attempt recorded it.

    Each recorded event also adds 0 to `Delivered`. A period with recorded but no delivered events then has a data point
    of 0, so an alarm needs no metric math.
    """
    _log.info("command accepted", extra={"outcome": "counted" if counted else "recorded", "is_retry": is_retry})
    if not is_retry:
        _count("Recorded", 1)
        _measure("Delivered", 0)
        _count("Counted", int(counted))


def log_failed_request(error: Exception) -> None:
    """Log a failed request. Of the errors that the client must correct, log only version mismatches and reused keys."""
    match error:
        case VersionMismatchError(expected=expected, counter=counter):
            fields = {"counter_id": counter.counter_id, "expected": expected, "version": counter.version}
            _log.info("command refused: the counter is at another version", extra=fields)
            _count("Refused", 1)
        case KeyReusedError():
            _log.info("command refused: its key was already used with a different body")
        case RequestError():
            pass
        case UnavailableError():
            _log.warning("request failed", exc_info=True)
            _count("Unavailable", 1)
        case _:
            _log.error("request failed", exc_info=True)


def log_refused_token(reason: str) -> None:
    """
    Log that a token is invalid, without the token itself.

    Shorten the reason, because the token's sender controls part of it.
    """
    _log.info("token refused", extra={"reason": reason[:100]})


def log_kept_keys(issuer: str) -> None:
    """Log that an issuer's keys could not be fetched, and that the known keys stay in use."""
    _log.warning("keys not fetched", exc_info=True, extra={"issuer": issuer})


def log_missing_feature(module: str | None) -> None:
    """Log that a request or the scheduled check needs an optional feature that this deployment lacks."""
    _log.warning("feature not found", extra={"feature": module})


def log_old_catalog() -> None:
    """Log that the catalog cannot be read, and that this process still uses its old copy."""
    _log.warning("the catalog is not available: using the last copy", exc_info=True)


def log_published(message_id: str, event_ids: Sequence[str], projection: Projection, queue: str) -> None:
    """Log that a message with these events was sent to a projection's queue."""
    is_first = projection is READ_MODEL
    fields = {"message_id": message_id, "events": len(event_ids), "event_ids": event_ids}
    _log.info("published", extra=fields if is_first else {"queue": queue, **fields})
    if is_first:  # count each event once, not once per projection
        _count("Published", len(event_ids))


def log_projected(
    message_ids: Sequence[object], *, events: int, new: int, oldest_ms: int | None, metric_prefix: str
) -> None:
    """
    Log how many events of a batch of messages are counted, and how many of them are `new`.

    `oldest_ms` is the time of the oldest new event. `message_ids` are the ids of the messages whose events are all
    counted. Only the first projection has the metric `Delivered`. The metric includes duplicates, which also show that
    events arrive.
    """
    if not events:
        return
    lag_s = None if oldest_ms is None else max(0, time.time_ns() // 1_000_000 - oldest_ms) / 1000
    _log.info("projected", extra={"events": events, "new": new, "lag_s": lag_s, "message_ids": message_ids})
    if not metric_prefix:
        _count("Delivered", events)
    _count(f"{metric_prefix}Counted", new)
    _count(f"{metric_prefix}Duplicates", events - new)
    if lag_s is not None:
        _measure(f"{metric_prefix}Lag", lag_s)


def log_not_counted(message_ids: Sequence[object], counter_ids: Iterable[str]) -> None:
    """Log which messages of a batch the queue will deliver again, and the counters whose events are not counted."""
    fields = {"message_ids": message_ids, "counter_ids": sorted(counter_ids)}
    _log.warning("not counted", exc_info=True, extra=fields)
    _count("NotCounted", len(message_ids))


def log_parked(source: str, reason: str, message_id: object, parked_as: str) -> None:
    """Log a dead letter: `message_id` is its id at its `source`, `parked_as` its id on the dead-letter queue."""
    fields = {"source": source, "reason": reason, "message_id": message_id, "parked_as": parked_as}
    _log.warning("parked", extra=fields)
    _count("Parked", 1)


def log_check(counters: int, events: int, metrics: Mapping[str, float]) -> None:
    """Log a run of the scheduled check: the numbers of counters and events read, and all metrics, zeros included."""
    _log.info("checked", extra={"counters": counters, "events": events, "found": metrics})
    for name, value in metrics.items():
        _measure(name, value)


def log_drift(counter_id: str, kind: str, detail: str, event_id: str | None) -> None:
    """Log a difference that the scheduled check cannot repair."""
    _log.error("drift", extra={"counter_id": counter_id, "event_id": event_id, "kind": kind, "detail": detail})


def _ids(received: Any) -> dict[str, Any]:
    """Return the gateway's request id and Lambda's invocation id."""
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
