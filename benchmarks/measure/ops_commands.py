"""
Time and memory of verify, replay and rebuild by log size. SIZES in the environment sets the sizes.

Each size has an embedded AWS of its own, with both read models. Its log has events of a hundred counters, a hundred a
second each. Before a lost read model is rebuilt, its items or rows are removed. Each command runs in a process of its
own, whose time and peak memory are measured.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import boto3

from benchmarks.measure import environment
from ops import stages
from ops.local import stack
from testkit import process_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIZES: Final = "10000 100000"
_COUNTERS: Final = 100
_A_SECOND_EACH: Final = 100
_BEGAN_MS: Final = 1_700_000_000_000
_ITEMS_LOST: Final = "rebuild, all lost"
_ROWS_LOST: Final = "rebuild, all rows lost"
_COMMANDS: Final = {
    "verify": ["verify", "--projection", "read-model"],
    "replay": ["replay", "--projection", "read-model", "--rate", "1000000000"],
    "rebuild, nothing lost": ["rebuild", "--projection", "read-model"],
    "verify, of both": ["verify"],
    _ITEMS_LOST: ["rebuild", "--projection", "read-model"],
    _ROWS_LOST: ["rebuild", "--projection", "sql"],
}


def measure(*, quick: bool) -> list[dict[str, Any]]:
    """Measure each command on logs of each size."""
    sizes = [1000] if quick else [int(size) for size in (os.environ.get("SIZES") or _SIZES).split()]
    return [
        row
        for size in environment.show_progress(sizes, "Operators' commands")
        for row in _measure_size(size, process_environment.free_ports(1)[0])
    ]


def _measure_size(size: int, port: int) -> list[dict[str, Any]]:
    """Measure each command on a separate embedded AWS at this port and the next."""
    rows = []
    with tempfile.TemporaryDirectory(dir=os.environ["LOCAL_FOLDER"]) as folder:
        place = stack.LocalSystem(Path(folder), port, port + 1)
        with contextlib.redirect_stdout(sys.stderr), stack.run_aws(place, "benchmarks.models.linear_aws"):
            # In a separate process, because a command's peak memory starts with that of its parent process.
            _run_in_process(_fill_log, place, size)
            subprocess.run(_command_line(["rebuild"]), env=_environment(place), check=True, stdout=subprocess.DEVNULL)
            for name, arguments in _COMMANDS.items():
                if name == _ITEMS_LOST:
                    _run_in_process(_remove_items, place)
                if name == _ROWS_LOST:
                    _run_in_process(_remove_rows, place)
                rows.append({"events": size, "command": name, **_measure_command(place, arguments, size)})
    return rows


def _run_in_process(function: Any, *arguments: Any) -> None:
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{function.__name__} exited with {process.exitcode}")


def _fill_log(place: stack.LocalSystem, size: int) -> None:
    """Provision the stage, and fill the log with events."""
    stack.write_environment(place, "", "")
    os.environ["LOCAL_FOLDER"] = str(place.folder)
    stages.enter(stages.LOCAL_STAGE)
    from ops.deployment import provision  # noqa: PLC0415  (now that the environment is the stage's)

    provision.provision(stages.read_settings(stages.LOCAL_STAGE))
    client, items = boto3.client("dynamodb"), _make_items(size)
    while batch := [*itertools.islice(items, 25)]:
        requests: Any = [{"PutRequest": {"Item": item}} for item in batch]
        client.batch_write_item(RequestItems={"counter-local-event-log": requests})


def _make_items(size: int) -> Iterator[dict[str, Any]]:
    from chalicelib.command_handlers import generate_event_id  # noqa: PLC0415
    from chalicelib.domain.events import Incremented  # noqa: PLC0415  (as above)
    from testkit.builders import log_items  # noqa: PLC0415

    for number in range(size):
        recorded_at_ms = _BEGAN_MS + number // _COUNTERS * 1000 // _A_SECOND_EACH
        event = Incremented(f"clicks-{number % _COUNTERS}", generate_event_id(recorded_at_ms), 1, recorded_at_ms)
        yield from log_items([event])


def _remove_items(place: stack.LocalSystem) -> None:
    """Remove every item of the read model."""
    client = boto3.client("dynamodb", endpoint_url=place.aws_url, region_name="us-east-1")
    for table, *key in (("counters", "counter_id", "part"), ("archive", "partition", "end")):
        name = f"counter-{stages.LOCAL_STAGE}-{table}"
        for item in client.get_paginator("scan").paginate(TableName=name).search("Items[]"):
            client.delete_item(TableName=name, Key={attribute: item[attribute] for attribute in key})


def _remove_rows(place: stack.LocalSystem) -> None:
    """Remove the SQL database, and create an empty one."""
    from chalicelib.extras.sql import read_model  # noqa: PLC0415  (takes memory, which commands would inherit)

    (place.folder / "counter.sqlite").unlink()
    read_model.make_schema(f"sqlite:///{quote(str(place.folder / 'counter.sqlite'))}")


def _measure_command(place: stack.LocalSystem, arguments: list[str], size: int) -> dict[str, float]:
    """Return events a second, CPU time and peak memory of one command in a separate process."""
    began = time.monotonic()
    process = subprocess.Popen(_command_line(arguments), env=_environment(place), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(arguments)} failed")
    return {
        "a_second": round(size / (time.monotonic() - began)),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


def _command_line(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "ops", *arguments, "--stage", stages.LOCAL_STAGE]


def _environment(place: stack.LocalSystem) -> dict[str, str]:
    return {**os.environ, "LOCAL_FOLDER": str(place.folder)}
