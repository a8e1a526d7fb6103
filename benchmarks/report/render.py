"""Render the pages and plots from stored figures: Jinja2 templates contain the text, and views compute the numbers."""

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final

import jinja2

from benchmarks.measure import scope
from benchmarks.report import benchmarks_page, cost_page, markdown, plots, results, scale_page
from chalicelib.domain import archive

_TEMPLATES: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    undefined=jinja2.StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.globals |= {"archive": archive, "scope": scope, "results": results}
_TEMPLATES.filters |= {
    "changes": scale_page.describe_changes,
    "listing": markdown.format_list,
    "mark": lambda design: f"**{design}**" if design == scope.OURS else design,
    "median": median,
    "multiple": markdown.format_multiple,
    "number": format,
    "percent": markdown.format_percent,
    "short": markdown.format_short,
    "subject": benchmarks_page.describe_subject,
    "usd": markdown.format_usd,
}


def render_pages(figures: Mapping[str, Any]) -> dict[str, str]:
    """Return pages and plots by their paths below docs/. Omit sections that are not measured."""
    pages = {"benchmarks.md": benchmarks_page.view(figures)}
    if {"function_steps", "fronts"} <= figures.keys():
        pages["cost.md"] = cost_page.view(figures)
    if "scale" in figures:
        pages["scale.md"] = scale_page.view(figures)
    texts = {
        name: fill_paragraphs(_TEMPLATES.get_template(f"{name}.j2").render(context)) for name, context in pages.items()
    }
    return texts | {f"figures/{name}.svg": svg for name, svg in plots.draw_plots(figures).items()}


def render_table(name: str, *raw: Any) -> str:
    """Return a table that other documents quote, from the raw figures of its sections."""
    return str(getattr(_TEMPLATES.get_template("tables.md.j2").module, name)(*raw)).strip()


def fill_paragraphs(page: str) -> str:
    """Wrap paragraphs at 120 characters; other blocks, which begin with one of `#|!-`, stay unchanged."""
    blocks = re.split(r"\n{2,}", page.strip())
    return "\n\n".join(block if block[0] in "#|!-" else _fill(block) for block in blocks) + "\n"


def _fill(paragraph: str) -> str:
    return textwrap.fill(" ".join(paragraph.split()), 120, break_long_words=False, break_on_hyphens=False)
