"""Numbers, goals and plots of docs/benchmarks.md, by section, and the tables that other documents quote."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks import alternatives
from benchmarks.measure import scope
from benchmarks.models import costing
from benchmarks.report.markdown import (
    DASH,
    Goal,
    format_list,
    format_multiple,
    format_short,
    format_table,
)
from benchmarks.report.plots import draw_lines
from chalicelib.domain.archive import KEPT_MAX, KEPT_MIN, RECENT_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Raw = Any
    Row = Mapping[str, Any]

#: The memory sizes of `project` whose price is compared, in MB.
MEMORIES_MB: Final = (128, 256, 512, 1024, 1769)

#: For these batches: the requests of a run of `project`, and how many are concurrent.
_REQUESTS: Final = {"count 1": (1, 1), "count 100": (2, 1), "count 1000": (2, 1), scope.COUNT_MANY: (1000, 8)}

#: The parts of a lag in their order.
_LAG_PARTS: Final = {
    "append": "the command appends",
    "stream": "the stream starts `publish`",
    "publish": "`publish` sends",
    "queue": "the queue starts `project`",
    "project": "`project` counts",
}


def view(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context of the page: the view of each measured section, or None."""
    context: dict[str, Any] = dict.fromkeys(_VIEWS)
    for name, view_section in _VIEWS.items():
        if name in figures:
            context[name] = {**view_section(figures[name]["raw"]), "measured": _describe_measurement(figures[name])}
    return {**context, "goals": list_goals(figures)}


def list_goals(figures: Mapping[str, Any]) -> list[Goal]:
    """Return the goals of all measured sections."""
    return [goal for name, goals in _GOALS.items() if name in figures for goal in goals(figures[name]["raw"])]


