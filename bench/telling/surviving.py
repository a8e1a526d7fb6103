"""Which faults each design survives, told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.telling.writing import Section, bold, table

if TYPE_CHECKING:
    from collections.abc import Mapping


def survives(outcome: Mapping[str, int]) -> bool:
    """Whether in every run all was acknowledged, and the value exact."""
    return not any(outcome[what] for what in ("too_much", "too_little", "never_acknowledged"))


def _says(raw: Mapping[str, Mapping[str, Mapping[str, int]]]) -> str:
    faults = list(next(iter(raw.values())))
    rows = [[fault, *(_outcome(outcomes[fault]) for outcomes in raw.values())] for fault in faults]
    survived = [sum(map(survives, outcomes.values())) for outcomes in raw.values()]
    runs = sum(outcome["runs"] for outcomes in raw.values() for outcome in outcomes.values())
    return "\n\n".join(
        (
            f"Each design was run through each fault, in each way in which it can strike, on four events of two "
            f"counters: {runs:,} runs, with the engine and the faults of [the proof](../README.md#the-proof). Faults "
            "strike each request of the sender (`publish`, or a alternative's front) and of the worker. Everything is "
            "delivered until it is acknowledged: whoever fails or dies gets the same again once the visibility timeout "
            "has passed. When all is acknowledged, the values have to be exact. *Yes* is that they were in all runs; "
            "otherwise a cell says in how many they were not.",
            table(
                ["fault", *map(bold, raw)], [*rows, ["**survived**", *(f"**{n} of {len(faults)}**" for n in survived)]]
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


SECTION: Final = Section("Which faults it survives", _says)
