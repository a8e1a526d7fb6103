"""How far the design goes: the model, followed by hand where nothing is in the way, and what docs/scale.md says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import cost, limits, scale
from bench.scale import MANY, Case
from bench.simulation import System, simulated

SYSTEM = System(
    rate=1000,
    shards=1,
    one_counter=True,
    window_s=1,
    stream_batch=1000,
    queue_batch=10,
    publish_s=lambda _events: 0.1,
    project_s=lambda _events: 0.2,
    transaction_s=0.01,
    poll_s=0.25,
)


def of(**changes):
    return simulated(replace(SYSTEM, **changes), warm_up_s=5, measured_s=60)


def test_the_lag_of_lone_events_is_the_poll_the_window_and_the_runs():
    found = simulated(replace(SYSTEM, rate=0.01), warm_up_s=0, measured_s=10_000)

    assert found.batch == pytest.approx(1, abs=0.05)
    assert 1.0 + 0.1 + 0.2 < found.lag_s(0.99) <= 0.25 + 1 + 0.1 + 0.2


def test_a_window_gathers_what_comes_in_it_and_as_many_as_fit_a_batch():
    assert of(rate=200, poll_s=0).batch == pytest.approx(200 * 1.1, rel=0.05)  # with what comes while it publishes
    assert of(rate=5000, publish_s=lambda _events: 0.01).batch == 1000


def test_a_shard_is_read_by_one_run_at_a_time_and_what_is_too_much_for_it_waits():
    slow = of(rate=2000, window_s=0, publish_s=lambda _events: 1.0)

    assert slow.published / 60 == pytest.approx(1000, rel=0.05)
    assert slow.waiting == pytest.approx(65 * 1000, rel=0.05)


def test_no_more_runs_at_once_than_pollers():
    found = of(shards=8, rate=8000, project_s=lambda _events: 2.0, most_pollers=1, queue_batch=1)

    assert found.counted / 60 == pytest.approx(500, rel=0.1)


def test_a_queue_that_waits_gets_pollers_as_published():
    slow = {"one_counter": False, "shards": 100, "rate": 100_000, "project_s": lambda _events: 3.0, "queue_batch": 1}

    assert 0 < of(**slow).counted < of(**slow, first_pollers=1000).counted


def test_two_who_write_one_counter_at_once_are_in_each_others_way_and_all_is_counted():
    crowd = {"shards": 64, "rate": 64_000, "project_s": lambda _events: 0.1, "first_pollers": 1000}
    found, alone = of(**crowd), of(**crowd, one_counter=False)

    assert (alone.refused, alone.given_up) == (0, 0)
    assert found.refused > found.runs
    assert found.lag_s(0.99) > alone.lag_s(0.99)
    assert 0 < found.given_up < found.published / 10
    assert found.waiting < 2 * 64_000 + found.given_up


def test_who_reads_while_another_writes_the_same_second_has_to_read_again():
    # Each message comes while the one before is written, and has events of the same second.
    found = of(rate=100, window_s=0, poll_s=0, publish_s=lambda _events: 0.005, transaction_s=0.05)

    assert found.refused > 0


def test_a_second_that_is_counted_in_several_batches_is_written_again_with_each():
    at_once = of(rate=100, poll_s=0, window_s=10, first_pollers=1, most_pollers=1)
    piecemeal = of(rate=100, poll_s=0, window_s=0, first_pollers=1, most_pollers=1, transaction_s=0.001)

    a_batch_of_ten_seconds = 2 + 10 * 2 * 2  # the counter, and each second's bucket of 2 KB
    a_batch_of_a_tenth = 2 + 2 * 1.5  # the counter, and a bucket that fills to 2 KB
    assert at_once.write_units / at_once.runs == pytest.approx(a_batch_of_ten_seconds, rel=0.1)
    assert piecemeal.batch == pytest.approx(10, rel=0.1)
    assert piecemeal.write_units / piecemeal.runs == pytest.approx(a_batch_of_a_tenth, rel=0.2)


def test_lone_events_are_written_as_one_bucket_and_the_counter():
    found = simulated(replace(SYSTEM, rate=0.01), warm_up_s=0, measured_s=10_000)

    assert (found.write_units, found.read_units) == (4 * found.runs, found.runs)


@pytest.mark.parametrize(
    ("case", "accepted", "shards", "minutes"),
    [
        (Case(10, 1), 10, 1, 0),
        (Case(1_000_000, 1, shards=64), 64_000, 64, 120),
        (Case(1_000_000, MANY), 1_000_000, 1000, 240),
        (Case(10, MANY), 10, 4, 0),
    ],
)
def test_what_the_log_takes_is_a_thousand_a_second_and_partition_and_a_new_table_doubles(
    case, accepted, shards, minutes
):
    assert (case.accepted, case.stream_shards, case.new_table_takes_it_after_min) == (accepted, shards, minutes)


def test_a_step_between_two_is_in_proportion_and_beyond_the_last_goes_on():
    publish, project = scale.steps_of(Case(10, 1), cost.read())
    few, many = (publish(size) for size in (250, 1000))

    assert publish(625).cpu_ms == pytest.approx((few.cpu_ms + many.cpu_ms) / 2)
    assert publish(1750).cpu_ms == pytest.approx(2 * many.cpu_ms - few.cpu_ms)
    assert sum(publish(625).message_bytes) == pytest.approx((sum(few.message_bytes) + sum(many.message_bytes)) / 2)
    assert project(1000) == cost.read().steps["project 1000 of one counter, 1000 a second"]


def test_what_is_used_of_a_limit_is_what_is_asked_over_what_there_is():
    found = {use.name: use for use in scale.uses(Case(2_000, 1), cost.read(), cost.setup(), batch=1000)}

    assert found["the log's partitions of one counter"].used == 2
    assert found["requests to the gateway"].used == 2_000 / limits.GATEWAY_REQUESTS.most
    assert found["the counter's item"].used == 2 * 1 / limits.PARTITION_UNITS.most  # one transaction a second is left
    assert "SHARDS" in found["the log's partitions of one counter"].change


def test_the_document_is_what_was_simulated():
    assert scale.DOCUMENT.read_text(encoding="utf-8") == scale.document(scale.read())


def test_what_is_kept_is_what_the_model_says_now():
    kept = {(row["rate"], row["counters"], row["shards"], row["window_s"]): row for row in scale.read()["cases"][:12]}
    figures, deployed = cost.read(), cost.setup()

    for rate in (10, 1_000):
        case = Case(rate, 1)
        assert scale.simulate(case, figures, deployed) == kept[rate, 1, 1, 1]


def test_first_the_document_says_the_most_that_each_case_takes_and_keeps_up_with():
    raw = scale.read()
    in_short = scale.document(raw).partition("## In short")[2].partition("\n## ")[0]

    assert all(f"| {title} |" in in_short for title in scale.SECTIONS)
    assert "| One counter, as it is deployed | 1,000 |" in in_short
    assert "| A million counters, as it is deployed | 100,000 |" in in_short  # of a million a second, the lag grows
    assert "| A million counters, `project` with 1,769 MB | 1,000,000 |" in in_short


def test_where_a_design_breaks_the_document_says_so_and_what_to_change_helps():
    rows = {(row["rate"], row["counters"], row["project_mb"]): row for row in scale.read()["cases"]}

    assert not rows[1_000_000, MANY, 512]["keeps_up"]
    assert rows[1_000_000, MANY, 1769]["keeps_up"]
