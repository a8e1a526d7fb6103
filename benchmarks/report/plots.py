"""Draw line plots as SVG with matplotlib. Reproducible; a plot's description has its points."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Colours that remain distinct with colour blindness, and a marker for each.
_STYLES = list(zip(mpl.color_sequences["okabe_ito"], "s^DPvHXo", strict=True))


def draw_lines(
    title: str,
    x_label: str,
    y_label: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    decades: bool = False,
) -> str:
    """
    Draw these lines on logarithmic axes. Points that are not positive are omitted.

    The x axis has a tick at each point's place, or at each power of ten.
    """
    lines = {name.replace("`", ""): [(x, y) for x, y in points if x > 0 and y > 0] for name, points in series.items()}
    with mpl.rc_context({"svg.hashsalt": title, "svg.fonttype": "none", "axes.spines.top": False}):
        figure = Figure(figsize=(9, 4), layout="constrained")
        axes = figure.add_subplot(xscale="log", yscale="log", title=title, xlabel=x_label, ylabel=y_label)
        for (name, points), (colour, marker) in zip(lines.items(), _STYLES, strict=False):
            axes.plot([x for x, _ in points], [y for _, y in points], color=colour, marker=marker, label=name)
        if not decades:
            axes.set_xticks(sorted({x for points in lines.values() for x, _ in points}))
            axes.set_xticks([], minor=True)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,g}")
            axis.set_minor_formatter(LogFormatter())
        axes.grid(axis="y", alpha=0.3)
        figure.legend(loc="outside right upper", frameon=False)
        svg = io.StringIO()
        texts = {"Title": title, "Description": json.dumps(lines), "Date": None, "Creator": None}
        figure.savefig(svg, format="svg", metadata=texts)
    return "\n".join(line.rstrip() for line in svg.getvalue().splitlines()) + "\n"
