"""
The Chalice application: routes, stream handler, queue handlers, schedule and middleware.

Follow one increment through the files. `increment` below calls `chalicelib/command_handlers.py` and `event_log.py`.
`publish` below calls `publisher.py`. `project` below calls `projector.py` and `read_model/writer.py`. Then `counter`
below calls `read_model/queries.py`. Each optional projection, such as `extras/sql/`, also has its own function.

Each entry point imports the modules that it uses, so that no function loads modules that only other functions need. A
deployment may lack features of `chalicelib/extras`; their routes then return 404.
"""

import contextlib
import importlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from chalice.app import (
    AuthRequest,
    AuthResponse,
    Chalice,
    ChaliceAuthorizer,
    CloudWatchEvent,
    DynamoDBEvent,
    Rate,
    Request,
    Response,
    SQSEvent,
)

from chalicelib import cold_start, features, settings, telemetry
from chalicelib.access import callers
from chalicelib.api import problems, requests, responses, views
from chalicelib.api.views import view
from chalicelib.aws import session, stream_arn
from chalicelib.domain.commands import Increment
from chalicelib.errors import FeatureNotFoundError, RequestError
from chalicelib.projections import READ_MODEL, Projection

_settings = settings.current()
#: API Gateway itself responds to preflight requests if the REST API is the only front, and only one origin is allowed.
#: Otherwise, `_declare_preflight` declares routes for them.
_has_gateway_preflight = len(_settings.allowed_origin) == 1 and _settings.front == ("rest",)
_cors = responses.make_cors_config(_settings.allowed_origin[0]) if _has_gateway_preflight else False
_route: dict[str, Any] = {"cors": _cors, "content_types": ["*/*"]}

app = Chalice(app_name=telemetry.SERVICE, configure_logs=False)
telemetry.set_level(_settings.log_level)


def _declare_authorizer() -> ChaliceAuthorizer | None:
    """Declare the Lambda function that verifies tokens, if the stage needs one."""
    if not _settings.has_authorizer:
        return None

    @app.authorizer(ttl_seconds=callers.TOKEN_S)
    def authorize(request: AuthRequest) -> AuthResponse:
        from chalicelib.access import tokens

        with telemetry.watch_invocation(request):
            subject = tokens.verify(request.token)
        if subject is None:
            raise PermissionError("Unauthorized")  # API Gateway maps this message to 401
        return AuthResponse(["*"], subject)  # API Gateway caches this result per token, for all routes

    declared: ChaliceAuthorizer = authorize
    return declared


authorize = _declare_authorizer()

_command_route = {**_route, "methods": ["POST"], **callers.restrict(_settings.writers, authorize)}
_open_route = {**_route, "methods": ["GET", "HEAD"]}  # exposes nothing that the source code does not
_query_route = {**_open_route, **callers.restrict(_settings.readers, authorize)}


@app.route("/counters/{counter_id}/increments", **_command_route)
@view()
def increment(counter_id: str) -> Response:
    """Increment a counter."""
    from chalicelib import command_handlers

    request = views.current_request()
    command = requests.parse_command(Increment, counter_id, request, _settings.max_increment)
    return responses.render_accepted(request, command, command_handlers.record(command))


@app.on_dynamodb_record(
    stream_arn=stream_arn.find_stream_arn(_settings),
    batch_size=1000,
    starting_position="TRIM_HORIZON",
    maximum_batching_window_in_seconds=_settings.batching_window_s,
)
def publish(batch: DynamoDBEvent) -> None:
    from chalicelib import publisher

    publisher.publish(batch.to_dict())


@app.on_sqs_message(queue=READ_MODEL.queue(_settings.stage), batch_size=10, maximum_concurrency=_settings.projectors)
def project(batch: SQSEvent) -> dict[str, Any]:
    from chalicelib import projector
    from chalicelib.read_model import writer

    return projector.project(READ_MODEL, writer.count, batch.to_dict())


