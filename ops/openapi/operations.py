"""
Describe each route's parameters, request body and responses.

`document` derives the path, its parameters, the name and the usual errors from the route in `app.py`. The view's
docstring is the summary.
"""

from dataclasses import dataclass, field

from chalice.app import Response

import chalicelib
from chalicelib import settings
from chalicelib.api import formats, requests, responses
from chalicelib.command_handlers import Accepted
from chalicelib.domain.commands import Command
from chalicelib.domain.counter import Counter
from chalicelib.domain.events import COUNTER_ID
from chalicelib.domain.history import RESOLUTIONS, EventPage, EventPosition, Point
from chalicelib.extras import badge, openapi
from chalicelib.extras.reports import api as reports_api
from chalicelib.extras.reports import definitions
from chalicelib.extras.reports.definitions import REPORTS, Kind
from chalicelib.read_model.queries import CounterPage
from ops.openapi.examples import A_COUNTER, A_REQUEST, A_TIME_MS, ADJUSTED, AN_INCREMENT, INCREMENTED, decide
from ops.openapi.responses import describe_cacheable, describe_response
from ops.openapi.schemas import (
    CURSOR,
    DATE_TIME,
    JSON,
    TEXT,
    UUID_OF_ANY_CASE,
    describe_fields,
    describe_integer,
    describe_list,
    describe_object,
    describe_value,
    refer_to,
)


@dataclass(frozen=True, slots=True)
class Operation:
    """
    A route's request body, its responses by status, and its parameters other than path parameters.

    `refusals` names the error responses, by status, that extend or replace the usual error responses.
    """

    responses: JSON
    parameters: tuple[JSON, ...] = ()
    refusals: dict[str, str] = field(default_factory=dict)
    body: JSON | None = None


def _parameter(name: str, schema: JSON, example: object, description: str = "", place: str = "query") -> JSON:
    required = {"required": True} if place == "path" else {}
    described = {"description": description} if description else {}
    return {"name": name, "in": place, **required, **described, "schema": schema, "example": example}


_LIMIT = describe_integer(1, requests.MAX_LIMIT) | {"default": requests.DEFAULT_LIMIT}

#: The parameters that operations refer to by name, including every path parameter.
PARAMETERS: JSON = {
    parameter["name"]: parameter
    for parameter in (
        _parameter(
            "counter_id",
            describe_value(COUNTER_ID),
            "clicks",
            "Case-sensitive. The stage decides which counters exist.",
            "path",
        ),
        _parameter("event_id", UUID_OF_ANY_CASE, INCREMENTED.event_id, place="path"),
        _parameter("name", {"enum": list(REPORTS)}, "top_counters", place="path"),
        _parameter("limit", _LIMIT, 10, "The maximum number of rows on a page. A page may have fewer."),
        _parameter("If-None-Match", TEXT, '"16"', "The `ETag` of the version that the client has.", "header"),
        _parameter(
            "If-Match",
            {"type": "string", "pattern": f"^{formats.VERSION_TAG.pattern}$"},
            '"16"',
            "Compare-and-swap: record the event only if the counter is at this version. Take it from `version`: "
            "proxies may weaken an `ETag` (`W/`).",
            "header",
        ),
        _parameter(
            "Prefer",
            TEXT,
            "return=representation",
            "`return=representation` requests add-and-get. Under contention, or with any other preference, the "
            "response is 202, as without this header.",
            "header",
        ),
    )
}


