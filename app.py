"""
The Chalice application: routes, stream handler, queue handlers and schedule; nothing else.

Follow one increment through the files: `increment` below, `chalicelib/commands.py`, `event_log.py`; then `publish`
below and `publisher.py`; then `project` below, `projector.py`, `projection.py` and `read_model/writer.py`; and back to
`counter` below. If SQL_URL is set, `project_sql` does the same with `sql_projector.py` and `sql_model.py`.

Each entry point imports the modules that it uses, so that no function loads what only others need.
"""

import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from chalice.app import Chalice, CloudWatchEvent, DynamoDBEvent, Rate, Request, Response, SQSEvent

from chalicelib import codec, deployment, http, settings, starting, telemetry, timing

_settings = settings.current()
_received: ContextVar[Request] = ContextVar("received")
_route: dict[str, Any] = {"cors": http.cors(_settings.allowed_origin), "content_types": ["*/*"]}

app = Chalice(app_name=telemetry.SERVICE, configure_logs=False)
telemetry.set_level(_settings.log_level)


@app.route("/counters/{counter_id}/increments", methods=["POST"], **_route)
@http.answers_problems
def increment(counter_id: str) -> Response:
    from chalicelib import commands

    command = http.increment_command(counter_id, _request(), _settings.max_increment)
    return http.accepted(command, commands.increment(command))


@app.route("/counters/{counter_id}", **_route)
@http.answers_problems
def counter(counter_id: str) -> Response:
    from chalicelib.read_model import queries

    state = queries.counter(http.counter_named(counter_id))
    return http.counter_state(_request(), state)


@app.route("/counters/{counter_id}/events/{event_id}", **_route)
@http.answers_problems
def event(counter_id: str, event_id: str) -> Response:
    from chalicelib import event_log
    from chalicelib.read_model import queries

    found = event_log.get(http.counter_named(counter_id), http.event_named(event_id))
    return http.event_state(found, counted=queries.has_counted(found))


@app.route("/counters/{counter_id}/events", **_route)
@http.answers_problems
def events(counter_id: str) -> Response:
    from chalicelib.read_model import queries

    limit, before = http.page_of_events(_request())
    return http.events_page(queries.events(http.counter_named(counter_id), limit, before))


@app.route("/counters/{counter_id}/history", **_route)
@http.answers_problems
def history(counter_id: str) -> Response:
    from chalicelib.read_model import queries

    span = http.span_of_history(_request(), time.time())
    return http.history(queries.history(http.counter_named(counter_id), span))


@app.route("/counters/{counter_id}/badge.svg", **_route)
@http.answers_problems
def badge(counter_id: str) -> Response:
    from chalicelib import badges
    from chalicelib.read_model import queries

    look = badges.look(http.counter_named(counter_id), http.parameters(_request(), badges.PARAMETERS))
    return http.badge(_request(), badges.drawn(look, queries.counter(counter_id).value))


@app.route("/counters", **_route)
@http.answers_problems
def counters() -> Response:
    from chalicelib.read_model import queries

    limit, after = http.page_of_counters(_request())
    return http.counters_page(queries.counters(limit, after))


@app.route("/reports", **_route)
@http.answers_problems
def reports() -> Response:
    from chalicelib import http_reports

    return http_reports.listing(_settings)


@app.route("/reports/{name}", **_route)
@http.answers_problems
def report(name: str) -> Response:
    from chalicelib import http_reports

    asked = http_reports.asked(_settings, name, _request())

    from chalicelib import sql_reports  # there only where reports are on

    return http_reports.answer(asked, sql_reports.run(asked.question))


@app.route("/", **_route)
@http.answers_problems
def index() -> Response:
    return http.service()


@app.route("/openapi.json", **_route)
@http.answers_problems
def description() -> Response:
    from chalicelib import openapi

    return http.description(_request(), openapi.document(_settings))


@app.on_dynamodb_record(
    stream_arn=deployment.event_log_stream_arn(_settings),
    batch_size=1000,
    starting_position="TRIM_HORIZON",
    maximum_batching_window_in_seconds=_settings.batching_window_s,
)
def publish(batch: DynamoDBEvent) -> None:
    from chalicelib import publisher

    publisher.publish(codec.records_in(batch.to_dict()))


@app.on_sqs_message(queue=_settings.projection_queue, batch_size=10, maximum_concurrency=_settings.projectors)
def project(batch: SQSEvent) -> dict[str, Any]:
    from chalicelib import projector

    return projector.project(codec.records_in(batch.to_dict()))


if _settings.sql_url:

    @app.on_sqs_message(queue=_settings.sql_projection_queue, batch_size=10, maximum_concurrency=_settings.projectors)
    def project_sql(batch: SQSEvent) -> dict[str, Any]:
        from chalicelib import sql_projector

        return sql_projector.project(codec.records_in(batch.to_dict()))


@app.schedule(Rate(settings.CHECK_EVERY_S // 60, unit=Rate.MINUTES))
def check(_turn: CloudWatchEvent) -> None:
    from chalicelib.extras.verification import scheduled_check

    scheduled_check.check(int(time.time()))


@app.middleware("all")
def watched(received: Any, get_response: Callable[[Any], Any]) -> Any:
    with telemetry.invocation(received), timing.within(received):
        return get_response(received)


@app.middleware("http")
def errors_in_one_shape(request: Request, get_response: Callable[[Request], Response]) -> Response:
    return http.readable_from(_settings.allowed_origin, http.as_problem(get_response(request)))


@app.middleware("http")
def each_its_own_request(request: Request, get_response: Callable[[Request], Response]) -> Response:
    # Chalice keeps the current request on the app, where the threads of `chalice local` would take each other's.
    _received.set(request)
    return get_response(request)


def _request() -> http.Request:
    return http.request(_received.get())


starting.make_ready(os.environ.get("_HANDLER", ""))