@app.route("/counters/{counter_id}", **_query_route)
@view("at")
def counter(counter_id: str) -> Response:
    """Get a counter's value and version, now or at a given time. A counter without counted events has the value 0."""
    from chalicelib.read_model import queries

    request = views.current_request()
    at_ms = requests.parse_moment(request)
    if at_ms is None:
        return responses.render_counter(request, queries.get_counter(counter_id))

    from chalicelib.read_model import past

    return responses.render_past(request, past.get_counter_at(counter_id, at_ms), at_ms)


@app.route("/counters/{counter_id}/cached", **_query_route)
@view()
def cached_counter(counter_id: str) -> Response:
    """Get the counter's state, at most a second old. A shared cache can serve many clients with one read per second."""
    from chalicelib.read_model import queries

    return responses.render_counter(views.current_request(), queries.get_counter(counter_id), responses.SHARED)


@app.route("/counters/{counter_id}/events/{event_id}", **_query_route)
@view()
def event(counter_id: str, event_id: str) -> Response:
    """Get an event and its status: counted or pending."""
    from chalicelib import event_log
    from chalicelib.read_model import queries

    recorded = event_log.get(counter_id, requests.parse_event_id(event_id))
    return responses.render_event(recorded, counted=queries.is_counted(recorded))


@app.route("/counters/{counter_id}/events", **_query_route)
@view("limit", "cursor")
def events(counter_id: str) -> Response:
    """List the counted events, newest first."""
    from chalicelib.read_model import queries

    limit, before = requests.parse_events_page(views.current_request())
    return responses.render_events(queries.list_events(counter_id, limit, before))


@app.route("/counters/{counter_id}/history", **_query_route)
@view("from", "to", "resolution")
def history(counter_id: str) -> Response:
    """Get the number of events and the sum of their amounts for each step of a time range, without empty steps."""
    from chalicelib.read_model import queries

    span = requests.parse_history_span(views.current_request(), time.time())
    return responses.render_history(queries.get_history(counter_id, span))


def _draw_refusal(error: RequestError) -> Response:
    """Render the refusal as a badge if the client prefers images. Otherwise, raise the error again."""
    from chalicelib.extras import badge as extras_badge

    request = views.current_request()
    if not requests.prefers_image(request):
        raise error
    svg = extras_badge.render_refusal(error.detail)
    # A CDN may ignore Vary, and would then serve the picture to clients that want the status.
    headers = {**extras_badge.HEADERS, "Vary": "Accept", "Cache-Control": "private, max-age=60"}
    return responses.render_cacheable(request, svg, headers)


@app.route("/counters/{counter_id}/badge.svg", **_query_route)
@view("label", "color", "labelColor", "style", feature="badge", refuse=_draw_refusal)
def badge(counter_id: str) -> Response:
    """Get the counter's value as a badge. The query parameters have the names that shields.io uses."""
    from chalicelib.extras import badge as extras_badge
    from chalicelib.read_model import queries

    request = views.current_request()
    parameters = requests.parse_parameters(request, views.PARAMETERS["badge"])
    options = extras_badge.parse_options(counter_id, parameters)
    svg = extras_badge.render_badge(options, queries.get_counter(counter_id).value)
    return responses.render_cacheable(request, svg, extras_badge.HEADERS)


@app.route("/counters", **_query_route)
@view("limit", "cursor")
def counters() -> Response:
    """List the counters that exist and have counted events, in no particular order. Hidden counters are not listed."""
    from chalicelib.access import catalog
    from chalicelib.read_model import queries

    limit, after = requests.parse_counters_page(views.current_request())
    page = queries.list_counters(limit, after)
    known = catalog.select_known(page.counters, lambda counter: counter.counter_id)
    return responses.render_counters(replace(page, counters=known))


@app.route("/reports", **_query_route)
@view(feature="reports")
def reports() -> Response:
    """List the reports and their parameters, if the stage has the SQL read model."""
    from chalicelib.extras.reports import api

    return api.list_reports(_settings)


