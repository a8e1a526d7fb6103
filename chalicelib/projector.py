"""Project the messages of a queue onto a read model: count each event once, and park invalid messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib import codec, settings, telemetry
from chalicelib.aws import dead_letters
from chalicelib.aws.dead_letters import DeadLetter
from chalicelib.errors import PartlyCountedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Set

    from chalicelib.domain.events import Event
    from chalicelib.projections import Projection

    #: A function that counts each event once and returns the newly counted events, as (counter id, event id). It
    #: returns None if the read model cannot distinguish new events from redelivered ones, for example because it keeps
    #: a set or a maximum. The second argument names the counters whose events are probably counted already. The
    #: function raises a `PartlyCountedError` if only some events are counted; the error's `new` may be empty.
    Count = Callable[[list[Event], Collection[str]], Set[tuple[str, str]] | None]


@dataclass(frozen=True, slots=True)
class _Message:
    message_id: Any
    events: list[Event]
    dead_letter: DeadLetter | None
    is_likely_counted: bool

    def concerns(self, counter_ids: Collection[str]) -> bool:
        return any(event.counter_id in counter_ids for event in self.events)


def project(projection: Projection, count: Count, batch: object) -> dict[str, Any]:
    """
    Count each event in a batch of SQS records once, with `count`, and park the records with invalid content.

    The queue may deliver records repeatedly, after any delay, in any order and in any batch. The result is a partial
    batch response. It names the records with uncounted events, which the queue delivers again. If the event source
    ignores partial batch responses, or every record has uncounted events, `project` raises an error instead.

    Raises:
        UnavailableError: events are not counted, or messages are not parked. The queue delivers all records again;
            counted events are not counted twice.
    """
    current = settings.current()
    messages = [_decode(record, projection) for record in codec.list_records(batch)]
    events = [event for message in messages for event in message.events]
    likely_counted = {event.counter_id for message in messages if message.is_likely_counted for event in message.events}
    failed: list[_Message] = []
    try:
        new = count(events, likely_counted)
        if new is None:
            new = {_key(event) for event in events}
    except PartlyCountedError as error:
        _measure(messages, error.new, error.uncounted, projection.prefix)
        failed = [message for message in messages if message.concerns(error.uncounted)]
        if not current.partial_batch_responses or len(failed) == len(messages):
            raise
        telemetry.log_not_counted([message.message_id for message in failed], error.uncounted)
    else:
        _measure(messages, new, frozenset(), projection.prefix)
    invalid = [message.dead_letter for message in messages if message.dead_letter and message not in failed]
    dead_letters.park(invalid, projection.dead_letter_queue(current.stage))
    return {"batchItemFailures": [{"itemIdentifier": message.message_id} for message in failed]}


def _measure(
    messages: list[_Message], new: Set[tuple[str, str]], uncounted: Collection[str], metric_prefix: str
) -> None:
    """Log and measure how many events of these messages are counted, even if the queue delivers all messages again."""
    counted = [
        event
        for message in messages
        for event in message.events
        if event.counter_id not in uncounted or _key(event) in new
    ]
    telemetry.log_projected(
        [message.message_id for message in messages if not message.concerns(uncounted)],
        events=len(counted),
        new=len(new),
        oldest_ms=min((event.recorded_at_ms for event in counted if _key(event) in new), default=None),
        metric_prefix=metric_prefix,
    )


def _key(event: Event) -> tuple[str, str]:
    return event.counter_id, event.event_id


def _decode(record: object, projection: Projection) -> _Message:
    fields = record if isinstance(record, dict) else {}
    body, message_id = fields.get("body"), fields.get("messageId")
    decoded, reasons = codec.decode_message(body)
    events = [event for event in decoded if event.is_projected]
    dead_letter = None
    if reasons:
        original = record if body is None else body
        dead_letter = DeadLetter(projection.describe("projection queue"), "; ".join(reasons), original, message_id)
    return _Message(message_id, events, dead_letter, is_likely_counted=_is_likely_counted(fields))


def _is_likely_counted(record: dict[str, Any]) -> bool:
    """Check whether this record's events are probably counted already, so that a read is cheaper than a write."""
    match record:
        case {"attributes": {"ApproximateReceiveCount": str(times)}} if times not in ("0", "1"):
            return True
        case {"messageAttributes": dict(attributes)}:
            return attributes.keys() >= codec.LIKELY_COUNTED.keys()
    return False
