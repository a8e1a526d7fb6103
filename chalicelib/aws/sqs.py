"""Send messages to queues."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import session
from chalicelib.errors import QueueUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


def send(queue: str, body: str, attributes: dict[str, str] | None = None) -> str:
    """
    Send a message to the queue with this name, with text attributes. Return the message's id.

    Raises:
        QueueUnavailableError: SQS throttles or refuses the request, or does not respond. The message may have been
            sent.
    """
    texts: Any = {name: {"DataType": "String", "StringValue": value} for name, value in (attributes or {}).items()}
    try:
        response = client().send_message(QueueUrl=queue_url(queue), MessageBody=body, MessageAttributes=texts)
    except (BotoCoreError, ClientError) as cause:
        raise QueueUnavailableError(f"{queue}: {cause}") from cause
    return response["MessageId"]


def approximate_length(queue: str) -> int:
    """
    Return the approximate number of messages on the queue with this name.

    The number includes messages that a consumer has received but not deleted.

    Raises:
        QueueUnavailableError: SQS throttles or refuses the request, or does not respond.
    """
    names: Final = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    try:
        response = client().get_queue_attributes(QueueUrl=queue_url(queue), AttributeNames=names)
    except (BotoCoreError, ClientError) as cause:
        raise QueueUnavailableError(f"{queue}: {cause}") from cause
    return sum(int(response["Attributes"][name]) for name in names)


@functools.cache
def client() -> SQSClient:
    """Return the process's only SQS client, with its only connection pool. Create it on first use."""
    import boto3  # noqa: PLC0415  (most functions never send messages)

    return boto3.Session(botocore_session=session.create_session()).client("sqs")


@functools.cache
def queue_url(queue: str) -> str:
    """Return the URL of the queue with this name. Each process looks up each queue once."""
    return client().get_queue_url(QueueName=queue)["QueueUrl"]
