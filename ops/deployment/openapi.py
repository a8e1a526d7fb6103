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
from chalicelib.domain.events import COUNTER_ID, LARGEST_AMOUNT, Adjusted, Incremented
from chalicelib.domain.history import RESOLUTIONS, EventPage, EventPosition, Point
from chalicelib.errors import (
    BodyTooLargeError,
    CounterError,
    EventNotFoundError,
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
        "servers": [{"url": ".", "description": "Where this document was found, whatever stage or domain that is."}],
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
An increment that was answered `202` is in the log for good, and counted about a second later, once. The same
`Idempotency-Key` on the same counter is the same increment, so a client that got no answer, or a `429` or `5xx`, sends
the same request again, with the same key.

Every error is a problem document (RFC 9457). `detail` says what was wrong and what would be right; `type` is for
programs. The gateway in front of the service may refuse a request by itself, with the type
`urn:counter:problem:gateway-error` and whatever status it has for that; such a document has no `status`.

Pages of the allowed origin may read every answer, errors too (CORS), and each path answers preflights.
"""

_A_TIME_MS = 1_700_000_000_123
_A_COUNTER = Counter("clicks", value=21, version=16, updated_at_ms=_A_TIME_MS)
_A_COMMAND = Increment("clicks", by=5, idempotency_key="my first click", wants_counter=True)
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
_COUNTER_ID: JSON = {"type": "string", "pattern": f"^{COUNTER_ID.pattern}$"}
_EVENT_ID: JSON = {"type": "string", "format": "uuid", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
_TIME: JSON = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
}
_DAY: JSON = {"type": "string", "format": "date"}
_CURSOR: JSON = {"type": ["string", "null"], "description": "Asks for what is behind this page; null on the last."}
_RECORDED: JSON = {"counter_id": _COUNTER_ID, "event_id": _EVENT_ID, "recorded_at": _TIME}


def _events(**more: JSON) -> JSON:
    incremented = _object(**_RECORDED, by=_integer(1, LARGEST_AMOUNT), type={"const": "Incremented"}, **more)
    adjusted = _object(
        **_RECORDED,
        by=_integer(-LARGEST_AMOUNT, LARGEST_AMOUNT),
        type={"const": "Adjusted"},
        reason={"type": "string", "minLength": 1, "maxLength": 200},
        **more,
    )
    return {"oneOf": [incremented, adjusted]}


#: What stands in each kind of column.
_CELLS: dict[Kind, JSON] = {
    Kind.COUNTER_ID: _COUNTER_ID,
    Kind.EVENT_ID: _EVENT_ID,
    Kind.TEXT: _TEXT,
    Kind.INTEGER: _integer(),
    Kind.TIME: _TIME,
    Kind.DAY: _DAY,
}


def _cell(column: Column) -> JSON:
    found = _CELLS[column.kind]
    return {"anyOf": [found, {"type": "null"}]} if column.nullable else found


def _report_body(report: Report) -> JSON:
    row = _object(**{column.name: _cell(column) for column in report.columns})
    return _object(report={"const": report.name}, rows={"type": "array", "items": row}, next_cursor=_CURSOR)


_SCHEMAS: JSON = {
    "Counter": _object(
        counter_id=_COUNTER_ID,
        value=_integer() | {"description": "The sum over the events counted so far."},
        version=_integer(0) | {"description": "How many they are."},
        updated_at={"anyOf": [_TIME, {"type": "null"}]},
    ),
    "AcceptedEvent": _object(**_RECORDED, by=_integer(1, LARGEST_AMOUNT)),
    "Event": _events(),
    "EventAndStatus": _events(status={"enum": ["pending", "counted"]}),
    "Report": {"oneOf": [_report_body(report) for report in REPORTS.values()]},
    "Point": _object(
        start=_TIME,
        increments=_integer(1) | {"description": "How many events, adjustments among them."},
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
        _parameter("counter_id", _COUNTER_ID, "clicks", "Case-sensitive. Any such name is a counter.", "path"),
        _parameter("event_id", _UUID_OF_ANY_CASE, _AN_INCREMENT.event_id, place="path"),
        _parameter("limit", _LIMIT, 10, "The most that a page has."),
        _parameter("If-None-Match", _TEXT, '"16"', "The `ETag` of what the client has.", "header"),
    )
}


def _cursor(page: Response) -> JSON:
    return _parameter(
        "cursor",
        {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
        page.body["next_cursor"],
        "What an answer gave as `next_cursor`; left out, it is the first page. It is opaque.",
    )


_DATE_TIME: JSON = {"type": "string", "format": "date-time"}
_DATE_OR_TIME: JSON = {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}

#: Headers whose values differ from answer to answer; of the others, each answer has the one that it has here.
_VARYING_HEADERS: JSON = {
    "ETag": {"required": True, "schema": {"type": "string", "pattern": '^".+"$'}, "example": '"16"'},
    "Location": {
        "required": True,
        "description": "Of the event, relative to the address of the request.",
        "schema": {"type": "string", "format": "uri-reference"},
        "example": f"../../counters/clicks/events/{_AN_INCREMENT.event_id}",
    },
    "Idempotency-Replayed": {
        "description": "The increment was recorded when it was sent before.",
        "schema": {"const": "true"},
    },
    "Preference-Applied": {"schema": {"const": "return=representation"}},
    "Link": {
        "description": "Where the next page is, if there is one, relative to the address of the request.",
        "schema": {"type": "string", "pattern": r'^<\?.+>; rel="next"$'},
        "example": '<?counter_id=clicks&cursor=MSBjbGlja3M>; rel="next"',
    },
    "Retry-After": {"required": True, "description": "Seconds.", "schema": _integer(0), "example": 1},
}


_CORS_HEADERS = responses.make_cors_config(openapi.ALLOWED_ORIGIN).get_access_control_headers()
_CORS = {name: _ref("headers", name) for name in _CORS_HEADERS}


def _response(
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


def _not_modified(answer: Response) -> JSON:
    same = {name: value for name, value in _response("", {}, answer)["headers"].items() if name in _KEPT}
    return {"description": "The client has it already.", "headers": same | _CORS}


_KEPT = ("ETag", "Cache-Control")


def _refusal(description: str, *documents: Mapping[str, Any], header: str | None = None, **members: JSON) -> JSON:
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
    "BadRequest": _refusal("A part of the request is malformed.", _MALFORMED),
    "BadRange": _refusal(
        "A part of the request is malformed, or the range is too long.", _MALFORMED, _problem(_TOO_LONG)
    ),
    "GatewayRefused": _refusal("The gateway refused the request.", _by_gateway("DEFAULT_4XX")),
    "NotFound": _refusal("There is no such path: an id is empty, say, or holds a slash.", _NOWHERE),
    "NoSuchEvent": _refusal(
        "The log holds no such event; or there is no such path.",
        _problem(EventNotFoundError("clicks", _AN_INCREMENT.event_id)),
        _NOWHERE,
    ),
    "NoSuchReport": _refusal(
        "There is no such report; or the stage has none; or there is no such path.",
        _problem(ReportNotFoundError(f"There is no report 'yearly'; there are {', '.join(REPORTS)}.")),
        _problem(ReportsOffError()),
        _NOWHERE,
    ),
    "ReportsOff": _refusal("The stage has no reports.", _problem(ReportsOffError())),
    "OtherVersion": _refusal(
        "The counter is at another version than `If-Match` says; nothing was recorded.",
        _problem(VersionMismatchError(15, _A_COUNTER)),
        header="ETag",
        current=_ref("schemas", "Counter"),
    ),
    "TooLarge": _refusal(
        f"The body is over {requests.MAX_BODY_BYTES} bytes.",
        _problem(BodyTooLargeError("The body must have at most 1024 bytes, got 1025.")),
        _by_gateway("REQUEST_TOO_LARGE"),
    ),
    "NotJson": _refusal(
        "There is a body, and its media type is not JSON.",
        _problem(UnsupportedMediaTypeError("Content-Type must be application/json, in UTF-8.")),
    ),
    "KeyReused": _refusal(
        "The idempotency key was sent before, on this counter, with another body.",
        _problem(KeyReusedError("clicks", _AN_INCREMENT.event_id)),
    ),
    "TooMany": _refusal("The stage takes no more requests now.", _by_gateway("THROTTLED"), header="Retry-After"),
    "Failed": _refusal(
        "The service failed. Nothing that was sent explains it.",
        _problem(CounterError()),
        _problem(NotUnderstoodError("")),
    ),
    "GatewayFailed": _refusal("The gateway failed.", _by_gateway("DEFAULT_5XX")),
    "ReportUnavailable": _refusal(
        "The relational read model is busy or out of reach, or the report takes too long.",
        _problem(ReportUnavailableError()),
        _by_gateway("INTEGRATION_TIMEOUT"),
        _by_gateway("INTEGRATION_FAILURE"),
        header="Retry-After",
    ),
    "Unavailable": _refusal(
        "The service is busy or out of reach. Whether anything was recorded is not known: send it again.",
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
        f"{counter}/increments": {"post": _increment()},
        counter: {"get": _counter()},
        f"{counter}/events/{{event_id}}": {"get": _event()},
        f"{counter}/events": {"get": _events_page()},
        f"{counter}/history": {"get": _history()},
        f"{counter}/badge.svg": {"get": _badge()},
        "/counters": {"get": _counters_page()},
        "/reports": {"get": _reports()},
        "/reports/{name}": {"get": _report()},
        "/": {"get": _index()},
        "/openapi.json": {"get": _description()},
    }


_OF_COUNTER = {"400": "BadRequest", "404": "NotFound"}


def _increment() -> JSON:
    recorded = responses.render_accepted(_A_COMMAND, Accepted(_AN_INCREMENT, None, is_retry=False))
    counted = responses.render_accepted(_A_COMMAND, Accepted(_AN_INCREMENT, _A_COUNTER, is_retry=False))
    event = {"counter_id": "$response.body#/counter_id", "event_id": "$response.body#/event_id"}
    counter = {"counter_id": "$response.body#/counter_id"}
    return _operation(
        "increment",
        "Add to a counter.",
        [
            _ref("parameters", "counter_id"),
            _parameter(
                "Idempotency-Key",
                {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"},
                _A_COMMAND.idempotency_key,
                "All requests with this key on this counter are one increment, however late they come. "
                "1 to 255 printable ASCII characters; blanks around a header do not count.",
                "header",
            ),
            _parameter(
                "If-Match",
                {"type": "string", "pattern": f"^{formats.VERSION_TAG.pattern}$"},
                '"16"',
                "Compare-and-swap: only if the counter is at this version.",
                "header",
            ),
            _parameter(
                "Prefer",
                _TEXT,
                "return=representation",
                "`return=representation` is add-and-get; where it is too dear, and with any other "
                "preference, the increment is recorded as without it.",
                "header",
            ),
        ],
        {
            "200": _response(
                "With `If-Match` or `Prefer`: it is recorded and counted. This is the counter right after it.",
                _ref("schemas", "Counter"),
                counted,
                sometimes=("Idempotency-Replayed",),
                links={"counter": {"operationId": "counter", "parameters": counter}},
            ),
            "202": _response(
                "It is in the log for good, and will be counted.",
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
            "description": f"At most {requests.MAX_BODY_BYTES} bytes. Without it, `by` is 1.",
            "required": False,
            "content": {
                "application/json": {
                    "schema": _object(by={**_integer(1), "maximum": openapi.MAX_INCREMENT}),
                    "example": {"by": _A_COMMAND.by},
                }
            },
        },
    )


def _counter() -> JSON:
    found = responses.render_counter(_NO_HEADERS, _A_COUNTER)
    untouched = responses.render_counter(_NO_HEADERS, Counter("untouched"))
    return _operation(
        "counter",
        "A counter's value and version. One that was never incremented is 0.",
        [_ref("parameters", "counter_id"), _ref("parameters", "If-None-Match")],
        {
            "200": _response("The counter.", _ref("schemas", "Counter"), found, untouched),
            "304": _not_modified(found),
        },
        _OF_COUNTER,
    )


def _event() -> JSON:
    pending = responses.render_event(_AN_INCREMENT, counted=False)
    counted = responses.render_event(_AN_ADJUSTMENT, counted=True)
    return _operation(
        "event",
        "One event, and whether it is part of its counter's value yet.",
        [_ref("parameters", "counter_id"), _ref("parameters", "event_id")],
        {"200": _response("The event.", _ref("schemas", "EventAndStatus"), pending, counted)},
        {"400": "BadRequest", "404": "NoSuchEvent"},
    )


def _events_page() -> JSON:
    place = EventPosition(_A_TIME_MS, _AN_INCREMENT.event_id)
    page = responses.render_events(EventPage([_AN_ADJUSTMENT, _AN_INCREMENT], place))
    schema = _object(events={"type": "array", "items": _ref("schemas", "Event")}, next_cursor=_CURSOR)
    return _operation(
        "events",
        "The counted events, newest first.",
        [_ref("parameters", "counter_id"), _ref("parameters", "limit"), _cursor(page)],
        {"200": _response("A page.", schema, page, responses.render_events(EventPage([], None)))},
        _OF_COUNTER,
    )


def _history() -> JSON:
    resolution: JSON = {"enum": list(RESOLUTIONS), "default": requests.DEFAULT_RESOLUTION}
    return _operation(
        "history",
        "How many events were recorded in each step of a range, and their sum; empty steps are left out.",
        [
            _ref("parameters", "counter_id"),
            _parameter(
                "from",
                _DATE_TIME,
                "2023-11-14T00:00:00Z",
                "The start; left out, an hour, a day, 30 days or a year before `to`. Rounded to a second.",
            ),
            _parameter(
                "to",
                _DATE_TIME,
                "2023-11-15T00:00:00Z",
                "The end, not part of it, and later than `from`; left out, now. Rounded to a second.",
            ),
            _parameter("resolution", resolution, "hour", "How long a step is."),
        ],
        {
            "200": _response(
                "The steps that are not empty, ascending.",
                _object(points={"type": "array", "items": _ref("schemas", "Point")}),
                responses.render_history([Point(1_700_000_040, 3, 7)]),
            )
        },
        {"400": "BadRange", "404": "NotFound"},
    )


def _badge() -> JSON:
    svg = badge.render_badge(badge.parse_options("visits", {"color": "brightgreen"}), 1_234_567)
    picture = responses.render_cacheable(_NO_HEADERS, svg, badge.HEADERS)
    colour = {"type": "string", "pattern": f"^({badge.HEX_COLOUR}|{'|'.join(badge.COLOURS)})$"}
    return _operation(
        "badge",
        "The value as a small picture, with the parameters of shields.io, and no others.",
        [
            _ref("parameters", "counter_id"),
            _parameter(
                "label",
                {"type": "string", "pattern": f"^{badge.LABEL}$"},
                "visits",
                "Left out, the counter's id; empty, none.",
            ),
            _parameter("color", colour | {"default": badge.DEFAULT_COLOUR}, "brightgreen"),
            _parameter("labelColor", colour | {"default": badge.DEFAULT_LABEL_COLOUR}, "555"),
            _parameter("style", {"enum": list(badge.STYLES), "default": badge.DEFAULT_STYLE}, "flat-square"),
            _ref("parameters", "If-None-Match"),
        ],
        {
            "200": _response("The badge.", {"type": "string", "maxLength": badge.MAX_BYTES}, picture),
            "304": _not_modified(picture),
        },
        _OF_COUNTER,
    )


def _counters_page() -> JSON:
    page = responses.render_counters(CounterPage([_A_COUNTER], "clicks"))
    schema = _object(counters={"type": "array", "items": _ref("schemas", "Counter")}, next_cursor=_CURSOR)
    return _operation(
        "counters",
        "All counters, in no particular order.",
        [_ref("parameters", "limit"), _cursor(page)],
        {"200": _response("A page.", schema, page)},
        {"400": "BadRequest"},
    )


def _reports() -> JSON:
    names = {"type": "array", "items": _TEXT}
    one = _object(
        name={"enum": list(REPORTS)}, description=_TEXT, parameters=names, required=names, columns=names, path=_TEXT
    )
    return _operation(
        "reports",
        "All reports on the relational read model, where the stage has one, and what each takes.",
        [],
        {
            "200": _response(
                "The reports.",
                _object(reports={"type": "array", "items": one}),
                reports_api.listing(settings.read({"STAGE": "any", "SQL_URL": "sqlite:///any"})),
            )
        },
        {"404": "ReportsOff"},
    )


def _report() -> JSON:
    top = _page_of("top_counters", (1, "clicks", 21, 16), more=True)
    totals = (
        "clicks",
        _AN_ADJUSTMENT.event_id,
        "Adjusted",
        -3,
        definitions.at(Kind.TIME, _A_TIME_MS),
        "counted twice",
        21,
    )
    answered = _response(
        "A page.",
        _ref("schemas", "Report"),
        top,
        _page_of("daily", _A_DAILY_ROW),
        _page_of("running_totals", totals),
        sometimes=("Link",),
    )
    in_csv = _response("", _TEXT, _page_of("daily", _A_DAILY_ROW, as_csv=True))
    only_in_csv = {name: {"schema": _TEXT} for name in ("Content-Disposition", "X-Content-Type-Options")}
    which = "A day, or a time with any offset; rows of steps that lie partly in between are whole."
    return _operation(
        "report",
        "A report, page by page. `GET /reports` says which of the parameters each takes; another is a 400.",
        [
            _parameter("name", {"enum": list(REPORTS)}, "top_counters", place="path"),
            _ref("parameters", "limit"),
            _cursor(top),
            _parameter(
                "format",
                {"enum": list(reports_api.FORMATS), "default": reports_api.JSON_FORMAT},
                reports_api.JSON_FORMAT,
                "CSV begins with a line of names, and says where the next page is in `Link` alone.",
            ),
            _parameter("counter_id", _COUNTER_ID, "clicks", "Of this counter alone; `running_totals` needs it."),
            _parameter("from", _DATE_OR_TIME, "2023-11-14", f"The start. {which}"),
            _parameter(
                "to",
                _DATE_OR_TIME,
                "2023-11-15T00:00:00Z",
                f"The end, not part of it, and later than `from`. {which}",
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


_A_DAILY_ROW: definitions.Row = ("clicks", definitions.at(Kind.DAY, _A_TIME_MS), 3, 7)


def _page_of(name: str, row: definitions.Row, *, more: bool = False, as_csv: bool = False) -> Response:
    report = REPORTS[name]
    page = definitions.Page([row], definitions.place_of(report, row) if more else None)
    return reports_api.answer(reports_api.Asked(definitions.Question(report, 1), as_csv, {}), page)


def _index() -> JSON:
    return _operation(
        "index",
        "What this service is, its version, and where everything else is found.",
        [],
        {"200": _response("The service.", _ref("schemas", "Service"), responses.render_index())},
        {},
    )


def _description() -> JSON:
    this = responses.render_cacheable(_NO_HEADERS, "", openapi.HEADERS)
    this.body = {"openapi": "3.1.1", "info": {"title": "Counter", "version": "0.1.0"}, "paths": {}}
    return _operation(
        "description",
        "This document.",
        [_ref("parameters", "If-None-Match")],
        {"200": _response("The document.", {"type": "object"}, this), "304": _not_modified(this)},
        {},
    )


if __name__ == "__main__":
    openapi.FILE.write_text(json.dumps(generate(), indent=1) + "\n", encoding="utf-8")
