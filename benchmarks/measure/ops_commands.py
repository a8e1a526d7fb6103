"""
Measure what verify, replay and rebuild take by log size: python -m benchmarks.measure.ops_commands SIZE [SIZE ...]

For each size, starts an embedded AWS of its own, and fills the log with so many events of a hundred counters, a hundred
a second each, and both read models. Before a lost read model is rebuilt, its items or rows are removed. Each command
runs in a process of its own, whose time and peak memory are measured. Prints a table in Markdown.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import click

from ops import stages
from ops.cli import progress
from ops.local import stack

if TYPE_CHECKING:
    from collections.abc import Iterator

_COUNTERS = 100
_A_SECOND_EACH = 100
_BEGAN_MS = 1_700_000_000_000
_LOST = "rebuild, all lost"
_LOST_ROWS = "rebuild, all rows lost"
_COMMANDS = {
    "verify": ["verify", "--projection", "read-model"],
    "replay": ["replay", "--projection", "read-model", "--rate", "1000000000"],
    "rebuild, nothing lost": ["rebuild", "--projection", "read-model"],
    "verify, of both": ["verify"],
    _LOST: ["rebuild", "--projection", "read-model"],
    _LOST_ROWS: ["rebuild", "--projection", "sql"],
}


@click.command(help=__doc__)
@click.argument("sizes", type=click.IntRange(1), nargs=-1, required=True)
@click.option("--port", default=4599, show_default=True, help="Where the embedded AWS listens, on 127.0.0.1.")
def main(sizes: tuple[int, ...], port: int) -> None:
    click.echo("| events | command | events a second | its own CPU time | peak memory |\n|---|---|---|---|---|")
    for size in sizes:
        for row in measured(size, port):
            taken = f"{row['a_second']:,.0f} | {row['cpu_s']:,.1f} s | {row['peak_mb']:,.0f} MB"
            click.echo(f"| {size:,} | {row['command']} | {taken} |")


def measured(size: int, port: int) -> list[dict[str, Any]]:
    """Measure each command on a log of so many events, on an embedded AWS of its own at this port and the next."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = stack.LocalSystem(Path(folder), port, port + 1)
        with contextlib.redirect_stdout(sys.stderr), stack.run_aws(place, "benchmarks.models.linear_aws"):
            # In a process of its own: a command's peak memory starts with that of the process that it came from.
            filling = multiprocessing.get_context("spawn").Process(target=_fill, args=(place, size))
            filling.start()
            filling.join()
            for name, arguments in _COMMANDS.items():
                if name == _LOST:
                    _remove_items(place)
                if name == _LOST_ROWS:
                    (place.folder / "counter.sqlite").unlink()
                    _make_schema(place)
                seconds, cpu_s, peak_mb = _measured(place, arguments)
                taken = {"a_second": round(size / seconds), "cpu_s": round(cpu_s, 1), "peak_mb": round(peak_mb)}
                rows.append({"events": size, "command": name, **taken})
    return rows


def _fill(place: stack.LocalSystem, size: int) -> None:
    """Fill the log with so many events, and both read models from it."""
    stack.write_environment(place, "", "")
    os.environ["LOCAL_FOLDER"] = str(place.folder)
    stages.enter(stages.LOCAL_STAGE)
    from ops.deployment import provision  # noqa: PLC0415  (now that the environment is the stage's)

    provision.provision(stages.settings_of(stages.LOCAL_STAGE))
    client = boto3.client("dynamodb")
    with progress.bar("Filling the log", size) as advance:
        for items in _items(size):
            requests: Any = [{"PutRequest": {"Item": item}} for item in items]
            client.batch_write_item(RequestItems={"counter-local-event-log": requests})
            advance(len(items))
    subprocess.run(_program(["rebuild"]), env=_environment(place), check=True, stdout=subprocess.DEVNULL)


def _remove_items(place: stack.LocalSystem) -> None:
    """Remove every item of the read model."""
    client = boto3.client("dynamodb", endpoint_url=place.aws_url, region_name="us-east-1")
    for table, *key in (("counters", "counter_id", "part"), ("archive", "partition", "end")):
        name = f"counter-{stages.LOCAL_STAGE}-{table}"
        for page in client.get_paginator("scan").paginate(TableName=name):
            for item in page["Items"]:
                client.delete_item(TableName=name, Key={attribute: item[attribute] for attribute in key})


def _make_schema(place: stack.LocalSystem) -> None:
    from chalicelib.extras.sql import read_model  # noqa: PLC0415  (not in this process's memory before all else is measured)

    read_model.make_schema(f"sqlite:///{place.folder / 'counter.sqlite'}")


def _items(size: int) -> Iterator[list[dict[str, dict[str, str]]]]:
    from chalicelib import (  # noqa: PLC0415
        codec,
        command_handlers,
    )
    from chalicelib.domain.events import Incremented  # noqa: PLC0415

    batch = []
    for n in range(size):
        recorded_at_ms = _BEGAN_MS + n // _COUNTERS * 1000 // _A_SECOND_EACH
        event = Incremented(
            f"clicks-{n % _COUNTERS}", command_handlers.generate_event_id(recorded_at_ms), 1, recorded_at_ms
        )
        item = {"partition": event.counter_id, **codec.encode_event(event)}
        batch.append(
            {name: {"S": value} if isinstance(value, str) else {"N": str(value)} for name, value in item.items()}
        )
        if len(batch) == 25:
            yield batch
            batch = []
    if batch:
        yield batch


def _measured(place: stack.LocalSystem, arguments: list[str]) -> tuple[float, float, float]:
    """Return seconds, seconds of CPU time, and peak memory in MB, of one command in a process of its own."""
    began = time.monotonic()
    process = subprocess.Popen(_program(arguments), env=_environment(place), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"{' '.join(arguments)} failed")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def _program(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "ops", *arguments, "--stage", stages.LOCAL_STAGE]


def _environment(place: stack.LocalSystem) -> dict[str, str]:
    return {**os.environ, "LOCAL_FOLDER": str(place.folder)}


if __name__ == "__main__":
    main()
