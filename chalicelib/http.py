"""Requests into commands and queries, results into responses, errors into problem documents (RFC 9457)."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from chalice.app import CORSConfig, Response

import chalicelib
from chalicelib import codec, telemetry
from chalicelib.domain.commands import Increment
from chalicelib.domain.events import LATEST_MS, Adjusted, is_counter_id, is_event_id
from chalicelib.domain.history import RESOLUTIONS, EventPosition, Span
from chalicelib.errors import (
    BadCursorError,
    BodyTooLargeError,
    CounterError,
    EventNotFoundError,
    InvalidRequestError,
    KeyReusedError,
    NotUnderstoodError,
    RangeTooLongError,
    ReportNotFoundError,
    ReportsOffError,
    ReportUnavailableError,
    RequestError,
    UnavailableError,
    UnsupportedMediaTypeError,
    VersionMismatchError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chalice.app import Request as GatewayRequest

    from chalicelib.commands import Accepted
    from chalicelib.domain.counter import Counter
    from chalicelib.domain.events import Event
    from chalicelib.domain.history import EventPage, Point
    from chalicelib.read_model.queries import CounterPage

PROBLEM_JSON = "application/problem+json"

#: What the gateway answers by itself, by its own name for it: the status (if None, its own), the type, and the title.
GATEWAY_PROBLEMS = {
    "MISSING_AUTHENTICATION_TOKEN": (404, "not-found", "There is no such path, or it has no such method"),
    "REQUEST_TOO_LARGE": (413, "body-too-large", "The body is too large"),
    "THROTTLED": (429, "throttled", "Too many requests"),
    "INTEGRATION_TIMEOUT": (503, "unavailable", "The service did not answer in time"),
    "INTEGRATION_FAILURE": (503, "unavailable", "The service is out of reach"),
    "DEFAULT_4XX": (None, "gateway-error", "The gateway refused the request"),
    "DEFAULT_5XX": (None, "gateway-error", "The gateway failed"),
}

LONGEST_BODY_BYTES = 1024
LONGEST_PAGE = 100
USUAL_PAGE = 50

MOST_STEPS = 10_000
USUAL_RESOLUTION = "minute"

#: How long a history is if its start is left out, by resolution: an hour, a day, 30 days, 365 days.
_USUAL_SPAN_S = {"second": 3600, "minute": 86_400, "hour": 30 * 86_400, "day": 365 * 86_400}

VERSION_TAG = re.compile(r'"(0|[1-9][0-9]{0,17})"')
_IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]((?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2})(\.[0-9]{1,9})?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_EVENT_CURSOR = re.compile(r"(0|[1-9][0-9]{0,14}) ([0-9a-f-]{36})")
_PREFER_REPRESENTATION = re.compile(r'return\s*=\s*"?representation"?\s*(;.*)?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent besides its path, whatever it came through. Header names are in lower case; `body` is raw."""

    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, list[str]] = field(default_factory=dict)
    body: bytes = b""


def request(received: GatewayRequest) -> Request:
    """
    The request that a gateway, or Chalice's development server, handed over.

    Raises:
        InvalidRequestError: the body is not what its encoding says.
    """
    event = received.to_original_event()
    sent = event.get("multiValueHeaders") or {name: [value] for name, value in (event.get("headers") or {}).items()}
    headers: dict[str, list[str]] = {}
    for name, values in sent.items():  # the same name in another case is the same header
        headers.setdefault(name.lower(), []).extend(values)
    try:
        body = _body(event.get("body"), is_base64=bool(event.get("isBase64Encoded")))
    except ValueError as error:
        raise InvalidRequestError("The body cannot be decoded.") from error
    return Request(
        query=event.get("multiValueQueryStringParameters") or {},
        headers=headers,
        body=body,
    )


def increment_command(counter_id: str, request: Request, max_increment: int) -> Increment:
    """
    The command that this request to increment the counter asks for.

    Raises:
        InvalidRequestError, BodyTooLargeError, UnsupportedMediaTypeError: the detail says what would be right.
    """
    return Increment(
        counter_id=counter_named(counter_id),
        by=_by(request, max_increment),
        idempotency_key=_idempotency_key(request),
        at_version=_at_version(request),
        wants_counter=_wants_counter(request),
    )


def counter_named(text: str) -> str:
    """
    The counter id that this path segment is.

    Raises:
        InvalidRequestError: it is none.
    """
    if not is_counter_id(text):
        raise InvalidRequestError("A counter id is 1 to 64 characters of A-Z a-z 0-9 . _ ~ -")
    return text


