"""
The report, from stored figures: docs/figures.json in, Markdown and plots out. Pure: nothing here measures or writes.

What it says of each measurement is in `telling`; another measurement adds another section there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bench import scope
from bench.telling import crowding, lag, operating, spending, starting, surviving, working
from bench.telling.writing import DASH, Goal, Section, bold, goals_table, multiple, short, table

if TYPE_CHECKING:
    from collections.abc import Mapping


def rendered(figures: Mapping[str, Any]) -> dict[str, str]:
    """The files of the report by their paths below docs/: the page, and a plot each."""
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

What this design costs, survives and takes, beside what people would do instead. What a million increments cost in USD
is under [cost](cost.md), and what becomes of it at up to a million a second under [scale](scale.md).

`make bench` measures everything anew and writes this page, its plots and the raw numbers, `figures.json`; that takes
some twenty minutes on two processors, which should have nothing else to do. `make bench SECTIONS="spending surviving"`
measures some of it, by the names in `figures.json`. `make bench-quick` does most of it in little, in some two minutes,
into `.local/bench`. Units, requests, bytes and faults are counted, and come out the same on any machine. Times do not,
and most are given as multiples of something that was measured in turn with them. **None of it was measured on AWS.**

## Words

- A *command* appends one *event* to the log for each increment.
- `publish` sends what the log's stream brings to a queue, 1,000 events in a message at most.
- `project` takes up to ten messages and counts their events: it adds them to their *counters*, and their ids to
  *buckets*, one for each counter and second, by which it knows what is counted.
- A *batch* is the events that one run of a function gets.
- A *write unit* pays for writing up to 1 KB of an item, and in a transaction for half of that; a *read unit* for
  reading up to 4 KB, strongly consistently.
- *Alternatives* are the other designs. They are in `bench/alternatives.py`, each as short as a careful reader would write it: a
  *front* sends each increment as a message of its own, and a *worker* that the queue triggers counts it. None of them
  has an event log.
- *Bare* calls are boto3 calls that ask the same of AWS as a function does, without the rest of the function.
- The *engine* is what the embedded AWS is made of, run within the process that measures."""

_WHICH: Final = """\
**Which to pick.** Where a count may be wrong now and then, *one `ADD` per message* is the least work, and the cheapest
while few increments meet in a counter. Where it has to be exact and nothing else is wanted, *a marker per event, in a
transaction* is short and takes the same however increments are spread, up to some 500 a second on a counter; *a
transaction per batch, with markers* takes less where increments of one counter come together. This design is for
exact counts where many increments meet in a counter, or for whoever wants an event log, from which counts can be
verified, made anew and projected otherwise. Where hardly two increments of a batch are of one counter, it takes the
most write units of all."""


def goals(figures: Mapping[str, Any]) -> list[Goal]:
    """All goals that what was measured has."""
    return [
        goal for name, section in SECTIONS.items() if name in figures for goal in section.goals(figures[name]["raw"])
    ]


def _in_short(figures: Mapping[str, Any]) -> list[str]:
    """The goals and what became of them, and what follows for who has to choose; of what was measured."""
    parts = []
    if found := goals(figures):
        parts.append(
            "**Goals**, and what was found. Why one is missed, and what would change it, is said in its section.\n\n"
            + goals_table(found)
        )
    if "surviving" in figures:
        raw = figures["surviving"]["raw"]
        exact = [f"*{design}*" for design, outcomes in raw.items() if all(map(surviving.survives, outcomes.values()))]
        parts.append(f"**Exact under every fault** that was tried: {', '.join(exact) or 'none'}.")
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
    """The few figures of each design that stand in README."""
    spent, survived, crowded = (figures[name]["raw"] for name in ("spending", "surviving", "crowding"))

    def units(design: str, events: int, spread: int) -> str:
        return short(spending.per_increment(spent, design, events, spread, "write_units"))

    def paces(design: str) -> str:
        if design not in {row["design"] for row in crowded}:
            return DASH
        # The marker's own pace with so many may be none at all.
        return multiple(crowding.pace(crowded, design, 100, 1, 8), crowding.pace(crowded, scope.PACE_UNIT, 100, 1, 1))

    rows = [
        [
            bold(design),
            f"{sum(map(surviving.survives, survived[design].values()))} of {len(survived[design])}",
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
    "spending": spending.SECTION,
    "surviving": surviving.SECTION,
    "working": working.SECTION,
    "crowding": crowding.SECTION,
    "lag": lag.SECTION,
    "starting": starting.SECTION,
    "operating": operating.SECTION,
}
