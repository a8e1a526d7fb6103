"""
How this design scales: lag, cost and the tightest limit, from ten increments a second to a million.

    python -m benchmarks.scale              simulate, and write docs/scale.json and docs/scale.md
    python -m benchmarks.scale --validate   also compare the model with the embedded AWS

What a run of a function takes is what `make cost` measured, interpolated between the measured sizes.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import math
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from benchmarks import cost
from benchmarks.models import costing, limits
from benchmarks.models.costing import Batch, Step
from benchmarks.models.simulation import System, simulated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from benchmarks.cost import Figures
    from benchmarks.measure.steady_state import Units
    from benchmarks.models.costing import Setup
    from benchmarks.models.limits import Limit
    from benchmarks.models.simulation import Result

DOCUMENT = Path(__file__).parent.parent / "docs" / "scale.md"
RAW = DOCUMENT.with_suffix(".json")

RATES: Final = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
MANY: Final = 1_000_000

#: How long the model runs from nothing, with as few pollers as a queue has at first.
_SUDDEN_S: Final = 120


@dataclass(frozen=True, slots=True)
class Case:
    """So many increments a second on so many counters, with these settings."""

    rate: int
    counters: int
    shards: int = 1
    window_s: int = 1
    project_mb: int = 512
    project_at_once: int = int(limits.POLLERS.most)

    @property
    def stream_shards(self) -> int:
        """
        Shards of the stream: one for each partition of the log, of which a new table has four, and a hot one "
        "more.
        """
        needed = math.ceil(self.rate / limits.PARTITION_UNITS.most)
        return self.shards if self.counters == 1 else max(4, needed)

    @property
    def accepted(self) -> int:
        """The rate that the log takes: on one counter, it has a partition for each of the `SHARDS`."""
        most = self.shards * int(limits.PARTITION_UNITS.most)
        return min(self.rate, most) if self.counters == 1 else self.rate

    @property
    def new_table_takes_it_after_min(self) -> int:
        """Minutes until a new table of the log takes this rate, by the published rule."""
        doublings = math.ceil(math.log2(max(1.0, self.accepted / limits.UNITS_OF_A_NEW_TABLE)))
        return doublings * limits.DOUBLES_IN_S // 60


@dataclass(frozen=True, slots=True)
class Use:
    """How much of a limit is used, 1 being all, and what to do if it is too much."""

    name: str
    used: float
    on_request: bool
    change: str


#: The sections of the document in their order, each with its settings and its conclusion.
SECTIONS: Final[Mapping[str, tuple[dict[str, int], str]]] = {
    "One counter, as it is deployed": (
        {"counters": 1},
        "Its log is one partition, and takes 1,000 a second. Increments beyond are answered `503`, and clients retry.",
    ),
    "One counter, `BATCHING_WINDOW_S` = 10": (
        {"counters": 1, "window_s": 10},
        "Cheaper up to some ten a second, and later. If 1,000 events, a full batch, come in less than a window, "
        "`publish` does not wait for its end, and a longer window makes no difference.",
    ),
    "One counter, `SHARDS` = 64": (
        {"counters": 1, "shards": 64},
        "The log takes 64 times as much, and the counter has 64 parts, each with an item and an archive of its own, so "
        "workers of different parts never conflict. If one shard is enough, 64 only cost more: batches are smaller.",
    ),
    "A million counters, as it is deployed": (
        {"counters": MANY},
        "Each event of a batch is of another counter, which is the most expensive case, and no two runs of `project` "
        "write the same counter at once. Runs that do may conflict ([workers](figures.md#workers)).",
    ),
    "A million counters, `project` with 1,769 MB": (
        {"counters": MANY, "project_mb": 1769},
        "With a whole CPU, `project` counts a batch sooner, so fewer pollers suffice.",
    ),
}


def cases() -> list[Case]:
    """Return all cases of the document."""
    return [Case(rate, **settings) for settings, _ in SECTIONS.values() for rate in RATES]


def simulate(case: Case, figures: Figures, deployed: Setup) -> dict[str, Any]:
    """Return the outcome of one case, as it is kept in docs/scale.json."""
    deployed = replace(deployed, memory_mb={**deployed.memory_mb, "project": case.project_mb})
    publish, project = steps_of(case, figures)
    system = system_of(case, figures, deployed)
    warm = replace(system, first_pollers=system.most_pollers)
    steady = simulated(warm, warm_up_s=5 + 2 * case.window_s, measured_s=40 + 5 * case.window_s)
    sudden = simulated(system, warm_up_s=0, measured_s=_SUDDEN_S)
    batch = max(1, round(steady.batch))
    units = units_of(case, steady)
    run = with_units(project(batch), units, steady.batch)
    parts = costing.increments(
        deployed, figures.steps["increment"], Batch(steady.batch, publish(batch), run), case.rate
    )
    return {
        **asdict(case),
        "accepted": case.accepted,
        "batch": round(steady.batch, 1),
        "lag_p50_s": round(steady.lag_s(0.5), 2),
        "lag_p99_s": round(steady.lag_s(0.99), 2),
        # What waits is what came in a window, and what is under way; more, and it grows.
        "keeps_up": steady.waiting <= case.accepted * (case.window_s + 5) + batch,
        "sudden_lag_p99_s": round(sudden.lag_s(0.99), 2),
        "sudden_keeps_up": sudden.waiting <= case.accepted * (case.window_s + 5) + batch,
        "write_units": round(units.write, 3),
        "refused_for_each": round(steady.refused / max(1, steady.runs), 2),
        "given_up_share": round(steady.given_up / max(1, steady.published), 5),
        "new_table_takes_it_after_min": case.new_table_takes_it_after_min,
        "usd": round(sum(parts.values()), 2),
        "uses": [asdict(use) for use in uses(case, figures, deployed, batch, units)],
    }


def units_of(case: Case, found: Result) -> Units:
    """Return what counting takes for an event: as simulated, or alone in its batch if there are many counters."""
    return found.units.each(max(1, found.counted)) if case.counters == 1 else cost.counting_units(1, 1000)


def with_units(project: Step, units: Units, events: float) -> Step:
    """Return a run of `project` of so many events that asks for these units for each."""
    return replace(project, write_units=units.write * events, read_units=units.read * events)


def system_of(case: Case, figures: Figures, deployed: Setup) -> System:
    """Return what is simulated of a case, with as few pollers as a queue has at first."""
    publish, project = steps_of(case, figures)
    one_counter = case.counters == 1
    return System(
        rate=case.accepted,
        shards=case.stream_shards,
        one_counter=one_counter,
        window_s=case.window_s,
        stream_batch=deployed.stream_batch,
        queue_batch=deployed.queue_batch,
        publish_s=_seconds(deployed, "publish", publish),
        project_s=_seconds(replace(deployed, wait_ms=0) if one_counter else deployed, "project", project),
        request_s=deployed.wait_ms / 1000,
        most_pollers=case.project_at_once,
    )


def uses(case: Case, figures: Figures, deployed: Setup, batch: int, units: Units) -> list[Use]:
    """Return every limit that this case comes near, the most used first. `units` are those of counting an event."""
    publish, project = steps_of(case, figures)
    batches = case.accepted / batch
    command_s, publish_s, project_s = (
        deployed.billed_ms(function, step) / 1000
        for function, step in (
            ("api_handler", figures.steps["increment"]),
            ("publish", publish(batch)),
            ("project", project(batch)),
        )
    )
    running = case.accepted * command_s + batches * (publish_s + project_s)
    item_units = case.accepted * units.item
    page_units = case.accepted * (units.write - units.item)
    found = [
        _use("requests to the gateway", case.rate, limits.GATEWAY_REQUESTS, "have the quota raised"),
        _use("functions at once", running, limits.CONCURRENCY, "have the quota raised, or give functions more memory"),
        _use("the log's table", case.accepted, limits.TABLE_UNITS, "have the quota raised"),
        _use("the counters' table", item_units, limits.TABLE_UNITS, "have the quota raised"),
        _use("the archive's table", page_units, limits.TABLE_UNITS, "have the quota raised"),
        _use(
            "batches of the queue at once",
            batches * project_s,
            limits.POLLERS,
            "give `project` more memory, which is more of a CPU, or have fewer and fuller batches",
        ),
        Use(
            "one run of `publish` for each shard",
            batches / case.stream_shards * publish_s,
            False,
            "give `publish` more memory, or the event source a `ParallelizationFactor`",
        ),
    ]
    if case.counters == 1:
        found += [
            Use(
                "the log's partitions of one counter",
                case.rate / (case.shards * limits.PARTITION_UNITS.most),
                False,
                "more `SHARDS`, of which 64 are the most; beyond, add up in the client (`by`), or use several counters",
            ),
            _use(
                "the item of a part of the counter",
                item_units / case.shards,
                limits.PARTITION_UNITS,
                "a longer `BATCHING_WINDOW_S`",
            ),
        ]
    return sorted(found, key=lambda use: -use.used)


def steps_of(case: Case, figures: Figures) -> tuple[_Interpolated, _Interpolated]:
    """Return what a run of `publish` and of `project` takes by the number of events, if all counters are new."""
    counters = "of one counter" if case.counters == 1 else "of many counters"

    def by_size(function: str, ending: str) -> dict[int, Step]:
        return {
            int(name.split()[1]): step
            for name, step in figures.steps.items()
            if name.startswith(f"{function} ") and name.endswith(ending)
        }

    return _Interpolated(by_size("publish", "")), _Interpolated(by_size("project", counters))


class _Interpolated:
    """Steps of any size: interpolated between two measured ones, and extrapolated beyond the last."""

    def __init__(self, measured: Mapping[int, Step]) -> None:
        self._measured = sorted(measured.items())
        self._found = functools.cache(self._of)

    def __call__(self, size: int) -> Step:
        """Return the step of this size."""
        found: Step = self._found(size)
        return found

    def _of(self, size: int) -> Step:
        (low, below), (high, above) = next(
            (pair for pair in zip(self._measured, self._measured[1:], strict=False) if size <= pair[1][0]),
            (self._measured[-2], self._measured[-1]),
        )
        share = (size - low) / (high - low)

        def between(name: str) -> float:
            ends: tuple[float, float] = getattr(below, name), getattr(above, name)
            return max(0.0, ends[0] + share * (ends[1] - ends[0]))

        sent = [sum(step.message_bytes) for step in (below, above)]
        return Step(
            requests=between("requests"),
            write_units=between("write_units"),
            read_units=between("read_units"),
            message_bytes=(round(sent[0] + share * (sent[1] - sent[0])),) if sent[1] else (),
            log_bytes=round(between("log_bytes")),
            answer_bytes=0,
            cpu_ms=between("cpu_ms"),
            at_once=max(1, round(min(size, above.at_once))) if above.at_once > 1 else 1,
        )


def _seconds(deployed: Setup, function: str, steps: _Interpolated) -> Any:
    return functools.cache(lambda events: deployed.billed_ms(function, steps(events)) / 1000)


def _use(name: str, demand: float, limit: Limit, change: str) -> Use:
    return Use(name, demand / limit.most, limit.on_request, change)


def document(raw: Mapping[str, Any]) -> str:
    """Return docs/scale.md, from docs/scale.json."""
    parts = [_HEAD, _in_short(raw["cases"])]
    for title, (settings, follows) in SECTIONS.items():
        rows = _rows_of(settings, raw["cases"])
        parts.append(f"## {title}\n\n{_table(rows)}\n\n{follows}")
    parts.append(_validation(raw["validation"]))
    return "\n\n".join(parts) + "\n"


def _rows_of(settings: dict[str, int], cases: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    wanted = [asdict(Case(rate, **settings)) for rate in RATES]
    return [row for row in cases if {name: row[name] for name in wanted[0]} in wanted]


def _in_short(cases: Iterable[Mapping[str, Any]]) -> str:
    lines = [
        "## In short",
        "",
        "| case | takes, a second | lag, 50 % and 99 % | USD a million |",
        "|---|---:|---:|---:|",
    ]
    for title, (settings, _) in SECTIONS.items():
        kept_up = [row for row in _rows_of(settings, cases) if row["keeps_up"]]
        most = max(kept_up, key=lambda row: (row["accepted"], -row["rate"]))
        lines.append(
            f"| {title} | {most['accepted']:,} | {most['lag_p50_s']:.1f} s and {most['lag_p99_s']:.1f} s "
            f"| {most['usd']:.2f} |"
        )
    lines += ["", _IN_SHORT]
    return "\n".join(lines)


_IN_SHORT: Final = """\
Each row is the highest of the rates below that the case keeps up with, if the account's quotas are raised as stated. A
counter's log is written to one partition of its table for each of its `SHARDS`, and each partition takes 1,000 a
second: this limits one counter. Many counters share the log, and are limited by quotas and by the number of runs that a
queue starts at once. `SHARDS` are fixed when a stage is provisioned, so decide them before a counter gets hot. All
other settings can be changed later."""


_HEAD = """# Scale

