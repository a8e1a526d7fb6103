"""
The designs that people usually pick for a counter behind a queue, each as short as a careful reader would write it.

Behind the same front each increment is a message of its own, and a worker that the queue triggers counts it. There is
no event log. They differ in what the worker writes, and so in what they lack.
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

COUNTERS = "rivals-counters"
MARKERS = "rivals-markers"

_REMEMBERED_FOR_S = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Rival:
    """
    A design: how its worker is made from a client, what it lacks, and what one increment writes to its counter's item.

    A worker takes Lambda's event, a batch of messages, and Lambda's context.
    """

    name: str
    worker: Callable[[DynamoDBClient], Callable[[dict[str, Any], Any], None]]
    counter_units: int
    lacks: str


def provision(database: DynamoDBClient) -> None:
    """The tables of all rivals are there, made anew. For the embedded AWS, where that is done at once."""
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
    """What a rival's counter stands at."""
    item = database.get_item(TableName=COUNTERS, Key={"counter_id": {"S": counter_id}}, ConsistentRead=True)
    return int(item.get("Item", {"value": {"N": "0"}})["value"]["N"])


def message(counter_id: str, event_id: str, by: int = 1) -> str:
    """What the front sends for one increment."""
    return json.dumps({"counter_id": counter_id, "event_id": event_id, "by": by}, separators=(",", ":"))


def _unprotected(database: DynamoDBClient) -> Callable[[dict[str, Any], Any], None]:
    def work(batch: dict[str, Any], _context: Any) -> None:
        for increment in _increments(batch):
            database.update_item(**_addition(increment))

    return work


def _marking(database: DynamoDBClient) -> Callable[[dict[str, Any], Any], None]:
    def work(batch: dict[str, Any], _context: Any) -> None:
        for increment in _increments(batch):
            put: Any = {
                "TableName": MARKERS,
                "Item": {
                    "id": {"S": increment["event_id"]},
                    "counter_id": {"S": increment["counter_id"]},
                    "by": {"N": str(increment["by"])},
                },
                "ConditionExpression": "attribute_not_exists(id)",
            }
            try:
                database.transact_write_items(TransactItems=[{"Put": put}, {"Update": _addition(increment)}])
            except database.exceptions.TransactionCanceledException as error:
                if error.response["CancellationReasons"][0]["Code"] != "ConditionalCheckFailed":
                    raise

    return work


def _remembering(database: DynamoDBClient) -> Callable[[dict[str, Any], Any], None]:
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


def _increments(batch: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(record["body"]) for record in batch["Records"]]


def _addition(increment: dict[str, Any]) -> Any:
    return {
        "TableName": COUNTERS,
        "Key": {"counter_id": {"S": increment["counter_id"]}},
        "UpdateExpression": "ADD #value :by",
        "ExpressionAttributeNames": {"#value": "value"},
        "ExpressionAttributeValues": {":by": {"N": str(increment["by"])}},
    }


UNPROTECTED = Rival(
    "one `ADD` per message",
    _unprotected,
    1,
    "any protection: what is delivered twice counts twice",
)
REMEMBERING = Rival(
    "an idempotency table (Powertools)",
    _remembering,
    1,
    "the `ADD` in the same transaction: who dies between the two counts twice; and entries expire",
)
MARKING = Rival(
    "a marker per event, in a transaction",
    _marking,
    2,
    "room: each increment is a transaction on the counter's one item, which takes 500 a second",
)

ALL = (UNPROTECTED, REMEMBERING, MARKING)
