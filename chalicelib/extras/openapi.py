"""
The description of the API in OpenAPI 3.1: each path, parameter, header, status and error, with examples.

Limits, patterns and defaults are taken from where they are kept, and examples are what the service itself makes, so
that neither can differ. What is said of the rest is held against the deployed service by `tests/e2e`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import chalicelib
from chalicelib.api import formats, requests
from chalicelib.api import problems as api_problems
from chalicelib.api import responses as api_responses
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
from chalicelib.extras import badge as extras_badge
from chalicelib.extras.reports import api, definitions
from chalicelib.extras.reports.api import Asked
from chalicelib.extras.reports.definitions import REPORTS, Kind
from chalicelib.extras.reports.errors import ReportNotFoundError, ReportsOffError, ReportUnavailableError
from chalicelib.read_model.queries import CounterPage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chalice.app import Response

    from chalicelib.extras.reports.definitions import Column, Report
    from chalicelib.settings import Settings

JSON = dict[str, Any]

HEADERS = {"Content-Type": "application/json"}


def document(settings: Settings) -> JSON:
    """The description of the API as it is with these settings."""
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
        "paths": _paths(settings),
        "components": {
            "parameters": _PARAMETERS,
            "headers": _headers(settings),
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
_NOBODY = requests.Request()


def _object(**members: JSON) -> JSON:
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


def _integer(lowest: int | None = None, highest: int | None = None) -> JSON:
    bounds = {"minimum": lowest, "maximum": highest}
    return {"type": "integer", **{name: bound for name, bound in bounds.items() if bound is not None}}


def _one(kind: str, name: str) -> JSON:
    return {"$ref": f"#/components/{kind}/{name}"}


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

_PARAMETERS: JSON = {
    "counter_id": {
        "name": "counter_id",
        "in": "path",
        "required": True,
        "description": "Case-sensitive. Any such name is a counter.",
        "schema": _COUNTER_ID,
        "example": "clicks",
    },
    "event_id": {
        "name": "event_id",
        "in": "path",
        "required": True,
        "schema": {
            "type": "string",
            "format": "uuid",
            "pattern": "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$",
        },
        "example": _AN_INCREMENT.event_id,
    },
    "limit": {
        "name": "limit",
        "in": "query",
        "description": "The most that a page has.",
        "schema": _integer(1, requests.MAX_LIMIT) | {"default": requests.DEFAULT_LIMIT},
        "example": 10,
    },
    "If-None-Match": {
        "name": "If-None-Match",
        "in": "header",
        "description": "The `ETag` of what the client has.",
        "schema": _TEXT,
        "example": '"16"',
    },
}


def _cursor(given_out: Response) -> JSON:
    return {
        "name": "cursor",
        "in": "query",
        "description": "What an answer gave as `next_cursor`; left out, it is the first page. It is opaque.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
        "example": given_out.body["next_cursor"],
    }


def _time(name: str, description: str, example: str) -> JSON:
    return {
        "name": name,
        "in": "query",
        "description": f"{description} Rounded to a second.",
        "schema": {"type": "string", "format": "date-time"},
        "example": example,
    }


def _day_or_time(name: str, description: str, example: str) -> JSON:
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]},
        "example": example,
    }


#: Headers whose values differ from answer to answer; of the others, each answer has the one that it has here.
_VARYING: JSON = {
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


def _headers(settings: Settings) -> JSON:
    readable = api_responses.make_cors_config(settings.allowed_origin).get_access_control_headers()
    return _VARYING | {name: {"required": True, "schema": {"const": value}} for name, value in readable.items()}


_READABLE = {name: _one("headers", name) for name in api_responses.make_cors_config("*").get_access_control_headers()}


def _answer(description: str, schema: JSON, *examples: Response, sometimes: tuple[str, ...] = (), **more: Any) -> JSON:
    headers = examples[0].headers
    media_type = headers.get("Content-Type", "application/json")
    fixed = {
        name: {"required": True, "schema": {"const": value}}
        for name, value in headers.items()
        if name not in _VARYING and name != "Content-Type"
    }
    varying = {name: _one("headers", name) for name in (*headers, *sometimes) if name in _VARYING}
    shown = {f"example-{place}": {"value": example.body} for place, example in enumerate(examples, 1)}
    return {
        "description": description,
        "headers": fixed | varying | _READABLE,
        "content": {media_type: {"schema": schema, "examples": shown}},
        **more,
    }


def _unchanged(answer: Response) -> JSON:
    same = {name: value for name, value in _answer("", {}, answer)["headers"].items() if name in _KEPT}
    return {"description": "The client has it already.", "headers": same | _READABLE}


_KEPT = ("ETag", "Cache-Control")


def _refusal(description: str, *problems: Mapping[str, Any], header: str | None = None, **members: JSON) -> JSON:
    types = list(dict.fromkeys(problem["type"] for problem in problems))
    status = {"status": {"const": problems[0]["status"]}} if "status" in problems[0] else {}
    schema = _object(type={"enum": types}, title=_TEXT, **status, detail=_TEXT, **members)
    shown = {f"{problem['title']}": {"value": problem} for problem in problems}
    return {
        "description": description,
        "headers": _READABLE | ({header: _one("headers", header)} if header else {}),
        "content": {api_problems.PROBLEM_JSON: {"schema": schema, "examples": shown}},
    }


def _problem(error: CounterError) -> Mapping[str, Any]:
    body: Mapping[str, Any] = api_problems.render_problem(error).body
    return body


def _by_gateway(kind: str) -> Mapping[str, Any]:
    return api_problems.describe_problem(*api_problems.GATEWAY_PROBLEMS[kind])


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
        current=_one("schemas", "Counter"),
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
    refused = {status: _one("responses", which) for status, which in (_REFUSED_ANYWHERE | refusals).items()}
    responses = dict(sorted((answers | refused).items()))
    return {
        "operationId": name,
        "summary": summary,
        **more,
        "parameters": parameters,
        "responses": responses,
    }


def _paths(settings: Settings) -> JSON:
    of_counter = "/counters/{counter_id}"
    return {
        f"{of_counter}/increments": {"post": _increment(settings.max_increment)},
        of_counter: {"get": _counter()},
        f"{of_counter}/events/{{event_id}}": {"get": _event()},
        f"{of_counter}/events": {"get": _pages_of_events()},
        f"{of_counter}/history": {"get": _history()},
        f"{of_counter}/badge.svg": {"get": _badge()},
        "/counters": {"get": _pages_of_counters()},
        "/reports": {"get": _reports(settings)},
        "/reports/{name}": {"get": _report()},
        "/": {"get": _index()},
        "/openapi.json": {"get": _description()},
    }


_OF_COUNTER = {"400": "BadRequest", "404": "NotFound"}


def _increment(max_increment: int) -> JSON:
    recorded = api_responses.render_accepted(_A_COMMAND, Accepted(_AN_INCREMENT, None, is_retry=False))
    counted = api_responses.render_accepted(_A_COMMAND, Accepted(_AN_INCREMENT, _A_COUNTER, is_retry=False))
    event = {"counter_id": "$response.body#/counter_id", "event_id": "$response.body#/event_id"}
    counter = {"counter_id": "$response.body#/counter_id"}
    return _operation(
        "increment",
        "Add to a counter.",
        [
            _one("parameters", "counter_id"),
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "All requests with this key on this counter are one increment, however late they come. "
                "1 to 255 printable ASCII characters; blanks around a header do not count.",
                "schema": {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"},
                "example": _A_COMMAND.idempotency_key,
            },
            {
                "name": "If-Match",
                "in": "header",
                "description": "Compare-and-swap: only if the counter is at this version.",
                "schema": {"type": "string", "pattern": f"^{formats.VERSION_TAG.pattern}$"},
                "example": '"16"',
            },
            {
                "name": "Prefer",
                "in": "header",
                "description": "`return=representation` is add-and-get; where it is too dear, and with any other "
                "preference, the increment is recorded as without it.",
                "schema": _TEXT,
                "example": "return=representation",
            },
        ],
        {
            "200": _answer(
                "With `If-Match` or `Prefer`: it is recorded and counted. This is the counter right after it.",
                _one("schemas", "Counter"),
                counted,
                sometimes=("Idempotency-Replayed",),
                links={"counter": {"operationId": "counter", "parameters": counter}},
            ),
            "202": _answer(
                "It is in the log for good, and will be counted.",
                _one("schemas", "AcceptedEvent"),
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
                "application/json": {"schema": _object(by=_integer(1, max_increment)), "example": {"by": _A_COMMAND.by}}
            },
        },
    )


def _counter() -> JSON:
    found = api_responses.render_counter(_NOBODY, _A_COUNTER)
    untouched = api_responses.render_counter(_NOBODY, Counter("untouched"))
    return _operation(
        "counter",
        "A counter's value and version. One that was never incremented is 0.",
        [_one("parameters", "counter_id"), _one("parameters", "If-None-Match")],
        {
            "200": _answer("The counter.", _one("schemas", "Counter"), found, untouched),
            "304": _unchanged(found),
        },
        _OF_COUNTER,
    )


def _event() -> JSON:
    pending = api_responses.render_event(_AN_INCREMENT, counted=False)
    counted = api_responses.render_event(_AN_ADJUSTMENT, counted=True)
    return _operation(
        "event",
        "One event, and whether it is part of its counter's value yet.",
        [_one("parameters", "counter_id"), _one("parameters", "event_id")],
        {"200": _answer("The event.", _one("schemas", "EventAndStatus"), pending, counted)},
        {"400": "BadRequest", "404": "NoSuchEvent"},
    )


def _pages_of_events() -> JSON:
    place = EventPosition(_A_TIME_MS, _AN_INCREMENT.event_id)
    page = api_responses.render_events(EventPage([_AN_ADJUSTMENT, _AN_INCREMENT], place))
    schema = _object(events={"type": "array", "items": _one("schemas", "Event")}, next_cursor=_CURSOR)
    return _operation(
        "events",
        "The counted events, newest first.",
        [_one("parameters", "counter_id"), _one("parameters", "limit"), _cursor(page)],
        {"200": _answer("A page.", schema, page, api_responses.render_events(EventPage([], None)))},
        _OF_COUNTER,
    )


def _history() -> JSON:
    resolution = {
        "name": "resolution",
        "in": "query",
        "description": "How long a step is.",
        "schema": {"enum": list(RESOLUTIONS), "default": requests.DEFAULT_RESOLUTION},
        "example": "hour",
    }
    return _operation(
        "history",
        "How many events were recorded in each step of a range, and their sum; empty steps are left out.",
        [
            _one("parameters", "counter_id"),
            _time(
                "from", "The start; left out, an hour, a day, 30 days or a year before `to`.", "2023-11-14T00:00:00Z"
            ),
            _time("to", "The end, not part of it, and later than `from`; left out, now.", "2023-11-15T00:00:00Z"),
            resolution,
        ],
        {
            "200": _answer(
                "The steps that are not empty, ascending.",
                _object(points={"type": "array", "items": _one("schemas", "Point")}),
                api_responses.render_history([Point(1_700_000_040, 3, 7)]),
            )
        },
        {"400": "BadRange", "404": "NotFound"},
    )


def _badge() -> JSON:
    svg = extras_badge.drawn(extras_badge.look("visits", {"color": "brightgreen"}), 1_234_567)
    badge = api_responses.render_cacheable(_NOBODY, svg, extras_badge.HEADERS)
    colour = {"type": "string", "pattern": f"^({extras_badge.HEX_COLOUR}|{'|'.join(extras_badge.COLOURS)})$"}
    return _operation(
        "badge",
        "The value as a small picture, with the parameters of shields.io, and no others.",
        [
            _one("parameters", "counter_id"),
            {
                "name": "label",
                "in": "query",
                "description": "Left out, the counter's id; empty, none.",
                "schema": {"type": "string", "pattern": f"^{extras_badge.LABEL}$"},
                "example": "visits",
            },
            {
                "name": "color",
                "in": "query",
                "schema": colour | {"default": extras_badge.USUAL_COLOUR},
                "example": "brightgreen",
            },
            {
                "name": "labelColor",
                "in": "query",
                "schema": colour | {"default": extras_badge.USUAL_LABEL_COLOUR},
                "example": "555",
            },
            {
                "name": "style",
                "in": "query",
                "schema": {"enum": list(extras_badge.STYLES), "default": extras_badge.USUAL_STYLE},
                "example": "flat-square",
            },
            _one("parameters", "If-None-Match"),
        ],
        {
            "200": _answer("The badge.", {"type": "string", "maxLength": extras_badge.LARGEST_BYTES}, badge),
            "304": _unchanged(badge),
        },
        _OF_COUNTER,
    )


def _pages_of_counters() -> JSON:
    page = api_responses.render_counters(CounterPage([_A_COUNTER], "clicks"))
    schema = _object(counters={"type": "array", "items": _one("schemas", "Counter")}, next_cursor=_CURSOR)
    return _operation(
        "counters",
        "All counters, in no particular order.",
        [_one("parameters", "limit"), _cursor(page)],
        {"200": _answer("A page.", schema, page)},
        {"400": "BadRequest"},
    )


def _reports(settings: Settings) -> JSON:
    names = {"type": "array", "items": _TEXT}
    one = _object(
        name={"enum": list(REPORTS)}, description=_TEXT, parameters=names, required=names, columns=names, path=_TEXT
    )
    return _operation(
        "reports",
        "All reports on the relational read model, where the stage has one, and what each takes.",
        [],
        {
            "200": _answer(
                "The reports.",
                _object(reports={"type": "array", "items": one}),
                api.listing(replace(settings, sql_url="sqlite:///any")),
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
    answered = _answer(
        "A page.",
        _one("schemas", "Report"),
        top,
        _page_of("daily", _A_DAILY_ROW),
        _page_of("running_totals", totals),
        sometimes=("Link",),
    )
    in_csv = _answer("", _TEXT, _page_of("daily", _A_DAILY_ROW, as_csv=True))
    only_in_csv = {name: {"schema": _TEXT} for name in ("Content-Disposition", "X-Content-Type-Options")}
    which = "A day, or a time with any offset; rows of steps that lie partly in between are whole."
    return _operation(
        "report",
        "A report, page by page. `GET /reports` says which of the parameters each takes; another is a 400.",
        [
            {
                "name": "name",
                "in": "path",
                "required": True,
                "schema": {"enum": list(REPORTS)},
                "example": "top_counters",
            },
            _one("parameters", "limit"),
            _cursor(top),
            {
                "name": "format",
                "in": "query",
                "description": "CSV begins with a line of names, and says where the next page is in `Link` alone.",
                "schema": {"enum": list(api.FORMATS), "default": api.JSON_FORMAT},
                "example": api.JSON_FORMAT,
            },
            {
                "name": "counter_id",
                "in": "query",
                "description": "Of this counter alone; `running_totals` needs it.",
                "schema": _COUNTER_ID,
                "example": "clicks",
            },
            _day_or_time("from", f"The start. {which}", "2023-11-14"),
            _day_or_time("to", f"The end, not part of it, and later than `from`. {which}", "2023-11-15T00:00:00Z"),
        ],
        {
            "200": answered
            | {
                "content": answered["content"] | {"text/csv": in_csv["content"][api.CSV]},
                "headers": answered["headers"] | only_in_csv,
            }
        },
        {"400": "BadRequest", "404": "NoSuchReport", "503": "ReportUnavailable"},
    )


_A_DAILY_ROW: definitions.Row = ("clicks", definitions.at(Kind.DAY, _A_TIME_MS), 3, 7)


def _page_of(name: str, row: definitions.Row, *, more: bool = False, as_csv: bool = False) -> Response:
    report = REPORTS[name]
    page = definitions.Page([row], definitions.place_of(report, row) if more else None)
    return api.answer(Asked(definitions.Question(report, 1), as_csv, {}), page)


def _index() -> JSON:
    return _operation(
        "index",
        "What this service is, its version, and where everything else is found.",
        [],
        {"200": _answer("The service.", _one("schemas", "Service"), api_responses.render_index())},
        {},
    )


def _description() -> JSON:
    this = api_responses.render_cacheable(_NOBODY, "", HEADERS)
    this.body = {"openapi": "3.1.1", "info": {"title": "Counter", "version": "0.1.0"}, "paths": {}}
    return _operation(
        "description",
        "This document.",
        [_one("parameters", "If-None-Match")],
        {"200": _answer("The document.", {"type": "object"}, this), "304": _unchanged(this)},
        {},
    )
