"""Render results as responses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from chalice.app import CORSConfig, Response

import chalicelib
from chalicelib.api import formats
from chalicelib.domain.rules import Time

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from chalicelib.api.requests import Request
    from chalicelib.command_handlers import Accepted
    from chalicelib.domain.commands import Command
    from chalicelib.domain.counter import Counter
    from chalicelib.domain.events import Event
    from chalicelib.domain.history import EventPage, Point
    from chalicelib.read_model.queries import CounterPage

#: A shared cache may serve the response for a second. A browser revalidates it each time.
SHARED = "public, max-age=0, s-maxage=1"

#: The headers that only the response to a preflight request needs.
PREFLIGHT_HEADERS = ("Access-Control-Allow-Headers", "Access-Control-Max-Age")


def render_accepted(request: Request, command: Command, result: Accepted) -> Response:
    """Render 202 with the event, or 200 with the counter if the event was counted at once."""
    event, counter = result.event, result.counter
    # Relative to the request's URL, so that it works behind any stage, domain or proxy (RFC 9110, 10.2.2).
    headers: dict[str, str | list[str]] = {"Cache-Control": "no-store"}
    headers["Location"] = f"{request.root}/counters/{event.counter_id}/events/{event.event_id}"
    if result.is_retry:
        headers["Idempotency-Replayed"] = "true"
    if counter is None:
        return Response(_describe_recorded_event(event), headers=headers, status_code=202)
    headers["ETag"] = formats.format_version_tag(counter.version)
    if command.count_at_once:
        headers["Preference-Applied"] = "return=representation"
    return Response(describe_counter(counter), headers=headers)


def render_counter(request: Request, counter: Counter, cache_control: str = "no-cache") -> Response:
    """Render 200 with the counter, or 304 if the client already has this version."""
    headers = {"ETag": formats.format_version_tag(counter.version), "Cache-Control": cache_control}
    return _render_unless_known(request, describe_counter(counter), headers)


def render_past(request: Request, counter: Counter, at_ms: int) -> Response:
    """Render 200 with the counter's state at a given time, or 304 if the client already has it."""
    headers = {"ETag": formats.format_version_tag(counter.version), "Cache-Control": "no-cache"}
    return _render_unless_known(request, describe_past(counter, at_ms), headers)


def render_event(event: Event, *, counted: bool) -> Response:
    """Render the event and its status."""
    return _render_query({**_describe_event(event), "status": "counted" if counted else "pending"})


def render_events(page: EventPage) -> Response:
    """Render a page of events."""
    last = page.last
    cursor = formats.encode_cursor(f"{last.recorded_at_ms} {last.event_id}") if last is not None else None
    return _render_query({"events": [_describe_event(event) for event in page.events], "next_cursor": cursor})


def render_history(points: list[Point]) -> Response:
    """Render the points of a history."""
    bodies = [
        {"start": formats.format_time(point.start * 1000), "increments": point.events, "sum": point.total}
        for point in points
    ]
    return _render_query({"points": bodies})


def render_counters(page: CounterPage) -> Response:
    """Render a page of counters."""
    cursor = formats.encode_cursor(page.last) if page.last is not None else None
    return _render_query({"counters": [describe_counter(counter) for counter in page.counters], "next_cursor": cursor})


def render_cacheable(request: Request, body: str, headers: Mapping[str, str]) -> Response:
    """
    Render 200 with the text and its entity tag, or 304 if the client already has the text.

    Caches may keep the response for a minute, unless `headers` contain another `Cache-Control`.
    """
    tag = formats.hash_content(body)
    return _render_unless_known(request, body, {"Cache-Control": "public, max-age=60", "ETag": tag, **headers})


def render_index(links: Mapping[str, str]) -> Response:
    """Render the service's name, description and version, and its links as paths relative to the API's address."""
    body = {
        "service": "counter",
        "description": "An event-sourced counter: each increment is counted exactly once.",
        "version": chalicelib.__version__,
        "links": {**links},
    }
    return _render_query(body)


