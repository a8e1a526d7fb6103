"""
Test every crash point of the SQL read model: each statement and commit, with each fault.

As in test_crash_points.py, `make check` runs every point and the number of points is asserted.
"""

import gc
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from chalicelib.domain.events import Event
from chalicelib.errors import UnavailableError
from chalicelib.extras.sql import read_model
from testkit.builders import a_counter_id, an_adjustment, an_event
from testkit.faults import DiedError
from tests import sql_faults
from tests.sql_faults import Fault

pytestmark = pytest.mark.sample(4)

PROJECT = Path(__file__).parent.parent.parent

#: The faults by name, and whether a fault recurs at every later step.
FAULTS: dict[str, tuple[Fault, bool]] = {
    "the function dies before it": (sql_faults.die_before, True),
    "the function dies after it": (sql_faults.die_after, True),
    "a conflict, once": (sql_faults.abort, False),
    "a conflict at every step": (sql_faults.abort, True),
    "the connection is lost before it, once": (sql_faults.lose_connection, False),
    "the answer is lost, once": (sql_faults.lose_answer, False),
    "the answer is lost at every step": (sql_faults.lose_answer, True),
}

#: A database in a file has no connection to lose.
FAULTS_BY_DATABASE = {"sqlite": [name for name in FAULTS if "lost" not in name], "postgresql": [*FAULTS]}


@dataclass(frozen=True)
class Scenario:
    """Events to count, the events among them that were counted before, and the number of statements and commits."""

    before: Callable[[list[Event]], list[Event]]
    events: Callable[[], list[Event]]
    steps: int


def no_events(_events):
    return []


def make_batch_builder(number, each=1):
    """Return a function that builds a shuffled batch: increments of each counter, and an adjustment of the first."""

    def build():
        names = [a_counter_id() for _ in range(number)]
        increments = [an_event(counter_id=name, by=2**n) for name in names for n in range(each)]
        return random.Random(number).sample(
            [*increments, an_adjustment(counter_id=names[0], by=-1)], len(increments) + 1
        )

    return build


SCENARIOS = {
    "one event": Scenario(no_events, lambda: [an_event(counter_id=a_counter_id())], 3),
    "a batch of one counter": Scenario(no_events, make_batch_builder(1, each=3), 3),
    "a batch of many counters": Scenario(no_events, make_batch_builder(3), 3),
    "a batch that is counted in part": Scenario(lambda events: events[:2], make_batch_builder(3), 3),
    "a batch that is counted": Scenario(lambda events: events, make_batch_builder(3), 2),
    "a batch of several transactions": Scenario(no_events, make_batch_builder(4, each=2), 9),
}

#: Steps of all scenarios, times the faults of each database. A different number means different coverage.
POINTS = 23 * (4 + 7)


@pytest.fixture(autouse=True)
def small_transactions_and_few_attempts(monkeypatch):
    """Split a batch of nine into several transactions, and give up a recurring conflict after three attempts."""
    monkeypatch.setattr(read_model, "EVENTS_PER_TRANSACTION", 4)
    monkeypatch.setattr(read_model, "_TRIES", 3)


def fold(events):
    """Return the value and the version of each counter after these events, each counted once."""
    folded: dict[str, tuple[int, int]] = {}
    for event in {(event.counter_id, event.event_id): event for event in events}.values():
        value, version = folded.get(event.counter_id, (0, 0))
        folded[event.counter_id] = (value + event.by, version + 1)
    return folded


def check_meanwhile(database, events):
    """Check that the totals match the stored events, and that each stored event was recorded."""
    stored = database.event_ids()

    assert stored <= {(event.counter_id, event.event_id) for event in events}
    assert database.counters() == fold(event for event in events if (event.counter_id, event.event_id) in stored)


def check_in_the_end(database, events):
    """Check that each event is stored, and counted once."""
    assert database.event_ids() == {(event.counter_id, event.event_id) for event in events}
    assert database.counters() == fold(events)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_without_fault_takes_the_expected_steps(database, name):
    scenario = SCENARIOS[name]
    events = scenario.events()
    read_model.count(scenario.before(events))

    with sql_faults.inject(read_model.client(), lambda _, step: step.carry_out()) as steps:
        read_model.count(events)

    assert len(steps) == scenario.steps
    check_in_the_end(database, events)


@pytest.mark.sample(6)
@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("database", "fault"),
    [(name, fault) for name in FAULTS_BY_DATABASE for fault in FAULTS_BY_DATABASE[name]],
    indirect=["database"],
)
@pytest.mark.parametrize("name", SCENARIOS)
def test_fault_at_any_step_changes_no_total(database, name, fault):
    scenario, (cause, recurs) = SCENARIOS[name], FAULTS[fault]
    recorded = []

    for position in range(scenario.steps):
        events = scenario.events()
        recorded += events
        read_model.count(scenario.before(events))

        def disturb(number, step, position=position):
            is_due = number >= position if recurs else number == position
            cause(step) if is_due else step.carry_out()

        returned = True
        try:
            with sql_faults.inject(read_model.client(), disturb) as steps:
                read_model.count(events)
        except (DiedError, UnavailableError):
            returned = False
        gc.collect()  # a function that dies loses its connections
        assert len(steps) > position
        check_meanwhile(database, recorded)
        if returned:
            check_in_the_end(database, recorded)  # the queue will not deliver the messages again
        read_model.count(events)
        read_model.count([*events[::-1], *events])
        check_in_the_end(database, recorded)


def test_number_of_crash_points_is_unchanged():
    steps = sum(scenario.steps for scenario in SCENARIOS.values())

    points = steps * sum(map(len, FAULTS_BY_DATABASE.values()))

    print(f"{points} crash points")  # noqa: T201  (for pytest -s)
    assert points == POINTS


#: A program that counts three events of two counters, and kills itself before or after the given step. Code could catch
#: an exception, but not this signal.
PROGRAM = """
import os, signal, sys
from chalicelib.extras.sql import read_model
from tests import sql_faults
from testkit.builders import an_event
position, when = int(sys.argv[1]), sys.argv[2]
def die(number, step):
    if number == position and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    step.carry_out()
    if number == position:
        os.kill(os.getpid(), signal.SIGKILL)
events = [an_event(counter_id=name, event_id=event_id) for name, event_id in zip("aab", sys.argv[3:])]
with sql_faults.inject(read_model.client(), die):
    read_model.count(events)
"""


@pytest.mark.parametrize("database", FAULTS_BY_DATABASE, indirect=True)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("position", range(3))
def test_killed_process_leaves_a_whole_transaction_or_none(database, position, when):
    events = [an_event(counter_id=name) for name in "aab"]
    ids = [event.event_id for event in events]

    killed = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(position), when, *ids], cwd=PROJECT, env=os.environ.copy(), check=False
    )

    assert killed.returncode == -signal.SIGKILL
    is_committed = (position, when) == (2, "after")
    assert database.counters() == (fold(events) if is_committed else {})
    read_model.count(events)
    check_in_the_end(database, events)
