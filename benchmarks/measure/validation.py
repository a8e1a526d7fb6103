"""
The model beside the embedded AWS, at loads that it can carry: batches, and how old their first event is when counted.

The embedded AWS knows no batching window, asks a stream as soon as something is written to it, and runs up to five
batches of a queue at once: the model is set up so. How long a run takes is learnt from lone increments, and by how much
it grows with a batch from what `make cost` measured. As everything runs on one machine, each run takes longer the
likelier all of its processors are busy (1 / (1 - load ** processors)); what an increment adds to the load is learnt
from the lone ones, too. Nothing is learnt from the loads that are then compared. Linux only.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING, Any

from benchmarks.measure import load_driver
from benchmarks.models.simulation import System, simulated

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.models.costing import Step
    from ops.local.stack import LocalSystem

RATES = (5, 20, 50)
_LONE = 20
_LONE_EACH_S = 0.5
_IDLE_S = 5
_SPAN_S = 20


def compared(place: LocalSystem, publish: Callable[[int], Step], project: Callable[[int], Step]) -> dict[str, Any]:
    """What the embedded AWS did at each rate, and what the model says that it does."""
    with load_driver.deployed(place) as api:
        load_driver.driven(api, 4, 5)  # or the functions' own start would be taken for their work
        idle = load_driver.busy_s()
        time.sleep(_IDLE_S)
        idle_load = (load_driver.busy_s() - idle) / _IDLE_S
        before_s = load_driver.busy_s()
        lone = load_driver.driven(api, 1 / _LONE_EACH_S, _LONE * _LONE_EACH_S)
        work_s = max(0.0, load_driver.busy_s() - before_s - idle_load * lone.took_s) / len(lone.recorded_s)
        publish_s, project_s = _learnt(_seen(lone))
        rows = []
        for rate in RATES:
            sent = load_driver.driven(api, rate, _SPAN_S)
            seen = _seen(sent)
            load = idle_load + work_s * sent.rate
            processors = os.cpu_count() or 1
            stretch = 1 / max(0.02, 1 - (load / processors) ** processors)
            system = System(
                rate=sent.rate,
                shards=1,
                one_counter=True,
                window_s=0,
                stream_batch=1000,
                queue_batch=10,
                publish_s=_stretched(stretch, publish_s, publish),
                project_s=_stretched(stretch, project_s, project),
                request_s=stretch * project_s / 3,
                poll_s=0,
                pollers_more_a_minute=0,
            )
            said = simulated(system, warm_up_s=1, measured_s=60)
            rows.append(
                {
                    "rate": round(system.rate, 1),
                    "load": round(load / processors, 2),
                    "seen": _row(seen.batches, seen.oldest_s),
                    "said": {
                        "batch": round(said.batch, 2),
                        "oldest_p50_s": round(statistics.median(said.oldest_s), 3),
                        "oldest_p90_s": round(_share(said.oldest_s, 0.9), 3),
                    },
                }
            )
        learnt = {"publish_s": publish_s, "project_s": project_s, "work_s": work_s, "idle_load": idle_load}
        return {**{name: round(value, 4) for name, value in learnt.items()}, "rows": rows}


def _stretched(by: float, alone_s: float, steps: Callable[[int], Step]) -> Callable[[int], float]:
    return lambda events: by * (alone_s + (steps(events).cpu_ms - steps(1).cpu_ms) / 1000)


class _Seen:
    """`batches` has the events of each message, `oldest_s` the age of the oldest of each run of `project`."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.oldest_s: list[float] = []
        self.publishing_s: list[float] = []
        self.projecting_s: list[float] = []


def _seen(sent: load_driver.Sent) -> _Seen:
    """What the functions wrote about these increments, once all of them are counted."""
    lines = load_driver.lines_of(sent)
    published_s = {line["message_id"]: load_driver.time_of(line) for line in lines.published}
    seen = _Seen()
    seen.batches = [line["events"] for line in lines.published]
    seen.oldest_s = [line["lag_s"] for line in lines.projected if line["lag_s"] is not None]
    seen.publishing_s = [
        load_driver.time_of(line) - min(lines.accepted_s[one] for one in line["event_ids"] if one in lines.accepted_s)
        for line in lines.published
    ]
    seen.projecting_s = [
        load_driver.time_of(line) - max(published_s[one] for one in line["message_ids"] if one in published_s)
        for line in lines.projected
    ]
    return seen


def _learnt(lone: _Seen) -> tuple[float, float]:
    return statistics.median(lone.publishing_s), statistics.median(lone.projecting_s)


def _row(batches: list[int], oldest_s: list[float]) -> dict[str, float]:
    return {
        "batch": round(statistics.mean(batches), 2),
        "oldest_p50_s": round(statistics.median(oldest_s), 3),
        "oldest_p90_s": round(_share(oldest_s, 0.9), 3),
    }


def _share(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
