"""The event log: append and read events. Nothing here changes or deletes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pynamodb.exceptions import DoesNotExist, PutError

from chalicelib import codec, retries, settings
from chalicelib.aws import dynamodb
from chalicelib.aws.tables import EventItem
from chalicelib.domain.events import same_content
from chalicelib.errors import (
    ContendedError,
    EventNotFoundError,
    KeyReusedError,
    LogUnavailableError,
    NotUnderstoodError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Set

    from pynamodb.transactions import TransactWrite

    from chalicelib.domain.events import Event

_TRIES = 8

#: Events in one answer to who reads many: soon there, and soon shown as progress.
_EVENTS_PER_REQUEST = 1000


@dataclass(frozen=True, slots=True)
class Appended:
    """The event as it stands in the log, and whether it stood there before."""

    event: Event
    is_retry: bool


def append(event: Event, *, counted_at_once: bool = False) -> Appended:
    """
    Append the event unless its id is already in the log. One request in the usual case.

    Of several callers with the same id, one appends and the others get the recorded event. A retry after a lost
    response is safe. `counted_at_once` tells the projector that the command counts the event itself, if all goes well.

    Raises:
        KeyReusedError: the id belongs to a different event.
        LogUnavailableError: DynamoDB throttles or does not answer. The outcome is unknown: retry with the same id.
        ContendedError: conflicts with transactions on the same event id at every try.
    """
    for _ in retries.attempts(_TRIES):
        try:
            _build_item(event, counted_at_once=counted_at_once).save(condition=EventItem.event_id.does_not_exist())
        except PutError as error:
            match dynamodb.error_code(error):
                case "ConditionalCheckFailedException":
                    return Appended(get_recorded(event), is_retry=True)
                case "TransactionConflictException":
                    continue
            raise LogUnavailableError(str(error)) from error
        return Appended(event, is_retry=False)
    raise ContendedError(f"event {event.event_id} is written by concurrent commands")


def include_append(transaction: TransactWrite, event: Event) -> None:
    """Make the append a member of a transaction, which counts the event, too. It is refused if the id is taken."""
    transaction.save(_build_item(event, counted_at_once=True), condition=EventItem.event_id.does_not_exist())


def find(counter_id: str, event_id: str) -> Event | None:
    """
    The event with this id, or None if the log has none. One strongly consistent read.

    Raises:
        LogUnavailableError: DynamoDB throttles or does not answer.
        NotUnderstoodError: there is one, and this version of the code cannot read it.
    """
    partition = codec.log_partition(counter_id, event_id, settings.current().shards)
    with dynamodb.translate_errors(LogUnavailableError):
        try:
            item = EventItem.get(partition, event_id, consistent_read=True)
        except DoesNotExist:
            return None
    return codec.decode_event(counter_id, item.attribute_values)


def get(counter_id: str, event_id: str) -> Event:
    """
    The event with this id. One strongly consistent read.

    Raises:
        EventNotFoundError: the log has none.
        LogUnavailableError: DynamoDB throttles or does not answer.
        NotUnderstoodError: there is one, and this version of the code cannot read it.
    """
    found = find(counter_id, event_id)
    if found is None:
        raise EventNotFoundError(counter_id, event_id)
    return found


def get_many(counter_id: str, event_ids: Set[str]) -> list[Event]:
    """
    Those of these events that the log holds, in no order. One request for up to 100 of them.

    An event never changes, so one that is found is as it was recorded. What a read that may be behind does not find,
    a strongly consistent one looks for again.

    Raises:
        LogUnavailableError: DynamoDB throttles or does not answer.
        NotUnderstoodError: one of them cannot be read by this version of the code.
    """
    found = _get_batch(counter_id, event_ids, consistent_read=False)
    if missing := event_ids - {item.event_id for item in found}:
        found += _get_batch(counter_id, missing, consistent_read=True)
    return [codec.decode_event(counter_id, item.attribute_values) for item in found]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that the log holds and that this version of the code cannot read: where it is, and why not."""

    partition: str
    event_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class LogPosition:
    """A place in the log: behind this event."""

    partition: str
    event_id: str


def position_of(event: Event) -> LogPosition:
    """The place behind this event."""
    return LogPosition(codec.log_partition(event.counter_id, event.event_id, settings.current().shards), event.event_id)


