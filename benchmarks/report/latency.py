"""The section on the lag from accepted to counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.measure import scope
from benchmarks.report import plots
from benchmarks.report.markdown import DASH, Section, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The names of the parts of a lag, in their order.
_PARTS: Final = {
    "appending": "the command's append",
    "in_stream": "until `publish` runs",
    "publishing": "`publish`, until it has sent",
    "in_queue": "until `project` runs",
    "projecting": "`project`, until it has counted",
}


def _says(raw: Mapping[str, Any]) -> str:
    kept_up = [row for row in raw["loads"] if row["keeps_up"]]
    too_much = [row for row in raw["loads"] if not row["keeps_up"]]
    disturbed = [row for row in raw["loads"] if row["busy_before"] > scope.BUSY]
    head = ["a second", "counters", "increments", "before", "busy", "events a message", "lag, 50 %", "99 %", "the most"]
    rows = [
        [
            f"{row['rate']:g}",
            f"{row['counters']}",
            f"{row['sent']:,}",
            f"{100 * row['busy_before']:.0f} %",
            f"{100 * row['busy']:.0f} %",
            f"{row['events_a_message']:.1f}",
            *(
                [f"{row['lag_ms'][what]:,} ms" for what in ("p50", "p99", "most")]
                if row["keeps_up"]
                else ["**too much**", DASH, DASH]
            ),
        ]
        for row in raw["loads"]
    ]
    parts = [
        "The *lag* of an increment is the time from when it is accepted until it is counted.",
        "**Measured** on the embedded AWS with everything deployed. Increments are sent at a steady pace, whether or "
        "not earlier ones have been answered. The functions' log lines tell when each was accepted (the time of its "
        "event), published and counted, to a millisecond. The start of a run of `publish` or `project` is computed "
        "from its end and its duration, as the platform reports them, to some milliseconds. *50 %* and *99 %* are "
        "what these shares of the lags do not exceed; of fewer than a hundred increments, 99 % is the maximum. The "
        "sender, AWS and all functions share one machine, so milliseconds are this machine's. *Busy* is the share of "
        "its processors in use, by any process, while increments were sent, and *before* the share in the second "
        "before: each load waits up to a minute until the machine is idle. AWS's own waits and a batching window are "
        "not included: events that come "
        "while `publish` runs are its next batch.",
        table(head, rows),
    ]
    if disturbed:
        parts.append(
            f"**Other processes kept the machine busy** before {len(disturbed)} of these {len(rows)} loads. Their "
            "longest lags may therefore be too long, and an idle machine may keep up with a load that is *too much* "
            "here."
        )
    if too_much:
        listed = " and ".join(f"{row['rate']:g} a second ({row['sent_a_second']:.0f} were sent)" for row in too_much)
        parts.append(
            f"This machine did not keep up with {listed}. A load is too much if increments cannot be sent in time, or "
            "if the last quarter of them wait over twice as long to be counted as the first. No lag is reported for "
            "it: it would be that of a lower rate, or grow with the duration. The limits of AWS are under "
            "[scale](scale.md)."
        )
    if kept_up:
        parts += _parts_of_lag(kept_up)
    parts.append(
        f"The very first increment, for which every function starts cold, took {raw['first_ms'] / 1000:.1f} s. It is "
        "in none of these rows."
    )
    return "\n\n".join(parts)


def _parts_of_lag(kept_up: Sequence[Mapping[str, Any]]) -> list[str]:
    def cell(row: Mapping[str, Any], part: str) -> str:
        lasts = row["parts_ms"][part]
        return f"{lasts['p50']:,} / {lasts['p99']:,} ms, {100 * row['shares'][part]:.0f} %"

    rows = [[f"{row['rate']:g}", f"{row['counters']}", *(cell(row, part) for part in _PARTS)] for row in kept_up]
    first, last = (
        f"{_PARTS[part]}, {100 * row['shares'][part]:.0f} %"
        for row in (kept_up[0], kept_up[-1])
        for part in [max(_PARTS, key=lambda part: row["shares"][part])]
    )
    return [
        "**Parts of the lag.** Each increment's lag is the sum of five parts. A cell has what half and 99 % of them do "
        "not exceed, and the part's share of all lags together. In the plot, the parts are means.",
        *(["![Lag](figures/lag.svg)"] if len(_plotted(kept_up)) > 1 else []),
        table(["a second", "counters", *_PARTS.values()], rows),
        f"The largest part is in the first row *{first}*, and in the last *{last}*. Two parts are properties of the "
        "embedded AWS. *Until `publish` runs*: each write wakes its stream poller, but a poller that was woken and "
        "found nothing sleeps for 50 ms, and at some twenty a second the next event often comes in that time. *Until "
        "`project` runs*: it polls the queue only when `publish` has ended, which by then has also sent to the queue "
        "of the other "
        "projection.",
    ]


def _plotted(loads: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in loads if row["keeps_up"] and row["counters"] == 1]


def _drawn(raw: Mapping[str, Any]) -> dict[str, str]:
    rows = _plotted(raw["loads"])
    series = {
        "all, 99 %": [(row["rate"], row["lag_ms"]["p99"]) for row in rows],
        "all, 50 %": [(row["rate"], row["lag_ms"]["p50"]) for row in rows],
        **{name: [(row["rate"], row["parts_ms"][part]["mean"]) for row in rows] for part, name in _PARTS.items()},
    }
    if len(rows) < 2:
        return {}
    lag = plots.lines("Lag of one counter, and the means of its parts, measured", "increments a second", "ms", series)
    return {"lag": lag}


SECTION: Final = Section("Lag", _says, _drawn)
