"""
The work of the API's function behind each front: bytes, and CPU time as a multiple of that behind a REST API.

A cold start is one of `app.serve`, the handler of `http` and `url`, as a multiple of one of `app.app`.

Requests to AWS and their units are the same behind all fronts. The programs take turns, as in module `cpu_time`. The
function runs with the settings of a stage whose fronts are `http` and `url`, and with a secret of the owner's CDN.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import tempfile
import uuid
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measure import cold_start, environment
from ops import stages
from ops.deployment import package as packaging

if TYPE_CHECKING:
    from benchmarks.measure.workloads import Run

_HOSTS: Final = {"http": "abc.execute-api.us-east-1.amazonaws.com", "url": "abc.lambda-url.us-east-1.on.aws"}
_SECRET: Final = "0" * 64

_START: Final = """
import os, time
os.environ.update(_HANDLER="{handler}", FRONT="{front}")
before = time.process_time()
import app
print((time.process_time() - before) * 1000)
"""


def measure(*, quick: bool) -> dict[str, Any]:
    """Measure on a separate embedded AWS, in a process that has not imported the application."""
    starts = _measure_starts(3 if quick else 25)
    os.environ.update(FRONT=",".join(_HOSTS), FRONT_SECRETS=hashlib.sha256(_SECRET.encode()).hexdigest())
    with environment.embedded_aws():
        return {"starts": starts, **_measure_fronts(*((3, 5) if quick else (9, 40)))}


def _measure_starts(rounds: int) -> list[float]:
    """Return the ratio of each round. A round starts both handlers, each in a process of its own."""
    cold_start.compile_sdk()
    with tempfile.TemporaryDirectory(dir=os.environ["LOCAL_FOLDER"]) as name:
        folder = Path(name)
        local = replace(stages.read_settings(stages.LOCAL_STAGE), front=tuple(_HOSTS))
        with zipfile.ZipFile(packaging.package(local, folder / "work") / "deployment.zip") as archive:
            archive.extractall(folder / "task")
        ratios = []
        for _ in environment.show_progress(range(rounds), "Starts"):
            api, serve = (_start_ms(*start, folder / "task") for start in (("app.app", "rest"), ("app.serve", "url")))
            ratios.append(round(serve / api, 3))
        return ratios


def _start_ms(handler: str, front: str, package: Path) -> float:
    return float(cold_start.run_python(["-c", _START.format(handler=handler, front=front)], package))


def _measure_fronts(rounds: int, repeats: int) -> dict[str, Any]:
    from benchmarks.measure import cpu_time, function_steps, workloads  # noqa: PLC0415  (read the stage's settings)

    rest = {"increment": workloads.keyed_increment, "counter": workloads.query}
    others = {
        "increment": {front: functools.partial(_prepare_increment, host, _SECRET) for front, host in _HOSTS.items()},
        "counter": {front: functools.partial(_prepare_query, host) for front, host in _HOSTS.items()},
    }
    others["increment"]["refused"] = functools.partial(_prepare_increment, _HOSTS["url"], "guess")
    steps = {
        name: {front: function_steps.measure_run(prepare, 1) for front, prepare in prepared.items()}
        for name, prepared in others.items()
    }
    with contextlib.redirect_stdout(io.StringIO()):
        cpu = {
            name: cpu_time.compare(cpu_time.Comparison(rest[name], others[name], 1.0), rounds, repeats)
            for name in environment.show_progress([*rest], "Fronts")
        }
    return {
        "rounds": rounds,
        "repeats": repeats,
        "bytes": {
            name: {
                front: {"log_bytes": step.log_bytes, "answer_bytes": step.answer_bytes}
                for front, step in by_front.items()
            }
            for name, by_front in steps.items()
        },
        "cpu": {name: compared["ratios"] for name, compared in cpu.items()},
    }


def _prepare_increment(host: str, secret: str) -> Run:
    from benchmarks.measure import workloads  # noqa: PLC0415  (reads the stage's settings)

    path = f"/counters/{workloads.new_counter_id()}/increments"
    headers = {"idempotency-key": str(uuid.uuid4()), "x-origin-secret": secret}
    return workloads.serve("POST", path, host, headers)


def _prepare_query(host: str) -> Run:
    from benchmarks.measure import workloads  # noqa: PLC0415  (reads the stage's settings)

    return workloads.serve("GET", f"/counters/{workloads.counted_counter()}", host, {"x-origin-secret": _SECRET})
