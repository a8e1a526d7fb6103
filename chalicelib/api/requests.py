"""
Parse requests into commands and queries.

If the input is malformed, a function raises an `InvalidRequestError`, whose detail states the violated rule.
"""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from chalicelib.api import formats
from chalicelib.api.formats import quote
from chalicelib.domain.commands import Command
from chalicelib.domain.events import COUNTER_ID, LATEST_MS, MAX_CALLER, is_counter_id, is_event_id
from chalicelib.domain.history import RESOLUTIONS, EventPosition, Span
from chalicelib.errors import (
    BadCursorError,
    BodyTooLargeError,
    InvalidRequestError,
    RangeTooLongError,
    UnsupportedMediaTypeError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chalice.app import Request as GatewayRequest

_Command = TypeVar("_Command", bound=Command)

MAX_BODY_BYTES = 1024
MAX_LIMIT = 100
DEFAULT_LIMIT = 50
MAX_STEPS = 10_000
DEFAULT_RESOLUTION = "minute"

#: The length of a history without `from`, by resolution: an hour, a day, 30 days, 365 days.
_DEFAULT_SPAN_S = {"second": 3600, "minute": 86_400, "hour": 30 * 86_400, "day": 365 * 86_400}

_IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_EVENT_CURSOR = re.compile(r"(0|[1-9][0-9]{0,14}) ([0-9a-f-]{36})")
_PREFER_REPRESENTATION = re.compile(r'return\s*=\s*"?representation"?\s*(;.*)?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """
    A client's request without its path. Header names are in lower case; `body` is raw bytes.

    `root` is the API's address, relative to the URL that the client requested. `caller` is the client's identity if API
    Gateway authenticated the request: its kind and its name. Clients cannot forge it.
    """

    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, list[str]] = field(default_factory=dict)
    body: bytes = b""
    root: str = "."
    caller: str | None = None


def parse_request(received: GatewayRequest) -> Request:
    """Parse a request from API Gateway or from Chalice's development server."""
    event = received.to_original_event()
    sent = event.get("multiValueHeaders") or {name: [value] for name, value in (event.get("headers") or {}).items()}
    headers: dict[str, list[str]] = {}
    for name, values in sent.items():  # header names are case-insensitive
        headers.setdefault(name.lower(), []).extend(values)
    try:
        body = _decode_body(event.get("body"), is_base64=bool(event.get("isBase64Encoded")))
    except ValueError as error:
        raise InvalidRequestError("The body cannot be decoded: it must be valid base64.") from error
    context = event["requestContext"]
    query = event.get("multiValueQueryStringParameters") or {}
    return Request(query, headers, body, _find_root(context), _find_caller(context))


def parse_command(command_type: type[_Command], counter_id: str, request: Request, max_by: int) -> _Command:
    """
    Parse a request that changes a counter by at most `max_by`. The counter id must be valid.

    Raises:
        BodyTooLargeError, UnsupportedMediaTypeError: the body is longer than `MAX_BODY_BYTES`, or is not declared as
            JSON in UTF-8.
    """
    return command_type(
        counter_id=counter_id,
        by=_parse_amount(request, max_by),
        idempotency_key=_parse_idempotency_key(request),
        at_version=_parse_if_match(request),
        count_at_once=_prefers_representation(request),
        who=request.caller,
    )


def parse_counter_id(text: str) -> str:
    """Return the counter id in a path segment."""
    if not is_counter_id(text):
        raise InvalidRequestError(f"counter_id must be {COUNTER_ID}, got {quote(text)}.")
    return text


def parse_event_id(text: str) -> str:
    """Return the event id in a path segment, in lower case."""
    if not is_event_id(text.lower()):
        raise InvalidRequestError(
            f"event_id must be a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057, got {quote(text)}."
        )
    return text.lower()


def parse_moment(request: Request) -> int | None:
    """Return the time in the parameter `at`, in ms since 1970, rounded down, or None if there is no `at`."""
    if "at" not in request.query:
        return None
    parse_parameters(request, ("at",))
    at = _parse_time_parameter(request, "at")
    return None if at is None else formats.floor_to_ms(at)


def parse_counters_page(request: Request) -> tuple[int, str | None]:
    """Return the limit of a page of counters, and the last counter of the previous page."""
    after = parse_cursor(request)
    if after is not None and not is_counter_id(after):
        raise BadCursorError
    return parse_limit(request), after


def parse_events_page(request: Request) -> tuple[int, EventPosition | None]:
    """Return the limit of a page of events, and the position of the last event of the previous page."""
    text = parse_cursor(request)
    if text is None:
        return parse_limit(request), None
    match = _EVENT_CURSOR.fullmatch(text)
    if not match or int(match[1]) > LATEST_MS or not is_event_id(match[2]):
        raise BadCursorError
    return parse_limit(request), EventPosition(int(match[1]), match[2])


def parse_history_span(request: Request, now_s: float) -> Span:
    """
    Return the time range of a history, in steps of the requested resolution.

    Steps consist of whole seconds, so `from` is rounded down, and `to`, which is exclusive, is rounded up.

    Raises:
        RangeTooLongError: the range has more than `MAX_STEPS` steps.
    """
    resolution = _get_single(request.query, "resolution")
    if resolution is None:
        resolution = DEFAULT_RESOLUTION
    if resolution not in RESOLUTIONS:
        raise InvalidRequestError(
            f"resolution must be second, minute, hour or day, got {quote(resolution)}. Default: {DEFAULT_RESOLUTION}."
        )
    end = _parse_time_parameter(request, "to")
    if end is None:
        end = Decimal(math.ceil(now_s))
    start = _parse_time_parameter(request, "from")
    if start is None:
        start = end - _DEFAULT_SPAN_S[resolution]
    if start >= end:
        raise InvalidRequestError("`from` must be earlier than `to`. Default for `to`: the current time.")
    span = Span(_clamp(math.floor(start)), _clamp(math.ceil(end)), RESOLUTIONS[resolution])
    if span.steps > MAX_STEPS:
        raise _too_many_steps(span, resolution)
    return span


def parse_parameters(request: Request, names: tuple[str, ...]) -> dict[str, str]:
    """Return the query parameters by name. Only these names are allowed, each at most once."""
    if unknown := sorted(set(request.query) - set(names)):
        raise InvalidRequestError(f"Unknown parameter {quote(unknown[0])}. Use {', '.join(names)}.")
    values = {name: _get_single(request.query, name) for name in names}
    return {name: text for name, text in values.items() if text is not None}


def prefers_image(request: Request) -> bool:
    """Check whether the client prefers an image to any other response, as browsers do for `<img>`."""
    return "".join(request.headers.get("accept", [])[:1]).lstrip().lower().startswith("image/")


def parse_limit(request: Request) -> int:
    """Return the maximum number of rows on a page: the parameter `limit`."""
    text = _get_single(request.query, "limit")
    if text is None:
        return DEFAULT_LIMIT
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidRequestError(
            f"limit must be an integer from 1 to {MAX_LIMIT}, got {quote(text)}. Default: {DEFAULT_LIMIT}."
        )
    return int(text)


def parse_cursor(request: Request) -> str | None:
    """Return the position of the previous page's last row, decoded from the cursor, or None for the first page."""
    cursor = _get_single(request.query, "cursor")
    if cursor is None:
        return None
    try:
        return formats.decode_cursor(cursor)
    except ValueError as error:
        raise BadCursorError from error


def _find_caller(context: Mapping[str, Any]) -> str | None:
    """
    Return the caller that API Gateway authenticated, such as "jwt ann" or "api-key 8x2k1", or None.

    Characters other than printable ASCII are escaped as in JSON. The middle of a long name is cut out.
    """
    identity, authorizer = context.get("identity") or {}, context.get("authorizer") or {}
    names = {
        "jwt": authorizer.get("principalId"),
        "iam": identity.get("userArn"),
        "api-key": identity.get("apiKeyId"),
    }
    for kind, name in names.items():
        if name:
            caller = f"{kind} {json.dumps(name)[1:-1]}"
            half = MAX_CALLER // 2
            return caller if len(caller) <= MAX_CALLER else f"{caller[: half - 3]}...{caller[-half:]}"
    return None


def _find_root(context: Mapping[str, str]) -> str:
    """
    Return the API's address relative to the request's URL: one `..` for each slash after the first segment.

    Trailing slashes of the path also count, although API Gateway ignores them.
    """
    path = context.get("path", "")
    steps = context["resourcePath"].rstrip("/").count("/") - 1 + len(path) - len(path.rstrip("/"))
    return "/".join([".."] * steps) or "."


def _decode_body(sent: str | bytes | None, *, is_base64: bool) -> bytes:
    """Decode the body. Unlike Chalice, reject invalid base64. Chalice's development server passes bytes."""
    if sent is None:
        return b""
    if is_base64:
        return base64.b64decode(sent, validate=True)
    return sent if isinstance(sent, bytes) else sent.encode()


def _parse_amount(request: Request, max_by: int) -> int:
    if not request.body:
        return 1
    if len(request.body) > MAX_BODY_BYTES:
        raise BodyTooLargeError(f"The body must be at most {MAX_BODY_BYTES} bytes, got {len(request.body)}.")
    _check_media_type(request)
    rule = f'The body must be {{"by": N}}, where N is an integer from 1 to {max_by}, or empty for 1'
    try:
        body = json.loads(
            request.body.decode(),
            object_pairs_hook=_collect_members,
            parse_float=_reject_number,
            parse_constant=_reject_number,
        )
    except ValueError as error:
        raise InvalidRequestError(f"{rule}; invalid JSON: {error}.") from error
    except RecursionError as error:
        raise InvalidRequestError(f"{rule}; the JSON is nested too deeply.") from error
    by = body.get("by") if isinstance(body, dict) and set(body) == {"by"} else None
    if isinstance(by, bool) or not isinstance(by, int) or not 1 <= by <= max_by:
        raise InvalidRequestError(f"{rule}.")
    return by


def _collect_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is repeated")
    return members


def _reject_number(text: str) -> None:
    raise ValueError(f"{text[:40]} is not an integer")


def _check_media_type(request: Request) -> None:
    media_type, *parameters = (_get_single(request.headers, "content-type") or "").lower().split(";")
    charsets = [part.strip() for part in parameters if part.strip().startswith("charset")]
    if media_type.strip() != "application/json" or any(
        charset not in ("charset=utf-8", 'charset="utf-8"') for charset in charsets
    ):
        raise UnsupportedMediaTypeError("Content-Type must be application/json, in UTF-8.")


def _parse_idempotency_key(request: Request) -> str | None:
    key = _get_single(request.headers, "idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidRequestError(f"Idempotency-Key must be 1 to 255 printable ASCII characters, got {quote(key)}.")
    return key


def _parse_if_match(request: Request) -> int | None:
    tag = _get_single(request.headers, "if-match")
    if tag is None:
        return None
    if not (match := formats.VERSION_TAG.fullmatch(tag)):
        raise InvalidRequestError(
            'If-Match must be one version in double quotes, such as "16": the `version` of the counter. '
            f"It must not be a weak tag (W/), a list or *. Got {quote(tag)}."
        )
    return int(match[1])


def _prefers_representation(request: Request) -> bool:
    preferences = [part.strip() for value in request.headers.get("prefer", []) for part in value.split(",")]
    returns = [preference for preference in preferences if re.match(r"return\s*=", preference, re.IGNORECASE)]
    # If `return` is repeated, the first one applies (RFC 7240, section 2).
    return bool(returns) and _PREFER_REPRESENTATION.fullmatch(returns[0]) is not None


def _parse_time_parameter(request: Request, name: str) -> Decimal | None:
    text = _get_single(request.query, name)
    if text is None:
        return None
    try:
        return formats.parse_time(text)
    except ValueError as error:
        raise InvalidRequestError(
            f"{name} must be a time in RFC 3339 such as 2023-11-14T22:13:20Z or 2023-11-14T23:13:20.5+01:00, "
            f"got {quote(text)}. In a URL, write + as %2B."
        ) from error


def _clamp(second: int) -> int:
    """Limit a time to the range that events' times can have, including the end of the last second."""
    return min(max(second, 0), LATEST_MS // 1000 + 1)


def _too_many_steps(span: Span, resolution: str) -> RangeTooLongError:
    detail = f"The range must span at most {MAX_STEPS:,} steps of one {resolution}, got {span.steps:,}."
    for name, step_s in RESOLUTIONS.items():
        if Span(span.first, span.end, step_s).steps <= MAX_STEPS:
            detail += f" Use resolution={name} or a shorter range."
            break
    return RangeTooLongError(detail, (span.first // span.step_s + MAX_STEPS) * span.step_s)


def _get_single(values: Mapping[str, list[str]], name: str) -> str | None:
    texts = values.get(name) or []
    if len(texts) > 1:
        raise InvalidRequestError(f"{name} must be given at most once.")
    return texts[0] if texts else None
