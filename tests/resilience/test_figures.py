"""The report's deterministic figures are reproduced, and broken designs are detected."""

import functools
import json
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import alternatives, store
from benchmarks.measure import designs, faults, request_costs, scope, throughput
from benchmarks.measure.clock import Clock
from chalicelib import codec
from testkit.faults import Attempt


@pytest.fixture(scope="module")
def figures():
    return store.read()


@pytest.fixture
def every(module_engine):
    with designs.connect(module_engine) as connected:
        yield connected


@pytest.mark.exhaustive
@pytest.mark.no_cover
def test_units_and_requests_match_the_report(module_engine, figures):
    """Measure all but the largest batches, which would take minutes."""
    batches = (1, 10)
    stored = figures["request_costs"]["raw"]

    found = request_costs.measure_designs(module_engine, batches)

    assert found == {**stored, "cells": [row for row in stored["cells"] if row["events"] in batches]}


@pytest.mark.exhaustive
@pytest.mark.no_cover
@pytest.mark.parametrize("fault", faults.FAULTS)
def test_design_survives_the_faults_of_the_report(module_engine, figures, every, fault):
    found = {design.name: faults.Trials(module_engine, design).count_outcomes(fault) for design in every}

    assert found == {name: outcomes[fault] for name, outcomes in figures["faults"]["raw"].items()}


def test_worker_that_loses_events_counts_too_little(module_engine, every):
    (ours,) = (design for design in every if design.name == scope.OURS)
    worker = ours.worker(0)
    loses_one = replace(ours, worker=lambda _: lambda bodies: worker(without_its_last(bodies)))

    outcome = faults.Trials(module_engine, loses_one).count_outcomes("nothing goes wrong")

    assert outcome == {"runs": 1, "too_high": 0, "too_low": 1, "never_acknowledged": 0}


def test_worker_that_always_fails_never_acknowledges(module_engine, every):
    (ours,) = (design for design in every if design.name == scope.OURS)
    trials = faults.Trials(module_engine, ours)
    trials.design = replace(ours, worker=lambda _: fails)

    outcome = trials.count_outcomes("nothing goes wrong")

    assert (outcome["never_acknowledged"], outcome["too_low"]) == (1, 1)


def test_item_held_by_a_transaction_conflicts_with_other_writes(every):
    """The transaction holds its item while the other writes arrive, and releases the item when it ends."""
    time = Clock(0)
    network = throughput.Network(time, math.inf)
    responses: dict[str, Any] = {}

    def send(name, after_s, attempt):
        def work():
            time.sleep(after_s)
            responses[name] = network(attempt)

        return work

    time.run(
        [
            send("transaction", 0, an_attempt("TransactWriteItems", "held", "too")),
            send("update", 0.001, an_attempt("UpdateItem", "held")),
            send("transaction too", 0.001, an_attempt("TransactWriteItems", "held", "free")),
            send("elsewhere", 0.001, an_attempt("UpdateItem", "free")),
            send("afterwards", 0.01, an_attempt("UpdateItem", "held")),
        ]
    )

    assert b"TransactionConflictException" in responses["update"].content
    reasons = json.loads(responses["transaction too"].content)["CancellationReasons"]
    assert [reason["Code"] for reason in reasons] == ["TransactionConflict", "None"]
    assert [responses[name] for name in ("transaction", "elsewhere", "afterwards")] == ["done"] * 3


def test_simulated_time_ends_after_the_longest_wait():
    time = Clock(10)
    order: list[float] = []

    def wait(seconds: float) -> None:
        time.sleep(seconds)
        order.append(seconds)

    time.run([functools.partial(wait, seconds) for seconds in (0.3, 0.1, 0.2)])

    assert order == [0.1, 0.2, 0.3]
    assert time.now_s == pytest.approx(10.3)


@pytest.mark.exhaustive
def test_workers_in_simulated_time_count_the_same_each_time(module_engine):
    compared = (10,), (1, 4), (scope.OURS, scope.PACE_UNIT)

    rows, again = (throughput.measure_workers(module_engine, *compared, seconds=0.2) for _ in range(2))

    assert len(rows) == len(scope.WORKER_SPREADS) * 4
    assert all(row["a_second"] > 0 for row in rows)
    assert rows == again


def an_attempt(operation, *counter_ids, carry_out=lambda: "done"):
    updates = [{"TableName": alternatives.COUNTERS, "Key": {"counter_id": {"S": name}}} for name in counter_ids]
    is_transaction = operation == "TransactWriteItems"
    body = {"TransactItems": [{"Update": update} for update in updates]} if is_transaction else updates[0]
    return Attempt(operation, SimpleNamespace(url="http://localhost", body=json.dumps(body)), carry_out)


def fails(_bodies):
    raise RuntimeError


def without_its_last(bodies):
    events = [event for body in bodies for event in codec.decode_message(body)[0]]
    return [*codec.encode_bodies(events[:-1])]
