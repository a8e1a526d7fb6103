"""
Append those events of another log that the stage's log lacks.

The other log is a table that AWS restored, or the log of another stage. Both logs may remain in use.
"""

import hashlib
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from chalicelib import codec, log_reader
from chalicelib.aws import tables
from chalicelib.aws.tables import CatalogItem
from chalicelib.domain.events import Event, Purged, have_same_content
from chalicelib.errors import NotUnderstoodError
from chalicelib.extras.chunks import split_into_chunks
from chalicelib.extras.temporary_db import TemporaryDatabase
from chalicelib.log_reader import Unreadable
from chalicelib.settings import Settings
from ops.cli import progress
from ops.cli.errors import OperatorError
from ops.cli.result import Outcome
from ops.maintenance import counters, missing_events, throttling
from ops.maintenance.missing_events import Candidate, Problem

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_AT_ONCE = 1000

_SCHEMA = """
CREATE TABLE recorded (counter_id, event_id, digest, PRIMARY KEY (counter_id, event_id)) WITHOUT ROWID;
CREATE TABLE missing (recorded_at_ms, counter_id, event_id, line, problem);
"""

#: The pattern that closes all counters of the source before a move. The new stage must stay open.
_ALL = "*"


def restore(settings: Settings, table: str, rate: int, *, dry_run: bool) -> Outcome:
    """
    Append those events of the restored table that the stage's log lacks, at most `rate` events per second.

    An event that the log has is skipped, even if a client recorded it again later with the same idempotency key. An
    event that differs from the recorded event, or cannot be read, is a problem. Memory use does not grow with the logs.
    """
    client: Any = tables.client()
    check = partial(_check_source, settings.event_log_table)
    return _append_missing(settings, client, table, rate, is_same=_is_restored, check=check, dry_run=dry_run)


def copy(settings: Settings, source: Settings, client: "DynamoDBClient", rate: int, *, dry_run: bool) -> Outcome:
    """
    Append those events of the source's log that the stage's log lacks, at most `rate` events per second.

    As in `restore`, an event that the log has is skipped, even if a client recorded it in both stages with the same
    idempotency key. The outcome also lists the commands that add those entries of the source's catalog that the stage's
    catalog lacks. `client` is a DynamoDB client for the source's account and region.
    """
    outcome = _append_missing(
        settings, client, source.event_log_table, rate, is_same=have_same_content, dry_run=dry_run
    )
    advice = [*_compare_catalogs(settings, source, client)]
    facts = {**outcome.facts, "from": source.stage, "catalog": advice}
    lines = [*(outcome.lines or [])]
    if advice:
        lines += [
            f"The catalog of stage {source.stage} has entries that stage {settings.stage} lacks. To add them:",
            *advice,
        ]
    return replace(outcome, facts=facts, lines=lines)


def _append_missing(  # noqa: PLR0913  (decisions of the caller)
    settings: Settings,
    client: "DynamoDBClient",
    table: str,
    rate: int,
    *,
    is_same: Callable[[Event, Event], bool],
    check: Callable[[dict[str, Any]], None] = lambda _: None,
    dry_run: bool,
) -> Outcome:
    """
    Append those events in `table` that the stage's log lacks. `client` is a client for the table's account and region.

    `is_same` compares a recorded event with the event in the table. `check` may refuse the table because of its
    description.
    """
    own: Any = tables.client()
    own_description = own.describe_table(TableName=settings.event_log_table)["Table"]
    description = _describe(client, table, own_description)
    check(description)
    with _Difference() as difference:
        difference.add_own(own_description["ItemCount"])
        present, total = difference.find_missing(client, description)
        records, numbers = difference.records(table, is_same), {"present": present, "total": total}
        return missing_events.append_missing(settings, records, rate, **numbers, following="rebuild", dry_run=dry_run)


def _is_restored(recorded: Event, restored: Event) -> bool:
    """Check whether the recorded event is the restored event, or the same increment recorded again by a later retry."""
    return recorded == restored or (
        have_same_content(recorded, restored) and recorded.recorded_at_ms >= restored.recorded_at_ms
    )


def _check_source(own_table: str, restored: dict[str, Any]) -> None:
    """
    Check that AWS restored the table from the stage's log, or from a table whose name extends the log's name.

    If the table's description does not name the source, check the table's own name instead.
    """
    name = restored["TableName"]
    source = restored.get("RestoreSummary", {}).get("SourceTableArn", name).rpartition("/")[2]
    if source != own_table and not source.startswith(f"{own_table}-"):
        raise OperatorError(
            f"Table {name} must be restored from {own_table}, or from a table whose name starts with {own_table}-, got "
            f"{source}. To append the events of another stage, use `python -m ops copy`."
        )


