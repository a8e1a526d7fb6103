"""Requests that PynamoDB cannot express, and the translation of DynamoDB's errors into ours."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import PynamoDBException, TransactWriteError
from pynamodb.transactions import TransactWrite

from chalicelib.aws.tables import client, connection
from chalicelib.errors import ReadModelUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pynamodb.expressions.condition import Condition
    from pynamodb.expressions.update import Action
    from pynamodb.models import Model

    from chalicelib.errors import UnavailableError

#: An item in DynamoDB JSON: `{"version": {"N": "3"}}`.
RawItem = dict[str, dict[str, Any]]

#: DynamoDB's messages about an item over 400 KB, and about an attribute whose type the update does not expect.
_ITEM_PROBLEM = re.compile("Item size|incorrect data type|Type mismatch")

CONDITION_FAILED = "ConditionalCheckFailed"
CONFLICT = "TransactionConflict"


class RefusedError(Exception):
    """
    A conditional write was refused because of concurrent writers; nothing was written.

    `item` is the item that failed the condition of an update. `reasons` has one entry for each member of a refused
    transaction: None, `CONDITION_FAILED` or `CONFLICT`.
    """

    def __init__(self, item: RawItem | None = None, reasons: list[str | None] | None = None) -> None:
        super().__init__()
        self.item = item
        self.reasons = reasons or []


class UnwritableItemError(ReadModelUnavailableError):
    """DynamoDB rejects a write because of the stored item: it is too large, or an attribute has the wrong type."""


@contextlib.contextmanager
def translate_errors(error: type[UnavailableError]) -> Iterator[None]:
    """Raise PynamoDB's errors in this block as `error`, with the original as the cause."""
    try:
        yield
    except PynamoDBException as cause:
        raise error(f"{error_code(cause) or type(cause.cause or cause).__name__}: {cause.msg}") from cause


def error_code(error: PynamoDBException) -> str | None:
    """Return DynamoDB's error code, or None if it did not respond."""
    # PynamoDB's own property fails on a broken connection, whose response is None.
    response: Any = getattr(error.cause, "response", None) or {}
    code: str | None = response.get("Error", {}).get("Code")
    return code


def update(item: Model, actions: list[Action], condition: Condition | None, error: type[UnavailableError]) -> RawItem:
    """
    Update the item if the condition holds, and return its new state. One request.

    Raises:
        RefusedError: the condition failed, or a transaction was in progress on the item.
        UnwritableItemError: the item is too large, or an attribute has the wrong type.
        UnavailableError: of the class `error`; DynamoDB throttles or does not answer. The outcome is unknown.
    """
    # PynamoDB's own update cannot return the item that failed the condition, so PynamoDB only builds the request.
    hash_key, range_key = item._get_hash_range_key_serialized_values()
    parameters = item._get_connection().get_operation_kwargs(
        hash_key,
        range_key=range_key,
        actions=actions,
        condition=condition,
        return_values="ALL_NEW",
        return_values_on_condition_failure="ALL_OLD",
    )
    updated: RawItem = request("update_item", error, **parameters)["Attributes"]
    return updated


def request(operation: str, error: type[UnavailableError], **parameters: Any) -> dict[str, Any]:
    """
    Send a conditional write that PynamoDB's models cannot express: an operation of boto3's client with its parameters.

    Raises:
        RefusedError: the condition failed, or a transaction was in progress on the item.
        UnavailableError: of the class `error`; DynamoDB throttles or does not answer. The outcome is unknown.
    """
    try:
        response: dict[str, Any] = getattr(client(), operation)(**parameters)
    except ClientError as cause:
        refusal: Any = cause.response
        match refusal.get("Error", {}).get("Code"):
            case "ConditionalCheckFailedException":
                raise RefusedError(refusal.get("Item") or {}) from cause
            case "TransactionConflictException":
                raise RefusedError from cause
            case "ValidationException" if _ITEM_PROBLEM.search(str(cause)):
                raise UnwritableItemError(str(cause)) from cause
        raise error(str(cause)) from cause
    except BotoCoreError as cause:
        raise error(f"{type(cause).__name__}: {cause}") from cause
    return response


def transact(fill: Callable[[TransactWrite], None], error: type[UnavailableError]) -> None:
    """
    Commit a transaction whose members `fill` includes.

    Raises:
        RefusedError: a condition failed, or a transaction was in progress on one of the items.
        UnwritableItemError: an item is too large, or an attribute has the wrong type.
        UnavailableError: of the class `error`; DynamoDB throttles or does not answer. The outcome is unknown.
    """
    transaction = TransactWrite(connection=connection())
    fill(transaction)
    try:
        with transaction:
            pass  # PynamoDB commits when the block ends
    except TransactWriteError as cause:
        reasons = [reason.code if reason else None for reason in cause.cancellation_reasons]
        # Any other reason, such as a throttled member, is an outage, even if other members have conflicts.
        if reasons and set(reasons) <= {None, CONDITION_FAILED, CONFLICT}:
            raise RefusedError(reasons=reasons) from cause
        if "ValidationError" in reasons and _ITEM_PROBLEM.search(str(cause)):
            raise UnwritableItemError(str(cause)) from cause
        raise error(str(cause)) from cause
