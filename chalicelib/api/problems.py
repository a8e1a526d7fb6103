"""Encode errors as problem documents (RFC 9457)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from chalicelib import telemetry
from chalicelib.errors import (
    BodyTooLargeError,
    CounterError,
    EventNotFoundError,
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
    from collections.abc import Callable

    from chalice.app import Response


from chalicelib.api import formats, responses

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


def answers_problems(view: Callable[..., Response]) -> Callable[..., Response]:
    """The view, but what it raises is answered as a problem document; what was not foreseen, as a bare 500."""

    @functools.wraps(view)
    def answer(*args: Any, **kwargs: Any) -> Response:
        try:
            return view(*args, **kwargs)
        except CounterError as error:
            telemetry.log_failed_request(error)
            return problem(error)
        except Exception as error:  # noqa: BLE001  (the outermost place there is)
            telemetry.log_failed_request(error)
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
            response.body["current"] = responses.counter_body(error.counter)
            response.headers["ETag"] = formats.etag(error.counter)
        case KeyReusedError():
            response = _problem(422, "key-reused", "The idempotency key was used for another body", error.detail)
        case EventNotFoundError():
            response = _problem(404, "event-not-found", "There is no such event", error.detail)
        case ReportNotFoundError():
            response = _problem(404, "report-not-found", "There is no such report", error.detail)
        case ReportsOffError():
            response = _problem(404, "reports-off", "There are no reports here", error.detail)
        case RangeTooLongError():
            detail = f"{error.detail} to={formats.rfc3339(error.end * 1000)} would be accepted."
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
    return responses.response(status, body, {"Content-Type": PROBLEM_JSON, "Cache-Control": "no-store"})


def _urn(kind: str) -> str:
    return f"urn:counter:problem:{kind}"
