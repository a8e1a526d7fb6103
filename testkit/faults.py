"""Faults at the AWS client: below our code and the SDK's retries, above the network."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectionClosedError, ConnectTimeoutError, ReadTimeoutError
from botocore.httpsession import URLLib3Session

from testkit import aws_requests


@dataclass(frozen=True)
class Attempt:
    """One attempt of the SDK at a request. `carry_out` sends the request."""

    operation: str
    request: Any
    carry_out: Callable[[], AWSResponse]

    @property
    def call(self) -> str:
        """Return the id that all attempts at one request share."""
        found: bytes | str = self.request.headers["amz-sdk-invocation-id"]
        return _text(found)

    @property
    def is_sqs(self) -> bool:
        """Return whether the request is for SQS rather than DynamoDB."""
        return _text(self.request.headers["x-amz-target"]).startswith("AmazonSQS")


Fault = Callable[[Attempt], AWSResponse]


class DiedError(BaseException):
    """The function's process ends here."""


def no_fault(attempt: Attempt) -> AWSResponse:
    """Carry out the request without a fault."""
    return attempt.carry_out()


def drop_request(attempt: Attempt) -> AWSResponse:
    """Fail before the request is sent."""
    raise ConnectTimeoutError(endpoint_url=attempt.request.url)


def lose_answer(attempt: Attempt) -> AWSResponse:
    """Carry out the request and lose the response."""
    attempt.carry_out()
    raise ConnectionClosedError(endpoint_url=attempt.request.url)


def throttle(attempt: Attempt) -> AWSResponse:
    """Respond that the service throttles the request, with that service's error code."""
    if attempt.is_sqs:
        return _refuse_by_sqs(attempt, "com.amazonaws.sqs#RequestThrottled", "RequestThrottled;Sender")
    return _refuse_by_dynamodb(attempt, "ThrottlingException")


def exceed_throughput(attempt: Attempt) -> AWSResponse:
    """
    Respond that a partition or the caller exceeds its throughput.

    In a transaction, all members but the first exceed it.
    """
    if attempt.is_sqs:
        return _refuse_by_sqs(attempt, "com.amazon.coral.availability#ThrottlingException", None)
    if attempt.operation == "TransactWriteItems":
        return cancel_for(None, "ThrottlingError")(attempt)
    return _refuse_by_dynamodb(attempt, "ProvisionedThroughputExceededException")


def refuse(code: str, **more: Any) -> Fault:
    """Refuse a request to DynamoDB with this code."""
    return lambda attempt: _refuse_by_dynamodb(attempt, code, **more)


def conflict(attempt: Attempt) -> AWSResponse:
    """Respond that a transaction is in progress on the item."""
    return _refuse_by_dynamodb(attempt, "TransactionConflictException")


def cancel(attempt: Attempt) -> AWSResponse:
    """Cancel the transaction because of a concurrent one."""
    return cancel_for("TransactionConflict")(attempt)


def meet_transaction(attempt: Attempt) -> AWSResponse:
    """Respond to a write as if a transaction were in progress on its item. Reads are not affected."""
    if attempt.operation == "TransactWriteItems":
        return cancel(attempt)
    return conflict(attempt) if attempt.operation in ("PutItem", "UpdateItem") else attempt.carry_out()


def cancel_for(*reasons: str | None) -> Fault:
    """Cancel a transaction for these reasons, one per member. Further members get the last reason."""

    def cancel(attempt: Attempt) -> AWSResponse:
        members = len(json.loads(attempt.request.body)["TransactItems"])
        codes = [*reasons, *[reasons[-1]] * members][:members]
        cancellations = [{"Code": code, "Message": "not now"} if code else {"Code": "None"} for code in codes]
        return _refuse_by_dynamodb(attempt, "TransactionCanceledException", CancellationReasons=cancellations)

    return cancel


def respond_late(attempt: Attempt) -> AWSResponse:
    """Carry out the request, but let the SDK's wait for the response time out."""
    attempt.carry_out()
    raise ReadTimeoutError(endpoint_url=attempt.request.url)


