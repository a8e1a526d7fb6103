"""Compute the numbers in docs/scale.md from the stored cases and the stored validation."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from benchmarks.models.capacity import RATES, SERIES, Case
from benchmarks.models.limits import LIMITS

Row = Mapping[str, Any]


def view(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context of the page."""
    rows = {title: _select(settings, figures["scale"]["raw"]) for title, settings in SERIES.items()}
    return {
        "best": {title: _find_best(cases) for title, cases in rows.items()},
        "series": rows,
        "validation": figures.get("validation"),
    }


def _select(settings: dict[str, int], cases: Iterable[Row]) -> list[Row]:
    wanted = [asdict(Case(rate, **settings)) for rate in RATES]
    return [row for row in cases if {name: row[name] for name in wanted[0]} in wanted]


def _find_best(cases: Iterable[Row]) -> Row:
    """Return the case with the highest accepted rate at which counting keeps up."""
    return max((row for row in cases if row["keeps_up"]), key=lambda row: (row["accepted"], -row["rate"]))


def describe_changes(used: Mapping[str, float]) -> str:
    """Describe the change that each exceeded limit requires. The result is "nothing" if no limit is exceeded."""
    exceeded = {name: share for name, share in used.items() if share > 1}
    quotas = [f"{name} to {_format_times(share)}" for name, share in exceeded.items() if not LIMITS[name].change]
    changes = [LIMITS[name].change or "" for name in exceeded if LIMITS[name].change]
    return "; ".join([*changes, *([f"raise {', '.join(quotas)}"] if quotas else [])]) or "nothing"


def _format_times(share: float) -> str:
    return f"{math.ceil(share * 10) / 10:,.1f} times" if share < 10 else f"{math.ceil(share):,} times"
