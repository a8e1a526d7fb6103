"""Decode requests into commands and queries."""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from chalicelib.domain.commands import Increment
from chalicelib.domain.events import LATEST_MS, is_counter_id, is_event_id
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


from chalicelib.api import formats

LONGEST_BODY_BYTES = 1024


LONGEST_PAGE = 100


USUAL_PAGE = 50


MOST_STEPS = 10_000


USUAL_RESOLUTION = "minute"


#: How long a history is if its start is left out, by resolution: an hour, a day, 30 days, 365 days.
_USUAL_SPAN_S = {"second": 3600, "minute": 86_400, "hour": 30 * 86_400, "day": 365 * 86_400}


_IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")


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
    if not (match := formats.VERSION_TAG.fullmatch(tag)):
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
        return formats.seconds(text)
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
