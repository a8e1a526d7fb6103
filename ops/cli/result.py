"""What a command of the operators' program comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """`facts` for machines, `lines` for people (by default the facts), and whether what was asked holds."""

    facts: dict[str, Any]
    lines: list[str] | None = None
    holds: bool = True

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(
            [f"{name}: {value}" for name, value in self.facts.items()] if self.lines is None else self.lines
        )
