"""
The sections of `make bench`, and where their figures are stored: each as soon as it is done.

A section is a function that measures, in full or a quick sample, and reports its progress.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import multiprocessing
import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from benchmarks.measure import scope
from ops.cli import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_SIZES: Final = (10_000, 100_000)


def read(folder: Path) -> dict[str, Any]:
    """
    Return the figures that are stored in this folder.

    Raises:
        ClickException: there are none.
    """
    try:
        stored: dict[str, Any] = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise click.ClickException(f"No such file: {folder / 'figures.json'}: run `make bench` first") from error
    return stored


def measure(folder: Path, sections: Sequence[str], *, quick: bool) -> None:
    """Measure these sections and store them in this folder. Other sections stay as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SECTIONS:
        if name not in sections:
            continue
        click.echo(f"Measuring: {name}", err=True)
        machine = _machine()
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            raw = process.submit(_measured, name, quick).result()
        stored = read(folder) if (folder / "figures.json").exists() else {}
        if name in stored:
            raw = kept(name, raw, stored[name]["raw"])
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        stored[name] = {"measured_on": today, "machine": machine, "raw": raw}
        in_order = {section: stored[section] for section in SECTIONS if section in stored}
        (folder / "figures.json").write_text(json.dumps(in_order, indent=1) + "\n", encoding="utf-8")


def kept(name: str, raw: Any, before: Any) -> Any:
    """Return what was measured of this section, with what is kept of the earlier figures."""
    return _KEPT[name](raw, before) if name in _KEPT else raw


def _measured(name: str, quick: bool) -> Any:
    """Measure a section in a process of its own, so that no section affects another."""
    from tests import conftest  # noqa: F401, PLC0415  (sets what the application reads when it is imported)

    logging.disable(logging.INFO)  # of the engine, which logs each table
    with contextlib.redirect_stdout(sys.stderr):
        return SECTIONS[name](quick)


def _spending(quick: bool) -> Any:
    from benchmarks.measure import request_costs  # noqa: PLC0415  (reads the stage's settings)

    batches = scope.BATCHES[:2] if quick else scope.BATCHES
    with progress.bar("Units", request_costs.total_cells(batches, scope.SPREADS), "cells") as advance:
        return request_costs.measured(_engine(), batches, scope.SPREADS, advance)


def _surviving(_quick: bool) -> Any:
    from benchmarks.measure import faults  # noqa: PLC0415  (as above)

    with progress.bar("Faults", len(scope.DESIGNS), "designs") as advance:
        return faults.measured(_engine(), advance)


def _working(quick: bool) -> Any:
    rounds, repeats = (3, 5) if quick else (9, 40)
    with _an_aws():
        from benchmarks.measure import cpu_time  # noqa: PLC0415  (as above)

        with progress.bar("CPU time", cpu_time.total_rounds(rounds), "rounds") as advance:
            return cpu_time.measured(rounds, repeats, advance)


def _crowding(quick: bool) -> Any:
    from benchmarks.measure import throughput  # noqa: PLC0415  (as above)

    crowd = throughput.Crowd(scope.CROWDED, scope.WORKERS, scope.CROWDED_DESIGNS, 1.0)
    if quick:
        crowd = throughput.Crowd((1, 100), (1, 8), (scope.OURS, scope.PACE_UNIT), 0.2)
    with progress.bar("Workers", crowd.runs, "runs") as advance:
        return throughput.measured(_engine(), crowd, advance)


def _lag(quick: bool) -> Any:
    from benchmarks.measure import latency  # noqa: PLC0415  (as above)
    from ops.local import stack  # noqa: PLC0415

    rows, warm_up = scope.LAGGED, latency.Load(40, 3)
    if quick:
        rows, warm_up = ((5, 2, 1), (15, 2, 1)), latency.Load(10, 1)
    ports = int(os.environ["AWS_PORT"]), int(os.environ["PAGE_PORT"])
    place = stack.LocalSystem(Path(os.environ["LOCAL_FOLDER"]), *ports)
    with progress.bar("Lag", len(rows), "loads") as advance:
        return latency.measured(place, warm_up, [latency.Load(*row) for row in rows], advance)


def _windows(quick: bool) -> Any:
    from benchmarks import cost  # noqa: PLC0415
    from benchmarks.measure import batching_windows  # noqa: PLC0415  (as above)

    rates, seconds = ((1, 10), (0, 1, 10)) if quick else (scope.WINDOWED, scope.WINDOWS)
    rows: list[dict[str, Any]] = []
    with progress.bar("Windows", len(rates), "rates") as advance:
        for rate in rates:
            rows += batching_windows.all_traded(rate, seconds, cost.read(), cost.setup())
            advance(1)
    return rows


def _starting(quick: bool) -> Any:
    from benchmarks.measure import cold_start  # noqa: PLC0415  (as above)

    times = 3 if quick else 25
    with progress.bar("Starts", times, "rounds") as advance:
        return cold_start.measured(times, advance)


def _operating(_quick: bool) -> Any:
    from benchmarks.measure import ops_commands  # noqa: PLC0415  (as above)
    from tests.conftest import free_ports  # noqa: PLC0415

    given = tuple(int(size) for size in os.environ.get("SIZES", "").split())
    sizes = given or _SIZES
    rows: list[dict[str, Any]] = []
    with progress.bar("Operators' commands", len(sizes), "logs") as advance:
        for size in sizes:
            rows += ops_commands.measured(size, free_ports(1)[0])
            advance(1)
    return rows


SECTIONS: Final[dict[str, Callable[[bool], Any]]] = {
    "spending": _spending,
    "surviving": _surviving,
    "working": _working,
    "crowding": _crowding,
    "lag": _lag,
    "windows": _windows,
    "starting": _starting,
    "operating": _operating,
}


def _with_other_sizes(raw: list[dict[str, Any]], before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the earlier figures of logs of other sizes, which can take an hour to measure."""
    sizes = {row["events"] for row in raw}
    earlier = [{**row, "earlier": True} for row in before if row["events"] not in sizes]
    return sorted([*raw, *earlier], key=lambda row: row["events"])


#: Sections that take too long for a quick sample.
NOT_QUICK: Final = ("operating",)

#: How a section that is measured again keeps a part of its earlier figures.
_KEPT: Final[dict[str, Callable[[Any, Any], Any]]] = {"operating": _with_other_sizes}


def _engine() -> Any:
    from tests.resilience.engine import Engine  # noqa: PLC0415  (as above)

    return Engine()


@contextlib.contextmanager
def _an_aws() -> Iterator[None]:
    """Run an embedded AWS with the stage's tables and queues, on the ports of the environment."""
    from chalicelib import settings  # noqa: PLC0415  (as above)
    from ops.deployment import provision  # noqa: PLC0415
    from ops.local import stack  # noqa: PLC0415

    ports = int(os.environ["AWS_PORT"]), int(os.environ["PAGE_PORT"])
    with stack.run_aws(stack.LocalSystem(Path(os.environ["LOCAL_FOLDER"]), *ports)):
        provision.provision(settings.current())
        yield


def _machine() -> dict[str, Any]:
    import boto3  # noqa: PLC0415  (slow)

    return {
        "cpus": os.cpu_count(),
        "processor": _processor(),
        "load": round(os.getloadavg()[0], 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "boto3": boto3.__version__,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
