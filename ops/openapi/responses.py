"""Describe responses, with examples that the service itself renders."""

from typing import Any

from chalice.app import Response

from chalicelib import errors
from chalicelib.api import problems, requests, responses
from chalicelib.domain.events import COUNTER_ID
from chalicelib.extras import openapi
from chalicelib.extras.reports import errors as reports_errors
from chalicelib.extras.reports.definitions import REPORTS
from ops.deployment.gateway_responses import GATEWAY_PROBLEMS
from ops.openapi.examples import A_COUNTER, INCREMENTED
from ops.openapi.schemas import JSON, TEXT, describe_integer, describe_object, refer_to

#: Headers whose values differ between responses. All other headers have the values of the example.
_VARYING: JSON = {
    "ETag": {"required": True, "schema": {"type": "string", "pattern": '^".+"$'}, "example": '"16"'},
    "Location": {
        "required": True,
        "description": "The event, relative to the address of the request.",
        "schema": {"type": "string", "format": "uri-reference"},
        "example": f"../../counters/clicks/events/{INCREMENTED.event_id}",
    },
    "Idempotency-Replayed": {
        "description": "An earlier request already recorded the event.",
        "schema": {"const": "true"},
    },
    "Preference-Applied": {"schema": {"const": "return=representation"}},
    "Link": {
        "description": "The next page, if any, relative to the address of the request.",
        "schema": {"type": "string", "pattern": r'^<\?.+>; rel="next"$'},
        "example": '<?counter_id=clicks&cursor=MSBjbGlja3M>; rel="next"',
    },
    "Retry-After": {"required": True, "description": "Seconds.", "schema": describe_integer(0), "example": 1},
    "WWW-Authenticate": {"schema": {"const": "Bearer"}},
}


def _require(value: str) -> JSON:
    return {"required": True, "schema": {"const": value}}


_CORS = {
    name: value
    for name, value in responses.make_cors_config(openapi.ALLOWED_ORIGIN).get_access_control_headers().items()
    if name not in responses.PREFLIGHT_HEADERS
}
_CORS_REFERENCES = {name: refer_to("headers", name) for name in _CORS}

#: The components of the document.
HEADERS = _VARYING | {name: _require(value) for name, value in _CORS.items()}


def describe_response(
    description: str, schema: JSON, *examples: Response, sometimes: tuple[str, ...] = (), **more: Any
) -> JSON:
    """
    Describe a response with the headers and the media type of the first example.

    `sometimes` names the headers that only some of the responses have.
    """
    headers = examples[0].headers
    media_type = headers.get("Content-Type", "application/json")
    fixed = {
        name: _require(str(value)) for name, value in headers.items() if name not in _VARYING and name != "Content-Type"
    }
    varying = {name: refer_to("headers", name) for name in (*headers, *sometimes) if name in _VARYING}
    bodies = {f"example-{number}": {"value": example.body} for number, example in enumerate(examples, 1)}
    return {
        "description": description,
        "headers": fixed | varying | _CORS_REFERENCES,
        "content": {media_type: {"schema": schema, "examples": bodies}},
        **more,
    }


def describe_cacheable(description: str, schema: JSON, *examples: Response) -> JSON:
    """Describe a response, and the 304 for a client that already has the version of the first example."""
    response = describe_response(description, schema, *examples)
    kept = {name: response["headers"][name] for name in ("Cache-Control", "ETag")}
    unchanged = {"description": "The client already has this version.", "headers": kept | _CORS_REFERENCES}
    return {"200": response, "304": unchanged}


def _describe_problems(
    description: str, *causes: errors.CounterError | str, header: str | None = None, **members: JSON
) -> JSON:
    """Describe an error response. Each cause is an error of the service or a response type of API Gateway."""
    documents = {document["title"]: document for document in map(_render_problem, causes)}
    types = list(dict.fromkeys(document["type"] for document in documents.values()))
    first = next(iter(documents.values()))
    status = {"status": {"const": first["status"]}} if "status" in first else {}
    schema = describe_object(type={"enum": types}, title=TEXT, **status, detail=TEXT, **members)
    if any("status" not in document for document in documents.values()):
        schema["required"] = [name for name in schema["required"] if name != "status"]
    examples = {title: {"value": document} for title, document in documents.items()}
    return {
        "description": description,
        "headers": _CORS_REFERENCES | ({header: refer_to("headers", header)} if header else {}),
        "content": {problems.PROBLEM_JSON: {"schema": schema, "examples": examples}},
    }


def _render_problem(cause: errors.CounterError | str) -> JSON:
    if isinstance(cause, str):
        gateway = GATEWAY_PROBLEMS[cause]
        return problems.describe_problem(gateway.problem, gateway.detail)
    body: JSON = problems.render_problem(cause).body
    return body


