"""The section on what an increment asks of AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks import alternatives
from benchmarks.measure import scope
from benchmarks.report import plots
from benchmarks.report.markdown import DASH, Goal, Section, bold, goals_table, numbers, short, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def per_increment(raw: Mapping[str, Any], design: str, events: int, spread: int, measure: str) -> float | None:
    """Return what an increment takes in all of its parts, or None if that was not measured."""
    wanted = (design, events, spread)
    found = [row for row in raw["cells"] if (row["design"], row["events"], row["spread"]) == wanted]
    return sum(row[measure] for row in found) if found else None


def in_order_of(raw: Mapping[str, Any], order: str, events: int) -> float:
    """Return the write units of an increment of one counter, the command included, if messages come in this order."""
    (row,) = [row for row in raw["orders"] if (row["order"], row["events"]) == (order, events)]
    return _of_command(raw, "write_units") + float(row["write_units"])


def of_path(raw: Mapping[str, Any], path: str, measure: str) -> float:
    """Return what an event takes on one of the less usual paths; of several batch sizes, the most."""
    return max(float(row[measure]) for row in raw["paths"] if row["path"] == path)


def _says(raw: Mapping[str, Any]) -> str:
    batches = sorted({row["events"] for row in raw["cells"]})
    parts = [
        "What one increment takes from the command, or from the front of an alternative, to the counter: all requests "
        "of the functions to DynamoDB and SQS. The columns are batch sizes. *Counters* is the number of counters over "
        "which the events of a batch are spread; *any* means that it makes no difference. This design is measured in "
        "its steady state: archiving is included, and each counter's batch covers one second. Bytes are those of "
        "requests and responses. In the plots, as in all plots on this page, both axes are logarithmic.",
        "![Write units](figures/write-units.svg)",
        "![Write units, spread](figures/write-units-spread.svg)",
    ]
    for measure, name in scope.MEASURES.items():
        parts.append(f"**{name[0].upper()}{name[1:]}**")
        parts.append(table([f"{name}, in batches of", "counters", *numbers(batches)], _totals(raw, batches, measure)))
    parts.append(_compared(raw, batches))
    parts.append("**Part by part**, of this design:")
    parts.append(table(["batch", "counters", "part", *scope.MEASURES.values()], _by_part(raw, batches)))
    parts.append(
        "**Order of messages.** An event that arrives after later ones were archived is written into the page that "
        "covers its time. The newest entries of a counter are archived last, so a late message seldom meets this. "
        "Write units of an increment of one counter:"
    )
    orders = [
        [order, *(f"{in_order_of(raw, order, events):.3f}" for events in scope.ORDERED)]
        for order in dict.fromkeys(row["order"] for row in raw["orders"])
    ]
    parts.append(table(["messages of", *numbers(scope.ORDERED)], orders))
    parts.append(
        "**Other paths.** Messages that SQS delivered before, and replayed messages, are read first, so they cost no "
        f"refused write. The *busy second* has {scope.HALF} events of the counter that were counted before. The last "
        "three rows include the command:"
    )
    parts.append(table(["path", "events", *scope.MEASURES.values()], _paths(raw)))
    parts.append(goals_table(_goals(raw)))
    return "\n\n".join(parts)


def _paths(raw: Mapping[str, Any]) -> Iterable[list[str]]:
    for row in raw["paths"]:
        yield [row["path"], *numbers([row["events"]]), *(short(row[measure]) for measure in scope.MEASURES)]


def _goals(raw: Mapping[str, Any]) -> list[Goal]:
    orders = dict.fromkeys(row["order"] for row in raw["orders"])
    found = []
    for events, most in scope.MOST_UNITS.items():
        units = {order: in_order_of(raw, order, events) for order in orders}
        found.append(
            Goal(
                f"increment of one counter: at most {most:g} write units, batches of {events:,}, in any order",
                ", ".join(f"{each:.3f} {order}" for order, each in units.items()),
                max(units.values()) <= most,
            )
        )
    spread = max(row["spread"] for row in raw["cells"])
    if (apart := per_increment(raw, scope.OURS, spread, spread, "write_units")) is not None:
        most = scope.MOST_UNITS[1]
        found.append(
            Goal(
                f"{spread:,} increments of {spread:,} counters take at most {most:g} write units each",
                f"{apart:.3f}",
                apart <= most,
            )
        )
    for path, most in scope.MOST_UNITS_OF_PATHS.items():
        units_of_path = of_path(raw, path, "write_units")
        found.append(Goal(f"{path}: at most {most:g} write units", f"{units_of_path:.3f}", units_of_path <= most))
    return found


def _compared(raw: Mapping[str, Any], batches: Sequence[int]) -> str:
    """Compare designs that count exactly where no two events of a batch are of one counter."""
    spread = max(row["spread"] for row in raw["cells"])
    events = max(events for events in batches if events <= spread)
    ours, marker = (
        per_increment(raw, design, events, spread, "write_units") or 0
        for design in (scope.OURS, alternatives.MARKING.name)
    )
    return (
        f"If no two events of a batch are of one counter, this design takes {short(ours)} write units: 1 for the event "
        f"log, which no alternative has, and {short(ours - 1)} for counting. A marker per event takes {short(marker)}."
    )


def _of_command(raw: Mapping[str, Any], measure: str) -> float:
    return next(
        float(row[measure]) for row in raw["cells"] if (row["design"], row["part"]) == (scope.OURS, scope.COMMAND)
    )


def _totals(raw: Mapping[str, Any], batches: Sequence[int], measure: str) -> list[list[str]]:
    """Return a row for each design and spread; spreads that make no difference share a row."""
    rows = []
    for design in scope.DESIGNS:
        by_spread = {
            spread: [short(per_increment(raw, design, events, spread, measure)) for events in batches]
            for spread in sorted({row["spread"] for row in raw["cells"]})
        }
        first = next(iter(by_spread.values()))
        if all(_agree(first, other) for other in by_spread.values()):
            rows.append([bold(design), "any", *first])
        else:
            rows += [[bold(design), *numbers([spread]), *cells] for spread, cells in by_spread.items()]
    return rows


def _agree(one: Sequence[str], other: Sequence[str]) -> bool:
    return all(DASH in pair or pair[0] == pair[1] for pair in zip(one, other, strict=True))


def _by_part(raw: Mapping[str, Any], batches: Sequence[int]) -> Iterable[list[str]]:
    for row in raw["cells"]:
        if row["design"] != scope.OURS:
            continue
        if row["part"] == scope.COMMAND and (row["events"], row["spread"]) != (batches[0], 1):
            continue  # a command is the same in every batch
        which = "each" if row["part"] == scope.COMMAND else f"{row['events']:,}"
        counters = "any" if row["part"] == scope.COMMAND else f"{row['spread']:,}"
        yield [which, counters, row["part"], *(short(row[measure]) for measure in scope.MEASURES)]


def _drawn(raw: Mapping[str, Any]) -> dict[str, str]:
    batches = sorted({row["events"] for row in raw["cells"]})
    spreads = sorted({row["spread"] for row in raw["cells"]})

    def plot(spread: int, title: str) -> str:
        series = {
            design: [
                (events, found)
                for events in batches
                if (found := per_increment(raw, design, events, spread, "write_units")) is not None
            ]
            for design in scope.DESIGNS
        }
        return plots.lines(title, "events in a batch", "write units for an increment", series)

    return {
        "write-units": plot(spreads[0], "Write units, one counter"),
        "write-units-spread": plot(spreads[-1], f"Write units, spread over {spreads[-1]:,} counters"),
    }


SECTION: Final = Section("Units and requests", _says, _drawn, _goals)
