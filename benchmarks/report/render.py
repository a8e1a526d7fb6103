"""
Render the report from stored figures: docs/figures.json in, Markdown and plots out. Pure: no measuring, no I/O.

The text of each measurement is in `telling`; a new measurement adds a section there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.measure import scope
from benchmarks.report import (
    batching_windows,
    cold_start,
    cpu_time,
    faults,
    latency,
    ops_commands,
    request_costs,
    throughput,
)
from benchmarks.report.markdown import DASH, Goal, Section, bold, goals_table, multiple, short, table

if TYPE_CHECKING:
    from collections.abc import Mapping


def rendered(figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the files of the report, the page and the plots, by their paths below docs/."""
    files: dict[str, str] = {}
    parts = [_INTRODUCTION, *_in_short(figures)]
    for name, section in SECTIONS.items():
        if name in figures:
            stored = figures[name]
            parts += [f"## {section.title}", section.says(stored["raw"]), f"*{_measured(stored)}*"]
            files |= {f"figures/{plot}.svg": svg for plot, svg in section.plots(stored["raw"]).items()}
    return {"figures.md": "\n\n".join(parts) + "\n", **files}


_INTRODUCTION: Final = """\
# Figures

What this design costs, which faults it survives, and how long it takes, compared with the usual alternatives. What a
million increments cost in USD is under [cost](cost.md), and how it scales to a million a second under
[scale](scale.md).

`make bench` measures everything and writes this page, its plots and the raw numbers, `figures.json`. It takes about an
hour on two processors, which should have nothing else to do. `make bench SECTIONS="spending surviving"` measures only
these sections, by their names in `figures.json`. `make bench-quick` measures less of everything, in a few minutes, into
`.local/bench`. Units, requests, bytes, faults and simulated time come out the same on any machine. Times do not, and
most are multiples of a unit that was measured in turn with them. Each section has its own date. **Nothing here was
measured on AWS.**

## Words

- A *command* appends one *event* to the log for each increment.
- `publish` sends the events of the log's stream to a queue, at most 1,000 in a message.
- `project` takes up to ten messages and counts their events: it adds them to their *counters*. A counter's item
  remembers its *recent entries*, by which an event is known to be counted. Older entries are *archived* in pages.
- A *batch* is the events that one run of a function gets.
- A *write unit* pays for writing up to 1 KB of an item, and in a transaction for half of that; a *read unit* for
  reading up to 4 KB with strong consistency.
- The *alternatives* are other designs. They are in `benchmarks/alternatives.py`, each as short as a careful reader
  would write it: a *front* sends each increment as a message of its own, and a *worker* that the queue triggers
  counts it.
  None of them has an event log.
- *Bare* calls are boto3 calls that make the same writes as a function, without the rest of the function.
- The *engine* is the embedded AWS, run within the process that measures."""

_WHICH: Final = """\
**Which to pick.** If a count may be wrong now and then, *one `ADD` per message* is the least work. If it must be exact
and nothing else is needed, *a marker per event, in a transaction* is short, costs twice as much to write, and takes up
to 500 increments a second on a counter. This design is for exact counts at about the price of the unprotected `ADD`
and of an event log, from which counts can be verified, repaired and projected in other ways. It costs more code: the
recent entries and their archive."""


def goals(figures: Mapping[str, Any]) -> list[Goal]:
    """Return the goals of all sections that were measured."""
    return [
        goal for name, section in SECTIONS.items() if name in figures for goal in section.goals(figures[name]["raw"])
    ]


def _in_short(figures: Mapping[str, Any]) -> list[str]:
    """Return the goals with their results, and how to choose a design, as far as they were measured."""
    parts = []
    if found := goals(figures):
        parts.append(
            "**Goals**, and the results. The section of a missed goal explains the limit.\n\n" + goals_table(found)
        )
    if "surviving" in figures:
        raw = figures["surviving"]["raw"]
        exact = [f"*{design}*" for design, outcomes in raw.items() if all(map(faults.survives, outcomes.values()))]
        parts.append(f"**Exact under every fault** that was tested: {', '.join(exact) or 'none'}.")
        parts.append(_WHICH)
    return ["## In short", *parts] if parts else []


def _measured(stored: Mapping[str, Any]) -> str:
    machine = stored["machine"]
    return (
        f"Measured on {stored['measured_on']}, {machine['cpus']} cores ({machine['processor']}), load "
        f"average {machine['load']:.1f} in the minute before, {machine['system']}, Python {machine['python']}, "
        f"boto3 {machine['boto3']}."
    )


def headlines(figures: Mapping[str, Any]) -> str:
    """Return the table of designs in README."""
    spent, survived, crowded = (figures[name]["raw"] for name in ("spending", "surviving", "crowding"))

    def units(design: str, events: int, spread: int) -> str:
        return short(request_costs.per_increment(spent, design, events, spread, "write_units"))

    def paces(design: str) -> str:
        if design not in {row["design"] for row in crowded}:
            return DASH
        # With as many workers, the marker's own pace may be 0.
        return multiple(
            throughput.pace(crowded, design, 100, 1, 8), throughput.pace(crowded, scope.PACE_UNIT, 100, 1, 1)
        )

    rows = [
        [
            bold(design),
            f"{sum(map(faults.survives, survived[design].values()))} of {len(survived[design])}",
            units(design, 1, 1),
            units(design, 100, 1),
            units(design, 1000, 1000),
            paces(design),
        ]
        for design in scope.DESIGNS
    ]
    head = ["design", "faults survived", "write units, alone", "100 of one counter", "1,000 of 1,000 counters", "pace"]
    return table(head, rows)


#: In the order of the report, by the names under which their figures are stored.
SECTIONS: Final[dict[str, Section]] = {
    "spending": request_costs.SECTION,
    "surviving": faults.SECTION,
    "working": cpu_time.SECTION,
    "crowding": throughput.SECTION,
    "lag": latency.SECTION,
    "windows": batching_windows.SECTION,
    "starting": cold_start.SECTION,
    "operating": ops_commands.SECTION,
}
