"""The checks of `make load` detect lost, duplicate and invented increments, and a run without faults."""

import os
import socket
import subprocess
import sys

import pytest

from ops.local.stack import LocalSystem
from testkit.builders import an_event
from tests.resilience.chaos import DECKS, REPEATABLE, Chaos, Fault, can_kill, process_of
from tests.resilience.clients import Way, Wish
from tests.resilience.deployed import System
from tests.resilience.load import RESTARTS, differences, shortfalls


def connect(port: int, to: int) -> socket.socket:
    """Connect to a port of this machine from a local port, even if another connection has it. 0 means a free port."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    connection.bind(("127.0.0.1", port))
    connection.connect(("127.0.0.1", to))
    return connection


@pytest.fixture
def run(engine, new_pipeline):
    """Return a run of three acknowledged increments that are not delivered yet, and a check of this counter alone."""
    pipeline = new_pipeline(1)
    pipeline.acknowledged = {}
    for by in (1, 2, 3):
        answer = pipeline.increment({"by": by}, Idempotency_Key=f"key {by}")
        wish = Wish(pipeline.counter_id, f"key {by}", by, Way.PLAIN)
        pipeline.acknowledged[wish] = answer.body["event_id"]
    pipeline.judged = lambda: [
        line for line in differences(engine.client, pipeline.acknowledged, {}) if line.startswith(pipeline.counter_id)
    ]
    return pipeline


def test_correct_run_has_no_findings(run):
    run.deliver()

    assert run.judged() == []


def test_uncounted_event_is_reported(run):
    assert run.judged() == [f"{run.counter_id}: value and version are (0, 0), and the log says (6, 3)"]


def test_counted_event_without_log_entry_is_reported(run):
    run.deliver()
    run.count(an_event(counter_id=run.counter_id, by=5))

    assert run.judged() == [f"{run.counter_id}: the value 11 exceeds the log's sum 6"]


def test_acknowledged_event_without_log_entry_is_reported(run):
    run.deliver()
    run.acknowledged[Wish(run.counter_id, "lost", 4, Way.PLAIN)] = "an id"

    assert run.judged() == [
        f"{run.counter_id}: acknowledged, and not in the log: an id",
        f"{run.counter_id}: event an id has the amount None in the log, and 4 among the acknowledged increments",
    ]


def test_unacknowledged_event_in_the_log_is_reported(run):
    refused = run.increment({"by": 7}, Idempotency_Key="refused").body["event_id"]
    run.deliver()

    assert run.judged() == [
        f"{run.counter_id}: event {refused} has the amount 7 in the log, and None among the acknowledged increments"
    ]


def test_two_increments_recorded_as_one_are_reported(run):
    run.deliver()
    first = next(iter(run.acknowledged.values()))
    run.acknowledged[Wish(run.counter_id, "another", 1, Way.PLAIN)] = first

    assert run.judged() == [f"{run.counter_id}: two increments were acknowledged as one, {first}"]


def test_run_without_faults_or_restarts_fails(tmp_path):
    chaos = Chaos(aws_port=0, seed=1)
    system = System(LocalSystem(tmp_path, 0, 0), chaos)

    without = shortfalls(system)
    chaos.begin()
    for function, size in DECKS.items():
        for number in range(size):
            if fault := chaos.draw(function, f"{function} {number}"):
                chaos.note(function, fault)
    chaos.close()
    system.starts = RESTARTS + 1

    assert len(without) == len(DECKS) * len(Fault) + 1
    assert shortfalls(system) == []


def test_permanent_fault_disturbs_each_attempt():
    chaos = Chaos(aws_port=0, seed=1)
    chaos.begin()
    chaos.close()

    first, second = ([chaos.draw("Publish", f"call {n}") for n in range(DECKS["Publish"])] for _ in range(2))

    again = {one for one, other in zip(first, second, strict=True) if one is other}
    assert again >= set(REPEATABLE)


@pytest.mark.skipif(not can_kill(), reason="the load test requires Linux")
def test_processes_that_share_a_local_port_are_distinguished():
    with (
        socket.create_server(("127.0.0.1", 0)) as ours,
        socket.create_server(("127.0.0.1", 0)) as theirs,
        connect(0, ours.getsockname()[1]) as own,
    ):
        port = own.getsockname()[1]
        arguments = f"{port}, {theirs.getsockname()[1]}"
        code = f"from {__name__} import connect; kept = connect({arguments}); print(flush=True); input()"
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()

            found = [process_of(port, server.getsockname()[1]) for server in (ours, theirs)]

            other.communicate()
    assert found == [os.getpid(), other.pid]
