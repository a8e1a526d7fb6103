"""What is counted for the report comes out the same again, and a broken design is found to be one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import crowding, designs, measurements, rivals, scope, spending, surviving
from chalicelib import codec
from tests.faults import Attempt

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.fixture(scope="module")
def figures():
    return measurements.read(DOCS)


@pytest.fixture
def every(the_engine):
    with designs.on(the_engine) as found:
        yield found


def test_an_increment_asks_of_aws_what_the_report_says(the_engine, figures):
    batches = (1, 10, 100)
    stored = [row for row in figures["spending"]["raw"] if row["events"] in batches]

    assert spending.measured(the_engine, batches, scope.SPREADS, lambda _: None) == stored


@pytest.mark.no_cover
@pytest.mark.parametrize("fault", surviving.FAULTS)
def test_each_design_survives_what_the_report_says(the_engine, figures, every, fault):
    found = {design.name: surviving.Trials(the_engine, design).outcome(fault) for design in every}

    assert found == {name: outcomes[fault] for name, outcomes in figures["surviving"]["raw"].items()}


def test_a_worker_that_loses_events_is_found_to_count_too_little(the_engine, every):
    (ours,) = (design for design in every if design.name == scope.OURS)
    worker = ours.worker(0)
    loses_one = designs.Design(
        "loses one",
        ours.hand_over,
        ours.queue_url,
        lambda _: lambda bodies: worker(without_its_last(bodies)),
        ours.value,
    )

    outcome = surviving.Trials(the_engine, loses_one).outcome("nothing goes wrong")

    assert outcome == {"runs": 1, "too_much": 0, "too_little": 1, "never_acknowledged": 0}


def test_a_worker_that_never_succeeds_is_found_never_to_acknowledge(the_engine, every):
    (ours,) = (design for design in every if design.name == scope.OURS)
    trials = surviving.Trials(the_engine, ours)
    trials.design = designs.Design("fails", ours.hand_over, ours.queue_url, lambda _: fails, ours.value)

    outcome = trials.outcome("nothing goes wrong")

    assert (outcome["never_acknowledged"], outcome["too_little"]) == (1, 1)


def test_what_a_transaction_holds_is_in_conflict_for_others_until_it_is_done():
    wire: Any = crowding.Wire(math.inf)
    met = []

    def others_come():
        met.append(wire(an_attempt("UpdateItem", "held")))
        met.append(wire(an_attempt("TransactWriteItems", "held", "free")))
        met.append(wire(an_attempt("UpdateItem", "free")))
        return "done"

    assert wire(an_attempt("TransactWriteItems", "held", "too", carry_out=others_come)) == "done"
    afterwards = wire(an_attempt("UpdateItem", "held"))

    assert b"TransactionConflictException" in met[0].content
    reasons = json.loads(met[1].content)["CancellationReasons"]
    assert [reason["Code"] for reason in reasons] == ["TransactionConflict", "None"]
    assert (met[2], afterwards) == ("done", "done")
    assert (wire.requests, wire.conflicts) == (5, 2)


def test_one_worker_and_several_count_with_either_design(the_engine):
    crowd = crowding.Crowd((10,), (1, 4), (scope.OURS, scope.PACE_UNIT), 0.2)

    rows = crowding.measured(the_engine, crowd, lambda _: None)

    assert len(rows) == crowd.runs
    assert all(row["a_second"] > 0 and row["requests"] > 0 for row in rows)


def an_attempt(operation, *counter_ids, carry_out=lambda: "done"):
    updates = [{"TableName": rivals.COUNTERS, "Key": {"counter_id": {"S": name}}} for name in counter_ids]
    is_transaction = operation == "TransactWriteItems"
    body = {"TransactItems": [{"Update": update} for update in updates]} if is_transaction else updates[0]
    return Attempt(operation, SimpleNamespace(url="http://localhost", body=json.dumps(body)), carry_out)


def fails(_bodies):
    raise RuntimeError


def without_its_last(bodies):
    events = [event for body in bodies for event in codec.from_message(body)[0]]
    return [*codec.to_messages(events[:-1])]
