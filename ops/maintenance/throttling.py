"""Retry throttled requests of a command for about a minute. The SDK alone gives up after a few seconds."""

import contextlib
from collections.abc import Iterator
from typing import Any

from botocore.client import BaseClient
from botocore.exceptions import ReadTimeoutError

from chalicelib import retries

_ATTEMPTS = 30
_LONGEST_WAIT_S = 5

#: The error codes of requests, and of members of a transaction, for which a retry can succeed.
_CODES = {
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingError",
    "ThrottlingException",
    "TransactionConflict",
    "TransactionConflictException",
}


@contextlib.contextmanager
def retry_throttled(client: BaseClient) -> Iterator[None]:
    """
    Retry the client's requests in this block if DynamoDB throttles them, reports a conflict, or responds too late.

    A retry is the same request, with the same token if it is a transaction. After 30 attempts, the error is raised.
    The SDK's own retries come first. The SDK does not retry a transaction if DynamoDB throttles one of its members.
    """
    hooks: Any = client.meta.events
    hooks.register("needs-retry.dynamodb", _wait_s)
    try:
        yield
    finally:
        hooks.unregister("needs-retry.dynamodb", _wait_s)


def _wait_s(attempts: int, response: Any, caught_exception: Exception | None, **_: Any) -> float | None:
    """Return the seconds to wait before the next attempt, or None if the request must not be retried."""
    answer: dict[str, Any] = response[1] if response else {}
    codes = {answer.get("Error", {}).get("Code"), *(each.get("Code") for each in answer.get("CancellationReasons", []))}
    is_refused = bool(codes & _CODES) or isinstance(caught_exception, ReadTimeoutError)
    return retries.draw_wait_s(attempts, _LONGEST_WAIT_S) if is_refused and attempts < _ATTEMPTS else None
