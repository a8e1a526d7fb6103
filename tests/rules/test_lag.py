"""How the functions' lines become the parts of each increment's lag, and what is told of a load that is too much."""

from __future__ import annotations

import copy
from dataclasses import astuple
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from bench import cost, costing, lagging, measurements, scope, windows
from bench.driving import Lines
from bench.lagging import Way
from bench.telling import lag
from tests.documents import PROJECT


@pytest.fixture(scope="module")
def stored():
    return measurements.read(PROJECT / "docs")["lag"]["raw"]


def a_line(at_s, run, **more):
    return {"timestamp": datetime.fromtimestamp(at_s, UTC).isoformat(), "invocation_id": run, **more}


def test_the_parts_of_a_lag_are_between_its_lines_and_the_beginnings_of_runs_and_add_up_to_it():
    lines = Lines(
        {"a": 1.004, "b": 1.006},
        [a_line(1.050, "p1", message_id="m1", event_ids=["a", "b"])],
        [a_line(1.110, "q1", message_ids=["m0", "m1"])],
        {"p1": 1.040, "q1": 1.080},
    )

    a, b = lagging.ways({"a": 1.000, "b": 1.005}, lines)

    assert astuple(a) == pytest.approx((0.004, 0.036, 0.010, 0.030, 0.030))
    assert astuple(b) == pytest.approx((0.001, 0.034, 0.010, 0.030, 0.030))
    assert (a.lag_s, b.lag_s) == pytest.approx((0.110, 0.105))


def test_of_what_is_published_and_projected_again_the_way_on_which_it_was_counted_first_is_told():
    lines = Lines(
        {"a": 1.0},
        [
            a_line(1.9, "p2", message_id="m2", event_ids=["a"]),
            a_line(1.1, "p1", message_id="m1", event_ids=["a"]),
            a_line(1.95, "p3", message_id="never arrives", event_ids=["a"]),
        ],
        [
            a_line(2.5, "q2", message_ids=["m2"]),
            a_line(2.7, "q3", message_ids=["m1"]),
            a_line(2.6, "q1", message_ids=["m1"]),
        ],
        {"p1": 1.1, "p2": 1.9, "p3": 1.95, "q1": 2.6, "q2": 2.4, "q3": 2.7},
    )

    (way,) = lagging.ways({"a": 1.0}, lines)

    assert astuple(way) == pytest.approx((0.0, 0.9, 0.0, 0.5, 0.1))


def test_no_part_is_less_than_nothing_where_clocks_disagree():
    lines = Lines(
        {"a": 1.5},  # the stream was quicker than the command's own line
        [a_line(1.2, "p1", message_id="m1", event_ids=["a"])],
        [a_line(1.3, "q1", message_ids=["m1"])],
        {"p1": 0.9, "q1": 1.1},
    )

    (way,) = lagging.ways({"a": 1.0}, lines)

    assert astuple(way) == pytest.approx((0.0, 0.0, 0.2, 0.0, 0.1))


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1, 100), (0.001, 1)])
def test_a_share_of_values_does_not_exceed_what_is_said_of_it(share, expected):
    assert lagging.share_of(reversed(range(1, 101)), share) == expected


def test_the_share_of_few_is_one_of_them():
    assert lagging.share_of([3, 1, 2], 0.5) == 2
    assert lagging.share_of([7], 0.99) == 7


def test_a_load_grows_if_its_last_increments_wait_much_longer_than_its_first():
    assert lagging.grows([0.01 * number for number in range(100)])
    assert not lagging.grows([0.2] * 60 + [0.35] * 40)  # longer, and not twice as long
    assert not lagging.grows([0.01] * 60 + [0.05] * 40)  # five times as long, which is soon enough
    assert not lagging.grows([5.0] + [0.1] * 99)


