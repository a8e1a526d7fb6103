"""
The report, from stored figures: docs/figures.json in, Markdown and plots out. Pure: nothing here measures or writes.

Each section is a function from what one measurement stored to Markdown; another measurement adds another section.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bench import costing, plots, scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_DASH: Final = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report: its title, what it says of raw figures, and its plots by the names of their files."""

    title: str
    says: Callable[[Any], str]
    plots: Callable[[Any], dict[str, str]] = lambda _raw: {}


@dataclass(frozen=True, slots=True)
class Goal:
    """What was hoped for before it was measured, and what was found."""

    hoped: str
    found: str
    is_met: bool


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


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" if line is not lines[1] else f"|{'|'.join(line)}|" for line in lines)


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
- *Rivals* are the other designs. They are in `bench/rivals.py`, each as short as a careful reader would write it: a
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
    return [goal for name, of in _GOALS.items() if name in figures for goal in of(figures[name]["raw"])]


def _in_short(figures: Mapping[str, Any]) -> list[str]:
    """The goals and what became of them, and what follows for who has to choose; of what was measured."""
    parts = []
    if found := goals(figures):
        parts.append(
            "**Goals**, and what was found. Why one is missed, and what would change it, is said in its section.\n\n"
            + _of_goals(found)
        )
    if "surviving" in figures:
        raw = figures["surviving"]["raw"]
        exact = [f"*{design}*" for design, outcomes in raw.items() if all(map(survives, outcomes.values()))]
        parts.append(f"**Exact under every fault** that was tried: {', '.join(exact) or 'none'}.")
        parts.append(_WHICH)
    return ["## In short", *parts] if parts else []


def _of_goals(found: Iterable[Goal]) -> str:
    rows = [[goal.hoped, goal.found, "met" if goal.is_met else "**missed**"] for goal in found]
    return table(["goal", "found", "verdict"], rows)


def _measured(stored: Mapping[str, Any]) -> str:
    machine = stored["machine"]
    if machine is None:
        return f"Measured on {stored['measured_on']}, 2 cores that others use, too."
    return (
        f"Measured on {stored['measured_on']}, {machine['cpus']} cores ({machine['processor']}), load "
        f"average {machine['load']:.1f} in the minute before, {machine['system']}, Python {machine['python']}, "
        f"boto3 {machine['boto3']}."
    )


# --- what an increment asks of AWS


def per_increment(
    raw: Sequence[Mapping[str, Any]], design: str, events: int, spread: int, measure: str
) -> float | None:
    """All that an increment takes, part for part added up, or None where that was not measured."""
    found = [row for row in raw if (row["design"], row["events"], row["spread"]) == (design, events, spread)]
    return sum(row[measure] for row in found) if found else None


