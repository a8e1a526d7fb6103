"""The SQL read model of the deployed system, with its own queue, function and SQLite file."""

import csv
import io
import sqlite3
from urllib.parse import urljoin

import boto3
import pytest

from chalicelib.extras.reports.definitions import REPORTS
from chalicelib.projections import SQL
from ops.deployment import provision, stacks
from testkit.builders import message_body
from tests.e2e.conftest import eventually

pytestmark = pytest.mark.exhaustive


@pytest.fixture
def ask(place):
    """Query the file of the stage's functions."""

    def answer(question, *values):
        connection = sqlite3.connect(place.folder / "counter.sqlite", isolation_level=None)
        try:
            return connection.execute(question, values).fetchall()
        finally:
            connection.close()

    return answer


@pytest.fixture
def outputs(api_url):
    """Return the outputs of the projection's stack."""
    return stacks.outputs(provision.projection_stack_name("local", SQL))


def total(ask, counter_id):
    return ask("SELECT value, version FROM counters WHERE counter_id = ?", counter_id)


def test_increments_over_http_arrive_as_rows_and_totals_once(client, counter_id, ask):
    for by in (1, 2, 3):
        client.increment(counter_id, by, Idempotency_Key=f"k{by}")
        client.increment(counter_id, by, Idempotency_Key=f"k{by}")
    swapped = client.increment(counter_id, 4, Prefer="return=representation")

    eventually(lambda: total(ask, counter_id) == [(10, 4)])

    assert swapped.status_code == 200
    rows = ask("SELECT amount FROM events WHERE counter_id = ? ORDER BY amount", counter_id)
    assert rows == [(1,), (2,), (3,), (4,)]
    assert ask("SELECT sum(events), sum(total) FROM daily WHERE counter_id = ?", counter_id) == [(4, 10)]
    eventually(lambda: client.counter(counter_id)["value"] == 10)


def test_redelivery_next_to_a_broken_message_changes_nothing(counter_id, ask, outputs, an_event_of):
    event = an_event_of(counter_id, 5)
    sqs, queue = boto3.client("sqs"), outputs["QueueUrl"]

    for body in (message_body(event), "broken " + counter_id, message_body(event), message_body(event)):
        sqs.send_message(QueueUrl=queue, MessageBody=body)

    def parked():
        found = sqs.receive_message(QueueUrl=outputs["DeadLetterQueueUrl"], MaxNumberOfMessages=10, VisibilityTimeout=0)
        return [message["Body"] for message in found.get("Messages", [])]

    eventually(lambda: "broken " + counter_id in parked())
    eventually(lambda: total(ask, counter_id) == [(5, 1)])
    eventually(
        lambda: (
            sqs.get_queue_attributes(
                QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
            )["Attributes"]
            == {"ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesNotVisible": "0"}
        )
    )
    assert total(ask, counter_id) == [(5, 1)]
    assert ask("SELECT type, amount FROM events WHERE counter_id = ?", counter_id) == [(event.type_name, 5)]


def test_counted_events_are_in_each_report(client, counter_id, ask, an_event_of):
    for by in (1, 2, 3):
        client.increment(counter_id, by)
    eventually(lambda: total(ask, counter_id) == [(6, 3)])

    listed = client.http.get("/reports").raise_for_status().json()["reports"]
    required = {"counter_id": counter_id, "at": "9999-12-31"}
    answers = {
        one["name"]: client.http.get(
            one["path"], params={name: required[name] for name in {"counter_id", *one["required"]}}
        ).raise_for_status()
        for one in listed
    }
    shown = {name: answer.json() for name, answer in answers.items()}

    assert list(shown) == list(REPORTS)
    for one in listed:
        found = shown[one["name"]]
        assert (found["report"], found["next_cursor"]) == (one["name"], None)
        assert all(list(row) == one["columns"] for row in found["rows"])
        assert all(row["counter_id"] == counter_id for row in found["rows"])
    assert (shown["top_counters"]["rows"][0]["value"], shown["top_counters"]["rows"][0]["version"]) == (6, 3)
    assert sum(row["total"] for row in shown["daily"]["rows"]) == 6
    assert sorted(row["running_total"] for row in shown["running_totals"]["rows"])[-1] == 6
    (state,) = shown["value_at"]["rows"]
    assert (state["value"], state["version"], state["until"]) == (6, 3, None)
    assert answers["daily"].headers["Cache-Control"] == "public, max-age=5"


@pytest.mark.parametrize("form", ["json", "csv"])
def test_links_lead_through_all_pages_of_a_report(client, counter_id, ask, form):
    for _ in range(5):
        client.increment(counter_id, 1)
    eventually(lambda: total(ask, counter_id) == [(5, 5)])

    address: str | None = f"reports/running_totals?counter_id={counter_id}&limit=2&format={form}"
    found = []
    pages = 0
    while address is not None:
        answer = client.http.get(address).raise_for_status()
        rows = answer.json()["rows"] if form == "json" else csv.DictReader(io.StringIO(answer.text, newline=""))
        found += [int(row["running_total"]) for row in rows]
        linked = answer.links.get("next")
        address = None if linked is None else urljoin(str(answer.request.url), linked["url"])
        pages += 1

    assert found == [5, 4, 3, 2, 1]
    assert pages == 3
    assert answer.headers["Content-Type"] == {"json": "application/json", "csv": "text/csv; charset=utf-8"}[form]
