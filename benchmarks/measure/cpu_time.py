"""
CPU time of our own code, as a ratio to bare boto3 calls that do the same, and where it goes.

The functions run in this process, on an embedded AWS in another, so that the SDK and its connections are in what is
measured, and AWS is not. What is compared takes turns within a round, so that whatever else this machine does meets all
of it alike. A ratio is of one round; shown are the median of the rounds, the least and the most. Milliseconds are this
machine's.
"""

from __future__ import annotations

import contextlib
import cProfile
import io
import json
import pstats
import sysconfig
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import boto3
from chalice.app import Chalice, Response

import app
from benchmarks import designs
from benchmarks.measure import scope
from chalicelib import codec, command_handlers, settings
from chalicelib.aws import sqs
from chalicelib.domain import archive
from chalicelib.domain.archive import RECENT_MAX, Addition
from chalicelib.domain.commands import Increment
from chalicelib.domain.counter import Part, PartKey
from chalicelib.domain.entries import encode_entry, encode_page, entry_of
from chalicelib.domain.events import Incremented
from tests.builders import api_event, queue_batch, stream_batch, stream_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.domain.archive import Archiving

    #: Makes ready, and returns what is measured.
    Prepare = Callable[[], Callable[[], object]]

_A_SECOND_MS: Final = 1_700_000_000_000
_NOW_MS: Final = _A_SECOND_MS + 60_000
_SHOWN: Final = 15
_PLACES: Final = ("botocore", "boto3", "pynamodb", "chalice", "chalicelib", "aws_lambda_powertools", "urllib3")


def measured(rounds: int, repeats: int, advance: Callable[[int], None]) -> dict[str, Any]:
    """
    Ratios by subject, and profiles of a command and of counting. The environment's AWS has this stage's tables.

    `advance` is told of each round that is done.
    """
    sqs.queue_url.cache_clear()
    with contextlib.redirect_stdout(io.StringIO()):
        found = {}
        for name, (unit, others, share) in subjects(boto3.client("dynamodb"), boto3.client("sqs")).items():
            found[name] = _compared(unit, others, rounds, max(2, int(repeats * share)), advance)
        profiles = {
            "a command": _profile(_command_by_gateway, repeats * 4),
            f"counting {scope.PROFILED} events": _profile(lambda: _count_messages(_events(scope.PROFILED)), repeats),
        }
    return {"rounds": rounds, "repeats": repeats, "compared": found, "profiles": profiles}


def total_rounds(rounds: int) -> int:
    """How many rounds `measured` tells of."""
    return rounds * (2 + 2 * len(scope.WORKED))


def subjects(client: Any, queue: Any) -> dict[str, tuple[Prepare, dict[str, Prepare], float]]:
    """
    By name: what is 1, what is compared with it, and how large a share of the repetitions is enough.

    The bare calls are made by these clients, of DynamoDB and SQS.
    """
    minimal = _minimal_app(client)
    found: dict[str, tuple[Prepare, dict[str, Prepare], float]] = {
        "command": (
            lambda: _put(client),
            {
                scope.BY_GATEWAY: _command_by_gateway,
                "the command alone": _command_alone,
                "a minimal Chalice app around the bare put": lambda: _request_to(minimal),
            },
            1.0,
        )
    }
    for size in scope.WORKED:
        share = 1 if size < 100 else 0.5 if size < 1000 else 0.1
        found[f"publish {size}"] = (
            lambda size=size: _send(queue, size),  # type: ignore[misc]
            {scope.FUNCTION: lambda size=size: _publish_records(size)},  # type: ignore[misc]
            share,
        )
        others: dict[str, Prepare] = {scope.FUNCTION: lambda size=size: _count_messages(_events(size))}  # type: ignore[misc]
        if size > RECENT_MAX:
            others |= {
                scope.READ_TOO: lambda size=size: _count_bare(client, size, read=True),  # type: ignore[misc]
                scope.PARSE_TOO: lambda size=size: _parse_and_count_bare(client, size),  # type: ignore[misc]
            }
        found[f"count {size}"] = (lambda size=size: _count_bare(client, size, read=False), others, share)  # type: ignore[misc]
    found[scope.APART] = (
        lambda: _count_apart_bare(client, scope.WORKED_APART),
        {scope.FUNCTION: lambda: _count_messages(_events_apart(scope.WORKED_APART))},
        0.05,
    )
    return found