@pytest.mark.parametrize(("each_second", "looks"), [([1.0, 0.4, 0.1, 0.9], 3), ([0.4] * 100, 60)])
def test_a_load_is_sent_when_others_have_come_to_rest_or_do_not(monkeypatch, each_second, looks):
    clock = iter(range(1000))
    used = [0.0]

    def a_second_passes(_):
        used.append(used[-1] + each_second[len(used) - 1] * 2)

    monkeypatch.setattr("bench.lagging.time", SimpleNamespace(sleep=a_second_passes, monotonic=lambda: next(clock)))
    monkeypatch.setattr("bench.lagging.os", SimpleNamespace(cpu_count=lambda: 2))
    monkeypatch.setattr("bench.lagging.driving", SimpleNamespace(busy_s=lambda: used[-1]))

    assert lagging.busy_at_rest() == pytest.approx(each_second[looks - 1])
    assert len(used) == looks + 1


def test_shares_are_of_all_lags_together():
    summed = lagging.summed_up([Way(0.1, 0, 0, 0, 0.1), Way(0.1, 0, 0.5, 0, 0.2)])

    assert summed["shares"] == {
        "appending": 0.2,
        "in_stream": 0,
        "publishing": 0.5,
        "in_queue": 0,
        "projecting": 0.3,
    }
    assert summed["lag_ms"] == {"p50": 200, "p99": 800, "most": 800}


def test_of_a_load_that_was_too_much_no_lag_is_told(stored):
    changed = copy.deepcopy(stored)
    changed["loads"][0] |= {"keeps_up": False, "lag_ms": {"p50": 123_456, "p99": 123_456, "most": 123_456}}
    said = lag.SECTION

    assert "| **too much** |" in said.says(changed)
    assert "123,456" not in said.says(changed)
    assert said.plots(changed)["lag"] != said.plots(stored)["lag"]


def test_where_something_else_kept_the_machine_busy_the_report_says_before_how_many_loads(stored):
    quiet, disturbed = copy.deepcopy(stored), copy.deepcopy(stored)
    for row in (*quiet["loads"], *disturbed["loads"]):
        row["busy_before"] = 0.02
    disturbed["loads"][3]["busy_before"] = 0.9
    said = lag.SECTION

    assert "kept the machine busy" not in said.says(quiet)
    assert f"before 1 of these {len(stored['loads'])} loads" in said.says(disturbed)


def test_where_nothing_keeps_up_the_report_says_so_and_has_no_plot_of_it(stored):
    changed = copy.deepcopy(stored)
    for row in changed["loads"]:
        row["keeps_up"] = False
    said = lag.SECTION

    assert said.plots(changed).keys() == {"window"}
    assert "figures/lag.svg" not in said.says(changed)


def test_what_was_measured_is_what_is_asked_for_and_its_parts_are_all_of_it(stored):
    assert [(row["rate"], row["counters"]) for row in stored["loads"]] == [
        (rate, counters) for rate, _, counters in scope.LAGGED
    ]
    for row in stored["loads"]:
        assert sum(row["shares"].values()) == pytest.approx(1, abs=0.003)


def test_what_a_window_trades_is_what_the_model_says_now(stored):
    kept = [row for row in stored["windows"] if row["rate"] == 10]

    assert windows.all_traded(10, scope.WINDOWS, cost.read(), cost.setup()) == kept


def test_what_a_window_saves_is_the_difference_of_two_rows():
    rows = [
        {"rate": 1, "window_s": 0, "projectors": 1000, "usd": 9.0},
        {"rate": 1, "window_s": 0, "projectors": scope.FEW_PROJECTORS, "usd": 8.0},
        {"rate": 1, "window_s": 1, "projectors": 1000, "usd": 7.5},
    ]

    assert lag.saved(rows, 1, 0, 1) == 1.5
    assert lag.saved_beside_few(rows) == {1: 0.5}


@pytest.mark.parametrize(
    ("step", "events_in_buckets"),
    [
        ("project 1 of one counter, 1 a second", [1]),
        ("project 10 of one counter, 10 a second", [10, 5]),
        ("project 100 of one counter, 100 a second", [100, 50]),
        ("project 1000 of one counter, 1000 a second", [1000, 500]),
        ("project 100 of one counter, 10 a second", [10] * 10 + [5]),
        ("project 1000 of one counter, 100 a second", [100] * 10 + [50]),
    ],
)
def test_the_units_of_counting_are_those_that_were_measured(step, events_in_buckets):
    measured = cost.read().steps[step]

    assert costing.counting_units(events_in_buckets) == (measured.write_units, measured.read_units)
