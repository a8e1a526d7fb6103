"""Tables of docs/scale.md, from the stored cases and the stored validation."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.models.capacity import RATES, SERIES, Case
from benchmarks.models.limits import LIMITS
from benchmarks.report.markdown import format_percent, format_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Row = Mapping[str, Any]

_COLUMNS = (
    "a second",
    "accepted",
    "lag p50",
    "lag p99",
    "lag from idle",
    "time to warm the table",
    "write units",
    "conflicts",
    "retries exhausted",
    "events a batch",
    "USD",
    "bottleneck",
    "what to change",
)


def view(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context of the page."""
    rows = {title: _select(settings, figures["scale"]["raw"]) for title, settings in SERIES.items()}
    validation = figures.get("validation")
    return {
        "summary": format_table(
            ["case", "increments a second", "lag p50", "lag p99", "USD a million"],
            [_summarize(title, cases) for title, cases in rows.items()],
            "lrrrr",
        ),
        "tables": {
            title: format_table(_COLUMNS, map(_format_case, cases), "r" * 11 + "ll") for title, cases in rows.items()
        },
        "validation": validation and _view_validation(validation),
    }


def _select(settings: dict[str, int], cases: Iterable[Row]) -> list[Row]:
    wanted = [asdict(Case(rate, **settings)) for rate in RATES]
    return [row for row in cases if {name: row[name] for name in wanted[0]} in wanted]


def _summarize(title: str, cases: Iterable[Row]) -> list[str]:
    """Return the highest rate at which counting keeps up in this case."""
    most = max((row for row in cases if row["keeps_up"]), key=lambda row: (row["accepted"], -row["rate"]))
    lags = [f"{most[lag]:.1f} s" for lag in ("lag_p50_s", "lag_p99_s")]
    return [title, f"{most['accepted']:,}", *lags, f"{most['usd']:.2f}"]


def _format_case(row: Row) -> list[str]:
    name, used = next(iter(row["used"].items()))
    return [
        f"{row['rate']:,}",
        f"{row['accepted']:,}",
        *(f"{row[lag]:.1f} s" if row["keeps_up"] else "grows" for lag in ("lag_p50_s", "lag_p99_s")),
        f"{row['lag_from_idle_p99_s']:.1f} s" if row["keeps_up_from_idle"] else "grows",
        f"{row['table_warm_up_min']} min",
        f"{row['write_units']:.3f}",
        f"{row['conflicts_per_run']:.2f}",
        format_percent(row["retries_exhausted_share"], 1),
        f"{row['batch']:,.0f}",
        f"{row['usd']:.2f}",
        f"{name}, {format_percent(used) if used >= 0.01 else 'under 1 %'}",
        _describe_changes(row["used"]),
    ]


def _describe_changes(used: Mapping[str, float]) -> str:
    """Return the change for each exceeded limit."""
    exceeded = {name: share for name, share in used.items() if share > 1}
    quotas = [f"{name} to {_format_times(share)}" for name, share in exceeded.items() if not LIMITS[name].change]
    changes = [LIMITS[name].change or "" for name in exceeded if LIMITS[name].change]
    return "; ".join([*changes, *([f"raise {', '.join(quotas)}"] if quotas else [])]) or "nothing"


def _format_times(share: float) -> str:
    return f"{math.ceil(share * 10) / 10:,.1f} times" if share < 10 else f"{math.ceil(share):,} times"


def _view_validation(section: Row) -> dict[str, Any]:
    raw = section["raw"]
    rows = [
        [
            *([f"{row['rate']:.0f}", format_percent(row["load"])] if source == "measured" else ["", ""]),
            source,
            f"{row[source]['batch']:.1f}",
            *(f"{row[source][lag]:.2f} s" for lag in ("oldest_p50_s", "oldest_p90_s")),
        ]
        for row in raw["rows"]
        for source in ("measured", "model")
    ]
    head = ["a second", "load of the machine", "source", "events a batch", "age p50", "p90"]
    return {
        "measured_on": section["measured_on"],
        "table": format_table(head, rows, "rrlrrr"),
        **{name: round(1000 * raw[name]) for name in ("publish_s", "project_s", "work_s")},
    }
