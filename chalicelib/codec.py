"""
Encode and decode events. `domain.events` declares the types and the rules of their fields.

In the log, in the log's stream and in messages, an event has a `type`, a `version` and its fields. Each field's rule
determines its stored name. In a message, `counter_id` is one of these fields. The log has `partition` instead: the
counter id, with a suffix if counters have several parts ("clicks#3"). The event id alone determines the part.
"""

from __future__ import annotations

import json
import re
import reprlib
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from chalicelib.domain.events import MAX_PARTS, TYPES
from chalicelib.errors import NotUnderstoodError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from chalicelib.domain.events import Event
    from chalicelib.domain.rules import Rule

_INTEGER = re.compile(r"-?[0-9]{1,38}")
_PARTS = frozenset(map(str, range(MAX_PARTS)))

#: Shared, because `json.dumps` creates an encoder on each call.
_encode_json = json.JSONEncoder(separators=(",", ":")).encode

_SHORT = reprlib.Repr()
_SHORT.maxstring = 60

#: The attribute that marks messages whose events are probably counted already. `event_log.append` stores the mark with
#: the event, and `publish` copies it to the message. `project` then reads the events' counters before it writes to
#: them, as it does for redelivered messages.
LIKELY_COUNTED = {"likely_counted": "true"}

#: The maximum total size of a message's events, in bytes. The queue's limit of 192 KiB applies to the whole body and
#: the attributes.
MESSAGE_BYTES = 180 * 1024


def extract_counter_id(partition: object) -> object:
    """Return the counter id in a partition key of the log. Return other values as is; a later check rejects them."""
    if not isinstance(partition, str):
        return partition
    counter_id, separator, part = partition.partition("#")
    return counter_id if not separator or part in _PARTS else partition


def encode_event(event: Event) -> dict[str, Any]:
    """Return the event's fields as the log stores them, without the counter id."""
    fields = {rule.name: getattr(event, name) for name, rule in event.rules.items() if name != "counter_id"}
    return {"type": event.type_name, "version": event.type_version, **fields}


def decode_event(counter_id: object, fields: Mapping[str, Any]) -> Event:
    """
    Build the event with these fields, and upcast it. Ignore unknown fields.

    Raises:
        NotUnderstoodError: a field is missing or invalid, or the type or its version is unknown.
    """
    name, version = fields.get("type"), fields.get("version")
    decode = _DECODERS.get((name, version)) if isinstance(name, str) and type(version) is int else None
    if decode is None:
        raise NotUnderstoodError(f"unknown event type or version: {_abbreviate(name)} {_abbreviate(version)}")
    return decode(counter_id, fields)


def list_records(batch: object) -> list[object]:
    """Return the records of a batch from Lambda. Return any other object as a single record, so that it is parked."""
    match batch:
        case {"Records": [*records]}:
            return records
        case _:
            return [batch]


def decode_stream_record(record: object) -> Event:
    """
    Return the event in a record of the log's stream. The record's values are in DynamoDB JSON: `{"N": "3"}`.

    Raises:
        NotUnderstoodError: the record is not an insert of a valid event. The log is append-only, so a modification or
            removal is also invalid.
    """
    match record:
        case {"eventName": "INSERT", "dynamodb": {"NewImage": dict(image), **others}}:
            fields = {name: _decode_value(value) for name, value in image.items()}
        case {"eventName": "MODIFY" | "REMOVE" as name}:
            raise NotUnderstoodError(f"the record must be an INSERT, because the log is append-only, got {name}")
        case _:
            raise NotUnderstoodError("not a stream record of type INSERT with a new image")
    keys = others.get("Keys", {})
    if not isinstance(keys, dict) or not keys.items() <= image.items():
        raise NotUnderstoodError(f"the record's keys differ from those of its image: {_abbreviate(keys)}")
    return decode_event(extract_counter_id(fields.get("partition")), fields)


def is_likely_counted(record: object) -> bool:
    """Check whether a stream record's event was probably counted by its own command, for example by a swap."""
    match record:
        case {"dynamodb": {"NewImage": {"likely_counted": {"BOOL": True}}}}:
            return True
    return False


@dataclass(frozen=True, slots=True)
class Message:
    """A message's body and attributes, and the ids of its events."""

    body: str
    event_ids: list[str]
    attributes: dict[str, str]


def encode_bodies(events: Iterable[Event]) -> Iterator[str]:
    """Yield the bodies of the messages that `encode_messages` yields."""
    return (message.body for message in encode_messages(events))


def encode_messages(events: Iterable[Event], *, likely_counted: bool = False) -> Iterator[Message]:
    """Yield as few messages as the queue's size limit allows. They contain these events in order."""
    attributes = LIKELY_COUNTED if likely_counted else {}
    entries: list[str] = []
    event_ids: list[str] = []
    size = 0
    for event in events:
        entry = _ENCODERS[type(event)](event)
        if size + len(entry) > MESSAGE_BYTES:
            yield _build_message(entries, event_ids, attributes)
            entries, event_ids, size = [], [], 0
        entries.append(entry)
        event_ids.append(event.event_id)
        size += len(entry) + 1
    if entries:
        yield _build_message(entries, event_ids, attributes)