def draw_plots(figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the plots of all measured sections by name."""
    plots: dict[str, str] = {}
    for name, draw in _PLOTS.items():
        if name in figures:
            plots |= draw(figures[name]["raw"])
    return plots


def _describe_measurement(section: Row) -> str:
    date, machine = section["measured_on"], section["machine"]
    return (
        f"Measured on {date}, {machine['cpus']} cores ({machine['processor']}), load average {machine['load']:.1f} in "
        f"the minute before, {machine['system']}, Python {machine['python']}, boto3 {machine['boto3']}."
    )


def mark(design: str) -> str:
    """Emphasize the name of this design."""
    return f"**{design}**" if design == scope.OURS else design


def _distinct(rows: Iterable[Row], key: str) -> list[Any]:
    return [*dict.fromkeys(row[key] for row in rows)]


def _thousands(numbers: Iterable[int]) -> list[str]:
    return [f"{number:,}" for number in numbers]


# Units and requests


def increment_cost(raw: Raw, design: str, events: int, spread: int, measure: str) -> float | None:
    """Return the cost of an increment, the sum of its parts, or None if it was not measured."""
    cells = [row for row in raw["cells"] if (row["design"], row["events"], row["spread"]) == (design, events, spread)]
    return sum(row[measure] for row in cells) if cells else None


def ordered_cost(raw: Raw, order: str, events: int) -> float:
    """Return the write units of an increment of one counter, with its command, if messages arrive in this order."""
    (row,) = [row for row in raw["orders"] if (row["order"], row["events"]) == (order, events)]
    command = next(row for row in raw["cells"] if (row["design"], row["part"]) == (scope.OURS, scope.COMMAND))
    return float(command["write_units"]) + float(row["write_units"])


def _view_request_costs(raw: Raw) -> dict[str, Any]:
    cells, batches = raw["cells"], sorted(_distinct(raw["cells"], "events"))
    spread = max(_distinct(cells, "spread"))
    events = max(size for size in batches if size <= spread)
    ours = [row for row in cells if row["design"] == scope.OURS]
    order_sizes = _distinct(raw["orders"], "events")
    return {
        "batches": batches,
        "measures": scope.MEASURES,
        "totals": {measure: _list_totals(raw, measure) for measure in scope.MEASURES},
        "ours": increment_cost(raw, scope.OURS, events, spread, "write_units"),
        "marker": increment_cost(raw, alternatives.MARKING.name, events, spread, "write_units"),
        "command": next(row for row in ours if row["part"] == scope.COMMAND),
        "parts": [row for row in ours if row["part"] != scope.COMMAND],
        "order_sizes": order_sizes,
        "orders": {
            order: [ordered_cost(raw, order, size) for size in order_sizes]
            for order in _distinct(raw["orders"], "order")
        },
        "paths": raw["paths"],
        "events_before_lone": scope.EVENTS_BEFORE_LONE,
    }


def _list_totals(raw: Raw, measure: str) -> Iterable[tuple[str, str, list[float | None]]]:
    """Yield each design and number of counters, with its costs by batch. Numbers with the same cost share a row."""
    batches, spreads = (sorted(_distinct(raw["cells"], key)) for key in ("events", "spread"))
    for design in scope.DESIGNS:
        rows = [[increment_cost(raw, design, events, spread, measure) for events in batches] for spread in spreads]
        if all(list(map(format_short, row)) == list(map(format_short, rows[0])) for row in rows):
            yield design, "any", rows[0]
        else:
            yield from ((design, f"{spread:,}", row) for spread, row in zip(spreads, rows, strict=True))


def request_cost_goals(raw: Raw) -> list[Goal]:
    """Return the goals in write units."""
    goals = []
    for events, most in scope.MOST_UNITS.items():
        cost = max(ordered_cost(raw, order, events) for order in _distinct(raw["orders"], "order"))
        text = f"increment of one counter, batches of {events:,}, in any order: at most {most:g} write units"
        goals.append(Goal(text, f"{cost:.3f}", cost <= most))
    spread, most = max(_distinct(raw["cells"], "spread")), scope.MOST_UNITS[1]
    apart = increment_cost(raw, scope.OURS, spread, spread, "write_units")
    if apart is not None:
        text = f"{spread:,} increments of {spread:,} counters: at most {most:g} write units each"
        goals.append(Goal(text, f"{apart:.3f}", apart <= most))
    for path, most in scope.MOST_UNITS_OF_PATHS.items():
        cost = max(float(row["write_units"]) for row in raw["paths"] if row["path"] == path)
        goals.append(Goal(f"{path}: at most {most:g} write units", f"{cost:.3f}", cost <= most))
    return goals


def _plot_request_costs(raw: Raw) -> dict[str, str]:
    def draw(spread: int, title: str) -> str:
        series = {
            design: [(events, increment_cost(raw, design, events, spread, "write_units") or 0) for events in batches]
            for design in scope.DESIGNS
        }
        return draw_lines(title, "events in a batch", "write units of an increment", series)

    batches, spreads = (sorted(_distinct(raw["cells"], key)) for key in ("events", "spread"))
    return {
        "write-units": draw(spreads[0], "Write units, one counter"),
        "write-units-spread": draw(spreads[-1], f"Write units, {spreads[-1]:,} counters"),
    }


# Faults


def survives(outcome: Mapping[str, int]) -> bool:
    """Check whether in every run all messages were acknowledged, and the value was exact."""
    return not any(outcome[result] for result in ("too_high", "too_low", "never_acknowledged"))


def _view_faults(raw: Raw) -> dict[str, Any]:
    exact = [f"*{design}*" for design, outcomes in raw.items() if all(map(survives, outcomes.values()))]
    return {
        "runs": sum(outcome["runs"] for outcomes in raw.values() for outcome in outcomes.values()),
        "designs": [*raw],
        "outcomes": {
            fault: [_describe_outcome(outcomes[fault]) for outcomes in raw.values()]
            for fault in next(iter(raw.values()))
        },
        "survived": [sum(map(survives, outcomes.values())) for outcomes in raw.values()],
        "exact": format_list(exact) or "none",
    }


def _describe_outcome(outcome: Mapping[str, int]) -> str:
    if survives(outcome):
        return "yes"
    names = {"too_high": "too high", "too_low": "too low", "never_acknowledged": "never acknowledged"}
    wrong = [f"{outcome[result]} {name}" for result, name in names.items() if outcome[result]]
    return f"**no**: {', '.join(wrong)}, of {outcome['runs']}"


# CPU time


def cpu_ratio(raw: Raw, subject: str, program: str = scope.FUNCTION) -> float:
    """Return the median of the rounds."""
    return float(median(raw["compared"][subject]["ratios"][program]))


def _view_cpu_time(raw: Raw) -> dict[str, Any]:
    compared = raw["compared"]
    read_first = [subject for subject, comparison in compared.items() if scope.PARSE_TOO in comparison["ratios"]]
    most = {f"count {size}": times for size, times in scope.COUNTING_GOALS.items()}
    return {
        "rounds": raw["rounds"],
        "recent_max": RECENT_MAX,
        "rows": [
            (_describe_subject(subject), program, median(ratios), min(ratios), max(ratios), comparison["bare_ms"])
            for subject, comparison in compared.items()
            for program, ratios in comparison["ratios"].items()
        ],
        "read_first": format_list([f"{int(subject.split()[1]):,}" for subject in read_first]),
        "read_ratios": format_list([f"{cpu_ratio(raw, subject, scope.READ_TOO):.2f}" for subject in read_first]),
        "parse_ratios": format_list([f"{cpu_ratio(raw, subject, scope.PARSE_TOO):.2f}" for subject in read_first]),
        "is_goal_out_of_reach": bool(read_first)
        and all(cpu_ratio(raw, subject, scope.PARSE_TOO) > most[subject] for subject in read_first),
        "memories_mb": MEMORIES_MB,
        "memories": dict(_price_memories(raw)),
        "wait_ms": costing.WAIT_MS,
        "profiles": raw["profiles"],
    }


def _price_memories(raw: Raw) -> Iterable[tuple[str, list[tuple[int, float]]]]:
    """Yield, for each batch, the billed time in ms and the price of a million events, in USD, by memory size."""
    for subject, (requests, at_once) in _REQUESTS.items():
        if subject in raw["compared"]:
            cpu_ms = raw["compared"][subject]["bare_ms"] * cpu_ratio(raw, subject)
            step = costing.Step(requests, 0, 0, (), 0, 0, cpu_ms, at_once)
            runs = costing.MILLION / int(subject.split()[1])
            setups = [costing.Setup(0, 0, {"project": mb}) for mb in MEMORIES_MB]
            yield (
                _describe_subject(subject),
                [
                    (setup.billed_ms("project", step), runs * costing.price_run(setup, "project", step))
                    for setup in setups
                ],
            )


def _describe_subject(name: str) -> str:
    if name == "command":
        return "a command"
    kind, _, size = name.partition(" ")
    events, _, many = size.partition(" of ")
    counters = f" of {int(events):,} counters" if many else ""
    return f"{kind}, {int(events):,} event{'' if events == '1' else 's'}{counters}"


def _cpu_time_goals(raw: Raw) -> Iterable[Goal]:
    ratio, most = cpu_ratio(raw, "command", scope.API_HANDLER), scope.COMMAND_GOAL
    yield Goal(f"command: at most {most} times the CPU time of the bare put", f"{ratio:.2f}", ratio <= most)
    for size, most in scope.COUNTING_GOALS.items():
        subject = f"count {size}"
        if subject in raw["compared"]:
            ratio = cpu_ratio(raw, subject)
            result = f"{ratio:.2f}"
            if scope.READ_TOO in raw["compared"][subject]["ratios"]:
                result += f" ({ratio / cpu_ratio(raw, subject, scope.READ_TOO):.2f} times the bare read and write)"
            text = f"counting, batches of {size:,}: at most {most:g} times the CPU time of the bare write"
            yield Goal(text, result, ratio <= most)


def _plot_cpu_time(raw: Raw) -> dict[str, str]:
    def points(kind: str, program: str) -> list[tuple[float, float]]:
        ratios = {size: raw["compared"].get(f"{kind} {size}", {"ratios": {}})["ratios"] for size in scope.CPU_BATCHES}
        return [(size, median(by_program[program])) for size, by_program in ratios.items() if program in by_program]

    series = {
        "`publish`": points("publish", scope.FUNCTION),
        "`project`": points("count", scope.FUNCTION),
        "bare read and write": points("count", scope.READ_TOO),
    }
    return {"cpu-time": draw_lines("CPU time of a batch", "events in a batch", "times the bare calls", series)}


# Throughput


def pace(raw: Sequence[Row], design: str, batch: int, spread: int, workers: int) -> float:
    """Return events a second."""
    wanted = (design, batch, spread, workers)
    return next(
        float(row["a_second"]) for row in raw if (row["design"], row["batch"], row["spread"], row["workers"]) == wanted
    )


def _view_throughput(raw: Raw) -> dict[str, Any]:
    batches, spreads, workers, designs = (_distinct(raw, key) for key in ("batch", "spread", "workers", "design"))

    def list_paces(design: str, batch: int, spread: int) -> list[str]:
        unit = pace(raw, scope.PACE_UNIT, batch, spread, 1)
        return [format_multiple(pace(raw, design, batch, spread, number), unit) for number in workers]

    return {
        "workers": workers,
        "tables": {
            _describe_spread(spread).capitalize(): [
                (design, batch, list_paces(design, batch, spread)) for batch in batches for design in designs
            ]
            for spread in spreads
        },
        "times_ms": (scope.READ_MS, scope.WRITE_MS, scope.TRANSACTION_MS, scope.TRANSACTION_MS - scope.WRITE_MS),
        "archive_ms": scope.WRITE_MS + scope.TRANSACTION_MS,
        "recent_max": RECENT_MAX,
        "kept_max": KEPT_MAX,
        "between_archives": (RECENT_MAX - KEPT_MAX, RECENT_MAX - KEPT_MIN),
        "bounds": [f"{_bound_speed_up(batch):.1f}" for batch in (1, 10)],
        "one_worker": f"{pace(raw, scope.OURS, 10, 1, 1):,.0f}" if 10 in batches else None,
    }


def _bound_speed_up(batch: int) -> float:
    """Return the maximum speed of eight workers as a multiple of one worker, if only archiving limits them."""
    kept = max(KEPT_MIN, min(KEPT_MAX, RECENT_MAX - batch))
    updates_ms = scope.WRITE_MS * max(1, (RECENT_MAX - kept) // batch)
    archive_ms = scope.WRITE_MS + scope.TRANSACTION_MS
    return (updates_ms + archive_ms) / (max(scope.WRITE_MS, updates_ms / max(scope.WORKERS)) + archive_ms)


def _throughput_goals(raw: Raw) -> Iterable[Goal]:
    measured, most = {(row["batch"], row["spread"]) for row in raw}, max(_distinct(raw, "workers"))
    compared = [(batch, spread, times, scope.OURS, 1, "one") for batch, spread, times in scope.SCALING_GOALS]
    compared.append((*scope.PACE_GOAL_AT, scope.PACE_GOAL, scope.PACE_UNIT, most, "with a marker per event"))
    for batch, spread, times, design, workers, name in compared:
        if (batch, spread) in measured:
            unit = pace(raw, design, batch, spread, workers)
            result = pace(raw, scope.OURS, batch, spread, most) / unit if unit else math.inf
            text = f"{_describe_spread(spread)}, batches of {batch:,}: {most} workers {times} times as fast as {name}"
            yield Goal(text, f"{result:.1f} times", result >= times)


def _describe_spread(spread: int) -> str:
    return "one counter" if spread == 1 else f"{spread} counters"


def _plot_throughput(raw: Raw) -> dict[str, str]:
    batch = max(size for size in _distinct(raw, "batch") if size <= 100)
    unit = pace(raw, scope.PACE_UNIT, batch, 1, 1)
    series = {
        design: [(number, pace(raw, design, batch, 1, number) / unit) for number in _distinct(raw, "workers")]
        for design in _distinct(raw, "design")
    }
    title = f"Events a second on one counter, batches of {batch:,}"
    return {"throughput": draw_lines(title, "workers", "times one worker with a marker per event", series)}


# Lag


def _view_latency(raw: Raw) -> dict[str, Any]:
    loads = raw["loads"]
    kept_up = [row for row in loads if row["keeps_up"]]
    largest = [max(_LAG_PARTS, key=lambda part: row["shares"][part]) for row in (*kept_up[:1], *kept_up[-1:])]
    return {
        "loads": loads,
        "disturbed": sum(row["busy_before"] > scope.BUSY for row in loads),
        "too_much": format_list(
            [f"{row['rate']:g} a second ({row['sent_a_second']:.0f} were sent)" for row in loads if not row["keeps_up"]]
        ),
        "parts": _LAG_PARTS,
        "kept_up": kept_up,
        "is_plotted": len(_plotted_loads(raw)) > 1,
        "largest": [_LAG_PARTS[part] for part in largest],
        "first_s": f"{raw['first_lag_ms'] / 1000:.1f}",
    }


def _plotted_loads(raw: Raw) -> list[Row]:
    return [row for row in raw["loads"] if row["keeps_up"] and row["counters"] == 1]


def _plot_latency(raw: Raw) -> dict[str, str]:
    rows = _plotted_loads(raw)
    if len(rows) < 2:
        return {}
    series = {f"lag, {name}": [(row["rate"], row["lag_ms"][name]) for row in rows] for name in ("p99", "p50")}
    series |= {
        f"{name}, mean": [(row["rate"], row["parts_ms"][part]["mean"]) for row in rows]
        for part, name in _LAG_PARTS.items()
    }
    return {"latency": draw_lines("Lag of one counter and its parts", "increments a second", "ms", series)}


# Batching window


def saved_usd(raw: Sequence[Row], rate: int, shorter_s: int, longer_s: int) -> float:
    """Return the savings of the longer window for a million increments, in USD."""
    usd = {row["window_s"]: row["usd"] for row in _default_windows(raw) if row["rate"] == rate}
    return float(usd[shorter_s] - usd[longer_s])


def saved_usd_with_few(raw: Sequence[Row]) -> dict[int, float]:
    """Return the savings of a second of window compared with none and few `PROJECTORS`, in USD by rate."""
    one_s = {row["rate"]: row["usd"] for row in raw if row["window_s"] == 1}
    few = [row for row in raw if row["projectors"] == scope.FEW_PROJECTORS and not row["window_s"]]
    return {row["rate"]: row["usd"] - one_s[row["rate"]] for row in few}


def _default_windows(raw: Sequence[Row]) -> list[Row]:
    return [row for row in raw if row["projectors"] != scope.FEW_PROJECTORS]


def _view_batching_windows(raw: Raw) -> dict[str, Any]:
    def list_usd(usd: Mapping[int, float]) -> str:
        return ", ".join(f"{amount:.2f} at {rate:,}" for rate, amount in usd.items())

    commands = [row["usd"] - row["usd_without_command"] for row in raw]
    rates = _distinct(raw, "rate")
    return {
        "rows": raw,
        "command_usd": f"{min(commands):.2f} to {max(commands):.2f}",
        "first_second": list_usd({rate: saved_usd(raw, rate, 0, 1) for rate in rates}),
        "nine_more": list_usd({rate: saved_usd(raw, rate, 1, 10) for rate in rates}),
        "few": list_usd(saved_usd_with_few(raw)),
        "few_projectors": scope.FEW_PROJECTORS,
    }


def _plot_batching_windows(raw: Raw) -> dict[str, str]:
    windows = _default_windows(raw)
    series = {
        f"{rate:,} a second": [(row["lag_p50_s"], row["usd_without_command"]) for row in windows if row["rate"] == rate]
        for rate in _distinct(windows, "rate")
        if rate in scope.PLOTTED_RATES
    }
    title = f"Windows of {', '.join(map(str, _distinct(windows, 'window_s')))} s (simulated)"
    y_label = "USD a million, without the command"
    return {"batching-windows": draw_lines(title, "lag in seconds, p50", y_label, series, decades=True)}


# Cold starts and operators' commands


def _view_cold_start(raw: Raw) -> dict[str, Any]:
    return {**raw, "starts": {_describe_start(name): row for name, row in raw["starts"].items()}}


def _describe_start(name: str) -> str:
    program, comma, rest = name.partition(", ")
    is_code = program == scope.START_UNIT or "." in program
    code = "import boto3" if program == scope.START_UNIT else program
    return f"{f'`{code}`' if is_code else program}{comma}{rest}"


def start_table(raw: Raw) -> str:
    """Return the table of starts of docs/deploying.md."""
    functions = {"app.app": "the API"} | {f"app.{name}": f"`{name}`" for name in ("publish", "project", "check")}
    starts, unit = raw["starts"], f"{scope.START_UNIT}, with a client"
    rows = [["`import boto3`, and a client of DynamoDB", "1", f"{starts[unit]['median']:.2f}", starts[unit]["modules"]]]
    for function, name in functions.items():
        imports, client = starts[f"{function}, imports"], starts[f"{function}, with its client"]
        rows.append([name, f"{imports['median']:.2f}", f"{client['median']:.2f}", client["modules"]])
    rows += [
        [name, DASH, f"{starts[name]['median']:.2f}", starts[name]["modules"]] for name in (scope.MINIMAL, scope.BARE)
    ]
    return format_table(["", "imports", "and makes its client", "modules"], [[*row[:3], f"{row[3]}"] for row in rows])


def command_table(raw: Sequence[Row]) -> str:
    """Return the table of operators' commands, which docs/maintenance.md also has."""
    rows = [
        [
            f"{row['events']:,}{' (earlier)' if 'earlier' in row else ''}",
            row["command"],
            f"{row['a_second']:,}",
            f"{row['cpu_s']:,.1f} s",
            f"{row['peak_mb']:,} MB",
        ]
        for row in raw
    ]
    return format_table(["events", "command", "events a second", "its own CPU time", "peak memory"], rows)


def design_table(figures: Mapping[str, Any]) -> str:
    """Return the table of designs in README."""
    costs, outcomes, paces = (figures[name]["raw"] for name in ("request_costs", "faults", "throughput"))

    def row(design: str) -> list[str]:
        units = [
            increment_cost(costs, design, events, spread, "write_units")
            for events, spread in ((1, 1), (100, 1), (1000, 1000))
        ]
        unit = pace(paces, scope.PACE_UNIT, 100, 1, 1)
        is_measured = design in scope.WORKER_DESIGNS
        return [
            mark(design),
            f"{sum(map(survives, outcomes[design].values()))} of {len(outcomes[design])}",
            *map(format_short, units),
            format_multiple(pace(paces, design, 100, 1, 8), unit) if is_measured else DASH,
        ]

    head = ["design", "faults survived", "write units, alone", "100 of one counter", "1,000 of 1,000 counters", "pace"]
    return format_table(head, map(row, scope.DESIGNS))


_VIEWS: Final[dict[str, Callable[[Any], dict[str, Any]]]] = {
    "request_costs": _view_request_costs,
    "faults": _view_faults,
    "cpu_time": _view_cpu_time,
    "throughput": _view_throughput,
    "latency": _view_latency,
    "batching_windows": _view_batching_windows,
    "cold_start": _view_cold_start,
    "ops_commands": lambda raw: {"table": command_table(raw)},
}
_GOALS: Final[dict[str, Callable[[Any], Iterable[Goal]]]] = {
    "request_costs": request_cost_goals,
    "cpu_time": _cpu_time_goals,
    "throughput": _throughput_goals,
}
_PLOTS: Final[dict[str, Callable[[Any], dict[str, str]]]] = {
    "request_costs": _plot_request_costs,
    "cpu_time": _plot_cpu_time,
    "throughput": _plot_throughput,
    "latency": _plot_latency,
    "batching_windows": _plot_batching_windows,
}
