"""Record the application's AWS requests at its clients and price them by AWS's published rules."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3

from chalicelib.aws import sqs, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from botocore.client import BaseClient
    from mypy_boto3_dynamodb import DynamoDBClient

_UNIT_BYTES = 1024
_READ_UNIT_BYTES = 4096


def clients() -> list[BaseClient]:
    """Return the application's DynamoDB client and its SQS client."""
    queue: Any = sqs.client()
    return [tables.client(), queue]


@dataclass
class Requests:
    """
    The recorded requests, in order, each with its operation and parameters.

    With a `reader`, each write is priced when it is made, because an item may shrink later.
    """

    made: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    reader: DynamoDBClient | None = None
    _write_units: int = 0
    _read_units: float = 0
    _keys: dict[str, list[str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def operations(self) -> list[str]:
        return [operation for operation, _ in self.made]

    def write_units(self) -> int:
        """
        Return the cost of the writes among these requests.

        A write costs 1 unit per KB of the item, rounded up, and 2 in a transaction. The cost depends on the larger of
        the item's sizes before and after the write. A condition that fails, and a member of a transaction that only
        checks a condition, cost the same (DynamoDB developer guide, "Capacity consumption").
        """
        assert self.reader is not None, "writes are priced as they are made: pass `reader`"
        return self._write_units

    def read_units(self) -> float:
        """
        Return the cost of the reads among these requests.

        A strongly consistent read costs 1 unit per 4 KB, rounded up, and at least 1. An eventually consistent read
        costs half. Each item is rounded up separately. The items on a page of a query or scan are rounded up
        together (DynamoDB developer guide, "Capacity consumption").
        """
        return self._read_units

    def note(self, operation: str, parameters: dict[str, Any], context: dict[Any, Any]) -> None:
        """Record a request before it is made, with the current sizes of the items that it writes."""
        targets = [] if self.reader is None else self._targets(operation, parameters)
        context[id(self)] = parameters, targets, [self._size_now(target) for target in targets]
        with self._lock:
            self.made.append((operation, parameters))

    def price(self, operation: str, answer: dict[str, Any], context: dict[Any, Any]) -> None:
        """Add the cost of a completed request, regardless of its outcome."""
        parameters, targets, before = context[id(self)]
        written = sum(
            target.factor * _count_units(max(size_before, self._size_now(target), target.put_bytes), _UNIT_BYTES)
            for target, size_before in zip(targets, before, strict=True)
        )
        read = _price_read(operation, parameters, answer)
        with self._lock:
            self._write_units += written
            self._read_units += read

    def _size_now(self, target: _Target) -> int:
        assert self.reader is not None
        found = self.reader.get_item(TableName=target.table, Key=target.key, ConsistentRead=True).get("Item", {})
        return size(found)

    def _targets(self, operation: str, parameters: dict[str, Any]) -> list[_Target]:
        match operation:
            case "PutItem" | "UpdateItem" | "DeleteItem":
                return [self._target(parameters, factor=1)]
            case "TransactWriteItems":
                members = [member for each in parameters["TransactItems"] for member in each.values()]
                return [self._target(member, factor=2) for member in members]
            case "BatchWriteItem":
                written = [(table, member) for table, each in parameters["RequestItems"].items() for member in each]
                return [
                    self._target({"TableName": table, **request}, factor=1)
                    for table, member in written
                    for request in member.values()
                ]
            case _:
                return []

    def _target(self, member: dict[str, Any], factor: int) -> _Target:
        table, item = member["TableName"], member.get("Item", {})
        key = member.get("Key") or {name: item[name] for name in self._key_names(table)}
        return _Target(table, key, size(item), factor)

    def _key_names(self, table: str) -> list[str]:
        assert self.reader is not None
        if table not in self._keys:
            schema = self.reader.describe_table(TableName=table)["Table"]["KeySchema"]
            self._keys[table] = [each["AttributeName"] for each in schema]
        return self._keys[table]


@dataclass(frozen=True)
class _Target:
    """An item that a request writes or checks. `factor` is the number of units that each KB of the item costs."""

    table: str
    key: dict[str, Any]
    put_bytes: int
    factor: int


@contextlib.contextmanager
def record(*recorded_clients: BaseClient, reader: DynamoDBClient | None = None) -> Iterator[Requests]:
    """
    Record the requests of these clients in the block, except GetQueueUrl. Default: the application's clients.

    Writes are priced only with a `reader`, which reads each item before and after a write. The reader's own requests
    are not recorded.
    """
    seen = Requests(reader=reader)
    aws_clients = recorded_clients or clients()

    def note_request(params: dict[str, Any], model: Any, context: dict[Any, Any], **_: Any) -> None:
        if model.name != "GetQueueUrl":  # once per process
            seen.note(model.name, params, context)

    def price_response(model: Any, context: dict[Any, Any], parsed: dict[str, Any] | None = None, **_: Any) -> None:
        if id(seen) in context:
            seen.price(model.name, parsed or {}, context)

    def price_error(context: dict[Any, Any], event_name: str, **_: Any) -> None:
        if id(seen) in context:
            seen.price(event_name.rpartition(".")[2], {}, context)

    hooks: dict[str, Any] = {
        "before-parameter-build": note_request,
        "after-call": price_response,
        "after-call-error": price_error,
    }
    for client in aws_clients:
        for event, hook in hooks.items():
            client.meta.events.register(f"{event}.*.*", hook)
    try:
        yield seen
    finally:
        for client in aws_clients:
            for event, hook in hooks.items():
                client.meta.events.unregister(f"{event}.*.*", hook)


@functools.cache
def reader() -> DynamoDBClient:
    """Return a client of the embedded AWS whose requests are not recorded."""
    return boto3.client("dynamodb")


def _price_read(operation: str, parameters: dict[str, Any], answer: dict[str, Any]) -> float:
    match operation:
        case "GetItem":
            return _price_items([answer.get("Item", {})], parameters)
        case "Query" | "Scan":
            return _price_items(answer.get("Items", []), parameters)
        case "BatchGetItem":
            return sum(
                _price_items([item], asked)
                for table, asked in parameters["RequestItems"].items()
                for item in _list_read_items(table, asked, answer)
            )
        case _:
            return 0


def _list_read_items(table: str, asked: dict[str, Any], answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an item for each processed key of a batch read. The item of a missing key is empty."""
    found: list[dict[str, Any]] = answer.get("Responses", {}).get(table, [])
    left = len(answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", []))
    return found + [{}] * (len(asked["Keys"]) - len(found) - left)


def _price_items(items: list[dict[str, Any]], read: dict[str, Any]) -> float:
    units = _count_units(sum(map(size, items)), _READ_UNIT_BYTES)
    return units if read.get("ConsistentRead") else units / 2


def _count_units(bytes_: int, unit: int) -> int:
    return max(1, math.ceil(bytes_ / unit))


def size(item: dict[str, Any]) -> int:
    """Return an item's size in bytes, as the developer guide counts it ("Item sizes and formats")."""
    return sum(len(name.encode()) + _size_of_value(typed) for name, typed in item.items())


def _size_of_value(typed: dict[str, Any]) -> int:
    ((kind, value),) = typed.items()
    sizes: dict[str, Callable[[], int]] = {
        "S": lambda: len(value.encode()),
        "N": lambda: _size_of_number(value),
        "B": lambda: len(value),
        "L": lambda: 3 + sum(1 + _size_of_value(member) for member in value),
        "M": lambda: 3 + sum(1 + len(name.encode()) + _size_of_value(member) for name, member in value.items()),
        "BOOL": lambda: 1,
        "NULL": lambda: 1,
        **dict.fromkeys(("SS", "NS", "BS"), lambda: sum(_size_of_value({kind[0]: member}) for member in value)),
    }
    return sizes[kind]()


def _size_of_number(text: str) -> int:
    """
    Return a number's size: "approximately" one byte per two significant digits, plus one, plus one for a sign.

    DynamoDB also trims trailing zeros. Here, they count, so that an event's size does not depend on its time.
    """
    digits = text.lstrip("-").replace(".", "").lstrip("0")
    return math.ceil(len(digits) / 2) + 1 + text.startswith("-")
