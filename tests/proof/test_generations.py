"""A read model made anew beside the live one: whatever happens meanwhile, and wherever it is cut off."""

from __future__ import annotations

import itertools
import random

import pytest

from chalicelib import event_log, generations, read_model, settings, verifier
from chalicelib.counting import Generations  # FIX
from chalicelib.errors import ContendedError, ReadModelUnavailableError, UnavailableError
from ops import rebuild as ops_rebuild
from tests import faults
from tests.building import an_event, message_body
from tests.proof import scheduler
from tests.proof.invariant import Watcher
from tests.proof.test_crash_points import FAULTS

pytestmark = pytest.mark.usefixtures("no_waits")

A_SECOND_MS = 1_700_000_000_000


def logged(pipeline, number=6):
    """Events of two seconds, in the log and not counted."""
    events = [
        an_event(counter_id=pipeline.counter_id, by=2**n, recorded_at_ms=A_SECOND_MS + n % 2 * 1000)
        for n in range(number)
    ]
    for event in events:
        event_log.append(event)
    return events


def rebuild(counter_id):
    counter = generations.begin(counter_id)
    assert counter.generations.other is not None
    read_model.fill(counter, event_log.readable(event_log.of_counter(counter_id)))
    if verifier.verify(verifier.some([counter_id]), beside=True, waits=False, lag_s=0).holds:
        generations.switch(counter_id, counter.generations.other)


def is_right(counter_id, *, beside=False):
    return verifier.verify(verifier.some([counter_id]), lag_s=0, waits=False, beside=beside).holds


def test_a_generation_is_filled_switched_to_and_the_old_one_dropped_without_trace(engine, new_pipeline):
    pipeline = new_pipeline(0)
    events = logged(pipeline)
    pipeline.count(*events[:4])

    counter = generations.begin(pipeline.counter_id)
    begun = pipeline.value
    pipeline.count(events[4])
    read_model.fill(counter, events)
    filled = read_model.counter(pipeline.counter_id)
    switched = generations.switch(pipeline.counter_id, 2)
    pipeline.deliver()
    after = pipeline.value, pipeline.version
    removed = generations.drop(pipeline.counter_id)

    assert (begun, filled.other) == (15, (63, 6))
    assert switched.generations == Generations(2, 1)
    assert after == (63, 6)
    assert removed == 2
    assert list(read_model.buckets_of(pipeline.counter_id, 1)) == []
    assert is_right(pipeline.counter_id)
    assert read_model.counter(pipeline.counter_id).generations == Generations(2)


def test_what_was_wrong_is_right_once_queries_see_the_new_generation(engine, new_pipeline):
    pipeline = new_pipeline(0)
    pipeline.count(*logged(pipeline))
    engine.client("dynamodb").update_item(
        TableName="counter-pipeline-counters",
        Key={"counter_id": {"S": pipeline.counter_id}},
        UpdateExpression="ADD #v :n",
        ExpressionAttributeNames={"#v": "value"},
        ExpressionAttributeValues={":n": {"N": "5"}},
    )
    wrong = pipeline.value, is_right(pipeline.counter_id)

    rebuild(pipeline.counter_id)

    assert wrong == (68, False)
    assert (pipeline.value, is_right(pipeline.counter_id)) == (63, True)


def test_one_can_switch_back_and_both_stay_current(engine, new_pipeline):
    pipeline = new_pipeline(0)
    pipeline.count(*logged(pipeline))
    rebuild(pipeline.counter_id)

    pipeline.increment({"by": 100}, Prefer="return=representation")
    pipeline.increment({"by": 200}, If_Match='"7"')
    pipeline.increment({"by": 400})
    pipeline.deliver()
    before = pipeline.value, pipeline.version
    generations.switch(pipeline.counter_id, 1)

    assert before == (pipeline.value, pipeline.version) == (763, 9)
    assert is_right(pipeline.counter_id)
    assert is_right(pipeline.counter_id, beside=True)


def test_who_read_the_counter_before_a_generation_was_begun_is_refused_and_looks_again(engine, new_pipeline):
    pipeline = new_pipeline(0)
    pipeline.count(*logged(pipeline))
    before = read_model.counter(pipeline.counter_id)
    counter = generations.begin(pipeline.counter_id)
    read_model.fill(counter, event_log.readable(event_log.of_counter(pipeline.counter_id)))

    with pytest.raises(ContendedError):
        read_model.append_counted(an_event(counter_id=pipeline.counter_id), before)
    generations.switch(pipeline.counter_id, 2)

    assert is_right(pipeline.counter_id)
    assert is_right(pipeline.counter_id, beside=True)


def test_a_rebuild_that_meets_transactions_each_time_or_an_outage_says_so(engine, new_pipeline):
    name = new_pipeline(0).counter_id

    for fault, error in ((faults.conflicts, ContendedError), (faults.is_throttled, ReadModelUnavailableError)):
        engine.gate = lambda attempt, fault=fault: (
            fault(attempt) if attempt.operation == "UpdateItem" else attempt.carry_out()
        )
        with pytest.raises(error):
            generations.begin(name)
    engine.gate = faults.carried_out

    assert generations.begin(name).generations == Generations(1, 2)