def _spending(raw: Sequence[Mapping[str, Any]]) -> str:
    batches = sorted({row["events"] for row in raw})
    parts = [
        "What one increment takes from the command, or a rival's front, to the counter: everything that the functions "
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
        parts.append(table([f"{name}, in batches of", "counters", *_numbers(batches)], _totals(raw, batches, measure)))
    parts.append(
        f"A {_DASH} is what was not measured: a worker that counts each message by itself takes as much for each in a "
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
        [*_numbers([events]), *(_short(_counting(raw, name, events, "write_units")) for name in _BEFORE.values())]
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
            spread: [_short(per_increment(raw, design, events, spread, measure)) for events in batches]
            for spread in sorted({row["spread"] for row in raw})
        }
        first = next(iter(by_spread.values()))
        if all(_agree(first, other) for other in by_spread.values()):
            rows.append([_bold(design), "any", *first])
        else:
            rows += [[_bold(design), *_numbers([spread]), *cells] for spread, cells in by_spread.items()]
    return rows


def _agree(one: Sequence[str], other: Sequence[str]) -> bool:
    return all(_DASH in pair or pair[0] == pair[1] for pair in zip(one, other, strict=True))


def _by_part(raw: Sequence[Mapping[str, Any]], batches: Sequence[int]) -> Iterable[list[str]]:
    for row in raw:
        if row["design"] != scope.OURS:
            continue
        if row["part"] == scope.COMMAND and (row["events"], row["spread"]) != (batches[0], 1):
            continue  # it knows no batch
        which = "each" if row["part"] == scope.COMMAND else f"{row['events']:,}"
        counters = "any" if row["part"] == scope.COMMAND else f"{row['spread']:,}"
        yield [which, counters, row["part"], *(_short(row[measure]) for measure in scope.MEASURES)]


def _spending_plots(raw: Sequence[Mapping[str, Any]]) -> dict[str, str]:
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


def headlines(figures: Mapping[str, Any]) -> str:
    """The few figures of each design that stand in README."""
    spent, survived, crowded = (figures[name]["raw"] for name in ("spending", "surviving", "crowding"))

    def units(design: str, events: int, spread: int) -> str:
        return _short(per_increment(spent, design, events, spread, "write_units"))

    def paces(design: str) -> str:
        if design not in {row["design"] for row in crowded}:
            return _DASH
        # The marker's own pace with so many may be none at all.
        return _times(pace(crowded, design, 100, 1, 8), pace(crowded, scope.PACE_UNIT, 100, 1, 1))

    rows = [
        [
            _bold(design),
            f"{sum(map(survives, survived[design].values()))} of {len(survived[design])}",
            units(design, 1, 1),
            units(design, 100, 1),
            units(design, 1000, 1000),
            paces(design),
        ]
        for design in scope.DESIGNS
    ]
    head = ["design", "faults survived", "write units, alone", "100 of one counter", "1,000 of 1,000 counters", "pace"]
    return table(head, rows)


# --- which faults it survives


def survives(outcome: Mapping[str, int]) -> bool:
    """Whether in every run all was acknowledged, and the value exact."""
    return not any(outcome[what] for what in ("too_much", "too_little", "never_acknowledged"))


def _surviving(raw: Mapping[str, Mapping[str, Mapping[str, int]]]) -> str:
    faults = list(next(iter(raw.values())))
    rows = [[fault, *(_outcome(outcomes[fault]) for outcomes in raw.values())] for fault in faults]
    survived = [sum(map(survives, outcomes.values())) for outcomes in raw.values()]
    runs = sum(outcome["runs"] for outcomes in raw.values() for outcome in outcomes.values())
    return "\n\n".join(
        (
            f"Each design was run through each fault, in each way in which it can strike, on four events of two "
            f"counters: {runs:,} runs, with the engine and the faults of [the proof](../README.md#the-proof). Faults "
            "strike each request of the sender (`publish`, or a rival's front) and of the worker. Everything is "
            "delivered until it is acknowledged: whoever fails or dies gets the same again once the visibility timeout "
            "has passed. When all is acknowledged, the values have to be exact. *Yes* is that they were in all runs; "
            "otherwise a cell says in how many they were not.",
            table(
                ["fault", *map(_bold, raw)], [*rows, ["**survived**", *(f"**{n} of {len(faults)}**" for n in survived)]]
            ),
            "A lost answer is sent again by the SDK, which is what counts an `ADD` twice; a transaction has a token "
            "by which DynamoDB knows it again. The idempotency table is wrong where its worker gets no further than "
            "the `ADD`, and once its entries, here of 30 days, have expired. A FIFO queue takes no message twice "
            "within five minutes, and delivers what it has again all the same.",
        )
    )


def _outcome(outcome: Mapping[str, int]) -> str:
    if survives(outcome):
        return "yes"
    wrong = [
        f"{outcome[what]} {name}"
        for what, name in (
            ("too_much", "too high"),
            ("too_little", "too low"),
            ("never_acknowledged", "never acknowledged"),
        )
        if outcome[what]
    ]
    return f"**no**: {', '.join(wrong)}, of {outcome['runs']}"


# --- our own work


def ratio(raw: Mapping[str, Any], subject: str, what: str = scope.FUNCTION) -> float:
    """The median of the rounds."""
    found = sorted(raw["compared"][subject]["ratios"][what])
    middle = len(found) // 2
    return float(found[middle] if len(found) % 2 else (found[middle - 1] + found[middle]) / 2)


def _working(raw: Mapping[str, Any]) -> str:
    rows = [
        [_subject(subject), what, *_ratio(raw, subject, what), f"{compared['bare_ms']:.2f} ms"]
        for subject, compared in raw["compared"].items()
        for what in compared["ratios"]
    ]
    parts = [
        "CPU time of the process in which a function runs, the SDK and its connections with it, as a multiple of *the "
        "bare calls*: boto3 calls that ask the same of AWS, and are handed ready what they send. They are a "
        "conditional `put_item` for a command, a `send_message` for each message to publish, and for counting the one "
        "`transact_write_items`, on a counter and second that are new. What is compared takes turns in "
        f"{raw['rounds']} rounds; *times the bare calls* is the median of the rounds, and *the bare calls* are in "
        "milliseconds of this machine.",
        "![CPU time](figures/cpu-time.svg)",
        table(["of", "what", "times the bare calls", "least to most", "the bare calls"], rows),
        _of_goals(_goals_of_working(raw)),
        _why_of_working(raw),
    ]
    if before := raw.get("before"):
        parts += [
            "**Before and after** our code was made quicker, as multiples of the bare calls:",
            _before(raw, before),
        ]
    for name, profile in raw["profiles"].items():
        parts.append(
            f"**Where {name} spends its time**, by package, and by function (its own time, without what it calls):"
        )
        shares = profile["packages"].items()
        parts.append(table([package for package, _ in shares], [[_percent(share) for _, share in shares]]))
        parts.append(
            table(
                ["function", "package", "share", "calls"],
                [
                    [f"`{one['function']}`", one["package"], _percent(one["share"]), f"{one['calls']:,g}"]
                    for one in profile["functions"]
                ],
            )
        )
    return "\n\n".join(parts)


def _goals_of_working(raw: Mapping[str, Any]) -> list[Goal]:
    command = ratio(raw, "command", scope.BY_GATEWAY)
    counting = {size: ratio(raw, f"count {size}") for size in _judged(raw)}
    return [
        Goal(
            f"a command takes at most {scope.COMMAND_GOAL} times the CPU time of the bare put",
            f"{command:.2f}",
            command <= scope.COMMAND_GOAL,
        ),
        Goal(
            f"counting takes at most {scope.COUNTING_GOAL} times that of the bare transaction, in batches of "
            f"{scope.COUNTING_GOAL_FROM} or more",
            ", ".join(f"{times:.2f} at {size:,}" for size, times in counting.items()),
            all(times <= scope.COUNTING_GOAL for times in counting.values()),
        ),
    ]


def _judged(raw: Mapping[str, Any]) -> list[int]:
    """The sizes of batches that the goal of counting is about."""
    return [size for size in scope.WORKED if size >= scope.COUNTING_GOAL_FROM and f"count {size}" in raw["compared"]]


def _why_of_working(raw: Mapping[str, Any]) -> str:
    read = {size: ratio(raw, f"count {size}", scope.READ_TOO) for size in _judged(raw)}
    said = (
        "Counting reads the buckets first, strongly consistently, for without that nothing is known of duplicates: the "
        f"bare transaction and that read alone come to {' and '.join(f'{times:.2f}' for times in read.values())}. The "
        "rest is reading each event from JSON, checking it, and sorting it into its bucket."
    )
    if read and min(read.values()) > scope.COUNTING_GOAL:
        said += (
            f" So no code that makes this read by boto3 can meet the goal of {scope.COUNTING_GOAL}. It would take a "
            "design that learns of duplicates without reading, as with a marker per event, which takes 2 write units "
            "for each."
        )
    said += (
        " `publish` has no goal: its bare call is handed one finished message, however many stream records that stands "
        "for."
    )
    return said


def _before(raw: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    rows = [
        [_subject(subject), f"{ratio(before, subject, what):.2f}", f"{ratio(raw, subject, what):.2f}"]
        for subject, compared in before["compared"].items()
        for what in (scope.BY_GATEWAY, scope.FUNCTION)
        if what in compared["ratios"] and subject in raw["compared"]
    ]
    return table(["", "before", "after"], rows)


def _subject(name: str) -> str:
    kind, _, size = name.partition(" ")
    if kind == "command":
        return "a command"
    return f"{kind}, {int(size):,} event{'' if size == '1' else 's'}"


def _ratio(raw: Mapping[str, Any], subject: str, what: str) -> list[str]:
    found = raw["compared"][subject]["ratios"][what]
    return [f"{ratio(raw, subject, what):.2f}", f"{min(found):.2f} to {max(found):.2f}"]


def _working_plots(raw: Mapping[str, Any]) -> dict[str, str]:
    def points(kind: str, what: str) -> list[tuple[float, float]]:
        sizes = [size for size in scope.WORKED if f"{kind} {size}" in raw["compared"]]
        return [(size, ratio(raw, f"{kind} {size}", what)) for size in sizes]

    series = {
        "publish": points("publish", scope.FUNCTION),
        "count": points("count", scope.FUNCTION),
        "bare transaction and read": points("count", scope.READ_TOO),
    }
    return {"cpu-time": plots.lines("CPU time of a batch", "events in a batch", "times the bare calls", series)}


# --- workers


def pace(raw: Sequence[Mapping[str, Any]], design: str, batch: int, spread: int, workers: int) -> float:
    """Events a second."""
    wanted = (design, batch, spread, workers)
    return next(
        float(row["a_second"]) for row in raw if (row["design"], row["batch"], row["spread"], row["workers"]) == wanted
    )


def _crowding(raw: Sequence[Mapping[str, Any]]) -> str:
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
                _bold(name),
                f"{batch:,}",
                *(
                    _times(pace(raw, name, batch, spread, crowd), pace(raw, scope.PACE_UNIT, batch, spread, 1))
                    for crowd in workers
                ),
            ]
            for batch in batches
            for name in names
        ]
        head = ["design", "batch", *(f"{crowd} worker{'s' if crowd > 1 else ''}" for crowd in workers)]
        parts += [f"**{where}**", table(head, rows)]
    parts += [_of_goals(_goals_of_workers(raw)), *_why_of_workers(raw)]
    return "\n\n".join(parts)


