"""The event log: append and read events. Nothing here changes or deletes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pynamodb.exceptions import DoesNotExist, PutError

from chalicelib import codec, counting, dynamodb, settings
from chalicelib.errors import ContendedError, EventNotFoundError, KeyReusedError, LogUnavailableError
from chalicelib.tables import EventItem

if TYPE_CHECKING:
    from collections.abc import Set

    from pynamodb.transactions import TransactWrite

    from chalicelib.counting import Event

_TRIES = 8


@dataclass(frozen=True, slots=True)
class Appended:
    """The event as it stands in the log, and whether it stood there before."""

    event: Event
    again: bool


def append(event: Event) -> Appended:
    """
    Record the event, or find that it was recorded before. One request in the first case.

    Of several callers with the same event id, one appends and the others are told so; it makes no difference which,
    nor whether an answer was lost on the way and the request was sent again.

    Raises:
        KeyReusedError: the id is taken by an event that says something else.
        LogUnavailableError: DynamoDB throttles or does not answer. Nothing is known: retry with the same id.
        ContendedError: transactions on the very same event id were in the way each time.
    """
    for _ in dynamodb.attempts(_TRIES):
        try:
            _item(event).save(condition=EventItem.event_id.does_not_exist())
        except PutError as error:
            match dynamodb.code(error):
                case "ConditionalCheckFailedException":
                    return Appended(recorded(event), again=True)
                case "TransactionConflictException":
                    continue
            raise LogUnavailableError(str(error)) from error
        return Appended(event, again=False)
    raise ContendedError(f"event {event.event_id} is being written by others")


def append_within(transaction: TransactWrite, event: Event) -> None:
    """Make the append a member of a transaction: it is refused, and all of it with it, if the id is taken."""
    transaction.save(_item(event), condition=EventItem.event_id.does_not_exist())


def find(counter_id: str, event_id: str) -> Event | None:
    """
    The event with this id, or None if the log has none. One strongly consistent read.

    Raises:
        LogUnavailableError: DynamoDB throttles or does not answer.
        NotUnderstoodError: there is one, and this version of the code cannot read it.
    """
    partition = codec.log_partition(counter_id, event_id, settings.current().shards)
    with dynamodb.unavailable_as(LogUnavailableError):
        try:
            item = EventItem.get(partition, event_id, consistent_read=True)
        except DoesNotExist:
            return None
    return codec.from_fields(counter_id, item.attribute_values)


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
    found = _batch(counter_id, event_ids, consistent_read=False)
    if missing := event_ids - {event.event_id for event in found}:
        found += _batch(counter_id, missing, consistent_read=True)
    return found


def recorded(event: Event) -> Event:
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
    if not counting.says_the_same(found, event):
        raise KeyReusedError(event.counter_id, event.event_id)
    return found


def _batch(counter_id: str, event_ids: Set[str], *, consistent_read: bool) -> list[Event]:
    shards = settings.current().shards
    keys = [(codec.log_partition(counter_id, event_id, shards), event_id) for event_id in event_ids]
    with dynamodb.unavailable_as(LogUnavailableError):
        items = list(EventItem.batch_get(keys, consistent_read=consistent_read))
    return [codec.from_fields(counter_id, item.attribute_values) for item in items]


def _item(event: Event) -> EventItem:
    partition = codec.log_partition(event.counter_id, event.event_id, settings.current().shards)
    return EventItem(partition=partition, **codec.fields(event))