def find_many(counter_id: str, event_ids: Set[str]) -> list[Event | Unreadable]:
    """
    Those of these events that the log holds, in no order. Strongly consistent, one request for up to 100 of them.

    Raises:
        LogUnavailableError: DynamoDB throttles or does not answer.
    """
    return [_decode(item) for item in _get_batch(counter_id, event_ids, consistent_read=True)]


def scan(
    segment: int = 0, segments: int = 1, after: LogPosition | None = None, at_once: int = _EVENTS_PER_REQUEST
) -> Iterator[Event | Unreadable]:
    """
    Every event that the log holds when this begins, of one of so many equal parts of all counters, from a place on.

    A partition's events come together, in the order of their ids. Strongly consistent. Each request brings at most
    `at_once` events.

    Raises:
        LogUnavailableError: DynamoDB throttles or does not answer.
    """
    with dynamodb.translate_errors(LogUnavailableError):
        for item in EventItem.scan(
            segment=segment,
            total_segments=segments,
            consistent_read=True,
            page_size=at_once,
            last_evaluated_key=_key(after),
        ):
            yield _decode(item)


def scan_counter(counter_id: str, after: LogPosition | None = None) -> Iterator[Event | Unreadable]:
    """
    Yield every event of this counter that the log holds when this begins, part by part, by id, from a position on.

    Raises:
        LogUnavailableError: DynamoDB throttles or does not answer.
    """
    shards = settings.current().shards
    partitions = [codec.partition_key(counter_id, part, shards) for part in range(shards)]
    for partition in partitions[partitions.index(after.partition) if after else 0 :]:
        yield from scan_partition(partition, after if after and after.partition == partition else None)


def scan_partition(partition: str, after: LogPosition | None = None) -> Iterator[Event | Unreadable]:
    """
    Yield every event of one partition of the log, by id, from a position on.

    Raises:
        LogUnavailableError: DynamoDB throttles or does not answer.
    """
    with dynamodb.translate_errors(LogUnavailableError):
        for item in EventItem.query(
            partition, consistent_read=True, page_size=_EVENTS_PER_REQUEST, last_evaluated_key=_key(after)
        ):
            yield _decode(item)


def skip_unreadable(events: Iterable[Event | Unreadable]) -> Iterator[Event]:
    """The events among these that this version of the code can read."""
    return (event for event in events if not isinstance(event, Unreadable))


def _key(place: LogPosition | None) -> dict[str, dict[str, str]] | None:
    return None if place is None else {"partition": {"S": place.partition}, "event_id": {"S": place.event_id}}


def _decode(item: EventItem) -> Event | Unreadable:
    try:
        event = codec.decode_event(codec.counter_id_of(item.partition), item.attribute_values)
    except NotUnderstoodError as error:
        return Unreadable(item.partition, item.event_id, error.reason)
    if codec.log_partition(event.counter_id, event.event_id, settings.current().shards) != item.partition:
        reason = "its partition is that of a stage with another number of SHARDS"
        return Unreadable(item.partition, item.event_id, reason)
    return event


def get_recorded(event: Event) -> Event:
    """
    What the log holds under this event's id, which is known to be taken.

    Raises:
        KeyReusedError: it says something else.
        LogUnavailableError: DynamoDB throttles or does not answer.
        NotUnderstoodError: this version of the code cannot read it.
    """
    found = find(event.counter_id, event.event_id)
    if found is None:
        raise LogUnavailableError(f"event {event.event_id} is in the log and cannot be read")
    if not same_content(found, event):
        raise KeyReusedError(event.counter_id, event.event_id)
    return found


def _get_batch(counter_id: str, event_ids: Set[str], *, consistent_read: bool) -> list[EventItem]:
    shards = settings.current().shards
    keys = [(codec.log_partition(counter_id, event_id, shards), event_id) for event_id in event_ids]
    with dynamodb.translate_errors(LogUnavailableError):
        return list(EventItem.batch_get(keys, consistent_read=consistent_read))


def _build_item(event: Event, *, counted_at_once: bool) -> EventItem:
    partition = codec.log_partition(event.counter_id, event.event_id, settings.current().shards)
    return EventItem(partition=partition, counted_at_once=counted_at_once or None, **codec.encode_event(event))
