"""Sending to the queues. boto3, one client."""

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
    The queue named so holds this message, with these attributes as strings. Returns its id there.

    Raises:
        QueueUnavailableError: SQS throttles, refuses or does not answer. The message may have been sent.
    """
    sent: Any = {name: {"DataType": "String", "StringValue": value} for name, value in (attributes or {}).items()}
    try:
        answer = client().send_message(QueueUrl=queue_url(queue), MessageBody=body, MessageAttributes=sent)
    except (BotoCoreError, ClientError) as cause:
        raise QueueUnavailableError(f"{queue}: {cause}") from cause
    return answer["MessageId"]


def approximate_length(queue: str) -> int:
    """
    About how many messages wait on the queue named so.

    Raises:
        QueueUnavailableError: SQS throttles, refuses or does not answer.
    """
    wanted: Final = "ApproximateNumberOfMessages"
    try:
        found = client().get_queue_attributes(QueueUrl=queue_url(queue), AttributeNames=[wanted])
    except (BotoCoreError, ClientError) as cause:
        raise QueueUnavailableError(f"{queue}: {cause}") from cause
    return int(found["Attributes"][wanted])


@functools.cache
def client() -> SQSClient:
    """The one SQS client, and so the one pool of connections, of this process: made when it is first asked for."""
    import boto3  # noqa: PLC0415  (most functions never send anything)

    return boto3.Session(botocore_session=session.create_session()).client("sqs")


@functools.cache
def queue_url(queue: str) -> str:
    """The address of the queue named so, asked for once in the life of a process."""
    return client().get_queue_url(QueueName=queue)["QueueUrl"]
