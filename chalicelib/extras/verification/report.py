"""Collect the result of a comparison: differences by kind, and the numbers of compared items."""

from __future__ import annotations

from collections import Counter as Numbers
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from chalicelib import clock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chalicelib.domain.entries import Entry

UNCOUNTED = "event not counted"
UNKNOWN = "entry without an event"
DIFFERENT = "entry that differs from its event"
PURGED = "entry of a purged event"
REPEATED = "entry that exists twice"
MISPLACED = "entry in the wrong page"
DAMAGED = "damaged item"
PAGE_MISSING = "archive page missing"
PAGES_OVERLAP = "archive pages that overlap"
PAGE_BEYOND = "archive page beyond archived_until"
STRAY = "item that belongs to no counter"
UNREADABLE = "event that cannot be read"
TOO_LOW = "value too low"
TOO_HIGH = "value too high"
WRONG_VERSION = "version wrong"
UNKNOWN_ROW = "row without an event"
DIFFERENT_ROW = "row that differs from its event"
PURGED_ROW = "row of a purged event"
EMPTY = "counter without events"
UNSETTLED = "counter that changes too fast to compare its totals"

#: The maximum number of differences that a report lists. The report's `numbers` include all of them.
_LISTED = 100


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between a read model and the log."""

    kind: str
    counter_id: str
    detail: str
    event_id: str | None = None


class Totals(NamedTuple):
    """The stored totals `value` and `version`, None if missing, and the totals of the entries, `sum` and `number`."""

    value: int | None
    version: int | None
    sum: int
    number: int

    def compare(self, counter_id: str, unit: str = "entries") -> Difference | None:
        """Return the difference between the totals and the entries, if there is one. `unit`: `entries` or `rows`."""
        value, version = self.value or 0, self.version or 0
        if value != self.sum:
            kind = TOO_LOW if value < self.sum else TOO_HIGH
            return Difference(kind, counter_id, f"the value is {value}, but the {unit} add up to {self.sum}")
        if version != self.number:
            return Difference(
                WRONG_VERSION, counter_id, f"the version is {version}, but the counter has {self.number} {unit}"
            )
        return None


@dataclass(slots=True)
class Report:
    """
    The numbers of compared items, and the differences.

    `pending` is the number of uncounted events that are younger than the allowed lag; `lag_s` is the age of the oldest
    uncounted event. `entries` is the number of the read model's entries; `unit` is the word for them in texts for
    operators. `numbers` counts all differences by kind, and `differences` contains the first of them.
    """

    unit: str = "entries"
    counters: int = 0
    events: int = 0
    entries: int = 0
    pending: int = 0
    lag_s: float = 0
    numbers: Numbers[str] = field(default_factory=Numbers)
    differences: list[Difference] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether the read model matches the log, except for pending events."""
        return not self.numbers

    def add(self, difference: Difference | None) -> None:
        """Add the difference, if there is one."""
        if difference is None:
            return
        self.numbers[difference.kind] += 1
        if len(self.differences) < _LISTED:
            self.differences.append(difference)

    def add_uncounted(self, counter_id: str, event: Entry, young_from_ms: int) -> None:
        """Add an uncounted event: as pending if it is young, otherwise as a difference."""
        age_s = (clock.now_ms() - event.recorded_at_ms) / 1000
        self.lag_s = max(self.lag_s, age_s)
        if event.recorded_at_ms >= young_from_ms:
            self.pending += 1
            return
        when = f"recorded {int(age_s)} s ago" if age_s >= 0 else f"recorded with a time {int(-age_s)} s in the future"
        self.add(Difference(UNCOUNTED, counter_id, f"by {event.amount}, {when}", event.event_id))

    def add_unreadable(self, events: Iterable[tuple[str, str, str]]) -> None:
        """Add unreadable events, as (counter id, event id, reason)."""
        for counter_id, event_id, reason in events:
            self.add(Difference(UNREADABLE, counter_id, reason, event_id))


@dataclass(slots=True)
class Repaired:
    """The number of corrections by kind, including counted events, and the reasons why counters were not repaired."""

    corrected: Numbers[str] = field(default_factory=Numbers)
    failed: dict[str, str] = field(default_factory=dict)
