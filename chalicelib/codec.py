"""
Events as they are stored and sent. This room alone knows the names; they are a public interface and never renamed.

In the log, on its stream and in a message, an event is the same set of fields:

    type         "Incremented" or "Adjusted"
    version      of the type: 1
    event_id     a UUID in its canonical text form
    by           what is added: 1 to 2**53 - 1; in "Adjusted" of either sign, and not 0
    recorded_at  milliseconds since 1970 in UTC
    reason       in "Adjusted": why, 1 to 200 printable characters
    who          in "Adjusted": by whom, likewise

and who it belongs to: `counter_id` in a message, and in the log `partition`, the counter id with a shard suffix where
there are several shards ("clicks", "clicks#3"). The suffix helps to find an event; where it is counted follows from its
id alone. A new type or version is added beside the old ones, which stay readable for as long as a log holds them.
"""

from __future__ import annotations

import json
import re
import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib.domain.events import (
    LARGEST_AMOUNT,
    LATEST_MS,
    MAX_PARTS,
    Adjusted,
    Event,
    Incremented,
    is_counter_id,
    is_event_id,
    is_valid_adjustment,
    is_valid_text,
    part_of,
)
from chalicelib.errors import NotUnderstoodError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_INTEGER = re.compile(r"-?[0-9]{1,38}")
_SHARDS = frozenset(str(shard) for shard in range(MAX_PARTS))

#: One for all: `json.dumps` makes an encoder each time.
_encode_json = json.JSONEncoder(separators=(",", ":")).encode

_SHORT = reprlib.Repr()
_SHORT.maxstring = 60

#: The attribute of messages whose events are likely to be counted already: the projector reads before it counts them.
LIKELY_COUNTED = {"likely_counted": "true"}

#: A message stays under the queue's 192 KiB with room for what the last event adds.
MESSAGE_BYTES = 180 * 1024


def partition_key(counter_id: str, shard: int, shards: int) -> str:
    """Return the partition key of a part's events and archive pages: with a suffix if `shards` is greater than 1."""
    return counter_id if shards == 1 else f"{counter_id}#{shard}"


def log_partition(counter_id: str, event_id: str, shards: int) -> str:
    """The partition of the log that holds this event."""
    return partition_key(counter_id, part_of(event_id, shards), shards)


def counter_id_of(place: object) -> object:
    """The counter whose partition of the log this is; what is nobody's comes back as it is, and names no counter."""
    if not isinstance(place, str):
        return place
    owner, marked, shard = place.partition("#")
    return owner if not marked or shard in _SHARDS else place


def encode_event(event: Event) -> dict[str, Any]:
    """What is stored of an event besides whose it is."""
    stored = {
        "type": event_type(event),
        "version": 1,
        "event_id": event.event_id,
        "by": event.by,
        "recorded_at": event.recorded_at_ms,
    }
    match event:
        case Incremented():
            return stored
        case Adjusted():
            return {**stored, "reason": event.reason, "who": event.who}


def event_type(event: Event) -> str:
    """The event's type, as it is stored and as clients know it."""
    match event:
        case Incremented():
            return "Incremented"
        case Adjusted():
            return "Adjusted"


def decode_event(counter_id: object, stored: Mapping[str, Any]) -> Event:
    """
    The event that these fields describe. Fields that are not named above are left alone.

    Raises:
        NotUnderstoodError: a field is missing or out of range, or the type or its version is unknown.
    """
    kind, version = stored.get("type"), stored.get("version")
    read = _READERS.get((kind, version)) if isinstance(kind, str) and type(version) is int else None
    if read is None:
        raise NotUnderstoodError(f"unknown event type or version: {_abbreviate(kind)} {_abbreviate(version)}")
    if not is_counter_id(counter_id):
        raise NotUnderstoodError(f"counter_id is none: {_abbreviate(counter_id)}")
    if not is_event_id(stored.get("event_id")):
        raise NotUnderstoodError(f"event_id is no UUID: {_abbreviate(stored.get('event_id'))}")
    recorded_at_ms = _integer(stored, "recorded_at", lowest=0, highest=LATEST_MS)
    return read(str(counter_id), str(stored["event_id"]), recorded_at_ms, stored)


def list_records(batch: object) -> list[object]:
    """The records in a batch that Lambda hands over; what is no batch is one record, which nobody will understand."""
    match batch:
        case {"Records": [*records]}:
            return records
        case _:
            return [batch]


def decode_stream_record(record: object) -> Event:
    """
    The event that a record of the log's stream announces; its values are in DynamoDB's JSON (`{"N": "3"}`).

    Raises:
        NotUnderstoodError: it announces no event of ours. The log is append-only: a change or a removal is none either.
    """
    match record:
        case {"eventName": "INSERT", "dynamodb": {"NewImage": dict(image), **others}}:
            plain = {name: _decode_value(value) for name, value in image.items()}
        case {"eventName": "MODIFY" | "REMOVE" as name}:
            raise NotUnderstoodError(f"the log is append-only, and this is a {name}")
        case _:
            raise NotUnderstoodError("this is no stream record of an insert with its new image")
    keys = others.get("Keys", {})
    if not isinstance(keys, dict) or not keys.items() <= image.items():
        raise NotUnderstoodError(f"the record's keys are not those of its image: {_abbreviate(keys)}")
    return decode_event(counter_id_of(plain.get("partition")), plain)