@app.route("/reports/{name}", **_query_route)
@view("limit", "cursor", "format", "counter_id", "from", "to", "at", feature="reports")
def report(name: str) -> Response:
    """Get a page of a report. `GET /reports` lists each report's parameters. An unknown parameter causes a 400."""
    from chalicelib.access import catalog
    from chalicelib.extras.reports import api, definitions

    report_request = api.parse_request(_settings, name, views.current_request())
    query = report_request.query
    if query.counter_id is not None:
        catalog.check(query.counter_id, increments=False)

    # SQLAlchemy, which this module imports, is packaged only for stages with SQL.
    from chalicelib.extras.reports import queries as reports_queries

    page = reports_queries.run(query)
    known = catalog.select_known(page.rows, lambda row: definitions.get_counter_id(query.report, row))
    return api.to_response(report_request, replace(page, rows=known))


@app.route("/", **_open_route)
@view()
def index() -> Response:
    """Get the name, version and links of the service."""
    return responses.render_index(dict(views.list_links(app)))


@app.route("/openapi.json", **_open_route)
@view(feature="openapi")
def openapi() -> Response:
    """Get the OpenAPI document."""
    from chalicelib.extras import openapi as extras_openapi

    request = views.current_request()
    document = extras_openapi.render_document(_settings, request.root, app.routes)
    return responses.render_cacheable(request, document, extras_openapi.HEADERS)


def _declare_preflight(path: str) -> None:
    """Declare the route that responds to preflight requests for this path."""

    @app.route(path, methods=["OPTIONS"], content_types=["*/*"])
    def preflight(**_path: str) -> Response:
        return responses.render_preflight(app.routes[path])


for _path in app.routes if not _cors else ():
    _declare_preflight(_path)


def serve(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Respond to a request from any front. This is the handler in stages with a front other than the REST API."""
    from chalicelib.api import payload_v2

    return payload_v2.serve(app, _settings, event, context)


def _declare_function(projection: Projection) -> None:
    """Declare the Lambda function of an optional projection. The function works like `project`."""

    def project_optional(batch: SQSEvent) -> dict[str, Any]:
        from chalicelib import projector

        count = importlib.import_module(f"chalicelib.{projection.module}").count
        return projector.project(projection, count, batch.to_dict())

    project_optional.__name__ = projection.function  # Chalice and Lambda find the function by this name
    globals()[projection.function] = app.on_sqs_message(
        queue=projection.queue(_settings.stage), batch_size=10, maximum_concurrency=_settings.projectors
    )(project_optional)


for _projection in _settings.projections[1:]:
    _declare_function(_projection)


@app.schedule(Rate(settings.CHECK_EVERY_S // 60, unit=Rate.MINUTES))
def check(_turn: CloudWatchEvent) -> None:
    with contextlib.suppress(FeatureNotFoundError), features.optional():
        from chalicelib.extras.verification import scheduled_check

        scheduled_check.check(int(time.time()))


@app.middleware("all")
def watch_invocation(received: Any, get_response: Callable[[Any], Any]) -> Any:
    with telemetry.watch_invocation(received), session.limit_time(received):
        return get_response(received)


@app.middleware("http")
def unify_errors(request: Request, get_response: Callable[[Request], Response]) -> Response:
    response = responses.end_line(problems.render_chalice_error(get_response(request)))
    route = app.routes.get(request.context.get("resourcePath", ""), {}).get(request.method)
    if route and callers.find_callers(route) != "anyone":
        responses.keep_private(response)
    return responses.add_cors_headers(response, _settings.allowed_origin, request.headers.get("origin"))


@app.middleware("http")
def bind_request(request: Request, get_response: Callable[[Request], Response]) -> Response:
    views.bind(request)
    return get_response(request)


with contextlib.suppress(FeatureNotFoundError), features.optional():
    cold_start.preload(os.environ.get("_HANDLER", ""))
