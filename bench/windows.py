"""
What the batching window trades, lag against cost, by the model of bench/simulation.py on one counter.

As in docs/scale.md, and with the units of each bucket as it fills: a second that is counted in several batches is
written again with each, at 2 units for each KB that it has by then.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from bench import costing, prices, scale, scope
from bench.costing import MILLION, Batch
from bench.scale import Case
from bench.simulation import simulated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.cost import Figures
    from bench.costing import Setup

#: So long that what is given up, and comes again after three minutes, is in it.
_MEASURED_S: Final = 600
_WINDOWS_MEASURED: Final = 30
_INCREMENTS_MEASURED: Final = 1000

#: With a batch of so many, only what a command costs by itself is left, and the polling of a queue that is empty.
_ENDLESS: Final = 10**12


def all_traded(rate: int, windows_s: Iterable[int], figures: Figures, deployed: Setup) -> list[dict[str, Any]]:
    """A row for each window, and one more with few `PROJECTORS` where so many give up without them."""
    rows = []
    for seconds in windows_s:
        case = Case(rate, counters=1, window_s=seconds)
        rows.append(traded(case, figures, deployed))
        if rows[-1]["given_up_share"]:
            rows.append(traded(replace(case, project_at_once=scope.FEW_PROJECTORS), figures, deployed))
    return rows


def traded(case: Case, figures: Figures, deployed: Setup) -> dict[str, Any]:
    """What a case of one counter comes to, once everything runs."""
    system = scale.system_of(case, figures, deployed)
    found = simulated(
        replace(system, first_pollers=system.most_pollers),
        warm_up_s=5 + 2 * case.window_s,
        measured_s=_MEASURED_S + _WINDOWS_MEASURED * case.window_s + _INCREMENTS_MEASURED / case.rate,
    )
    publish, project = scale.steps_of(case, figures)
    typical = max(1, round(found.batch))
    steps = publish(typical), project(typical)
    command = costing.increments(deployed, figures.steps["increment"], Batch(_ENDLESS, *steps), case.rate)
    parts = costing.increments(deployed, figures.steps["increment"], Batch(found.batch, *steps), case.rate)
    write_units, read_units = found.write_units / found.counted, found.read_units / found.counted
    parts["counting"] = prices.WRITE_UNITS.of(MILLION * write_units) + prices.READ_UNITS.of(MILLION * read_units)
    usd = sum(parts.values())
    return {
        "rate": case.rate,
        "window_s": case.window_s,
        "projectors": case.project_at_once,
        "lag_p50_s": round(found.lag_s(0.5), 2),
        "lag_p99_s": round(found.lag_s(0.99), 2),
        "batch": round(found.batch, 1),
        "write_units": round(write_units, 3),
        "runs": round((found.publishes + found.runs) / found.counted, 4),
        "given_up_share": round(found.given_up / found.published, 4),
        "usd": round(usd, 2),
        "usd_after_command": round(usd - sum(command.values()), 4),
    }