def leave_half_unprocessed(attempt: Attempt) -> AWSResponse:
    """Respond to a batch of reads with half of the items, and with the keys of the other half as unprocessed."""
    answer = attempt.carry_out()
    content = json.loads(answer.content)
    ((table, items),) = content["Responses"].items()
    half = items[len(items) // 2 :]
    content["Responses"][table] = items[: len(items) // 2]
    asked = json.loads(attempt.request.body)["RequestItems"][table]
    keys = [key for key in asked["Keys"] if any(key.items() <= item.items() for item in half)]
    content["UnprocessedKeys"] = {table: {**asked, "Keys": keys}}
    return response(attempt.request, 200, {}, json.dumps(content).encode())


def find_nothing(attempt: Attempt) -> AWSResponse:
    """Respond to a batch of reads with no items, as a stale replica would."""
    (table,) = json.loads(attempt.request.body)["RequestItems"]
    content: dict[str, Any] = {"Responses": {table: []}, "UnprocessedKeys": {}}
    return response(attempt.request, 200, {}, json.dumps(content).encode())


def die_before(attempt: Attempt) -> AWSResponse:
    """End the function before the request is made."""
    raise DiedError(attempt.operation)


def die_after(attempt: Attempt) -> AWSResponse:
    """End the function after the request is carried out."""
    attempt.carry_out()
    raise DiedError(attempt.operation)


class Disturbance:
    """
    Inject a fault into request number `at`, counted from 0: into its first attempt or into every attempt.

    If `at` is None, inject no fault. Requests of several threads are numbered as they arrive. A function that has ended
    makes no further request.
    """

    def __init__(self, at: int | None, fault: Fault, every_attempt: bool) -> None:
        self.calls: list[str] = []
        self._at = at
        self._fault = fault
        self._every_attempt = every_attempt
        self._lock = threading.Lock()
        self._has_died = False

    def __call__(self, attempt: Attempt) -> AWSResponse:
        with self._lock:
            if self._has_died:
                raise DiedError(attempt.operation)
            is_first = attempt.call not in self.calls
            if is_first:
                self.calls.append(attempt.call)
            is_met = self.calls.index(attempt.call) == self._at and (is_first or self._every_attempt)
            self._has_died = is_met and self._fault in (die_before, die_after)
        return self._fault(attempt) if is_met else attempt.carry_out()


class Throttle:
    """Inject the fault into the first `times` attempts at this operation, by any client."""

    def __init__(self, operation: str, fault: Fault, times: int) -> None:
        self.left = times
        self._operation = operation
        self._fault = fault
        self._lock = threading.Lock()

    def __call__(self, attempt: Attempt) -> AWSResponse:
        with self._lock:
            is_met = attempt.operation == self._operation and self.left > 0
            self.left -= is_met
        return self._fault(attempt) if is_met else attempt.carry_out()


#: More attempts than any test makes.
ALWAYS = 1_000_000


@contextlib.contextmanager
def inject(operation: str, fault: Fault, times: int = 1) -> Iterator[None]:
    """
    Inject the fault into the first `times` attempts at this operation. The SDK's retries count as attempts.

    Raises:
        AssertionError: the block made fewer attempts, and `times` is not `ALWAYS`.
    """
    left = times

    def meet(request: Any, **_: Any) -> Any:
        nonlocal left
        if left == 0:
            return None
        left -= 1
        return fault(Attempt(operation, request, lambda: URLLib3Session().send(request)))

    for client in aws_requests.clients():
        client.meta.events.register(f"before-send.*.{operation}", meet)
    try:
        yield
    finally:
        for client in aws_requests.clients():
            client.meta.events.unregister(f"before-send.*.{operation}", meet)
    assert left == 0 or times == ALWAYS, f"{operation} was attempted only {times - left} times"


def _refuse_by_dynamodb(attempt: Attempt, code: str, **more: Any) -> AWSResponse:
    answer = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "not now", **more}
    return response(attempt.request, 400, {}, json.dumps(answer).encode())


def _refuse_by_sqs(attempt: Attempt, kind: str, code: str | None) -> AWSResponse:
    # The header has the error code of SQS's older protocol, if it differs.
    headers = {"x-amzn-query-error": code} if code else {}
    answer = {"__type": kind, "message": "not now"}
    return response(attempt.request, 400, headers, json.dumps(answer).encode())


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def response(request: Any, status: int, headers: dict[str, str], body: bytes) -> AWSResponse:
    """Make a response to a request."""

    class Raw:
        def stream(self) -> Iterator[bytes]:
            yield body

    sent = HTTPHeaders()
    for name, value in headers.items():
        sent[name] = str(value)
    return AWSResponse(request.url, status, sent, Raw())
