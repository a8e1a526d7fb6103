"""The parts of each increment's lag from log lines, and the report on lags and batching windows."""

import copy
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from benchmarks import store
from benchmarks.measure import batching_windows, latency, scope
from benchmarks.measure.latency import Parts
from benchmarks.measure.load_driver import Lines
from benchmarks.models import deployed
from benchmarks.report import render, results


@pytest.fixture(scope="module")
def stored():
    return store.read()["latency"]


def a_line(at_s, run, **more):
    return {"timestamp": datetime.fromtimestamp(at_s, UTC).isoformat(), "invocation_id": run, **more}


def test_parts_of_a_lag_are_between_lines_and_starts_and_add_up():
    lines = Lines(
        {"a": 1.004, "b": 1.006},
        [a_line(1.050, "p1", message_id="m1", event_ids=["a", "b"])],
        [a_line(1.110, "q1", message_ids=["m0", "m1"])],
        {"p1": 1.040, "q1": 1.080},
    )

    a, b = latency.divide_lags({"a": 1.000, "b": 1.005}, lines)

    assert a == pytest.approx((0.004, 0.036, 0.010, 0.030, 0.030))
    assert b == pytest.approx((0.001, 0.034, 0.010, 0.030, 0.030))
    assert (a.lag_s, b.lag_s) == pytest.approx((0.110, 0.105))


def test_parts_of_a_redelivered_event_are_of_the_delivery_that_counted():
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

    (parts,) = latency.divide_lags({"a": 1.0}, lines)

    assert parts == pytest.approx((0.0, 0.9, 0.0, 0.5, 0.1))


def test_parts_are_not_negative_if_clocks_disagree():
    lines = Lines(
        {"a": 1.5},  # the stream was quicker than the command's own line
        [a_line(1.2, "p1", message_id="m1", event_ids=["a"])],
        [a_line(1.3, "q1", message_ids=["m1"])],
        {"p1": 0.9, "q1": 1.1},
    )

    (parts,) = latency.divide_lags({"a": 1.0}, lines)

    assert parts == pytest.approx((0.0, 0.0, 0.2, 0.0, 0.1))


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1, 100), (0.001, 1)])
def test_quantile_is_not_exceeded_by_this_share_of_the_values(share, expected):
    assert latency.quantile(reversed(range(1, 101)), share) == expected


def test_quantile_of_few_values_is_one_of_them():
    assert latency.quantile([3, 1, 2], 0.5) == 2
    assert latency.quantile([7], 0.99) == 7


def test_load_grows_if_its_last_increments_wait_much_longer():
    assert latency.is_growing([0.01 * number for number in range(100)])
    assert not latency.is_growing([0.2] * 60 + [0.35] * 40)  # longer, and not twice as long
    assert not latency.is_growing([0.01] * 60 + [0.05] * 40)  # five times as long, but quick
    assert not latency.is_growing([5.0] + [0.1] * 99)


@pytest.mark.parametrize(("each_second", "looks"), [([1.0, 0.4, 0.1, 0.9], 3), ([0.4] * 100, 60)])
def test_load_waits_a_minute_at_most_for_an_idle_machine(monkeypatch, each_second, looks):
    clock = iter(range(1000))
    used = [0.0]

    def a_second_passes(_):
        used.append(used[-1] + each_second[len(used) - 1] * 2)

    monkeypatch.setattr(
        "benchmarks.measure.load_driver.time", SimpleNamespace(sleep=a_second_passes, monotonic=lambda: next(clock))
    )
    monkeypatch.setattr("benchmarks.measure.latency.os", SimpleNamespace(cpu_count=lambda: 2))
    monkeypatch.setattr("benchmarks.measure.load_driver.busy_s", lambda: used[-1])

    assert latency.wait_until_idle() == pytest.approx(each_second[looks - 1])
    assert len(used) == looks + 1


def test_shares_are_computed_from_the_sum_of_all_lags():
    summed = latency.summarize([Parts(0.1, 0, 0, 0, 0.1), Parts(0.1, 0, 0.5, 0, 0.2)])

    assert summed["shares"] == {
        "append": 0.2,
        "stream": 0,
        "publish": 0.5,
        "queue": 0,
        "project": 0.3,
    }
    assert summed["lag_ms"] == {"p50": 200, "p99": 800, "max": 800}


def render_latency(section):
    return render.render_pages({"latency": section})


def test_excessive_load_has_no_lag_in_the_report(stored):
    changed = copy.deepcopy(stored)
    changed["raw"]["loads"][0] |= {"keeps_up": False, "lag_ms": {"p50": 123_456, "p99": 123_456, "max": 123_456}}

    before, after = render_latency(stored), render_latency(changed)

    assert "| **too much** |" in after["benchmarks.md"]
    assert "123,456" not in after["benchmarks.md"]
    assert after["figures/latency.svg"] != before["figures/latency.svg"]


def test_report_counts_the_loads_before_which_the_machine_was_busy(stored):
    quiet, disturbed = copy.deepcopy(stored), copy.deepcopy(stored)
    for row in (*quiet["raw"]["loads"], *disturbed["raw"]["loads"]):
        row["busy_before"] = 0.02
    disturbed["raw"]["loads"][3]["busy_before"] = 0.9

    assert "kept the machine busy" not in render_latency(quiet)["benchmarks.md"]
    assert f"before 1 of these {len(stored['raw']['loads'])} loads" in render_latency(disturbed)["benchmarks.md"]


def test_report_without_a_load_that_keeps_up_has_no_plot(stored):
    changed = copy.deepcopy(stored)
    for row in changed["raw"]["loads"]:
        row["keeps_up"] = False

    files = render_latency(changed)

    assert files.keys() == {"benchmarks.md"}
    assert "figures/latency.svg" not in files["benchmarks.md"]


def test_stored_loads_match_the_scope_and_shares_add_up(stored):
    assert [(row["rate"], row["counters"]) for row in stored["raw"]["loads"]] == [
        (rate, counters) for rate, _, counters in scope.LATENCY_LOADS
    ]
    for row in stored["raw"]["loads"]:
        assert sum(row["shares"].values()) == pytest.approx(1, abs=0.003)


def test_stored_windows_match_the_current_model():
    stored = [row for row in store.read()["batching_windows"]["raw"] if row["rate"] == 10]

    assert [*batching_windows.measure_rate(10, scope.WINDOWS_S, deployed.read_costs())] == stored


def test_saving_of_a_window_is_the_difference_of_two_rows():
    rows = [
        {"rate": 1, "window_s": 0, "projectors": 1000, "usd": 9.0},
        {"rate": 1, "window_s": 0, "projectors": scope.FEW_PROJECTORS, "usd": 8.0},
        {"rate": 1, "window_s": 1, "projectors": 1000, "usd": 7.5},
    ]

    assert results.saved_usd(rows, 0, 1) == {1: 1.5}
    assert results.saved_usd_with_few(rows) == {1: 0.5}
