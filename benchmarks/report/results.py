"""Read results from stored figures. Each function takes a section's raw figures, or some of its rows."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.measure import scope

Row = Mapping[str, Any]


def select(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """Return the rows with these values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def distinct(rows: Iterable[Row], key: str) -> list[Any]:
    """Return the distinct values of this key, in the order of the rows."""
    return [*dict.fromkeys(row[key] for row in rows)]


def increment_cost(raw: Any, design: str, events: int, spread: int, measure: str) -> float | None:
    """Return the cost of an increment in this measure: the sum of its phases, or None if it was not measured."""
    cells = select(raw["cells"], design=design, events=events, spread=spread)
    return sum(row[measure] for row in cells) if cells else None


def ordered_cost(raw: Any, order: str, events: int) -> float:
    """Return the write units of an increment of one counter, including its command, if messages have this order."""
    (row,) = select(raw["orders"], order=order, events=events)
    command = select(raw["cells"], design=scope.OURS, part=scope.COMMAND)[0]
    return float(command["write_units"]) + float(row["write_units"])


def survives(outcome: Mapping[str, int]) -> bool:
    """Check whether in every run all messages were acknowledged, and the value was exact."""
    return not any(outcome[result] for result in ("too_high", "too_low", "never_acknowledged"))


def count_survived(outcomes: Mapping[str, Mapping[str, int]]) -> int:
    """Return the number of faults that a design survives."""
    return sum(map(survives, outcomes.values()))


def cpu_ratio(raw: Any, subject: str, program: str = scope.FUNCTION) -> float:
    """Return a program's CPU time relative to the bare calls: the median of the rounds."""
    return float(median(raw["compared"][subject]["ratios"][program]))


def pace(raw: Iterable[Row], design: str, batch: int, spread: int, workers: int) -> float:
    """Return the number of events that this number of workers counted per second."""
    return float(select(raw, design=design, batch=batch, spread=spread, workers=workers)[0]["a_second"])


def plotted_loads(raw: Any) -> list[Row]:
    """Return the loads of one counter that the machine kept up with."""
    return select(raw["loads"], keeps_up=True, counters=1)


def default_windows(raw: Sequence[Row]) -> list[Row]:
    """Return the rows of batching windows that were simulated with the default of `PROJECTORS`."""
    return [row for row in raw if row["projectors"] != scope.FEW_PROJECTORS]


def saved_usd(raw: Sequence[Row], shorter_s: int, longer_s: int) -> dict[int, float]:
    """Return how much the longer window saves per million increments, in USD, by rate."""
    usd = {(row["rate"], row["window_s"]): row["usd"] for row in default_windows(raw)}
    return {rate: usd[rate, shorter_s] - usd[rate, longer_s] for rate in distinct(raw, "rate")}


def saved_usd_with_few(raw: Sequence[Row]) -> dict[int, float]:
    """Return how much a one-second window saves over no window and few `PROJECTORS`, in USD per million, by rate."""
    few = select(raw, projectors=scope.FEW_PROJECTORS, window_s=0)
    return {row["rate"]: row["usd"] - select(raw, rate=row["rate"], window_s=1)[0]["usd"] for row in few}


def command_usd(raw: Iterable[Row]) -> list[float]:
    """Return the lowest and the highest cost of a million commands with the polling of an idle queue, in USD."""
    usd = sorted(row["usd"] - row["usd_without_command"] for row in raw)
    return [usd[0], usd[-1]]
