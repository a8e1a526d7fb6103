"""Publish: forward what is new in the event log to the projections' queues. Decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib import codec, parking, queues, settings, telemetry
from chalicelib.errors import NotUnderstoodError, QueueUnavailableError
from chalicelib.parking import Parked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chalicelib.settings import Receiver


def publish(records: Iterable[object]) -> None:
    """
    Every event that these stream records announce is on each projection's queue, and every other record is parked
    for each. Where one of the queues is in trouble, the others have it all the same.

    Many events travel in one message. A batch that is delivered again is published again: only counting is done once.

    Raises:
        QueueUnavailableError: SQS throttles or does not answer; the stream keeps the batch and delivers it again.
    """
    events, parked = [], []
    for record in records:
        try:
            events.append(codec.from_stream_record(record))
        except NotUnderstoodError as error:
            parked.append(Parked(parking.FROM_THE_STREAM, error.reason, record))
    messages = [*codec.messages(events)]
    troubles: list[QueueUnavailableError] = []
    for receiver in settings.current().receivers:
        try:
            _send(messages, receiver)
        except QueueUnavailableError as trouble:  # of this queue: the others are not to wait for it
            troubles.append(trouble)
    if troubles:
        raise troubles[0]
    for receiver in settings.current().receivers:
        parking.park(parked, receiver.dead_letter_queue)


def _send(messages: list[codec.Message], receiver: Receiver) -> None:
    for message in messages:
        message_id = queues.send(receiver.queue, message.body)
        telemetry.published(message_id, message.event_ids, receiver.queue)