def event_named(text: str) -> str:
    """
    The event id that this path segment is.

    Raises:
        InvalidRequestError: it is none.
    """
    if not is_event_id(text.lower()):
        raise InvalidRequestError("An event id is a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057")
    return text.lower()


def page_of_counters(request: Request) -> tuple[int, str | None]:
    """
    How many counters are asked for, and the one behind which they start.

    Raises:
        InvalidRequestError: `limit` is out of range, or `cursor` was not given out by this service.
    """
    after = from_cursor(request)
    if after is not None and not is_counter_id(after):
        raise BadCursorError
    return limit(request), after


def page_of_events(request: Request) -> tuple[int, EventPosition | None]:
    """
    How many events are asked for, and the place behind which they start.

    Raises:
        InvalidRequestError: `limit` is out of range, or `cursor` was not given out by this service.
    """
    text = from_cursor(request)
    if text is None:
        return limit(request), None
    if not (found := _EVENT_CURSOR.fullmatch(text)) or int(found[1]) > LATEST_MS or not is_event_id(found[2]):
        raise BadCursorError
    return limit(request), EventPosition(int(found[1]), found[2])


def span_of_history(request: Request, now_s: float) -> Span:
    """
    The seconds, and the steps, for which a history is asked.

    Steps consist of whole seconds: `from` is rounded down and `to`, which is exclusive, up.

    Raises:
        InvalidRequestError: a parameter is malformed, or `from` is not before `to`.
        RangeTooLongError: it has more steps than an answer may.
    """
    resolution = _single(request.query, "resolution")
    if resolution is None:
        resolution = USUAL_RESOLUTION
    if resolution not in RESOLUTIONS:
        raise InvalidRequestError("resolution is second, minute, hour or day; left out, it is minute.")
    end = _time(request, "to")
    if end is None:
        end = Decimal(math.ceil(now_s))
    start = _time(request, "from")
    if start is None:
        start = end - _USUAL_SPAN_S[resolution]
    if start >= end:
        raise InvalidRequestError("from is a time before to; left out, to is now.")
    span = Span(_within_time(math.floor(start)), _within_time(math.ceil(end)), RESOLUTIONS[resolution])
    if span.steps > MOST_STEPS:
        raise _too_many_steps(span, resolution)
    return span


def parameters(request: Request, names: tuple[str, ...]) -> dict[str, str]:
    """
    What is asked for of these query parameters, by name.

    Raises:
        InvalidRequestError: another is there, or one is there more than once.
    """
    if unknown := sorted(set(request.query) - set(names)):
        raise InvalidRequestError(f"There is no parameter {unknown[0][:40]!a} here; there are {', '.join(names)}.")
    found = {name: _single(request.query, name) for name in names}
    return {name: text for name, text in found.items() if text is not None}


def limit(request: Request) -> int:
    """
    How many rows of a page are asked for.

    Raises:
        InvalidRequestError: it is out of range.
    """
    text = _single(request.query, "limit")
    if text is None:
        return USUAL_PAGE
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= LONGEST_PAGE:
        raise InvalidRequestError(f"limit is an integer from 1 to {LONGEST_PAGE}.")
    return int(text)


def to_cursor(last: str) -> str:
    """A cursor that says what was last on a page, in ASCII; opaque to clients, and no secret."""
    return base64.urlsafe_b64encode(f"1 {last}".encode()).decode().rstrip("=")


def from_cursor(request: Request) -> str | None:
    """
    What the cursor that came says was last; None where there is none.

    Raises:
        InvalidRequestError: it was not given out by this service.
    """
    cursor = _single(request.query, "cursor")
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except ValueError:
        text = ""
    version, _, last = text.partition(" ")
    if version != "1":
        raise BadCursorError
    return last


def seconds(text: str) -> Decimal:
    """
    Seconds since 1970 of a time as RFC 3339 writes it, of which a fraction is left as it is.

    Raises:
        ValueError: it is none.
    """
    if not (found := _TIME.fullmatch(text)):
        raise ValueError(text)
    date, clock, fraction, sign, hours, minutes = found.groups()
    # An offset is subtracted by hand: with it, a time may lie beyond the years that a datetime has.
    at = datetime.fromisoformat(f"{date}T{clock}+00:00") - datetime(1970, 1, 1, tzinfo=UTC)
    offset_s = int(f"{sign}1") * (int(hours) * 3600 + int(minutes) * 60) if sign else 0
    return at.days * 86_400 + at.seconds - offset_s + Decimal(fraction or 0)


