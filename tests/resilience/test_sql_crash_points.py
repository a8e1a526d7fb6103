"""
Every crash point of the SQL read model: each statement and commit, with each fault.

As in test_crash_points.py, `make check` runs every point and the number of points is asserted.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chalicelib.errors import UnavailableError
from chalicelib.extras.sql import read_model
from tests import sql_faults
from tests.builders import a_counter_id, an_adjustment, an_event
from tests.faults import DiedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.domain.events import Event
    from tests.sql_faults import Fault

pytestmark = pytest.mark.sample(4)

PROJECT = Path(__file__).parent.parent.parent

#: Each with whether it happens again and again.
FAULTS: dict[str, tuple[Fault, bool]] = {
    "the function dies before it": (sql_faults.die_before, True),
    "the function dies after it": (sql_faults.die_after, True),
    "a rival is met, once": (sql_faults.abort, False),
    "a rival is met, however often": (sql_faults.abort, True),
    "the connection is lost before it, once": (sql_faults.lose_connection, False),
    "the answer is lost, once": (sql_faults.lose_answer, False),
    "the answer is lost, however often": (sql_faults.lose_answer, True),
}

#: A database in a file has no connection to lose.
OF = {"sqlite": [name for name in FAULTS if "lost" not in name], "postgresql": [*FAULTS]}


@dataclass(frozen=True)
class Scenario:
    """What was counted before, what is counted then, and in how many statements and commits."""

    before: Callable[[list[Event]], list[Event]]
    events: Callable[[], list[Event]]
    steps: int


def nothing(_events):
    return []


def of_counters(number, each=1):
    def make():
        names = [a_counter_id() for _ in range(number)]
        made = [an_event(counter_id=name, by=2**n) for name in names for n in range(each)]
        return random.Random(number).sample([*made, an_adjustment(counter_id=names[0], by=-1)], len(made) + 1)

    return make


SCENARIOS = {
    "one event": Scenario(nothing, lambda: [an_event(counter_id=a_counter_id())], 3),
    "a batch of one counter": Scenario(nothing, of_counters(1, each=3), 3),
    "a batch of many counters": Scenario(nothing, of_counters(3), 3),
    "a batch that is counted in part": Scenario(lambda events: events[:2], of_counters(3), 3),
    "a batch that is counted": Scenario(lambda events: events, of_counters(3), 2),
    "a batch of several transactions": Scenario(nothing, of_counters(4, each=2), 9),
}

#: Steps of all scenarios, times the faults of each database. A change of this number is a change of what is proved.
POINTS = 23 * (4 + 7)


@pytest.fixture(autouse=True)
def small_transactions_and_few_tries(monkeypatch):
    """So that a batch of nine is several transactions, and rivals without end have one."""
    monkeypatch.setattr(read_model, "EVENTS_PER_TRANSACTION", 4)
    monkeypatch.setattr(read_model, "_TRIES", 3)


def fold(events):
    folded: dict[str, tuple[int, int]] = {}
    for event in {(event.counter_id, event.event_id): event for event in events}.values():
        value, version = folded.get(event.counter_id, (0, 0))
        folded[event.counter_id] = (value + event.by, version + 1)
    return folded


def check_meanwhile(database, events):
    """At any moment: what is counted is what is there, and nothing is there that was not recorded."""
    there = database.event_ids()

    assert there <= {(event.counter_id, event.event_id) for event in events}
    assert database.counters() == fold(event for event in events if (event.counter_id, event.event_id) in there)


def check_in_the_end(database, events):
    assert database.event_ids() == {(event.counter_id, event.event_id) for event in events}
    assert database.counters() == fold(events)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_takes_the_steps_that_are_disturbed(database, name):
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
    ("database", "fault"), [(name, fault) for name in OF for fault in OF[name]], indirect=["database"]
)
@pytest.mark.parametrize("name", SCENARIOS)
def test_at_every_step_of_a_scenario_a_fault_changes_no_total(database, name, fault):
    scenario, (happens, always) = SCENARIOS[name], FAULTS[fault]
    recorded = []

    for at in range(scenario.steps):
        events = scenario.events()
        recorded += events
        read_model.count(scenario.before(events))

        def disturb(number, step, at=at):
            is_meant = number >= at if always else number == at
            happens(step) if is_meant else step.carry_out()

        returned = True
        try:
            with sql_faults.inject(read_model.client(), disturb) as steps:
                read_model.count(events)
        except (DiedError, UnavailableError):
            returned = False
        gc.collect()  # with a function that dies, all that it holds is gone
        assert len(steps) > at
        check_meanwhile(database, recorded)
        if returned:
            check_in_the_end(database, recorded)  # nobody will deliver it again
        read_model.count(events)
        read_model.count([*events[::-1], *events])
        check_in_the_end(database, recorded)


def test_the_number_of_crash_points_is_what_it_was():
    steps = sum(scenario.steps for scenario in SCENARIOS.values())

    points = steps * sum(map(len, OF.values()))

    print(f"{points} crash points")  # noqa: T201  (for pytest -s)
    assert points == POINTS


#: Counts three events of two counters, and is gone at the step that it is told: not by an exception, which somebody
#: might catch, but as a machine takes it.
PROGRAM = """
import os, signal, sys
from chalicelib.extras.sql import read_model
from tests import sql_faults
from tests.builders import an_event
at, when = int(sys.argv[1]), sys.argv[2]
def die(number, step):
    if number == at and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    step.carry_out()
    if number == at:
        os.kill(os.getpid(), signal.SIGKILL)
events = [an_event(counter_id=name, event_id=event_id) for name, event_id in zip("aab", sys.argv[3:])]
with sql_faults.inject(read_model.client(), die):
    read_model.count(events)
"""


@pytest.mark.parametrize("database", OF, indirect=True)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", range(3))
def test_a_process_that_is_killed_leaves_all_of_a_transaction_or_nothing(database, at, when):
    events = [an_event(counter_id=name) for name in "aab"]
    ids = [event.event_id for event in events]

    killed = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(at), when, *ids], cwd=PROJECT, env=os.environ.copy(), check=False
    )

    assert killed.returncode == -signal.SIGKILL
    is_committed = (at, when) == (2, "after")
    assert database.counters() == (fold(events) if is_committed else {})
    read_model.count(events)
    check_in_the_end(database, events)
