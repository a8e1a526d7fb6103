"""Verify and rebuild: each kind of damage is found by name and repaired in place, whatever happens meanwhile."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib import settings
from chalicelib.domain.archive import RECENT_MAX
from chalicelib.domain.counter import PartKey
from chalicelib.domain.entries import encode_page, entry_of
from chalicelib.errors import UnavailableError
from chalicelib.extras.verification import comparison
from chalicelib.extras.verification import report as kinds
from chalicelib.extras.verification.comparison import Comparison
from chalicelib.extras.verification.repair import repair, repair_all
from chalicelib.read_model import queries, store, writer
from tests import faults
from tests.building import A_TIME_MS, an_event, message_body
from tests.proof import scheduler
from tests.proof.invariant import Watcher
from tests.proof.read_model_damage import DAMAGES, PAGES, WRONG, Stage

if TYPE_CHECKING:
    from chalicelib.extras.verification.report import Report
    from tests.faults import Attempt, Fault

pytestmark = pytest.mark.usefixtures("no_waits")

READS = {"GetItem", "Query", "Scan", "BatchGetItem"}

#: Faults of each request, and those of writes only: a read that is lost on the way was none.
FAULTS_OF_READS: list[Fault] = [faults.dies_before, faults.never_arrives]
FAULTS_OF_WRITES: list[Fault] = [
    *FAULTS_OF_READS,
    faults.dies_after,
    faults.loses_its_answer,
    faults.exceeds_the_throughput,
    faults.meets_a_transaction,
]


@pytest.fixture(params=[1, 4])
def shards(request, monkeypatch):
    """Counters of one part, and of four."""
    monkeypatch.setenv("SHARDS", str(request.param))
    settings.current.cache_clear()
    yield request.param
    monkeypatch.undo()
    settings.current.cache_clear()


def readings(stage, *, is_whole=False):
    return comparison.everything(2) if is_whole else comparison.some([stage.counter_id])


def verified(stage, *, is_whole=False) -> Report:
    return comparison.verify(readings(stage, is_whole=is_whole), lag_s=0, waits=False)


def rebuilt(stage, *, is_whole=False):
    """Repair, and return the numbers of what was corrected."""
    with Comparison() as found:
        found.read(readings(stage, is_whole=is_whole))
        repaired = repair_all(found)
    assert repaired.unsettled == set()
    return dict(repaired.corrected)


def empty(engine) -> None:
    """Remove what other tests left in the tables."""
    client, names = engine.client("dynamodb"), settings.current()
    tables = {
        names.event_log_table: ("partition", "event_id"),
        names.counters_table: ("counter_id", "part"),
        names.archive_table: ("partition", "end"),
    }
    for table, key in tables.items():
        for page in client.get_paginator("scan").paginate(TableName=table):
            for item in page["Items"]:
                client.delete_item(TableName=table, Key={name: item[name] for name in key})


def damaged(engine, name):
    """Return a stage with this damage; the only one if it takes the whole stage to find it."""
    if DAMAGES[name].is_whole:
        empty(engine)
    stage = Stage(engine, random.Random(name))
    DAMAGES[name].make(stage)
    return stage


def check_is_right(stage, log) -> None:
    """Check that everything is as the log says, and that the log is what it was."""
    assert dict(verified(stage).numbers) == {}
    Watcher(stage.engine.client, stage.counter_id).check_in_the_end()
    state = queries.counter(stage.counter_id)
    assert (state.value, state.version) == (sum(event.by for event in stage.events), len(stage.events))
    assert (state.updated_at_ms is None) == (not stage.events)
    assert stage.logged() == log


class Observer:
    """Lets requests pass, and notes the value that a query would see after each."""

    def __init__(self, stage, gate=faults.carried_out) -> None:
        self.stage = stage
        self.gate = gate
        self.values = [stage.value()]
        self.operations: list[str] = []

    def __call__(self, attempt: Attempt) -> Any:
        self.operations.append(attempt.operation)
        try:
            return self.gate(attempt)
        finally:
            if attempt.operation not in READS:
                self.values.append(self.stage.value())

    def check(self, damage) -> None:
        """Check that queries saw the old number, then the right one; or numbers that rise to the right one."""
        right = sum(event.by for event in self.stage.events)
        seen = [value for value in self.values if value is not None]
        if damage.rises:
            assert seen == sorted(seen)
            assert all(value <= right for value in seen)
        else:
            assert set(seen) <= {self.values[0], right}
            assert len([1 for before, after in zip(seen, seen[1:], strict=False) if before != after]) <= 1


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_and_repaired_at_the_first_run(engine, shards, name):
    damage = DAMAGES[name]
    stage = damaged(engine, name)
    log = stage.logged()

    before = dict(verified(stage, is_whole=damage.is_whole).numbers)
    engine.gate = observer = Observer(stage)
    corrected = rebuilt(stage, is_whole=damage.is_whole)
    engine.gate = faults.carried_out

    assert before == damage.found
    assert corrected.keys() == damage.found.keys()
    observer.check(damage)
    check_is_right(stage, log)
    assert rebuilt(stage, is_whole=damage.is_whole) == {}


def test_a_sound_read_model_is_not_written_by_a_rebuild(engine):
    stage = Stage(engine, random.Random(1))
    engine.gate = observer = Observer(stage)

    differences = verified(stage).numbers
    corrected = rebuilt(stage)

    engine.gate = faults.carried_out
    assert (dict(differences), corrected) == ({}, {})
    assert set(observer.operations) <= READS


def test_damage_of_several_kinds_at_once_is_repaired(engine):
    """Pages are lost and damaged, entries are wrong, and the totals, too."""
    stage = Stage(engine, random.Random(2))
    stage.delete_page(0)
    stage.put_page([*stage.page(1)[1:], entry_of(stage.event(45, by=WRONG))])
    stage.put_page(stage.page(2), entries={"B": b"zz"})
    stage.put_item([stage.recent[0], entry_of(stage.event(1000, by=WRONG))], **stage.totals(77, 5))
    log = stage.logged()

    rebuilt(stage)

    check_is_right(stage, log)


#: One of each way in which damage is repaired: others differ only in what is wrong with an attribute.
CUT_OFF = [name for name in DAMAGES if " is {" not in name and " is None" not in name and "page's" not in name] + [
    "value is None",
    "recent is {'BS': [b'zz']}",
    "a page's entries are not sorted",
]

#: Requests of all repairs, each with its faults. A change of this number is a change of what is proved.
POINTS = 1334


def faults_of(operation):
    return FAULTS_OF_READS if operation in READS else FAULTS_OF_WRITES


def requests_of_repair(engine, name):
    """Return the operations of an undisturbed rebuild."""
    stage = damaged(engine, name)
    disturbance = faults.Disturbance(None, faults.carried_out, every_attempt=False)
    engine.gate = observer = Observer(stage, disturbance)
    rebuilt(stage, is_whole=DAMAGES[name].is_whole)
    engine.gate = faults.carried_out
    return observer.operations


@pytest.mark.no_cover
@pytest.mark.parametrize("name", CUT_OFF)
def test_a_rebuild_cut_off_at_any_request_is_finished_by_another(engine, name):
    damage = DAMAGES[name]
    for at, operation in enumerate(requests_of_repair(engine, name)):
        for fault in faults_of(operation):
            stage = damaged(engine, name)
            log = stage.logged()
            engine.gate = observer = Observer(stage, faults.Disturbance(at, fault, every_attempt=True))
            try:
                rebuilt(stage, is_whole=damage.is_whole)
            except (faults.DiedError, UnavailableError):
                pass
            finally:
                engine.gate = faults.carried_out
            observer.check(damage)

            rebuilt(stage, is_whole=damage.is_whole)

            check_is_right(stage, log)


def test_the_number_of_crash_points_of_repairs_is_asserted(engine):
    points = sum(len(faults_of(each)) for name in CUT_OFF for each in requests_of_repair(engine, name))

    print(f"{points} crash points of repairs")  # noqa: T201  (for pytest -s)
    assert points == POINTS
