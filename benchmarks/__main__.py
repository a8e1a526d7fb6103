"""
Measure, and write the report: python -m benchmarks [--quick] [SECTION ...]

Without sections, measure all of them. The figures are stored in figures.json first; the page and its plots are made
from that file alone, and sections that are not measured stay as they are stored. Takes about an hour; with --quick,
which measures less of everything and leaves out operators' commands, a few minutes.
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.measure import function_times
from benchmarks.report import render as report_render

PROJECT = Path(__file__).parent.parent


@click.command(help=__doc__)
@click.argument("sections", nargs=-1, type=click.Choice([*function_times.SECTIONS]))
@click.option("--quick", is_flag=True, help="Measure less of everything, into .local/bench by default.")
@click.option(
    "--into", type=click.Path(file_okay=False, path_type=Path), help="The folder of the report.  [default: docs]"
)
@click.option("--render", is_flag=True, help="Measure nothing; only write the report from the stored figures.")
def main(sections: tuple[str, ...], quick: bool, into: Path | None, render: bool) -> None:
    folder = into or (PROJECT / ".local" / "bench" if quick else PROJECT / "docs")
    if not render:
        function_times.measure(folder, sections or _usual(quick=quick), quick=quick)
    for name, text in report_render.rendered(function_times.read(folder)).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    click.echo(f"Written: {folder / 'figures.md'}")


def _usual(*, quick: bool) -> tuple[str, ...]:
    return tuple(name for name in function_times.SECTIONS if not (quick and name in function_times.NOT_QUICK))


if __name__ == "__main__":
    main()
