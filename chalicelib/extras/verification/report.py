"""What a comparison found: each difference by kind, and the numbers of what was compared."""

from __future__ import annotations

from collections import Counter as Numbers
from dataclasses import dataclass, field

UNCOUNTED = "event not counted"
UNKNOWN = "entry without an event"
DIFFERENT = "entry that differs from its event"
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
UNSETTLED = "counter that changes too fast to compare its totals"

#: Differences that a report lists. Its numbers include all.
_LISTED = 100


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference of one counter."""

    kind: str
    counter_id: str
    detail: str
    event_id: str | None = None


@dataclass(slots=True)
class Report:
    """
    What was compared, and what differs.

    `pending` are events that are not counted and younger than the allowed lag; `lag_s` is the age of the oldest event
    that is not counted. `entries` are those of the read model, `rows` those of the relational one. `numbers` has every
    difference by kind, `differences` the first of them, and `unreadable` the counters with events that this version of
    the code cannot read.
    """

    counters: int = 0
    events: int = 0
    entries: int = 0
    rows: int = 0
    pending: int = 0
    lag_s: float = 0
    numbers: Numbers[str] = field(default_factory=Numbers)
    differences: list[Difference] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)

    @property
    def holds(self) -> bool:
        """Whether the read model is what the log says, except for pending events."""
        return not self.numbers

    def add(self, difference: Difference) -> None:
        """Record a difference."""
        self.numbers[difference.kind] += 1
        if len(self.differences) < _LISTED:
            self.differences.append(difference)
