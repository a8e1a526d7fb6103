"""Test that verify reports each kind of damage by name, and that rebuild repairs it in place."""

import itertools
import random
from functools import partial
from typing import Any

import pytest

from chalicelib.domain.archive import RECENT_MAX
from chalicelib.domain.counter import PartKey
from chalicelib.domain.entries import encode_page, make_entry
from chalicelib.errors import UnavailableError
from chalicelib.extras.verification import report as kinds
from chalicelib.extras.verification.part_comparison import select_all, select_counters, select_parts
from chalicelib.extras.verification.repair import repair, repair_all
from chalicelib.extras.verification.report import Report
from chalicelib.read_model import queries, store, writer
from testkit import faults, scheduler
from testkit.builders import A_TIME_MS, message_body
from testkit.faults import Attempt, Fault
from tests.comparisons import stage_parts, verify_parts
from tests.environments import environment
from tests.resilience.invariant import Watcher
from tests.resilience.read_model_damage import DAMAGES, WRONG, Stage, empty_tables

pytestmark = pytest.mark.usefixtures("no_waits")

READS = {"GetItem", "Query", "Scan", "BatchGetItem"}

#: Faults of reads, and faults of writes. For a read, a lost response is like a lost request.
FAULTS_OF_READS: list[Fault] = [faults.die_before, faults.drop_request]
FAULTS_OF_WRITES: list[Fault] = [
    *FAULTS_OF_READS,
    faults.die_after,
    faults.lose_answer,
    faults.exceed_throughput,
    faults.meet_transaction,
]


@pytest.fixture(params=[1, 4])
def shards(request):
    """Set SHARDS to 1, then to 4."""
    with environment(SHARDS=str(request.param)):
        yield request.param


def scope_of(stage, *, is_whole=False):
    return select_all(2) if is_whole else select_counters([stage.counter_id])


def verified(stage, *, is_whole=False) -> Report:
    return verify_parts(scope_of(stage, is_whole=is_whole), lag_s=0, waits=False)


def rebuilt(stage, *, is_whole=False):
    """Repair, and return the numbers of corrections by kind."""
    with stage_parts(scope_of(stage, is_whole=is_whole)) as comparison:
        repaired = repair_all(comparison)
    assert repaired.failed == {}
    return dict(repaired.corrected)


def damaged(engine, name):
    """Return a stage with this damage, in empty tables if only a comparison of the whole stage finds the damage."""
    if DAMAGES[name].is_whole:
        empty_tables(engine)
    stage = Stage(engine, random.Random(name))
    DAMAGES[name].make(stage)
    return stage


def check_is_right(stage, log) -> None:
    """Check that the read model matches the log, and that the log is unchanged."""
    assert dict(verified(stage).numbers) == {}
    Watcher(stage.engine.client, stage.counter_id).check_in_the_end()
    state = queries.get_counter(stage.counter_id)
    assert (state.value, state.version) == (sum(event.by for event in stage.events), len(stage.events))
    assert (state.updated_at_ms is None) == (not stage.events)
    assert stage.logged() == log


class Observer:
    """An observer that carries out requests, and records the value that a query would see after each write."""

    def __init__(self, stage, gate=faults.no_fault) -> None:
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
        """Check that queries saw the old value and then the right one, or values that rise to the right one."""
        right = sum(event.by for event in self.stage.events)
        seen = [value for value in self.values if value is not None]
        if damage.rises:
            assert seen == sorted(seen)
            assert all(value <= right for value in seen)
        else:
            assert set(seen) <= {self.values[0], right}
            assert len([1 for before, after in itertools.pairwise(seen) if before != after]) <= 1


@pytest.mark.sample(30)
@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_and_repaired_at_the_first_run(engine, shards, name):
    damage = DAMAGES[name]
    stage = damaged(engine, name)
    log = stage.logged()

    before = dict(verified(stage, is_whole=damage.is_whole).numbers)
    engine.gate = observer = Observer(stage)
    corrected = rebuilt(stage, is_whole=damage.is_whole)
    engine.gate = faults.no_fault

    assert before == damage.found
    assert corrected.keys() == damage.found.keys()
    observer.check(damage)
    check_is_right(stage, log)
    assert rebuilt(stage, is_whole=damage.is_whole) == {}


def test_rebuild_does_not_write_to_a_correct_read_model(engine):
    stage = Stage(engine, random.Random(1))
    engine.gate = observer = Observer(stage)

    differences = verified(stage).numbers
    corrected = rebuilt(stage)

    engine.gate = faults.no_fault
    assert (dict(differences), corrected) == ({}, {})
    assert set(observer.operations) <= READS


