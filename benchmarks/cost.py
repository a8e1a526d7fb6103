"""
What a million increments cost, in USD: python -m benchmarks.cost [--measure]

Writes docs/cost.md, and prints its tables, from the list prices in benchmarks/models/pricing.py and the figures in
benchmarks/measured.json. With --measure, first runs the functions on an embedded AWS of their own and stores new
figures.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import itertools
import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from benchmarks import alternatives
from benchmarks.measure import steady_state
from benchmarks.models import costing, pricing
from benchmarks.models.costing import RATES, AlternativeBatch, Batch, Load, Setup, Step
from chalicelib import settings, telemetry

if TYPE_CHECKING:
    from collections.abc import Iterable

PROJECT = Path(__file__).parent.parent
MEASURED = Path(__file__).with_name("measured.json")
DOCUMENT = PROJECT / "docs" / "cost.md"

_REPEATS: Final = 15

#: Counters of a batch that `project` counts at the same time.
AT_ONCE: Final = 8

#: Of our metrics, those that the hourly check writes each time; and what it reads at most, in units.
METRICS_OF_THE_CHECK: Final = 5
_READ_UNITS_OF_THE_CHECK: Final = 3000


@dataclass(frozen=True, slots=True)
class Figures:
    """Every step by its name, and the date of the measurement."""

    measured_on: str
    event_bytes: int
    alternative_message_bytes: int
    steps: dict[str, Step]


@click.command(help=__doc__)
@click.option("--measure", is_flag=True, help="Run the functions, and store what they take.")
def main(measure: bool) -> None:
    from tests import conftest  # noqa: F401, PLC0415  (sets what the application reads when it is imported)

    if measure:
        with contextlib.redirect_stdout(sys.stderr):
            _write(_measured_on_an_aws_of_its_own())
    from benchmarks.report import cost as telling  # noqa: PLC0415  (imports this module)

    figures, deployed = read(), setup()
    DOCUMENT.write_text(telling.document(figures, deployed), encoding="utf-8")
    click.echo("\n\n".join(tables(figures, deployed)))


def setup() -> Setup:
    """Return what `app.py` and `.chalice/config.json` deploy."""
    import app  # noqa: PLC0415  (reads the stage's settings)

    batch = {source.name: getattr(source, "batch_size", 0) for source in app.app.event_sources}
    functions = json.loads((PROJECT / ".chalice" / "config.json").read_text(encoding="utf-8"))["lambda_functions"]
    memory_mb = {name: function["lambda_memory_size"] for name, function in functions.items()}
    return Setup(batch["publish"], batch["project"], memory_mb)


def loads() -> tuple[Load, Load, Load]:
    """Return one counter and many, with the default batching window; and one counter with a window of ten seconds."""
    window_s = settings.read({"STAGE": "dev"}).batching_window_s
    return Load(True, window_s), Load(False, window_s), Load(True, 10)


def tables(figures: Figures, deployed: Setup) -> list[str]:
    """Return the tables of docs/cost.md."""
    one, many, gathered = loads()
    parts_at_each = [by_part(figures, deployed, one, rate) for rate in RATES]
    queries = costing.queries(deployed, figures.steps["counter"])

    def totals(load: Load) -> list[float | None]:
        return [sum(by_part(figures, deployed, load, rate).values()) for rate in RATES]

    ours = _table(
        ("one counter", *(f"{rate:,} a second" for rate in RATES)),
        [
            *((part, *_usd(parts[part] for parts in parts_at_each)) for part in costing.PARTS),
            ("**an increment, in total**", *_usd(totals(one), bold=True)),
            ("a query for each increment", *_usd([queries] * len(RATES))),
            (f"an increment, with `BATCHING_WINDOW_S` = {gathered.window_s}", *_usd(totals(gathered))),
            ("an increment, spread over many counters", *_usd(totals(many))),
        ],
    )
    rows = [("this one", *_usd(totals(one)), "what the [guarantees](testing.md#guarantees) exclude")]
    rows += [
        (
            alternative.name,
            *_usd(_alternative(figures, deployed, alternative, rate) for rate in RATES),
            alternative.lacks,
        )
        for alternative in alternatives.PRICED
    ]
    compared = _table(("one counter", *(f"{rate:,} a second" for rate in RATES), "lacks"), rows)
    return [ours, compared, _standing(figures)]


def _standing(figures: Figures) -> str:
    others = len(telemetry.METRICS) - METRICS_OF_THE_CHECK
    amounts = {
        "Lambda's polling of an idle projection queue": costing.idle_polling_a_month(),
        f"the {METRICS_OF_THE_CHECK} metrics that the hourly check always writes": pricing.METRIC_MONTHS.of(
            METRICS_OF_THE_CHECK
        ),
        f"the other {others} metrics, if each were written all the time": pricing.METRIC_MONTHS.of(others),
        f"the hourly check, if each reads {_READ_UNITS_OF_THE_CHECK:,} units": costing.hourly_reads_a_month(
            _READ_UNITS_OF_THE_CHECK
        ),
        "a million events in the log, in storage": costing.keeping_a_million_a_month(figures.event_bytes),
    }
    return _table(("each month, in addition", "USD"), [(what, f"{usd:.2f}") for what, usd in amounts.items()])


def by_part(figures: Figures, deployed: Setup, load: Load, rate: int) -> dict[str, float]:
    """Return what a million increments of this load at so many a second cost by part, in USD."""
    size = load.batch(rate, deployed.stream_batch)
    batch = Batch(size, figures.steps[_publish(size)], counting(figures, load, rate, size))
    return costing.increments(deployed, figures.steps["increment"], batch, rate)


def counting(figures: Figures, load: Load, rate: int, size: int) -> Step:
    """
    Return a run of `project` with a message of so many events, in the steady state.

    CPU time is that of the measured run, in which all counters were new, in proportion to the requests.
    """
    measured = figures.steps[_project(load, size)]
    each = counting_units(size if load.one_counter else 1, max(1000, size * 1000 // rate) if load.one_counter else 1000)
    requests = each.requests * size
    return replace(
        measured,
        requests=requests,
        write_units=each.write * size,
        read_units=each.read * size,
        cpu_ms=measured.cpu_ms * requests / measured.requests,
    )


@functools.cache
def counting_units(events: int, each_ms: int) -> steady_state.Units:
    """Return what counting takes for an event, if a counter has so many in each message, and one in so many ms."""
    return steady_state.steady(steady_state.in_order(events, each_ms))


def _alternative(figures: Figures, deployed: Setup, alternative: alternatives.Alternative, rate: int) -> float | None:
    """Return what a million increments cost, or None if the design cannot do it."""
    if not costing.fits_one_item(alternative.counter_units, rate):
        return None
    size, steps = deployed.alternative_batch(rate, loads()[0].window_s), figures.steps
    batch = AlternativeBatch(size, figures.alternative_message_bytes, steps[_work(alternative, size)])
    return costing.alternative_increments(deployed, steps["increment"], batch, rate)


def _publish(size: int) -> str:
    return f"publish {size}"


def _project(load: Load, size: int) -> str:
    return f"project {size} of {'one counter' if load.one_counter else 'many counters'}"


def _work(alternative: alternatives.Alternative, size: int) -> str:
    return f"{alternative.name}: {size}"


def measured(deployed: Setup, repeats: int) -> Figures:
    """Measure every step, on the tables and queues that the process's environment names."""
    from benchmarks.measure import timing  # noqa: PLC0415  (reads the stage's settings)

    wanted = {"increment": timing.increment, "counter": timing.query}
    for load, rate in itertools.product(loads(), RATES):
        size = load.batch(rate, deployed.stream_batch)
        wanted[_publish(size)] = functools.partial(timing.publish, size)
        project = timing.project_one if load.one_counter else timing.project_apart
        wanted[_project(load, size)] = functools.partial(project, size)
    steps = {name: timing.measured(prepare, repeats) for name, prepare in wanted.items()}
    for load, rate in itertools.product(loads(), RATES):
        if not load.one_counter:
            name = _project(load, size := load.batch(rate, deployed.stream_batch))
            steps[name] = replace(steps[name], at_once=min(AT_ONCE, size))
    database = timing.database()
    for alternative, rate in itertools.product(alternatives.PRICED, RATES):
        size = deployed.alternative_batch(rate, loads()[0].window_s)
        if _work(alternative, size) not in steps:
            prepare = functools.partial(timing.work, alternative, database, size)
            steps[_work(alternative, size)] = timing.measured(prepare, repeats, database)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Figures(today, timing.event_bytes(), timing.alternative_message_bytes(), steps)


