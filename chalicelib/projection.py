"""What every projection does with messages from its queue: count what is understood, once, and park the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib import codec, counting, parking, settings, telemetry
from chalicelib.errors import PartlyCountedError
from chalicelib.parking import Parked

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Set

    from chalicelib.counting import Event


@dataclass(frozen=True, slots=True)
class Projection:
    """
    A read model that is made from the messages of a queue.

    `count` counts events, each once, and gives those that were new, each as its counter's id and its own; where it can
    count a part only, it raises a `PartlyCountedError` that says which. `source` is what parked messages are said to
    come from, `dead_letter_queue` where they go, and `metrics` what the names of its metrics begin with.
    """

    source: str
    dead_letter_queue: str
    count: Callable[[list[Event]], Set[tuple[str, str]]]
    metrics: str = ""


@dataclass(frozen=True, slots=True)
class _Message:
    message_id: Any
    events: list[Event]
    parked: Parked | None

    def is_about(self, counter_ids: Collection[str]) -> bool:
        return any(event.counter_id in counter_ids for event in self.events)


def project(records: Iterable[object], onto: Projection) -> dict[str, Any]:
    """
    Every event in these SQS records is counted, once, and a record with anything else in it is parked.

    Except in the records that the answer names, in the shape that Lambda reads if its event source says so: the queue
    keeps those and delivers them again. Some are named only if the settings say that they are read, and only if not all
    would be. Records may come again, late, in any order and company.

    Raises:
        UnavailableError: a passing failure; the queue keeps all the records and delivers them again, and what is
            counted by then stays counted once.
    """
    messages = [_message(record, onto.source) for record in records]
    events = [event for message in messages for event in message.events]
    again: list[_Message] = []
    try:
        new = onto.count(events)
    except PartlyCountedError as error:
        _measure(messages, error.new, error.uncounted, onto.metrics)
        again = [message for message in messages if message.is_about(error.uncounted)]
        if not settings.current().partial_batch_responses or len(again) == len(messages):
            raise
        telemetry.not_counted([message.message_id for message in again], error.uncounted)
    else:
        _measure(messages, new, frozenset(), onto.metrics)
    done = [message for message in messages if message not in again]
    parking.park((message.parked for message in done if message.parked), onto.dead_letter_queue)
    return {"batchItemFailures": [{"itemIdentifier": message.message_id} for message in again]}


def _measure(messages: list[_Message], new: Set[tuple[str, str]], uncounted: Collection[str], metrics: str) -> None:
    """Operators see how many of these messages' events are counted, even if all of the messages come again."""
    counted = [
        event
        for message in messages
        for event in message.events
        if event.counter_id not in uncounted or (event.counter_id, event.event_id) in new
    ]
    telemetry.projected(
        [message.message_id for message in messages if not message.is_about(uncounted)],
        events=len(counted),
        new=len(new),
        oldest_ms=counting.oldest_ms(counted, new),
        metrics=metrics,
    )


def _message(record: object, source: str) -> _Message:
    body, message_id = (record.get("body"), record.get("messageId")) if isinstance(record, dict) else (None, None)
    events, reasons = codec.from_message(body)
    original = record if body is None else body
    parked = Parked(source, "; ".join(reasons), original, message_id) if reasons else None
    return _Message(message_id, events, parked)