def _compared(
    unit: Prepare, others: dict[str, Prepare], rounds: int, repeats: int, advance: Callable[[int], None]
) -> dict[str, Any]:
    everything = {"bare": unit, **others}
    spent: dict[str, list[float]] = {name: [] for name in everything}
    for prepare in everything.values():  # connections, caches
        prepare()()
    for _ in range(rounds):
        of_round = dict.fromkeys(everything, 0.0)
        for _ in range(repeats):
            for name, prepare in everything.items():
                run = prepare()
                began = time.process_time_ns()
                run()
                of_round[name] += (time.process_time_ns() - began) / 1e6
        for name, total_ms in of_round.items():
            spent[name].append(total_ms / repeats)
        advance(1)
    ratios = {
        name: [round(one / bare, 3) for one, bare in zip(spent[name], spent["bare"], strict=True)] for name in others
    }
    return {"bare_ms": round(median(spent["bare"]), 3), "ratios": ratios}


def _command_by_gateway() -> Callable[[], object]:
    return _request_to(app.app)


def _request_to(target: Any) -> Callable[[], object]:
    event = api_event("POST", "/counters/{counter_id}/increments", path={"counter_id": _a_counter_id()})
    return lambda: target(event, designs.context())


def _command_alone() -> Callable[[], object]:
    command = Increment(_a_counter_id())
    return lambda: command_handlers.increment(command)


def _put(client: Any) -> Callable[[], object]:
    event = _events(1)[0]
    return lambda: _put_event(client, event)


def _put_event(client: Any, event: Incremented) -> None:
    client.put_item(
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


def _minimal_app(client: Any) -> Chalice:
    minimal = Chalice(app_name="minimal", configure_logs=False)

    @minimal.route("/counters/{counter_id}/increments", methods=["POST"])
    def increment(counter_id: str) -> Response:
        now_ms = time.time_ns() // 1_000_000
        _put_event(client, Incremented(counter_id, str(uuid.uuid4()), 1, now_ms))
        return Response({"counter_id": counter_id}, status_code=202)

    return minimal


def _publish_records(size: int) -> Callable[[], object]:
    batch = stream_batch([stream_record(event) for event in _events(size)])
    return lambda: app.publish(batch, designs.context())


def _send(client: Any, size: int) -> Callable[[], object]:
    bodies, url = [*codec.encode_bodies(_events(size))], sqs.queue_url(settings.current().projection_queue)
    return lambda: [client.send_message(QueueUrl=url, MessageBody=body) for body in bodies]


def _count_messages(events: list[Incremented]) -> Callable[[], object]:
    batch = queue_batch(list(codec.encode_bodies(events)))
    return lambda: app.project(batch, designs.context())


def _count_bare(client: Any, size: int, *, read: bool) -> Callable[[], object]:
    """Write what counts so many events of one counter, in the one request that would be written by hand."""
    events, names = _events(size), settings.current()
    counter_id = events[0].counter_id
    key = {"counter_id": {"S": counter_id}, "part": {"N": "0"}}
    plan = archive.plan(Part(PartKey(counter_id)), [], frozenset(map(entry_of, events)), _NOW_MS)
    assert plan is not None
    if isinstance(plan, Addition):
        update = _update_bare(key, plan)
        return lambda: client.update_item(**update)
    transaction = [
        *(
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
        ),
        {"Update": _replace_bare(key, plan)},
    ]

    def run() -> None:
        if read:
            client.get_item(TableName=names.counters_table, Key=key, ConsistentRead=True)
        client.transact_write_items(TransactItems=transaction)

    return run


def _parse_and_count_bare(client: Any, size: int) -> Callable[[], object]:
    (body,) = codec.encode_bodies(_events(size))
    count = _count_bare(client, size, read=True)

    def run() -> None:
        json.loads(body)
        count()

    return run


def _count_apart_bare(client: Any, size: int) -> Callable[[], object]:
    """Write what counts so many events of as many counters: an update each, of which eight are under way at once."""
    updates = []
    for event in _events_apart(size):
        plan = Addition(frozenset([entry_of(event)]))
        updates.append(_update_bare({"counter_id": {"S": event.counter_id}, "part": {"N": "0"}}, plan))

    def run() -> None:
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(client.update_item, **update) for update in updates]:
                done.result()

    return run