def rfc3339(ms: int) -> str:
    """A time in milliseconds since 1970 as answers write it: RFC 3339, in UTC, to the millisecond."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03}Z"


def accepted(command: Increment, result: Accepted) -> Response:
    """202 with the event; or, where it was counted at once, 200 with the counter."""
    event, counter = result.event, result.counter
    # Relative to the request's address, so that it is right behind any stage, domain or proxy (RFC 9110, 10.2.2).
    headers = {"Location": f"../../counters/{event.counter_id}/events/{event.event_id}", "Cache-Control": "no-store"}
    if result.again:
        headers["Idempotency-Replayed"] = "true"
    if counter is None:
        return _response(202, _event_body(event), headers)
    headers["ETag"] = _etag(counter)
    if command.wants_counter:
        headers["Preference-Applied"] = "return=representation"
    return _response(200, _counter_body(counter), headers)


def counter_state(request: Request, counter: Counter) -> Response:
    """200 with the counter, or 304 if the client says that it has this version."""
    headers = {"ETag": _etag(counter), "Cache-Control": "no-cache"}
    return _unless_known(request, _counter_body(counter), headers)


def badge(request: Request, svg: str) -> Response:
    """200 with the picture, which caches may show for a minute, or 304 if the client says that it has it."""
    headers = {
        "Content-Type": "image/svg+xml",
        "Cache-Control": "public, max-age=60",
        "ETag": _tag_of(svg),
        # Opened by itself, an SVG document is a page: this one runs and loads nothing.
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return _unless_known(request, svg, headers)


def description(request: Request, document: Mapping[str, Any]) -> Response:
    """200 with the description of this API, or 304 if the client says that it has it."""
    text = json.dumps(document)
    headers = {"Content-Type": "application/json", "Cache-Control": "public, max-age=60", "ETag": _tag_of(text)}
    return _unless_known(request, text, headers)


def event_state(event: Event, *, counted: bool) -> Response:
    """200 with the event and whether it is part of its counter's value yet."""
    status = "counted" if counted else "pending"
    return _response(200, {**_typed_event_body(event), "status": status}, {"Cache-Control": "no-cache"})


def events_page(page: EventPage) -> Response:
    """200 with some counted events, newest first, and the cursor for those behind them."""
    last = page.last
    body = {
        "events": [_typed_event_body(event) for event in page.events],
        "next_cursor": to_cursor(f"{last.recorded_at_ms} {last.event_id}") if last is not None else None,
    }
    return _response(200, body, {"Cache-Control": "no-cache"})


def history(points: list[Point]) -> Response:
    """200 with the steps of a history that hold events."""
    shown = [{"start": rfc3339(point.start * 1000), "increments": point.events, "sum": point.total} for point in points]
    return _response(200, {"points": shown}, {"Cache-Control": "no-cache"})


def counters_page(page: CounterPage) -> Response:
    """200 with some counters, and the cursor for those behind them."""
    body = {
        "counters": [_counter_body(counter) for counter in page.counters],
        "next_cursor": to_cursor(page.last) if page.last is not None else None,
    }
    return _response(200, body, {"Cache-Control": "no-cache"})


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
    return _response(200, body, {"Cache-Control": "no-cache"})


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


def answers_problems(view: Callable[..., Response]) -> Callable[..., Response]:
    """The view, but what it raises is answered as a problem document; what was not foreseen, as a bare 500."""

    @functools.wraps(view)
    def answer(*args: Any, **kwargs: Any) -> Response:
        try:
            return view(*args, **kwargs)
        except CounterError as error:
            telemetry.not_answered(error)
            return problem(error)
        except Exception as error:  # noqa: BLE001  (the outermost place there is)
            telemetry.not_answered(error)
            return problem(None)

    return answer


def as_problem(response: Response) -> Response:
    """What Chalice itself refuses (a method that a path lacks, say) in the shape of all errors; the rest as it is."""
    if response.status_code < 400 or response.headers.get("Content-Type") == PROBLEM_JSON:
        return response
    said = response.body.get("Message") if isinstance(response.body, dict) else None
    detail = said if said and response.status_code < 500 else _UNFORESEEN
    own = _problem(response.status_code, "about:blank", "The request was not answered", detail)
    own.headers.update({name: value for name, value in response.headers.items() if name != "Content-Type"})
    return own


