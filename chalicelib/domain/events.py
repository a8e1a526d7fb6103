"""Events and their validity. An event in the log never changes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

#: The largest integer that every JSON parser reads exactly (RFC 8259, section 6).
LARGEST_AMOUNT = 2**53 - 1

#: The upper limit of `SHARDS`: a transaction over all parts of a counter must fit into DynamoDB's 100 items.
MAX_PARTS = 64

#: The last millisecond that RFC 3339 can express: the end of the year 9999.
LATEST_MS = 253_402_300_799_999

COUNTER_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}")
EVENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

#: No control characters, line separators, direction marks or surrogates. `str.isprintable` depends on the Unicode
#: version of Python, but every version of this code must accept the same texts.
_TEXT = re.compile("[^\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]{1,200}")


@dataclass(frozen=True, slots=True)
class Incremented:
    """A client added `by` to a counter. `recorded_at_ms`: milliseconds since 1970 in UTC."""

    counter_id: str
    event_id: str
    by: int
    recorded_at_ms: int


@dataclass(frozen=True, slots=True)
class Adjusted:
    """The operator `who` added `by`, of either sign and never 0, to a counter for a `reason`."""

    counter_id: str
    event_id: str
    by: int
    recorded_at_ms: int
    reason: str
    who: str


#: Every type of event. Counting uses only the fields that all types share.
Event = Incremented | Adjusted


def is_counter_id(text: object) -> bool:
    """Check for 1 to 64 unreserved URI characters (RFC 3986, section 2.3)."""
    return isinstance(text, str) and COUNTER_ID.fullmatch(text) is not None


def is_event_id(text: object) -> bool:
    """Check for a UUID in its canonical text form (RFC 9562, section 4)."""
    return isinstance(text, str) and EVENT_ID.fullmatch(text) is not None


def is_valid_text(text: object) -> bool:
    """Check for a valid `reason` or `who`: 1 to 200 printable characters, not all of them blank."""
    return isinstance(text, str) and _TEXT.fullmatch(text) is not None and not text.isspace()


def is_valid_adjustment(by: int) -> bool:
    """Check whether an adjustment can have this amount."""
    return 0 < abs(by) <= LARGEST_AMOUNT


def have_same_content(first: Event, second: Event) -> bool:
    """Check whether two events are equal, ignoring `recorded_at_ms` and `who`."""
    return _strip_metadata(first) == _strip_metadata(second)


def _strip_metadata(event: Event) -> Event:
    timeless = replace(event, recorded_at_ms=0)
    return replace(timeless, who="") if isinstance(timeless, Adjusted) else timeless


def part_of(event_id: str, parts: int) -> int:
    """Return the part, 0 to `parts` - 1, that counts an event. It depends only on the event's id."""
    return int(event_id[-12:], 16) % parts


def oldest_ms(events: Iterable[Event], new: Set[tuple[str, str]]) -> int | None:
    """Return the time of the oldest event whose (counter id, event id) is in `new`, or None."""
    return min((event.recorded_at_ms for event in events if (event.counter_id, event.event_id) in new), default=None)
