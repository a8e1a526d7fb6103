"""One worker and several, told."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from bench import costing, plots, scope
from bench.telling.writing import Goal, Section, bold, goals_table, multiple, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def pace(raw: Sequence[Mapping[str, Any]], design: str, batch: int, spread: int, workers: int) -> float:
    """Events a second."""
    wanted = (design, batch, spread, workers)
    return next(
        float(row["a_second"]) for row in raw if (row["design"], row["batch"], row["spread"], row["workers"]) == wanted
    )


def _says(raw: Sequence[Mapping[str, Any]]) -> str:
    batches, spreads, workers, names = (
        list(dict.fromkeys(row[what] for row in raw)) for what in ("batch", "spread", "workers", "design")
    )
    parts = [
        "How many events a second are counted by several workers at once: threads of one process, on the engine of "
        f"[the proof](../README.md#the-proof). Each request takes {costing.WAIT_MS} ms, and a transaction holds its "
        "items for as long, so that others who write them meet a conflict. A batch that failed is delivered again at "
        "once. Figures are multiples of *one* worker with *a marker per event, in a transaction*, in batches of the "
        f"same size and spread: 2 is twice as many events a second. Each is of one run, of seconds, so small "
        "differences say little. One worker is limited by its waiting, many on one counter by conflicts, and many "
        "elsewhere by the one processor that the process has, which functions on Lambda do not share. FIFO queues "
        "give a counter's messages to one worker at a time: they are left out, and one worker of theirs is one of *one "
        "`ADD` per message*.",
        "![Workers](figures/workers.svg)",
    ]
    for spread in spreads:
        where = "On one counter" if spread == 1 else f"Spread over {spread} counters"
        rows = [
            [
                bold(name),
                f"{batch:,}",
                *(
                    multiple(pace(raw, name, batch, spread, crowd), pace(raw, scope.PACE_UNIT, batch, spread, 1))
                    for crowd in workers
                ),
            ]
            for batch in batches
            for name in names
        ]
        head = ["design", "batch", *(f"{crowd} worker{'s' if crowd > 1 else ''}" for crowd in workers)]
        parts += [f"**{where}**", table(head, rows)]
    parts += [goals_table(_goals(raw)), *_why(raw)]
    return "\n\n".join(parts)


def advantage(raw: Sequence[Mapping[str, Any]], batch: int, spread: int, workers: int) -> float:
    """How many times as many events a second as with a marker per event, with as many workers."""
    others = pace(raw, scope.PACE_UNIT, batch, spread, workers)
    return pace(raw, scope.OURS, batch, spread, workers) / others if others else math.inf


def _goals(raw: Sequence[Mapping[str, Any]]) -> list[Goal]:
    batches, spreads, workers = (
        list(dict.fromkeys(row[what] for row in raw)) for what in ("batch", "spread", "workers")
    )
    hoped = []
    for spread in spreads:
        found = [times for of_batch in _advantages(raw, spread).values() for times in of_batch.values()]
        hoped.append(
            Goal(
                f"{_where(spread)}, this design counts at least {scope.PACE_GOAL} times as fast as a marker per event "
                f"with as many workers, in batches of {scope.PACE_GOAL_FROM} or more",
                f"{_advantage(min(found))} to {_advantage(max(found))} times",
                min(found) >= scope.PACE_GOAL,
            )
        )
    one, most = workers[0], workers[-1]
    held = {batch: pace(raw, scope.OURS, batch, 1, most) / pace(raw, scope.OURS, batch, 1, one) for batch in batches}
    hoped.append(
        Goal(
            f"{_where(1)}, {most} workers with this design count at least as fast as one",
            ", ".join(f"{times:.2f} times in batches of {batch:,}" for batch, times in held.items()),
            min(held.values()) >= 1,
        )
    )
    return hoped


def _advantages(raw: Sequence[Mapping[str, Any]], spread: int) -> dict[int, dict[int, float]]:
    """Of each batch size that the goal is about, the advantage by the number of workers."""
    batches, workers = (list(dict.fromkeys(row[what] for row in raw)) for what in ("batch", "workers"))
    return {
        batch: {crowd: advantage(raw, batch, spread, crowd) for crowd in workers}
        for batch in batches
        if batch >= scope.PACE_GOAL_FROM
    }


def _advantage(times: float) -> str:
    if math.isinf(times):
        return "\N{INFINITY}"
    return f"{times:,.0f}" if times >= 10 else f"{times:.1f}"


def _where(spread: int) -> str:
    return "on one counter" if spread == 1 else f"spread over {spread} counters"


def _why(raw: Sequence[Mapping[str, Any]]) -> list[str]:
    spread = max(row["spread"] for row in raw)
    by_batch = _advantages(raw, spread)
    workers = list(next(iter(by_batch.values())))
    return [
        f"**{_where(spread).capitalize()}**, this design counts so many times as fast as a marker per event with as "
        "many workers:",
        table(
            ["batch", *(f"{crowd} worker{'s' if crowd > 1 else ''}" for crowd in workers)],
            [[f"{batch:,}", *(_advantage(times) for times in found.values())] for batch, found in by_batch.items()],
        ),
        f"In a batch of {spread} over {spread} counters no two events meet, so nothing is added up before it is "
        "written. One worker writes 25 such counters in a transaction, which is its advantage. Several workers with "
        "events of the same counters meet in whole transactions. The counters because of which one is refused are read "
        "again and tried again, in groups half as large each time, and in the end each by itself, while a "
        "marker's transaction holds one counter. What helps is fewer workers (`PROJECTORS`), and batches in which more "
        "events meet (a longer `BATCHING_WINDOW_S`): the first column of this table and its last row are such.",
    ]


def _drawn(raw: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    batches, workers, names = (list(dict.fromkeys(row[what] for row in raw)) for what in ("batch", "workers", "design"))
    batch = max(size for size in batches if size <= scope.PACE_GOAL_FROM)
    unit = pace(raw, scope.PACE_UNIT, batch, 1, 1)
    series = {name: [(crowd, pace(raw, name, batch, 1, crowd) / unit) for crowd in workers] for name in names}
    title = f"Events a second on one counter, in batches of {batch:,}"
    return {"workers": plots.lines(title, "workers", "times one worker with a marker per event", series)}


SECTION: Final = Section("Workers, one and several", _says, _drawn, _goals)
