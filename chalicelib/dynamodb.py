"""What the event log and the read model share: DynamoDB's refusals and outages told as ours."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from pynamodb.exceptions import PynamoDBException, TransactWriteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chalicelib.errors import UnavailableError

CONDITION_FAILED = "ConditionalCheckFailed"
CONFLICT = "TransactionConflict"


@contextlib.contextmanager
def unavailable_as(error: type[UnavailableError]) -> Iterator[None]:
    """Whatever PynamoDB raises inside leaves as `error`, with its cause kept for the log."""
    try:
        yield
    except PynamoDBException as cause:
        raise error(f"{code(cause) or type(cause.cause).__name__}: {cause.msg}") from cause


def code(error: PynamoDBException) -> str | None:
    """DynamoDB's own word for what is wrong, or None if it did not get to say one."""
    # PynamoDB's property of this purpose trips over a connection that broke, whose response is None.
    response: Any = getattr(error.cause, "response", None) or {}
    said: str | None = response.get("Error", {}).get("Code")
    return said


def refusals(error: TransactWriteError) -> list[str | None]:
    """
    Why a transaction was cancelled, member by member, if all its reasons lie with our rivals and not with the service.

    Empty if it was not cancelled, or if any member was throttled or invalid: then it is an outage.
    """
    reasons = [reason.code if reason else None for reason in error.cancellation_reasons]
    return reasons if set(reasons) <= {None, CONDITION_FAILED, CONFLICT} else []
