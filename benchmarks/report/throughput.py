"""The section on one worker and several."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measure import scope
from benchmarks.report import plots
from benchmarks.report.markdown import Goal, Section, bold, goals_table, multiple, table
from chalicelib.domain.archive import KEPT_MAX, KEPT_MIN, RECENT_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def pace(raw: Sequence[Mapping[str, Any]], design: str, batch: int, spread: int, workers: int) -> float:
    """Return events a second."""
    wanted = (design, batch, spread, workers)
    return next(
        float(row["a_second"]) for row in raw if (row["design"], row["batch"], row["spread"], row["workers"]) == wanted
    )


def _says(raw: Sequence[Mapping[str, Any]]) -> str:
    batches, spreads, workers, names = (
        list(dict.fromkeys(row[what] for row in raw)) for what in ("batch", "spread", "workers", "design")
    )
    parts = [
        "How many events a second one worker and several workers count, on the engine and in *simulated time*: the "
        "real code runs, and only waiting takes time, so no processor limits the workers, and every machine finds the "
        f"same. A read takes {scope.READ_MS} ms, a write {scope.WRITE_MS} ms and a transaction {scope.TRANSACTION_MS} "
        f"ms. A transaction holds its items for {scope.TRANSACTION_MS - scope.WRITE_MS} ms of these, and other writes "
        "of these items are then refused as conflicts. A worker counts up to eight counters of its batch at the same "
        "time. A batch that failed is delivered again at once, and nothing is throttled, although DynamoDB takes at "
        "most 1,000 writes a second of an item. Figures are multiples of *one* worker with *a marker per event, in a "
        "transaction*, in batches of the same size and spread: 2 is twice as many events a second. FIFO queues are "
        "left out, because they deliver a counter's messages to one worker at a time.",
        "![Workers](figures/workers.svg)",
    ]
    for spread in spreads:
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
        parts += [f"**{_where(spread).capitalize()}**", table(head, rows)]
    parts += [goals_table(_goals(raw)), _why(raw)]
    return "\n\n".join(parts)


def advantage(raw: Sequence[Mapping[str, Any]], batch: int, spread: int, workers: int) -> float:
    """Return how many times as many events a second are counted as with a marker per event and as many workers."""
    others = pace(raw, scope.PACE_UNIT, batch, spread, workers)
    return pace(raw, scope.OURS, batch, spread, workers) / others if others else math.inf


def scaling(raw: Sequence[Mapping[str, Any]], batch: int, spread: int, workers: int) -> float:
    """Return how many times as many events a second this design counts with so many workers as with one."""
    return pace(raw, scope.OURS, batch, spread, workers) / pace(raw, scope.OURS, batch, spread, 1)


def _goals(raw: Sequence[Mapping[str, Any]]) -> list[Goal]:
    measured = {(row["batch"], row["spread"]) for row in raw}
    most = max(row["workers"] for row in raw)
    found = []
    for batch, spread, hoped in scope.SCALING_GOALS:
        if (batch, spread) in measured:
            times = scaling(raw, batch, spread, most)
            goal = (
                f"{_where(spread)}, in batches of {batch:,}: {most} workers count at least {hoped} times as fast as one"
            )
            found.append(Goal(goal, f"{times:.1f} times", times >= hoped))
    batch, spread = scope.PACE_GOAL_AT
    if (batch, spread) in measured:
        times = advantage(raw, batch, spread, most)
        goal = (
            f"{_where(spread)}, in batches of {batch:,}: {most} workers count at least {scope.PACE_GOAL} times as fast "
            "as with a marker per event"
        )
        found.append(Goal(goal, f"{times:.1f} times", times >= scope.PACE_GOAL))
    return found


def _where(spread: int) -> str:
    return "on one counter" if spread == 1 else f"spread over {spread} counters"


def _why(raw: Sequence[Mapping[str, Any]]) -> str:
    one = pace(raw, scope.OURS, 10, 1, 1) if any(row["batch"] == 10 for row in raw) else None
    said = (
        "**What limits one counter.** Updates of several workers do not conflict. But the counter's item has room for "
        f"{RECENT_MAX} recent entries, of which up to {KEPT_MAX} stay when it is archived, so every "
        f"{RECENT_MAX - KEPT_MAX} to {RECENT_MAX - KEPT_MIN} events an archive is written. It takes a refused update "
        f"and a transaction, {scope.WRITE_MS + scope.TRANSACTION_MS} ms, in which no other worker counts. A single "
        f"worker spends {scope.WRITE_MS} ms on each batch between two archives; eight workers spend an eighth of "
        f"that, and as long on the archive. In batches of 1 they are therefore at most {_bound(1):.1f} times as fast "
        f"as one worker, and in batches of 10 {_bound(10):.1f} times, if no time is lost to conflicts. Conflicts do "
        "cost time: workers whose update was refused try to archive together, one succeeds, and the others wait at "
        "random."
    )
    if one is not None:
        said += (
            f" In batches of 10, one worker alone counts {one:,.0f} events a second: more than the 1,000 that a "
            "partition of the event log takes. So one worker keeps up with any counter of one part, and `SHARDS` give "
            "a counter more parts, which never conflict."
        )
    return said


def _bound(batch: int) -> float:
    """Return how many times as fast as one worker eight can be, if they lose no time but that of the archive."""
    kept = max(KEPT_MIN, min(KEPT_MAX, RECENT_MAX - batch))
    updates_ms = scope.WRITE_MS * max(1, (RECENT_MAX - kept) // batch)
    archive_ms = scope.WRITE_MS + scope.TRANSACTION_MS
    return (updates_ms + archive_ms) / (max(scope.WRITE_MS, updates_ms / max(scope.WORKERS)) + archive_ms)


def _drawn(raw: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    batches, workers, names = (list(dict.fromkeys(row[what] for row in raw)) for what in ("batch", "workers", "design"))
    batch = max(size for size in batches if size <= 100)
    unit = pace(raw, scope.PACE_UNIT, batch, 1, 1)
    series = {name: [(crowd, pace(raw, name, batch, 1, crowd) / unit) for crowd in workers] for name in names}
    title = f"Events a second on one counter, in batches of {batch:,}"
    return {"workers": plots.lines(title, "workers", "times one worker with a marker per event", series)}


SECTION: Final = Section("Workers", _says, _drawn, _goals)
