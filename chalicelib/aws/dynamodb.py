"""Send requests that PynamoDB cannot express, and translate DynamoDB's errors into the project's errors."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import DoesNotExist, PynamoDBException, TransactWriteError
from pynamodb.transactions import TransactWrite

from chalicelib.aws.tables import client, connection
from chalicelib.errors import ReadModelUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pynamodb.expressions.condition import Condition
    from pynamodb.expressions.update import Action
    from pynamodb.models import Model

    from chalicelib.errors import UnavailableError

#: An item in DynamoDB JSON: `{"version": {"N": "3"}}`.
RawItem = dict[str, dict[str, Any]]

_Item = TypeVar("_Item", bound="Model")

#: DynamoDB's messages about an item over 400 KB, and about an attribute whose type the update does not expect.
_ITEM_PROBLEM = re.compile("Item size|incorrect data type|Type mismatch")

_CONDITION_FAILED = "ConditionalCheckFailed"
_CONFLICT = "TransactionConflict"


class RefusedError(Exception):
    """
    DynamoDB refused a conditional write: a condition failed, or a transaction was in progress. Nothing was written.

    After an update, `item` is the item that did not meet the condition, or None after a conflict with a transaction.
    After a transaction, `tables` are the tables whose items did not meet a condition, or empty after a conflict.
    """

    def __init__(self, item: RawItem | None = None, tables: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.item = item
        self.tables = tables


class UnwritableItemError(ReadModelUnavailableError):
    """DynamoDB rejects a write because of the stored item: it is too large, or an attribute has the wrong type."""


@contextlib.contextmanager
def translate_errors(error: type[UnavailableError]) -> Iterator[None]:
    """Raise PynamoDB's errors in this block as `error`, with the original error as the cause."""
    try:
        yield
    except PynamoDBException as cause:
        raise error(_describe(cause)) from cause


def _describe(error: PynamoDBException) -> str:
    """Describe PynamoDB's error, with its cause and the reasons of a cancelled transaction."""
    cause, message = error.cause or error, str(error.msg)
    reasons = [reason.message for reason in getattr(error, "cancellation_reasons", []) if reason and reason.message]
    details = "; ".join([*([] if str(cause) in message else [str(cause)]), *reasons])
    return f"{error_code(error) or type(cause).__name__}: {message}{details and f' ({details})'}"


def error_code(error: PynamoDBException) -> str | None:
    """Return DynamoDB's error code, or None if DynamoDB did not respond."""
    # PynamoDB's own property fails on a broken connection, whose response is None.
    response: Any = getattr(error.cause, "response", None) or {}
    code: str | None = response.get("Error", {}).get("Code")
    return code


def find(
    model: type[_Item],
    hash_key: str,
    range_key: str | int | None,
    error: type[UnavailableError],
    *,
    stale: bool = False,
) -> _Item | None:
    """
    Return the item with this key, or None if it does not exist. The call takes one read.

    The read is strongly consistent. With `stale`, it is eventually consistent and costs half as much.

    Raises:
        UnavailableError: an instance of `error`: DynamoDB throttles or refuses the request, or does not respond.
        TypeError: an attribute has the wrong type.
    """
    with translate_errors(error):
        try:
            return model.get(hash_key, range_key, consistent_read=not stale)
        except DoesNotExist:
            return None


def update(item: Model, actions: list[Action], condition: Condition | None, error: type[UnavailableError]) -> RawItem:
    """
    Update the item if the condition holds, and return its new state. The call takes one request.

    Raises:
        RefusedError: the condition failed, or a transaction was in progress on the item.
        UnwritableItemError: the item is too large, or an attribute has the wrong type.
        UnavailableError: an instance of `error`: DynamoDB throttles or refuses the request, or does not respond. The
            outcome is unknown.
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
    Send a conditional write that PynamoDB's models cannot express.

    `operation` is a method of boto3's client, and `parameters` are its arguments.

    Raises:
        RefusedError: the condition failed, or a transaction was in progress on the item.
        UnwritableItemError: the item is too large, or an attribute has the wrong type.
        UnavailableError: an instance of `error`: DynamoDB throttles or refuses the request, or does not respond. The
            outcome is unknown.
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


@contextlib.contextmanager
def transact(error: type[UnavailableError]) -> Iterator[TransactWrite]:
    """
    Commit the writes and checks that the block includes in one transaction. The call takes one request.

    Raises:
        RefusedError: a condition failed, or a transaction was in progress on one of the items.
        UnwritableItemError: an item is too large, or an attribute has the wrong type.
        UnavailableError: an instance of `error`: DynamoDB throttles or refuses the request, or does not respond. The
            outcome is unknown.
    """
    transaction = TransactWrite(connection=connection())
    try:
        with transaction:
            yield transaction  # PynamoDB commits when the block ends
    except TransactWriteError as cause:
        reasons = [reason.code if reason else None for reason in cause.cancellation_reasons]
        # Any other reason, such as a throttled member, is an outage, even if other members have conflicts.
        if reasons and set(reasons) <= {None, _CONDITION_FAILED, _CONFLICT}:
            raise RefusedError(tables=_list_refused(transaction, reasons)) from cause
        description = _describe(cause)
        if "ValidationError" in reasons and _ITEM_PROBLEM.search(description):
            raise UnwritableItemError(description) from cause
        raise error(description) from cause


def _list_refused(transaction: TransactWrite, reasons: list[str | None]) -> frozenset[str]:
    """Return the tables of the members whose conditions failed. `reasons` are in PynamoDB's order of members."""
    members = [*transaction._condition_check_items, *transaction._put_items, *transaction._update_items]
    return frozenset(
        member["TableName"] for member, reason in zip(members, reasons, strict=True) if reason == _CONDITION_FAILED
    )
