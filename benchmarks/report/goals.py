"""Compare the results with the goals that were set before the measurements."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import scope
from benchmarks.report import results


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal and its result."""

    text: str
    result: str
    is_met: bool


def list_goals(figures: Mapping[str, Any]) -> list[Goal]:
    """Return the goals of all measured sections of docs/benchmarks.md."""
    sections = {
        "request_costs": list_request_cost_goals,
        "cpu_time": _list_cpu_time_goals,
        "throughput": _list_throughput_goals,
    }
    return [goal for name, goals in sections.items() if name in figures for goal in goals(figures[name]["raw"])]


def list_request_cost_goals(raw: Any) -> Iterator[Goal]:
    """Yield the goals in write units."""

    def limit(subject: str, units: float, most: float, each: str = "") -> Goal:
        bound = f"at most {most:g}" if most else "no"
        return Goal(f"{subject}: {bound} write units{each}", f"{units:.3f}", units <= most)

    for events, most in scope.MOST_UNITS.items():
        costs = [results.ordered_cost(raw, order, events) for order in results.distinct(raw["orders"], "order")]
        yield limit(f"increment of one counter, batches of {events:,}, in each measured order", max(costs), most)
    spread = max(results.distinct(raw["cells"], "spread"))
    apart = results.increment_cost(raw, scope.OURS, spread, spread, "write_units")
    if apart is not None:
        yield limit(f"{spread:,} increments of {spread:,} counters", apart, scope.MOST_UNITS[1], " each")
    for path, most in scope.MOST_UNITS_OF_PATHS.items():
        yield limit(path, max(row["write_units"] for row in results.select(raw["paths"], path=path)), most)


def _list_cpu_time_goals(raw: Any) -> Iterator[Goal]:
    ratio, most = results.cpu_ratio(raw, "command", scope.API_HANDLER), scope.COMMAND_GOAL
    yield Goal(f"command: at most {most} times the CPU time of the bare put", f"{ratio:.2f}", ratio <= most)
    for size, most in scope.COUNTING_GOALS.items():
        subject = f"count {size}"
        if subject in raw["compared"]:
            ratio = results.cpu_ratio(raw, subject)
            result = f"{ratio:.2f}"
            if scope.READ_TOO in raw["compared"][subject]["ratios"]:
                read_ratio = results.cpu_ratio(raw, subject, scope.READ_TOO)
                result += f" ({ratio / read_ratio:.2f} times the bare read and write)"
            text = f"counting, batches of {size:,}: at most {most:g} times the CPU time of the bare write"
            yield Goal(text, result, ratio <= most)


def _list_throughput_goals(raw: Any) -> Iterator[Goal]:
    most = max(results.distinct(raw, "workers"))
    compared = [(batch, spread, times, scope.OURS, 1, "one") for batch, spread, times in scope.SCALING_GOALS]
    compared.append((*scope.PACE_GOAL_AT, scope.PACE_GOAL, scope.PACE_UNIT, most, f"{most} with a marker per event"))
    for batch, spread, times, design, workers, name in compared:
        if results.select(raw, batch=batch, spread=spread):
            unit = results.pace(raw, design, batch, spread, workers)
            result = results.pace(raw, scope.OURS, batch, spread, most) / unit if unit else math.inf
            counters = "one counter" if spread == 1 else f"{spread} counters"
            text = f"{counters}, batches of {batch:,}: {most} workers at least {times} times as fast as {name}"
            yield Goal(text, f"{result:.1f} times", result >= times)
