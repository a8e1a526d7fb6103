"""
Commands through the application's entry point: responses, recorded events, and retries.

Concurrent commands are in tests/resilience/test_races.py.
"""

import json
import uuid
from urllib.parse import urljoin

import boto3
import pytest

from chalicelib import settings


def test_accepted_increment_answers_with_its_event_and_location(pipeline):
    answer = pipeline.increment({"by": 2})

    event = pipeline.event(answer.body["event_id"])
    assert answer.status == 202
    assert set(answer.body) == {"counter_id", "event_id", "by", "recorded_at"}
    assert event.body == {**answer.body, "type": "Incremented", "status": "pending"}
    assert answer.body["counter_id"] == pipeline.counter_id
    assert answer.body["by"] == 2
    assert uuid.UUID(answer.body["event_id"]).version == 7
    assert urljoin(f"https://x/api/counters/{pipeline.counter_id}/increments", answer.headers["Location"]) == (
        f"https://x/api/counters/{pipeline.counter_id}/events/{answer.body['event_id']}"
    )


def test_same_key_is_the_same_increment_with_the_same_answer(pipeline):
    first = pipeline.increment({"by": 2}, Idempotency_Key="k")
    second = pipeline.increment({"by": 2}, Idempotency_Key="k")
    pipeline.deliver()

    assert (first.status, second.status) == (202, 202)
    assert second.body == first.body
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert (pipeline.value, pipeline.version) == (2, 1)


def test_same_key_with_another_body_is_refused(pipeline):
    pipeline.increment({"by": 2}, Idempotency_Key="k")

    other = pipeline.increment({"by": 3}, Idempotency_Key="k")
    pipeline.deliver()

    assert (other.status, other.headers["Content-Type"]) == (422, "application/problem+json")
    assert pipeline.value == 2


def test_body_of_one_equals_no_body(pipeline):
    pipeline.increment(Idempotency_Key="k")

    assert pipeline.increment({"by": 1}, Idempotency_Key="k").status == 202


def test_same_key_on_another_counter_is_another_increment(pipeline):
    first = pipeline.increment(Idempotency_Key="k")
    pipeline.counter_id += "-other"
    second = pipeline.increment(Idempotency_Key="k")

    assert "Idempotency-Replayed" not in second.headers
    assert first.body["event_id"] != second.body["event_id"]


def test_swap_at_the_current_version_counts_at_once(pipeline):
    """The response has the new state."""
    pipeline.increment({"by": 4}, If_Match='"0"')

    answer = pipeline.increment({"by": 5}, If_Match='"1"')

    assert answer.status == 200
    assert answer.headers["ETag"] == '"2"'
    assert answer.body == pipeline.counter().body
    assert (answer.body["value"], answer.body["version"]) == (9, 2)


def test_swap_at_another_version_records_nothing(pipeline):
    """The problem has the current state."""
    pipeline.increment({"by": 4}, If_Match='"0"')

    refused = pipeline.increment({"by": 5}, If_Match='"0"')
    pipeline.deliver()

    assert (refused.status, refused.headers["ETag"]) == (412, '"1"')
    assert refused.body["current"] == pipeline.counter().body
    assert (pipeline.value, pipeline.version) == (4, 1)


def test_keyed_swap_that_happened_answers_a_retry_with_the_current_state(pipeline):
    pipeline.increment({"by": 4}, If_Match='"0"', Idempotency_Key="k")
    pipeline.increment({"by": 1}, If_Match='"1"')

    again = pipeline.increment({"by": 4}, If_Match='"0"', Idempotency_Key="k")
    pipeline.deliver()

    assert (again.status, again.headers["Idempotency-Replayed"], again.headers["ETag"]) == (200, "true", '"2"')
    assert (again.body["value"], pipeline.value) == (5, 5)


def test_keyed_swap_that_happened_is_refused_with_another_body(pipeline):
    pipeline.increment({"by": 4}, If_Match='"0"', Idempotency_Key="k")

    assert pipeline.increment({"by": 5}, If_Match='"0"', Idempotency_Key="k").status == 422
    assert pipeline.increment({"by": 5}, If_Match='"1"', Idempotency_Key="k").status == 422
    assert pipeline.value == 4


@pytest.mark.parametrize("tag", ['"0"', '"1"', '"7"'])
@pytest.mark.parametrize("counted", [False, True])
def test_key_used_without_if_match_is_the_same_increment_with_it(pipeline, tag, counted):
    """The increment is recorded, so the version is not compared. The response states that the request was a replay."""
    plain = pipeline.increment({"by": 4}, Idempotency_Key="k")
    if counted:
        pipeline.deliver()

    again = pipeline.increment({"by": 4}, If_Match=tag, Idempotency_Key="k")
    pipeline.deliver()

    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert (again.body["value"], again.headers["Location"]) == (4, plain.headers["Location"])
    assert (pipeline.value, pipeline.version) == (4, 1)


def test_keyed_swap_that_was_refused_can_be_retried_with_its_key(pipeline):
    pipeline.increment(If_Match='"0"')

    refused = pipeline.increment({"by": 4}, If_Match='"0"', Idempotency_Key="k")
    tried_again = pipeline.increment({"by": 4}, If_Match='"1"', Idempotency_Key="k")

    assert (refused.status, tried_again.status, tried_again.body["value"]) == (412, 200, 5)