def advantage(raw: Sequence[Mapping[str, Any]], batch: int, spread: int, workers: int) -> float:
    """How many times as many events a second as with a marker per event, with as many workers."""
    others = pace(raw, scope.PACE_UNIT, batch, spread, workers)
    return pace(raw, scope.OURS, batch, spread, workers) / others if others else math.inf


def _goals_of_workers(raw: Sequence[Mapping[str, Any]]) -> list[Goal]:
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


def _why_of_workers(raw: Sequence[Mapping[str, Any]]) -> list[str]:
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


def _crowding_plots(raw: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    batches, workers, names = (list(dict.fromkeys(row[what] for row in raw)) for what in ("batch", "workers", "design"))
    batch = max(size for size in batches if size <= scope.PACE_GOAL_FROM)
    unit = pace(raw, scope.PACE_UNIT, batch, 1, 1)
    series = {name: [(crowd, pace(raw, name, batch, 1, crowd) / unit) for crowd in workers] for name in names}
    title = f"Events a second on one counter, in batches of {batch:,}"
    return {"workers": plots.lines(title, "workers", "times one worker with a marker per event", series)}


# --- lag

#: What the parts of a lag are called, in their order.
_PARTS: Final = {
    "appending": "the command's append",
    "in_stream": "until `publish` runs",
    "publishing": "`publish`, until it has sent",
    "in_queue": "until `project` runs",
    "projecting": "`project`, until it has counted",
}


def _lag(raw: Mapping[str, Any]) -> str:
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
                else ["**too much**", _DASH, _DASH]
            ),
        ]
        for row in raw["loads"]
    ]
    parts = [
        "The *lag* of an increment is the time from when it is accepted to when it is counted.",
        "**Measured**, on the embedded AWS with everything deployed. Increments are sent at a steady pace, whether or "
        "not those before have been answered. The functions' log lines tell when each was accepted (the time that its "
        "event bears), published and counted, to a millisecond; when a run of `publish` or `project` began is reckoned "
        "from its end and its duration, as the platform tells them, to some milliseconds. *50 %* and *99 %* are what "
        "so many of the lags do not exceed; of fewer than a hundred increments, 99 % is the most. Sender, AWS and "
        "functions, the relational read model's among them, share one machine, so milliseconds are this machine's. "
        "*Busy* is how much of its processors was in use, by whomever, while increments were sent, and *before* how "
        "much in the second before: each load waits for the machine to come to rest, for a minute at most. AWS's own "
        "waits are not in these figures, nor is a batching window: what comes while `publish` runs is its next batch.",
        table(head, rows),
    ]
    if disturbed:
        parts.append(
            f"**Something else kept the machine busy** before {len(disturbed)} of these {len(rows)} loads. Their "
            "longest lags, above all, may be longer than this system makes them by itself, and what was too much need "
            "not be too much for a machine that has nothing else to do."
        )
    if too_much:
        listed = " and ".join(f"{row['rate']:g} a second ({row['sent_a_second']:.0f} were sent)" for row in too_much)
        parts.append(
            f"This machine did not keep up with {listed}. A load is too much if increments cannot be sent in time, "
            "because too many others have no answer yet, or if the last quarter of them wait over twice as long to be "
            "counted as the first. No lag is told of it: it would be that of fewer a second, or grow with the time "
            "measured. What AWS takes is under [scale](scale.md)."
        )
    if kept_up:
        parts += _parts_of_lag(kept_up)
    parts.append(
        f"The first increment of all, for which every function has to start, took {raw['first_ms'] / 1000:.1f} s. It "
        "is in none of these rows."
    )
    return "\n\n".join((*parts, *_windows(raw["windows"])))


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
        "**What it is made of.** Each increment's lag is the sum of five parts. A cell has what half and 99 % of "
        "them do not exceed, and the part's share of all lags together. In the plot the parts are means.",
        *(["![Lag](figures/lag.svg)"] if len(_plotted(kept_up)) > 1 else []),
        table(["a second", "counters", *_PARTS.values()], rows),
        f"The largest part is in the first row *{first}*, and in the last *{last}*. Two parts are the embedded "
        "AWS's ways more than ours. *Until `publish` runs*: each write wakes it to look at the stream, but if it was "
        "woken and found nothing, it sleeps for 50 ms, and at some twenty a second the next event often comes in that "
        "time. *Until `project` runs*: it looks into the queue only when `publish` has ended, which by then has sent "
        "to the other projection's queue, too.",
    ]


