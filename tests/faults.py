"""Faults at the AWS client's boundary: below our code and the SDK's retries, above the network."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectionClosedError, ConnectTimeoutError
from botocore.httpsession import URLLib3Session

from tests import aws

if TYPE_CHECKING:
    from collections.abc import Iterator

Fault = Callable[[Any], "AWSResponse | None"]


def never_arrives(request: Any) -> None:
    """The request gets nowhere."""
    raise ConnectTimeoutError(endpoint_url=request.url)


def loses_its_answer(request: Any) -> None:
    """The request is carried out, and nobody hears of it."""
    URLLib3Session().send(request)
    raise ConnectionClosedError(endpoint_url=request.url)


def is_throttled(request: Any) -> AWSResponse:
    """The service has too much to do."""
    return _refusal(request, "ThrottlingException")


def conflicts(request: Any) -> AWSResponse:
    """A transaction is at work on the same item."""
    return _refusal(request, "TransactionConflictException")


def is_cancelled(request: Any) -> AWSResponse:
    """A transaction is cancelled, whole, because others are at work on the same items."""
    members = json.loads(request.body)["TransactItems"]
    return _refusal(
        request, "TransactionCanceledException", CancellationReasons=[{"Code": "TransactionConflict"} for _ in members]
    )


@contextlib.contextmanager
def at(operation: str, fault: Fault, times: int = 1) -> Iterator[None]:
    """The first `times` attempts at this operation meet the fault; the SDK's own retries are attempts, too."""
    left = times

    def meet(request: Any, **_: Any) -> Any:
        nonlocal left
        if left == 0:
            return None
        left -= 1
        return fault(request)

    for client in aws.clients():
        client.meta.events.register(f"before-send.*.{operation}", meet)
    try:
        yield
    finally:
        for client in aws.clients():
            client.meta.events.unregister(f"before-send.*.{operation}", meet)
    assert left == 0 or times == ALWAYS, f"{operation} was attempted only {times - left} times"


#: More attempts than anything makes.
ALWAYS = 1_000_000


def _refusal(request: Any, code: str, **more: Any) -> AWSResponse:
    answer = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "not now", **more}
    body = json.dumps(answer).encode()

    class Raw:
        def stream(self) -> Iterator[bytes]:
            yield body

    return AWSResponse(request.url, 400, HTTPHeaders(), Raw())
