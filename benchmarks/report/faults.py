"""The section on the faults that each design survives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.report.markdown import Section, bold, table

if TYPE_CHECKING:
    from collections.abc import Mapping


def survives(outcome: Mapping[str, int]) -> bool:
    """Check whether in every run everything was acknowledged, and the value was exact."""
    return not any(outcome[what] for what in ("too_much", "too_little", "never_acknowledged"))


def _says(raw: Mapping[str, Mapping[str, Mapping[str, int]]]) -> str:
    faults = list(next(iter(raw.values())))
    rows = [[fault, *(_outcome(outcomes[fault]) for outcomes in raw.values())] for fault in faults]
    survived = [sum(map(survives, outcomes.values())) for outcomes in raw.values()]
    runs = sum(outcome["runs"] for outcomes in raw.values() for outcome in outcomes.values())
    return "\n\n".join(
        (
            f"Each design ran through each fault, in each way in which it can strike, on four events of two counters: "
            f"{runs:,} runs, with the engine and the faults of [the tests](testing.md#resilience). Faults strike each "
            "request of the sender (`publish`, or the front of an alternative) and of the worker. Messages are "
            "delivered until they are acknowledged: a function that fails or dies gets the same messages again after "
            "the visibility timeout. Then the values must be exact. *Yes*: they were in all runs. Otherwise, a cell "
            "has the number of runs in which they were not.",
            table(
                ["fault", *map(bold, raw)], [*rows, ["**survived**", *(f"**{n} of {len(faults)}**" for n in survived)]]
            ),
            "If a response is lost, the SDK sends the request again, which makes an `ADD` count twice. A transaction "
            "has a token by which DynamoDB recognizes it. This design's update has a condition: the second attempt is "
            "refused, because the entry is already there. The idempotency table is wrong if its worker dies after the "
            "`ADD`, and when its entries, here after 30 days, have expired. A FIFO queue accepts no message twice "
            "within "
            "five minutes, but redelivers the messages that it has.",
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


SECTION: Final = Section("Faults", _says)
