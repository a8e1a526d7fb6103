"""The bare calls make the requests of our functions, and the report has the measured ratios."""

import contextlib
import io

import boto3
import pytest

from benchmarks.measure import cpu_time, scope
from benchmarks.report import goals, results
from testkit import aws_requests

pytestmark = [pytest.mark.exhaustive, pytest.mark.no_cover]


@pytest.mark.parametrize(
    ("subject", "program"),
    [
        ("command", scope.API_HANDLER),
        ("count 1", scope.FUNCTION),
        ("count 10", scope.FUNCTION),
        ("count 100", scope.FUNCTION),
        (scope.COUNT_MANY, scope.FUNCTION),
    ],
)
def test_bare_calls_make_the_same_writes_as_the_functions(stage, subject, program):
    client = boto3.client("dynamodb")
    comparison = cpu_time.list_comparisons(client, boto3.client("sqs"))[subject]
    bare, function = comparison.bare(), comparison.others[program]()

    with (
        aws_requests.record(client, reader=aws_requests.reader()) as by_hand,
        aws_requests.record(reader=aws_requests.reader()) as by_function,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        bare()
        function()

    assert by_hand.write_units() == by_function.write_units() > 0
    assert by_hand.operations == [name for name in by_function.operations if name != "GetItem"]


def test_bare_read_makes_the_same_read_as_counting(stage):
    client = boto3.client("dynamodb")
    others = cpu_time.list_comparisons(client, boto3.client("sqs"))["count 100"].others
    bare, function = others[scope.READ_TOO](), others[scope.FUNCTION]()

    with (
        aws_requests.record(client) as by_hand,
        aws_requests.record() as by_function,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        bare()
        function()

    assert by_hand.operations == by_function.operations == ["GetItem", "TransactWriteItems"]
    assert by_hand.read_units() == by_function.read_units() > 0


def test_cpu_time_is_measured_in_turns_and_reported(stage):
    raw = cpu_time.measure_ratios(2, 2)

    compared = raw["compared"].values()
    assert all(ratio > 0 for comparison in compared for ratios in comparison["ratios"].values() for ratio in ratios)
    by_text = {goal.text: goal.result for goal in goals.list_goals({"cpu_time": {"raw": raw}})}
    ratio = results.cpu_ratio(raw, "command", scope.API_HANDLER)
    assert by_text[f"command: at most {scope.COMMAND_GOAL} times the CPU time of the bare put"] == f"{ratio:.2f}"
    assert "counting 100 events" in raw["profiles"]
