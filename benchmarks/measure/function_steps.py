"""
Measure the work of one run of each function on the embedded AWS: requests, units, bytes and CPU time.

Requests, units and bytes are the same on any machine; CPU time is not. Each batch has events of new counters.
benchmarks/models/steady_state.py computes the units of the steady state.
"""

import contextlib
import functools
import io
import itertools
import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Final

import boto3
from botocore.client import BaseClient

from benchmarks import alternatives
from benchmarks.measure import environment, workloads
from benchmarks.measure.workloads import Run
from benchmarks.models import deployed
from benchmarks.models.costing import RATES
from benchmarks.models.deployed import GATHERED, MANY, ONE
from benchmarks.models.steps import Step
from testkit import aws_requests
from testkit.builders import queue_batch

#: The number of counters of a batch that `project` counts concurrently.
_AT_ONCE: Final = 8


def measure(*, quick: bool) -> dict[str, Any]:
    """Measure the steps of the functions and of the alternatives' workers, on a separate embedded AWS."""
    with environment.embedded_aws():
        return measure_steps(repeats=3 if quick else 15)


def measure_steps(repeats: int) -> dict[str, Any]:
    """Measure all steps, on the tables and queues that the environment names."""
    setup = deployed.read_setup()
    prepared: dict[str, Callable[[], Run]] = {"increment": workloads.keyed_increment, "counter": workloads.query}
    at_once: dict[str, int] = {}
    for load, rate in itertools.product((ONE, MANY, GATHERED), RATES):
        size = load.batch(rate, setup.stream_batch)
        many, one = workloads.events_of_many_counters, workloads.events_of_one_counter
        prepared[f"publish {size}"] = functools.partial(_prepare, workloads.publish, many, size)
        prepared[load.project_step(size)] = functools.partial(
            _prepare, workloads.project, one if load.one_counter else many, size
        )
        at_once[load.project_step(size)] = 1 if load.one_counter else min(_AT_ONCE, size)
    steps = {name: replace(measure_run(run, repeats), at_once=at_once.get(name, 1)) for name, run in prepared.items()}
    database = boto3.client("dynamodb")
    alternatives.provision(database)
    sizes = {setup.alternative_batch(rate, ONE.window_s) for rate in RATES}
    for alternative, size in itertools.product(alternatives.PRICED, sorted(sizes)):
        run = functools.partial(_prepare_worker, alternative, database, size)
        steps[f"{alternative.name}: {size}"] = measure_run(run, repeats, database)
    message = alternatives.message(workloads.new_counter_id(), str(uuid.uuid4()))
    return {
        "event_bytes": _event_bytes(),
        "alternative_message_bytes": len(message),
        "steps": {name: asdict(step) for name, step in steps.items()},
    }


def measure_run(prepare: Callable[[], Run], repeats: int, *clients: BaseClient) -> Step:
    """
    Measure one run, with the requests of these clients (default: the application's).

    CPU time is the median of repeated runs.
    """
    run, printed = prepare(), io.StringIO()
    with aws_requests.record(*clients, reader=aws_requests.reader()) as requests, contextlib.redirect_stdout(printed):
        answer = run()
    cpu_ms = []
    for _ in range(repeats):
        run = prepare()
        with contextlib.redirect_stdout(io.StringIO()):
            began = time.process_time()
            run()
            cpu_ms.append((time.process_time() - began) * 1000)
    return Step(
        requests=len(requests.made),
        write_units=requests.write_units(),
        read_units=requests.read_units(),
        message_bytes=tuple(len(sent["MessageBody"].encode()) for name, sent in requests.made if name == "SendMessage"),
        log_bytes=len(printed.getvalue().encode()),
        answer_bytes=_answer_bytes(answer),
        cpu_ms=round(statistics.median(cpu_ms), 1),
    )


def _prepare(function: Callable[[Any], Run], events: Callable[[int], Any], size: int) -> Run:
    return function(events(size))


def _prepare_worker(alternative: alternatives.Alternative, database: Any, size: int) -> Run:
    counter_id = workloads.new_counter_id()
    batch = queue_batch([alternatives.message(counter_id, str(uuid.uuid4())) for _ in range(size)])
    return functools.partial(alternative.worker(database), batch, workloads.lambda_context())


def _event_bytes() -> int:
    """Return the size of an event in the log, in bytes."""
    run = workloads.keyed_increment()
    with aws_requests.record() as requests, contextlib.redirect_stdout(io.StringIO()):
        run()
    ((_, put),) = requests.made
    return aws_requests.size(put["Item"])


def _answer_bytes(answer: dict[str, Any] | None) -> int:
    """Return the size of a response to a client, in bytes, or 0 for functions that respond only to the platform."""
    if answer is None or "headers" not in answer:
        return 0
    headers = "".join(f"{name}: {value}\r\n" for name, value in answer["headers"].items())
    return len((headers + answer["body"]).encode())
