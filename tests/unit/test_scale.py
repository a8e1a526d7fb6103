"""The model of scaling, compared with values computed by hand, and the stored cases."""

from dataclasses import replace

import pytest

from benchmarks import store
from benchmarks.models import capacity, costing, deployed, limits
from benchmarks.models.capacity import MANY, Case, Model
from benchmarks.models.simulation import System, simulate
from benchmarks.report import scale_page

SYSTEM = System(
    rate=1000,
    shards=1,
    one_counter=True,
    window_s=1,
    stream_batch=1000,
    queue_batch=10,
    publish_s=lambda _events: 0.1,
    project_s=lambda _events: 0.2,
    request_s=0.01,
    poll_s=0.25,
)


def of(**changes):
    return simulate(replace(SYSTEM, **changes), warm_up_s=5, measured_s=60)


def test_lag_of_lone_events_is_poll_window_and_runs():
    found = simulate(replace(SYSTEM, rate=0.01), warm_up_s=0, measured_s=10_000)

    assert found.batch == pytest.approx(1, abs=0.05)
    assert 1.0 + 0.1 + 0.2 < found.lag_s(0.99) <= 0.25 + 1 + 0.1 + 0.2 + 2 * 0.01


def test_batch_has_the_events_of_a_window_up_to_the_batch_size():
    """Events that arrive while `publish` runs are in its next batch."""
    assert of(rate=200, poll_s=0).batch == pytest.approx(200 * 1.1, rel=0.05)
    assert of(rate=5000, publish_s=lambda _events: 0.01).batch == 1000


def test_shard_that_is_read_too_slowly_makes_events_wait():
    slow = of(rate=2000, window_s=0, publish_s=lambda _events: 1.0)

    assert slow.published / 60 == pytest.approx(1000, rel=0.05)
    assert slow.waiting == pytest.approx(65 * 1000, rel=0.05)


def test_concurrent_runs_never_exceed_the_pollers():
    found = of(shards=8, rate=8000, project_s=lambda _events: 2.0, most_pollers=1, queue_batch=1)

    assert found.counted / 60 == pytest.approx(500, rel=0.1)


def test_queue_with_waiting_messages_gets_pollers_as_published():
    slow = {"one_counter": False, "shards": 100, "rate": 100_000, "project_s": lambda _events: 3.0, "queue_batch": 1}

    assert 0 < of(**slow).counted < of(**slow, first_pollers=1000).counted


def test_writers_of_one_part_conflict_and_count_everything():
    """
    Messages arrive faster than they are read and written, so several runs write the same part at once.

    Events that exhaust their retries, even during the warm-up, are redelivered only after the end of this run.
    """
    crowd = {"window_s": 0, "poll_s": 0, "publish_s": lambda _events: 0.04, "request_s": 0.045, "first_pollers": 1000}
    found, alone = of(**crowd), of(**crowd, one_counter=False)

    assert (alone.conflicts, alone.retries_exhausted) == (0, 0)
    assert found.conflicts > found.runs / 4
    assert found.lag_s(0.99) > alone.lag_s(0.99)
    assert found.retries_exhausted < found.waiting < 3 * 1000 + found.retries_exhausted


def test_parts_of_one_counter_never_conflict():
    parts = {"shards": 8, "rate": 4000, "first_pollers": 1000, "project_s": lambda _events: 0.1}

    assert of(**parts).conflicts == 0


def test_units_of_a_batch_match_the_steady_state():
    """The batches of this rate and window have a hundred events, or a few more."""
    found = of(rate=100, publish_s=lambda _events: 0.001, poll_s=0)

    expected = costing.counting_units(round(found.batch), 1000)
    assert found.units.divide(found.counted).write == pytest.approx(expected.write, rel=0.05)


def test_lone_events_cost_an_update_each_and_sometimes_an_archiving():
    found = simulate(replace(SYSTEM, rate=0.01), warm_up_s=0, measured_s=100_000)

    expected = costing.counting_units(1, 100_000)
    assert found.units.divide(found.counted).write == pytest.approx(expected.write, rel=0.05)
    assert found.units.item < found.units.write


@pytest.mark.parametrize(
    ("case", "accepted", "shards", "minutes"),
    [
        (Case(10, 1), 10, 1, 0),
        (Case(1_000_000, 1, shards=64), 64_000, 64, 120),
        (Case(1_000_000, MANY), 1_000_000, 1000, 240),
        (Case(10, MANY), 10, 4, 0),
    ],
)
def test_log_accepts_1000_a_second_per_partition_and_a_new_table_doubles(case, accepted, shards, minutes):
    assert (case.accepted, case.stream_shards, case.table_warm_up_min) == (accepted, shards, minutes)


def test_step_between_two_is_interpolated_and_beyond_is_extrapolated():
    publish, project = capacity.interpolate_steps(Case(10, 1), deployed.read_costs().measured)
    few, many = (publish(size) for size in (250, 1000))

    assert publish(625).cpu_ms == pytest.approx((few.cpu_ms + many.cpu_ms) / 2)
    assert publish(1750).cpu_ms == pytest.approx(2 * many.cpu_ms - few.cpu_ms)
    assert sum(publish(625).message_bytes) == pytest.approx((sum(few.message_bytes) + sum(many.message_bytes)) / 2)
    assert project(1000) == deployed.read_costs().measured.steps["project 1000 of one counter"]


def test_use_of_a_limit_is_demand_over_supply():
    units = costing.counting_units(1000, 1000)
    used = Model(Case(2_000, 1), deployed.read_costs()).use_limits(1000, units)

    assert list(used.values()) == sorted(used.values(), reverse=True)
    assert used["log partitions"] == 2
    assert used["gateway requests"] == 2_000 / limits.LIMITS["gateway requests"].most
    # Of 2,000 a second, 1,000 are accepted: one transaction a second, with 2 units for the item and 40 for its pages.
    assert used["counter item"] == pytest.approx(2 / limits.PARTITION_UNITS.most)
    assert used["archive table"] == pytest.approx(40 / limits.LIMITS["archive table"].most)


def test_stored_cases_match_the_current_model():
    stored = {(row["rate"], row["counters"], row["shards"], row["window_s"]): row for row in read_cases()[:12]}
    costs = deployed.read_costs()

    for rate in (10, 1_000):
        assert capacity.evaluate(Case(rate, 1), costs) == stored[rate, 1, 1, 1]


def test_page_begins_with_the_highest_rate_that_each_case_keeps_up_with():
    best = scale_page.view(store.read())["best"]

    assert best.keys() == capacity.SERIES.keys()
    assert best["One counter, default settings"]["accepted"] == 1000


def test_more_memory_needs_fewer_pollers():
    """More memory makes a run shorter, so that fewer of the queue's pollers are in use."""
    used = {
        row["project_mb"]: row["used"]["concurrent queue batches"]
        for row in read_cases()
        if (row["rate"], row["counters"]) == (100_000, MANY)
    }

    assert used[1769] < used[512]


def read_cases():
    return store.read()["scale"]["raw"]
