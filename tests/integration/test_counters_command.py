"""Operators list counters, and change which of them exist and count."""

import threading
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest

from chalicelib import settings
from chalicelib.errors import CatalogUnavailableError
from ops.cli.errors import InputError, OperatorError
from ops.maintenance import counters
from testkit import aws_requests
from testkit.builders import an_event
from tests.environments import environment


@pytest.fixture(autouse=True)
def table(stage):
    """Empty the catalog before and after a test."""
    table = boto3.resource("dynamodb").Table(settings.current().catalog_table)
    table.delete_item(Key={"name": "counters"})
    yield table
    table.delete_item(Key={"name": "counters"})


def sets(outcome):
    return outcome.facts["added"], outcome.facts["closed"], outcome.facts["hidden"]


def list_states(*names):
    outcome = counters.list_counters(settings.current(), names, 1000)
    return {row["counter_id"]: row["state"] for row in outcome.facts["counters"]}


@pytest.mark.parametrize(("action", "position"), [("add", 0), ("close", 1), ("hide", 2)])
def test_repeated_change_adds_names_and_patterns_once(action, position):
    for _ in range(2):
        outcome = counters.change(action, ("visits", "likes-*"))

        assert sets(outcome)[position] == ["likes-*", "visits"]
        assert outcome.holds
    assert "within a minute" in outcome.text


@pytest.mark.parametrize(("action", "undo"), [("close", "reopen"), ("hide", "show")])
def test_undo_removes_all_entries_that_a_pattern_covers(action, undo):
    counters.change(action, ("visits", "likes-1", "likes-2-*", "other-likes-1"))

    for _ in range(2):
        outcome = counters.change(undo, ("likes-*", "never"))

        assert outcome.facts[counters.CHANGES[action].set_name] == ["other-likes-1", "visits"]
        assert outcome.holds


@pytest.mark.parametrize(
    ("closed", "names", "remaining"),
    [
        ("*", "visits", {"visits": ["*"]}),
        ("likes-*", "likes-1", {"likes-1": ["likes-*"]}),
        ("*-old", "likes-*", {"likes-*": ["*-old"]}),
        ("likes-*", "visits", {}),
    ],
)
def test_counter_that_another_entry_still_closes_is_named(closed, names, remaining):
    counters.change("close", (closed, names))

    outcome = counters.change("reopen", (names,))

    assert (outcome.facts["remaining"], outcome.holds) == (remaining, not remaining)
    assert outcome.facts["closed"] == [closed]


def test_added_counter_that_is_hidden_does_not_exist_yet():
    counters.change("hide", ("v*",))

    outcome = counters.change("add", ("visits",))

    assert (outcome.facts["remaining"], outcome.holds) == ({"visits": ["v*"]}, False)
    assert "visits is hidden, at least in part, by v*: run show with these entries." in outcome.text


def test_repeated_undo_sends_no_write():
    with aws_requests.record() as requests:
        counters.change("show", ("visits",))

    assert requests.operations == ["GetItem", "GetItem"]


def test_list_shows_values_and_the_state_of_each_counter(pipeline):
    name = pipeline.counter_id
    pipeline.count(*[an_event(counter_id=f"{name}-{state}", by=3) for state in ("open", "closed", "hidden", "other")])
    counters.change("close", (f"{name}-c*", f"{name}-hidden"))
    counters.change("hide", (f"{name}-hidden",))

    with environment(COUNTERS=f"{name}-open,{name}-closed,{name}-hidden,{name}-new"):
        outcome = counters.list_counters(settings.current(), (f"{name}-*",), 1000)

    rows = {row["counter_id"].removeprefix(f"{name}-"): row for row in outcome.facts["counters"]}
    assert {short: (row["value"], row["version"], row["state"]) for short, row in rows.items()} == {
        "open": (3, 1, "open"),
        "closed": (3, 1, "closed"),
        "hidden": (3, 1, "hidden"),
        "other": (3, 1, "unknown"),
        "new": (0, 0, "open"),
    }
    assert f"hidden: {name}-hidden" in outcome.text.splitlines()
    assert [line.split()[-1] for line in outcome.text.splitlines()[:2]] == ["state", "closed"]


