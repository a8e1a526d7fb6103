"""
Measure the CPU time of the functions, and compare it with bare boto3 calls for the same writes.

The bare calls are recorded from the functions, so they have the same parameters, already prepared. The functions run in
this process and the embedded AWS in another. The compared programs take turns within a round, so other load on the
machine affects all of them equally. A command and the counting of a batch are also profiled.
"""

import contextlib
import cProfile
import functools
import io
import json
import pstats
import sysconfig
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import boto3
from botocore import xform_name
from chalice.app import Chalice, Response

from benchmarks.measure import environment, scope, workloads
from benchmarks.measure.workloads import Run
from chalicelib import command_handlers, settings
from chalicelib.aws import sqs
from chalicelib.domain.archive import RECENT_MAX
from chalicelib.domain.commands import Increment
from testkit import aws_requests

Prepare = Callable[[], Run]

_FIRST_MS: Final = 1_700_000_000_000
_READS: Final = ("GetItem", "Query")
_FUNCTIONS_SHOWN: Final = 15
_PACKAGES: Final = ("botocore", "boto3", "pynamodb", "chalice", "chalicelib", "aws_lambda_powertools", "urllib3")


@dataclass(frozen=True, slots=True)
class Comparison:
    """The bare calls, the programs to compare with them, and the share of the usual repetitions to make."""

    bare: Prepare
    others: Mapping[str, Prepare]
    share: float = 1.0


def measure(*, quick: bool) -> dict[str, Any]:
    """Measure CPU times and profiles on a separate embedded AWS."""
    with environment.embedded_aws():
        return measure_ratios(*((3, 5) if quick else (9, 40)))


def measure_ratios(rounds: int, repeats: int) -> dict[str, Any]:
    """Measure the CPU-time ratios of each comparison, and the profiles, on the AWS endpoint in the environment."""
    sqs.queue_url.cache_clear()
    comparisons = list_comparisons(boto3.client("dynamodb"), boto3.client("sqs"))
    with contextlib.redirect_stdout(io.StringIO()):
        compared = {
            name: compare(comparisons[name], rounds, repeats)
            for name in environment.show_progress([*comparisons], "CPU time")
        }
        count = functools.partial(_project, scope.PROFILED)
        profiles = {
            "a command": _profile(workloads.increment, repeats * 4),
            f"counting {scope.PROFILED} events": _profile(count, repeats),
        }
    return {"rounds": rounds, "repeats": repeats, "compared": compared, "profiles": profiles}


def list_comparisons(database: Any, queue: Any) -> dict[str, Comparison]:
    """Return the comparisons by name. The clients `database` (DynamoDB) and `queue` (SQS) make the bare calls."""
    clients = _Clients(database, queue)
    minimal = _minimal_app(database)
    commands: dict[str, Prepare] = {
        scope.API_HANDLER: workloads.increment,
        "the command handler": lambda: functools.partial(
            command_handlers.record, Increment(workloads.new_counter_id())
        ),
        scope.MINIMAL: lambda: workloads.increment(target=minimal),
    }
    comparisons = {"command": Comparison(clients.bare(workloads.increment), commands)}
    for size in scope.CPU_BATCHES:
        share = 1 if size < 100 else 0.5 if size < 1000 else 0.1
        publish, project = functools.partial(_publish, size), functools.partial(_project, size)
        comparisons[f"publish {size}"] = Comparison(clients.bare(publish), {scope.FUNCTION: publish}, share)
        count: dict[str, Prepare] = {scope.FUNCTION: project}
        if size > RECENT_MAX:
            count[scope.READ_TOO] = clients.bare(project, read=True)
            count[scope.PARSE_TOO] = clients.bare(project, read=True, parse=True)
        comparisons[f"count {size}"] = Comparison(clients.bare(project), count, share)

    def many() -> Run:
        return workloads.project(workloads.events_of_many_counters(scope.MANY_COUNTERS, _FIRST_MS))

    comparisons[scope.COUNT_MANY] = Comparison(clients.bare(many), {scope.FUNCTION: many}, 0.05)
    return comparisons


def compare(comparison: Comparison, rounds: int, repeats: int) -> dict[str, Any]:
    """Return the median CPU time of the bare calls in ms, and each program's ratio to the bare calls in each round."""
    programs = {"bare": comparison.bare, **comparison.others}
    repeats = max(2, int(repeats * comparison.share))
    for prepare in programs.values():  # fills connections and caches
        prepare()()
    spent: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        total_ms = dict.fromkeys(programs, 0.0)
        for _ in range(repeats):
            for name, prepare in programs.items():
                run = prepare()
                began = time.process_time_ns()
                run()
                total_ms[name] += (time.process_time_ns() - began) / 1e6
        for name, ms in total_ms.items():
            spent[name].append(ms / repeats)
    ratios = {
        name: [round(ms / bare_ms, 3) for ms, bare_ms in zip(spent[name], spent["bare"], strict=True)]
        for name in comparison.others
    }
    return {"bare_ms": round(median(spent["bare"]), 3), "ratios": ratios}


