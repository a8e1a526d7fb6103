"""Project messages of a queue onto a read model: count each event once, and park messages that are invalid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib import codec, settings, telemetry
from chalicelib.aws import dead_letters
from chalicelib.aws.dead_letters import DeadLetter
from chalicelib.domain.events import oldest_ms
from chalicelib.errors import PartlyCountedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Set

    from chalicelib.domain.events import Event


@dataclass(frozen=True, slots=True)
class Projection:
    """
    A read model that is made from the messages of a queue.

    `count` counts events, each once, and returns those that were not counted before, as (counter id, event id). Its
    second argument are the counters whose events are likely to be counted already. If it can count only a part, it
    raises a `PartlyCountedError`. `source` is the source that parked messages name, `dead_letter_queue` their queue,
    and `metrics` the prefix of the metrics' names.
    """

    source: str
    dead_letter_queue: str
    count: Callable[[list[Event], Collection[str]], Set[tuple[str, str]]]
    metrics: str = ""


@dataclass(frozen=True, slots=True)
class _Message:
    message_id: Any
    events: list[Event]
    parked: DeadLetter | None
    is_likely_counted: bool

    def is_about(self, counter_ids: Collection[str]) -> bool:
        return any(event.counter_id in counter_ids for event in self.events)


def project(records: Iterable[object]) -> dict[str, Any]:
    """
    Count every event in these SQS records in the read model, once; see `project_onto`.

    Raises:
        ReadModelUnavailableError, ContendedError, PartlyCountedError, QueueUnavailableError: a passing failure. The
            queue delivers all records again; events that were counted stay counted once.
    """
    from chalicelib.read_model import writer  # noqa: PLC0415  (other projections do without DynamoDB)

    return project_onto(Projection("projection queue", settings.current().dead_letter_queue, writer.count), records)


def project_onto(projection: Projection, records: Iterable[object]) -> dict[str, Any]:
    """
    Count every event in these SQS records, once, and park each record that has anything else in it.

    Records may be delivered again, late, in any order and in any batch. Returns a partial batch response: the records
    whose events could not all be counted, which the queue delivers again. If the event source does not read partial
    batch responses, or no record was counted, this raises instead.

    Raises:
        UnavailableError: a passing failure. The queue delivers all records again; events that were counted stay counted
            once.
    """
    messages = [_message(record, projection.source) for record in records]
    events = [event for message in messages for event in message.events]
    likely_counted = {event.counter_id for message in messages if message.is_likely_counted for event in message.events}
    again: list[_Message] = []
    try:
        new = projection.count(events, likely_counted)
    except PartlyCountedError as error:
        _measure(messages, error.new, error.uncounted, projection.metrics)
        again = [message for message in messages if message.is_about(error.uncounted)]
        if not settings.current().partial_batch_responses or len(again) == len(messages):
            raise
        telemetry.log_not_counted([message.message_id for message in again], error.uncounted)
    else:
        _measure(messages, new, frozenset(), projection.metrics)
    done = [message for message in messages if message not in again]
    dead_letters.park((message.parked for message in done if message.parked), projection.dead_letter_queue)
    return {"batchItemFailures": [{"itemIdentifier": message.message_id} for message in again]}


def _measure(messages: list[_Message], new: Set[tuple[str, str]], uncounted: Collection[str], metrics: str) -> None:
    """Operators see how many of these messages' events are counted, even if all of the messages come again."""
    counted = [
        event
        for message in messages
        for event in message.events
        if event.counter_id not in uncounted or (event.counter_id, event.event_id) in new
    ]
    telemetry.log_projected(
        [message.message_id for message in messages if not message.is_about(uncounted)],
        events=len(counted),
        new=len(new),
        oldest_ms=oldest_ms(counted, new),
        metrics=metrics,
    )


def _message(record: object, source: str) -> _Message:
    fields = record if isinstance(record, dict) else {}
    body, message_id = fields.get("body"), fields.get("messageId")
    events, reasons = codec.decode_message(body)
    original = record if body is None else body
    parked = DeadLetter(source, "; ".join(reasons), original, message_id) if reasons else None
    return _Message(message_id, events, parked, is_likely_counted=_is_likely_counted(fields))


def _is_likely_counted(record: dict[str, Any]) -> bool:
    """Check whether this record's events are likely to be counted already, so that a read is cheaper than a write."""
    match record:
        case {"attributes": {"ApproximateReceiveCount": str(times)}} if times not in ("0", "1"):
            return True
        case {"messageAttributes": dict(attributes)}:
            return attributes.keys() >= codec.LIKELY_COUNTED.keys()
    return False