def test_damage_of_several_kinds_at_once_is_repaired(engine):
    """Pages are lost or damaged, and both entries and totals are wrong."""
    stage = Stage(engine, random.Random(2))
    stage.delete_page(0)
    stage.put_page([*stage.page(1)[1:], make_entry(stage.event(45, by=WRONG))])
    stage.put_page(stage.page(2), entries={"B": b"zz"})
    stage.put_item([stage.recent[0], make_entry(stage.event(1000, by=WRONG))], **stage.totals(77, 5))
    log = stage.logged()

    rebuilt(stage)

    check_is_right(stage, log)


#: One damage for each kind of repair. The other damages differ only in the wrong attribute.
CUT_OFF = [name for name in DAMAGES if " is {" not in name and " is None" not in name and "page's" not in name] + [
    "value is None",
    "recent is {'BS': [b'zz']}",
    "a page's entries are not sorted",
]

#: Requests of all repairs, each with its faults. A different number means different coverage.
POINTS = 1790


def faults_of(operation):
    return FAULTS_OF_READS if operation in READS else FAULTS_OF_WRITES


def requests_of_repair(engine, name):
    """Return the operations of an undisturbed rebuild."""
    stage = damaged(engine, name)
    disturbance = faults.Disturbance(None, faults.no_fault, every_attempt=False)
    engine.gate = observer = Observer(stage, disturbance)
    rebuilt(stage, is_whole=DAMAGES[name].is_whole)
    engine.gate = faults.no_fault
    return observer.operations


@pytest.mark.sample(1)
@pytest.mark.no_cover
@pytest.mark.parametrize("name", CUT_OFF)
def test_rebuild_cut_off_at_any_request_is_finished_by_the_next(engine, name):
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
                engine.gate = faults.no_fault
            observer.check(damage)

            rebuilt(stage, is_whole=damage.is_whole)

            check_is_right(stage, log)


@pytest.mark.exhaustive
def test_number_of_crash_points_of_repairs_is_asserted(engine):
    points = sum(len(faults_of(each)) for name in CUT_OFF for each in requests_of_repair(engine, name))

    print(f"{points} crash points of repairs")  # noqa: T201  (for pytest -s)
    assert points == POINTS


def fresh(stage):
    """Return events that are later than all others and not counted yet."""
    return [stage.event(2000 + ms) for ms in range(2)]


def late(stage):
    """Return an event that belongs to the second page."""
    return [stage.event(45)]


def archiving(stage):
    """Return enough new events that counting them archives entries."""
    return [stage.event(2000 + ms) for ms in range(RECENT_MAX)]


def duplicates(stage):
    """Return no new events: the worker redelivers events that were counted before the damage."""
    return []


#: The events that a worker counts next to the repair, and the damage that is repaired.
NEXT_TO = {"fresh events": fresh, "a late event": late, "a batch that archives": archiving, "duplicates": duplicates}
MET = [
    "the value is too high",
    "the first page is lost",
    "a recent entry has no event",
    "an entry in a page has another amount",
    "the item is lost",
    "there are no events",
]
#: The number of random orders of each other case.
ORDERS = 15

#: The maximum number of schedules of one case.
MOST = 100


def repair_alone(stage):
    """Compare and repair one part in this thread, as `rebuild` does it in several."""
    key = PartKey(stage.counter_id, stage.part)
    with stage_parts(select_parts([key])) as comparison:
        return repair(comparison.db, key)


def next_to(engine, damage, worker_of):
    """Return a function that runs a repair next to a worker in one order of their requests, and checks the outcome."""

    def run_with(choose):
        stage = damaged(engine, damage)
        new = NEXT_TO[worker_of](stage)
        stage.log(new)
        stage.events += new
        delivered = new or [stage.events[1], stage.events[6], stage.events[-1]]

        def work():
            try:
                return writer.count(delivered)
            except UnavailableError as error:  # the worker met damage, so the queue delivers again
                return error

        ran = scheduler.run(engine, {"repair": lambda: repair_alone(stage), "worker": work}, choose)

        assert not isinstance(ran.results["repair"], Exception), ran.results
        if isinstance(ran.results["worker"], Exception):
            assert isinstance(ran.results["worker"], UnavailableError)
            writer.count(delivered)
        check_is_right(stage, stage.logged())
        return ran

    return run_with


@pytest.mark.sample(1)
@pytest.mark.no_cover
@pytest.mark.parametrize("damage", MET)
def test_repair_next_to_a_worker_is_correct_in_every_order(engine, damage):
    orders = scheduler.all_schedules(next_to(engine, damage, "fresh events"), MOST)

    print(f"{orders} orders")  # noqa: T201  (for pytest -s)
    assert orders > 1


