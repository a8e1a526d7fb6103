"""Format tables and numbers for the pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DASH: Final = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal that was set before the measurement, and the result."""

    text: str
    result: str
    is_met: bool


def format_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join([_line(head), "|" + "---|" * len(head), *map(_line, rows)])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def format_short(number: float | None) -> str:
    """Format with three significant digits, or all digits from 100 on; a dash for None."""
    if number is None:
        return DASH
    return f"{number:,.0f}" if number == 0 or number >= 100 else f"{number:.3g}"


def format_multiple(number: float, unit: float) -> str:
    """Return a number as a multiple of the unit, with two significant digits; a dash if the unit is 0."""
    if not unit:
        return DASH
    return f"{number / unit:,.0f}" if number >= 10 * unit else f"{number / unit:.2g}"


def format_usd(usd: float | None) -> str:
    """Format an amount with cents, or a dash for None."""
    return DASH if usd is None else f"{usd:.2f}"


def format_percent(share: float, digits: int = 0) -> str:
    """Return a share of 1 in per cent."""
    return f"{100 * share:,.{digits}f} %"


def format_list(words: Sequence[str]) -> str:
    """Return words joined by commas, and by "and" before the last."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
