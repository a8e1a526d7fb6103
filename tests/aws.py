"""What the application asks of AWS, seen at its clients: which requests, and what they cost by the published rules."""

from __future__ import annotations

import contextlib
import functools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3

from chalicelib import queues
from chalicelib.aws import tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.client import BaseClient
    from mypy_boto3_dynamodb import DynamoDBClient

_EVENT = "before-parameter-build"


def clients() -> list[BaseClient]:
    """The two clients through which everything that the application does to AWS goes."""
    queue: Any = queues.client()
    return [tables.client(), queue]


@dataclass
class Requests:
    """Requests in the order in which they were made: operation and parameters. `reader` reads what they wrote."""

    made: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    reader: DynamoDBClient | None = None

    @property
    def operations(self) -> list[str]:
        return [operation for operation, _ in self.made]

    def write_units(self) -> int:
        """
        What the writes among these requests cost, given the items as they are now.

        A write costs 1 unit for each started KB of the item, and 2 in a transaction; of an item before and after, the
        larger counts (DynamoDB developer guide, "Capacity consumption"). Our items only grow, so "now" is the larger.
        """
        items = _Items(self.reader or _reader())
        return sum(_write_units(operation, parameters, items) for operation, parameters in self.made)

    def read_units(self) -> float:
        """
        What the reads among these requests cost, given the items as they are now.

        A strongly consistent read costs 1 unit for each started 4 KB, also of nothing, and an eventually consistent one
        half: of each item by itself, and of all that one page of a query reads together (DynamoDB developer guide,
        "Capacity consumption").
        """
        items = _Items(self.reader or _reader())
        return sum(_read_units(operation, parameters, items) for operation, parameters in self.made)


@contextlib.contextmanager
def requests(*of: BaseClient, reader: DynamoDBClient | None = None) -> Iterator[Requests]:
    """
    Notes the requests that are made inside: by these clients, or else by the application's.

    What they cost is asked for through `reader`, or else at the embedded AWS.
    """
    seen = Requests(reader=reader)
    watched = of or clients()

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name != "GetQueueUrl":  # once in the life of a process
            seen.made.append((model.name, params))

    for client in watched:
        client.meta.events.register(f"{_EVENT}.*.*", note)
    try:
        yield seen
    finally:
        for client in watched:
            client.meta.events.unregister(f"{_EVENT}.*.*", note)


class _Items:
    """The items as they are now, each read once."""

    def __init__(self, reader: DynamoDBClient) -> None:
        self.reader = reader
        self._sizes: dict[tuple[str, str], int] = {}

    def size(self, table: str, key: dict[str, Any]) -> int:
        """The item's size, or 0 if it is not there."""
        place = (table, repr(key))
        if place not in self._sizes:
            found = self.reader.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {})
            self._sizes[place] = size(found)
        return self._sizes[place]


def _write_units(operation: str, parameters: dict[str, Any], items: _Items) -> int:
    match operation:
        case "PutItem":
            return math.ceil(size(parameters["Item"]) / 1024)
        case "UpdateItem":
            return math.ceil(items.size(parameters["TableName"], parameters["Key"]) / 1024)
        case "TransactWriteItems":
            return sum(2 * math.ceil(_written(member, items) / 1024) for member in parameters["TransactItems"])
        case "DeleteItem" | "BatchWriteItem":
            raise AssertionError(f"what a {operation} costs is not known here")
        case _:
            return 0


def _read_units(operation: str, parameters: dict[str, Any], items: _Items) -> float:
    match operation:
        case "GetItem":
            return _units(items.size(parameters["TableName"], parameters["Key"]), parameters)
        case "Query":
            page = items.reader.query(**parameters)
            return _units(sum(map(size, page["Items"])), parameters)
        case "BatchGetItem":
            ((table, asked),) = parameters["RequestItems"].items()
            return sum(_units(items.size(table, key), asked) for key in asked["Keys"])
        case _:
            return 0


def _units(size: int, read: dict[str, Any]) -> float:
    started = max(1, math.ceil(size / 4096))
    return started if read.get("ConsistentRead") else started / 2


def _written(member: dict[str, Any], items: _Items) -> int:
    ((kind, parameters),) = member.items()
    return size(parameters["Item"]) if kind == "Put" else items.size(parameters["TableName"], parameters["Key"])


@functools.cache
def _reader() -> DynamoDBClient:
    """Of our own, so that what is asked to know a cost is not noted."""
    return boto3.client("dynamodb")


def size(item: dict[str, Any]) -> int:
    """Bytes, as the developer guide counts them ("Item sizes and formats"), each number at its largest."""
    sizes = {"S": lambda text: len(text.encode()), "N": lambda _: 21, "B": len, "BS": lambda ids: sum(map(len, ids))}
    return sum(len(name.encode()) + sizes[kind](value) for name, typed in item.items() for kind, value in typed.items())
