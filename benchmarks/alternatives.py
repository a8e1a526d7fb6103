"""
Implement the usual designs of a counter behind a queue, each briefly but carefully.

All designs share one producer, which sends each increment as a separate message. The queue triggers a worker, which
counts the message. There is no event log. The designs differ in the worker's writes, and one design also in its queue.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_dynamodb import DynamoDBClient

    #: A function that gets Lambda's event (a batch of messages) and Lambda's context.
    Worker = Callable[[dict[str, Any], Any], None]

COUNTERS = "alternatives-counters"
MARKERS = "alternatives-markers"

_REMEMBERED_FOR_S = 30 * 24 * 3600

#: DynamoDB's limit is 100 items per transaction; one of them is the counter.
_MARKERS_AT_ONCE = 99

#: The cancellation reason if the marker already exists.
_MARKED = "ConditionalCheckFailed"


@dataclass(frozen=True, slots=True)
class Alternative:
    """
    A design that `make cost` and the measurements compare with this project's design.

    `worker` makes a worker from a DynamoDB client. `counter_units` are an event's write units on the counter's item.
    `lacks` describes what the design lacks. With `fifo`, its queue is a FIFO queue, which drops a message with the same
    body as a message of the last five minutes.
    """

    name: str
    worker: Callable[[DynamoDBClient], Worker]
    counter_units: float
    lacks: str
    fifo: bool = False


def provision(database: DynamoDBClient) -> None:
    """Create empty tables for all alternatives on the embedded AWS, which creates tables immediately."""
    present = database.list_tables()["TableNames"]
    for table, key in ((COUNTERS, "counter_id"), (MARKERS, "id")):
        if table in present:
            database.delete_table(TableName=table)
        database.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        )


def value(database: DynamoDBClient, counter_id: str) -> int:
    """Return the value of an alternative's counter."""
    item = database.get_item(TableName=COUNTERS, Key={"counter_id": {"S": counter_id}}, ConsistentRead=True)
    return int(item.get("Item", {"value": {"N": "0"}})["value"]["N"])


def message(counter_id: str, event_id: str, by: int = 1) -> str:
    """Return the message that the producer sends for one increment."""
    return json.dumps({"counter_id": counter_id, "event_id": event_id, "by": by}, separators=(",", ":"))


def _count_each(count: Callable[[DynamoDBClient, dict[str, Any]], None]) -> Callable[[DynamoDBClient], Worker]:
    """Return a function that makes workers. A worker counts its messages one by one, with `count`."""

    def make(database: DynamoDBClient) -> Worker:
        def work(batch: dict[str, Any], _context: Any) -> None:
            for increment in _increments(batch):
                count(database, increment)

        return work

    return make


def _add(database: DynamoDBClient, increment: dict[str, Any]) -> None:
    database.update_item(**_addition(increment))


def _add_with_marker(database: DynamoDBClient, increment: dict[str, Any]) -> None:
    try:
        database.transact_write_items(TransactItems=[{"Put": _marker(increment)}, {"Update": _addition(increment)}])
    except database.exceptions.TransactionCanceledException as error:
        if error.response["CancellationReasons"][0]["Code"] != _MARKED:
            raise


def _swap(database: DynamoDBClient, increment: dict[str, Any]) -> None:
    key = {"counter_id": {"S": increment["counter_id"]}}
    while True:
        before = value(database, increment["counter_id"])
        try:
            database.put_item(
                TableName=COUNTERS,
                Item={**key, "value": {"N": str(before + increment["by"])}},
                ConditionExpression="#value = :value OR attribute_not_exists(counter_id)",
                ExpressionAttributeNames={"#value": "value"},
                ExpressionAttributeValues={":value": {"N": str(before)}},
            )
        except database.exceptions.ConditionalCheckFailedException:
            continue
        return


