"""
Measure, and write docs/benchmarks.md, docs/cost.md and docs/scale.md with their plots.

Without SECTIONS, measure all sections, which takes about an hour on two idle processors. Each section is stored in
docs/figures.json as soon as it is measured, and the pages are rendered from that file alone.
"""

import click

from benchmarks import store
from benchmarks.measure import environment

#: Sections that take too long for a quick sample, or depend on the stored figures in docs/.
_NOT_QUICK = ("ops_commands", "scale", "validation")


@click.command(help=__doc__)
@click.argument("sections", nargs=-1, type=click.Choice(store.SECTIONS))
@click.option("--quick", is_flag=True, help="Measure small samples, in a few minutes, into .local/bench.")
@click.option("--render", is_flag=True, help="Render the pages from the stored figures without measuring.")
def main(sections: tuple[str, ...], quick: bool, render: bool) -> None:
    folder = store.PROJECT / ".local" / "bench" if quick else store.DOCS
    usual = [name for name in store.SECTIONS if not (quick and name in _NOT_QUICK)]
    for name in [] if render else [name for name in store.SECTIONS if name in (sections or usual)]:
        click.echo(f"Measuring: {name}", err=True)
        machine = store.describe_machine()
        # In a separate process, so that no section affects another.
        raw = environment.run_in_process(environment.measure_section, name, quick)
        store.write(folder, name, raw, machine)
    for name, text in environment.render_pages(store.read(folder)).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    click.echo(f"Written: {folder / 'benchmarks.md'}")


if __name__ == "__main__":
    main()