def test_the_whole_stage_is_verified_in_parts_and_every_counter_of_it(engine, new_pipeline):
    pipelines = [new_pipeline(number) for number in range(5)]
    for pipeline in pipelines:
        pipeline.count(*logged(pipeline))
    lost = new_pipeline(9)
    logged(lost, 1)

    report = verifier.verify(verifier.everything(3), lag_s=0, waits=False)

    mine = {one.counter_id: one.kind for one in report.differences}
    assert not {pipeline.counter_id for pipeline in pipelines} & set(mine)
    assert report.numbers[verifier.UNCOUNTED] >= 1
    assert report.counters >= 6


def test_switching_twice_to_the_same_generation_switches_once(engine, new_pipeline):
    pipeline = new_pipeline(0)
    pipeline.count(*logged(pipeline))
    rebuild(pipeline.counter_id)

    again = generations.switch(pipeline.counter_id, 2)

    assert again.generations == Generations(2, 1)


def test_a_rebuild_after_a_rebuild_drops_the_one_that_was_kept(engine, new_pipeline):
    pipeline = new_pipeline(0)
    pipeline.count(*logged(pipeline))

    for _ in range(3):
        rebuild(pipeline.counter_id)

    assert read_model.counter(pipeline.counter_id).generations == Generations(4, 3)
    assert [
        generation for generation in range(1, 6) if list(read_model.buckets_of(pipeline.counter_id, generation))
    ] == [
        3,
        4,
    ]
    assert pipeline.value == 63


def test_a_read_model_that_was_lost_altogether_is_made_from_the_log(engine, new_pipeline):
    pipeline = new_pipeline(0)
    logged(pipeline)

    rebuild(pipeline.counter_id)

    assert (pipeline.value, pipeline.version) == (63, 6)
    assert pipeline.increment(If_Match='"6"').status == 200


def test_an_event_is_counted_when_it_is_in_the_generation_that_queries_see(engine, new_pipeline):
    pipeline = new_pipeline(0)
    counted, pending = logged(pipeline, 2)
    pipeline.count(counted)
    rebuild(pipeline.counter_id)
    generations.drop(pipeline.counter_id)
    later = logged(pipeline, 1)[0]

    assert [pipeline.event(event.event_id).body["status"] for event in (counted, pending, later)] == [
        "counted",
        "counted",
        "pending",
    ]


RIVALS = {
    "projector": lambda pipeline, events: pipeline.project([message_body(*events[1:])]),
    "add-and-get": lambda pipeline, _: pipeline.increment({"by": 64}, Prefer="return=representation"),
    "swap": lambda pipeline, _: pipeline.increment({"by": 64}, If_Match='"2"'),
}

STEPS = {
    "begin": generations.begin,
    "fill": lambda counter_id: read_model.fill(
        read_model.counter(counter_id), event_log.readable(event_log.of_counter(counter_id))
    ),
    "switch": lambda counter_id: generations.switch(counter_id, 2),
    "drop": generations.drop,
}


def up_to(step, counter_id):
    for name, work in STEPS.items():
        if name == step:
            return
        work(counter_id)


def beside_a_rival(engine, pipeline, work, rival, choose, *, before=lambda: None):
    """One worker rebuilds and one counts, in the order that `choose` chooses; the invariant holds all the while."""
    events = logged(pipeline, 2)
    pipeline.count(*events)
    pipeline.new_records()
    events += logged(pipeline, 1)
    before()
    watcher = Watcher(engine.client, pipeline.counter_id)

    def watched(waiting):
        watcher.check_meanwhile()
        return choose(waiting)

    workers = {"rebuild": work, rival: lambda: RIVALS[rival](pipeline, events)}
    ran = scheduler.run(engine, workers, watched)
    for result in ran.results.values():
        if isinstance(result, Exception):
            raise result
    watcher.check_meanwhile()
    return ran


def test_what_was_switched_back_from_is_not_gone_on_with(engine, new_pipeline):
    pipeline = new_pipeline(0)
    pipeline.count(*logged(pipeline))
    rebuild(pipeline.counter_id)
    generations.switch(pipeline.counter_id, 1)

    rebuild(pipeline.counter_id)

    assert read_model.counter(pipeline.counter_id).generations == Generations(3, 1)
    assert is_right(pipeline.counter_id)


def test_an_event_counted_in_a_generation_that_came_while_verifying_is_no_difference(engine, new_pipeline):
    pipeline = new_pipeline(0)
    name = pipeline.counter_id
    pipeline.count(*logged(pipeline, 3)[:2])
    readings = verifier.some([name])
    times = itertools.count()

    def counters_and_then_a_rebuild():
        yield from readings.counters()
        if next(times):
            rebuild(name)
            generations.drop(name)

    report = verifier.verify(
        verifier.Readings(counters_and_then_a_rebuild, readings.log, readings.buckets), lag_s=0, waits=False
    )

    assert report.holds, report.differences


