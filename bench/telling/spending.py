"""What an increment asks of AWS, told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bench import plots, scope
from bench.telling.writing import DASH, Section, bold, numbers, short, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def per_increment(
    raw: Sequence[Mapping[str, Any]], design: str, events: int, spread: int, measure: str
) -> float | None:
    """All that an increment takes, part for part added up, or None where that was not measured."""
    found = [row for row in raw if (row["design"], row["events"], row["spread"]) == (design, events, spread)]
    return sum(row[measure] for row in found) if found else None


def _says(raw: Sequence[Mapping[str, Any]]) -> str:
    batches = sorted({row["events"] for row in raw})
    parts = [
        "What one increment takes from the command, or a alternative's front, to the counter: everything that the functions "
        "themselves ask of DynamoDB and SQS. The columns are sizes of batches, each counted in one run; *counters* is "
        "over how many a batch's events are spread, *any* where that makes no difference. Each counter gets 1,000 "
        "events a second, of which none is counted before: 10,000 events of one counter are those of ten seconds. "
        "Bytes are those of requests and answers. In the plots, as in all on this page, both axes are logarithmic, and "
        "lines that lie on each other end in one point, from which each has its name.",
        "![Write units](figures/write-units.svg)",
        "![Write units, spread](figures/write-units-spread.svg)",
    ]
    for measure, name in scope.MEASURES.items():
        parts.append(f"**{name[0].upper()}{name[1:]}**")
        parts.append(table([f"{name}, in batches of", "counters", *numbers(batches)], _totals(raw, batches, measure)))
    parts.append(
        f"A {DASH} is what was not measured: a worker that counts each message by itself takes as much for each in a "
        "larger batch. This design is cheap where many increments meet in a counter. "
        f"{_dearest(raw, batches)}"
    )
    parts.append("**Part by part**, of this design:")
    parts.append(table(["batch", "counters", "part", *scope.MEASURES.values()], _by_part(raw, batches)))
    parts.append(
        "**In the middle of a busy second** a bucket is written again, at 2 units for each KB that it has by then. "
        f"What counting takes for an event of one counter, in a second of which {scope.HALF} events are counted "
        "before, beside a new second:"
    )
    halves = [
        [*numbers([events]), *(short(_counting(raw, name, events, "write_units")) for name in _BEFORE.values())]
        for events in batches
    ]
    parts.append(table(["batch", *(f"write units, {what}" for what in _BEFORE)], halves))
    return "\n\n".join(parts)


def _dearest(raw: Sequence[Mapping[str, Any]], batches: Sequence[int]) -> str:
    """In what this design takes most of all where no two events of a batch are of one counter."""
    spread = max(row["spread"] for row in raw)
    events = max(events for events in batches if events <= spread)
    most = []
    for measure, name in scope.MEASURES.items():
        taken = {design: per_increment(raw, design, events, spread, measure) or 0 for design in scope.DESIGNS}
        if taken[scope.OURS] == max(taken.values()):
            most.append(name)
    said = f"is the dearest of all in {' and '.join(most)}" if most else "is not the dearest of all in anything"
    return (
        "Where no two events of a batch are of one counter, each has a bucket and a counter to itself, and this "
        f"design {said}."
    )


_BEFORE: Final = {"new second": scope.OURS, "half counted": scope.HALF_FULL}


def _counting(raw: Sequence[Mapping[str, Any]], design: str, events: int, measure: str) -> float | None:
    return next(
        (
            row[measure]
            for row in raw
            if (row["design"], row["events"], row["spread"], row["part"]) == (design, events, 1, scope.COUNTING)
        ),
        None,
    )


def _totals(raw: Sequence[Mapping[str, Any]], batches: Sequence[int], measure: str) -> list[list[str]]:
    """A row for each design and spread; spreads that make no difference share one."""
    rows = []
    for design in scope.DESIGNS:
        by_spread = {
            spread: [short(per_increment(raw, design, events, spread, measure)) for events in batches]
            for spread in sorted({row["spread"] for row in raw})
        }
        first = next(iter(by_spread.values()))
        if all(_agree(first, other) for other in by_spread.values()):
            rows.append([bold(design), "any", *first])
        else:
            rows += [[bold(design), *numbers([spread]), *cells] for spread, cells in by_spread.items()]
    return rows


def _agree(one: Sequence[str], other: Sequence[str]) -> bool:
    return all(DASH in pair or pair[0] == pair[1] for pair in zip(one, other, strict=True))


def _by_part(raw: Sequence[Mapping[str, Any]], batches: Sequence[int]) -> Iterable[list[str]]:
    for row in raw:
        if row["design"] != scope.OURS:
            continue
        if row["part"] == scope.COMMAND and (row["events"], row["spread"]) != (batches[0], 1):
            continue  # it knows no batch
        which = "each" if row["part"] == scope.COMMAND else f"{row['events']:,}"
        counters = "any" if row["part"] == scope.COMMAND else f"{row['spread']:,}"
        yield [which, counters, row["part"], *(short(row[measure]) for measure in scope.MEASURES)]


def _drawn(raw: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    batches = sorted({row["events"] for row in raw})
    spreads = sorted({row["spread"] for row in raw})

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


SECTION: Final = Section("What an increment asks of AWS", _says, _drawn)