def make_cors_config(allowed_origin: str) -> CORSConfig:
    """Configure which headers a page of the allowed origin may send and read."""
    return CORSConfig(
        allow_origin=allowed_origin,
        allow_headers=["Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Prefer"],
        expose_headers=[
            "ETag",
            "Location",
            "Idempotency-Replayed",
            "Preference-Applied",
            "Retry-After",
            "Link",
            # Browser clocks may be wrong.
            "Date",
        ],
        max_age=600,
    )


def render_preflight(methods: Collection[str]) -> Response:
    """Render the response to a preflight request, before `add_cors_headers`."""
    cors = make_cors_config("*").get_access_control_headers()
    allowed = {name: cors[name] for name in PREFLIGHT_HEADERS}
    return Response("", headers={"Access-Control-Allow-Methods": ",".join(methods), **allowed})


def add_cors_headers(response: Response, allowed: tuple[str, ...], origin: str | None) -> Response:
    """
    Let pages of the allowed origins read the response, whether a view or Chalice created it.

    If several origins are allowed, `Access-Control-Allow-Origin` names the request's origin if it is one of them,
    otherwise the first allowed origin. Browsers treat a different origin like a missing header. Even if a cache ignores
    `Vary`, pages of the first origin can read the response to a request without an origin.
    """
    named = origin if origin in allowed else allowed[0]
    for name, value in make_cors_config(named).get_access_control_headers().items():
        if name not in PREFLIGHT_HEADERS:
            response.headers.setdefault(name, value)
    if len(allowed) > 1:
        varying = response.headers.get("Vary")
        response.headers["Vary"] = f"{varying}, Origin" if varying else "Origin"
    return response


def keep_private(response: Response) -> None:
    """Let only the client itself cache the response: a shared cache would not check credentials."""
    policy = response.headers.get("Cache-Control")
    if isinstance(policy, str):
        response.headers["Cache-Control"] = make_private(policy)


def make_private(text: str) -> str:
    """Replace each policy in the text that lets shared caches keep a response."""
    return text.replace(SHARED, "private, no-cache").replace("public, ", "private, ")


def end_line(response: Response) -> Response:
    """End the body with a newline, so that a terminal's next prompt starts on a new line. Empty bodies stay empty."""
    body = response.body if isinstance(response.body, str) else json.dumps(response.body, separators=(",", ":"))
    response.body = body if not body or body.endswith("\n") else f"{body}\n"
    return response


def _render_query(body: dict[str, Any]) -> Response:
    return Response(body, headers={"Cache-Control": "no-cache"})


def _render_unless_known(request: Request, body: object, headers: Mapping[str, str]) -> Response:
    tags = [tag.strip() for value in request.headers.get("if-none-match", []) for tag in value.split(",")]
    if "*" in tags or any(tag.removeprefix("W/") == headers["ETag"] for tag in tags):
        return Response("", headers={**headers}, status_code=304)
    return Response(body, headers={**headers})


def describe_counter(counter: Counter) -> dict[str, Any]:
    """Return the members of a response that describe a counter."""
    return {
        "counter_id": counter.counter_id,
        "value": counter.value,
        "version": counter.version,
        "updated_at": None if counter.updated_at_ms is None else formats.format_time(counter.updated_at_ms),
    }


def describe_past(counter: Counter, at_ms: int) -> dict[str, Any]:
    """Return the members of a response that describe a counter's past state."""
    return {
        "counter_id": counter.counter_id,
        "value": counter.value,
        "version": counter.version,
        "at": formats.format_time(at_ms),
    }


def _describe_recorded_event(event: Event) -> dict[str, Any]:
    """Return the public fields of an event, as clients see them."""
    public = [(rule, getattr(event, name)) for name, rule in event.rules.items() if rule.is_public]
    return {rule.name: formats.format_time(value) if isinstance(rule, Time) else value for rule, value in public}


def _describe_event(event: Event) -> dict[str, Any]:
    """Return the event's public fields and its type."""
    return {**_describe_recorded_event(event), "type": event.type_name}
