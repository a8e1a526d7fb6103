"""Operators close, hide and add counters of a deployed stage without a deployment."""

import json

import pytest

from tests.e2e.conftest import eventually, ops

pytestmark = pytest.mark.exhaustive


def operate(*arguments):
    done = ops("counters", *arguments, "--stage", "local", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def list_names(client):
    found, query = [], {"limit": 100}
    while True:
        page = client.http.get("/counters", params=query).json()
        found += [counter["counter_id"] for counter in page["counters"]]
        if page["next_cursor"] is None:
            return set(found)
        query["cursor"] = page["next_cursor"]


@pytest.fixture
def names(counter_id):
    """Return two counters, and open and show them again after the test."""
    yield f"{counter_id}-closed", f"{counter_id}-hidden"
    operate("reopen", f"{counter_id}*")
    operate("show", f"{counter_id}*")


def test_counters_are_closed_hidden_and_restored_within_a_minute(client, names):
    closed, hidden = names
    for name in names:
        client.increment(name, Prefer="return=representation").raise_for_status()

    operate("close", closed)
    operate("hide", hidden)
    statuses = []

    def is_refused():
        statuses.append(client.increment(closed, Idempotency_Key="late").status_code)
        return statuses[-1] == 403

    eventually(is_refused)
    eventually(lambda: client.http.get(f"/counters/{hidden}").status_code == 404)

    # The attempts have one key, so they record at most one event.
    version = 2 if 202 in statuses else 1
    eventually(lambda: client.counter(closed)["version"] == version)
    assert client.increment(closed, Prefer="return=representation").json()["type"].endswith(":counter-closed")
    assert client.increment(hidden).json()["type"].endswith(":counter-not-allowed")
    assert client.counter(closed)["version"] == version
    assert list_names(client) & {*names} == {closed}
    assert {row["counter_id"]: row["state"] for row in operate("list", *names)["counters"]} == {
        closed: "closed",
        hidden: "hidden",
    }

    operate("reopen", closed)
    operate("show", hidden)
    eventually(lambda: client.increment(closed).status_code == 202)
    eventually(lambda: client.http.get(f"/counters/{hidden}").status_code == 200)


def test_added_counter_has_its_start_value_once(client, counter_id):
    for _ in range(2):
        done = operate("add", counter_id, "--start", "51200", "--reason", "taken over")

    assert counter_id in done["added"]
    assert (client.counter(counter_id)["value"], client.counter(counter_id)["version"]) == (51_200, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["close"], "close requires at least one NAME."),
        (["add", "a", "--start", "1"], "--start requires add, one NAME and --reason."),
        (["add", "a", "b", "--start", "1", "--reason", "x"], "--start requires add, one NAME and --reason."),
        (["close", "a", "--reason", "x"], "--reason and --who require --start or purge."),
        (["add", "a*", "--start", "1", "--reason", "x"], "--start requires one counter's name, not a pattern."),
        (["close", "a b"], "must be 1 to 64 characters of A-Z a-z 0-9 . _ ~ - and * (any text), got 'a b'."),
        (["open", "a"], "'open' is not one of"),
    ],
)
def test_malformed_command_is_a_usage_error(api_url, arguments, message):
    refused = ops("counters", *arguments, "--stage", "local")

    assert (refused.returncode, refused.stdout) == (2, "")
    assert message in refused.stderr