def _update_bare(key: dict[str, Any], plan: Addition) -> dict[str, Any]:
    stored = sorted(map(encode_entry, plan.entries))
    counted = " AND ".join(f"NOT contains(recent, :{number})" for number in range(len(stored)))
    return {
        "TableName": settings.current().counters_table,
        "Key": key,
        "UpdateExpression": "ADD #value :sum, version :n, revision :one, recent :recent SET updated_at = :now",
        "ConditionExpression": (
            f"{counted} AND (attribute_not_exists(recent) OR size(recent) <= :room) "
            "AND (attribute_not_exists(archived_until) OR archived_until < :earliest)"
        ),
        "ExpressionAttributeNames": {"#value": "value"},
        "ExpressionAttributeValues": {
            ":sum": {"N": str(len(stored))},
            ":n": {"N": str(len(stored))},
            ":one": {"N": "1"},
            ":recent": {"BS": stored},
            ":now": {"N": str(_NOW_MS)},
            ":room": {"N": str(RECENT_MAX - len(stored))},
            ":earliest": {"N": str(_A_SECOND_MS)},
            **{f":{number}": {"B": each} for number, each in enumerate(stored)},
        },
        "ReturnValues": "ALL_NEW",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def _replace_bare(key: dict[str, Any], plan: Archiving) -> dict[str, Any]:
    recent: dict[str, Any] = {":recent": {"BS": [*map(encode_entry, plan.recent)]}} if plan.recent else {}
    return {
        "TableName": settings.current().counters_table,
        "Key": key,
        "UpdateExpression": (
            "ADD #value :sum, version :n, revision :one SET updated_at = :now, archived_until = :until"
            + (", recent = :recent" if recent else " REMOVE recent")
        ),
        "ConditionExpression": "attribute_not_exists(revision)",
        "ExpressionAttributeNames": {"#value": "value"},
        "ExpressionAttributeValues": {
            ":sum": {"N": str(len(plan.entries))},
            ":n": {"N": str(len(plan.entries))},
            ":one": {"N": "1"},
            ":now": {"N": str(_NOW_MS)},
            ":until": {"N": str(plan.archived_until_ms)},
            **recent,
        },
    }


def _events(size: int) -> list[Incremented]:
    """Return so many events of a new counter, a millisecond apart."""
    counter_id = _a_counter_id()
    return [_event(counter_id, _A_SECOND_MS + number) for number in range(size)]


def _events_apart(size: int) -> list[Incremented]:
    """Return so many events, each of a new counter."""
    return [_event(_a_counter_id(), _A_SECOND_MS) for _ in range(size)]


def _event(counter_id: str, recorded_at_ms: int) -> Incremented:
    return Incremented(counter_id, command_handlers.generate_event_id(recorded_at_ms), 1, recorded_at_ms)


def _a_counter_id() -> str:
    return f"counter-{uuid.uuid4().hex[:12]}"


def _profile(prepare: Prepare, repeats: int) -> dict[str, Any]:
    """The functions that take most by themselves, and what each package takes, as shares of all."""
    runs = [prepare() for _ in range(repeats)]
    profile = cProfile.Profile(time.process_time)
    for run in runs:
        profile.runcall(run)
    own = {place: entry[2] for place, entry in pstats.Stats(profile).stats.items()}  # type: ignore[attr-defined]
    calls = {place: entry[1] for place, entry in pstats.Stats(profile).stats.items()}  # type: ignore[attr-defined]
    total = sum(own.values())
    packages: dict[str, float] = {}
    for place, seconds in own.items():
        packages[_package(place[0])] = packages.get(_package(place[0]), 0) + seconds / total
    top = sorted(own, key=lambda place: own[place], reverse=True)[:_SHOWN]
    return {
        "packages": {name: round(share, 3) for name, share in sorted(packages.items(), key=lambda one: -one[1])},
        "functions": [
            {
                "function": place[2].strip("<>"),
                "package": _package(place[0]),
                "share": round(own[place] / total, 3),
                "calls": round(calls[place] / repeats, 1),
            }
            for place in top
        ],
    }


def _package(file: str) -> str:
    """Which package a file is of; Python's own, or what is built in, where it is none of those that we use."""
    parts = Path(file).parts
    if found := next((part for part in reversed(parts) if part in _PLACES), None):
        return found
    if file.startswith(("~", "<")):
        return "built in"
    return "Python" if file.startswith(sysconfig.get_path("stdlib")) and "site-packages" not in parts else "other"