def decode_message(body: object) -> tuple[list[Event], list[str]]:
    """
    Return the valid events in a message body, and the reason why each other event, or the body itself, is invalid.

    The function raises no errors. It decodes a parked stream record that an operator sent back like a message with one
    event.
    """
    try:
        message = json.loads(body, object_pairs_hook=_build_object) if isinstance(body, str) else None
    except (ValueError, RecursionError):
        return [], ["the body is not JSON, or has a number that is too long, or is nested too deeply"]
    match message:
        case _RepeatedMember():
            return [], [f"the body {message.reason}"]
        case {"version": int(version), "events": [*entries]} if version == 1 and version is not True:
            return _decode_entries(entries, lambda entry: decode_event(entry.get("counter_id"), entry))
        case {"eventName": _}:
            return _decode_entries([message], decode_stream_record)
        case _:
            return [], ["the body is not a message of version 1 with a list of events"]


def encode_line(event: Event) -> str:
    """Return the event as one line of JSON, without the line break, in the same form as in a message."""
    return _ENCODERS[type(event)](event)


def decode_line(line: bytes) -> Event:
    """
    Decode the event in a line of UTF-8 that `encode_line` returned. Ignore unknown members.

    Raises:
        NotUnderstoodError: the line is not JSON, or does not contain a valid event.
    """
    try:
        entry = json.loads(line.decode(), object_pairs_hook=_build_object)
    except (ValueError, RecursionError) as error:
        raise NotUnderstoodError("the line is not JSON in UTF-8") from error
    events, reasons = _decode_entries([entry], lambda entry: decode_event(entry.get("counter_id"), entry))
    if reasons:
        raise NotUnderstoodError(reasons[0])
    return events[0]


def _decode_entries(entries: list[Any], decode: Callable[[Any], Event]) -> tuple[list[Event], list[str]]:
    events: list[Event] = []
    reasons: list[str] = []
    for entry in entries:
        if isinstance(entry, dict):
            try:
                events.append(decode(entry))
            except NotUnderstoodError as error:
                reasons.append(error.reason)
        elif isinstance(entry, _RepeatedMember):
            reasons.append(f"an event {entry.reason}")
        else:
            reasons.append(f"an event must be an object, got {_abbreviate(entry)}")
    return events, reasons


@dataclass(frozen=True, slots=True)
class _RepeatedMember:
    """A JSON object with a duplicate member, which is invalid: parsers read it differently (RFC 8259, section 4)."""

    name: str

    @property
    def reason(self) -> str:
        return f"has a duplicate member: {_abbreviate(self.name)}"


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _RepeatedMember:
    members = dict(pairs)
    if len(members) == len(pairs):  # the fast path: a large message has a thousand objects
        return members
    names = [name for name, _ in pairs]
    return _RepeatedMember(next(name for number, name in enumerate(names) if name in names[:number]))


def _build_message(entries: list[str], event_ids: list[str], attributes: dict[str, str]) -> Message:
    return Message(f'{{"version":1,"events":[{",".join(entries)}]}}', event_ids, attributes)


def _decode_value(value: object) -> object:
    """Return a DynamoDB value as a string or an integer, or None if it is neither."""
    # Called six times per event. Structural pattern matching would take five times as long.
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((kind, text),) = value.items()
    if not isinstance(text, str):
        return None
    if kind == "S":
        return text
    return int(text) if kind == "N" and _INTEGER.fullmatch(text) else None


def _abbreviate(value: object) -> str:
    """Return a short, one-line ASCII form of a value of any type and depth."""
    return _SHORT.repr(value).encode("ascii", "backslashreplace").decode()[:80]


def _make_encoder(event_type: type[Event]) -> Callable[[Event], str]:
    """Return a function that encodes an event for a message. A template is three times as fast as `json`."""
    counter_id, *others = [f'"{rule.name}":%s' for rule in event_type.rules.values()]
    template = (
        f'{{{counter_id},"type":"{event_type.type_name}","version":{event_type.type_version},{",".join(others)}}}'
    )
    read = attrgetter(*event_type.rules)

    def encode(event: Event) -> str:
        return template % tuple([value if type(value) is int else _encode_json(value) for value in read(event)])

    return encode


def _make_decoder(event_type: type[Event]) -> Callable[[object, Mapping[str, Any]], Event]:
    """Return a function that decodes an event."""
    counter_id_rule, *rules = event_type.rules.values()
    is_counter_id = counter_id_rule.make_check()
    checks = [(rule, rule.name, rule.value_type, rule.make_check()) for rule in rules]

    def decode(counter_id: object, fields: Mapping[str, Any]) -> Event:
        if type(counter_id) is not str or not is_counter_id(counter_id):
            raise _invalid(counter_id_rule, counter_id)
        values: list[Any] = [counter_id]
        for rule, name, expected, is_valid in checks:
            value = fields.get(name)
            if type(value) is not expected or not is_valid(value):
                raise _invalid(rule, value)
            values.append(value)
        return event_type(*values).upcast()

    return decode


def _invalid(rule: Rule, value: object) -> NotUnderstoodError:
    return NotUnderstoodError(f"{rule.name} must be {rule}, got {_abbreviate(value)}")


# Created once, at import, because a batch has up to 1,000 events.
_ENCODERS = {event_type: _make_encoder(event_type) for event_type in TYPES.values()}
_DECODERS = {key: _make_decoder(event_type) for key, event_type in TYPES.items()}
