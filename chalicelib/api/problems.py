"""Render errors as problem documents (RFC 9457)."""

from __future__ import annotations

import functools
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from chalice.app import Response

from chalicelib import telemetry
from chalicelib.api import formats, responses
from chalicelib.errors import (
    CounterError,
    ProblemType,
    RangeTooLongError,
    TooFarBackError,
    UnavailableError,
    VersionMismatchError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROBLEM_JSON = "application/problem+json"


def render_errors(view: Callable[..., Response]) -> Callable[..., Response]:
    """Wrap a view so that its errors become problem documents. An unexpected error becomes a 500 without details."""

    @functools.wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Response:
        try:
            return view(*args, **kwargs)
        except CounterError as error:
            telemetry.log_failed_request(error)
            return render_problem(error)
        except Exception as error:  # noqa: BLE001  (the outermost handler)
            telemetry.log_failed_request(error)
            return render_problem(CounterError())

    return wrapper


def render_chalice_error(response: Response) -> Response:
    """Turn an error response that Chalice itself generated into a problem document. Leave other responses unchanged."""
    status = response.status_code
    if status < 400 or response.headers.get("Content-Type") == PROBLEM_JSON:
        return response
    message = response.body.get("Message") if isinstance(response.body, dict) else None
    detail = message if message and status < 500 else CounterError.public_detail
    headers = {name: value for name, value in response.headers.items() if name != "Content-Type"}
    if allowed := headers.get("Allow"):
        # Either the application or API Gateway responds to OPTIONS.
        headers["Allow"] = allowed if "OPTIONS" in allowed else f"{allowed}, OPTIONS"
        detail += f". Use {headers['Allow']}."
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return _respond(status, body, headers)


def render_problem(error: CounterError) -> Response:
    """Render an error as a problem document, with the error's own status, type, title and public detail."""
    body = describe_problem(error.problem, error.public_detail)
    headers: dict[str, str | list[str]] = {}
    match error:
        case VersionMismatchError(counter=counter):
            body["current"] = responses.describe_counter(counter)
            headers["ETag"] = formats.format_version_tag(counter.version)
        case RangeTooLongError(end=end):
            body["detail"] += f" to={formats.format_time(end * 1000)} would be accepted."
        case TooFarBackError(earliest_ms=earliest_ms, latest_ms=latest_ms):
            body["detail"] += f" at={formats.format_time(earliest_ms)} or later would be accepted"
            body["detail"] += (
                f", and so would at={formats.format_time(latest_ms)} or earlier." if latest_ms >= 0 else "."
            )
            body["detail"] += " If the service has reports, the report `value_at` gives the state at any time."
        case UnavailableError(retry_after_s=seconds):
            headers["Retry-After"] = str(seconds)
    return _respond(body["status"], body, headers)


def describe_problem(problem: ProblemType, detail: str) -> dict[str, Any]:
    """Return the members of a problem document. If the type has no fixed status, omit `status`."""
    status = {"status": problem.status} if problem.status else {}
    return {"type": f"urn:counter:problem:{problem.name}", "title": problem.title, **status, "detail": detail}


def _respond(status: int, body: dict[str, Any], headers: Mapping[str, str | list[str]]) -> Response:
    fixed = {"Content-Type": PROBLEM_JSON, "Cache-Control": "no-store"}
    return Response(body, headers={**fixed, **headers}, status_code=status)
