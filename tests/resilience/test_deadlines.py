"""A function stops and reports before its timeout, even if AWS is slow or fails."""

import json
from pathlib import Path

import pytest

from chalicelib.aws import session
from chalicelib.errors import QueueUnavailableError, ReadModelUnavailableError
from testkit import faults
from testkit.builders import an_event, message_body, stream_record
from tests.resilience.test_crash_points import stored

FUNCTIONS = json.loads((Path(__file__).parent.parent.parent / ".chalice" / "config.json").read_text(encoding="utf-8"))[
    "lambda_functions"
]

#: The time that API Gateway waits for a function (API Gateway quotas, "Integration timeout").
GATEWAY_S = 29

REQUESTS = {
    "an increment": lambda pipeline: pipeline.increment(),
    "a swap": lambda pipeline: pipeline.increment(If_Match='"0"'),
    "an add-and-get": lambda pipeline: pipeline.increment(Prefer="return=representation"),
    "a counter": lambda pipeline: pipeline.counter(),
    "an event": lambda pipeline: pipeline.event("01890a5d-ac96-774b-bcce-b302099a8057"),
    "a page of events": lambda pipeline: pipeline.events(),
    "a history": lambda pipeline: pipeline.history(),
    "a page of counters": lambda pipeline: pipeline.send("GET", "/counters"),
}


class Function:
    """Lambda's context of a function whose time passes only while it waits, as long as possible each time."""

    def __init__(self, name):
        self.left_s = FUNCTIONS[name]["lambda_timeout"]

    def get_remaining_time_in_millis(self):
        return self.left_s * 1000

    def meets(self, fault, operation=None):
        def gate(attempt):
            self.left_s -= session.CONNECT_S + session.READ_S
            if operation not in (None, attempt.operation):
                return attempt.carry_out()
            if fault is not faults.no_fault:
                self.left_s -= session.LONGEST_PAUSE_S
            return fault(attempt)

        return gate


@pytest.fixture
def running(engine, pipeline):
    """Return a function that starts a Lambda function, which meets a fault at each attempt or only at one operation."""

    def run(name, fault, operation=None):
        pipeline.context = Function(name)
        engine.gate = pipeline.context.meets(fault, operation)
        return pipeline.context

    return run


def test_gateway_timeout_exceeds_the_functions_timeout():
    assert FUNCTIONS["api_handler"]["lambda_timeout"] < GATEWAY_S


@pytest.mark.parametrize("fault", [faults.drop_request, faults.throttle])
@pytest.mark.parametrize("request_", REQUESTS)
def test_request_during_an_outage_is_503_before_the_deadline(pipeline, running, request_, fault):
    function = running("api_handler", fault)

    answer = REQUESTS[request_](pipeline)

    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert function.left_s >= 0


@pytest.mark.parametrize(
    ("operation", "fault", "wish", "status"),
    [
        ("TransactWriteItems", faults.cancel, {"If_Match": '"0"'}, 503),
        ("UpdateItem", faults.conflict, {"Prefer": "return=representation"}, 202),
    ],
    ids=["swap", "add-and-get"],
)
def test_command_that_always_conflicts_ends_before_the_deadline(pipeline, running, operation, fault, wish, status):  # noqa: PLR0917
    """An add-and-get is recorded, and the stream delivers it: a preference must not fail the request."""
    function = running("api_handler", fault, operation)

    answer = pipeline.increment(**wish)

    assert answer.status == status
    assert function.left_s >= 0


def test_query_with_slow_requests_is_503_before_the_deadline(pipeline, running):
    stored(pipeline, [[number] for number in range(40)])
    function = running("api_handler", faults.no_fault)

    answer = pipeline.events()

    assert answer.status == 503
    assert function.left_s >= 0


@pytest.mark.parametrize("wish", [{}, {"If_Match": '"0"'}, {"Prefer": "return=representation"}])
def test_command_with_slow_requests_succeeds(pipeline, running, wish):
    function = running("api_handler", faults.no_fault)

    answer = pipeline.increment(**wish)

    assert answer.status in {200, 202}
    assert function.left_s >= 0


def test_batch_stopped_at_the_deadline_is_counted_when_redelivered(engine, pipeline, running):
    others = [message_body(an_event(counter_id=f"{pipeline.counter_id}-{n}")) for n in range(9)]
    bodies = [message_body(an_event(counter_id=pipeline.counter_id, by=4)), *others]
    function = running("project", faults.drop_request, "UpdateItem")

    with pytest.raises(ReadModelUnavailableError):
        pipeline.project(bodies)
    left_s, pipeline.context, engine.gate = function.left_s, None, faults.no_fault
    pipeline.project(bodies)

    assert left_s >= 0
    assert (pipeline.value, pipeline.version) == (4, 1)


def test_stream_batch_stops_at_the_deadline(pipeline, running):
    function = running("publish", faults.drop_request)

    with pytest.raises(QueueUnavailableError):
        pipeline.publish([stream_record(an_event())])

    assert function.left_s >= 0


def test_outside_lambda_only_each_request_has_a_timeout(engine, pipeline):
    attempts = []

    def gate(attempt):
        attempts.append(attempt)
        return faults.drop_request(attempt)

    engine.gate = gate
    answer = pipeline.counter()

    assert (answer.status, len(attempts)) == (503, session.ATTEMPTS)
