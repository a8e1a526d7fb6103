"""What the sections of the report are made of, and how tables and numbers are written in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bench import scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

DASH: Final = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Goal:
    """What was hoped for before it was measured, and what was found."""

    hoped: str
    found: str
    is_met: bool


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report: its title, and of raw figures the text, the plots by their files' names, and the goals."""

    title: str
    says: Callable[[Any], str]
    plots: Callable[[Any], dict[str, str]] = lambda _raw: {}
    goals: Callable[[Any], list[Goal]] = lambda _raw: []


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" if line is not lines[1] else f"|{'|'.join(line)}|" for line in lines)


def goals_table(found: Iterable[Goal]) -> str:
    """A table of goals, each with its verdict."""
    rows = [[goal.hoped, goal.found, "met" if goal.is_met else "**missed**"] for goal in found]
    return table(["goal", "found", "verdict"], rows)


def short(number: float | None) -> str:
    """Three digits that say something, or all of a whole number."""
    if number is None:
        return DASH
    if number == 0 or number >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"


def numbers(whole: Iterable[int]) -> list[str]:
    """Whole numbers, each with its thousands apart."""
    return [f"{number:,}" for number in whole]


def multiple(one: float, unit: float) -> str:
    """How many times the unit it is, in two digits that say something; a dash if the unit is nothing."""
    if not unit:
        return DASH
    times = one / unit
    return f"{times:,.0f}" if times >= 10 else f"{times:.2g}"


def percent(share: float) -> str:
    """A share of 1, in per cent."""
    return f"{100 * share:.1f} %"


def bold(design: str) -> str:
    """A design's name, in bold if it is ours."""
    return f"**{design}**" if design == scope.OURS else design
