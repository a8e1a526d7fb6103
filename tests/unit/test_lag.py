"""The parts of each increment's lag from log lines, and the report on lags and windows."""

from __future__ import annotations

import copy
from dataclasses import astuple
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from benchmarks import cost
from benchmarks.measure import batching_windows, function_times, latency, scope
from benchmarks.measure.latency import Way
from benchmarks.measure.load_driver import Lines
from benchmarks.report import batching_windows as told
from benchmarks.report import latency as report_latency
from tests.doc_pages import PROJECT


@pytest.fixture(scope="module")
def stored():
    return function_times.read(PROJECT / "docs")["lag"]["raw"]


def a_line(at_s, run, **more):
    return {"timestamp": datetime.fromtimestamp(at_s, UTC).isoformat(), "invocation_id": run, **more}


def test_parts_of_a_lag_are_between_lines_and_starts_and_add_up():
    lines = Lines(
        {"a": 1.004, "b": 1.006},
        [a_line(1.050, "p1", message_id="m1", event_ids=["a", "b"])],
        [a_line(1.110, "q1", message_ids=["m0", "m1"])],
        {"p1": 1.040, "q1": 1.080},
    )

    a, b = latency.ways({"a": 1.000, "b": 1.005}, lines)

    assert astuple(a) == pytest.approx((0.004, 0.036, 0.010, 0.030, 0.030))
    assert astuple(b) == pytest.approx((0.001, 0.034, 0.010, 0.030, 0.030))
    assert (a.lag_s, b.lag_s) == pytest.approx((0.110, 0.105))


def test_way_of_a_redelivered_event_is_the_one_that_counted_first():
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

    (way,) = latency.ways({"a": 1.0}, lines)

    assert astuple(way) == pytest.approx((0.0, 0.9, 0.0, 0.5, 0.1))


def test_parts_are_not_negative_if_clocks_disagree():
    lines = Lines(
        {"a": 1.5},  # the stream was quicker than the command's own line
        [a_line(1.2, "p1", message_id="m1", event_ids=["a"])],
        [a_line(1.3, "q1", message_ids=["m1"])],
        {"p1": 0.9, "q1": 1.1},
    )

    (way,) = latency.ways({"a": 1.0}, lines)

    assert astuple(way) == pytest.approx((0.0, 0.0, 0.2, 0.0, 0.1))


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1, 100), (0.001, 1)])
def test_share_of_values_does_not_exceed_the_result(share, expected):
    assert latency.share_of(reversed(range(1, 101)), share) == expected


def test_share_of_few_values_is_one_of_them():
    assert latency.share_of([3, 1, 2], 0.5) == 2
    assert latency.share_of([7], 0.99) == 7


def test_load_grows_if_its_last_increments_wait_much_longer():
    assert latency.grows([0.01 * number for number in range(100)])
    assert not latency.grows([0.2] * 60 + [0.35] * 40)  # longer, and not twice as long
    assert not latency.grows([0.01] * 60 + [0.05] * 40)  # five times as long, which is soon enough
    assert not latency.grows([5.0] + [0.1] * 99)


@pytest.mark.parametrize(("each_second", "looks"), [([1.0, 0.4, 0.1, 0.9], 3), ([0.4] * 100, 60)])
def test_load_waits_a_minute_at_most_for_an_idle_machine(monkeypatch, each_second, looks):
    clock = iter(range(1000))
    used = [0.0]

    def a_second_passes(_):
        used.append(used[-1] + each_second[len(used) - 1] * 2)

    monkeypatch.setattr(
        "benchmarks.measure.latency.time", SimpleNamespace(sleep=a_second_passes, monotonic=lambda: next(clock))
    )
    monkeypatch.setattr("benchmarks.measure.latency.os", SimpleNamespace(cpu_count=lambda: 2))
    monkeypatch.setattr("benchmarks.measure.latency.load_driver", SimpleNamespace(busy_s=lambda: used[-1]))

    assert latency.busy_at_rest() == pytest.approx(each_second[looks - 1])
    assert len(used) == looks + 1


def test_shares_are_of_all_lags_together():
    summed = latency.summed_up([Way(0.1, 0, 0, 0, 0.1), Way(0.1, 0, 0.5, 0, 0.2)])

    assert summed["shares"] == {
        "appending": 0.2,
        "in_stream": 0,
        "publishing": 0.5,
        "in_queue": 0,
        "projecting": 0.3,
    }
    assert summed["lag_ms"] == {"p50": 200, "p99": 800, "most": 800}


def test_excessive_load_has_no_lag_in_the_report(stored):
    changed = copy.deepcopy(stored)
    changed["loads"][0] |= {"keeps_up": False, "lag_ms": {"p50": 123_456, "p99": 123_456, "most": 123_456}}
    said = report_latency.SECTION

    assert "| **too much** |" in said.says(changed)
    assert "123,456" not in said.says(changed)
    assert said.plots(changed)["lag"] != said.plots(stored)["lag"]


def test_report_counts_the_loads_before_which_the_machine_was_busy(stored):
    quiet, disturbed = copy.deepcopy(stored), copy.deepcopy(stored)
    for row in (*quiet["loads"], *disturbed["loads"]):
        row["busy_before"] = 0.02
    disturbed["loads"][3]["busy_before"] = 0.9
    said = report_latency.SECTION

    assert "kept the machine busy" not in said.says(quiet)
    assert f"before 1 of these {len(stored['loads'])} loads" in said.says(disturbed)


def test_report_without_a_load_that_keeps_up_has_no_plot(stored):
    changed = copy.deepcopy(stored)
    for row in changed["loads"]:
        row["keeps_up"] = False
    said = report_latency.SECTION

    assert said.plots(changed) == {}
    assert "figures/lag.svg" not in said.says(changed)


def test_stored_loads_are_those_of_the_scope_and_shares_add_up(stored):
    assert [(row["rate"], row["counters"]) for row in stored["loads"]] == [
        (rate, counters) for rate, _, counters in scope.LAGGED
    ]
    for row in stored["loads"]:
        assert sum(row["shares"].values()) == pytest.approx(1, abs=0.003)


def test_stored_windows_are_what_the_model_finds_now():
    stored = function_times.read(PROJECT / "docs")["windows"]["raw"]
    kept = [row for row in stored if row["rate"] == 10]

    assert batching_windows.all_traded(10, scope.WINDOWS, cost.read(), cost.setup()) == kept


def test_saving_of_a_window_is_the_difference_of_two_rows():
    rows = [
        {"rate": 1, "window_s": 0, "projectors": 1000, "usd": 9.0},
        {"rate": 1, "window_s": 0, "projectors": scope.FEW_PROJECTORS, "usd": 8.0},
        {"rate": 1, "window_s": 1, "projectors": 1000, "usd": 7.5},
    ]

    assert told.saved(rows, 1, 0, 1) == 1.5
    assert told.saved_beside_few(rows) == {1: 0.5}