def _minimal_app(database: Any) -> Chalice:
    minimal = Chalice(app_name="minimal", configure_logs=False)

    @minimal.route("/counters/{counter_id}/increments", methods=["POST"])
    def increment(counter_id: str) -> Response:
        database.put_item(
            TableName=settings.current().event_log_table,
            Item={
                "partition": {"S": counter_id},
                "event_id": {"S": str(uuid.uuid4())},
                "type": {"S": "Incremented"},
                "version": {"N": "1"},
                "by": {"N": "1"},
                "recorded_at": {"N": str(time.time_ns() // 1_000_000)},
            },
            ConditionExpression="attribute_not_exists(event_id)",
        )
        return Response({"counter_id": counter_id}, status_code=202)

    return minimal


def _publish(size: int) -> Run:
    return workloads.publish(workloads.events_of_one_counter(size, _FIRST_MS))


def _project(size: int) -> Run:
    return workloads.project(workloads.events_of_one_counter(size, _FIRST_MS))


class _NotSentError(BaseException):
    """A write was recorded instead of sent, which ends the function."""


@dataclass(frozen=True, slots=True)
class _Clients:
    """Clients that repeat a function's requests without the function."""

    database: Any
    queue: Any

    def bare(self, prepare: Prepare, *, read: bool = False, parse: bool = False) -> Prepare:
        """Return a callable that prepares a function's writes, optionally with its reads and message parsing."""

        def prepare_bare() -> Run:
            function = prepare()
            body = function.args[0]["Records"][0]["body"] if parse else "null"  # type: ignore[attr-defined]
            calls = [
                functools.partial(getattr(self._find(name), xform_name(name)), **sent)
                for name, sent in _record_requests(function)
                if read or name not in _READS
            ]

            def run() -> None:
                json.loads(body)
                if len(calls) > 2:  # of many counters, which the function counts in eight threads
                    with ThreadPoolExecutor(8) as pool:
                        [*pool.map(lambda call: call(), calls)]
                else:
                    for call in calls:
                        call()

            return run

        return prepare_bare

    def _find(self, operation: str) -> Any:
        return self.queue if operation == "SendMessage" else self.database


def _record_requests(run: Run) -> list[tuple[str, dict[str, Any]]]:
    """Run a function up to its first write in each thread, and return its requests' operations and parameters."""
    requests: list[tuple[str, dict[str, Any]]] = []

    def record(params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name != "GetQueueUrl":  # once per process
            requests.append((model.name, params))
            if model.name not in _READS:
                raise _NotSentError

    for client in aws_requests.clients():
        client.meta.events.register("before-parameter-build.*.*", record)
    try:
        with contextlib.suppress(_NotSentError):
            run()
    finally:
        for client in aws_requests.clients():
            client.meta.events.unregister("before-parameter-build.*.*", record)
    return requests


def _profile(prepare: Prepare, repeats: int) -> dict[str, Any]:
    """Return each package's share of the CPU time, and the functions with the largest shares without their callees."""
    runs = [prepare() for _ in range(repeats)]
    profile = cProfile.Profile(time.process_time)
    for run in runs:
        profile.runcall(run)
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())
    packages: defaultdict[str, float] = defaultdict(float)
    for (file, _, _), (_, _, own, _, _) in stats.items():
        packages[_find_package(file)] += own / total
    top = sorted(stats.items(), key=lambda item: -float(item[1][2]))[:_FUNCTIONS_SHOWN]
    return {
        "packages": {name: round(share, 3) for name, share in sorted(packages.items(), key=lambda item: -item[1])},
        "functions": [
            {
                "function": function.strip("<>"),
                "package": _find_package(file),
                "share": round(own / total, 3),
                "calls": round(calls / repeats, 1),
            }
            for (file, _, function), (_, calls, own, _, _) in top
        ],
    }


def _find_package(file: str) -> str:
    """Return the file's package if it is in `_PACKAGES`, else `Python`, `built in` or `other`."""
    parts = Path(file).parts
    if package := next((part for part in reversed(parts) if part in _PACKAGES), None):
        return package
    if file.startswith(("~", "<")):
        return "built in"
    return "Python" if file.startswith(sysconfig.get_path("stdlib")) and "site-packages" not in parts else "other"
