"""Sections of the report, and how they write tables and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measure import scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

DASH: Final = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal that was set before the measurement, and the result."""

    hoped: str
    found: str
    is_met: bool


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report: its title; and its text, plots by file name, and goals, all from raw figures."""

    title: str
    says: Callable[[Any], str]
    plots: Callable[[Any], dict[str, str]] = lambda _raw: {}
    goals: Callable[[Any], list[Goal]] = lambda _raw: []


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" if line is not lines[1] else f"|{'|'.join(line)}|" for line in lines)


def goals_table(found: Iterable[Goal]) -> str:
    """Return a table of goals, each with its verdict."""
    rows = [[goal.hoped, goal.found, "met" if goal.is_met else "**missed**"] for goal in found]
    return table(["goal", "measured", "verdict"], rows)


def short(number: float | None) -> str:
    """Return three significant digits, or all digits of a larger number."""
    if number is None:
        return DASH
    if number == 0 or number >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"


def numbers(whole: Iterable[int]) -> list[str]:
    """Return whole numbers with separators of thousands."""
    return [f"{number:,}" for number in whole]


def multiple(one: float, unit: float) -> str:
    """Return a number as a multiple of the unit, with two significant digits; a dash if the unit is 0."""
    if not unit:
        return DASH
    times = one / unit
    return f"{times:,.0f}" if times >= 10 else f"{times:.2g}"


def percent(share: float) -> str:
    """Return a share of 1 in per cent."""
    return f"{100 * share:.1f} %"


def bold(design: str) -> str:
    """Return a design's name, in bold if it is this one."""
    return f"**{design}**" if design == scope.OURS else design