def _make_remembering(database: DynamoDBClient) -> Worker:
    config = IdempotencyConfig(event_key_jmespath="event_id", expires_after_seconds=_REMEMBERED_FOR_S)
    table = DynamoDBPersistenceLayer(table_name=MARKERS, boto3_client=database)

    @idempotent_function(  # type: ignore[untyped-decorator]
        data_keyword_argument="increment", config=config, persistence_store=table
    )
    def add(increment: dict[str, Any]) -> None:
        database.update_item(**_addition(increment))

    def work(batch: dict[str, Any], context: Any) -> None:
        config.register_lambda_context(context)
        for increment in _increments(batch):
            add(increment=increment)

    return work


def _make_marking_batches(database: DynamoDBClient) -> Worker:
    def work(batch: dict[str, Any], _context: Any) -> None:
        counters: dict[str, dict[str, dict[str, Any]]] = {}
        for increment in _increments(batch):
            counters.setdefault(increment["counter_id"], {})[increment["event_id"]] = increment
        for distinct in counters.values():
            increments = list(distinct.values())
            for start in range(0, len(increments), _MARKERS_AT_ONCE):
                count(increments[start : start + _MARKERS_AT_ONCE])

    def count(increments: list[dict[str, Any]]) -> None:
        while increments:
            total = sum(increment["by"] for increment in increments)
            update = _addition({"counter_id": increments[0]["counter_id"], "by": total})
            puts: list[Any] = [{"Put": _marker(increment)} for increment in increments]
            try:
                database.transact_write_items(TransactItems=[*puts, {"Update": update}])
            except database.exceptions.TransactionCanceledException as error:
                codes = [reason["Code"] for reason in error.response["CancellationReasons"]]
                unmarked = [each for each, code in zip(increments, codes, strict=False) if code != _MARKED]
                if len(unmarked) == len(increments):
                    raise
                increments = unmarked
            else:
                return

    return work


def _increments(batch: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(record["body"]) for record in batch["Records"]]


def _marker(increment: dict[str, Any]) -> Any:
    return {
        "TableName": MARKERS,
        "Item": {
            "id": {"S": increment["event_id"]},
            "counter_id": {"S": increment["counter_id"]},
            "by": {"N": str(increment["by"])},
        },
        "ConditionExpression": "attribute_not_exists(id)",
    }


def _addition(increment: dict[str, Any]) -> Any:
    return {
        "TableName": COUNTERS,
        "Key": {"counter_id": {"S": increment["counter_id"]}},
        "UpdateExpression": "ADD #value :by",
        "ExpressionAttributeNames": {"#value": "value"},
        "ExpressionAttributeValues": {":by": {"N": str(increment["by"])}},
    }


UNPROTECTED = Alternative(
    "one `ADD` per message",
    _count_each(_add),
    1,
    "protection: a message that is delivered twice counts twice",
)
REMEMBERING = Alternative(
    "an idempotency table (Powertools)",
    _make_remembering,
    1,
    "the `ADD` in the same transaction: if a worker crashes in between, the event counts twice; and entries expire",
)
MARKING = Alternative(
    "a marker per event, in a transaction",
    _count_each(_add_with_marker),
    2,
    "throughput: each increment is a transaction on the counter's single item, which supports 500 a second",
)

MARKING_BATCHES = Alternative(
    "a transaction per batch, with markers",
    _make_marking_batches,
    2 / _MARKERS_AT_ONCE,
    "cheap redeliveries, because each redelivery cancels a transaction; and throughput, if events arrive one by one",
)
SWAPPING = Alternative(
    "compare-and-swap in a loop",
    _count_each(_swap),
    1,
    "protection: the value does not show whether an event was counted; and throughput",
)
FIFO = Alternative(
    "a FIFO queue and an `ADD`",
    _count_each(_add),
    1,
    "protection behind the queue: it drops a message that is sent twice within five minutes, but not a redelivered one",
    fifo=True,
)

#: The alternatives whose cost `make cost` computes.
PRICED = (UNPROTECTED, REMEMBERING, MARKING)
ALL = (*PRICED, MARKING_BATCHES, SWAPPING, FIFO)
