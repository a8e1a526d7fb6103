"""Encode results as responses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from chalice.app import CORSConfig, Response

import chalicelib
from chalicelib import codec
from chalicelib.domain.events import Adjusted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chalicelib.api.requests import Request
    from chalicelib.command_handlers import Accepted
    from chalicelib.domain.commands import Increment
    from chalicelib.domain.counter import Counter
    from chalicelib.domain.events import Event
    from chalicelib.domain.history import EventPage, Point
    from chalicelib.read_model.queries import CounterPage

from chalicelib.api import formats


def accepted(command: Increment, result: Accepted) -> Response:
    """202 with the event; or, where it was counted at once, 200 with the counter."""
    event, counter = result.event, result.counter
    # Relative to the request's address, so that it is right behind any stage, domain or proxy (RFC 9110, 10.2.2).
    headers = {"Location": f"../../counters/{event.counter_id}/events/{event.event_id}", "Cache-Control": "no-store"}
    if result.is_retry:
        headers["Idempotency-Replayed"] = "true"
    if counter is None:
        return response(202, _event_body(event), headers)
    headers["ETag"] = formats.etag(counter)
    if command.wants_counter:
        headers["Preference-Applied"] = "return=representation"
    return response(200, counter_body(counter), headers)


def counter_state(request: Request, counter: Counter) -> Response:
    """200 with the counter, or 304 if the client says that it has this version."""
    headers = {"ETag": formats.etag(counter), "Cache-Control": "no-cache"}
    return _unless_known(request, counter_body(counter), headers)


def badge(request: Request, svg: str) -> Response:
    """200 with the picture, which caches may show for a minute, or 304 if the client says that it has it."""
    headers = {
        "Content-Type": "image/svg+xml",
        "Cache-Control": "public, max-age=60",
        "ETag": formats.digest_tag(svg),
        # Opened by itself, an SVG document is a page: this one runs and loads nothing.
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return _unless_known(request, svg, headers)


def description(request: Request, document: Mapping[str, Any]) -> Response:
    """200 with the description of this API, or 304 if the client says that it has it."""
    text = json.dumps(document)
    headers = {
        "Content-Type": "application/json",
        "Cache-Control": "public, max-age=60",
        "ETag": formats.digest_tag(text),
    }
    return _unless_known(request, text, headers)


def event_state(event: Event, *, counted: bool) -> Response:
    """200 with the event and whether it is part of its counter's value yet."""
    status = "counted" if counted else "pending"
    return response(200, {**_typed_event_body(event), "status": status}, {"Cache-Control": "no-cache"})


def events_page(page: EventPage) -> Response:
    """200 with some counted events, newest first, and the cursor for those behind them."""
    last = page.last
    body = {
        "events": [_typed_event_body(event) for event in page.events],
        "next_cursor": formats.to_cursor(f"{last.recorded_at_ms} {last.event_id}") if last is not None else None,
    }
    return response(200, body, {"Cache-Control": "no-cache"})


def history(points: list[Point]) -> Response:
    """200 with the steps of a history that hold events."""
    shown = [
        {"start": formats.rfc3339(point.start * 1000), "increments": point.events, "sum": point.total}
        for point in points
    ]
    return response(200, {"points": shown}, {"Cache-Control": "no-cache"})


def counters_page(page: CounterPage) -> Response:
    """200 with some counters, and the cursor for those behind them."""
    body = {
        "counters": [counter_body(counter) for counter in page.counters],
        "next_cursor": formats.to_cursor(page.last) if page.last is not None else None,
    }
    return response(200, body, {"Cache-Control": "no-cache"})


def service() -> Response:
    """200 with what this is and where everything else is found, as paths below this API's address."""
    body = {
        "service": "counter",
        "description": "An event-sourced counter: one command, one query, each increment counted exactly once.",
        "version": chalicelib.__version__,
        "links": {
            "increment": "/counters/{counter_id}/increments",
            "counter": "/counters/{counter_id}",
            "event": "/counters/{counter_id}/events/{event_id}",
            "events": "/counters/{counter_id}/events{?limit,cursor}",
            "history": "/counters/{counter_id}/history{?from,to,resolution}",
            "badge": "/counters/{counter_id}/badge.svg{?label,color,labelColor,style}",
            "counters": "/counters{?limit,cursor}",
            "reports": "/reports",
            "report": "/reports/{name}{?limit,cursor,format,counter_id,from,to}",
            "description": "/openapi.json",
        },
    }
    return response(200, body, {"Cache-Control": "no-cache"})


def cors(allowed_origin: str) -> CORSConfig:
    """What a browser's page from the allowed origin may send and see."""
    return CORSConfig(
        allow_origin=allowed_origin,
        allow_headers=["Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Prefer"],
        expose_headers=["ETag", "Location", "Idempotency-Replayed", "Preference-Applied", "Retry-After", "Link"],
        max_age=600,
    )


def readable_from(allowed_origin: str, response: Response) -> Response:
    """The response with the headers that let a page from the allowed origin read it, whoever made it."""
    for name, value in cors(allowed_origin).get_access_control_headers().items():
        response.headers.setdefault(name, value)
    return response


def _unless_known(request: Request, body: object, headers: Mapping[str, str]) -> Response:
    tags = [tag.strip() for value in request.headers.get("if-none-match", []) for tag in value.split(",")]
    if "*" in tags or any(tag.removeprefix("W/") == headers["ETag"] for tag in tags):
        return response(304, "", headers)
    return response(200, body, headers)


def response(status: int, body: object, headers: Mapping[str, str]) -> Response:
    return Response(body, headers={**headers}, status_code=status)


def counter_body(counter: Counter) -> dict[str, Any]:
    return {
        "counter_id": counter.counter_id,
        "value": counter.value,
        "version": counter.version,
        "updated_at": None if counter.updated_at_ms is None else formats.rfc3339(counter.updated_at_ms),
    }


def _event_body(event: Event) -> dict[str, Any]:
    return {
        "counter_id": event.counter_id,
        "event_id": event.event_id,
        "by": event.by,
        "recorded_at": formats.rfc3339(event.recorded_at_ms),
    }


def _typed_event_body(event: Event) -> dict[str, Any]:
    """Who adjusted a counter is between the operators and the log."""
    reason = {"reason": event.reason} if isinstance(event, Adjusted) else {}
    return {**_event_body(event), "type": codec.event_type(event), **reason}
