"""The CPU time of our own code, told."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

from bench import plots, scope
from bench.telling.writing import Goal, Section, goals_table, percent, table

if TYPE_CHECKING:
    from collections.abc import Mapping


def ratio(raw: Mapping[str, Any], subject: str, what: str = scope.FUNCTION) -> float:
    """The median of the rounds."""
    return float(median(raw["compared"][subject]["ratios"][what]))


def _says(raw: Mapping[str, Any]) -> str:
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
        goals_table(_goals(raw)),
        _why(raw),
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


def _why(raw: Mapping[str, Any]) -> str:
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


def _drawn(raw: Mapping[str, Any]) -> dict[str, str]:
    def points(kind: str, what: str) -> list[tuple[float, float]]:
        sizes = [size for size in scope.WORKED if f"{kind} {size}" in raw["compared"]]
        return [(size, ratio(raw, f"{kind} {size}", what)) for size in sizes]

    series = {
        "publish": points("publish", scope.FUNCTION),
        "count": points("count", scope.FUNCTION),
        "bare transaction and read": points("count", scope.READ_TOO),
    }
    return {"cpu-time": plots.lines("CPU time of a batch", "events in a batch", "times the bare calls", series)}


SECTION: Final = Section("The work of our own code", _says, _drawn, _goals)
