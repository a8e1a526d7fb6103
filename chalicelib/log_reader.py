"""
Read and scan the event log, for purges, checks and operators. No function changes the log.

An event that this version of the code cannot decode is returned as `Unreadable`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib import codec
from chalicelib.aws import dynamodb, partitions
from chalicelib.aws.tables import EventItem
from chalicelib.domain.events import FIRST_ID_AFTER_PURGES, Purged
from chalicelib.errors import LogUnavailableError, NotUnderstoodError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Set

    from chalicelib.domain.events import Event

#: The number of events in each response to a scan, small enough for fast responses and a smooth progress bar.
_EVENTS_PER_REQUEST = 1000

#: The result of `read_purge` for a partition without a purge: earlier than any event's time.
NEVER_PURGED = -1


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The position of an event that the code cannot decode, or that is in the wrong partition, and the reason."""

    partition: str
    event_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class LogPosition:
    """A position in the log: right after the event with this key."""

    partition: str
    event_id: str


def locate(event: Event | Unreadable) -> LogPosition:
    """Return the position in the log right after this event."""
    if isinstance(event, Unreadable):
        return LogPosition(event.partition, event.event_id)
    return LogPosition(partitions.event_partition(event.counter_id, event.event_id), event.event_id)


def find_many(counter_id: str, event_ids: Set[str]) -> list[Event | Unreadable]:
    """
    Return the events with these ids that are in the log, in no particular order. Reads are strongly consistent.

    Each request reads up to 100 events.

    Raises:
        LogUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
    """
    keys = [(partitions.event_partition(counter_id, event_id), event_id) for event_id in event_ids]
    return [_decode(item) for item in _get_batch(keys)]


def find_recorded(events: Iterable[Event]) -> dict[LogPosition, Event | Unreadable]:
    """
    Return the recorded events that have the same ids as these events, keyed by position. The ids must be distinct.

    Reads are strongly consistent. Each request reads up to 100 events.

    Raises:
        LogUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
    """
    keys = [(position.partition, position.event_id) for position in map(locate, events)]
    return {LogPosition(item.partition, item.event_id): _decode(item) for item in _get_batch(keys)}


def scan(
    segment: int = 0, segments: int = 1, after: LogPosition | None = None, at_once: int = _EVENTS_PER_REQUEST
) -> Iterator[Event | Unreadable]:
    """
    Yield the events in one of `segments` segments of the log, starting after a position.

    The scan is strongly consistent and includes every event that is in the log when it starts. The events of a
    partition are adjacent and ordered by id. Each request returns at most `at_once` events.

    Raises:
        LogUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
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
    Yield the counter's events after a position, part by part. The events of a part are ordered by id.

    The scan includes every event that is in the log when it starts.

    Raises:
        LogUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
    """
    names = [partitions.format_partition(key) for key in partitions.part_keys(counter_id)]
    for partition in names[names.index(after.partition) if after else 0 :]:
        yield from scan_partition(partition, after if after and after.partition == partition else None)


def scan_partition(
    partition: str, after: LogPosition | None = None, at_once: int = _EVENTS_PER_REQUEST
) -> Iterator[Event | Unreadable]:
    """
    Yield the events of one partition of the log after a position, ordered by id. Purges come first.

    Each request returns at most `at_once` events.

    Raises:
        LogUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
    """
    with dynamodb.translate_errors(LogUnavailableError):
        for item in EventItem.query(partition, consistent_read=True, page_size=at_once, last_evaluated_key=_key(after)):
            yield _decode(item)


def skip_unreadable(events: Iterable[Event | Unreadable]) -> Iterator[Event]:
    """Yield the events that this version of the code can decode."""
    return (event for event in events if not isinstance(event, Unreadable))


def read_purge(partition: str) -> int:
    """
    Return the time, in ms since 1970, up to which this partition's events are void, or `NEVER_PURGED`.

    The call takes one strongly consistent read.

    Raises:
        LogUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
    """
    with dynamodb.translate_errors(LogUnavailableError):
        items = EventItem.query(partition, EventItem.event_id < FIRST_ID_AFTER_PURGES, consistent_read=True)
        purges = [event for event in map(_decode, items) if isinstance(event, Purged)]
    return max((purge.until_ms for purge in purges), default=NEVER_PURGED)


def is_void(event: Event) -> bool:
    """
    Check whether a purge voids this event. The call takes one strongly consistent read.

    Raises:
        LogUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
    """
    return event.recorded_at_ms <= read_purge(locate(event).partition)


def _key(position: LogPosition | None) -> dict[str, dict[str, str]] | None:
    return None if position is None else {"partition": {"S": position.partition}, "event_id": {"S": position.event_id}}


def _decode(item: EventItem) -> Event | Unreadable:
    try:
        event = codec.decode_event(codec.extract_counter_id(item.partition), item.attribute_values)
    except NotUnderstoodError as error:
        return Unreadable(item.partition, item.event_id, error.reason)
    if partitions.event_partition(event.counter_id, event.event_id) != item.partition:
        return Unreadable(item.partition, item.event_id, "its partition was chosen with another value of SHARDS")
    return event


def _get_batch(keys: list[tuple[str, str]]) -> list[EventItem]:
    with dynamodb.translate_errors(LogUnavailableError):
        return [*EventItem.batch_get(keys, consistent_read=True)] if keys else []
