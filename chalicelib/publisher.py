"""Publish the events of the log's stream to the queue of each projection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib import codec, settings, telemetry
from chalicelib.aws import dead_letters, sqs
from chalicelib.aws.dead_letters import DeadLetter
from chalicelib.errors import NotUnderstoodError, QueueUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chalicelib.codec import Message
    from chalicelib.domain.events import Event
    from chalicelib.projections import Projection


def publish(batch: object) -> None:
    """
    Send the events of a batch of stream records to each projection's queue, and park invalid records.

    A message contains many events. Events that their commands have probably counted go into separate messages. An
    attribute of these messages makes the projector read before it writes. Events of types that are not counted are not
    sent. If one queue fails, the other queues still receive the events. A redelivered batch is published again, and
    duplicates are counted once.

    Raises:
        QueueUnavailableError: SQS throttles or refuses the request, or does not respond. Lambda delivers the batch
            again.
    """
    events: list[Event] = []
    likely_counted: list[Event] = []
    parked: list[DeadLetter] = []
    for record in codec.list_records(batch):
        try:
            event = codec.decode_stream_record(record)
        except NotUnderstoodError as error:
            parked.append(DeadLetter(dead_letters.STREAM_SOURCE, error.reason, record))
        else:
            if event.is_projected:
                (likely_counted if codec.is_likely_counted(record) else events).append(event)
    messages = [*codec.encode_messages(events), *codec.encode_messages(likely_counted, likely_counted=True)]
    failures: list[QueueUnavailableError] = []
    current = settings.current()
    for projection in current.projections:
        try:
            _send(messages, projection, current.stage)
        except QueueUnavailableError as failure:
            failures.append(failure)
    if failures:
        raise failures[0]
    for projection in current.projections:
        dead_letters.park(parked, projection.dead_letter_queue(current.stage))


def _send(messages: Iterable[Message], projection: Projection, stage: str) -> None:
    queue = projection.queue(stage)
    for message in messages:
        message_id = sqs.send(queue, message.body, message.attributes)
        telemetry.log_published(message_id, message.event_ids, projection, queue)