def _windows(raw: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        [
            f"{row['rate']:,}",
            _window(row),
            f"{row['lag_p50_s']:.1f} s",
            f"{row['lag_p99_s']:.1f} s",
            f"{row['batch']:.1f}" if row["batch"] < 10 else f"{row['batch']:,.0f}",
            f"{row['write_units']:.2f}",
            _short(row["runs"]),
            _percent(row["given_up_share"]),
            f"{row['usd']:.2f}",
        ]
        for row in raw
    ]
    head = ["a second", "window", "50 %", "99 %", "a batch", "write units", "runs", "given up", "USD"]
    return [
        "**What the batching window trades**, for one counter, by the model of [scale](scale.md) and not measured. The "
        "stream waits for `BATCHING_WINDOW_S` from an event on and gives `publish` all that came: a longer window "
        "makes fewer and fuller batches, which are cheaper, and later. *50 %* and *99 %* are what so many of the lags "
        "do not exceed, *a batch* is how many events are in one, *write units* are for counting an event, and *runs* "
        "are those of `publish` and `project` for an event. *Given up* is what share of events is left to the queue "
        "because too many write the counter at once; it is delivered again after three minutes, which these lags have "
        "in them. *USD* are for a million increments, all told, but for the time in which functions try again. A "
        "second that is counted in several batches is written again with each, at the size that its bucket has by "
        "then. [Cost](cost.md) is dearer at few a second, for it reckons a batch as what comes in a window, without "
        "the event that begins it. In the plot, "
        f"USD are without {_commands_own(raw)} that the command and a queue that is empty cost whatever the window.",
        "![Window](figures/window.svg)",
        table(head, rows),
        _bought(raw),
    ]


