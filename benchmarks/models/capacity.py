"""Compute lag, cost and bottleneck of a load from the simulation, the measured function steps and AWS's limits."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from benchmarks.models import costing, limits
from benchmarks.models.costing import Costs
from benchmarks.models.simulation import Result, System, simulate
from benchmarks.models.steady_state import Units
from benchmarks.models.steps import FunctionSteps, Step

RATES: Final = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
MANY: Final = 1_000_000

#: The duration of the simulation that starts idle, with the initial pollers of a queue.
_FROM_IDLE_S: Final = 120


@dataclass(frozen=True, slots=True)
class Case:
    """A rate of increments per second on a number of counters, with these settings."""

    rate: int
    counters: int
    shards: int = 1
    window_s: int = 1
    project_mb: int = 512
    project_at_once: int = int(limits.POLLERS.most)

    @property
    def stream_shards(self) -> int:
        """
        The number of stream shards that receive events: one for each partition of the log.

        One counter has a partition for each of its parts. Many counters use all partitions. A new table has four
        partitions.
        """
        partitions = math.ceil(self.rate / limits.PARTITION_UNITS.most)
        return self.shards if self.counters == 1 else max(4, partitions)

    @property
    def accepted(self) -> int:
        """The rate that the log accepts. If there is one counter, the log has a partition for each part (`SHARDS`)."""
        most = self.shards * int(limits.PARTITION_UNITS.most)
        return min(self.rate, most) if self.counters == 1 else self.rate

    @property
    def table_warm_up_min(self) -> int:
        """Minutes until a new table of the log accepts this rate, by the published rule."""
        doublings = math.ceil(math.log2(max(1.0, self.accepted / limits.UNITS_OF_A_NEW_TABLE)))
        return doublings * limits.DOUBLES_IN_S // 60


#: The settings of each series of cases in docs/scale.md, by its title.
SERIES: Final[Mapping[str, dict[str, int]]] = {
    "One counter, default settings": {"counters": 1},
    "One counter, `BATCHING_WINDOW_S` = 10": {"counters": 1, "window_s": 10},
    "One counter, `SHARDS` = 64": {"counters": 1, "shards": 64},
    "A million counters, default settings": {"counters": MANY},
    "A million counters, `project` with 1,769 MB": {"counters": MANY, "project_mb": 1769},
}


def cases() -> list[Case]:
    """Return the cases of all series."""
    return [Case(rate, **settings) for settings in SERIES.values() for rate in RATES]


class Model:
    """A case on a deployment, with the measured work of its functions."""

    def __init__(self, case: Case, costs: Costs) -> None:
        memory_mb = {**costs.setup.memory_mb, "project": case.project_mb}
        self.case = case
        self.costs = replace(costs, setup=replace(costs.setup, memory_mb=memory_mb))
        self.publish, self.project = interpolate_steps(case, costs.measured)

    def price(self, result: Result, events: float | None = None) -> float:
        """Return the cost of a million increments, in batches as simulated or with a given number of events."""
        typical = max(1, round(result.batch))
        units = self.count_units(result)
        project = replace(
            self.project(typical), write_units=units.write * result.batch, read_units=units.read * result.batch
        )
        publish = self.publish(typical)
        return sum(self.costs.price_increments(events or result.batch, publish, project, self.case.rate).values())

    def count_units(self, result: Result) -> Units:
        """Return the units of counting an event. With many counters, the event is assumed to be alone in its batch."""
        if self.case.counters == 1:
            return result.units.divide(max(1, result.counted))
        return costing.counting_units(1, 1000)

    def describe_system(self, *, is_warm: bool) -> System:
        """Return the system to simulate: with all pollers of the queue if `is_warm`, else with the initial pollers."""
        case, setup, one_counter = self.case, self.costs.setup, self.case.counters == 1
        project_setup = replace(setup, wait_ms=0) if one_counter else setup
        return System(
            rate=case.accepted,
            shards=case.stream_shards,
            one_counter=one_counter,
            window_s=case.window_s,
            stream_batch=setup.stream_batch,
            queue_batch=setup.queue_batch,
            publish_s=functools.cache(lambda events: setup.billed_ms("publish", self.publish(events)) / 1000),
            project_s=functools.cache(lambda events: project_setup.billed_ms("project", self.project(events)) / 1000),
            request_s=setup.wait_ms / 1000,
            first_pollers=case.project_at_once if is_warm else limits.FIRST_POLLERS,
            most_pollers=case.project_at_once,
        )

    def use_limits(self, batch: int, units: Units) -> dict[str, float]:
        """Return the used share of each limit of benchmarks/models/limits.py, largest first."""
        case = self.case
        batches = case.accepted / batch
        command_s, publish_s, project_s = (
            self.costs.setup.billed_ms(function, step) / 1000
            for function, step in (
                ("api_handler", self.costs.measured.steps["increment"]),
                ("publish", self.publish(batch)),
                ("project", self.project(batch)),
            )
        )
        item_units = case.accepted * units.item
        demands = {
            "gateway requests": case.rate,
            "concurrent invocations": case.accepted * command_s + batches * (publish_s + project_s),
            "log table": case.accepted,
            "counters table": item_units,
            "archive table": case.accepted * (units.write - units.item),
            "concurrent queue batches": batches * project_s,
            "`publish` per shard": batches / case.stream_shards * publish_s,
        }
        if case.counters == 1:
            demands |= {"log partitions": case.rate / case.shards, "counter item": item_units / case.shards}
        shares = {name: demand / limits.LIMITS[name].most for name, demand in demands.items()}
        return dict(sorted(shares.items(), key=lambda share: -share[1]))


def evaluate(case: Case, costs: Costs) -> dict[str, Any]:
    """Return the figures of one case, as docs/figures.json stores them."""
    model = Model(case, costs)
    steady = simulate(
        model.describe_system(is_warm=True), warm_up_s=5 + 2 * case.window_s, measured_s=40 + 5 * case.window_s
    )
    from_idle = simulate(model.describe_system(is_warm=False), warm_up_s=0, measured_s=_FROM_IDLE_S)
    batch = max(1, round(steady.batch))
    units = model.count_units(steady)
    # Events in flight are those of a window and of the runs in progress. If more events wait, they accumulate.
    most_in_flight = case.accepted * (case.window_s + 5) + batch
    return {
        **asdict(case),
        "accepted": case.accepted,
        "batch": round(steady.batch, 1),
        "lag_p50_s": round(steady.lag_s(0.5), 2),
        "lag_p99_s": round(steady.lag_s(0.99), 2),
        "keeps_up": steady.waiting <= most_in_flight,
        "lag_from_idle_p99_s": round(from_idle.lag_s(0.99), 2),
        "keeps_up_from_idle": from_idle.waiting <= most_in_flight,
        "write_units": round(units.write, 3),
        "conflicts_per_run": round(steady.conflicts / max(1, steady.runs), 2),
        "retries_exhausted_share": round(steady.retries_exhausted / max(1, steady.published), 5),
        "table_warm_up_min": case.table_warm_up_min,
        "usd": round(model.price(steady), 2),
        "used": model.use_limits(batch, units),
    }


def interpolate_steps(case: Case, measured: FunctionSteps) -> tuple[Callable[[int], Step], Callable[[int], Step]]:
    """Return the steps of `publish` and `project` as functions of the number of events."""

    def select(function: str, ending: str) -> dict[int, Step]:
        return {
            int(name.split()[1]): step
            for name, step in measured.steps.items()
            if name.startswith(f"{function} ") and name.endswith(ending)
        }

    project = select("project", "of one counter" if case.counters == 1 else "of many counters")
    return functools.partial(_interpolate, select("publish", "")), functools.partial(_interpolate, project)


def _interpolate(measured: Mapping[int, Step], size: int) -> Step:
    """Return the step of this size, linearly interpolated between measured sizes or extrapolated beyond the last."""
    sizes = sorted(measured)
    low, high = next((pair for pair in itertools.pairwise(sizes) if size <= pair[1]), sizes[-2:])
    below, above = measured[low], measured[high]
    share = (size - low) / (high - low)

    def between(first: float, last: float) -> float:
        return max(0.0, first + share * (last - first))

    sent = [sum(step.message_bytes) for step in (below, above)]
    return Step(
        requests=between(below.requests, above.requests),
        write_units=between(below.write_units, above.write_units),
        read_units=between(below.read_units, above.read_units),
        cpu_ms=between(below.cpu_ms, above.cpu_ms),
        log_bytes=round(between(below.log_bytes, above.log_bytes)),
        message_bytes=(round(between(*sent)),) if sent[1] else (),
        at_once=max(1, round(min(size, above.at_once))) if above.at_once > 1 else 1,
    )
