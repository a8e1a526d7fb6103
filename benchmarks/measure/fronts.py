"""
Measure the work of the API's function behind each front: bytes, and CPU time relative to a REST API.

The cold start of `app.serve`, the handler of `http` and `url`, is measured relative to the cold start of `app.app`.

The function runs with the settings of a stage whose fronts are `http` and `url`, and with a secret of the owner's CDN.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measure import cold_start, environment
from ops import stages

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
    """
    Measure start times, and on a separate embedded AWS, bytes and CPU times.

    The process must not have imported the application, because the application reads the fronts when it is imported.
    """
    starts = _measure_starts(3 if quick else 25)
    os.environ.update(FRONT=",".join(_HOSTS), FRONT_SECRETS=hashlib.sha256(_SECRET.encode()).hexdigest())
    with environment.embedded_aws():
        return {"starts": starts, **_measure_fronts(*((3, 5) if quick else (9, 40)))}


def _measure_starts(rounds: int) -> list[float]:
    """Return the start time of `app.serve` in each round, relative to `app.app`. Each start has a separate process."""
    cold_start.compile_sdk()
    with tempfile.TemporaryDirectory(dir=os.environ["LOCAL_FOLDER"]) as name:
        package = cold_start.make_package(stages.LOCAL_STAGE, Path(name) / "work", front=tuple(_HOSTS))
        shutil.unpack_archive(package, Path(name) / "task")

        def start(handler: str, front: str) -> float:
            program = _START.format(handler=handler, front=front)
            return float(cold_start.run_python(["-c", program], Path(name) / "task"))

        return [
            round(start("app.serve", "url") / start("app.app", "rest"), 3)
            for _ in environment.show_progress(range(rounds), "Starts")
        ]


def _measure_fronts(rounds: int, repeats: int) -> dict[str, Any]:
    from benchmarks.measure import cpu_time, function_steps, workloads  # noqa: PLC0415  (read the stage's settings)

    def increment(host: str, secret: str = _SECRET) -> Run:
        headers = {"idempotency-key": str(uuid.uuid4()), "x-origin-secret": secret}
        return workloads.serve("POST", f"/counters/{workloads.new_counter_id()}/increments", host, headers)

    def query(host: str) -> Run:
        return workloads.serve("GET", f"/counters/{workloads.counted_counter()}", host, {"x-origin-secret": _SECRET})

    rest = {"increment": workloads.keyed_increment, "counter": workloads.query}
    others = {
        "increment": {front: functools.partial(increment, host) for front, host in _HOSTS.items()},
        "counter": {front: functools.partial(query, host) for front, host in _HOSTS.items()},
    }
    others["increment"]["refused"] = functools.partial(increment, _HOSTS["url"], "guess")
    bytes_by_name: dict[str, Any] = {name: {} for name in others}
    for name, prepared in others.items():
        for front, prepare in prepared.items():
            step = function_steps.measure_run(prepare, 1)
            bytes_by_name[name][front] = {"log_bytes": step.log_bytes, "answer_bytes": step.answer_bytes}
    with contextlib.redirect_stdout(io.StringIO()):
        cpu = {
            name: cpu_time.compare(cpu_time.Comparison(rest[name], others[name]), rounds, repeats)["ratios"]
            for name in environment.show_progress([*rest], "Fronts")
        }
    return {"rounds": rounds, "repeats": repeats, "bytes": bytes_by_name, "cpu": cpu}
