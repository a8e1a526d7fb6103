"""The benchmark's bare calls make the requests of the application."""

from __future__ import annotations

import contextlib
import io

import boto3
import pytest

from benchmarks.measure import cpu_time, scope
from benchmarks.report import cpu_time as told
from tests import aws_requests


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("subject", "what"),
    [
        ("command", scope.BY_GATEWAY),
        ("count 1", scope.FUNCTION),
        ("count 10", scope.FUNCTION),
        ("count 100", scope.FUNCTION),
        (scope.APART, scope.FUNCTION),
    ],
)
def test_bare_calls_write_what_the_functions_write(stage, subject, what):
    client = boto3.client("dynamodb")
    bare, others, _ = cpu_time.subjects(client, boto3.client("sqs"))[subject]

    with (
        aws_requests.record(client, reader=aws_requests.reader()) as by_hand,
        aws_requests.record(reader=aws_requests.reader()) as by_function,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        bare()()
        others[what]()()

    assert by_hand.write_units() == by_function.write_units() > 0
    assert by_hand.operations == [name for name in by_function.operations if name != "GetItem"]


def test_bare_read_reads_what_counting_reads(stage):
    client = boto3.client("dynamodb")
    _, others, _ = cpu_time.subjects(client, boto3.client("sqs"))["count 100"]

    with (
        aws_requests.record(client) as by_hand,
        aws_requests.record() as by_function,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        others[scope.READ_TOO]()()
        others[scope.FUNCTION]()()

    assert by_hand.operations == by_function.operations == ["GetItem", "TransactWriteItems"]
    assert by_hand.read_units() == by_function.read_units() > 0


def test_cpu_time_is_measured_in_turns_and_reported(stage):
    done: list[int] = []

    raw = cpu_time.measured(2, 2, done.append)

    assert sum(done) == cpu_time.total_rounds(2)
    assert all(ratio > 0 for one in raw["compared"].values() for ratios in one["ratios"].values() for ratio in ratios)
    said = told.SECTION.says(raw)
    goal = f"a command takes at most {scope.COMMAND_GOAL} times the CPU time of the bare put"
    assert f"| {goal} | {told.ratio(raw, 'command', scope.BY_GATEWAY):.2f} |" in said
    assert "**Where counting 100 events spends its time**" in said