@pytest.mark.no_cover
@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize("step", STEPS)
def test_each_step_of_a_rebuild_beside_a_worker_in_every_order(engine, new_pipeline, step, rival):
    def run_with(choose):
        pipeline = new_pipeline(0)
        name = pipeline.counter_id
        ran = beside_a_rival(
            engine, pipeline, lambda: STEPS[step](name), rival, choose, before=lambda: up_to(step, name)
        )
        pipeline.deliver()
        # Whatever was begun is finished: what the step left behind has to be good for it.
        rebuild_step_by_step(name)
        assert is_right(name)
        assert is_right(name, beside=True)
        return ran

    orders = scheduler.all_schedules(run_with, at_most=200)

    assert orders >= 3


@pytest.mark.parametrize("rival", RIVALS)
def test_a_whole_rebuild_beside_a_worker_in_random_orders(engine, new_pipeline, rival):
    for seed in range(10):
        pipeline = new_pipeline(seed)
        name = pipeline.counter_id

        beside_a_rival(
            engine, pipeline, lambda name=name: rebuild_step_by_step(name), rival, random.Random(seed).randrange
        )
        pipeline.deliver()

        assert is_right(name)
        assert is_right(name, beside=True)


def rebuild_step_by_step(counter_id):
    """A rebuild without its verification, which only reads."""
    counter = generations.begin(counter_id)
    assert counter.generations.other is not None
    read_model.fill(counter, event_log.readable(event_log.of_counter(counter_id)))
    generations.switch(counter_id, counter.generations.other)


def test_a_drop_that_was_slow_removes_nothing_of_a_generation_begun_after_it(engine, new_pipeline):
    pipeline = new_pipeline(0)
    events = logged(pipeline)
    pipeline.count(*events)
    read_model.fill(generations.begin(pipeline.counter_id), events)
    slow_requests = itertools.count()

    def rebuild_after_a_drop():
        generations.drop(pipeline.counter_id)
        rebuild_step_by_step(pipeline.counter_id)

    def rival_once_the_buckets_are_listed(_):
        return 0 if next(slow_requests) < 4 else 1

    workers = {"slow": lambda: generations.drop(pipeline.counter_id), "rival": rebuild_after_a_drop}
    ran = scheduler.run(engine, workers, rival_once_the_buckets_are_listed)
    pipeline.count(*events)

    assert ran.requests[3:5] == ["slow: Query", "rival: GetItem"]
    assert (pipeline.value, pipeline.version) == (63, 6)
    assert is_right(pipeline.counter_id)


MEDDLING = {
    "drops": generations.drop,
    "drops and begins": lambda counter_id: (generations.drop(counter_id), generations.begin(counter_id)),
    "rebuilds": rebuild_step_by_step,
}


@pytest.mark.parametrize("meddling", MEDDLING)
def test_whenever_another_operator_meddles_queries_never_see_what_was_not_verified(engine, new_pipeline, meddling):
    for at in itertools.count():
        pipeline = new_pipeline(at)
        name = pipeline.counter_id
        pipeline.count(*logged(pipeline, 4))
        requests = itertools.count()

        def meddle(attempt, name=name, at=at, requests=requests):
            if next(requests) == at:
                engine.gate = faults.carried_out
                MEDDLING[meddling](name)
            return attempt.carry_out()

        engine.gate = meddle
        try:
            rebuilt = ops_rebuild.rebuild(settings.current(), [name])
        finally:
            was_reached, engine.gate = engine.gate is faults.carried_out, faults.carried_out

        assert pipeline.value == 15
        assert rebuilt.facts["switched"] == 1 or not rebuilt.holds
        assert is_right(name)
        if not was_reached:
            break
    assert at >= REQUESTS


REQUESTS = 13


@pytest.mark.parametrize("fault", FAULTS)
def test_wherever_a_rebuild_is_cut_off_the_next_one_finishes_it(engine, new_pipeline, fault):
    for at in itertools.count():
        pipeline = new_pipeline(at)
        watcher = Watcher(engine.client, pipeline.counter_id)
        events = logged(pipeline, 3)
        pipeline.count(*events[:2])
        disturbance = engine.gate = faults.Disturbance(at, *FAULTS[fault])
        try:
            rebuild(pipeline.counter_id)
            generations.drop(pipeline.counter_id)
        except (faults.DiedError, UnavailableError):
            pass
        finally:
            engine.gate = faults.carried_out
        watcher.check_meanwhile()
        pipeline.count(an_and_logged(pipeline))

        rebuild(pipeline.counter_id)
        rebuilt = pipeline.value, is_right(pipeline.counter_id), is_right(pipeline.counter_id, beside=True)
        generations.drop(pipeline.counter_id)

        found = read_model.counter(pipeline.counter_id)
        assert rebuilt == (107, True, True)
        assert found.generations == Generations(found.generations.live)
        assert is_right(pipeline.counter_id)
        if at >= len(disturbance.calls):
            break
    assert at >= REQUESTS


def an_and_logged(pipeline):
    event = an_event(counter_id=pipeline.counter_id, by=100)
    event_log.append(event)
    return event
