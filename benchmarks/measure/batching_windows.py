"""
What the batching window trades, lag against cost, by the model of benchmarks/models/simulation.py on one counter.

Events come at random if they are few, and the event that begins a window is one more in its batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from benchmarks import scale
from benchmarks.measure import scope
from benchmarks.models import costing
from benchmarks.models.costing import Batch
from benchmarks.models.simulation import simulated
from benchmarks.scale import Case

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.cost import Figures
    from benchmarks.models.costing import Setup

#: So long that it includes events that are given up, and delivered again after three minutes.
_MEASURED_S: Final = 600
_WINDOWS_MEASURED: Final = 30
_INCREMENTS_MEASURED: Final = 1000

#: With batches of so many, only the cost of commands is left, and that of polling an empty queue.
_ENDLESS: Final = 10**12


def all_traded(rate: int, windows_s: Iterable[int], figures: Figures, deployed: Setup) -> list[dict[str, Any]]:
    """Return a row for each window, and one more with few `PROJECTORS` if events are given up without them."""
    rows = []
    for seconds in windows_s:
        case = Case(rate, counters=1, window_s=seconds)
        rows.append(traded(case, figures, deployed))
        if rows[-1]["given_up_share"]:
            rows.append(traded(replace(case, project_at_once=scope.FEW_PROJECTORS), figures, deployed))
    return rows


def traded(case: Case, figures: Figures, deployed: Setup) -> dict[str, Any]:
    """Return the outcome of a case of one counter, once everything runs."""
    system = scale.system_of(case, figures, deployed)
    found = simulated(
        replace(system, first_pollers=system.most_pollers),
        warm_up_s=5 + 2 * case.window_s,
        measured_s=_MEASURED_S + _WINDOWS_MEASURED * case.window_s + _INCREMENTS_MEASURED / case.rate,
    )
    publish, project = scale.steps_of(case, figures)
    typical = max(1, round(found.batch))
    units = scale.units_of(case, found)
    steps = publish(typical), scale.with_units(project(typical), units, found.batch)
    command = costing.increments(deployed, figures.steps["increment"], Batch(_ENDLESS, *steps), case.rate)
    parts = costing.increments(deployed, figures.steps["increment"], Batch(found.batch, *steps), case.rate)
    usd = sum(parts.values())
    return {
        "rate": case.rate,
        "window_s": case.window_s,
        "projectors": case.project_at_once,
        "lag_p50_s": round(found.lag_s(0.5), 2),
        "lag_p99_s": round(found.lag_s(0.99), 2),
        "batch": round(found.batch, 1),
        "write_units": round(units.write, 3),
        "runs": round((found.publishes + found.runs) / found.counted, 4),
        "given_up_share": round(found.given_up / found.published, 4),
        "usd": round(usd, 2),
        "usd_after_command": round(usd - sum(command.values()), 4),
    }
