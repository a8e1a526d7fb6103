"""Compute the numbers in docs/benchmarks.md, and in the tables that other documents quote."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from benchmarks import alternatives, store
from benchmarks.measure import scope
from benchmarks.models import costing
from benchmarks.models.steps import Step
from benchmarks.report import goals, results
from benchmarks.report.markdown import format_short
from benchmarks.report.results import cpu_ratio, distinct, increment_cost, select
from chalicelib.domain.archive import KEPT_MAX, KEPT_MIN, RECENT_MAX

#: The memory sizes of `project` whose prices are compared, in MB.
_MEMORIES_MB: Final = (128, 256, 512, 1024, 1769)

#: The requests of a run of `project` with these batches, and how many of the requests are concurrent.
_REQUESTS: Final = {"count 1": (1, 1), "count 100": (2, 1), "count 1000": (2, 1), scope.COUNT_MANY: (1000, 8)}

_ARCHIVE_MS: Final = scope.WRITE_MS + scope.TRANSACTION_MS


def view(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context of the page: each section with its numbers, or None if it is not measured."""
    context: dict[str, Any] = {**dict.fromkeys(store.SECTIONS), **figures, "goals": goals.list_goals(figures)}
    views = {
        "request_costs": _view_request_costs,
        "faults": _view_faults,
        "cpu_time": _view_cpu_time,
        "throughput": _view_throughput,
    }
    for name in views.keys() & figures.keys():
        context[name] = {**figures[name], **views[name](figures[name]["raw"])}
    return context


def _view_request_costs(raw: Any) -> dict[str, Any]:
    batches, spreads = (sorted(distinct(raw["cells"], key)) for key in ("events", "spread"))
    most = max(size for size in batches if size <= spreads[-1])
    return {
        "batches": batches,
        "totals": {measure: _list_totals(raw, measure, batches, spreads) for measure in scope.MEASURES},
        "ours": increment_cost(raw, scope.OURS, most, spreads[-1], "write_units"),
        "marker": increment_cost(raw, alternatives.MARKING.name, most, spreads[-1], "write_units"),
        "parts": select(raw["cells"], design=scope.OURS),
        "order_sizes": distinct(raw["orders"], "events"),
        "orders": distinct(raw["orders"], "order"),
        "ordered_cost": partial(results.ordered_cost, raw),
    }


def _list_totals(
    raw: Any, measure: str, batches: list[int], spreads: list[int]
) -> Iterator[tuple[str, str, list[float | None]]]:
    """Yield each design and number of counters, with costs by batch; "any" if the number makes no difference."""
    for design in scope.DESIGNS:
        rows = [[increment_cost(raw, design, events, spread, measure) for events in batches] for spread in spreads]
        if len({tuple(map(format_short, row)) for row in rows}) == 1:
            yield design, "any", rows[0]
        else:
            yield from ((design, f"{spread:,}", row) for spread, row in zip(spreads, rows, strict=True))


def _view_faults(raw: Any) -> dict[str, Any]:
    return {
        "runs": sum(outcome["runs"] for outcomes in raw.values() for outcome in outcomes.values()),
        "faults": [*next(iter(raw.values()))],
        "survived": {design: results.count_survived(outcomes) for design, outcomes in raw.items()},
        "exact": [f"*{design}*" for design, outcomes in raw.items() if all(map(results.survives, outcomes.values()))],
    }


def _view_cpu_time(raw: Any) -> dict[str, Any]:
    read_first = [subject for subject, compared in raw["compared"].items() if scope.PARSE_TOO in compared["ratios"]]
    parse_ratios = [cpu_ratio(raw, subject, scope.PARSE_TOO) for subject in read_first]
    most = [scope.COUNTING_GOALS[int(subject.split()[1])] for subject in read_first]
    return {
        "read_first": [f"{int(subject.split()[1]):,}" for subject in read_first],
        "read_ratios": [f"{cpu_ratio(raw, subject, scope.READ_TOO):.2f}" for subject in read_first],
        "parse_ratios": [f"{ratio:.2f}" for ratio in parse_ratios],
        "is_goal_out_of_reach": all(ratio > goal for ratio, goal in zip(parse_ratios, most, strict=True)),
        "memories_mb": _MEMORIES_MB,
        "memories": {subject: _price_memories(raw, subject) for subject in _REQUESTS if subject in raw["compared"]},
        "wait_ms": costing.WAIT_MS,
    }


def _price_memories(raw: Any, subject: str) -> list[tuple[int, float]]:
    """Return the billed time of a batch in ms and the price of a million events, in USD, by memory size."""
    requests, at_once = _REQUESTS[subject]
    cpu_ms = raw["compared"][subject]["bare_ms"] * cpu_ratio(raw, subject)
    step = Step(requests=requests, cpu_ms=cpu_ms, at_once=at_once)
    runs = costing.MILLION / int(subject.split()[1])
    setups = [costing.Setup(0, 0, {"project": mb}) for mb in _MEMORIES_MB]
    return [(setup.billed_ms("project", step), runs * setup.price_run("project", step)) for setup in setups]


def describe_subject(name: str) -> str:
    """Return a readable name for this comparison of CPU times."""
    if name == "command":
        return "a command"
    kind, _, size = name.partition(" ")
    events, _, many = size.partition(" of ")
    counters = f" of {int(events):,} counters" if many else ""
    return f"{kind}, {int(events):,} event{'' if events == '1' else 's'}{counters}"


def _view_throughput(raw: Any) -> dict[str, Any]:
    return {
        **{key: distinct(raw, key) for key in ("batch", "spread", "workers", "design")},
        "bounds": {batch: _bound_speed_up(batch) for batch in (1, 10)},
    }


def _bound_speed_up(batch: int) -> float:
    """Return the maximum speed of eight workers relative to one worker, if only archiving limits them."""
    kept = max(KEPT_MIN, min(KEPT_MAX, RECENT_MAX - batch))
    updates_ms = scope.WRITE_MS * max(1, (RECENT_MAX - kept) // batch)
    return (updates_ms + _ARCHIVE_MS) / (max(scope.WRITE_MS, updates_ms / max(scope.WORKERS)) + _ARCHIVE_MS)
