"""
CPU time of the functions as multiples of bare boto3 calls that make the same writes, and where it is spent.

The functions run in this process and the embedded AWS in another, so the SDK and its connections are measured, and AWS
is not. The compared programs take turns within a round, so other load of the machine affects all of them alike. A ratio
is of one round. Milliseconds are this machine's.
"""

from __future__ import annotations

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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import boto3
from chalice.app import Chalice, Response

from benchmarks.measure import environment, scope, workloads
from chalicelib import codec, command_handlers, settings
from chalicelib.aws import sqs
from chalicelib.domain import archive
from chalicelib.domain.archive import RECENT_MAX, Addition
from chalicelib.domain.commands import Increment
from chalicelib.domain.counter import Part, PartKey
from chalicelib.domain.entries import encode_entry, encode_page, entry_of
from chalicelib.domain.events import Incremented

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.measure.workloads import Run

    Prepare = Callable[[], Run]

_FIRST_MS: Final = 1_700_000_000_000
_NOW_MS: Final = _FIRST_MS + 60_000
_FUNCTIONS_SHOWN: Final = 15
_PACKAGES: Final = ("botocore", "boto3", "pynamodb", "chalice", "chalicelib", "aws_lambda_powertools", "urllib3")


@dataclass(frozen=True, slots=True)
class Comparison:
    """The bare calls, the programs that are compared with them, and the share of the repetitions that is enough."""

    bare: Prepare
    others: Mapping[str, Prepare]
    share: float


def measure(*, quick: bool) -> dict[str, Any]:
    """Measure on an embedded AWS of its own."""
    with environment.embedded_aws():
        return measure_ratios(*((3, 5) if quick else (9, 40)))


def measure_ratios(rounds: int, repeats: int) -> dict[str, Any]:
    """Return ratios by comparison, and profiles, on the AWS that the environment names."""
    sqs.queue_url.cache_clear()
    comparisons = list_comparisons(boto3.client("dynamodb"), boto3.client("sqs"))
    with contextlib.redirect_stdout(io.StringIO()):
        compared = {
            name: _compare(comparisons[name], rounds, repeats)
            for name in environment.show_progress([*comparisons], "CPU time")
        }
        count = functools.partial(_project, scope.PROFILED)
        profiles = {
            "a command": _profile(workloads.increment, repeats * 4),
            f"counting {scope.PROFILED} events": _profile(count, repeats),
        }
    return {"rounds": rounds, "repeats": repeats, "compared": compared, "profiles": profiles}


def list_comparisons(database: Any, queue: Any) -> dict[str, Comparison]:
    """Return the comparisons by name. The bare calls are made by these clients, of DynamoDB and SQS."""
    minimal = _minimal_app(database)
    commands: dict[str, Prepare] = {
        scope.API_HANDLER: workloads.increment,
        "the command handler": _handle_command,
        scope.MINIMAL: lambda: workloads.increment(target=minimal),
    }
    comparisons = {"command": Comparison(functools.partial(_put, database), commands, 1.0)}
    for size in scope.CPU_BATCHES:
        share = 1 if size < 100 else 0.5 if size < 1000 else 0.1
        publish: dict[str, Prepare] = {scope.FUNCTION: functools.partial(_publish, size)}
        comparisons[f"publish {size}"] = Comparison(functools.partial(_send, queue, size), publish, share)
        count: dict[str, Prepare] = {scope.FUNCTION: functools.partial(_project, size)}
        if size > RECENT_MAX:
            count[scope.READ_TOO] = functools.partial(_count, database, size, read=True)
            count[scope.PARSE_TOO] = functools.partial(_count, database, size, read=True, parse=True)
        comparisons[f"count {size}"] = Comparison(functools.partial(_count, database, size), count, share)
    many: dict[str, Prepare] = {
        scope.FUNCTION: lambda: workloads.project(workloads.events_of_many_counters(scope.MANY_COUNTERS, _FIRST_MS))
    }
    comparisons[scope.COUNT_MANY] = Comparison(functools.partial(_count_many, database), many, 0.05)
    return comparisons


def _compare(comparison: Comparison, rounds: int, repeats: int) -> dict[str, Any]:
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


def _handle_command() -> Run:
    return functools.partial(command_handlers.increment, Increment(workloads.new_counter_id()))


