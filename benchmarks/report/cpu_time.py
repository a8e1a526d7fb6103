"""The section on the CPU time of our own code."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measure import scope
from benchmarks.models import costing
from benchmarks.report import plots
from benchmarks.report.markdown import Goal, Section, goals_table, percent, table
from chalicelib.domain.archive import RECENT_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping


def ratio(raw: Mapping[str, Any], subject: str, what: str = scope.FUNCTION) -> float:
    """Return the median of the rounds."""
    return float(median(raw["compared"][subject]["ratios"][what]))


def _says(raw: Mapping[str, Any]) -> str:
    rows = [
        [_subject(subject), what, *_ratio(raw, subject, what), f"{compared['bare_ms']:.2f} ms"]
        for subject, compared in raw["compared"].items()
        for what in compared["ratios"]
    ]
    parts = [
        "CPU time of the process in which a function runs, including the SDK and its connections, as a multiple of "
        "*the bare calls*: boto3 calls that make the same writes and get their parameters ready-made. They are a "
        "conditional `put_item` for a command, a `send_message` for each message to publish, and for counting the "
        "conditional `update_item`, or in batches of over "
        f"{RECENT_MAX} the `transact_write_items`. The counters are new. What is compared takes turns in "
        f"{raw['rounds']} rounds; *times the bare calls* is the median of the rounds, and *the bare calls* are in "
        "milliseconds of this machine.",
        "![CPU time](figures/cpu-time.svg)",
        table(["of", "what", "times the bare calls", "least to most", "the bare calls"], rows),
        goals_table(_goals(raw)),
        _why(raw),
        *_memory(raw),
    ]
    for name, profile in raw["profiles"].items():
        parts.append(
            f"**Where {name} spends its time**, by package, and by function (its own time, without its callees):"
        )
        shares = profile["packages"].items()
        parts.append(table([package for package, _ in shares], [[percent(share) for _, share in shares]]))
        parts.append(
            table(
                ["function", "package", "share", "calls"],
                [
                    [f"`{one['function']}`", one["package"], percent(one["share"]), f"{one['calls']:,g}"]
                    for one in profile["functions"]
                ],
            )
        )
    return "\n\n".join(parts)


def _goals(raw: Mapping[str, Any]) -> list[Goal]:
    command = ratio(raw, "command", scope.BY_GATEWAY)
    return [
        Goal(
            f"a command takes at most {scope.COMMAND_GOAL} times the CPU time of the bare put",
            f"{command:.2f}",
            command <= scope.COMMAND_GOAL,
        ),
        *(
            Goal(
                f"counting takes at most {most:g} times the CPU time of the bare write, in batches of {size:,}",
                f"{ratio(raw, f'count {size}'):.2f}{_beside_read(raw, f'count {size}')}",
                ratio(raw, f"count {size}") <= most,
            )
            for size, most in scope.COUNTING_GOALS.items()
            if f"count {size}" in raw["compared"]
        ),
    ]


def _beside_read(raw: Mapping[str, Any], subject: str) -> str:
    if scope.READ_TOO not in raw["compared"][subject]["ratios"]:
        return ""
    return f" ({ratio(raw, subject) / ratio(raw, subject, scope.READ_TOO):.2f} times the bare read and write)"


def _why(raw: Mapping[str, Any]) -> str:
    read_first = [subject for subject, found in raw["compared"].items() if scope.PARSE_TOO in found["ratios"]]

    def listed(what: str) -> str:
        return " and ".join(f"{ratio(raw, subject, what):.2f}" for subject in read_first)

    text = (
        f"A batch of up to {RECENT_MAX} events of a counter is one update without a read. A larger batch is archived: "
        "it reads the counter's item first, because the pages to write depend on it, and then makes one transaction. "
        "The function also reads each event from JSON, checks it, and encodes and sorts its entry. `publish` has no "
        "goal: its bare call gets a finished message, however many stream records it stands for."
    )
    if not read_first:
        return text
    text += (
        f" In batches of {' and '.join(f'{int(subject.split()[1]):,}' for subject in read_first)}, the bare read and "
        f"write alone take {listed(scope.READ_TOO)} times the bare write, and {listed(scope.PARSE_TOO)} times with "
        "`json.loads` of the message."
    )
    most = {f"count {size}": times for size, times in scope.COUNTING_GOALS.items()}
    if all(ratio(raw, subject, scope.PARSE_TOO) > most[subject] for subject in read_first):
        text += " So no code that reads the item and the message can meet the goals of these batches."
    return text


#: Of the table of memories: requests of a run, and how many it makes at once, by subject.
_REQUESTS: Final = {
    "count 1": (1, 1),
    "count 100": (2, 1),
    "count 1000": (2, 1),
    scope.APART: (scope.WORKED_APART, 8),
}
MEMORIES_MB: Final = (128, 256, 512, 1024, 1769)


def _memory(raw: Mapping[str, Any]) -> list[str]:
    rows = []
    for subject, (requests, at_once) in _REQUESTS.items():
        if subject not in raw["compared"]:
            continue
        cpu_ms = raw["compared"][subject]["bare_ms"] * ratio(raw, subject)
        events = int(subject.split()[1])
        step = costing.Step(requests, 0, 0, (), 0, 0, cpu_ms, at_once)
        cells = []
        for memory_mb in MEMORIES_MB:
            setup = costing.Setup(0, 0, {"project": memory_mb})
            usd = costing.MILLION / events * costing.run(setup, "project", step)
            cells.append(f"{setup.billed_ms('project', step):,} ms, {usd:.3f}")
        rows.append([_subject(subject), *cells])
    return [
        "**Memory of `project`.** Lambda gives a function a share of a CPU in proportion to its memory, and a whole "
        f"one with 1,769 MB. With the CPU time above and {costing.WAIT_MS} ms for each request, of which up to eight "
        "wait at once if there are several counters, a run is billed for so long, and a million events cost so many "
        "USD in "
        "runs of `project`:",
        table(["batch", *(f"{memory_mb:,} MB" for memory_mb in MEMORIES_MB)], rows),
        "Lone events mostly wait, so memory only adds to their price. Many counters take CPU time, at the same price "
        "with any memory and in less time with more. 512 MB keep the price of lone events low, and count a message "
        "with "
        "events of 1,000 counters well within the function's 30 seconds.",
    ]


def _subject(name: str) -> str:
    kind, _, size = name.partition(" ")
    if kind == "command":
        return "a command"
    events, _, apart = size.partition(" of ")
    return (
        f"{kind}, {int(events):,} event{'' if events == '1' else 's'}{f' of {int(events):,} counters' if apart else ''}"
    )


def _ratio(raw: Mapping[str, Any], subject: str, what: str) -> list[str]:
    found = raw["compared"][subject]["ratios"][what]
    return [f"{ratio(raw, subject, what):.2f}", f"{min(found):.2f} to {max(found):.2f}"]


def _drawn(raw: Mapping[str, Any]) -> dict[str, str]:
    def points(kind: str, what: str) -> list[tuple[float, float]]:
        sizes = [
            size for size in scope.WORKED if what in raw["compared"].get(f"{kind} {size}", {"ratios": {}})["ratios"]
        ]
        return [(size, ratio(raw, f"{kind} {size}", what)) for size in sizes]

    series = {
        "publish": points("publish", scope.FUNCTION),
        "count": points("count", scope.FUNCTION),
        "bare write and read": points("count", scope.READ_TOO),
    }
    return {"cpu-time": plots.lines("CPU time of a batch", "events in a batch", "times the bare calls", series)}


SECTION: Final = Section("CPU time", _says, _drawn, _goals)
