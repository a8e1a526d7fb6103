"""
How far this design goes: lag, cost and what binds, from ten increments a second to a million.

    python -m bench.scale              simulate, and write docs/scale.json and docs/scale.md
    python -m bench.scale --validate   run the embedded AWS beside the model first, and keep what both say

What a run of a function takes is what `make cost` measured, between the sizes that were measured in proportion.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bench import cost, costing, limits
from bench.costing import Batch, Step
from bench.simulation import System, simulated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bench.cost import Figures
    from bench.costing import Setup
    from bench.limits import Limit

DOCUMENT = Path(__file__).parent.parent / "docs" / "scale.md"
RAW = DOCUMENT.with_suffix(".json")

RATES: Final = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
MANY: Final = 1_000_000

#: For so long the model runs from nothing, with as few pollers as a queue has at first.
_SUDDEN_S: Final = 120


@dataclass(frozen=True, slots=True)
class Case:
    """So many increments a second on so many counters, with these settings, and what was changed of `project`."""

    rate: int
    counters: int
    shards: int = 1
    window_s: int = 1
    project_mb: int = 512
    project_at_once: int = int(limits.POLLERS.most)

    @property
    def stream_shards(self) -> int:
        """A partition of the log has a shard of the stream. A new table has four, and a hot one as many as it needs."""
        needed = math.ceil(self.rate / limits.PARTITION_UNITS.most)
        return self.shards if self.counters == 1 else max(4, needed)

    @property
    def accepted(self) -> int:
        """What the log takes of it: on one counter, a partition for each of the setting's shards."""
        most = self.shards * int(limits.PARTITION_UNITS.most)
        return min(self.rate, most) if self.counters == 1 else self.rate

    @property
    def new_table_takes_it_after_min(self) -> int:
        """How long a new table of the log takes to grow for it, by the published rule."""
        doublings = math.ceil(math.log2(max(1.0, self.accepted / limits.UNITS_OF_A_NEW_TABLE)))
        return doublings * limits.DOUBLES_IN_S // 60


@dataclass(frozen=True, slots=True)
class Use:
    """How much of a limit is used, 1 being all; and what to do where it is too much."""

    name: str
    used: float
    on_request: bool
    change: str


#: What is told, in the order of the document: of whom, with what, and what follows.
SECTIONS: Final[Mapping[str, tuple[dict[str, int], str]]] = {
    "One counter, as it is deployed": (
        {"counters": 1},
        "Its log is one partition, and takes 1,000 a second; what is beyond is answered `503`, and clients repeat it.",
    ),
    "One counter, `BATCHING_WINDOW_S` = 10": (
        {"counters": 1, "window_s": 10},
        "Cheaper up to some ten a second, and later. Where 1,000 events, which are a full batch, come in less than a "
        "window, `publish` does not wait for its end, and a longer one makes no difference.",
    ),
    "One counter, `SHARDS` = 64": (
        {"counters": 1, "shards": 64},
        "The log takes 64 times as much, and now 64 shards bring up to 64 messages a second to one item: from some "
        "1,000 a second on most transactions are refused and written again, which costs lag and units. Where one shard "
        "would do, 64 only cost more, for their batches are smaller.",
    ),
    "One counter, `SHARDS` = 64, `PROJECTORS` = 5": (
        {"counters": 1, "shards": 64, "project_at_once": 5},
        "Each of a few runs takes several messages: there are fewer transactions, and where many were refused or given "
        "up, far fewer are.",
    ),
    "A million counters, as it is deployed": (
        {"counters": MANY},
        "Each event is of another counter, which is the dearest case, and no two runs of `project` are taken to write "
        "the same counter at once; where they do, [several workers](figures.md#workers-one-and-several) are in each "
        "other's way. The last row needs more batches at once than a queue has pollers.",
    ),
    "A million counters, `project` with 1,769 MB": (
        {"counters": MANY, "project_mb": 1769},
        "With a whole CPU, `project` counts a batch sooner, so that the pollers suffice, for some cents a million. In "
        "the last row they do not in the first two minutes, for there are not as many by then.",
    ),
}


def cases() -> list[Case]:
    """All that are told."""
    return [Case(rate, **settings) for settings, _ in SECTIONS.values() for rate in RATES]


def simulate(case: Case, figures: Figures, deployed: Setup) -> dict[str, Any]:
    """What one case comes to, as it is kept in docs/scale.json."""
    deployed = replace(deployed, memory_mb={**deployed.memory_mb, "project": case.project_mb})
    publish, project = steps_of(case, figures)
    system = system_of(case, figures, deployed)
    warm = replace(system, first_pollers=system.most_pollers)
    steady = simulated(warm, warm_up_s=5 + 2 * case.window_s, measured_s=40 + 5 * case.window_s)
    sudden = simulated(system, warm_up_s=0, measured_s=_SUDDEN_S)
    batch = max(1, round(steady.batch))
    parts = costing.increments(
        deployed, figures.steps["increment"], Batch(steady.batch, publish(batch), project(batch)), case.rate
    )
    refused_for_each = steady.refused / max(1, steady.runs)
    parts["counting"] *= 1 + refused_for_each  # which is charged like what is written
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
        "refused_for_each": round(refused_for_each, 2),
        "given_up_share": round(steady.given_up / max(1, steady.published), 5),
        "new_table_takes_it_after_min": case.new_table_takes_it_after_min,
        "usd": round(sum(parts.values()), 2),
        "uses": [asdict(use) for use in uses(case, figures, deployed, batch)],
    }


