"""
Measure time and memory of verify, replay and rebuild by log size. The environment variable SIZES sets the sizes.

Each size has a separate embedded AWS, with both read models. The log has events of a hundred counters, each with a
hundred events per second. Before a lost read model is rebuilt, its items or rows are removed. Each command runs in a
separate process, whose time and peak memory are measured.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import boto3

from benchmarks.measure import environment
from ops import stages
from ops.local import stack
from testkit import process_environment

_SIZES: Final = "10000 100000"
_COUNTERS: Final = 100
_EACH_MS: Final = 10
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
        with contextlib.redirect_stdout(sys.stderr), stack.run_aws(place, "benchmarks.measure.linear_aws"):
            _fill_log(place, size)
            for name, arguments in _COMMANDS.items():
                # In another process, because a command's peak memory starts at the peak of its parent.
                if name in _LOSSES:
                    environment.run_in_process(_LOSSES[name], place)
                rows.append({"events": size, "command": name, **_measure_command(place, arguments, size)})
    return rows


def _fill_log(place: stack.LocalSystem, size: int) -> None:
    """Provision the stage, and fill the log and both read models with events."""
    stack.write_environment(place, "", "")
    path = place.folder / "events.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(size):
            event = {"counter_id": f"clicks-{number % _COUNTERS:02}", "type": "Incremented", "version": 1, "by": 1}
            event |= {"event_id": str(uuid.uuid4()), "recorded_at": _BEGAN_MS + number // _COUNTERS * _EACH_MS}
            file.write(json.dumps(event) + "\n")
    for arguments in (["provision"], ["import", str(path)], ["rebuild"]):
        subprocess.run(_command_line(arguments), env=_environment(place), check=True, stdout=subprocess.DEVNULL)


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


#: The function that removes data before a command.
_LOSSES: Final = {_ITEMS_LOST: _remove_items, _ROWS_LOST: _remove_rows}


def _measure_command(place: stack.LocalSystem, arguments: list[str], size: int) -> dict[str, float]:
    """Return the events per second, CPU time and peak memory of one command in a separate process."""
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