def test_list_of_names_shows_them_without_a_scan():
    with aws_requests.record() as requests:
        assert list_states("never-counted") == {"never-counted": "open"}

    assert "Scan" not in requests.operations


def test_long_list_is_cut_and_says_so(pipeline):
    pipeline.count(*[an_event(counter_id=f"{pipeline.counter_id}-{number}") for number in range(4)])

    outcome = counters.list_counters(settings.current(), (f"{pipeline.counter_id}-*",), 3)

    assert (len(outcome.facts["counters"]), outcome.facts["has_more"]) == (3, True)
    assert "Only the first 3 are listed" in outcome.text


def test_start_value_is_recorded_once_and_does_not_lose_increments(pipeline):
    for _ in range(2):
        start = counters.build_start(pipeline.counter_id, 100, "taken over", "ann", "start")
        outcome = counters.add((pipeline.counter_id,), start)
        pipeline.increment()
        pipeline.deliver()

    assert (outcome.facts["added"], outcome.facts["adjustment"]["recorded_before"]) == ([pipeline.counter_id], True)
    assert (pipeline.value, pipeline.version) == (102, 3)


def test_other_start_value_under_the_same_key_is_refused(pipeline):
    counters.add((pipeline.counter_id,), counters.build_start(pipeline.counter_id, 100, "taken over", "ann", "start"))

    with pytest.raises(OperatorError, match="--key start was already used for a different adjustment"):
        counters.add(
            (pipeline.counter_id,), counters.build_start(pipeline.counter_id, 101, "taken over", "ann", "start")
        )


def test_start_value_of_a_pattern_is_refused():
    with pytest.raises(InputError, match="not a pattern"):
        counters.build_start("likes-*", 1, "taken over", "ann", "start")


def test_start_value_0_records_nothing():
    assert counters.build_start("visits", 0, "taken over", "ann", "start") is None


def test_full_catalog_is_refused_and_unchanged(table):
    table.put_item(Item={"name": "counters", "filler": "x" * 400_000})

    with pytest.raises(OperatorError, match="The catalog is full: a DynamoDB item is at most 400 KB"):
        counters.change("close", tuple(f"{'x' * 60}{number:04}" for number in range(200)))

    assert counters.read().closed.entries == frozenset()


@pytest.mark.parametrize(("action", "error"), [("close", OperatorError), ("reopen", CatalogUnavailableError)])
def test_damaged_catalog_is_named_and_unchanged(table, action, error):
    table.put_item(Item={"name": "counters", "closed": "visits"})

    with pytest.raises(error, match="closed"):
        counters.change(action, ("clicks",))

    assert table.get_item(Key={"name": "counters"})["Item"]["closed"] == "visits"


def test_concurrent_operators_lose_no_change():
    """Eight concurrent operators change the catalog, each with different names."""
    counters.change("close", tuple(f"was-closed-{number}" for number in range(8)))
    counters.change("hide", tuple(f"was-hidden-{number}" for number in range(8)))
    together = threading.Barrier(8)

    def operate(number: int) -> None:
        together.wait()
        for action, name in (
            ("close", "closed"),
            ("reopen", "was-closed"),
            ("hide", "hidden"),
            ("show", "was-hidden"),
            ("add", "added"),
        ):
            counters.change(action, (f"{name}-{number}",))

    with ThreadPoolExecutor(8) as operators:
        list(operators.map(operate, range(8)))

    catalog = counters.read()
    assert catalog.added.entries == {f"added-{number}" for number in range(8)}
    assert catalog.closed.entries == {f"closed-{number}" for number in range(8)}
    assert catalog.hidden.entries == {f"hidden-{number}" for number in range(8)}