def system_of(case: Case, figures: Figures, deployed: Setup) -> System:
    """What is simulated of a case, with as few pollers as a queue has at first."""
    publish, project = steps_of(case, figures)
    return System(
        rate=case.accepted,
        shards=case.stream_shards,
        one_counter=case.counters == 1,
        window_s=case.window_s,
        stream_batch=deployed.stream_batch,
        queue_batch=deployed.queue_batch,
        publish_s=_seconds(deployed, "publish", publish),
        project_s=_seconds(deployed, "project", project),
        transaction_s=deployed.wait_ms / 1000,
        most_pollers=case.project_at_once,
    )


def uses(case: Case, figures: Figures, deployed: Setup, batch: int) -> list[Use]:
    """Every limit that this case comes near, the most used first."""
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
    counters_a_batch = 1 if case.counters == 1 else batch
    counter_units = 2 * batches * counters_a_batch
    bucket_units = batches * project(batch).write_units - counter_units
    found = [
        _use("requests to the gateway", case.rate, limits.GATEWAY_REQUESTS, "have the quota raised"),
        _use("functions at once", running, limits.CONCURRENCY, "have the quota raised, or give functions more memory"),
        _use("the log's table", case.accepted, limits.TABLE_UNITS, "have the quota raised"),
        _use("the counters' table", counter_units, limits.TABLE_UNITS, "have the quota raised"),
        _use("the buckets' table", bucket_units, limits.TABLE_UNITS, "have the quota raised"),
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
                "the counter's item",
                counter_units,
                limits.PARTITION_UNITS,
                "a longer `BATCHING_WINDOW_S`, and few `PROJECTORS`",
            ),
        ]
    return sorted(found, key=lambda use: -use.used)


def steps_of(case: Case, figures: Figures) -> tuple[_Interpolated, _Interpolated]:
    """What a run of `publish` and of `project` takes, by the number of events."""
    steps = figures.steps
    publish = {int(name.split()[1]): step for name, step in steps.items() if name.startswith("publish ")}
    if case.counters > 1:
        project = {int(name.split()[1]): step for name, step in steps.items() if name.endswith("of many counters")}
    else:
        # Of one shard of one counter: as many events in a window of one second, or of ten.
        window_s = 1 if case.window_s <= 1 else 10
        project = {
            size: step
            for name, step in steps.items()
            if "of one counter" in name
            for size, rate in [(int(name.split()[1]), int(name.split()[5]))]
            if size == rate * window_s or (size == 1000 and rate == 1000)
        }
    return _Interpolated(publish), _Interpolated(project)


class _Interpolated:
    """Steps of any size, in proportion between two that were measured, and beyond the last as from the last to it."""

    def __init__(self, measured: Mapping[int, Step]) -> None:
        self._measured = sorted(measured.items())
        self._found = functools.cache(self._of)

    def __call__(self, size: int) -> Step:
        """The step of this size."""
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
            requests=math.ceil(between("requests")),
            write_units=math.ceil(between("write_units")),
            read_units=between("read_units"),
            message_bytes=(round(sent[0] + share * (sent[1] - sent[0])),) if sent[1] else (),
            log_bytes=round(between("log_bytes")),
            answer_bytes=0,
            cpu_ms=between("cpu_ms"),
        )


def _seconds(deployed: Setup, function: str, steps: _Interpolated) -> Any:
    return functools.cache(lambda events: deployed.billed_ms(function, steps(events)) / 1000)


def _use(name: str, demand: float, limit: Limit, change: str) -> Use:
    return Use(name, demand / limit.most, limit.on_request, change)


def document(raw: Mapping[str, Any]) -> str:
    """docs/scale.md, from what is kept in docs/scale.json."""
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
This is the most that each takes of the rates below, with the account's quotas raised as they say. A counter's log is
written to one partition of its table for each of its `SHARDS`, which takes 1,000 a second: that is what limits one
counter. Many counters share the log, and are limited by quotas, and in the end by how many runs a queue starts at once.
`SHARDS` are fixed when a stage is provisioned, so a counter that may get hot is worth a thought before; what else
stands here can be changed later."""


_HEAD = """# Scale

How lag, cost and what binds move from 10 to 1,000,000 increments a second: a discrete-event model of the stream,
`publish`, the queue, `project` and the counter's item (`bench/simulation.py`), with AWS's published limits
(`bench/limits.py`) and what a run of each function was measured to take (`bench/measured.json`; 10 ms for each request
is assumed). `make scale` writes this page. **None of it has been seen on AWS.**