def _compare_catalogs(settings: Settings, source: Settings, client: "DynamoDBClient") -> Iterator[str]:
    """
    Yield the commands that add the source's catalog entries missing from the stage's catalog.

    Skip the pattern that closes all counters: it closed the source, and the stage must stay open.
    """
    item: Any = client.get_item(
        TableName=source.catalog_table, Key={"name": {"S": CatalogItem.KEY}}, ConsistentRead=True
    ).get("Item", {})
    catalog = counters.read()
    for action, change in counters.CHANGES.items():
        name = change.set_name
        entries = {*item.get(name, {}).get("SS", [])} - getattr(catalog, name).entries
        if name == "closed":
            entries.discard(_ALL)
        if entries and change.adds:
            yield f"python -m ops counters {action} {shlex.join(sorted(entries))} --stage {settings.stage}"


def _describe(client: "DynamoDBClient", table: str, own: dict[str, Any]) -> dict[str, Any]:
    """Check that a table can be the other event log, and return its description. `own` describes the stage's log."""
    try:
        description: Any = client.describe_table(TableName=table)["Table"]
    except client.exceptions.ResourceNotFoundException as error:
        raise OperatorError(f"No such table: {table} in {client.meta.region_name}.") from error
    if description["TableStatus"] not in ("ACTIVE", "UPDATING"):
        raise OperatorError(
            f"Table {table} is not ready: it is {description['TableStatus']}. Wait with `aws dynamodb wait "
            f"table-exists --table-name {table}`."
        )
    if _read_key(description) != _read_key(own):
        raise OperatorError(f"Table {table} must have the key of an event log, got {_read_key(description)}.")
    if description["TableArn"] == own["TableArn"]:
        raise OperatorError(f"Table {table} must be another log, got this stage's own.")
    return dict(description)


def _scan(client: "DynamoDBClient", table: str) -> Iterator[Event | Unreadable]:
    """Yield all events that a log had at the start, for any number of parts. Reads are strongly consistent."""
    for page in client.get_paginator("scan").paginate(
        TableName=table, ConsistentRead=True, PaginationConfig={"PageSize": _AT_ONCE}
    ):
        yield from map(_decode, page["Items"])


class _Difference(TemporaryDatabase):
    """
    The events that another log has and this stage's log lacks, in a temporary file.

    The file needs about 100 bytes per event of this stage's log, and 300 per missing event. Reading both logs in full
    costs about a twentieth as much as looking up each event in this stage's log by its id.
    """

    def __init__(self) -> None:
        super().__init__(_SCHEMA)

    def add_own(self, size: int) -> None:
        """Read this stage's log, which has approximately `size` events."""
        with throttling.retry_throttled(tables.client()), progress.bar("Reading the log", size) as advance:
            for batch in split_into_chunks(log_reader.scan(), _AT_ONCE):
                rows = [
                    (event.counter_id, event.event_id, _digest(event)) for event in log_reader.skip_unreadable(batch)
                ]
                self.insert("recorded VALUES (?, ?, ?)", rows)
                advance(len(batch))

    def find_missing(self, client: "DynamoDBClient", description: dict[str, Any]) -> tuple[int, int]:
        """Read the other log. Return how many of its events this stage's log has, and how many it lacks."""
        table, label, size = description["TableName"], f"Reading {description['TableArn']}", description["ItemCount"]
        present = total = 0
        with throttling.retry_throttled(client), progress.bar(label, size) as advance:
            for batch in split_into_chunks(_scan(client, table), _AT_ONCE):
                missing = [*self._select(batch)]
                self.insert("missing VALUES (?, ?, ?, ?, ?)", missing)
                present, total = present + len(batch) - len(missing), total + len(missing)
                advance(len(batch))
        return present, total

    def records(self, table: str, is_same: Callable[[Event, Event], bool]) -> Iterator[Candidate | Problem]:
        """Yield the missing events and the problems, ordered by time, because late events cost more to count."""
        query = "SELECT line, problem FROM missing ORDER BY recorded_at_ms, counter_id, event_id"
        for line, problem in self.rows(query):
            yield Problem(table, 0, problem) if problem else Candidate(codec.decode_line(line), table, 0, is_same)

    def _select(self, batch: list[Event | Unreadable]) -> Iterator[tuple[object, ...]]:
        for event in batch:
            if isinstance(event, Unreadable):
                where = f"event {event.event_id} of partition {event.partition}"
                yield 0, "", event.event_id, None, f"{where} cannot be read by this version: {event.reason}"
                continue
            row = self.row(
                "SELECT digest FROM recorded WHERE counter_id = ? AND event_id = ?", (event.counter_id, event.event_id)
            )
            # The copies of a purge for the parts of this stage may be missing.
            if row != (_digest(event),) or isinstance(event, Purged):
                yield event.recorded_at_ms, event.counter_id, event.event_id, codec.encode_line(event).encode(), None


def _decode(item: dict[str, Any]) -> Event | Unreadable:
    try:
        return codec.decode_stream_record({"eventName": "INSERT", "dynamodb": {"NewImage": item}})
    except NotUnderstoodError as error:
        return Unreadable(item["partition"]["S"], item["event_id"]["S"], error.reason)


def _digest(event: Event) -> bytes:
    return hashlib.blake2b(codec.encode_line(event).encode(), digest_size=16).digest()


def _read_key(table: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the kind and the type of each attribute of the table's key."""
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    return {each["AttributeName"]: (each["KeyType"], types[each["AttributeName"]]) for each in table["KeySchema"]}
