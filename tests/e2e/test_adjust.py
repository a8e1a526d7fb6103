"""`ops adjust`, and adjustments as clients see them."""

import getpass
import json
import shlex

import pytest

from ops.maintenance import notes
from tests.e2e.conftest import ops

pytestmark = pytest.mark.exhaustive


def adjust(counter_id, *options, stdin="", **environment):
    return ops("adjust", counter_id, *options, "--stage", "local", stdin=stdin, **environment)


def recorded(counter_id, *options, **environment):
    """Return the result of an adjustment made with `--yes`."""
    done = adjust(counter_id, *options, "--reason", "a test", "--yes", "--json", **environment)
    facts = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, f"Recording with --key {shlex.quote(facts['key'])}.\n")
    return facts


@pytest.fixture(autouse=True)
def deployed(api_url):
    """Let all tests use the deployed stage."""


def test_a_counter_is_started_corrected_below_zero_and_reset(client, counter_id):
    started = recorded(counter_id, "--to", "51200")
    client.increment(counter_id, 5, If_Match='"1"')
    corrected = recorded(counter_id, "--by", "-60000")
    below = client.counter(counter_id)
    reset = recorded(counter_id, "--to", "0")

    assert (started["by"], started["value"], started["recorded"]) == (51_200, 51_200, True)
    assert (corrected["by"], corrected["value"]) == (-60_000, -8_795)
    assert (below["value"], below["version"]) == (-8_795, 3)
    assert (reset["by"], client.counter(counter_id)["value"]) == (8_795, 0)


def test_same_key_is_the_same_adjustment_and_refuses_another_amount(client, counter_id):
    first = recorded(counter_id, "--by", "5", "--key", "ticket 17")
    second = recorded(counter_id, "--by", "5", "--key", "ticket 17")
    other = adjust(counter_id, "--by", "6", "--reason", "a test", "--key", "ticket 17", "--yes")

    assert (first["recorded"], first["recorded_before"]) == (True, False)
    assert (second["recorded"], second["recorded_before"], second["event_id"]) == (False, True, first["event_id"])
    assert (other.returncode, other.stderr.count("\n")) == (1, 1)
    assert "already used for a different adjustment" in other.stderr
    assert client.counter(counter_id)["value"] == 5


def test_settings_in_the_operators_environment_are_ignored(client, counter_id):
    first = recorded(counter_id, "--by", "5", "--key", "ticket 17", SHARDS="4", LOG_LEVEL="none")
    second = recorded(counter_id, "--by", "5", "--key", "ticket 17")

    assert (first["recorded"], second["recorded_before"]) == (True, True)
    assert client.counter(counter_id)["value"] == 5


def test_adjust_to_the_current_value_records_nothing(client, counter_id):
    client.increment(counter_id, 5, If_Match='"0"')

    done = adjust(counter_id, "--to", "5", "--reason", "a test")

    assert (done.returncode, done.stdout) == (0, f"{counter_id} is already 5. Nothing was recorded.\n")
    assert client.counter(counter_id)["version"] == 1


def test_adjust_asks_first_and_shows_both_values(client, counter_id):
    client.increment(counter_id, 5, If_Match='"0"')

    refused = adjust(counter_id, "--by", "-2", "--reason", "a test", stdin="n\n")
    unanswered = adjust(counter_id, "--by", "-2", "--reason", "a test")
    after_refusals = client.counter(counter_id)["value"]
    done = adjust(counter_id, "--by", "-2", "--reason", "a test", stdin="y\n")

    assert (refused.returncode, unanswered.returncode, done.returncode) == (1, 1, 0)
    assert f"counter: {counter_id}\nvalue now: 5\nvalue after: 3 (-2)\n" in refused.stderr
    assert (after_refusals, client.counter(counter_id)["value"]) == (5, 3)
    assert done.stdout.endswith("The value is 3.\n")


def test_a_dry_run_shows_and_changes_nothing(client, counter_id):
    shown = adjust(counter_id, "--to", "9", "--reason", "a test", "--dry-run")
    facts = json.loads(adjust(counter_id, "--to", "9", "--reason", "a test", "--dry-run", "--json").stdout)
    nothing = adjust(counter_id, "--to", "0", "--reason", "a test", "--dry-run")
    recorded(counter_id, "--by", "1", "--key", "k")
    again = adjust(counter_id, "--by", "1", "--key", "k", "--reason", "a test", "--dry-run")

    assert (shown.returncode, nothing.returncode, again.returncode) == (0, 0, 0)
    assert "value now: 0\nvalue after: 9 (+9)" in shown.stdout
    assert (facts["dry_run"], facts["recorded"], facts["by"], facts["value"], facts["value_after"]) == (
        True,
        False,
        9,
        0,
        9,
    )
    assert "is already 0." in nothing.stdout
    assert "Already recorded" in again.stdout
    assert client.counter(counter_id)["version"] == 1


def test_operator_defaults_to_the_aws_caller(counter_id):
    assert recorded(counter_id, "--by", "1")["who"].startswith("arn:aws:")


def test_operator_is_the_local_user_if_aws_is_unreachable():
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        assert notes.get_caller() == getpass.getuser()


@pytest.mark.parametrize(
    ("counter_id", "options", "says"),
    [
        ("a b", ["--by", "1", "--reason", "x"], "COUNTER_ID must be 1 to 64 characters"),
        ("a", ["--by", "0", "--reason", "x"], "--by must be an integer"),
        ("a", ["--by", str(2**53), "--reason", "x"], "--by must be an integer"),
        ("a", ["--to", str(-(2**53)), "--reason", "x"], "--to must be an integer"),
        ("a", ["--reason", "x"], "Pass either --by"),
        ("a", ["--by", "1", "--to", "1", "--reason", "x"], "Pass either --by"),
        ("a", ["--by", "1", "--reason", ""], "--reason must be 1 to 200 printable"),
        ("a", ["--by", "1", "--reason", "x" * 201], "--reason must be 1 to 200 printable"),
        ("a", ["--by", "1", "--reason", "x", "--who", " "], "--who must be 1 to 200 printable"),
        ("a", ["--by", "1", "--reason", "x", "--key", "a\nb"], "--key must be 1 to 200 printable"),
    ],
)
def test_malformed_options_print_one_line_and_exit_with_2(counter_id, options, says):
    refused = adjust(counter_id, *options)

    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert says in refused.stderr


def test_amount_that_exceeds_the_limit_of_an_event_prints_one_line(counter_id):
    recorded(counter_id, "--by", "2")

    refused = adjust(counter_id, "--to", str(-(2**53 - 1)), "--reason", "x", "--yes")

    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "Nothing was recorded" in refused.stderr
