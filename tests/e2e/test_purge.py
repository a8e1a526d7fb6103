"""`ops counters purge`, on the deployed stage."""

import json

import boto3
import pytest

from testkit.builders import A_TIME_MS, an_event, log_items
from tests.e2e.conftest import eventually, ops

pytestmark = pytest.mark.exhaustive


def counters(*arguments):
    return ops("counters", *arguments, "--stage", "local")


def append(counter_id, number):
    """Append old events to the deployed stage's log. Its functions count them."""
    table = "counter-local-event-log"
    events = [an_event(counter_id=counter_id, by=3, recorded_at_ms=A_TIME_MS + ms) for ms in range(number)]
    for item in log_items(events):
        boto3.client("dynamodb").put_item(TableName=table, Item=item)
    return events


def test_junk_counters_are_purged_by_pattern(client, counter_id):
    names = [f"{counter_id}.{kind}" for kind in ("spam", "spam-2", "kept")]
    for number, name in enumerate(names):
        append(name, number + 1)
    eventually(lambda: [client.counter(name)["version"] for name in names] == [1, 2, 3])
    pattern, reason = f"{counter_id}.spam*", ("--reason", "a script's counters")

    refused = counters("purge", pattern, *reason, "--yes")
    closed = counters("close", pattern)
    tried = counters("purge", pattern, *reason, "--dry-run")
    unconfirmed = counters("purge", pattern, *reason)
    purged = counters("purge", pattern, *reason, "--yes", "--json")
    again = counters("purge", pattern, *reason, "--yes")
    verified = ops("verify", *(f"--counter={name}" for name in names), "--stage", "local")

    assert (refused.returncode, closed.returncode) == (1, 0)
    assert refused.stderr.startswith(f"Error: These counters accept increments: {names[0]}, {names[1]}. Close or hide")
    assert tried.stdout == "2 counters with 3 events and a total value of 9 would be purged.\n"
    assert (unconfirmed.returncode, unconfirmed.stderr) == (1, "Error: Confirmation required: add --yes.\n")
    assert purged.returncode == 0, purged.stderr
    assert json.loads(purged.stdout) == {"counters": 2, "events": 3, "value": 9, "refused": {}, "dry_run": False}
    assert (again.returncode, again.stdout) == (0, "There is nothing to purge.\n")
    assert verified.returncode == 0, verified.stdout
    assert [client.counter(name)["version"] for name in names] == [0, 0, 3]
    counters("reopen", pattern)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["purge"], 2, "purge requires at least one NAME and --reason, and takes no --start."),
        (["purge", "spam"], 2, "purge requires at least one NAME and --reason, and takes no --start."),
        (["purge", "spam", "--reason", "x", "--start", "3"], 2, "and takes no --start."),
        (
            ["purge", "spam", "--reason", " "],
            2,
            "--reason must be 1 to 200 printable characters, not all blank, got ' '.",
        ),
        (["purge", "*", "--reason", "x", "--yes"], 1, "NAME selects all counters of stage local: add --confirm local."),
        (
            ["purge", "**", "--reason", "x", "--yes"],
            1,
            "NAME selects all counters of stage local: add --confirm local.",
        ),
        (["purge", "*", "--reason", "x", "--confirm", "prod"], 2, "--confirm must be local, got prod."),
        (["close", "spam", "--yes"], 2, "--dry-run, --yes and --confirm require purge."),
    ],
    ids=str,
)
def test_purge_with_a_bad_option_is_refused(api_url, arguments, status, message):
    done = counters(*arguments)

    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
