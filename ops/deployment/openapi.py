"""
Generate the API's OpenAPI 3.1 document: each path, parameter, header, status and error, with examples.

`make openapi` writes it to `chalicelib/extras/openapi.json`, which ships. Limits, patterns and defaults come from their
modules, and the service itself renders the examples, so neither can drift.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import chalicelib
from chalicelib import settings
from chalicelib.api import formats, problems, requests, responses
from chalicelib.command_handlers import Accepted, choose_event_id
from chalicelib.domain.commands import Increment
from chalicelib.domain.counter import Counter
from chalicelib.domain.events import COUNTER_ID, EVENT_ID, TYPES, Adjusted, Incremented
from chalicelib.domain.history import RESOLUTIONS, EventPage, EventPosition, Point
from chalicelib.domain.rules import Integer, Pattern, Text, Time
from chalicelib.errors import (
    BodyTooLargeError,
    CounterError,
    EventNotFoundError,
    FeatureNotFoundError,
    InvalidRequestError,
    KeyReusedError,
    NotUnderstoodError,
    RangeTooLongError,
    UnavailableError,
    UnsupportedMediaTypeError,
    VersionMismatchError,
)
from chalicelib.extras import badge, openapi
from chalicelib.extras.reports import api as reports_api
from chalicelib.extras.reports import definitions
from chalicelib.extras.reports.definitions import REPORTS, Kind
from chalicelib.extras.reports.errors import ReportNotFoundError, ReportsOffError, ReportUnavailableError
from chalicelib.read_model.queries import CounterPage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chalice.app import Response

    from chalicelib.domain.events import Event
    from chalicelib.domain.rules import Rule
    from chalicelib.extras.reports.definitions import Column, Report

JSON = dict[str, Any]


def generate() -> JSON:
    """Generate the document, with placeholders for the settings of a stage."""
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Counter",
            "version": chalicelib.__version__,
            "summary": "An event-sourced counter: each increment is counted exactly once.",
            "description": _ABOUT,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": ".", "description": "The address of this document, on any stage or domain."}],
        "security": [],
        "paths": _describe_paths(),
        "components": {
            "parameters": _PARAMETERS,
            "headers": _VARYING_HEADERS | {name: _require(value) for name, value in _CORS_HEADERS.items()},
            "schemas": _SCHEMAS,
            "responses": _REFUSALS,
        },
    }


_ABOUT = """\
A `202` response means that the increment is durably recorded. It is counted exactly once, usually within a second.
Requests with the same `Idempotency-Key` on the same counter are the same increment. A client can therefore retry with
the same key after a timeout, a `429` or a `5xx`.

Every error is a problem document (RFC 9457). `detail` states what was wrong and how to correct it; `type` is for
programs. API Gateway may refuse a request itself, with the type `urn:counter:problem:gateway-error` and a status of its
choice. Such a document has no `status`.

