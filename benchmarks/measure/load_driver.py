"""
Increments sent to the deployed system at a steady pace, and what its functions' logs say of them.

A sender waits for nobody's answer but its own, so that what is slow delays no other increment, while senders last.
Linux only.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
import httpx

from ops import stages
from ops.deployment import deploy
from ops.local import stack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_CLIENTS: Final = 32
_ALL_COUNTED_WITHIN_S: Final = 120

#: Later than this after its turn, an increment is not sent as it was meant to be.
_LATE_S: Final = 0.1

_REPORT: Final = re.compile(r"REPORT RequestId: (\S+)\s+Duration: ([\d.]+) ms")


@dataclass(slots=True)
class Sent:
    """When each increment was recorded, by its event's id, how many were sent too late, and how long all of it took."""

    recorded_s: dict[str, float] = field(default_factory=dict)
    late: int = 0
    began_s: float = 0.0
    took_s: float = 0.0

    @property
    def rate(self) -> float:
        """How many were sent a second."""
        return len(self.recorded_s) / self.took_s


@dataclass(frozen=True, slots=True)
class Lines:
    """
    When each increment was said to be accepted, what `publish` and `project` wrote, and when their runs began, by id.

    A run's beginning is reckoned from what the platform writes when it has ended, to some milliseconds.
    """

    accepted_s: Mapping[str, float]
    published: list[dict[str, Any]]
    projected: list[dict[str, Any]]
    began_s: Mapping[str, float]


@contextlib.contextmanager
def deployed(place: stack.LocalSystem) -> Iterator[str]:
    """The whole system runs, and this is the address of its API."""
    stack.up(place)
    try:
        yield stages.addresses(place.folder)["API_URL"]
    finally:
        stack.down(place)


def driven(api: str, rate: float, span_s: float, counters: int = 1) -> Sent:
    """So many increments a second of these many new counters in turn, whatever becomes of those before."""
    names = [f"driven-{uuid.uuid4().hex[:8]}" for _ in range(counters)]
    sent, lock = Sent(began_s=time.time()), threading.Lock()
    began = time.monotonic()
    with httpx.Client(timeout=60) as http, ThreadPoolExecutor(_CLIENTS) as pool:

        def increment(number: int) -> None:
            turn = began + number / rate
            time.sleep(max(0.0, turn - time.monotonic()))
            late = time.monotonic() - turn > _LATE_S
            counter = names[number % counters]
            event = http.post(f"{api}/counters/{counter}/increments").raise_for_status().json()
            with lock:
                sent.recorded_s[event["event_id"]] = datetime.fromisoformat(event["recorded_at"]).timestamp()
                sent.late += late

        list(pool.map(increment, range(round(rate * span_s))))
    sent.took_s = time.monotonic() - began
    return sent


def lines_of(sent: Sent) -> Lines:
    """
    What the functions wrote of these increments, once all of them are counted.

    Raises:
        RuntimeError: they are not, for two minutes.
    """
    wanted = sent.recorded_s.keys()
    missing = len(wanted)
    for _ in range(_ALL_COUNTED_WITHIN_S):
        time.sleep(1)  # also before the first look, which takes processors from those who count
        accepted_s = {
            line["event_id"]: time_of(line)
            for line in _written("APIHandler", "command accepted", sent.began_s)
            if line["event_id"] in wanted
        }
        published = [
            line
            for line in _written("Publish", "published", sent.began_s)
            if "queue" not in line and not wanted.isdisjoint(line["event_ids"])
        ]
        ids = {line["message_id"] for line in published}
        projected = [
            line for line in _written("Project", "projected", sent.began_s) if not ids.isdisjoint(line["message_ids"])
        ]
        began_s = {**_began("Publish", sent.began_s), **_began("Project", sent.began_s)}
        counted = {one for line in projected for one in line["message_ids"]}
        done = {one for line in published if line["message_id"] in counted for one in line["event_ids"]}
        missing = len(wanted - (done & accepted_s.keys()))
        ended = {line["invocation_id"] for line in (*published, *projected)} <= began_s.keys()
        if not missing and ended:
            return Lines(accepted_s, published, projected, began_s)
    raise RuntimeError(f"Of {len(wanted)} increments, the logs have {missing} not as counted.")


def time_of(line: Mapping[str, Any]) -> float:
    """When a line was written, in seconds, to a millisecond."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def busy_s() -> float:
    """For how many seconds the processors of this machine have worked, all together (proc(5), /proc/stat)."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text(encoding="ascii").split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _written(function: str, message: str, since_s: float) -> list[dict[str, Any]]:
    """A function's own lines with this message since then."""
    lines = [json.loads(event["message"]) for event in _events(function, '"message"', since_s)]
    return [line for line in lines if line["message"] == message]


def _began(function: str, since_s: float) -> dict[str, float]:
    """When those runs of a function began, by their ids, that have ended since then."""
    events = _events(function, '"REPORT RequestId"', since_s)
    reports = [(event, found) for event in events if (found := _REPORT.match(event["message"]))]
    return {found[1]: (event["timestamp"] - float(found[2])) / 1000 for event, found in reports}


def _events(function: str, pattern: str, since_s: float) -> Iterable[Mapping[str, Any]]:
    """What is logged of a function; the embedded AWS gives 10,000 at most, and no next page, so ask for few."""
    resources = boto3.client("cloudformation").describe_stack_resources(StackName=deploy.stack_name("local"))
    (name,) = [one["PhysicalResourceId"] for one in resources["StackResources"] if one["LogicalResourceId"] == function]
    pages = (
        boto3.client("logs")
        .get_paginator("filter_log_events")
        .paginate(logGroupName=f"/aws/lambda/{name}", filterPattern=pattern, startTime=int(since_s * 1000))
    )
    return (event for page in pages for event in page["events"])