@pytest.mark.sample(1)
@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("damage", "worker"),
    [
        (damage, worker)
        for damage in MET
        for worker in ("a late event", "a batch that archives", "duplicates")
        if (damage, worker) != ("there are no events", "duplicates")  # without events, there are no duplicates
    ],
)
def test_repair_next_to_a_worker_is_correct_in_random_orders(engine, damage, worker):
    """The requests of a worker that makes several can be mixed with a repair in thousands of orders."""
    for seed in range(ORDERS):
        chance = random.Random(seed)
        # Some orders are evenly mixed. In others, one of the two gets far ahead.
        bias = chance.random()

        next_to(engine, damage, worker)(lambda number, c=chance, b=bias: int(c.random() < b) if number == 2 else 0)


#: The number of random orders of a repair of random damage with several workers, clients and other repairs.
SEEDS = 300


def random_worker(pipeline, stage, chance):
    """Return a random action of a worker or client next to a repair."""
    kind = chance.choice(["project", "project", "swap", "add", "repair"])
    number = chance.randint(1, 5)
    new = [stage.event(chance.choice([5, 45, 1500, 3000]) + at) for at in range(number)]
    if chance.random() < 0.2:
        new += archiving(stage)
    again = chance.sample(stage.events, min(len(stage.events), chance.randint(0, 4)))
    version = len(stage.events) + chance.choice([0, 0, 1])
    match kind:
        case "project":
            stage.log(new)
            stage.events += new
            return lambda: pipeline.project([message_body(*new, *again)])
        case "swap":
            return lambda: pipeline.increment({"by": 3}, If_Match=f'"{version}"')
        case "add":
            return lambda: pipeline.increment({"by": 3}, Prefer="return=representation")
    return lambda: repair_alone(stage)


@pytest.mark.sample(1)
@pytest.mark.no_cover
@pytest.mark.parametrize("tens", range(SEEDS // 10))
def test_repair_next_to_random_workers_is_correct(engine, new_pipeline, tens):
    names = [name for name in DAMAGES if not DAMAGES[name].is_whole and kinds.STRAY not in DAMAGES[name].found]
    for seed in range(tens * 10, tens * 10 + 10):
        chance = random.Random(seed)
        name = chance.choice(names)
        pipeline = new_pipeline(seed)
        stage = Stage(engine, chance, pipeline.counter_id)
        DAMAGES[name].make(stage)
        pipeline.new_records()  # the events of the stage are counted, unless the damage removed them
        workers: dict[str, Any] = {"repair": partial(repair_alone, stage)}
        workers |= {f"worker {n}": random_worker(pipeline, stage, chance) for n in range(chance.randint(1, 3))}

        ran = scheduler.run(engine, workers, chance.randrange)

        unexpected = [
            result
            for result in ran.results.values()
            if isinstance(result, Exception) and not isinstance(result, UnavailableError)
        ]
        assert unexpected == [], (seed, name, ran.schedule)
        repair_alone(stage)
        pipeline.deliver()
        Watcher(engine.client, stage.counter_id).check_in_the_end()
        assert dict(verified(stage).numbers) == {}, (seed, name, ran.schedule)


@pytest.mark.exhaustive
def test_thirty_differences_among_thousands_of_events_are_repaired(engine):
    """The pages of 3,000 events lack 10 entries, have 10 entries too many, and have 10 entries with other amounts."""
    chance = random.Random(3000)
    stage = Stage(engine, chance)
    more = [stage.event(1000 + 10 * at) for at in range(3000 - len(stage.events))]
    stage.log(more)
    stage.events += more
    for start in range(0, len(more), 500):
        writer.count(more[start : start + 500])
    key = PartKey(stage.counter_id)
    pages = chance.sample(store.read_pages(key, 0, 200), 15)
    extra = 0
    for number, page in enumerate(pages):
        entries: list[Any] = list(page.entries)
        for at in chance.sample(range(len(entries) - 1), 2):
            match number // 5:
                case 0:
                    extra -= entries[at].amount
                    entries[at] = None
                case 1:
                    entries.append(make_entry(stage.event(entries[at].recorded_at_ms - A_TIME_MS + 1, by=WRONG)))
                    extra += WRONG
                case _:
                    extra += WRONG - entries[at].amount
                    entries[at] = entries[at]._replace(amount=WRONG)
        kept = sorted(entry for entry in entries if entry)
        changes = {"start": {"N": str(page.start_ms)}, "revision": {"N": str(page.revision + 1)}}
        stage.put_page(kept, page.end_ms, entries={"B": encode_page(kept)}, **changes)
    assert extra
    log = stage.logged()

    before = dict(verified(stage).numbers)
    engine.gate = observer = Observer(stage)
    corrected = rebuilt(stage)
    engine.gate = faults.no_fault

    found = {kinds.UNCOUNTED: 20, kinds.UNKNOWN: 10, kinds.DIFFERENT: 10}
    assert {kind: before[kind] for kind in found} == found
    assert {kind: corrected[kind] for kind in found} == found
    assert set(observer.values) == {sum(event.by for event in stage.events)}
    check_is_right(stage, log)
    assert rebuilt(stage) == {}
