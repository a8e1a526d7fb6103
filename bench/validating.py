"""
The model beside the embedded AWS, at loads that it can carry: batches, and how old their first event is when counted.

The embedded AWS knows no batching window, asks a stream as soon as something is written to it, and runs up to five
batches of a queue at once: the model is set up so. How long a run takes is learnt from lone increments, and by how much
it grows with a batch from what `make cost` measured. As everything runs on one machine, each run takes longer the
likelier all of its processors are busy (1 / (1 - load ** processors)); what an increment adds to the load is learnt
from the lone ones, too. Nothing is learnt from the loads that are then compared. Linux only.
"""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx

from bench.simulation import System, simulated
from ops import deploy, embedded, stages

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.costing import Step

RATES = (5, 20, 50)
_LONE = 20
_LONE_EACH_S = 0.5
_IDLE_S = 5
_SPAN_S = 20
_CLIENTS = 16


def compared(place: embedded.Place, publish: Callable[[int], Step], project: Callable[[int], Step]) -> dict[str, Any]:
    """What the embedded AWS did at each rate, and what the model says that it does."""
    embedded.up(place)
    try:
        api = stages.addresses(place.folder)["API_URL"]
        _driven(api, 4, 5)  # or the functions' own start would be taken for their work
        idle = _busy_s()
        time.sleep(_IDLE_S)
        idle_load = (_busy_s() - idle) / _IDLE_S
        before_s = _busy_s()
        lone = _driven(api, 1 / _LONE_EACH_S, _LONE * _LONE_EACH_S)
        work_s = max(0.0, _busy_s() - before_s - idle_load * lone.took_s) / len(lone.event_ids)
        publish_s, project_s = _learnt(_lines_of(lone))
        rows = []
        for rate in RATES:
            sent = _driven(api, rate, _SPAN_S)
            seen = _lines_of(sent)
            load = idle_load + work_s * len(sent.event_ids) / sent.took_s
            processors = os.cpu_count() or 1
            stretch = 1 / max(0.02, 1 - (load / processors) ** processors)
            system = System(
                rate=len(sent.event_ids) / sent.took_s,
                shards=1,
                one_counter=True,
                window_s=0,
                stream_batch=1000,
                queue_batch=10,
                publish_s=_stretched(stretch, publish_s, publish),
                project_s=_stretched(stretch, project_s, project),
                transaction_s=stretch * project_s / 3,
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
    finally:
        embedded.down(place)


def _stretched(by: float, alone_s: float, steps: Callable[[int], Step]) -> Callable[[int], float]:
    return lambda events: by * (alone_s + (steps(events).cpu_ms - steps(1).cpu_ms) / 1000)


def _busy_s() -> float:
    """For how many seconds the processors of this machine have worked, all together (proc(5), /proc/stat)."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text(encoding="ascii").split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


class _Sent:
    def __init__(self) -> None:
        self.event_ids: list[str] = []
        self.took_s = 0.0


class _Seen:
    """`batches` has the events of each message, `oldest_s` the age of the oldest of each run of `project`."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.oldest_s: list[float] = []
        self.publishing_s: list[float] = []
        self.projecting_s: list[float] = []


def _driven(api: str, rate: float, span_s: float) -> _Sent:
    """Increments of one counter, so many a second, whatever becomes of those before."""
    counter = f"{api}/counters/model-{uuid.uuid4().hex[:8]}/increments"
    sent, lock = _Sent(), threading.Lock()
    began = time.monotonic()
    with httpx.Client(timeout=60) as http, ThreadPoolExecutor(_CLIENTS) as pool:

        def increment(number: int) -> None:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            event_id = http.post(counter).raise_for_status().json()["event_id"]
            with lock:
                sent.event_ids.append(event_id)

        list(pool.map(increment, range(round(rate * span_s))))
    sent.took_s = time.monotonic() - began
    return sent


def _lines_of(sent: _Sent) -> _Seen:
    """What the functions wrote about these increments, once all of them are counted."""
    wanted = set(sent.event_ids)
    for _ in range(120):
        accepted = {line["event_id"]: _time(line) for line in _lines("APIHandler") if line.get("event_id") in wanted}
        published = {
            line["message_id"]: line
            for line in _lines("Publish")
            if line["message"] == "published" and "queue" not in line and wanted & set(line["event_ids"])
        }
        projected = [
            line
            for line in _lines("Project")
            if line["message"] == "projected" and set(line["message_ids"]) & published.keys()
        ]
        if sum(line["new"] for line in projected) >= len(wanted) == len(accepted):
            break
        time.sleep(1)
    else:
        raise RuntimeError(
            f"Of {len(wanted)} increments, the logs have {len(accepted)} as accepted, {len(published)} messages with "
            f"them, and {sum(line['new'] for line in projected)} as counted."
        )
    seen = _Seen()
    seen.batches = [line["events"] for line in published.values()]
    seen.oldest_s = [line["lag_s"] for line in projected if line["lag_s"] is not None]
    seen.publishing_s = [
        _time(line) - min(accepted[one] for one in line["event_ids"] if one in accepted) for line in published.values()
    ]
    seen.projecting_s = [
        _time(line) - max(_time(published[one]) for one in line["message_ids"] if one in published)
        for line in projected
    ]
    return seen


def _learnt(lone: _Seen) -> tuple[float, float]:
    return statistics.median(lone.publishing_s), statistics.median(lone.projecting_s)


def _lines(function: str) -> list[dict[str, Any]]:
    resources = boto3.client("cloudformation").describe_stack_resources(StackName=deploy.stack_name("local"))
    (name,) = [one["PhysicalResourceId"] for one in resources["StackResources"] if one["LogicalResourceId"] == function]
    pages = (
        boto3.client("logs")
        .get_paginator("filter_log_events")
        .paginate(logGroupName=f"/aws/lambda/{name}", filterPattern='"message"')
    )
    return [json.loads(event["message"]) for page in pages for event in page["events"]]


def _time(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def _row(batches: list[int], oldest_s: list[float]) -> dict[str, float]:
    return {
        "batch": round(statistics.mean(batches), 2),
        "oldest_p50_s": round(statistics.median(oldest_s), 3),
        "oldest_p90_s": round(_share(oldest_s, 0.9), 3),
    }


def _share(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