def problem(error: CounterError | None) -> Response:
    """The problem document for an error; None stands for one that was not foreseen, of which nothing is told."""
    match error:
        case VersionMismatchError():
            response = _problem(412, "version-mismatch", "The counter is at another version", error.detail)
            response.body["current"] = _counter_body(error.counter)
            response.headers["ETag"] = _etag(error.counter)
        case KeyReusedError():
            response = _problem(422, "key-reused", "The idempotency key was used for another body", error.detail)
        case EventNotFoundError():
            response = _problem(404, "event-not-found", "There is no such event", error.detail)
        case ReportNotFoundError():
            response = _problem(404, "report-not-found", "There is no such report", error.detail)
        case ReportsOffError():
            response = _problem(404, "reports-off", "There are no reports here", error.detail)
        case RangeTooLongError():
            detail = f"{error.detail} to={rfc3339(error.end * 1000)} would be accepted."
            response = _problem(400, "range-too-long", "The range is too long", detail)
        case BodyTooLargeError():
            response = _problem(413, "body-too-large", "The body is too large", error.detail)
        case UnsupportedMediaTypeError():
            response = _problem(415, "unsupported-media-type", "The body is not JSON", error.detail)
        case RequestError():
            response = _problem(400, "invalid-request", "The request is malformed", error.detail)
        case NotUnderstoodError():
            response = _problem(500, "unreadable-event", "The event is of a newer kind", _UNREADABLE)
        case UnavailableError():
            advice = _ASK_AGAIN if isinstance(error, ReportUnavailableError) else _TRY_AGAIN
            response = _problem(503, "unavailable", "The service is busy or out of reach", advice)
            response.headers["Retry-After"] = str(error.retry_after_s)
        case _:
            response = _problem(500, "internal-error", "The service failed", _UNFORESEEN)
    return response


def gateway_problem(status: int | None, kind: str, title: str) -> dict[str, Any]:
    """The problem document that the gateway answers by itself. Where the status is its own, it cannot say it."""
    detail = f"{title}. GET / lists what there is."
    return {"type": _urn(kind), "title": title, **({"status": status} if status else {}), "detail": detail}


_TRY_AGAIN = (
    "Whether anything was recorded is not known. Send the request again with the same Idempotency-Key: "
    "it counts once. Without a key it may count twice."
)
_ASK_AGAIN = (
    "The relational read model is out of reach or busy, or the report takes longer than a request may. Nothing was "
    "changed. Ask again later; and where it stays so, for less: with counter_id, or from and to, where there are such."
)
_UNREADABLE = "The log holds an event of a newer kind. It is safe there, and counted once the service can read it."
_UNFORESEEN = "Something failed that was not foreseen; it is in the service's log. Nothing you sent explains it."


def _problem(status: int, kind: str, title: str, detail: str) -> Response:
    body = {
        "type": kind if ":" in kind else _urn(kind),
        "title": title,
        "status": status,
        "detail": detail,
    }
    return _response(status, body, {"Content-Type": PROBLEM_JSON, "Cache-Control": "no-store"})


def _urn(kind: str) -> str:
    return f"urn:counter:problem:{kind}"


def _unless_known(request: Request, body: object, headers: Mapping[str, str]) -> Response:
    tags = [tag.strip() for value in request.headers.get("if-none-match", []) for tag in value.split(",")]
    if "*" in tags or any(tag.removeprefix("W/") == headers["ETag"] for tag in tags):
        return _response(304, "", headers)
    return _response(200, body, headers)


def _tag_of(text: str) -> str:
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'


def _response(status: int, body: object, headers: Mapping[str, str]) -> Response:
    return Response(body, headers={**headers}, status_code=status)


def _body(sent: str | bytes | None, *, is_base64: bool) -> bytes:
    """Chalice's own decoding is lenient, and its development server hands over bytes."""
    if sent is None:
        return b""
    if is_base64:
        return base64.b64decode(sent, validate=True)
    return sent if isinstance(sent, bytes) else sent.encode()


