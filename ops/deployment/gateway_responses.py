"""Render the error responses that API Gateway generates itself as problem documents."""

import json
from typing import Any, NamedTuple

from chalicelib.api.problems import PROBLEM_JSON, describe_problem
from chalicelib.api.requests import MAX_BODY_BYTES
from chalicelib.api.responses import make_cors_config
from chalicelib.errors import BodyTooLargeError, PathNotFoundError, ProblemType, UnavailableError
from chalicelib.settings import Settings


class GatewayProblem(NamedTuple):
    """An error response that API Gateway generates itself. Clients may retry after `retry_after_s` seconds, if set."""

    problem: ProblemType
    detail: str
    retry_after_s: int | None = None


_FORBIDDEN = ProblemType(403, "forbidden", "Forbidden")
_UNAVAILABLE = GatewayProblem(UnavailableError.problem, UnavailableError.public_detail, 1)
_UNCHECKED = GatewayProblem(
    UnavailableError.problem, "The credentials could not be checked, and nothing was recorded. Retry later.", 1
)

#: The error responses of API Gateway, by its response types.
GATEWAY_PROBLEMS = {
    "MISSING_AUTHENTICATION_TOKEN": GatewayProblem(PathNotFoundError.problem, PathNotFoundError().detail),
    "UNAUTHORIZED": GatewayProblem(
        ProblemType(401, "unauthorized", "Unauthorized"), "Send a valid token as Authorization: Bearer TOKEN."
    ),
    "ACCESS_DENIED": GatewayProblem(_FORBIDDEN, "The credentials do not permit this request."),
    "INVALID_API_KEY": GatewayProblem(_FORBIDDEN, "Send a valid API key of this stage in the header X-Api-Key."),
    "INVALID_SIGNATURE": GatewayProblem(
        _FORBIDDEN, "The signature is invalid or has expired. Sign the request again and retry."
    ),
    "EXPIRED_TOKEN": GatewayProblem(_FORBIDDEN, "The session token has expired. Get new credentials."),
    "REQUEST_TOO_LARGE": GatewayProblem(BodyTooLargeError.problem, f"The body must be at most {MAX_BODY_BYTES} bytes."),
    "THROTTLED": GatewayProblem(
        ProblemType(429, "throttled", "Too many requests"), "Retry later with the same Idempotency-Key.", 1
    ),
    "WAF_FILTERED": GatewayProblem(
        ProblemType(429, "throttled", "Too many requests"), "Too many requests from this address. Retry later.", 60
    ),
    "QUOTA_EXCEEDED": GatewayProblem(
        ProblemType(429, "quota-exceeded", "Quota exceeded"),
        "The API key's quota is used up until its period ends.",
        3600,
    ),
    "AUTHORIZER_FAILURE": _UNCHECKED,
    "AUTHORIZER_CONFIGURATION_ERROR": _UNCHECKED,
    "INTEGRATION_TIMEOUT": _UNAVAILABLE,
    "INTEGRATION_FAILURE": _UNAVAILABLE,
    "DEFAULT_4XX": GatewayProblem(
        ProblemType(None, "gateway-error", "Gateway error"),
        "The gateway refused the request. Check its credentials, headers and path.",
    ),
    "DEFAULT_5XX": GatewayProblem(ProblemType(None, "gateway-error", "Gateway error"), "The gateway failed."),
}

#: Used for MISSING_AUTHENTICATION_TOKEN if requests are signed: API Gateway also sends that type to unsigned requests.
UNSIGNED = GatewayProblem(
    _FORBIDDEN,
    "Unsigned request, or unknown path. Sign each request (AWS Signature Version 4, service execute-api). GET / lists "
    "all paths.",
)


def render(settings: Settings) -> dict[str, Any]:
    """Render the error responses as problem documents that pages of the allowed origins can read, for the template."""
    allowed = settings.allowed_origin
    cors = make_cors_config(allowed[0]).get_access_control_headers()
    readable = {name: f"'{value}'" for name, value in cors.items()}
    if len(allowed) > 1:  # API Gateway cannot compare origins, and these responses contain no data of the stage
        readable |= {"Access-Control-Allow-Origin": "method.request.header.Origin", "Vary": "'Origin'"}
    signed = {"MISSING_AUTHENTICATION_TOKEN": UNSIGNED} if "iam" in (settings.writers, settings.readers) else {}
    return {
        kind: {
            **({"StatusCode": problem.status} if problem.status else {}),
            "ResponseParameters": {
                "Headers": {
                    **readable,
                    "Content-Type": f"'{PROBLEM_JSON}'",
                    **({"Retry-After": f"'{retry_after_s}'"} if retry_after_s else {}),
                    **({"WWW-Authenticate": "'Bearer'"} if problem.status == 401 else {}),
                }
            },
            "ResponseTemplates": {"application/json": f"{json.dumps(describe_problem(problem, detail))}\n"},
        }
        for kind, (problem, detail, retry_after_s) in (GATEWAY_PROBLEMS | signed).items()
    }
