"""The outcome of a command."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    The output of a command: `facts` with --json, else `lines` (default: one line per fact).

    If `holds` is false, because of a refusal, a difference or incomplete work, the exit status is 1. With
    `is_on_stderr`, the output is on standard error, because the command wrote data to standard output.
    """

    facts: dict[str, Any]
    lines: list[str] | None = None
    holds: bool = True
    is_on_stderr: bool = False

    @property
    def text(self) -> str:
        """The output without --json, as one text."""
        return "\n".join(
            [f"{name}: {value}" for name, value in self.facts.items()] if self.lines is None else self.lines
        )


def count(number: int, noun: str, plural: str = "") -> str:
    """Return the number with its noun: "1 event", "2,000 events". `plural` defaults to the noun plus an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def render_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table with this header."""
    lines = [columns, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
