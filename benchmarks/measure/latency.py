"""
How long increments wait between being accepted and being counted, and where, on the embedded AWS with all deployed.

An increment is accepted at the time that its event bears, as everywhere in this project, and counted when `project` has
written so. What lies between is told by the functions' own lines, to a millisecond, and by how long the platform says
that their runs took. The parts of each increment's lag add up to it.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measure import load_driver, scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from benchmarks.measure.load_driver import Lines
    from ops.local.stack import LocalSystem

#: For so many seconds at most it is awaited before each load that others, who count what was sent before, come to rest.
_AT_REST_WITHIN_S: Final = 60

#: A load is too much if the last quarter of it waits so many times as long as the first, and by so much longer, or if
#: more than this share of it is sent late.
_GROWS_TIMES: Final = 2
_GROWS_BY_S: Final = 0.1
_LATE_SHARE: Final = 0.02


@dataclass(frozen=True, slots=True)
class Load:
    """So many increments a second, for so many seconds, on so many counters in turn."""

    rate: float
    span_s: float
    counters: int = 1


@dataclass(frozen=True, slots=True)
class Way:
    """
    The parts of one increment's lag, in seconds and in their order.

    The stream may bring an event before the command that appended it has said so: then appending ends when the run of
    `publish` begins.
    """

    appending: float
    in_stream: float
    publishing: float
    in_queue: float
    projecting: float

    @property
    def lag_s(self) -> float:
        """From accepted to counted."""
        return self.appending + self.in_stream + self.publishing + self.in_queue + self.projecting


PARTS: Final = tuple(one.name for one in fields(Way))


def measured(
    place: LocalSystem, warm_up: Load, loads: Sequence[Load], advance: Callable[[int], None]
) -> dict[str, Any]:
    """
    The lag of the first increment of all, which meets no function that runs, and a row for each load.

    The functions are warmed up in between, in about as many workers as they will have.
    """
    with load_driver.deployed(place) as api:
        first = load_driver.driven(api, 1, 1)
        (first_way,) = ways(first.recorded_s, load_driver.lines_of(first))
        load_driver.driven(api, warm_up.rate, warm_up.span_s)
        rows = []
        for load in loads:
            rows.append(_row(api, load))
            advance(1)
        return {"first_ms": _ms(first_way.lag_s), "loads": rows}


def ways(recorded_s: Mapping[str, float], lines: Lines) -> list[Way]:
    """
    The way of each of these events, in the order in which they were accepted.

    Of one that was published or projected more than once, the way on which it was counted first.
    """
    counted = {
        message_id: line
        for line in sorted(lines.projected, key=load_driver.time_of, reverse=True)
        for message_id in line["message_ids"]
    }
    arrived = [line for line in lines.published if line["message_id"] in counted]
    by_last = sorted(arrived, key=lambda line: load_driver.time_of(counted[line["message_id"]]), reverse=True)
    published = {event_id: line for line in by_last for event_id in line["event_ids"]}
    found = []
    for event_id, accepted_s in sorted(recorded_s.items(), key=lambda one: one[1]):
        sent = published[event_id]
        done = counted[sent["message_id"]]
        began_s = lines.began_s[sent["invocation_id"]], lines.began_s[done["invocation_id"]]
        written_s = lines.accepted_s[event_id], load_driver.time_of(sent), load_driver.time_of(done)
        found.append(_way(accepted_s, written_s, began_s))
    return found


def _way(accepted_s: float, written_s: tuple[float, float, float], began_s: tuple[float, float]) -> Way:
    """
    From when the lines of the command, `publish` and `project` were written, and the runs of the latter two began.

    They may be out of order, for beginnings are known to some milliseconds only. Then a beginning gives way to the end
    of its run and to what it follows, and the command's line to the beginning of `publish`.
    """
    appended_s, published_s, counted_s = written_s
    read_s = min(max(accepted_s, began_s[0]), published_s)
    appended_s = min(max(accepted_s, appended_s), read_s)
    taken_s = min(max(published_s, began_s[1]), counted_s)
    return Way(
        appended_s - accepted_s, read_s - appended_s, published_s - read_s, taken_s - published_s, counted_s - taken_s
    )


def share_of(values: Iterable[float], share: float) -> float:
    """The least of these values that so large a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def grows(lags_s: Sequence[float]) -> bool:
    """Whether the last of these lags, which are in the order of their increments, are much longer than the first."""
    quarter = max(1, len(lags_s) // 4)
    first, last = statistics.median(lags_s[:quarter]), statistics.median(lags_s[-quarter:])
    return last > _GROWS_TIMES * first and last > first + _GROWS_BY_S


def summed_up(found: Sequence[Way]) -> dict[str, Any]:
    """What is kept of these ways: of the lag and of each part, how long it is, and each part's share of all lags."""
    lags_s = [way.lag_s for way in found]
    parts = {part: [getattr(way, part) for way in found] for part in PARTS}
    return {
        "lag_ms": {**_halves(lags_s), "most": _ms(max(lags_s))},
        "parts_ms": {
            part: {**_halves(values), "mean": round(1000 * statistics.mean(values), 1)}
            for part, values in parts.items()
        },
        "shares": {part: round(sum(values) / sum(lags_s), 3) for part, values in parts.items()},
    }


def _row(api: str, load: Load) -> dict[str, Any]:
    before = busy_at_rest()
    before_s = load_driver.busy_s()
    sent = load_driver.driven(api, load.rate, load.span_s, load.counters)
    after_s = load_driver.busy_s()
    lines = load_driver.lines_of(sent)
    found = ways(sent.recorded_s, lines)
    late = sent.late / len(found)
    return {
        "rate": load.rate,
        "counters": load.counters,
        "sent": len(found),
        "sent_a_second": round(sent.rate, 1),
        "late_share": round(late, 3),
        "keeps_up": late <= _LATE_SHARE and not grows([way.lag_s for way in found]),
        "busy_before": round(before, 2),
        "busy": round((after_s - before_s) / sent.took_s / (os.cpu_count() or 1), 2),
        "events_a_message": round(statistics.mean(line["events"] for line in lines.published), 2),
        "events_a_run": round(statistics.mean(line["events"] for line in lines.projected), 2),
        **summed_up(found),
    }


def busy_at_rest() -> float:
    """How much of the processors was in use in the last second, once it is little or has been awaited long enough."""
    for _ in range(_AT_REST_WITHIN_S):
        began_s, busy_s = time.monotonic(), load_driver.busy_s()
        time.sleep(1)
        busy = (load_driver.busy_s() - busy_s) / (time.monotonic() - began_s) / (os.cpu_count() or 1)
        if busy <= scope.BUSY:
            break
    return busy


def _halves(values_s: Sequence[float]) -> dict[str, int]:
    return {"p50": _ms(share_of(values_s, 0.5)), "p99": _ms(share_of(values_s, 0.99))}


def _ms(seconds: float) -> int:
    return round(1000 * seconds)