def _by(request: Request, max_increment: int) -> int:
    if not request.body:
        return 1
    if len(request.body) > LONGEST_BODY_BYTES:
        raise BodyTooLargeError(f"A body has at most {LONGEST_BODY_BYTES} bytes; this one has {len(request.body)}.")
    _check_media_type(request)
    rule = f'The body is {{"by": N}}, with N an integer from 1 to {max_increment}, or there is none, which means 1'
    try:
        body = json.loads(
            request.body.decode(), object_pairs_hook=_members, parse_float=_no_number, parse_constant=_no_number
        )
    except ValueError as error:
        raise InvalidRequestError(f"{rule}; this is not such JSON: {error}.") from error
    except RecursionError as error:
        raise InvalidRequestError(f"{rule}; this is nested deeper than any reader goes.") from error
    by = body.get("by") if isinstance(body, dict) and set(body) == {"by"} else None
    if isinstance(by, bool) or not isinstance(by, int) or not 1 <= by <= max_increment:
        raise InvalidRequestError(f"{rule}.")
    return by


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is repeated")
    return members


def _no_number(text: str) -> None:
    raise ValueError(f"{text[:40]} is no integer")


def _check_media_type(request: Request) -> None:
    media_type, *parameters = (_single(request.headers, "content-type") or "").lower().split(";")
    charsets = [part.strip() for part in parameters if part.strip().startswith("charset")]
    if media_type.strip() != "application/json" or any(
        charset not in ("charset=utf-8", 'charset="utf-8"') for charset in charsets
    ):
        raise UnsupportedMediaTypeError("With a body, Content-Type is application/json, in UTF-8.")


def _idempotency_key(request: Request) -> str | None:
    key = _single(request.headers, "idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidRequestError("An Idempotency-Key is 1 to 255 printable ASCII characters.")
    return key


def _at_version(request: Request) -> int | None:
    tag = _single(request.headers, "if-match")
    if tag is None:
        return None
    if not (match := VERSION_TAG.fullmatch(tag)):
        raise InvalidRequestError('If-Match holds one version as GET gives it in ETag, in double quotes: "16"')
    return int(match[1])


def _wants_counter(request: Request) -> bool:
    preferences = [part.strip() for value in request.headers.get("prefer", []) for part in value.split(",")]
    returns = [preference for preference in preferences if re.match(r"return\s*=", preference, re.IGNORECASE)]
    # Of several, the first counts (RFC 7240, section 2).
    return bool(returns) and _PREFER_REPRESENTATION.fullmatch(returns[0]) is not None


def _time(request: Request, name: str) -> Decimal | None:
    """Seconds since 1970, of which a fraction is left as it is."""
    text = _single(request.query, name)
    if text is None:
        return None
    try:
        return seconds(text)
    except ValueError as error:
        raise InvalidRequestError(
            f"{name} is a time as RFC 3339 writes it, such as 2023-11-14T22:13:20Z or 2023-11-14T23:13:20.5+01:00; "
            "in an address, + is written %2B."
        ) from error


def _within_time(second: int) -> int:
    """The second, or the nearest that something can have been recorded in, or that is the end of such."""
    return min(max(second, 0), LATEST_MS // 1000 + 1)


def _too_many_steps(span: Span, resolution: str) -> RangeTooLongError:
    coarser = (name for name, step_s in RESOLUTIONS.items() if Span(span.first, span.end, step_s).steps <= MOST_STEPS)
    detail = f"At resolution {resolution} a range has at most {MOST_STEPS:,} steps; this one has {span.steps:,}."
    if (name := next(coarser, None)) is not None:
        detail += f" Ask for resolution={name}, or for a shorter range:"
    return RangeTooLongError(detail, (span.first // span.step_s + MOST_STEPS) * span.step_s)


def _single(values: Mapping[str, list[str]], name: str) -> str | None:
    found = values.get(name) or []
    if len(found) > 1:
        raise InvalidRequestError(f"{name} is given more than once; once is right.")
    return found[0] if found else None


def _counter_body(counter: Counter) -> dict[str, Any]:
    return {
        "counter_id": counter.counter_id,
        "value": counter.value,
        "version": counter.version,
        "updated_at": None if counter.updated_at_ms is None else rfc3339(counter.updated_at_ms),
    }


def _event_body(event: Event) -> dict[str, Any]:
    return {
        "counter_id": event.counter_id,
        "event_id": event.event_id,
        "by": event.by,
        "recorded_at": rfc3339(event.recorded_at_ms),
    }


def _typed_event_body(event: Event) -> dict[str, Any]:
    """Who adjusted a counter is between the operators and the log."""
    reason = {"reason": event.reason} if isinstance(event, Adjusted) else {}
    return {**_event_body(event), "type": codec.type_of(event), **reason}


def _etag(counter: Counter) -> str:
    return f'"{counter.version}"'