Pages of the allowed origin can read every response, including errors (CORS). Each path answers preflight requests.
"""

_A_TIME_MS = 1_700_000_000_123
_A_COUNTER = Counter("clicks", value=21, version=16, updated_at_ms=_A_TIME_MS)
_A_COMMAND = Increment("clicks", by=5, idempotency_key="my first click", count_at_once=True)
_AN_INCREMENT = Incremented(_A_COMMAND.counter_id, choose_event_id(_A_COMMAND, _A_TIME_MS), _A_COMMAND.by, _A_TIME_MS)
_AN_ADJUSTMENT = Adjusted("clicks", "2f1c7c0e-93a7-5a53-8b43-6d2f2a1f9c10", -3, _A_TIME_MS, "counted twice", "ann")
_NO_HEADERS = requests.Request()


def _object(**members: JSON) -> JSON:
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


def _integer(lowest: int | None = None, highest: int | None = None) -> JSON:
    bounds = {"minimum": lowest, "maximum": highest}
    return {"type": "integer", **{name: bound for name, bound in bounds.items() if bound is not None}}


def _ref(kind: str, name: str) -> JSON:
    return {"$ref": f"#/components/{kind}/{name}"}


def _parameter(name: str, schema: JSON, example: object, description: str = "", place: str = "query") -> JSON:
    required = {"required": True} if place == "path" else {}
    described = {"description": description} if description else {}
    return {"name": name, "in": place, **required, **described, "schema": schema, "example": example}


def _require(value: str) -> JSON:
    return {"required": True, "schema": {"const": value}}


_TEXT: JSON = {"type": "string"}
_TIME: JSON = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
}
_DAY: JSON = {"type": "string", "format": "date"}
_CURSOR: JSON = {"type": ["string", "null"], "description": "The cursor of the next page; null on the last page."}


def _describe_value(rule: Rule) -> JSON:
    """Return the schema of a field with this rule, as clients see it."""
    match rule:
        case Time():
            return _TIME
        case Integer(lowest=lowest, highest=highest):
            return _integer(lowest, highest)
        case Pattern(expression=expression, format=name):
            return {"type": "string", **({"format": name} if name else {}), "pattern": f"^{expression.pattern}$"}
        case Text(longest=longest):
            return {"type": "string", "minLength": 1, "maxLength": longest}
    raise TypeError(f"no schema for {rule!r}")


def _describe_fields(event_type: type[Event]) -> JSON:
    """Return the schemas of the public fields."""
    return {rule.name: _describe_value(rule) for rule in event_type.rules.values() if rule.is_public}


def _events(**more: JSON) -> JSON:
    return {
        "oneOf": [
            _object(**_describe_fields(event_type), type={"const": event_type.type_name}, **more)
            for event_type in TYPES.values()
        ]
    }


_COUNTER_ID = _describe_value(COUNTER_ID)
_EVENT_ID = _describe_value(EVENT_ID)

#: The schema of each kind of column.
_CELLS: dict[Kind, JSON] = {
    Kind.COUNTER_ID: _COUNTER_ID,
    Kind.EVENT_ID: _EVENT_ID,
    Kind.TEXT: _TEXT,
    Kind.INTEGER: _integer(),
    Kind.TIME: _TIME,
    Kind.DAY: _DAY,
}


def _cell(column: Column) -> JSON:
    schema = _CELLS[column.kind]
    return {"anyOf": [schema, {"type": "null"}]} if column.nullable else schema


def _report_body(report: Report) -> JSON:
    row = _object(**{column.name: _cell(column) for column in report.columns})
    return _object(report={"const": report.name}, rows={"type": "array", "items": row}, next_cursor=_CURSOR)


_SCHEMAS: JSON = {
    "Counter": _object(
        counter_id=_COUNTER_ID,
        value=_integer() | {"description": "The sum of the events counted so far."},
        version=_integer(0) | {"description": "The number of events counted so far."},
        updated_at={"anyOf": [_TIME, {"type": "null"}]},
    ),
    "AcceptedEvent": _object(**_describe_fields(Incremented)),
    "Event": _events(),
    "EventAndStatus": _events(status={"enum": ["pending", "counted"]}),
    "Report": {"oneOf": [_report_body(report) for report in REPORTS.values()]},
    "Point": _object(
        start=_TIME,
        increments=_integer(1) | {"description": "The number of events, including adjustments."},
        sum=_integer(),
    ),
    "Service": _object(
        service=_TEXT,
        description=_TEXT,
        version=_TEXT,
        links={"type": "object", "additionalProperties": _TEXT},
    ),
}

_UUID_OF_ANY_CASE: JSON = {
    "type": "string",
    "format": "uuid",
    "pattern": "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$",
}
_LIMIT: JSON = _integer(1, requests.MAX_LIMIT) | {"default": requests.DEFAULT_LIMIT}

_PARAMETERS: JSON = {
    parameter["name"]: parameter
    for parameter in (
        _parameter("counter_id", _COUNTER_ID, "clicks", "Case-sensitive. Every valid id is a counter.", "path"),
        _parameter("event_id", _UUID_OF_ANY_CASE, _AN_INCREMENT.event_id, place="path"),
        _parameter("limit", _LIMIT, 10, "The maximum number of rows on a page."),
        _parameter("If-None-Match", _TEXT, '"16"', "The `ETag` of the version that the client has.", "header"),
    )
}


def _cursor(page: Response) -> JSON:
    return _parameter(
        "cursor",
        {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
        page.body["next_cursor"],
        "The `next_cursor` of the previous page. Opaque. Default: the first page.",
    )


_DATE_TIME: JSON = {"type": "string", "format": "date-time"}
_DATE_OR_TIME: JSON = {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}

#: Headers whose values differ between responses. Any other header has the value that its example response has.
_VARYING_HEADERS: JSON = {
    "ETag": {"required": True, "schema": {"type": "string", "pattern": '^".+"$'}, "example": '"16"'},
    "Location": {
        "required": True,
        "description": "The event, relative to the address of the request.",
        "schema": {"type": "string", "format": "uri-reference"},
        "example": f"../../counters/clicks/events/{_AN_INCREMENT.event_id}",
    },
    "Idempotency-Replayed": {
        "description": "An earlier request already recorded the increment.",
        "schema": {"const": "true"},
    },
    "Preference-Applied": {"schema": {"const": "return=representation"}},
    "Link": {
        "description": "The next page, if any, relative to the address of the request.",
        "schema": {"type": "string", "pattern": r'^<\?.+>; rel="next"$'},
        "example": '<?counter_id=clicks&cursor=MSBjbGlja3M>; rel="next"',
    },
    "Retry-After": {"required": True, "description": "Seconds.", "schema": _integer(0), "example": 1},
}


_CORS_HEADERS = responses.make_cors_config(openapi.ALLOWED_ORIGIN).get_access_control_headers()
_CORS = {name: _ref("headers", name) for name in _CORS_HEADERS}


def _describe_response(
    description: str, schema: JSON, *examples: Response, sometimes: tuple[str, ...] = (), **more: Any
) -> JSON:
    headers = examples[0].headers
    media_type = headers.get("Content-Type", "application/json")
    fixed = {
        name: _require(str(value))
        for name, value in headers.items()
        if name not in _VARYING_HEADERS and name != "Content-Type"
    }
    varying = {name: _ref("headers", name) for name in (*headers, *sometimes) if name in _VARYING_HEADERS}
    bodies = {f"example-{place}": {"value": example.body} for place, example in enumerate(examples, 1)}
    return {
        "description": description,
        "headers": fixed | varying | _CORS,
        "content": {media_type: {"schema": schema, "examples": bodies}},
        **more,
    }


def _describe_unchanged(answer: Response) -> JSON:
    same = {name: value for name, value in _describe_response("", {}, answer)["headers"].items() if name in _KEPT}
    return {"description": "The client already has this version.", "headers": same | _CORS}


_KEPT = ("ETag", "Cache-Control")


def _describe_errors(
    description: str, *documents: Mapping[str, Any], header: str | None = None, **members: JSON
) -> JSON:
    types = list(dict.fromkeys(problem["type"] for problem in documents))
    status = {"status": {"const": documents[0]["status"]}} if "status" in documents[0] else {}
    schema = _object(type={"enum": types}, title=_TEXT, **status, detail=_TEXT, **members)
    examples = {problem["title"]: {"value": problem} for problem in documents}
    return {
        "description": description,
        "headers": _CORS | ({header: _ref("headers", header)} if header else {}),
        "content": {problems.PROBLEM_JSON: {"schema": schema, "examples": examples}},
    }


def _problem(error: CounterError) -> Mapping[str, Any]:
    body: Mapping[str, Any] = problems.render_problem(error).body
    return body


def _by_gateway(kind: str) -> Mapping[str, Any]:
    return problems.describe_problem(*problems.GATEWAY_PROBLEMS[kind])


_MALFORMED = _problem(InvalidRequestError("counter_id must be 1 to 64 characters of A-Z a-z 0-9 . _ ~ -, got 'a b'."))
_TOO_LONG = RangeTooLongError(
    "The range must have at most 10,000 steps of a minute, got 10,001. Use resolution=hour or a shorter range.",
    1_700_000_000,
)
_NOWHERE = _by_gateway("MISSING_AUTHENTICATION_TOKEN")

_REFUSALS: JSON = {
    "BadRequest": _describe_errors("A part of the request is malformed.", _MALFORMED),
    "BadRange": _describe_errors(
        "A part of the request is malformed, or the range is too long.", _MALFORMED, _problem(_TOO_LONG)
    ),
    "GatewayRefused": _describe_errors("The gateway refused the request.", _by_gateway("DEFAULT_4XX")),
    "NotFound": _describe_errors("Unknown path: for example, an id is empty or contains a slash.", _NOWHERE),
    "NoSuchEvent": _describe_errors(
        "Unknown event or path.",
        _problem(EventNotFoundError("clicks", _AN_INCREMENT.event_id)),
        _NOWHERE,
    ),
    "NoBadge": _describe_errors(
        "Unknown path, or the deployment has no badges.",
        _problem(FeatureNotFoundError()),
        _NOWHERE,
    ),
    "NoSuchReport": _describe_errors(
        "Unknown report or path, or the stage has no reports.",
        _problem(ReportNotFoundError(f"There is no report 'yearly'; there are {', '.join(REPORTS)}.")),
        _problem(ReportsOffError()),
        _problem(FeatureNotFoundError()),
        _NOWHERE,
    ),
    "ReportsOff": _describe_errors(
        "The stage has no reports.", _problem(ReportsOffError()), _problem(FeatureNotFoundError())
    ),
    "OtherVersion": _describe_errors(
        "The counter is not at the version of `If-Match`. Nothing was recorded.",
        _problem(VersionMismatchError(15, _A_COUNTER)),
        header="ETag",
        current=_ref("schemas", "Counter"),
    ),
    "TooLarge": _describe_errors(
        f"The body is over {requests.MAX_BODY_BYTES} bytes.",
        _problem(BodyTooLargeError("The body must have at most 1024 bytes, got 1025.")),
        _by_gateway("REQUEST_TOO_LARGE"),
    ),
    "NotJson": _describe_errors(
        "The request has a body whose media type is not JSON.",
        _problem(UnsupportedMediaTypeError("Content-Type must be application/json, in UTF-8.")),
    ),
    "KeyReused": _describe_errors(
        "The idempotency key was already used on this counter with a different body.",
        _problem(KeyReusedError("clicks", _AN_INCREMENT.event_id)),
    ),
    "TooMany": _describe_errors(
        "The rate limit of the stage is exceeded.", _by_gateway("THROTTLED"), header="Retry-After"
    ),
    "Failed": _describe_errors(
        "The service failed. The request was not the cause.",
        _problem(CounterError()),
        _problem(NotUnderstoodError("")),
    ),
    "GatewayFailed": _describe_errors("The gateway failed.", _by_gateway("DEFAULT_5XX")),
    "ReportUnavailable": _describe_errors(
        "The SQL read model is busy or unreachable, or the report takes too long.",
        _problem(ReportUnavailableError()),
        _by_gateway("INTEGRATION_TIMEOUT"),
        _by_gateway("INTEGRATION_FAILURE"),
        header="Retry-After",
    ),
    "Unavailable": _describe_errors(
        "The service is busy or unreachable. An increment may or may not be recorded: retry with its key.",
        _problem(UnavailableError()),
        _by_gateway("INTEGRATION_TIMEOUT"),
        _by_gateway("INTEGRATION_FAILURE"),
        header="Retry-After",
    ),
}

_REFUSED_ANYWHERE = {
    "403": "GatewayRefused",
    "429": "TooMany",
    "500": "Failed",
    "502": "GatewayFailed",
    "503": "Unavailable",
}


def _operation(
    name: str, summary: str, parameters: list[JSON], answers: JSON, refusals: dict[str, str], **more: Any
) -> JSON:
    refused = {status: _ref("responses", refusal) for status, refusal in (_REFUSED_ANYWHERE | refusals).items()}
    statuses = dict(sorted((answers | refused).items()))
    return {"operationId": name, "summary": summary, **more, "parameters": parameters, "responses": statuses}


def _describe_paths() -> JSON:
    counter = "/counters/{counter_id}"
    return {
        f"{counter}/increments": {"post": _describe_increment()},
        counter: {"get": _describe_counter()},
        f"{counter}/events/{{event_id}}": {"get": _describe_event()},
        f"{counter}/events": {"get": _describe_events()},
        f"{counter}/history": {"get": _describe_history()},
        f"{counter}/badge.svg": {"get": _describe_badge()},
        "/counters": {"get": _describe_counters()},
        "/reports": {"get": _describe_reports()},
        "/reports/{name}": {"get": _describe_report()},
        "/": {"get": _describe_index()},
        "/openapi.json": {"get": _describe_document()},
    }


_OF_COUNTER = {"400": "BadRequest", "404": "NotFound"}


def _describe_increment() -> JSON:
    recorded = responses.render_accepted(_A_COMMAND, Accepted(_AN_INCREMENT, None, is_retry=False))
    counted = responses.render_accepted(_A_COMMAND, Accepted(_AN_INCREMENT, _A_COUNTER, is_retry=False))
    event = {"counter_id": "$response.body#/counter_id", "event_id": "$response.body#/event_id"}
    counter = {"counter_id": "$response.body#/counter_id"}
    return _operation(
        "increment",
        "Increment a counter.",
        [
            _ref("parameters", "counter_id"),
            _parameter(
                "Idempotency-Key",
                {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"},
                _A_COMMAND.idempotency_key,
                "All requests with this key on this counter are the same increment. Keys never expire. "
                "1 to 255 printable ASCII characters, without spaces at the ends.",
                "header",
            ),
            _parameter(
                "If-Match",
                {"type": "string", "pattern": f"^{formats.VERSION_TAG.pattern}$"},
                '"16"',
                "Compare-and-swap: increment only if the counter is at this version.",
                "header",
            ),
            _parameter(
                "Prefer",
                _TEXT,
                "return=representation",
                "`return=representation` is add-and-get. Under contention, or with any other preference, the "
                "response is 202 as without it.",
                "header",
            ),
        ],
        {
            "200": _describe_response(
                "With `If-Match` or `Prefer`: the increment is recorded and counted. The counter after it.",
                _ref("schemas", "Counter"),
                counted,
                sometimes=("Idempotency-Replayed",),
                links={"counter": {"operationId": "counter", "parameters": counter}},
            ),
            "202": _describe_response(
                "The increment is durably recorded, and will be counted.",
                _ref("schemas", "AcceptedEvent"),
                recorded,
                sometimes=("Idempotency-Replayed",),
                links={
                    "event": {"operationId": "event", "parameters": event},
                    "counter": {"operationId": "counter", "parameters": counter},
                },
            ),
        },
        {**_OF_COUNTER, "412": "OtherVersion", "413": "TooLarge", "415": "NotJson", "422": "KeyReused"},
        requestBody={
            "description": f"At most {requests.MAX_BODY_BYTES} bytes. Default: `by` is 1.",
            "required": False,
            "content": {
                "application/json": {
                    "schema": _object(by={**_integer(1), "maximum": openapi.MAX_INCREMENT}),
                    "example": {"by": _A_COMMAND.by},
                }
            },
        },
    )


def _describe_counter() -> JSON:
    clicks = responses.render_counter(_NO_HEADERS, _A_COUNTER)
    untouched = responses.render_counter(_NO_HEADERS, Counter("untouched"))
    return _operation(
        "counter",
        "Get a counter's value and version. A counter that was never incremented is 0.",
        [_ref("parameters", "counter_id"), _ref("parameters", "If-None-Match")],
        {
            "200": _describe_response("The counter.", _ref("schemas", "Counter"), clicks, untouched),
            "304": _describe_unchanged(clicks),
        },
        _OF_COUNTER,
    )


def _describe_event() -> JSON:
    pending = responses.render_event(_AN_INCREMENT, counted=False)
    counted = responses.render_event(_AN_ADJUSTMENT, counted=True)
    return _operation(
        "event",
        "Get an event and whether it is counted.",
        [_ref("parameters", "counter_id"), _ref("parameters", "event_id")],
        {"200": _describe_response("The event.", _ref("schemas", "EventAndStatus"), pending, counted)},
        {"400": "BadRequest", "404": "NoSuchEvent"},
    )


def _describe_events() -> JSON:
    place = EventPosition(_A_TIME_MS, _AN_INCREMENT.event_id)
    page = responses.render_events(EventPage([_AN_ADJUSTMENT, _AN_INCREMENT], place))
    schema = _object(events={"type": "array", "items": _ref("schemas", "Event")}, next_cursor=_CURSOR)
    return _operation(
        "events",
        "List the counted events, newest first.",
        [_ref("parameters", "counter_id"), _ref("parameters", "limit"), _cursor(page)],
        {"200": _describe_response("A page.", schema, page, responses.render_events(EventPage([], None)))},
        _OF_COUNTER,
    )


def _describe_history() -> JSON:
    resolution: JSON = {"enum": list(RESOLUTIONS), "default": requests.DEFAULT_RESOLUTION}
    return _operation(
        "history",
        "Get the number and the sum of events per step of a range, without empty steps.",
        [
            _ref("parameters", "counter_id"),
            _parameter(
                "from",
                _DATE_TIME,
                "2023-11-14T00:00:00Z",
                "The start, inclusive, rounded down to a second. Default: an hour, a day, 30 days or 365 days before "
                "`to`, by resolution.",
            ),
            _parameter(
                "to",
                _DATE_TIME,
                "2023-11-15T00:00:00Z",
                "The end, exclusive and later than `from`, rounded up to a second. Default: now.",
            ),
            _parameter("resolution", resolution, "hour", "The length of a step."),
        ],
        {
            "200": _describe_response(
                "The steps that are not empty, in ascending order.",
                _object(points={"type": "array", "items": _ref("schemas", "Point")}),
                responses.render_history([Point(1_700_000_040, 3, 7)]),
            )
        },
        {"400": "BadRange", "404": "NotFound"},
    )


def _describe_badge() -> JSON:
    svg = badge.render_badge(badge.parse_options("visits", {"color": "brightgreen"}), 1_234_567)
    picture = responses.render_cacheable(_NO_HEADERS, svg, badge.HEADERS)
    colour = {"type": "string", "pattern": f"^({badge.HEX_COLOUR}|{'|'.join(badge.COLOURS)})$"}
    return _operation(
        "badge",
        "Get the value as a badge, with these parameters, named as those of shields.io.",
        [
            _ref("parameters", "counter_id"),
            _parameter(
                "label",
                {"type": "string", "pattern": f"^{badge.LABEL}$"},
                "visits",
                "Default: the counter's id. If empty, the badge has no label.",
            ),
            _parameter("color", colour | {"default": badge.DEFAULT_COLOUR}, "brightgreen"),
            _parameter("labelColor", colour | {"default": badge.DEFAULT_LABEL_COLOUR}, "555"),
            _parameter("style", {"enum": list(badge.STYLES), "default": badge.DEFAULT_STYLE}, "flat-square"),
            _ref("parameters", "If-None-Match"),
        ],
        {
            "200": _describe_response("The badge.", {"type": "string", "maxLength": badge.MAX_BYTES}, picture),
            "304": _describe_unchanged(picture),
        },
        {"400": "BadRequest", "404": "NoBadge"},
    )


def _describe_counters() -> JSON:
    page = responses.render_counters(CounterPage([_A_COUNTER], "clicks"))
    schema = _object(counters={"type": "array", "items": _ref("schemas", "Counter")}, next_cursor=_CURSOR)
    return _operation(
        "counters",
        "List all counters, in no particular order.",
        [_ref("parameters", "limit"), _cursor(page)],
        {"200": _describe_response("A page.", schema, page)},
        {"400": "BadRequest"},
    )


def _describe_reports() -> JSON:
    names = {"type": "array", "items": _TEXT}
    report = _object(
        name={"enum": list(REPORTS)}, description=_TEXT, parameters=names, required=names, columns=names, path=_TEXT
    )
    return _operation(
        "reports",
        "List the reports and their parameters, if the stage has the SQL read model.",
        [],
        {
            "200": _describe_response(
                "The reports.",
                _object(reports={"type": "array", "items": report}),
                reports_api.list_reports(settings.read({"STAGE": "any", "SQL_URL": "sqlite:///any"})),
            )
        },
        {"404": "ReportsOff"},
    )


def _describe_report() -> JSON:
    top = _page_of("top_counters", (1, "clicks", 21, 16), more=True)
    totals = (
        "clicks",
        _AN_ADJUSTMENT.event_id,
        "Adjusted",
        -3,
        definitions.from_ms(Kind.TIME, _A_TIME_MS),
        "counted twice",
        21,
    )
    answered = _describe_response(
        "A page.",
        _ref("schemas", "Report"),
        top,
        _page_of("daily", _A_DAILY_ROW),
        _page_of("running_totals", totals),
        sometimes=("Link",),
    )
    in_csv = _describe_response("", _TEXT, _page_of("daily", _A_DAILY_ROW, as_csv=True))
    only_in_csv = {name: {"schema": _TEXT} for name in ("Content-Disposition", "X-Content-Type-Options")}
    bounds = "A day, or a time with any offset. A step that lies partly in the range is reported in full."
    return _operation(
        "report",
        "Get a report, page by page. `GET /reports` lists the parameters of each; any other is a 400.",
        [
            _parameter("name", {"enum": list(REPORTS)}, "top_counters", place="path"),
            _ref("parameters", "limit"),
            _cursor(top),
            _parameter(
                "format",
                {"enum": list(reports_api.FORMATS), "default": reports_api.JSON_FORMAT},
                reports_api.JSON_FORMAT,
                "CSV starts with a header line. For CSV, only `Link` has the next page.",
            ),
            _parameter("counter_id", _COUNTER_ID, "clicks", "Only this counter. `running_totals` requires it."),
            _parameter("from", _DATE_OR_TIME, "2023-11-14", f"The start, inclusive. {bounds}"),
            _parameter(
                "to",
                _DATE_OR_TIME,
                "2023-11-15T00:00:00Z",
                f"The end, exclusive and later than `from`. {bounds}",
            ),
        ],
        {
            "200": answered
            | {
                "content": answered["content"] | {"text/csv": in_csv["content"][reports_api.CSV]},
                "headers": answered["headers"] | only_in_csv,
            }
        },
        {"400": "BadRequest", "404": "NoSuchReport", "503": "ReportUnavailable"},
    )


_A_DAILY_ROW: definitions.Row = ("clicks", definitions.from_ms(Kind.DAY, _A_TIME_MS), 3, 7)


def _page_of(name: str, row: definitions.Row, *, more: bool = False, as_csv: bool = False) -> Response:
    report = REPORTS[name]
    page = definitions.Page([row], definitions.get_position(report, row) if more else None)
    return reports_api.to_response(reports_api.ReportRequest(definitions.Query(report, 1), as_csv, {}), page)


def _describe_index() -> JSON:
    return _operation(
        "index",
        "Get the name, version and links of the service.",
        [],
        {"200": _describe_response("The service.", _ref("schemas", "Service"), responses.render_index())},
        {},
    )


def _describe_document() -> JSON:
    this = responses.render_cacheable(_NO_HEADERS, "", openapi.HEADERS)
    this.body = {"openapi": "3.1.1", "info": {"title": "Counter", "version": chalicelib.__version__}, "paths": {}}
    return _operation(
        "description",
        "Get this document.",
        [_ref("parameters", "If-None-Match")],
        {"200": _describe_response("The document.", {"type": "object"}, this), "304": _describe_unchanged(this)},
        {},
    )


if __name__ == "__main__":
    openapi.FILE.write_text(json.dumps(generate(), indent=1) + "\n", encoding="utf-8")