def test_keyed_add_and_get_counts_once_when_retried(pipeline):
    """The response to the retry includes the increment."""
    plain = pipeline.increment({"by": 6}, Idempotency_Key="k")

    wished = pipeline.increment({"by": 6}, Idempotency_Key="k", Prefer="return=representation")
    pipeline.deliver()

    assert (plain.status, wished.status, wished.headers["Idempotency-Replayed"]) == (202, 200, "true")
    assert (wished.body["value"], pipeline.value, pipeline.version) == (6, 6, 1)


def test_counter_never_incremented_has_value_zero(pipeline):
    answer = pipeline.counter()

    assert (answer.status, answer.headers["ETag"]) == (200, '"0"')
    assert answer.body == {"counter_id": pipeline.counter_id, "value": 0, "version": 0, "updated_at": None}


def test_percent_encoded_path_names_the_same_counter_and_event(pipeline):
    """API Gateway passes on the parameters of a path as the client encoded them."""
    plain = pipeline.counter_id = f"{pipeline.counter_id}~"
    pipeline.counter_id = "".join(f"%{ord(character):02x}" for character in plain)

    accepted = pipeline.increment(If_Match='"0"')
    event_id = accepted.headers["Location"].rpartition("/")[2]
    answers = [pipeline.counter(), pipeline.event(event_id.replace("-", "%2D")), *pipeline.events().body["events"]]

    assert accepted.body["counter_id"] == plain
    assert [getattr(answer, "body", answer)["counter_id"] for answer in answers] == [plain] * 3
    assert pipeline.badge().body == pipeline.badge(label=plain).body
    assert [point["sum"] for point in pipeline.history().body["points"]] == [1]


def test_event_that_is_not_in_the_log_is_404(pipeline):
    answer = pipeline.event(str(uuid.uuid4()))

    assert (answer.status, answer.body["status"]) == (404, 404)


def test_event_of_another_counter_is_404(pipeline):
    event_id = pipeline.increment().body["event_id"]
    pipeline.counter_id += "-other"

    assert pipeline.event(event_id).status == 404


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ({"body": "{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"body": '{"by":1}', "headers": {"Content-Type": "text/plain"}}, 415),
        ({"body": " " * 2000, "headers": {"Content-Type": "application/json"}}, 413),
        ({"headers": {"If-Match": "*"}}, 400),
        ({"headers": {"Idempotency-Key": "ü"}}, 400),
        ({"path": {"counter_id": "a b"}}, 400),
    ],
)
def test_malformed_command_is_a_problem_and_records_nothing(pipeline, parts, status):
    """The problem has the CORS headers."""
    answer = pipeline.send("POST", "/counters/{counter_id}/increments", **parts)

    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert set(answer.body) == {"type", "title", "status", "detail"}
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "ETag" in answer.headers["Access-Control-Expose-Headers"]
    assert pipeline.new_records() == []


def test_unknown_method_is_a_problem(pipeline):
    answer = pipeline.send("DELETE", "/counters/{counter_id}")

    assert (answer.status, answer.headers["Content-Type"], answer.headers["Allow"]) == (
        405,
        "application/problem+json",
        "GET, HEAD, OPTIONS",
    )
    assert answer.body["detail"] == "Unsupported method: DELETE. Use GET, HEAD, OPTIONS."


def test_root_describes_the_service_and_links_to_its_routes(pipeline):
    """Without the SQL read model, there are no reports."""
    import app

    answer = pipeline.send("GET", "/")

    routes = {route.view_name: path for path, methods in app.app.routes.items() for route in methods.values()}
    links = {name: link.partition("{?")[0] for name, link in answer.body["links"].items()}
    assert answer.body["service"] == "counter"
    assert links == {name: path for name, path in routes.items() if name not in ("index", "reports", "report")}
    assert answer.body["links"]["history"] == "/counters/{counter_id}/history{?from,to,resolution}"


def test_event_of_a_newer_type_is_a_problem_and_keeps_its_key(pipeline):
    accepted = pipeline.increment(Idempotency_Key="k")
    boto3.client("dynamodb").update_item(
        TableName=settings.current().event_log_table,
        Key={"partition": {"S": pipeline.counter_id}, "event_id": {"S": accepted.body["event_id"]}},
        UpdateExpression="SET version = :v",
        ExpressionAttributeValues={":v": {"N": "2"}},
    )

    for answer in (pipeline.event(accepted.body["event_id"]), pipeline.increment(Idempotency_Key="k")):
        assert (answer.status, answer.body["type"]) == (500, "urn:counter:problem:unreadable-event")


def test_messages_of_events_counted_by_a_command_are_marked(pipeline):
    plain = pipeline.increment().body["event_id"]
    pipeline.increment(Prefer="return=representation")
    pipeline.increment(If_Match='"1"')

    pipeline.publish(pipeline.new_records())

    messages = pipeline.drain(pipeline.queue_url)
    by_message = {len(json.loads(each["Body"])["events"]): each.get("MessageAttributes") for each in messages}
    assert by_message == {1: None, 2: {"likely_counted": {"StringValue": "true", "DataType": "String"}}}
    assert plain in str(messages)
