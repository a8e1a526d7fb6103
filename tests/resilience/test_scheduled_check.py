"""
The scheduled check covers each event and counter within a bounded number of runs.

The budget of a run is small here, so that a counter of a few dozen events exceeds it.
"""

import itertools
import json
import random
from math import ceil
from typing import Any

import pytest

import app
from chalicelib import settings
from chalicelib.domain.counter import PartKey
from chalicelib.errors import QueueUnavailableError, UnavailableError
from chalicelib.extras.verification import checkpoint, repair, scheduled_check
from chalicelib.extras.verification import report as kinds
from chalicelib.extras.verification.part_comparison import select_all
from chalicelib.read_model import queries, store, writer
from testkit import aws_requests, faults, scheduler
from testkit.builders import A_TIME_MS, a_counter_id, a_scheduled_turn, an_event
from tests.comparisons import stage_parts, verify_parts
from tests.environments import environment
from tests.resilience.invariant import Watcher
from tests.resilience.read_model_damage import empty_tables

pytestmark = pytest.mark.usefixtures("no_waits", "empty")

#: A time by which no event of a test can still be in flight.
NOW_S = 1_900_000_000

HOUR_S = 3600

#: The approximate number of events in 4 KB, which cost one read unit.
EVENTS_PER_UNIT = 20


@pytest.fixture
def empty(engine):
    """Empty the tables, because the check walks through all items."""
    empty_tables(engine)


@pytest.fixture
def budget():
    """Let a run read 20 events, which is the least that can be set."""
    with environment(CHECK_EVENTS="20"):
        yield 20


@pytest.fixture
def larger_budget():
    with environment(CHECK_EVENTS="2000"):
        yield 2000


def logged(pipeline, number, counter_id=None, first_ms=0):
    name = counter_id or pipeline.counter_id
    events = [
        an_event(counter_id=name, by=pipeline.chance.randint(1, 9), recorded_at_ms=A_TIME_MS + first_ms + 10 * at)
        for at in range(number)
    ]
    pipeline.log(events)
    return events


def counted(pipeline, number, counter_id=None):
    events = logged(pipeline, number, counter_id)
    writer.count(events)
    return events