def read() -> Figures:
    """Return the stored figures."""
    stored = json.loads(MEASURED.read_text(encoding="utf-8"))
    steps = {
        name: Step(**{**step, "message_bytes": tuple(step["message_bytes"])}) for name, step in stored["steps"].items()
    }
    return Figures(**{**stored, "steps": steps})


def _write(figures: Figures) -> None:
    MEASURED.write_text(json.dumps(asdict(figures), indent=1) + "\n", encoding="utf-8")


def _measured_on_an_aws_of_its_own() -> Figures:
    from ops.deployment import provision  # noqa: PLC0415
    from ops.local import stack  # noqa: PLC0415

    ports = int(os.environ["AWS_PORT"]), int(os.environ["PAGE_PORT"])
    with stack.run_aws(stack.LocalSystem(Path(os.environ["LOCAL_FOLDER"]), *ports)):
        provision.provision(settings.current())
        return measured(setup(), _REPEATS)


def _usd(amounts: Iterable[float | None], *, bold: bool = False) -> list[str]:
    texts = ["\N{EN DASH}" if amount is None else f"{amount:.2f}" for amount in amounts]
    return [f"**{text}**" for text in texts] if bold else texts


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" if line[0] != "---" else f"|{'|'.join(line)}|" for line in lines)


if __name__ == "__main__":
    main()
