"""Draw the plots as SVG with matplotlib. The output is reproducible. A plot's description lists its points."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from benchmarks.measure import scope
from benchmarks.report.results import (
    cpu_ratio,
    default_windows,
    distinct,
    increment_cost,
    pace,
    plotted_loads,
    select,
)

#: Colors that remain distinct with color blindness, and a marker for each.
_STYLES = list(zip(mpl.color_sequences["okabe_ito"], "s^DPvHXo", strict=True))


def draw_lines(
    title: str,
    x_label: str,
    y_label: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    decades: bool = False,
) -> str:
    """
    Draw these lines on logarithmic axes. Omit points that are not positive.

    The x axis has a tick at the x of each point, or with `decades` at each power of ten.
    """
    lines = {name.replace("`", ""): [(x, y) for x, y in points if x > 0 and y > 0] for name, points in series.items()}
    with mpl.rc_context({"svg.hashsalt": title, "svg.fonttype": "none", "axes.spines.top": False}):
        figure = Figure(figsize=(9, 4), layout="constrained")
        axes = figure.add_subplot(xscale="log", yscale="log", title=title, xlabel=x_label, ylabel=y_label)
        for (name, points), (color, marker) in zip(lines.items(), _STYLES, strict=False):
            axes.plot([x for x, _ in points], [y for _, y in points], color=color, marker=marker, label=name)
        if not decades:
            axes.set_xticks(sorted({x for points in lines.values() for x, _ in points}))
            axes.set_xticks([], minor=True)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,g}")
            axis.set_minor_formatter(LogFormatter())
        axes.grid(axis="y", alpha=0.3)
        figure.legend(loc="outside right upper", frameon=False)
        svg = io.StringIO()
        texts = {"Title": title, "Description": json.dumps(lines), "Date": None, "Creator": None}
        figure.savefig(svg, format="svg", metadata=texts)
    return "\n".join(line.rstrip() for line in svg.getvalue().splitlines()) + "\n"


def draw_plots(figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the plots of all measured sections by name."""
    sections = {
        "request_costs": _draw_write_units,
        "cpu_time": _draw_cpu_time,
        "throughput": _draw_throughput,
        "latency": _draw_latency,
        "batching_windows": _draw_batching_windows,
    }
    return {
        name: svg
        for section, draw in sections.items()
        if section in figures
        for name, svg in draw(figures[section]["raw"])
    }


def _draw_write_units(raw: Any) -> Iterator[tuple[str, str]]:
    batches, spreads = (sorted(distinct(raw["cells"], key)) for key in ("events", "spread"))
    for name, spread, counters in (
        ("write-units", spreads[0], "one counter"),
        ("write-units-spread", spreads[-1], f"{spreads[-1]:,} counters"),
    ):
        series = {
            design: [(size, increment_cost(raw, design, size, spread, "write_units") or 0) for size in batches]
            for design in scope.DESIGNS
        }
        title = f"Write units, {counters}"
        yield name, draw_lines(title, "events in a batch", "write units of an increment", series)


def _draw_cpu_time(raw: Any) -> Iterator[tuple[str, str]]:
    def points(kind: str, program: str) -> list[tuple[float, float]]:
        subjects = {size: raw["compared"].get(f"{kind} {size}") for size in scope.CPU_BATCHES}
        return [
            (size, cpu_ratio(raw, f"{kind} {size}", program))
            for size, compared in subjects.items()
            if compared and program in compared["ratios"]
        ]

    series = {
        "`publish`": points("publish", scope.FUNCTION),
        "`project`": points("count", scope.FUNCTION),
        "bare read and write": points("count", scope.READ_TOO),
    }
    yield "cpu-time", draw_lines("CPU time of a batch", "events in a batch", "times the bare calls", series)


def _draw_throughput(raw: Any) -> Iterator[tuple[str, str]]:
    batch = max(size for size in distinct(raw, "batch") if size <= 100)
    unit = pace(raw, scope.PACE_UNIT, batch, 1, 1)
    series = {
        design: [(number, pace(raw, design, batch, 1, number) / unit) for number in distinct(raw, "workers")]
        for design in distinct(raw, "design")
    }
    title = f"Events a second on one counter, batches of {batch:,}"
    yield "throughput", draw_lines(title, "workers", "times one worker with a marker per event", series)


def _draw_latency(raw: Any) -> Iterator[tuple[str, str]]:
    rows = plotted_loads(raw)
    if len(rows) > 1:
        series = {f"lag, {name}": [(row["rate"], row["lag_ms"][name]) for row in rows] for name in ("p99", "p50")}
        for part, name in scope.LAG_PARTS.items():
            series[f"{name}, mean"] = [(row["rate"], row["parts_ms"][part]["mean"]) for row in rows]
        yield "latency", draw_lines("Lag of one counter, and its phases", "increments a second", "ms", series)


def _draw_batching_windows(raw: Any) -> Iterator[tuple[str, str]]:
    windows = default_windows(raw)
    series = {
        f"{rate:,} a second": [(row["lag_p50_s"], row["usd_without_command"]) for row in select(windows, rate=rate)]
        for rate in distinct(windows, "rate")
        if rate in scope.PLOTTED_RATES
    }
    title = f"Windows of {', '.join(map(str, distinct(windows, 'window_s')))} s (simulated)"
    y_label = "USD a million, without the command"
    yield "batching-windows", draw_lines(title, "lag in seconds, p50", y_label, series, decades=True)
