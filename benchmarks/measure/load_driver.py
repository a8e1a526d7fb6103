"""
Send increments to the deployed system at a steady pace, and read the functions' log lines about them.

Each of 32 senders waits only for its own response, so a slow response does not delay other senders. Linux only.
"""

import contextlib
import json
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import boto3
import httpx

from ops import stages
from ops.deployment import deploy
from ops.local import stack

_CLIENTS: Final = 32
_ALL_COUNTED_WITHIN_S: Final = 120

#: An increment is late if it is sent this long after its scheduled time.
_LATE_S: Final = 0.1

_REPORT: Final = re.compile(r"REPORT RequestId: (\S+)\s+Duration: ([\d.]+) ms")


@dataclass(slots=True)
class Sent:
    """
    The time at which each event was recorded, by event id, the number of late increments, and the duration of sending.

    `busy_s` is the total busy time of all processors during sending.
    """

    recorded_s: dict[str, float] = field(default_factory=dict)
    late: int = 0
    began_s: float = 0.0
    took_s: float = 0.0
    busy_s: float = 0.0

    @property
    def rate(self) -> float:
        """The achieved rate per second."""
        return len(self.recorded_s) / self.took_s


@dataclass(frozen=True, slots=True)
class Lines:
    """
    The time of the command's log line by event id, the log lines of `publish` and `project`, and run starts by run id.

    A run's start is computed from the end and the duration that the platform reports, to within a few milliseconds.
    """

    accepted_s: Mapping[str, float]
    published: list[dict[str, Any]]
    projected: list[dict[str, Any]]
    began_s: Mapping[str, float]


@contextlib.contextmanager
def deploy_system(place: stack.LocalSystem) -> Iterator[str]:
    """Run the whole system, and provide its API's address."""
    stack.up(place)
    try:
        yield stages.addresses(place.folder)["API_URL"]
    finally:
        stack.down(place)


def send(api: str, rate: float, span_s: float, counters: int = 1) -> Sent:
    """Send `rate` increments per second for `span_s` seconds, to `counters` new counters in turn."""
    names = [f"driven-{uuid.uuid4().hex[:8]}" for _ in range(counters)]
    sent, lock = Sent(began_s=time.time()), threading.Lock()
    began, began_busy_s = time.monotonic(), busy_s()
    with httpx.Client(timeout=60) as http, ThreadPoolExecutor(_CLIENTS) as pool:

        def increment(number: int) -> None:
            turn = began + number / rate
            time.sleep(max(0.0, turn - time.monotonic()))
            late = time.monotonic() - turn > _LATE_S
            event = http.post(f"{api}/counters/{names[number % counters]}/increments").raise_for_status().json()
            with lock:
                sent.recorded_s[event["event_id"]] = datetime.fromisoformat(event["recorded_at"]).timestamp()
                sent.late += late

        list(pool.map(increment, range(round(rate * span_s))))
    sent.took_s, sent.busy_s = time.monotonic() - began, busy_s() - began_busy_s
    return sent


def read_lines(sent: Sent) -> Lines:
    """
    Wait until these increments are counted, and return the log lines about them.

    Raises:
        RuntimeError: the logs do not show all increments as counted within about two minutes.
    """
    wanted = sent.recorded_s.keys()
    for _ in range(_ALL_COUNTED_WITHIN_S):
        time.sleep(1)  # reading logs takes CPU time from the functions
        accepted = _read_lines("APIHandler", "command accepted", sent.began_s)
        accepted_s = {line["event_id"]: find_time(line) for line in accepted if line["event_id"] in wanted}
        published = [
            line
            for line in _read_lines("Publish", "published", sent.began_s)
            if "queue" not in line and not wanted.isdisjoint(line["event_ids"])
        ]
        sent_ids = {line["message_id"] for line in published}
        projected = [
            line
            for line in _read_lines("Project", "projected", sent.began_s)
            if not sent_ids.isdisjoint(line["message_ids"])
        ]
        began_s = {**_read_starts("Publish", sent.began_s), **_read_starts("Project", sent.began_s)}
        counted_ids = {message_id for line in projected for message_id in line["message_ids"]}
        counted = {
            event_id for line in published if line["message_id"] in counted_ids for event_id in line["event_ids"]
        }
        is_complete = wanted <= counted & accepted_s.keys()
        if is_complete and {line["invocation_id"] for line in (*published, *projected)} <= began_s.keys():
            return Lines(accepted_s, published, projected, began_s)
    raise RuntimeError(f"The logs do not show all {len(wanted)} increments as counted.")


def find_time(line: Mapping[str, Any]) -> float:
    """Return the time of a log line in seconds since 1970, to the millisecond."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def busy_s() -> float:
    """Return the total busy time of all processors of this machine, in seconds (proc(5), /proc/stat)."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text(encoding="ascii").split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def count_busy_processors(span_s: float) -> float:
    """Measure for `span_s` seconds, and return the mean number of processors in use."""
    began_s, began_busy_s = time.monotonic(), busy_s()
    time.sleep(span_s)
    return (busy_s() - began_busy_s) / (time.monotonic() - began_s)


def _read_lines(function: str, message: str, since_s: float) -> list[dict[str, Any]]:
    """Return a function's log lines with this message since this time."""
    lines = [json.loads(event["message"]) for event in _filter_events(function, '"message"', since_s)]
    return [line for line in lines if line["message"] == message]


def _read_starts(function: str, since_s: float) -> dict[str, float]:
    """Return the start times, by run id, of a function's runs that have ended since this time."""
    events = _filter_events(function, '"REPORT RequestId"', since_s)
    reports = [(event, report) for event in events if (report := _REPORT.match(event["message"]))]
    return {report[1]: (event["timestamp"] - float(report[2])) / 1000 for event, report in reports}


def _filter_events(function: str, pattern: str, since_s: float) -> Iterator[Mapping[str, Any]]:
    """Yield a function's log events. The embedded AWS returns the first 10,000 that match, without a next page."""
    resources = boto3.client("cloudformation").describe_stack_resources(StackName=deploy.stack_name("local"))
    ids = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources["StackResources"]}
    pages = (
        boto3.client("logs")
        .get_paginator("filter_log_events")
        .paginate(logGroupName=f"/aws/lambda/{ids[function]}", filterPattern=pattern, startTime=int(since_s * 1000))
    )
    return (event for page in pages for event in page["events"])
