"""
Measure the lag of increments between acceptance and counting, and its phases, with the whole system deployed locally.

An increment is accepted at the time of its event, and counted when `project` logs that it has counted the event. The
functions' log lines (to a millisecond) and the durations that the platform reports divide the lag into phases. The
phases add up to the lag.
"""

import itertools
import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from benchmarks.measure import environment, load_driver, scope
from benchmarks.measure.load_driver import Lines
from testkit import process_environment

#: Before each load, the measurement waits up to this time for an idle machine.
_IDLE_WITHIN_S: Final = 60

#: A load is too much if the last quarter of its increments waits this many times as long as the first quarter, and at
#: least this much longer. A load is also too much if more than this share of its increments is sent late.
_GROWS_TIMES: Final = 2
_GROWS_BY_S: Final = 0.1
_LATE_SHARE: Final = 0.02


class Parts(NamedTuple):
    """
    The phases of one increment's lag, in seconds and in their order.

    The stream may deliver an event before the command has logged it: then `append` ends when the run of `publish`
    begins.
    """

    append: float
    stream: float
    publish: float
    queue: float
    project: float

    @property
    def lag_s(self) -> float:
        """The lag from acceptance to counting."""
        return sum(self)


def measure(*, quick: bool) -> dict[str, Any]:
    """Measure the lag of the first increment, for which each function has a cold start, and of each load."""
    loads = ((5, 2, 1), (15, 2, 1)) if quick else scope.LATENCY_LOADS
    with load_driver.deploy_system(process_environment.local_place()) as api:
        first = load_driver.send(api, 1, 1)
        (first_parts,) = divide_lags(first.recorded_s, load_driver.read_lines(first))
        load_driver.send(api, *((10, 1) if quick else (40, 3)))  # warms up about as many workers as the loads have
        rows = [_measure_load(api, *load) for load in environment.show_progress(loads, "Latency")]
        return {"first_lag_ms": _to_ms(first_parts.lag_s), "loads": rows}


def divide_lags(recorded_s: Mapping[str, float], lines: Lines) -> list[Parts]:
    """
    Return the phases of each event's lag, in the order in which the events were accepted.

    If an event was published or projected repeatedly, use the delivery that was counted first.
    """
    counted = {
        message_id: line
        for line in sorted(lines.projected, key=load_driver.find_time, reverse=True)
        for message_id in line["message_ids"]
    }
    arrived = [line for line in lines.published if line["message_id"] in counted]
    arrived.sort(key=lambda line: load_driver.find_time(counted[line["message_id"]]), reverse=True)
    published = {event_id: line for line in arrived for event_id in line["event_ids"]}
    divided = []
    for event_id, accepted_s in sorted(recorded_s.items(), key=lambda item: item[1]):
        publish = published[event_id]
        project = counted[publish["message_id"]]
        published_s, counted_s = load_driver.find_time(publish), load_driver.find_time(project)
        # Start times are accurate to a few milliseconds. A time that is out of order is clamped to the adjacent times.
        publish_began_s = min(max(accepted_s, lines.began_s[publish["invocation_id"]]), published_s)
        appended_s = min(max(accepted_s, lines.accepted_s[event_id]), publish_began_s)
        project_began_s = min(max(published_s, lines.began_s[project["invocation_id"]]), counted_s)
        times_s = (accepted_s, appended_s, publish_began_s, published_s, project_began_s, counted_s)
        divided.append(Parts(*(end - start for start, end in itertools.pairwise(times_s))))
    return divided


def quantile(values: Iterable[float], share: float) -> float:
    """Return the value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def is_growing(lags_s: Sequence[float]) -> bool:
    """Check whether the last of these lags, in the order of their increments, are much longer than the first."""
    quarter = max(1, len(lags_s) // 4)
    first, last = statistics.median(lags_s[:quarter]), statistics.median(lags_s[-quarter:])
    return last > _GROWS_TIMES * first and last > first + _GROWS_BY_S


def summarize(divided: Sequence[Parts]) -> dict[str, Any]:
    """Return quantiles of the lag and of each phase, and each phase's share of all lags."""
    lags_s = [parts.lag_s for parts in divided]
    values = dict(zip(Parts._fields, zip(*divided, strict=True), strict=True))
    return {
        "lag_ms": {**_quantiles(lags_s), "max": _to_ms(max(lags_s))},
        "parts_ms": {
            part: {**_quantiles(each), "mean": round(1000 * statistics.mean(each), 1)} for part, each in values.items()
        },
        "shares": {part: round(sum(each) / sum(lags_s), 3) for part, each in values.items()},
    }


def wait_until_idle() -> float:
    """Wait up to a minute for an idle machine, and return the share of the processors in use in the last second."""
    for _ in range(_IDLE_WITHIN_S):
        busy = load_driver.count_busy_processors(1) / (os.cpu_count() or 1)
        if busy <= scope.BUSY:
            break
    return busy


def _measure_load(api: str, rate: int, span_s: int, counters: int) -> dict[str, Any]:
    busy_before = wait_until_idle()
    sent = load_driver.send(api, rate, span_s, counters)
    lines = load_driver.read_lines(sent)
    divided = divide_lags(sent.recorded_s, lines)
    late = sent.late / len(divided)
    return {
        "rate": rate,
        "counters": counters,
        "sent": len(divided),
        "sent_a_second": round(sent.rate, 1),
        "keeps_up": late <= _LATE_SHARE and not is_growing([parts.lag_s for parts in divided]),
        "busy_before": round(busy_before, 2),
        "busy": round(sent.busy_s / sent.took_s / (os.cpu_count() or 1), 2),
        "events_a_message": round(statistics.mean(line["events"] for line in lines.published), 2),
        **summarize(divided),
    }


def _quantiles(values_s: Sequence[float]) -> dict[str, int]:
    return {"p50": _to_ms(quantile(values_s, 0.5)), "p99": _to_ms(quantile(values_s, 0.99))}


def _to_ms(seconds: float) -> int:
    return round(1000 * seconds)