def _minimal_app(database: Any) -> Chalice:
    minimal = Chalice(app_name="minimal", configure_logs=False)

    @minimal.route("/counters/{counter_id}/increments", methods=["POST"])
    def increment(counter_id: str) -> Response:
        _put_event(database, Incremented(counter_id, str(uuid.uuid4()), 1, time.time_ns() // 1_000_000))
        return Response({"counter_id": counter_id}, status_code=202)

    return minimal


def _publish(size: int) -> Run:
    return workloads.publish(workloads.events_of_one_counter(size, _FIRST_MS))


def _project(size: int) -> Run:
    return workloads.project(workloads.events_of_one_counter(size, _FIRST_MS))


def _put(database: Any) -> Run:
    return functools.partial(_put_event, database, workloads.new_event(workloads.new_counter_id(), _FIRST_MS))


def _put_event(database: Any, event: Incremented) -> None:
    database.put_item(
        TableName=settings.current().event_log_table,
        Item={
            "partition": {"S": event.counter_id},
            "event_id": {"S": event.event_id},
            "type": {"S": "Incremented"},
            "version": {"N": "1"},
            "by": {"N": str(event.by)},
            "recorded_at": {"N": str(event.recorded_at_ms)},
        },
        ConditionExpression="attribute_not_exists(event_id)",
    )


def _send(queue: Any, size: int) -> Run:
    bodies = [*codec.encode_bodies(workloads.events_of_one_counter(size, _FIRST_MS))]
    url = sqs.queue_url(settings.current().projection_queue)
    return lambda: [queue.send_message(QueueUrl=url, MessageBody=body) for body in bodies]


def _count(database: Any, size: int, *, read: bool = False, parse: bool = False) -> Run:
    """Prepare the write that counts events of one counter, with the read and the parsing that the function needs."""
    events = workloads.events_of_one_counter(size, _FIRST_MS)
    counter_id = events[0].counter_id
    plan = archive.plan(Part(PartKey(counter_id)), [], frozenset(map(entry_of, events)), _NOW_MS)
    assert plan is not None
    if isinstance(plan, Addition):
        return functools.partial(database.update_item, **_update(counter_id, plan))
    names, body = settings.current(), next(iter(codec.encode_bodies(events)))
    puts = [
        {
            "Put": {
                "TableName": names.archive_table,
                "Item": {
                    "partition": {"S": counter_id},
                    "end": {"N": str(page.end_ms)},
                    "start": {"N": str(page.start_ms)},
                    "entries": {"B": encode_page(page.entries)},
                    "revision": {"N": "1"},
                },
                "ConditionExpression": "attribute_not_exists(#end)",
                "ExpressionAttributeNames": {"#end": "end"},
            }
        }
        for page in plan.pages
    ]
    recent: dict[str, Any] = {":recent": {"BS": [*map(encode_entry, plan.recent)]}} if plan.recent else {}
    update = {
        "TableName": names.counters_table,
        "Key": _key(counter_id),
        "UpdateExpression": (
            "ADD #value :sum, version :n, revision :one SET updated_at = :now, archived_until = :until"
            + (", recent = :recent" if recent else " REMOVE recent")
        ),
        "ConditionExpression": "attribute_not_exists(revision)",
        "ExpressionAttributeNames": {"#value": "value"},
        "ExpressionAttributeValues": {
            **_sums(len(plan.entries)),
            ":until": {"N": str(plan.archived_until_ms)},
            **recent,
        },
    }

    def run() -> None:
        if parse:
            json.loads(body)
        if read:
            database.get_item(TableName=names.counters_table, Key=_key(counter_id), ConsistentRead=True)
        database.transact_write_items(TransactItems=[*puts, {"Update": update}])

    return run


def _count_many(database: Any) -> Run:
    """Prepare an update for each of many counters, of which eight run at a time."""
    events = workloads.events_of_many_counters(scope.MANY_COUNTERS, _FIRST_MS)
    updates = [_update(event.counter_id, Addition(frozenset([entry_of(event)]))) for event in events]

    def run() -> None:
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(database.update_item, **update) for update in updates]:
                done.result()

    return run


def _update(counter_id: str, plan: Addition) -> dict[str, Any]:
    stored = sorted(map(encode_entry, plan.entries))
    are_new = " AND ".join(f"NOT contains(recent, :{number})" for number in range(len(stored)))
    return {
        "TableName": settings.current().counters_table,
        "Key": _key(counter_id),
        "UpdateExpression": "ADD #value :sum, version :n, revision :one, recent :recent SET updated_at = :now",
        "ConditionExpression": (
            f"{are_new} AND (attribute_not_exists(recent) OR size(recent) <= :room) "
            "AND (attribute_not_exists(archived_until) OR archived_until < :earliest)"
        ),
        "ExpressionAttributeNames": {"#value": "value"},
        "ExpressionAttributeValues": {
            **_sums(len(stored)),
            ":recent": {"BS": stored},
            ":room": {"N": str(RECENT_MAX - len(stored))},
            ":earliest": {"N": str(_FIRST_MS)},
            **{f":{number}": {"B": entry} for number, entry in enumerate(stored)},
        },
        "ReturnValues": "ALL_NEW",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def _key(counter_id: str) -> dict[str, Any]:
    return {"counter_id": {"S": counter_id}, "part": {"N": "0"}}


def _sums(events: int) -> dict[str, Any]:
    return {":sum": {"N": str(events)}, ":n": {"N": str(events)}, ":one": {"N": "1"}, ":now": {"N": str(_NOW_MS)}}


def _profile(prepare: Prepare, repeats: int) -> dict[str, Any]:
    """Return the functions with the most time of their own, and the time of each package, as shares of all."""
    runs = [prepare() for _ in range(repeats)]
    profile = cProfile.Profile(time.process_time)
    for run in runs:
        profile.runcall(run)
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())
    packages: defaultdict[str, float] = defaultdict(float)
    for (file, _, _), (_, _, own, _, _) in stats.items():
        packages[_package_of(file)] += own / total
    top = sorted(stats.items(), key=lambda item: -float(item[1][2]))[:_FUNCTIONS_SHOWN]
    return {
        "packages": {name: round(share, 3) for name, share in sorted(packages.items(), key=lambda item: -item[1])},
        "functions": [
            {
                "function": function.strip("<>"),
                "package": _package_of(file),
                "share": round(own / total, 3),
                "calls": round(calls / repeats, 1),
            }
            for (file, _, function), (_, calls, own, _, _) in top
        ],
    }


def _package_of(file: str) -> str:
    """Return a package that we use, `Python`, `built in` or `other`."""
    parts = Path(file).parts
    if package := next((part for part in reversed(parts) if part in _PACKAGES), None):
        return package
    if file.startswith(("~", "<")):
        return "built in"
    return "Python" if file.startswith(sysconfig.get_path("stdlib")) and "site-packages" not in parts else "other"