def _commands_own(raw: Sequence[Mapping[str, Any]]) -> str:
    each = [row["usd"] - row["usd_after_command"] for row in raw]
    return f"the {min(each):.2f} to {max(each):.2f}"


def _window(row: Mapping[str, Any]) -> str:
    few = row["projectors"] == scope.FEW_PROJECTORS
    return f"{row['window_s']} s" + (f", `PROJECTORS` = {scope.FEW_PROJECTORS}" if few else "")


def saved(raw: Sequence[Mapping[str, Any]], rate: int, shorter_s: int, longer_s: int) -> float:
    """How many USD a million increments cost less with the longer window."""
    usd = {
        row["window_s"]: row["usd"] for row in raw if row["rate"] == rate and row["projectors"] != scope.FEW_PROJECTORS
    }
    return float(usd[shorter_s] - usd[longer_s])


def saved_beside_few(raw: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """The same of a second of window beside none with few `PROJECTORS`, by the rates at which that was tried."""
    few = {row["rate"]: row["usd"] for row in raw if row["projectors"] == scope.FEW_PROJECTORS and not row["window_s"]}
    one_s = {row["rate"]: row["usd"] for row in raw if row["window_s"] == 1}
    return {rate: usd - one_s[rate] for rate, usd in few.items()}


def _bought(raw: Sequence[Mapping[str, Any]]) -> str:
    rates = list(dict.fromkeys(row["rate"] for row in raw))

    def listed(shorter_s: int, longer_s: int) -> str:
        return ", ".join(f"{saved(raw, rate, shorter_s, longer_s):.2f} at {rate:,}" for rate in rates)

    said = (
        f"The first second of window saves, in USD for a million increments at so many a second: {listed(0, 1)}. Nine "
        f"more save {listed(1, 10)}. A second of window is what is deployed."
    )
    if few := saved_beside_few(raw):
        beside = ", ".join(f"{usd:.2f} at {rate:,}" for rate, usd in few.items())
        said += (
            " Without a window a busy counter is written by many batches at once, which refuse each other, and most of "
            f"what a second saves there is that. Where a second is too late, `PROJECTORS` = {scope.FEW_PROJECTORS} "
            f"mends it, too: beside that, a second of window saves {beside}."
        )
    return said


def _plotted(loads: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in loads if row["keeps_up"] and row["counters"] == 1]


def _lag_plots(raw: Mapping[str, Any]) -> dict[str, str]:
    rows = _plotted(raw["loads"])
    series = {
        "all, 99 %": [(row["rate"], row["lag_ms"]["p99"]) for row in rows],
        "all, 50 %": [(row["rate"], row["lag_ms"]["p50"]) for row in rows],
        **{name: [(row["rate"], row["parts_ms"][part]["mean"]) for row in rows] for part, name in _PARTS.items()},
    }
    windows = [row for row in raw["windows"] if row["projectors"] != scope.FEW_PROJECTORS]
    traded = {
        f"{rate:,} a second": [(row["lag_p50_s"], row["usd_after_command"]) for row in windows if row["rate"] == rate]
        for rate in dict.fromkeys(row["rate"] for row in windows)
        if rate <= scope.WINDOWED_PLOTTED
    }
    windows_s = ", ".join(str(seconds) for seconds in dict.fromkeys(row["window_s"] for row in windows))
    window = plots.lines(
        f"Windows of {windows_s} s, from left to right, by the model",
        "lag in seconds, 50 %",
        "USD a million, without the command",
        traded,
        x_decades=True,
    )
    if len(rows) < 2:
        return {"window": window}
    lag = plots.lines("Lag of one counter, and the means of its parts, measured", "increments a second", "ms", series)
    return {"lag": lag, "window": window}


# --- starting and operating


def _starting(raw: Mapping[str, Any]) -> str:
    rows = [
        [
            _started(name),
            f"{row['median']:.2f}",
            f"{row['least']:.2f}",
            f"{row['low']:.2f} to {row['high']:.2f}",
            f"{row['modules']}",
        ]
        for name, row in raw["starts"].items()
    ]
    sizes = [[name, f"{size:,}"] for name, size in raw["bytes"].items()]
    return "\n\n".join(
        (
            f"The time of a new process to where it can take its first event, as multiples of that of `import boto3`: "
            f"{raw['times']} starts of each, in turn. *Median* and *middle half* are those of the starts over the "
            "median of `import boto3`, *least* is the shortest start over its shortest, and *modules* is how many are "
            "loaded. The minimal app is a route that asks DynamoDB, as `chalice package` packs it and with bytecode as "
            "we add it; the bare handler does the same without a framework. Both make a client of DynamoDB.",
            table(["process", "median", "least", "middle half", "modules"], rows),
            table(["package", "bytes"], sizes),
        )
    )


def _started(name: str) -> str:
    function, comma, what = name.partition(", ")
    return (
        {scope.START_UNIT: "`import boto3`"}.get(function, f"`{function}`" if "." in function else function)
        + comma
        + what
    )


_FUNCTIONS: Final = {
    "app.app": "the API",
    "app.publish": "`publish`",
    "app.project": "`project`",
    "app.check": "`check`",
}


def starts_for_readme(raw: Mapping[str, Any]) -> str:
    """The table of starts as it stands in docs/deploying.md."""

    def row(name: str, imports: str, with_client: str) -> list[str]:
        starts = raw["starts"]
        first, second = (f"{starts[start]['median']:.2f}" for start in (imports, with_client))
        return [name, "1" if imports == scope.START_UNIT else first, second, f"{starts[with_client]['modules']}"]

    rows = [row("`import boto3`, and a client of DynamoDB", scope.START_UNIT, f"{scope.START_UNIT}, with a client")]
    rows += [row(name, f"{start}, imports", f"{start}, with its client") for start, name in _FUNCTIONS.items()]
    rows += [
        [name, _DASH, f"{raw['starts'][name]['median']:.2f}", f"{raw['starts'][name]['modules']}"]
        for name in (scope.MINIMAL, scope.BARE)
    ]
    return table(["", "imports", "and makes its client", "modules"], rows)


def operating_table(raw: Sequence[Mapping[str, Any]]) -> str:
    """The table of operators' commands, as it stands in README, too."""
    rows = [
        [
            f"{row['events']:,}{' (earlier)' if 'earlier' in row else ''}",
            row["command"],
            f"{row['a_second']:,}",
            f"{row['cpu_s']:,.1f} s",
            f"{row['peak_mb']:,} MB",
        ]
        for row in raw
    ]
    return table(["events", "command", "events a second", "its own CPU time", "peak memory"], rows)


def _operating(raw: Sequence[Mapping[str, Any]]) -> str:
    return (
        "The operators' commands on logs of so many events, of a hundred counters; the embedded AWS does most of the "
        "work. *Earlier* is what was measured in another run of `make bench` than the rest, and maybe beside other "
        "work. Within one run, time grows no faster than the log, and memory hardly.\n\n"
        f"{operating_table(raw)}"
    )


# --- how numbers are written


def _short(number: float | None) -> str:
    """Three digits that say something, or all of a whole number."""
    if number is None:
        return _DASH
    if number == 0 or number >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"


def _numbers(numbers: Iterable[int]) -> list[str]:
    return [f"{number:,}" for number in numbers]


def _times(one: float, unit: float) -> str:
    if not unit:
        return _DASH
    times = one / unit
    return f"{times:,.0f}" if times >= 10 else f"{times:.2g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _bold(design: str) -> str:
    return f"**{design}**" if design == scope.OURS else design


#: In the order of the report, by the names under which their figures are stored.
SECTIONS: Final[dict[str, Section]] = {
    "spending": Section("What an increment asks of AWS", _spending, _spending_plots),
    "surviving": Section("Which faults it survives", _surviving),
    "working": Section("The work of our own code", _working, _working_plots),
    "crowding": Section("Workers, one and several", _crowding, _crowding_plots),
    "lag": Section("From accepted to counted", _lag, _lag_plots),
    "starting": Section("Starting a function", _starting),
    "operating": Section("Verifying, replaying, rebuilding", _operating),
}

#: Those that have goals, likewise.
_GOALS: Final[dict[str, Callable[[Any], list[Goal]]]] = {
    "working": _goals_of_working,
    "crowding": _goals_of_workers,
}
