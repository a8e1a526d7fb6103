"""Publish: forward what is new in the event log to the projection queue. Decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib import codec, parking, queues, settings, telemetry
from chalicelib.errors import NotUnderstoodError
from chalicelib.parking import Parked

if TYPE_CHECKING:
    from collections.abc import Iterable


def publish(records: Iterable[object]) -> None:
    """
    Every event that these stream records announce is on the projection queue, and every other record is parked.

    Many events travel in one message. A batch that is delivered again is published again: only counting is done once.

    Raises:
        QueueUnavailableError: SQS throttles or does not answer; the stream keeps the batch and delivers it again.
    """
    events, parked = [], []
    for record in records:
        try:
            events.append(codec.from_stream_record(record))
        except NotUnderstoodError as error:
            parked.append(Parked("event log stream", error.reason, record))
    for message in codec.messages(events):
        message_id = queues.send(settings.current().projection_queue, message.body)
        telemetry.published(message_id, message.event_ids)
    parking.park(parked)
