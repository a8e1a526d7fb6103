"""Find the events of another log, such as a restored table or another stage's log, that this stage's log lacks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib import codec, event_log
from chalicelib.aws import tables
from chalicelib.domain.events import Purged
from chalicelib.errors import NotUnderstoodError
from chalicelib.event_log import Unreadable
from chalicelib.extras.chunks import split_into_chunks
from chalicelib.extras.temporary_db import TemporaryDatabase
from ops.cli import progress
from ops.cli.errors import OperatorError
from ops.maintenance import throttling
from ops.maintenance.event_file import Problem
from ops.maintenance.missing_events import Candidate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_dynamodb import DynamoDBClient

    from chalicelib.domain.events import Event
    from ops.maintenance.missing_events import Result

_AT_ONCE = 1000

_SCHEMA = """
CREATE TABLE recorded (counter_id, event_id, digest, PRIMARY KEY (counter_id, event_id)) WITHOUT ROWID;
CREATE TABLE missing (recorded_at_ms, counter_id, event_id, line);
"""


@dataclass(frozen=True, slots=True)
class OtherLog:
    """Another log: its table, and a client for the table's account and region."""

    client: DynamoDBClient
    table: str
    description: dict[str, Any]

    @property
    def approximate_size(self) -> int:
        """The number of events, which DynamoDB updates every six hours."""
        return int(self.description.get("ItemCount", 0))


def open_log(client: DynamoDBClient, table: str, own: dict[str, Any]) -> OtherLog:
    """
    Return the log in this table. `own` is the description of the table of this stage's log.

    Raises:
        OperatorError: there is no such table, it is not ready, it has other keys, or it is the stage's own log.
    """
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
    return OtherLog(client, table, description)


def scan(log: OtherLog) -> Iterator[Event | Unreadable]:
    """
    Yield the events of the log, whatever its number of parts.

    Reads are strongly consistent: each event that the log had at the start is included.

    Raises:
        botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError: DynamoDB throttles, refuses or does not
            answer.
    """
    for page in log.client.get_paginator("scan").paginate(
        TableName=log.table, ConsistentRead=True, PaginationConfig={"PageSize": _AT_ONCE}
    ):
        yield from map(_decode, page["Items"])


class Difference(TemporaryDatabase):
    """The events of another log that this stage's log lacks, in a temporary file. About 100 bytes for each event."""

    def __init__(self) -> None:
        super().__init__(_SCHEMA)

    def find(self, log: OtherLog, size: int, result: Result) -> int:
        """
        Compare the other log with this stage's log, and return the number of events that are missing or may differ.

        Add the events that both logs have, and those that cannot be read, to the result. `size` is the approximate
        number of events of this stage's log.

        Reading both costs a twentieth of reading this stage's log by ids.
        """
        with throttling.retry_throttled(tables.client()), progress.bar("Reading the log", size) as advance:
            for batch in split_into_chunks(event_log.scan(), _AT_ONCE):
                rows = [
                    (event.counter_id, event.event_id, _digest(event)) for event in event_log.skip_unreadable(batch)
                ]
                self.insert("recorded VALUES (?, ?, ?)", rows)
                advance(len(batch))
        label = f"Reading {log.description['TableArn']}"
        with throttling.retry_throttled(log.client), progress.bar(label, log.approximate_size) as advance:
            for batch in split_into_chunks(scan(log), _AT_ONCE):
                self.insert("missing VALUES (?, ?, ?, ?)", [*self._select(batch, log.table, result)])
                advance(len(batch))
        ((number,),) = self.rows("SELECT count(*) FROM missing")
        return int(number)

    def candidates(self, log: OtherLog, is_same: Callable[[Event, Event], bool]) -> Iterator[Candidate]:
        """Yield the found events, ordered by time, because late events cost more to count."""
        for (line,) in self.rows("SELECT line FROM missing ORDER BY recorded_at_ms, counter_id, event_id"):
            yield Candidate(codec.decode_line(line), log.table, 0, is_same)

    def _select(self, batch: list[Event | Unreadable], table: str, result: Result) -> Iterator[tuple[object, ...]]:
        for event in batch:
            if isinstance(event, Unreadable):
                where = f"event {event.event_id} of partition {event.partition}"
                result.add_problem(Problem(table, 0, f"{where} cannot be read by this version: {event.reason}"))
                continue
            row = self.row(
                "SELECT digest FROM recorded WHERE counter_id = ? AND event_id = ?", (event.counter_id, event.event_id)
            )
            # A purge has copies for the parts of this stage, which may be missing.
            if row == (_digest(event),) and not isinstance(event, Purged):
                result.present += 1
            else:
                yield event.recorded_at_ms, event.counter_id, event.event_id, codec.encode_line(event).encode()


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