def runs_of_log(events, budget):
    """Return the maximum number of runs of a walk over the log: one for each batch, and one to find the end."""
    return ceil(events / min(1000, budget // 2)) + 1


def runs_of_counters(budget, *versions):
    """Return the maximum number of runs of a walk over these counters: one per counter or page, and one for the end."""
    pages = [ceil(version / 30) if version > budget // 2 - 2 * EVENTS_PER_UNIT else 0 for version in versions]
    return sum(1 + of_one for of_one in pages) + 1


def run(number):
    """Run the check this many times, once an hour, and return the results."""
    return [scheduled_check.check(NOW_S + hour * HOUR_S) for hour in range(number)]


def drift(capsys):
    """Return the counter and the kind of each reported difference."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {(line["counter_id"], line["kind"]) for line in lines if line.get("message") == "drift"}


def change_item(engine, counter_id, **changes):
    names = {f"#{name}": name for name in changes}
    engine.client("dynamodb").update_item(
        TableName=settings.current().counters_table,
        Key={"counter_id": {"S": counter_id}, "part": {"N": "0"}},
        UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in changes),
        ExpressionAttributeNames=names,
        ExpressionAttributeValues={f":{name}": value for name, value in changes.items()},
    )


def check_counted(engine, events_by_counter):
    for counter_id, events in events_by_counter.items():
        state = queries.get_counter(counter_id)
        assert (state.value, state.version) == (sum(event.by for event in events), len(events))
        Watcher(engine.client, counter_id).check_in_the_end()


def test_events_of_a_counter_without_item_are_counted_in_bounded_runs(engine, pipeline, budget, capsys):
    """25 commands are recorded while the event source of `publish` is disabled, so the counter has no item yet."""
    for _ in range(25):
        assert pipeline.increment().status == 202
    sound = {name: counted(pipeline, 12, name) for name in (a_counter_id() for _ in range(3))}

    checked = run(runs_of_log(25 + 36, budget))

    assert pipeline.version == 25
    assert sum(each.repaired for each in checked) == 25
    assert max(each.oldest_s for each in checked) > 900
    assert drift(capsys) == set()
    check_counted(engine, sound)


def test_events_of_a_counter_larger_than_the_budget_are_counted(engine, pipeline, budget, capsys):
    """100 events of a counter are not counted; those before and after them are."""
    events = counted(pipeline, 60) + logged(pipeline, 100, first_ms=600)
    late = logged(pipeline, 5, first_ms=3)
    writer.count(late)
    more = logged(pipeline, 40, first_ms=5000)
    writer.count(more)

    checked = run(runs_of_log(205, budget))

    assert sum(each.repaired for each in checked) == 100
    assert drift(capsys) == set()
    check_counted(engine, {pipeline.counter_id: [*events, *late, *more]})


def test_more_counters_than_the_budget_are_all_counted(engine, pipeline, budget):
    lost = {name: logged(pipeline, 1, name) for name in (a_counter_id() for _ in range(60))}

    checked = run(runs_of_log(60, budget))

    assert sum(each.repaired for each in checked) == 60
    check_counted(engine, lost)


def test_differences_of_all_counters_are_reported_in_bounded_runs(engine, pipeline, budget, capsys):
    """Small and large counters all have a wrong value, and the item of one counter is damaged."""
    sizes = [3, 90, 5, 200, 1, 40, 150]
    names = [a_counter_id() for _ in sizes]
    for name, size in zip(names, sizes, strict=True):
        counted(pipeline, size, name)
        change_item(engine, name, value={"N": "1000000"})
    damaged = a_counter_id()
    counted(pipeline, 50, damaged)
    change_item(engine, damaged, value={"S": "x"})

    checked = run(runs_of_counters(budget, *sizes, 50))

    assert {(name, kinds.TOO_HIGH) for name in names} <= drift(capsys)
    assert sum(each.drift for each in checked) >= len(names) + 1
    assert queries.get_counter(names[0]).value == 1_000_000


@pytest.mark.exhaustive
def test_small_counters_are_compared_event_by_event(engine, pipeline, larger_budget, capsys):
    """An entry without an event is found even if the counter's totals match its entries."""
    names = [a_counter_id() for _ in range(30)]
    for name in names:
        counted(pipeline, 45, name)
    writer.count([an_event(counter_id=name, by=7) for name in names])  # which are not in the log

    of_one = 46 + 2 * EVENTS_PER_UNIT
    run(ceil(30 * of_one / (larger_budget // 2 - of_one)) + 1)

    assert drift(capsys) == {(name, kinds.UNKNOWN) for name in names}


@pytest.mark.exhaustive
@pytest.mark.parametrize("version", ["0", "1000000"])
def test_wrong_version_does_not_hide_counters(engine, pipeline, larger_budget, capsys, version):
    """The version determines how much is read. A wrong version neither stops the walk nor goes unnoticed."""
    name = pipeline.counter_id
    counted(pipeline, 1500)
    change_item(engine, name, version={"N": version})
    others = {other: counted(pipeline, 3, other) for other in (a_counter_id() for _ in range(5))}
    for other in others:
        change_item(engine, other, value={"N": "1000000"})

    run(1 + len(others) + 1)

    assert drift(capsys) == {(name, kinds.WRONG_VERSION), *((other, kinds.TOO_HIGH) for other in others)}


@pytest.mark.exhaustive
def test_a_walk_resumes_inside_a_large_counter(pipeline, budget):
    """A walk over the log reads each event exactly once."""
    counted(pipeline, 205)

    events = []
    for hour in range(runs_of_log(205, budget)):
        events.append(scheduled_check.check(NOW_S + hour * HOUR_S).events)
        if not checkpoint.load("check")["walks"]["log"]:
            break

    assert sum(events) == 205
    assert max(events) == budget // 2


def test_pages_of_a_large_counter_are_read_once_in_a_walk(pipeline, budget):
    for first_ms in range(0, 8000, 400):
        writer.count(logged(pipeline, 40, first_ms=first_ms))
    pages = store.read_pages(PartKey(pipeline.counter_id), 0, 100)

    with aws_requests.record() as requests:
        for hour in range(runs_of_counters(budget, 800)):
            scheduled_check.check(NOW_S + hour * HOUR_S)
            if not checkpoint.load("check")["walks"]["large"]:
                break

    archive = settings.current().archive_table
    from_ms = [
        int(made["ExpressionAttributeValues"][":1"]["N"])
        for operation, made in requests.made
        if operation == "Query" and made["TableName"] == archive and made.get("Limit") == 1
    ]
    sums = [at for at in from_ms if at - 1 in {-1, *(page.end_ms for page in pages)}]
    assert len(pages) > 10
    assert len(sums) >= len(pages)


def test_events_that_are_on_their_way_are_left_to_the_projector(pipeline, budget):
    event = an_event(counter_id=pipeline.counter_id, recorded_at_ms=(NOW_S - 800) * 1000)
    pipeline.log([event])

    young, old = scheduled_check.check(NOW_S), scheduled_check.check(NOW_S + 200)

    assert (young.repaired, old.repaired) == (0, 1)
    assert (old.oldest_s, pipeline.version) == (1000, 1)


def test_damaged_counter_does_not_delay_others(engine, pipeline, budget, capsys):
    damaged = [a_counter_id() for _ in range(4)]
    for name in damaged:
        counted(pipeline, 45, name)
        logged(pipeline, 3, name, first_ms=900)
    change_item(engine, damaged[0], value={"S": "x"})
    change_item(engine, damaged[1], recent={"S": "x"})
    for number, name in enumerate(damaged[2:]):
        (page, *_) = store.read_pages(PartKey(name), 0, 1)
        key = {"partition": {"S": name}, "end": {"N": str(page.end_ms)}}
        table = settings.current().archive_table
        if number:
            engine.client("dynamodb").delete_item(TableName=table, Key=key)
        else:
            engine.client("dynamodb").put_item(TableName=table, Item=key | {"entries": {"B": b"zz"}})
    others = {name: logged(pipeline, 5, name) for name in (a_counter_id() for _ in range(8))}

    run(runs_of_log(4 * 48 + 40, budget))

    check_counted(engine, others)
    assert {(name, kinds.DAMAGED) for name in damaged} <= drift(capsys)


@pytest.mark.exhaustive
def test_run_reads_about_its_budget(pipeline, larger_budget):
    """Half of the budget is for the log, half for the counters. A part's events are read by id, not by age."""
    for size in [40] * 20 + [400] * 2 + [1100]:
        counted(pipeline, size, a_counter_id())

    units = []
    for hour in range(6):
        with aws_requests.record() as requests:
            scheduled_check.check(NOW_S + hour * HOUR_S)
        units.append(requests.read_units())

    print(f"read units: {units}")  # noqa: T201  (for pytest -s)
    assert max(units) <= 2 * larger_budget / EVENTS_PER_UNIT
    assert min(units) > 0


SAVED: list[dict[str, Any] | None] = [
    None,
    {"S": "not JSON"},
    {"S": "[1]"},
    {"S": "7"},
    {"S": json.dumps({"log": {}, "counter": {}, "unknown": 1})},
    {"S": json.dumps({"format": 99, "walks": {"log": 7}})},
    {"N": "7"},
    {"B": b"x"},
]


@pytest.mark.sample(2)
@pytest.mark.parametrize("state", SAVED, ids=str)
def test_unusable_checkpoint_restarts_the_check(engine, pipeline, budget, state):
    events = logged(pipeline, 25)
    item = {"partition": {"S": "#check"}, "end": {"N": "0"}, **({"state": state} if state else {})}
    engine.client("dynamodb").put_item(TableName=settings.current().archive_table, Item=item)

    run(runs_of_log(25, budget))

    check_counted(engine, {pipeline.counter_id: events})


def test_checkpoint_is_not_part_of_the_read_model(pipeline, budget):
    """Verify, rebuild and the list of counters ignore the checkpoint, and a rebuild does not remove it."""
    counted(pipeline, 12)
    scheduled_check.check(NOW_S)
    saved = checkpoint.load("check")

    report = verify_parts(select_all(2), lag_s=0, waits=False)
    with stage_parts(select_all(2)) as comparison:
        keys, strays = comparison.db.parts(), list(comparison.strays)
        repaired = repair.repair_all(comparison)

    assert saved["walks"]["log"]
    assert dict(report.numbers) == {}
    assert (keys, strays, dict(repaired.corrected)) == ([PartKey(pipeline.counter_id)], [], {})
    assert [counter.counter_id for counter in queries.list_counters(10).counters] == [pipeline.counter_id]
    assert checkpoint.load("check") == saved


def lost_and_wrong(engine, pipeline):
    """
    Return two counters, with lost events, and one with a wrong value, which the check only reports.

    The names are fixed because they determine the order of a scan, and the order determines the number of requests.
    """
    empty_tables(engine)
    lost = {name: logged(pipeline, 8, name) for name in ("lost-1", "lost-2")}
    wrong = "wrong"
    counted(pipeline, 45, wrong)
    change_item(engine, wrong, value={"N": "1000000"})
    return lost, wrong


#: Requests of three runs of the check, and the faults at each. A different number means different coverage.
REQUESTS = 41
CUTS = {
    "the function dies before it": faults.die_before,
    "the function dies after it": faults.die_after,
    "the request never arrives": faults.drop_request,
    "the answer is lost": faults.lose_answer,
}


@pytest.mark.exhaustive
def test_number_of_crash_points_of_the_check_is_asserted(engine, pipeline, budget):
    lost_and_wrong(engine, pipeline)

    with aws_requests.record() as requests:
        run(3)

    print(f"{len(requests.operations) * len(CUTS)} crash points of the check")  # noqa: T201  (for pytest -s)
    assert len(requests.operations) == REQUESTS


@pytest.mark.sample(6)
@pytest.mark.no_cover
@pytest.mark.parametrize("cut", list(itertools.product(range(REQUESTS), CUTS)), ids=lambda cut: f"{cut[0]}-{cut[1]}")
def test_a_check_cut_off_at_any_request_loses_nothing(engine, pipeline, budget, capsys, cut):
    at, fault = cut
    lost, wrong = lost_and_wrong(engine, pipeline)
    engine.gate = faults.Disturbance(at, CUTS[fault], every_attempt=True)
    try:
        run(3)
    except (faults.DiedError, UnavailableError):
        pass
    finally:
        engine.gate = faults.no_fault
    capsys.readouterr()

    run(runs_of_log(61, budget) + runs_of_counters(budget, 8, 8, 45))

    check_counted(engine, lost)
    assert drift(capsys) == {(wrong, kinds.TOO_HIGH)}


@pytest.mark.sample(2)
@pytest.mark.parametrize("seed", range(30))
def test_two_checks_at_once_are_harmless(engine, pipeline, budget, seed):
    lost, wrong = lost_and_wrong(engine, pipeline)

    ran = scheduler.run(engine, {"one": lambda: run(2), "other": lambda: run(2)}, random.Random(seed).randrange)
    run(runs_of_log(61, budget))

    assert not [result for result in ran.results.values() if isinstance(result, Exception)]
    check_counted(engine, lost)
    assert queries.get_counter(wrong).value == 1_000_000


def test_the_age_of_the_check_rises_until_a_walk_is_finished(pipeline, budget):
    """An alarm goes off if a section of the log has not been checked for too long."""
    counted(pipeline, 100)

    ages = [each.age_s for each in run(22)]

    # A walk takes 11 runs. The first walk began at age 0.
    assert ages == [*(hour * HOUR_S for hour in range(21)), 10 * HOUR_S]


def test_run_on_lambda_writes_its_metrics_even_if_they_are_0(pipeline, capsys):
    counted(pipeline, 3)
    capsys.readouterr()

    app.check(a_scheduled_turn(), None)

    (metrics,) = [line for text in capsys.readouterr().out.splitlines() if "_aws" in (line := json.loads(text))]
    names = ("Drift", "Repaired", "OnDeadLetterQueue", "OldestUncounted", "CheckAge")
    assert {name: metrics[name] for name in names} == {key: [0] for key in names}


def test_parked_messages_are_reported(pipeline):
    pipeline.project(["poison"])

    checked = scheduled_check.check(NOW_S)

    assert (checked.parked, len(pipeline.parked())) == (1, 1)


def test_parked_message_that_a_consumer_has_received_is_reported(pipeline):
    pipeline.project(["poison"])
    url, sqs = pipeline.dead_letter_url, pipeline.client("sqs")
    (message,) = sqs.receive_message(QueueUrl=url, VisibilityTimeout=600)["Messages"]

    checked = scheduled_check.check(NOW_S)

    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert checked.parked == 1


def test_a_queue_that_does_not_answer_fails_the_check_as_an_outage(engine, pipeline):
    def gate(attempt):
        return faults.drop_request(attempt) if attempt.operation == "GetQueueAttributes" else attempt.carry_out()

    engine.gate = gate
    with pytest.raises(QueueUnavailableError):
        scheduled_check.check(NOW_S)
