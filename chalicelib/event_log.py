"""Append events to the event log, and read them by id. No function changes or deletes an event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pynamodb.exceptions import PutError

from chalicelib import codec, retries
from chalicelib.aws import dynamodb, partitions
from chalicelib.aws.tables import EventItem
from chalicelib.domain.events import have_same_content
from chalicelib.errors import (
    ContendedError,
    EventNotFoundError,
    KeyReusedError,
    LogUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Set

    from pynamodb.transactions import TransactWrite

    from chalicelib.aws.dynamodb import RefusedError
    from chalicelib.domain.events import Event

_TRIES = 8


@dataclass(frozen=True, slots=True)
class Appended:
    """The event as recorded in the log. `was_recorded`: an earlier attempt or a concurrent caller appended it."""

    event: Event
    was_recorded: bool


def append(event: Event, *, likely_counted: bool = False) -> Appended:
    """
    Append the event unless its id is already in the log. The call usually takes one request.

    If several callers use the same id, one of them appends the event, and the others get the recorded event. A retry
    after a lost response is safe. `likely_counted` tells the projector that the command itself probably counts the
    event.

    Raises:
        KeyReusedError: the id belongs to a different event.
        LogUnavailableError: DynamoDB throttles or refuses the request, or does not respond. The outcome is unknown:
            retry with the same id.
        ContendedError: every attempt conflicted with a transaction on the same event id.
        NotUnderstoodError: this version of the code cannot decode the recorded event.
    """
    for _ in retries.with_backoff(_TRIES):
        try:
            _build_item(event, likely_counted=likely_counted).save(condition=EventItem.event_id.does_not_exist())
        except PutError as error:
            match dynamodb.error_code(error):
                case "ConditionalCheckFailedException":
                    return Appended(get_recorded(event), was_recorded=True)
                case "TransactionConflictException":
                    continue
            raise LogUnavailableError(str(error)) from error
        return Appended(event, was_recorded=False)
    raise ContendedError(f"a transaction on event {event.event_id} was in progress at every attempt")


def get_recorded(event: Event) -> Event:
    """
    Return the recorded event that has this event's id. Call this function only if the id is known to be in the log.

    Raises:
        KeyReusedError: the id belongs to a different event.
        LogUnavailableError: DynamoDB throttles or refuses the request or does not respond, or the event is not visible
            yet.
        NotUnderstoodError: this version of the code cannot decode the event.
    """
    recorded = find(event.counter_id, event.event_id)
    if recorded is None:
        raise LogUnavailableError(f"event {event.event_id} is in the log but not visible yet")
    if not have_same_content(recorded, event):
        raise KeyReusedError(event.counter_id, event.event_id)
    return recorded


def _build_item(event: Event, *, likely_counted: bool) -> EventItem:
    partition = partitions.event_partition(event.counter_id, event.event_id)
    return EventItem(partition=partition, likely_counted=likely_counted or None, **codec.encode_event(event))


def find(counter_id: str, event_id: str) -> Event | None:
    """
    Return the event with this id, or None if it is not in the log. The call takes one strongly consistent read.

    Raises:
        LogUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
        NotUnderstoodError: this version of the code cannot decode the event.
    """
    partition = partitions.event_partition(counter_id, event_id)
    item = dynamodb.find(EventItem, partition, event_id, LogUnavailableError)
    return None if item is None else codec.decode_event(counter_id, item.attribute_values)


def get(counter_id: str, event_id: str) -> Event:
    """
    Return the event with this id, if its type is counted. The call takes one strongly consistent read.

    Raises:
        EventNotFoundError: the log has no event with this id, or its type is not counted.
        LogUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
        NotUnderstoodError: this version of the code cannot decode the event.
    """
    event = find(counter_id, event_id)
    if event is None or not event.is_projected:
        raise EventNotFoundError(counter_id, event_id)
    return event


def get_many(counter_id: str, event_ids: Set[str]) -> list[Event]:
    """
    Return the events with these ids that are in the log, in no particular order. Each request reads up to 100 events.

    The first read is eventually consistent, which costs half as much. It cannot return stale data, because events never
    change. Ids that it does not find are read again with strong consistency.

    Raises:
        LogUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
        NotUnderstoodError: this version of the code cannot decode an event.
    """
    items = _get_batch(counter_id, event_ids, consistent_read=False)
    if missing := event_ids - {item.event_id for item in items}:
        items += _get_batch(counter_id, missing, consistent_read=True)
    return [codec.decode_event(counter_id, item.attribute_values) for item in items]


def include_append(transaction: TransactWrite, event: Event) -> None:
    """
    Include the append in a transaction that also counts the event.

    DynamoDB refuses the transaction if the log already has the event's id.
    """
    item = _build_item(event, likely_counted=True)
    transaction.save(item, condition=EventItem.event_id.does_not_exist())


def is_duplicate(refused: RefusedError) -> bool:
    """Check whether a transaction with an `include_append` was refused because the log already has the event's id."""
    return EventItem.Meta.table_name in refused.tables


def _get_batch(counter_id: str, event_ids: Set[str], *, consistent_read: bool) -> list[EventItem]:
    keys = [(partitions.event_partition(counter_id, event_id), event_id) for event_id in event_ids]
    with dynamodb.translate_errors(LogUnavailableError):
        return list(EventItem.batch_get(keys, consistent_read=consistent_read))
