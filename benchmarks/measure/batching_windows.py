"""
Lag and cost of one counter by batching window, by the model of benchmarks/models/simulation.py.

Events arrive at random if they are few, and the event that begins a window is one more in its batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measure import environment, scope
from benchmarks.models import capacity, deployed
from benchmarks.models.capacity import Case
from benchmarks.models.simulation import simulate

if TYPE_CHECKING:
    from benchmarks.models.costing import FunctionSteps, Setup

#: Long enough for events that the queue redelivers after three minutes.
_MEASURED_S: Final = 600
_WINDOWS_MEASURED: Final = 30
_INCREMENTS_MEASURED: Final = 1000

#: In a batch of this size, almost only the cost of commands and of polling an idle queue remains.
_ENDLESS: Final = 10**12


def measure(*, quick: bool) -> list[dict[str, Any]]:
    """Simulate each window at each rate."""
    rates, windows_s = ((1, 10), (0, 1, 10)) if quick else (scope.WINDOW_RATES, scope.WINDOWS_S)
    steps, setup = deployed.read_steps(), deployed.read_setup()
    return [
        row
        for rate in environment.show_progress(rates, "Windows")
        for row in measure_rate(rate, windows_s, steps, setup)
    ]


def measure_rate(rate: int, windows_s: tuple[int, ...], measured: FunctionSteps, setup: Setup) -> list[dict[str, Any]]:
    """Return a row for each window, plus one with few `PROJECTORS` if a window exhausts retries."""
    rows = []
    for window_s in windows_s:
        case = Case(rate, counters=1, window_s=window_s)
        rows.append(_simulate(case, measured, setup))
        if rows[-1]["retries_exhausted_share"]:
            rows.append(_simulate(replace(case, project_at_once=scope.FEW_PROJECTORS), measured, setup))
    return rows


def _simulate(case: Case, measured: FunctionSteps, setup: Setup) -> dict[str, Any]:
    system = capacity.describe_system(case, measured, setup)
    result = simulate(
        replace(system, first_pollers=system.most_pollers),
        warm_up_s=5 + 2 * case.window_s,
        measured_s=_MEASURED_S + _WINDOWS_MEASURED * case.window_s + _INCREMENTS_MEASURED / case.rate,
    )
    usd, command_usd = (
        sum(capacity.price(case, measured, setup, result, events).values()) for events in (None, _ENDLESS)
    )
    return {
        "rate": case.rate,
        "window_s": case.window_s,
        "projectors": case.project_at_once,
        "lag_p50_s": round(result.lag_s(0.5), 2),
        "lag_p99_s": round(result.lag_s(0.99), 2),
        "batch": round(result.batch, 1),
        "write_units": round(capacity.counting_units(case, result).write, 3),
        "runs": round((result.publishes + result.runs) / result.counted, 4),
        "retries_exhausted_share": round(result.retries_exhausted / result.published, 4),
        "usd": round(usd, 2),
        "usd_without_command": round(usd - command_usd, 4),
    }