`publish` sends what a shard of the log's stream gathers in `BATCHING_WINDOW_S`, a second as it is deployed, to the
queue in one message. A *poller* of the queue takes messages and runs `project`, which counts their events in
transactions. One is refused if another run writes the same counter at the same time, and is then tried again.

What the columns of the tables below say:

- *a second*: so many increments are sent, and `REQUESTS_PER_S` is set to that;
- *accepted*: so many of them the log takes; the others are answered `503`;
- *lag, 50 %* and *99 %*, from accepted to counted: what so many of the lags do not exceed once everything runs; it
  *grows* where counting never keeps up;
- *suddenly*: what 99 % of lags do not exceed in the first two minutes from nothing, in which the queue has 5 pollers at
  first and 300 more each minute; it *grows* where these are too few;
- *table*: after how many minutes a new table of the log takes this much, for it grows to twice its peak each half hour,
  unless it is warmed up before; the lag does not have this in it;
- *refused*: how many transactions are refused for each run of `project`;
- *given up*: what share of events is left to the queue after twelve refusals, which delivers it again after three
  minutes; no lag here has that in it;
- *a batch*: how many events `publish` sends in one message;
- *USD*: for a million increments that are accepted;
- *binds*: the limit that is used most, and how much of it; of the gateway and the log's partitions, what is sent uses
  it, accepted or not;
- *what to do*: about each limit of which more than all would be used; *have raised* is about quotas of the account.

USD differ by some cents from those in [cost](cost.md), which takes a batch for what comes in a window, and from those
of windows in [figures](figures.md#from-accepted-to-counted), where a bucket is priced at the size that it has by
then."""


_COLUMNS: Final = (
    "a second",
    "accepted",
    "lag, 50 %",
    "99 %",
    "suddenly",
    "table",
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
            f"{row['refused_for_each']:.1f}",
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
        "## Beside the embedded AWS",
        "",
        "Whether the model is right was tried on the embedded AWS, with its own ways: no window, a stream that is",
        "asked at once, five batches of a queue at most, and one machine for everything. *Seen* is what happened, and",
        "*said* what the model says; *a second* is how many could be sent. The model was told what lone increments",
        f"take: {alone_ms['publish_s']} ms until an event is published, {alone_ms['project_s']} ms more until it is "
        f"counted, and {alone_ms['work_s']} ms of a",
        "processor, all told. *Age* is that of the oldest event of a run of `project` when it is counted. The embedded",
        "AWS's stream sometimes sleeps for 50 ms ([figures](figures.md#from-accepted-to-counted) say when), which the",
        "model does not know.",
        "",
        "| a second | load of the machine | which | a batch | age, 50 % | 90 % |",
        "|---:|---:|---|---:|---:|---:|",
    ]
    for row in raw["rows"]:
        for who, is_first in (("seen", True), ("said", False)):
            figures = row[who]
            head = f"{row['rate']:.0f} | {100 * row['load']:.0f} %" if is_first else " | "
            lines.append(
                f"| {head} | {who} | {figures['batch']:.1f} | {figures['oldest_p50_s']:.2f} s "
                f"| {figures['oldest_p90_s']:.2f} s |"
            )
    return "\n".join(lines)


def _times(used: float) -> str:
    return f"{math.ceil(used * 10) / 10:,.1f} times" if used < 10 else f"{math.ceil(used):,} times"


def _percent(used: float) -> str:
    return f"{100 * used:,.0f} %" if used >= 0.01 else "under 1 %"


def read() -> dict[str, Any]:
    """What was simulated, and seen, last."""
    found: dict[str, Any] = json.loads(RAW.read_text(encoding="utf-8"))
    return found


@click.command(help=__doc__)
@click.option("--validate", is_flag=True, help="Run the embedded AWS beside the model.")
def main(validate: bool) -> None:
    from tests import conftest  # noqa: F401, PLC0415  (sets what the application reads when it is imported)

    figures, deployed = cost.read(), cost.setup()
    raw = read() if RAW.exists() else {}
    with click.progressbar(cases(), label="Simulating", file=sys.stderr) as shown:
        raw["cases"] = [simulate(case, figures, deployed) for case in shown]
    if validate:
        raw["validation"] = _validated(figures)
    RAW.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    DOCUMENT.write_text(document(raw), encoding="utf-8")


def _validated(figures: Figures) -> dict[str, Any]:
    from bench import validating  # noqa: PLC0415  (reads the stage's settings)
    from ops import embedded  # noqa: PLC0415

    ports = int(os.environ["AWS_PORT"]), int(os.environ["PAGE_PORT"])
    publish, project = steps_of(Case(100, 1), figures)
    with contextlib.redirect_stdout(sys.stderr):
        return validating.compared(embedded.Place(Path(os.environ["LOCAL_FOLDER"]), *ports), publish, project)


if __name__ == "__main__":
    main()
