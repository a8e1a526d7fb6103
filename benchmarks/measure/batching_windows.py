"""
Compute the lag and cost of one counter for each batching window, with benchmarks/models/simulation.py.

At low rates, events arrive at random. A batch includes the event that begins its window.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from benchmarks.measure import environment, scope
from benchmarks.models import deployed
from benchmarks.models.capacity import Case, Model
from benchmarks.models.costing import Costs
from benchmarks.models.simulation import simulate

#: Long enough for events that the queue redelivers after three minutes.
_MEASURED_S: Final = 600
_WINDOWS_MEASURED: Final = 30
_INCREMENTS_MEASURED: Final = 1000

#: With batches of this size, commands and the polling of an idle queue account for almost all of the cost.
_ENDLESS: Final = 10**12


def measure(*, quick: bool) -> list[dict[str, Any]]:
    """Simulate each window at each rate."""
    rates, windows_s = ((1, 10), (0, 1, 10)) if quick else (scope.WINDOW_RATES, scope.WINDOWS_S)
    costs = deployed.read_costs()
    return [row for rate in environment.show_progress(rates, "Windows") for row in measure_rate(rate, windows_s, costs)]


def measure_rate(rate: int, windows_s: tuple[int, ...], costs: Costs) -> Iterator[dict[str, Any]]:
    """Yield a row for each window, and another row with few `PROJECTORS` if retries are exhausted."""
    for window_s in windows_s:
        case = Case(rate, counters=1, window_s=window_s)
        row = _simulate(Model(case, costs))
        yield row
        if row["retries_exhausted_share"]:
            yield _simulate(Model(replace(case, project_at_once=scope.FEW_PROJECTORS), costs))


def _simulate(model: Model) -> dict[str, Any]:
    case = model.case
    result = simulate(
        model.describe_system(is_warm=True),
        warm_up_s=5 + 2 * case.window_s,
        measured_s=_MEASURED_S + _WINDOWS_MEASURED * case.window_s + _INCREMENTS_MEASURED / case.rate,
    )
    usd = model.price(result)
    return {
        "rate": case.rate,
        "window_s": case.window_s,
        "projectors": case.project_at_once,
        "lag_p50_s": round(result.lag_s(0.5), 2),
        "lag_p99_s": round(result.lag_s(0.99), 2),
        "batch": round(result.batch, 1),
        "write_units": round(model.count_units(result).write, 3),
        "runs": round((result.publishes + result.runs) / result.counted, 4),
        "retries_exhausted_share": round(result.retries_exhausted / result.published, 4),
        "usd": round(usd, 2),
        "usd_without_command": round(usd - model.price(result, _ENDLESS), 4),
    }
