"""
Declare each event type once. An event in the log never changes.

The stored format, the log's attributes, the responses, the OpenAPI document and the events of property tests derive
from the fields' rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeVar

from chalicelib.domain.rules import Integer, Pattern, Rule, Text, Time, read_rules

if TYPE_CHECKING:
    from collections.abc import Callable

#: The largest integer that every JSON parser reads exactly (RFC 8259, section 6).
LARGEST_AMOUNT = 2**53 - 1

#: The upper limit of `SHARDS`: a transaction over all parts of a counter must fit into DynamoDB's limit of 100 items.
MAX_PARTS = 64

#: The maximum length of a caller's name, in characters. The subject of an OpenID Connect token has at most 255.
MAX_CALLER = 300

#: The last millisecond that RFC 3339 can express: the end of the year 9999.
LATEST_MS = 253_402_300_799_999

#: 1 to 64 unreserved URI characters (RFC 3986, section 2.3).
COUNTER_ID = Pattern(re.compile(r"[A-Za-z0-9._~-]{1,64}"), "1 to 64 characters of A-Z a-z 0-9 . _ ~ -")

#: A UUID in its canonical text form (RFC 9562, section 4).
EVENT_ID = Pattern(re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "a UUID", "uuid")


@dataclass(frozen=True, slots=True)
class Event:
    """
    An event, with the fields that every event has. Counting uses only these fields.

    The event adds `by`, which may be negative, to the counter's value.
    """

    counter_id: Annotated[str, COUNTER_ID]
    event_id: Annotated[str, EVENT_ID]
    by: Annotated[int, Integer(-LARGEST_AMOUNT, LARGEST_AMOUNT)]
    recorded_at_ms: Annotated[int, Time(0, LATEST_MS, name="recorded_at", is_compared=False)]

    #: Set by `register`. `rules` maps each field's name in Python to its rule.
    type_name: ClassVar[str]
    type_version: ClassVar[int]
    rules: ClassVar[dict[str, Rule]]

    #: Whether `publish` sends events of this type to the projections, which count them. The log keeps all types.
    is_projected: ClassVar[bool] = True

    def upcast(self) -> Event:
        """Return the event in the version that the application uses. The class of an old version may override this."""
        return self


Event.rules = read_rules(Event)

_Type = TypeVar("_Type", bound=type[Event])

#: All event types, by name and version. Never remove a type, because the log keeps its events forever.
TYPES: dict[tuple[object, object], type[Event]] = {}


def register(name: str, version: int = 1) -> Callable[[_Type], _Type]:
    """
    Register a class as an event type, with the name and version that identify it in the log.

    Never change the name, version or fields of a released type. Register another class with the next version instead.
    """

    def add(event_type: _Type) -> _Type:
        if (name, version) in TYPES:
            raise ValueError(f"the event type {name} already has a version {version}")
        event_type.type_name, event_type.type_version = name, version
        event_type.rules = event_type.rules | read_rules(event_type)
        if event_type.rules.keys() != {field.name for field in fields(event_type)}:
            raise TypeError(f"each field of the event type {name} needs a rule: Annotated[type, rule]")
        if len({rule.name for rule in event_type.rules.values()}) < len(event_type.rules):
            raise ValueError(f"two fields of the event type {name} have the same name in the log")
        TYPES[name, version] = event_type
        return event_type

    return add


@register("Incremented")
@dataclass(frozen=True, slots=True)
class Incremented(Event):
    """A client added `by` to a counter."""

    by: Annotated[int, Integer(1, LARGEST_AMOUNT)]


@register("Incremented", version=2)
@dataclass(frozen=True, slots=True)
class IncrementedByCaller(Incremented):
    """The caller `who`, which API Gateway authenticated, added `by` to a counter."""

    who: Annotated[str, Text(MAX_CALLER, is_public=False, is_compared=False)]


@register("Adjusted")
@dataclass(frozen=True, slots=True)
class Adjusted(Event):
    """The operator `who` added `by`, positive or negative, to a counter for a `reason`."""

    by: Annotated[int, Integer(-LARGEST_AMOUNT, LARGEST_AMOUNT, nonzero=True)]
    reason: Annotated[str, Text(200)]
    who: Annotated[str, Text(200, is_public=False, is_compared=False)]


@register("Purged")
@dataclass(frozen=True, slots=True)
class Purged(Event):
    """
    The operator `who` purged a counter for a `reason`: its events recorded at or before `until_ms` are void.

    A purge appends one such event for each part of the counter, to the part's partition of the log.
    """

    is_projected: ClassVar[bool] = False

    by: Annotated[int, Integer(0, 0)]
    until_ms: Annotated[int, Time(0, LATEST_MS, name="until")]
    reason: Annotated[str, Text(200, is_compared=False)]
    who: Annotated[str, Text(200, is_public=False, is_compared=False)]


#: The ids of `Purged` events sort before this prefix: they begin with 48 zero bits and the UUID version 0. All other
#: ids are UUIDs of other versions. A reader of a partition therefore reads its purges before the events that they void.
FIRST_ID_AFTER_PURGES = "00000000-0000-1"


#: Check for a valid counter id.
is_counter_id = COUNTER_ID.accepts

#: Check for a valid event id.
is_event_id = EVENT_ID.accepts

#: Check for a valid `reason` or `who`: 1 to 200 printable characters, not all of them blank.
is_valid_text = Adjusted.rules["reason"].accepts

#: Check whether an adjustment can have this amount.
is_valid_adjustment = Adjusted.rules["by"].accepts


def have_same_content(first: Event, second: Event) -> bool:
    """Check whether two events have the same type, in any version, and the same values of all compared fields."""
    return first.type_name == second.type_name and _list_compared(first) == _list_compared(second)


def _list_compared(event: Event) -> list[tuple[str, object]]:
    return [(rule.name, getattr(event, name)) for name, rule in event.rules.items() if rule.is_compared]


def choose_part(event_id: str, parts: int) -> int:
    """Return the part, 0 to `parts` - 1, that counts an event. It depends only on the event's id."""
    return int(event_id[-12:], 16) % parts
