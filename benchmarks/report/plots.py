"""
Plots as SVG, drawn from numbers alone: the same numbers make the same text, so that a plot can be held to its figures.

Both axes are logarithmic. Each line has a colour and a mark of its own, chosen so that who sees few colours can tell
them apart (the palette of Okabe and Ito), and its name stands beside the plot, joined to its end. Lines that lie on
each other end in one point, from which each has its name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Points = Sequence[tuple[float, float]]

_WIDTH: Final = 820
_HEIGHT: Final = 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 290, 46, 50

_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f")
_MARKS: Final = (
    "M-4 -4H4V4H-4Z",
    "M0 -5L5 4H-5Z",
    "M0 -5L5 0L0 5L-5 0Z",
    "M-5 -1.5H-1.5V-5H1.5V-1.5H5V1.5H1.5V5H-1.5V1.5H-5Z",
    "M0 5L5 -4H-5Z",
    "M-4 -2L-2 -4H2L4 -2V2L2 4H-2L-4 2Z",
    "M-5 -5L5 5M5 -5L-5 5",
    "M-5 0H5",
)

#: Names of lines keep this distance from each other, and this one from the right end of the plot.
_LINE_HEIGHT: Final = 16
_TO_NAMES: Final = 22


@dataclass(frozen=True, slots=True)
class _Axis:
    """From the first of these ticks to the last, over so many pixels from a place on; down, if negative."""

    ticks: Sequence[float]
    start: int
    length: int

    def at(self, value: float) -> float:
        first, last = math.log10(self.ticks[0]), math.log10(self.ticks[-1])
        return self.start + (math.log10(value) - first) / (last - first) * self.length


def lines(title: str, x_name: str, y_name: str, series: Mapping[str, Points], *, x_decades: bool = False) -> str:
    """
    The plot of these lines, each with its name. Points that are not positive have no place, and are left out.

    Where points of different lines are at different places across, decades mark the axis, and not these places.
    """
    shown = {name: [(x, y) for x, y in points if x > 0 and y > 0] for name, points in series.items()}
    xs = sorted({x for points in shown.values() for x, _ in points})
    across = _Axis(_decades(xs) if x_decades else xs, _LEFT, _WIDTH - _LEFT - _RIGHT)
    ys = [y for points in shown.values() for _, y in points]
    up = _Axis(_between_decades(_decades(ys)), _HEIGHT - _BOTTOM, _TOP + _BOTTOM - _HEIGHT)
    drawn = [*_frame(title, x_name, y_name, across, up)]
    for number, points in enumerate(shown.values()):
        places = [(across.at(x), up.at(y)) for x, y in points]
        drawn += _line(places, _COLOURS[number % len(_COLOURS)], _MARKS[number % len(_MARKS)])
    ends = {name: (across.at(points[-1][0]), up.at(points[-1][1])) for name, points in shown.items() if points}
    right = across.start + across.length
    for name, beside in _apart({name: y for name, (_, y) in ends.items()}).items():
        x, y = ends[name]
        colour = _COLOURS[[*shown].index(name) % len(_COLOURS)]
        dashes = ' stroke-dasharray="2 3"' if x < right else ""
        drawn.append(
            f'<path d="M{x + 7:.1f} {y:.1f}H{right + 7}L{right + _TO_NAMES - 4} {beside:.1f}" stroke="{colour}" '
            f'stroke-width="0.7"{dashes}/>'
        )
        drawn.append(
            f'<text x="{right + _TO_NAMES}" y="{beside + 4:.1f}" fill="{colour}">{escape(name).replace("`", "")}</text>'
        )
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
            f'height="{_HEIGHT}" role="img" font-family="sans-serif" font-size="12" fill="none">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
            *drawn,
            "</svg>\n",
        )
    )


def _frame(title: str, x_name: str, y_name: str, across: _Axis, up: _Axis) -> Iterable[str]:
    right, bottom = across.start + across.length, up.start
    middle = (_TOP + bottom) / 2
    yield f'<text x="{_LEFT}" y="24" font-size="15" fill="#000000">{escape(title)}</text>'
    yield (
        f'<text x="{(_LEFT + right) / 2:.1f}" y="{_HEIGHT - 12}" text-anchor="middle" fill="#000000">'
        f"{escape(x_name)}</text>"
    )
    yield (
        f'<text x="16" y="{middle:.1f}" text-anchor="middle" fill="#000000" '
        f'transform="rotate(-90 16 {middle:.1f})">{escape(y_name)}</text>'
    )
    for tick in up.ticks:
        y = up.at(tick)
        yield f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#dddddd"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#000000">{tick:,g}</text>'
    for tick in across.ticks:
        x = across.at(tick)
        yield f'<path d="M{x:.1f} {bottom}v5" stroke="#000000"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle" fill="#000000">{tick:,g}</text>'
    yield f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" stroke="#000000"/>'


def _line(places: Points, colour: str, mark: str) -> Iterable[str]:
    if not places:
        return
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    yield f'<path d="M{path}" stroke="{colour}" stroke-width="2"/>'
    for x, y in places:
        yield f'<path d="{mark}" transform="translate({x:.1f} {y:.1f})" stroke="{colour}" fill="{colour}"/>'


def _decades(values: Iterable[float]) -> list[float]:
    """Powers of ten, two at least, that hold all of these values."""
    found = sorted(values)
    first, last = math.floor(math.log10(found[0])), math.ceil(math.log10(found[-1]))
    return [10.0**exponent for exponent in range(first, max(last, first + 1) + 1)]


def _between_decades(decades: Sequence[float]) -> Sequence[float]:
    """With twice and five times each power of ten, where there are few of them."""
    if len(decades) > 3:
        return decades
    return [times * decade for decade in decades[:-1] for times in (1, 2, 5)] + [decades[-1]]


def _apart(places: Mapping[str, float]) -> dict[str, float]:
    """Where names stand that would stand at these heights, so that none is on another, or below the axis."""
    found: dict[str, float] = {}
    lowest = _HEIGHT - _BOTTOM + _LINE_HEIGHT / 2
    for name in sorted(places, key=lambda name: places[name], reverse=True):
        found[name] = lowest = min(places[name], lowest)
        lowest -= _LINE_HEIGHT
    return found