def _describe_cursor(page: Response) -> JSON:
    return _parameter(
        "cursor",
        {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
        page.body["next_cursor"],
        "The `next_cursor` of the previous page. Opaque. Default: the first page.",
    )


def describe_command(command: Command) -> Operation:
    """Describe a command's route, with this command as the example. Each example needs its own idempotency key."""
    event = decide(command)
    request = requests.Request(root="../..")
    recorded = responses.render_accepted(request, command, Accepted(event, None, is_retry=False))
    counted = responses.render_accepted(request, command, Accepted(event, A_COUNTER, is_retry=False))
    counter_id = {"counter_id": "$response.body#/counter_id"}
    to_counter = {"operationId": "counter", "parameters": counter_id}
    to_event = {"operationId": "event", "parameters": {**counter_id, "event_id": "$response.body#/event_id"}}
    amount = describe_integer(1) | {
        "maximum": openapi.MAX_INCREMENT,
        "description": "Digits only: `5`, not `5.0` or `5e0`.",
    }
    return Operation(
        {
            "200": describe_response(
                "With `If-Match` or `Prefer`: the event is recorded and counted. The body is the counter's new state.",
                refer_to("schemas", "Counter"),
                counted,
                sometimes=("Idempotency-Replayed",),
                links={"counter": to_counter},
            ),
            "202": describe_response(
                "The event is durably recorded, and will be counted.",
                describe_object(**describe_fields(type(event))),
                recorded,
                sometimes=("Idempotency-Replayed",),
                links={"event": to_event, "counter": to_counter},
            ),
        },
        (
            _parameter(
                "Idempotency-Key",
                {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"},
                command.idempotency_key,
                "All requests with this key on this counter are the same command. Keys never expire. "
                "1 to 255 printable ASCII characters, without spaces at the ends. Quotes belong to the key: "
                '`k1` and `"k1"` are different keys.',
                "header",
            ),
            refer_to("parameters", "If-Match"),
            refer_to("parameters", "Prefer"),
        ),
        {"403": "NotAllowed", "412": "OtherVersion", "413": "TooLarge", "415": "NotJson", "422": "KeyReused"},
        {
            "description": f"At most {requests.MAX_BODY_BYTES} bytes. Default: `by` is 1.",
            "required": False,
            "content": {"application/json": {"schema": describe_object(by=amount), "example": {"by": command.by}}},
        },
    )


def _describe_counter() -> Operation:
    clicks = responses.render_counter(A_REQUEST, A_COUNTER)
    untouched = responses.render_counter(A_REQUEST, Counter("untouched"))
    earlier = responses.render_past(A_REQUEST, Counter("clicks", value=16, version=15), 1_700_000_000_000)
    schema = {"oneOf": [refer_to("schemas", "Counter"), refer_to("schemas", "PastCounter")]}
    return Operation(
        describe_cacheable("The counter, now or at the time `at`.", schema, clicks, untouched, earlier),
        (
            _parameter(
                "at",
                DATE_TIME,
                "2023-11-14T22:13:20Z",
                "Return the state at this time, inclusive, by the times at which events were recorded. The time is "
                "rounded down to a millisecond. Events that are counted late change that state and its `ETag`. "
                "Default: the current state.",
            ),
            refer_to("parameters", "If-None-Match"),
        ),
        {"400": "BadMoment", "404": "NoSuchCounter"},
    )


def _describe_cached_counter() -> Operation:
    clicks = responses.render_counter(A_REQUEST, A_COUNTER, responses.SHARED)
    return Operation(
        describe_cacheable(
            "The counter. A shared cache, such as a CDN, may keep it for a second. Its version may therefore "
            "be lower than one that the client has seen.",
            refer_to("schemas", "Counter"),
            clicks,
        ),
        (refer_to("parameters", "If-None-Match"),),
        {"404": "NoSuchCounter"},
    )


def _describe_event() -> Operation:
    pending = responses.render_event(INCREMENTED, counted=False)
    counted = responses.render_event(ADJUSTED, counted=True)
    schema = refer_to("schemas", "EventAndStatus")
    return Operation(
        {"200": describe_response("The event.", schema, pending, counted)}, refusals={"404": "NoSuchEvent"}
    )


def _describe_events() -> Operation:
    position = EventPosition(A_TIME_MS, INCREMENTED.event_id)
    page = responses.render_events(EventPage([ADJUSTED, INCREMENTED], position))
    schema = describe_object(events=describe_list(refer_to("schemas", "Event")), next_cursor=CURSOR)
    return Operation(
        {"200": describe_response("A page.", schema, page, responses.render_events(EventPage([], None)))},
        (refer_to("parameters", "limit"), _describe_cursor(page)),
        {"404": "NoSuchCounter"},
    )


def _describe_history() -> Operation:
    resolution: JSON = {"enum": list(RESOLUTIONS), "default": requests.DEFAULT_RESOLUTION}
    points = describe_object(points=describe_list(refer_to("schemas", "Point")))
    history = responses.render_history([Point(1_700_000_040, 3, 7)])
    return Operation(
        {"200": describe_response("The steps that are not empty, in ascending order.", points, history)},
        (
            _parameter(
                "from",
                DATE_TIME,
                "2023-11-14T00:00:00Z",
                "The start, inclusive, rounded down to a second. Default: an hour, a day, 30 days or 365 days before "
                "`to`, depending on `resolution`.",
            ),
            _parameter(
                "to",
                DATE_TIME,
                "2023-11-15T00:00:00Z",
                "The end, exclusive and later than `from`, rounded up to a second. Default: now.",
            ),
            _parameter("resolution", resolution, "hour", "The length of a step."),
        ),
        {"400": "BadRange", "404": "NoSuchCounter"},
    )


def _describe_badge() -> Operation:
    svg = badge.render_badge(badge.parse_options("visits", {"color": "brightgreen"}), 1_234_567)
    picture = responses.render_cacheable(A_REQUEST, svg, badge.HEADERS)
    color = {"type": "string", "pattern": f"^({badge.HEX_COLOR}|{'|'.join(badge.COLORS)})$"}
    return Operation(
        describe_cacheable(
            "The badge. A client that prefers an image (`Accept: image/*`) gets a badge that states why the request is "
            "refused, instead of a 400 or 404.",
            {"type": "string", "maxLength": badge.MAX_BYTES},
            picture,
        ),
        (
            _parameter(
                "label",
                {"type": "string", "pattern": f"^{badge.LABEL}$"},
                "visits",
                "Default: the counter's id. If empty, the badge has no label.",
            ),
            _parameter("color", color | {"default": badge.DEFAULT_COLOR}, "brightgreen"),
            _parameter("labelColor", color | {"default": badge.DEFAULT_LABEL_COLOR}, "555"),
            _parameter("style", {"enum": list(badge.STYLES), "default": badge.DEFAULT_STYLE}, "flat-square"),
            refer_to("parameters", "If-None-Match"),
        ),
        {"404": "NoFeature"},
    )


def _describe_counters() -> Operation:
    page = responses.render_counters(CounterPage([A_COUNTER], "clicks"))
    schema = describe_object(counters=describe_list(refer_to("schemas", "Counter")), next_cursor=CURSOR)
    return Operation(
        {"200": describe_response("A page.", schema, page)}, (refer_to("parameters", "limit"), _describe_cursor(page))
    )


def _describe_reports() -> Operation:
    names = describe_list(TEXT)
    report = describe_object(
        name={"enum": list(REPORTS)}, description=TEXT, parameters=names, required=names, columns=names, path=TEXT
    )
    listed = reports_api.list_reports(settings.read({"STAGE": "any", "SQL_URL": "sqlite:///any"}))
    schema = describe_object(reports=describe_list(report))
    return Operation({"200": describe_response("The reports.", schema, listed)}, refusals={"404": "ReportsOff"})


_A_DAILY_ROW: definitions.Row = ("clicks", definitions.from_ms(Kind.DAY, A_TIME_MS), 3, 7)


def _render_page(name: str, row: definitions.Row, *, more: bool = False, as_csv: bool = False) -> Response:
    """Render a page of a report that has one row."""
    report = REPORTS[name]
    page = definitions.Page([row], definitions.get_position(report, row) if more else None)
    return reports_api.to_response(reports_api.ReportRequest(definitions.Query(report, 1), as_csv, {}), page)


def _describe_report() -> Operation:
    top = _render_page("top_counters", (1, "clicks", 21, 16), more=True)
    recorded_at = definitions.from_ms(Kind.TIME, A_TIME_MS)
    total = ("clicks", ADJUSTED.event_id, ADJUSTED.type_name, ADJUSTED.by, recorded_at, ADJUSTED.reason, 21)
    pages = (top, _render_page("daily", _A_DAILY_ROW), _render_page("running_totals", total))
    response = describe_response("A page.", refer_to("schemas", "Report"), *pages, sometimes=("Link",))
    as_csv = describe_response("", TEXT, _render_page("daily", _A_DAILY_ROW, as_csv=True))
    response["content"]["text/csv"] = as_csv["content"][reports_api.CSV]
    response["headers"] |= {name: {"schema": TEXT} for name in ("Content-Disposition", "X-Content-Type-Options")}
    bounds = "A day, or a time with any offset. A step that is only partly in the range is reported in full."
    day_or_time = {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}
    return Operation(
        {"200": response},
        (
            refer_to("parameters", "limit"),
            _describe_cursor(top),
            _parameter(
                "format",
                {"enum": list(reports_api.FORMATS), "default": reports_api.JSON_FORMAT},
                reports_api.JSON_FORMAT,
                "CSV starts with a header line. The `Link` header refers to the next page.",
            ),
            _parameter(
                "counter_id", describe_value(COUNTER_ID), "clicks", "Only this counter. `running_totals` requires it."
            ),
            _parameter("from", day_or_time, "2023-11-14", f"The start, inclusive. {bounds}"),
            _parameter(
                "to", day_or_time, "2023-11-15T00:00:00Z", f"The end, exclusive and later than `from`. {bounds}"
            ),
            _parameter(
                "at",
                day_or_time,
                "2023-11-14T22:13:20Z",
                "The time of the states, inclusive. `value_at` requires it. A day means its start in UTC.",
            ),
        ),
        {"404": "NoSuchReport", "503": "ReportUnavailable"},
    )


def _describe_index() -> Operation:
    index = responses.render_index({"counter": "/counters/{counter_id}", "counters": "/counters{?limit,cursor}"})
    return Operation({"200": describe_response("The service.", refer_to("schemas", "Service"), index)})


def _describe_document() -> Operation:
    document = responses.render_cacheable(A_REQUEST, "", openapi.HEADERS)
    document.body = {"openapi": "3.1.1", "info": {"title": "Counter", "version": chalicelib.__version__}, "paths": {}}
    return Operation(
        describe_cacheable("The document.", {"type": "object"}, document), (refer_to("parameters", "If-None-Match"),)
    )


#: The operation of each route, by the name of its view in `app.py`.
OPERATIONS = {
    "increment": describe_command(AN_INCREMENT),
    "counter": _describe_counter(),
    "cached_counter": _describe_cached_counter(),
    "event": _describe_event(),
    "events": _describe_events(),
    "history": _describe_history(),
    "badge": _describe_badge(),
    "counters": _describe_counters(),
    "reports": _describe_reports(),
    "report": _describe_report(),
    "index": _describe_index(),
    "openapi": _describe_document(),
}
