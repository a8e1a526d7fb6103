"""Compute a counter's history in steps, and define the pages of a list of events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chalicelib.domain.entries import Entry
    from chalicelib.domain.events import Event

#: The length of a history's steps in seconds, by resolution, finest first.
RESOLUTIONS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


@dataclass(frozen=True, slots=True)
class Span:
    """The time from `first` to `end` (exclusive), in seconds since 1970. Steps start at multiples of `step_s`."""

    first: int
    end: int
    step_s: int

    @property
    def steps(self) -> int:
        """The number of steps that the span overlaps."""
        return max(0, -(-self.end // self.step_s) - self.first // self.step_s)

    def contains(self, recorded_at_ms: int) -> bool:
        """Check whether the span contains a time in ms since 1970."""
        return self.first * 1000 <= recorded_at_ms < self.end * 1000


@dataclass(frozen=True, slots=True)
class Point:
    """A step of a history: the second at which it starts, the number of its events, and the sum of their amounts."""

    start: int
    events: int
    total: int


@dataclass(frozen=True, slots=True, order=True)
class EventPosition:
    """The position of an event in its counter's list: by time, and within a millisecond by id."""

    recorded_at_ms: int
    event_id: str


@dataclass(frozen=True, slots=True)
class EventPage:
    """Counted events, newest first. The next page starts after `last`, which is None on the last page."""

    events: list[Event]
    last: EventPosition | None


def add_up_steps(entries: Iterable[Entry], span: Span) -> list[Point]:
    """Add up the entries of each step, in chronological order. Omit empty steps and entries outside the span."""
    steps: dict[int, tuple[int, int]] = {}
    for entry in entries:
        if span.contains(entry.recorded_at_ms):
            start = entry.recorded_at_ms // 1000 // span.step_s * span.step_s
            events, total = steps.get(start, (0, 0))
            steps[start] = (events + 1, total + entry.amount)
    return [Point(start, *steps[start]) for start in sorted(steps)]


def acceptable_end(reached_ms: int, span: Span) -> int:
    """
    Return the latest end, in seconds, that this span can have if the archive is only read up to `reached_ms`.

    The end is the start of a step, unless even the first step is incomplete.
    """
    end = reached_ms // 1000
    aligned = end // span.step_s * span.step_s
    return aligned if aligned > span.first else max(end, span.first + 1)


def make_position(event: Event) -> EventPosition:
    """Return the event's position in its counter's list."""
    return EventPosition(event.recorded_at_ms, event.event_id)