How lag, cost and the tightest limit change from 10 to 1,000,000 increments a second: a discrete-event model of the
stream, `publish`, the queue, `project` and the items of a counter (`benchmarks/models/simulation.py`), with AWS's
published
limits (`benchmarks/models/limits.py`) and the measured work of each function (`benchmarks/measured.json`; 10 ms for
each request is assumed). The rules of counting are the application's own. `make scale` writes this page. **Nothing
here was measured on AWS.**

`publish` sends the events that a shard of the log's stream gathers in `BATCHING_WINDOW_S`, by default a second, to the
queue in one message. A *poller* of the queue takes messages and runs `project`, which counts their events: a few with
one update, many, or a full counter's item, with a transaction that archives. A write is refused if another run changes
the same part of the counter at the same time. `project` then tries again.

The columns of the tables below:

- *a second*: the rate at which increments are sent; `REQUESTS_PER_S` is set to it;
- *accepted*: the rate that the log takes; the other increments are answered `503`;
- *lag, 50 %* and *99 %*, from accepted to counted: what these shares of the lags do not exceed in the steady state; it
  *grows* if counting never keeps up;
- *suddenly*: what 99 % of the lags do not exceed in the first two minutes after a start from nothing, in which the
  queue has 5 pollers at first and 300 more each minute; it *grows* if these are too few;
