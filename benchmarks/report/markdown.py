"""Format numbers and lists for the benchmark pages."""

from collections.abc import Sequence
from typing import Final

DASH: Final = "\N{EN DASH}"


def format_short(number: float | None) -> str:
    """Format a number with three significant digits, or as an integer if it is 100 or more. None becomes a dash."""
    if number is None:
        return DASH
    return f"{number:,.0f}" if number == 0 or number >= 100 else f"{number:.3g}"


def format_multiple(number: float, unit: float) -> str:
    """Format a number as a multiple of the unit, with two significant digits below 10. If the unit is 0, use a dash."""
    if not unit:
        return DASH
    return f"{number / unit:,.0f}" if number >= 10 * unit else f"{number / unit:.2g}"


def format_usd(usd: float | None) -> str:
    """Format an amount with cents, or a dash for None."""
    return DASH if usd is None else f"{usd:.2f}"


def format_percent(share: float, digits: int = 0) -> str:
    """Format a fraction as a percentage."""
    return f"{100 * share:,.{digits}f} %"


def format_list(words: Sequence[str]) -> str:
    """Return words joined by commas, and by "and" before the last."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
