"""Compute lag, cost and bottleneck of 10 to 1,000,000 increments per second, with benchmarks/models/capacity.py."""

from typing import Any

from benchmarks.measure import environment
from benchmarks.models import capacity, deployed


def measure(*, quick: bool) -> list[dict[str, Any]]:
    """Evaluate the cases of all series. If `quick`, evaluate only the first two."""
    costs, cases = deployed.read_costs(), capacity.cases()[: 2 if quick else None]
    return [capacity.evaluate(case, costs) for case in environment.show_progress(cases, "Simulating")]