- *table*: the minutes until a new table of the log takes this rate, because it grows to twice its peak each half hour
  unless it is pre-warmed; the lag does not include them;
- *units*: write units of counting an event;
- *refused*: refused writes for each run of `project`; a full counter's item refuses an update, too;
- *given up*: the share of events that are left to the queue after twelve refusals, which redelivers them after three
  minutes; the lags here do not include this;
- *a batch*: events in a message of `publish`;
- *USD*: for a million accepted increments;
- *binds*: the limit that is used most, and how much of it; the gateway and the log's partitions are used by all
  increments that are sent, accepted or not;
- *what to do*: for each limit of which more than all is needed; *have raised* is for quotas of the account.

USD differ by some cents from those in [cost](cost.md), where a batch is what comes in a window, without the event that
begins it."""


_COLUMNS: Final = (
    "a second",
    "accepted",
    "lag, 50 %",
    "99 %",
    "suddenly",
    "table",
    "units",
    "refused",
    "given up",
    "a batch",
    "USD",
    "binds",
    "what to do",
)


def _table(rows: Iterable[Mapping[str, Any]]) -> str:
    lines = [
        "| " + " | ".join(_COLUMNS) + " |",
        "|" + "---:|" * (len(_COLUMNS) - 2) + "---|---|",
    ]
    for row in rows:
        keeps_up, used = row["keeps_up"], row["uses"][0]
        cells = (
            f"{row['rate']:,}",
            f"{row['accepted']:,}",
            f"{row['lag_p50_s']:.1f} s" if keeps_up else "grows",
            f"{row['lag_p99_s']:.1f} s" if keeps_up else "grows",
            f"{row['sudden_lag_p99_s']:.1f} s" if row["sudden_keeps_up"] else "grows",
            f"{row['new_table_takes_it_after_min']} min" if row["new_table_takes_it_after_min"] else "at once",
            f"{row['write_units']:.3f}",
            f"{row['refused_for_each']:.2f}",
            f"{100 * row['given_up_share']:.1f} %",
            f"{row['batch']:,.0f}",
            f"{row['usd']:.2f}",
            f"{used['name']}, {_percent(used['used'])}",
            _todo(row["uses"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _todo(found: Iterable[Mapping[str, Any]]) -> str:
    over = [use for use in found if use["used"] > 1]
    to_raise = ", ".join(f"{use['name']} {_times(use['used'])}" for use in over if use["on_request"])
    todo = [use["change"] for use in over if not use["on_request"]] + ([f"have raised: {to_raise}"] if to_raise else [])
    return "; ".join(todo) or "nothing"


def _validation(raw: Mapping[str, Any]) -> str:
    alone_ms = {name: round(1000 * raw[name]) for name in ("publish_s", "project_s", "work_s")}
    lines = [
        "## Validation",
        "",
        "The model was compared with the embedded AWS, which has no batching window, reads a stream at once, takes at",
        "most five batches of a queue at a time, and shares one machine with everything else. *Measured* is what",
        "happened, *model* what the model predicts; *a second* is the rate that could be sent. The model was given the",
        f"times of lone increments: {alone_ms['publish_s']} ms until an event is published, {alone_ms['project_s']} ms "
        f"more until it is counted, and {alone_ms['work_s']} ms of",
        "a processor in total. *Age* is that of the oldest event of a run of `project` when it is counted. The stream",
        "of the embedded AWS sometimes sleeps for 50 ms ([lag](figures.md#lag) explains when); the model ignores it.",
        f"Measured on {raw['measured_on']}.",
        "",
        "| a second | load of the machine | which | a batch | age, 50 % | 90 % |",
        "|---:|---:|---|---:|---:|---:|",
    ]
    for row in raw["rows"]:
        for which, name in (("seen", "measured"), ("said", "model")):
            figures = row[which]
            head = f"{row['rate']:.0f} | {100 * row['load']:.0f} %" if which == "seen" else " | "
            lines.append(
                f"| {head} | {name} | {figures['batch']:.1f} | {figures['oldest_p50_s']:.2f} s "
                f"| {figures['oldest_p90_s']:.2f} s |"
            )
    return "\n".join(lines)


def _times(used: float) -> str:
    return f"{math.ceil(used * 10) / 10:,.1f} times" if used < 10 else f"{math.ceil(used):,} times"


def _percent(used: float) -> str:
    return f"{100 * used:,.0f} %" if used >= 0.01 else "under 1 %"


def read() -> dict[str, Any]:
    """Return what was simulated, and measured, last."""
    found: dict[str, Any] = json.loads(RAW.read_text(encoding="utf-8"))
    return found


@click.command(help=__doc__)
@click.option("--validate", is_flag=True, help="Compare the model with the embedded AWS.")
def main(validate: bool) -> None:
    from tests import conftest  # noqa: F401, PLC0415  (sets what the application reads when it is imported)

    figures, deployed = cost.read(), cost.setup()
    raw = read() if RAW.exists() else {}
    with click.progressbar(cases(), label="Simulating", file=sys.stderr) as shown:
        raw["cases"] = [simulate(case, figures, deployed) for case in shown]
    if validate:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        raw["validation"] = {**_validated(figures), "measured_on": today}
    RAW.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    DOCUMENT.write_text(document(raw), encoding="utf-8")


def _validated(figures: Figures) -> dict[str, Any]:
    from benchmarks.measure import validation  # noqa: PLC0415  (reads the stage's settings)
    from ops.local import stack  # noqa: PLC0415

    ports = int(os.environ["AWS_PORT"]), int(os.environ["PAGE_PORT"])
    publish, project = steps_of(Case(100, 1), figures)
    with contextlib.redirect_stdout(sys.stderr):
        return validation.compared(stack.LocalSystem(Path(os.environ["LOCAL_FOLDER"]), *ports), publish, project)


if __name__ == "__main__":
    main()
