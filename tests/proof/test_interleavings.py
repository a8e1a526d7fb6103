"""Interleavings of requests: all of them for two projectors that overlap, many for whatever else meets."""

from __future__ import annotations

import pytest

from tests.building import an_event, message_body
from tests.proof import scheduler
from tests.proof.invariant import Watcher
from tests.proof.simulate import simulate

pytestmark = pytest.mark.usefixtures("no_waits")

#: How many seeds the gate runs; `make simulate SEEDS=N` runs as many as wanted.
SEEDS = 150


def logged(pipeline, **parts):
    from chalicelib import event_log

    event = an_event(counter_id=pipeline.counter_id, **parts)
    event_log.append(event)
    return event


def every_order(engine, new_pipeline, workers_of, at_most, *, counts_all=False):
    """How many orders there are; the invariant holds in each."""
    results = []

    def run_with(choose):
        pipeline = new_pipeline(0)
        watcher = Watcher(engine.client, pipeline.counter_id)
        workers = workers_of(pipeline)

        def watched(waiting):
            watcher.check_meanwhile()
            return choose(waiting)

        ran = scheduler.run(engine, workers, watched)
        results.append((pipeline, ran))
        for result in ran.results.values():
            if isinstance(result, Exception):
                raise result
        if counts_all:
            # Who returns has promised that what it was given is counted: nobody will deliver that again.
            watcher.check_in_the_end()
        pipeline.deliver()
        watcher.check_in_the_end()
        return ran

    return scheduler.all_schedules(run_with, at_most), results


def test_two_projectors_with_overlapping_batches_in_every_order(engine, new_pipeline):
    def workers_of(pipeline):
        events = [logged(pipeline, by=2**n) for n in range(3)]
        return {
            "first": lambda: pipeline.project([message_body(*events[:2])]),
            "second": lambda: pipeline.project([message_body(*events[1:])]),
        }

    orders, results = every_order(engine, new_pipeline, workers_of, at_most=200, counts_all=True)

    print(f"{orders} orders of two projectors with overlapping batches")  # noqa: T201  (for pytest -s)
    assert orders == ORDERS_OF_TWO_PROJECTORS
    assert any(len(ran.requests) > 4 for _, ran in results), "in some order one has to try again"


def test_two_projectors_with_several_seconds_in_every_order(engine, new_pipeline):
    def workers_of(pipeline):
        events = [logged(pipeline, by=2**n, recorded_at_ms=1_700_000_000_000 + n % 2 * 1000) for n in range(4)]
        return {
            "first": lambda: pipeline.project([message_body(*events[:3])]),
            "second": lambda: pipeline.project([message_body(*events[1:])]),
        }

    orders, _ = every_order(engine, new_pipeline, workers_of, at_most=200, counts_all=True)

    assert orders == ORDERS_OF_TWO_PROJECTORS


def test_two_projectors_that_share_only_the_counter_in_every_order(engine, new_pipeline):
    def workers_of(pipeline):
        events = [logged(pipeline, by=2**n, recorded_at_ms=1_700_000_000_000 + n * 1000) for n in range(4)]
        return {
            "first": lambda: pipeline.project([message_body(*events[:2])]),
            "second": lambda: pipeline.project([message_body(*events[2:])]),
        }

    orders, results = every_order(engine, new_pipeline, workers_of, at_most=200, counts_all=True)

    assert orders == ORDERS_OF_TWO_PROJECTORS
    assert all(len(ran.requests) == 4 for _, ran in results), "nobody is in anybody's way"


def test_two_projectors_that_write_several_counters_together_in_every_order(engine, new_pipeline):
    def workers_of(pipeline):
        hot = [logged(pipeline, by=2**n) for n in range(2)]
        calm = {name: an_event(counter_id=f"{pipeline.counter_id}.{name}") for name in ("first", "second")}
        return {name: lambda event=calm[name]: pipeline.project([message_body(*hot, event)]) for name in calm}

    orders, results = every_order(engine, new_pipeline, workers_of, at_most=500, counts_all=True)

    assert orders == ORDERS_OF_TWO_PROJECTORS
    assert any(len(ran.requests) > 4 for _, ran in results), "in some order one has to write each by itself"
    for pipeline, _ in results:
        own = pipeline.counter_id
        for name in ("first", "second"):
            pipeline.counter_id = f"{own}.{name}"
            assert (pipeline.value, pipeline.version) == (1, 1)


def test_a_projector_and_an_add_and_get_in_every_order(engine, new_pipeline):
    def workers_of(pipeline):
        events = [logged(pipeline, by=2**n) for n in range(2)]
        return {
            "projector": lambda: pipeline.project([message_body(*events)]),
            "client": lambda: pipeline.increment({"by": 9}, Prefer="return=representation"),
        }

    orders, results = every_order(engine, new_pipeline, workers_of, at_most=500)

    assert orders > 5
    assert {ran.results["client"].body["value"] for _, ran in results} == {9, 12}


def test_two_swaps_from_one_version_in_every_order(engine, new_pipeline):
    def workers_of(pipeline):
        return {
            name: lambda by=by: pipeline.increment({"by": by}, If_Match='"0"')
            for name, by in (("first", 1), ("second", 2))
        }

    orders, results = every_order(engine, new_pipeline, workers_of, at_most=100)

    assert orders > 5
    for _, ran in results:
        assert sorted(answer.status for answer in ran.results.values()) == [200, 412]


def test_one_key_sent_twice_in_every_order(engine, new_pipeline):
    def workers_of(pipeline):
        return {
            "plain": lambda: pipeline.increment({"by": 4}, Idempotency_Key="k"),
            "wish": lambda: pipeline.increment({"by": 4}, Idempotency_Key="k", Prefer="return=representation"),
        }

    orders, results = every_order(engine, new_pipeline, workers_of, at_most=100)

    assert orders == 3
    for pipeline, ran in results:
        assert sum("Idempotency-Replayed" in answer.headers for answer in ran.results.values()) == 1
        assert (ran.results["wish"].status, ran.results["wish"].body["value"]) == (200, 4)
        assert (pipeline.value, pipeline.version) == (4, 1)


def test_one_key_with_two_amounts_in_every_order(engine, new_pipeline):
    def workers_of(pipeline):
        return {
            name: lambda by=by: pipeline.increment({"by": by}, Idempotency_Key="k")
            for name, by in (("first", 4), ("second", 5))
        }

    orders, results = every_order(engine, new_pipeline, workers_of, at_most=100)

    assert orders > 1
    for pipeline, ran in results:
        assert sorted(answer.status for answer in ran.results.values()) == [202, 422]
        (recorded,) = [answer.body["by"] for answer in ran.results.values() if answer.status == 202]
        assert (pipeline.value, pipeline.version) == (recorded, 1)


@pytest.mark.parametrize("tens", range(SEEDS // 10))
def test_random_workers_in_random_orders(engine, tens):
    failures = [simulated for seed in range(tens * 10, tens * 10 + 10) if (simulated := simulate(engine, seed)).wrong]

    assert failures == []


def test_a_seed_makes_the_same_run_again(engine):
    first, second = simulate(engine, 7), simulate(engine, 7)

    assert first.ran.choices == second.ran.choices
    assert first.ran.requests == second.ran.requests


ORDERS_OF_TWO_PROJECTORS = 6
