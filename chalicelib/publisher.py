"""Publish: forward the events that the log's stream announces to the queue of each projection. Decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib import codec, settings, telemetry
from chalicelib.aws import dead_letters, sqs
from chalicelib.aws.dead_letters import DeadLetter
from chalicelib.errors import NotUnderstoodError, QueueUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chalicelib.domain.events import Event
    from chalicelib.settings import Receiver


def publish(records: Iterable[object]) -> None:
    """
    Send every event that these stream records announce to each projection's queue, and park every other record.

    Many events travel in one message. Events that their own commands count travel in messages that say so. If one
    queue fails, the others get the events all the same. A batch that is delivered again is published again: only
    counting happens once.

    Raises:
        QueueUnavailableError: SQS throttles or does not answer. The stream delivers the batch again.
    """
    recorded: list[Event] = []
    counted: list[Event] = []
    parked: list[DeadLetter] = []
    for record in records:
        try:
            event = codec.decode_stream_record(record)
        except NotUnderstoodError as error:
            parked.append(DeadLetter(dead_letters.STREAM_SOURCE, error.reason, record))
        else:
            (counted if codec.is_counted_at_once(record) else recorded).append(event)
    failures: list[QueueUnavailableError] = []
    for receiver in settings.current().receivers:
        try:
            _send(recorded, receiver, {})
            _send(counted, receiver, codec.LIKELY_COUNTED)
        except QueueUnavailableError as failure:
            failures.append(failure)
    if failures:
        raise failures[0]
    for receiver in settings.current().receivers:
        dead_letters.park(parked, receiver.dead_letter_queue)


def _send(events: Iterable[Event], receiver: Receiver, attributes: dict[str, str]) -> None:
    for message in codec.encode_messages(events):
        message_id = sqs.send(receiver.queue, message.body, attributes)
        telemetry.log_published(message_id, message.event_ids, receiver.queue)