def is_counted_at_once(record: object) -> bool:
    """Check whether a stream record announces an event that its own command counts, such as a compare-and-swap."""
    match record:
        case {"dynamodb": {"NewImage": {"counted_at_once": {"BOOL": True}}}}:
            return True
    return False


@dataclass(frozen=True, slots=True)
class Message:
    """A message's body, and the ids of the events in it."""

    body: str
    event_ids: list[str]


def encode_bodies(events: Iterable[Event]) -> Iterator[str]:
    """The bodies of `encode_messages`."""
    return (message.body for message in encode_messages(events))


def encode_messages(events: Iterable[Event]) -> Iterator[Message]:
    """The same events, in order, in as few messages as fit the queue."""
    entries: list[str] = []
    event_ids: list[str] = []
    size = 0
    for event in events:
        entry = _encode_json({"counter_id": event.counter_id, **encode_event(event)})
        if size + len(entry) > MESSAGE_BYTES:
            yield _build_message(entries, event_ids)
            entries, event_ids, size = [], [], 0
        entries.append(entry)
        event_ids.append(event.event_id)
        size += len(entry) + 1
    if entries:
        yield _build_message(entries, event_ids)


def decode_message(body: object) -> tuple[list[Event], list[str]]:
    """
    The events in a message body, and the reasons why what else is in it is not understood. Raises nothing.

    A stream record that was parked and is sent back as it is counts as a message of one event.
    """
    try:
        message = json.loads(body, object_pairs_hook=_build_object) if isinstance(body, str) else None
    except (ValueError, RecursionError):
        return [], ["the body is not JSON, or has longer numbers or deeper lists than any of ours"]
    match message:
        case _RepeatedMember():
            return [], [f"the body {message.reason}"]
        case {"version": int(version), "events": [*entries]} if version == 1 and version is not True:
            return _decode_entries(entries, lambda entry: decode_event(entry.get("counter_id"), entry))
        case {"eventName": _}:
            return _decode_entries([message], decode_stream_record)
        case _:
            return [], ["the body is no message of version 1 with a list of events"]


def _decode_entries(entries: list[Any], read: Callable[[Any], Event]) -> tuple[list[Event], list[str]]:
    events: list[Event] = []
    reasons: list[str] = []
    for entry in entries:
        if isinstance(entry, _RepeatedMember):
            reasons.append(f"an event {entry.reason}")
            continue
        if not isinstance(entry, dict):
            reasons.append(f"an event is no object: {_abbreviate(entry)}")
            continue
        try:
            events.append(read(entry))
        except NotUnderstoodError as error:
            reasons.append(error.reason)
    return events, reasons


@dataclass(frozen=True, slots=True)
class _RepeatedMember:
    """A JSON object that names a member twice. Readers differ in what it says (RFC 8259, section 4), so: nothing."""

    name: str

    @property
    def reason(self) -> str:
        return f"names a member twice: {_abbreviate(self.name)}"


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _RepeatedMember:
    members = dict(pairs)
    if len(members) == len(pairs):  # as in every message of ours, a thousand times in a large one
        return members
    names = [name for name, _ in pairs]
    return _RepeatedMember(next(name for number, name in enumerate(names) if name in names[:number]))


def _build_message(entries: list[str], event_ids: list[str]) -> Message:
    return Message(f'{{"version":1,"events":[{",".join(entries)}]}}', event_ids)


def _decode_value(value: object) -> object:
    """A DynamoDB value as text or integer; what is neither is no part of an event."""
    # Six for each event of a batch, and so without patterns, which take five times as long.
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((kind, said),) = value.items()
    if not isinstance(said, str):
        return None
    if kind == "S":
        return said
    return int(said) if kind == "N" and _INTEGER.fullmatch(said) else None


def _integer(stored: Mapping[str, Any], name: str, *, lowest: int, highest: int) -> int:
    value = stored.get(name)
    if type(value) is int and lowest <= value <= highest:  # bool is a subclass of int
        return value
    raise NotUnderstoodError(f"{name} is no integer from {lowest} to {highest}: {_abbreviate(value)}")


def _read_text(stored: Mapping[str, Any], name: str) -> str:
    value = stored.get(name)
    if not is_valid_text(value):
        raise NotUnderstoodError(f"{name} is no text of 1 to 200 printable characters: {_abbreviate(value)}")
    return str(value)


def _abbreviate(value: object) -> str:
    """A value for an operator's eyes: one short line, whatever it was, and however deep."""
    return _SHORT.repr(value).encode("ascii", "backslashreplace").decode()[:80]


def _incremented(counter_id: str, event_id: str, recorded_at_ms: int, stored: Mapping[str, Any]) -> Event:
    by = _integer(stored, "by", lowest=1, highest=LARGEST_AMOUNT)
    return Incremented(counter_id, event_id, by, recorded_at_ms)


def _adjusted(counter_id: str, event_id: str, recorded_at_ms: int, stored: Mapping[str, Any]) -> Event:
    by = _integer(stored, "by", lowest=-LARGEST_AMOUNT, highest=LARGEST_AMOUNT)
    if not is_valid_adjustment(by):
        raise NotUnderstoodError("by is 0, which adjusts nothing")
    return Adjusted(counter_id, event_id, by, recorded_at_ms, _read_text(stored, "reason"), _read_text(stored, "who"))


#: Every type and version that a log may hold.
_READERS: dict[tuple[object, object], Callable[[str, str, int, Mapping[str, Any]], Event]] = {
    ("Incremented", 1): _incremented,
    ("Adjusted", 1): _adjusted,
}