_MALFORMED = errors.InvalidRequestError(f"counter_id must be {COUNTER_ID}, got 'a b'.")
_TOO_LONG = errors.RangeTooLongError(
    "The range must span at most 10,000 steps of one minute, got 10,001. Use resolution=hour or a shorter range.",
    1_700_000_000,
)
_NO_SUCH_COUNTER = errors.CounterNotFoundError("clicks")
_UNKNOWN_PATH = "MISSING_AUTHENTICATION_TOKEN"
_TIMEOUTS = ("INTEGRATION_TIMEOUT", "INTEGRATION_FAILURE")

#: The components of the document: one for each response with an error.
REFUSALS: JSON = {
    "Head": {"description": "The error that GET would return, without its body.", "headers": _CORS_REFERENCES},
    "BadRequest": _describe_problems("The request is malformed.", _MALFORMED),
    "BadRange": _describe_problems("The request is malformed, or the range is too long.", _MALFORMED, _TOO_LONG),
    "BadMoment": _describe_problems(
        "The request is malformed, or the time is too far back for a single request.",
        _MALFORMED,
        errors.TooFarBackError(1_700_000_000_000, 1_600_000_000_000),
    ),
    "Unauthorized": _describe_problems("The request has no valid token.", "UNAUTHORIZED", header="WWW-Authenticate"),
    "GatewayRefused": _describe_problems(
        "The gateway refused the request: for example, its credentials are missing or invalid.",
        errors.SecretMissingError(),
        "INVALID_API_KEY",
        "DEFAULT_4XX",
    ),
    "NotAllowed": _describe_problems(
        "The counter does not exist or is closed, or the gateway refused the request. Nothing was recorded.",
        errors.CounterNotAllowedError("clicks"),
        errors.CounterClosedError("clicks"),
        errors.SecretMissingError(),
        "INVALID_API_KEY",
        "DEFAULT_4XX",
    ),
    "NotFound": _describe_problems("Unknown path: for example, an id is empty.", _UNKNOWN_PATH),
    "NoSuchCounter": _describe_problems("Unknown counter or path.", _NO_SUCH_COUNTER, _UNKNOWN_PATH),
    "NoSuchEvent": _describe_problems(
        "Unknown counter, event or path.",
        errors.EventNotFoundError("clicks", INCREMENTED.event_id),
        _NO_SUCH_COUNTER,
        _UNKNOWN_PATH,
    ),
    "NoFeature": _describe_problems(
        "Unknown counter or path, or the deployment lacks this feature.",
        _NO_SUCH_COUNTER,
        errors.FeatureNotFoundError(),
        _UNKNOWN_PATH,
    ),
    "NoSuchReport": _describe_problems(
        "Unknown report, counter or path, or the stage has no reports.",
        reports_errors.ReportNotFoundError(f"No such report: 'yearly'. Reports: {', '.join(REPORTS)}."),
        _NO_SUCH_COUNTER,
        reports_errors.ReportsOffError(),
        errors.FeatureNotFoundError(),
        _UNKNOWN_PATH,
    ),
    "ReportsOff": _describe_problems(
        "The stage has no reports.", reports_errors.ReportsOffError(), errors.FeatureNotFoundError()
    ),
    "OtherVersion": _describe_problems(
        "The counter is not at the version of `If-Match`. Nothing was recorded.",
        errors.VersionMismatchError(15, A_COUNTER),
        header="ETag",
        current=refer_to("schemas", "Counter"),
    ),
    "TooLarge": _describe_problems(
        f"The body is larger than {requests.MAX_BODY_BYTES} bytes.",
        errors.BodyTooLargeError("The body must be at most 1024 bytes, got 1025."),
        "REQUEST_TOO_LARGE",
    ),
    "NotJson": _describe_problems(
        "The request has a body whose media type is not JSON.",
        errors.UnsupportedMediaTypeError("Content-Type must be application/json, in UTF-8."),
    ),
    "KeyReused": _describe_problems(
        "The idempotency key was already used on this counter for another command.",
        errors.KeyReusedError("clicks", INCREMENTED.event_id),
    ),
    "TooMany": _describe_problems(
        "The request exceeds a limit of the stage, or the rate or quota of its API key.",
        "THROTTLED",
        "QUOTA_EXCEEDED",
        header="Retry-After",
    ),
    "Failed": _describe_problems(
        "The service failed. The request was not the cause.", errors.CounterError(), errors.NotUnderstoodError("")
    ),
    "GatewayFailed": _describe_problems("The gateway failed.", "DEFAULT_5XX"),
    "ReportUnavailable": _describe_problems(
        "The SQL read model is busy or unreachable, or the report takes too long.",
        reports_errors.ReportUnavailableError(),
        *_TIMEOUTS,
        header="Retry-After",
    ),
    "Unavailable": _describe_problems(
        "The service is busy or unreachable. The outcome of a command is unknown: retry with the same key.",
        errors.UnavailableError(),
        *_TIMEOUTS,
        header="Retry-After",
    ),
}
