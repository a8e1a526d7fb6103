"""
Compute the state of a part at a time in the past, from its item and from as few archive pages as possible.

An event belongs to the time at which it was recorded. There are two ways to compute the state at a time: subtract the
later entries from the current totals, or add up the earlier ones. The caller reads pages for both ways alternately, so
a query costs at most about twice as much as the shorter way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.domain.archive import PageMissingError
from chalicelib.domain.counter import NOTHING_ARCHIVED, Counter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chalicelib.domain.archive import Page
    from chalicelib.domain.counter import Part
    from chalicelib.domain.entries import Entry


class PastPart:
    """
    The totals of a part at a time, including the events recorded in that millisecond.

    Subtract pages, newest first, and add pages, oldest first, until the totals are known. Entries later than
    `subtracted_from_ms` are subtracted; entries up to `added_until_ms` are added. So the pages read so far suffice for
    every time from `subtracted_from_ms` on, and for every time up to `added_until_ms`.

    If `may_be_torn`, a subtracted page may lack an event that the totals include, or vice versa. The cause is a late
    event that was counted between the reads of the part and of the page. Read both again.
    """

    def __init__(self, part: Part, at_ms: int) -> None:
        self.part = part
        self.subtracted_from_ms = part.archived_until_ms
        self.added_until_ms = NOTHING_ARCHIVED
        self.may_be_torn = False
        self._at_ms = at_ms
        self._added_value = self._added_version = 0
        self._value, self._version = part.value, part.version
        self._subtract_later(part.recent)

    @property
    def is_known(self) -> bool:
        """Check whether the pages read so far suffice."""
        return self.subtracted_from_ms <= self._at_ms or self._at_ms <= self.added_until_ms

    @property
    def totals(self) -> Counter:
        """The value and version at the time, if they are known."""
        is_subtracted = self.subtracted_from_ms <= self._at_ms
        value, version = (self._value, self._version) if is_subtracted else (self._added_value, self._added_version)
        return Counter(self.part.key.counter_id, value, version)

    def subtract(self, page: Page) -> None:
        """
        Subtract the later entries of the page that ends at `subtracted_from_ms`.

        Raises:
            PageMissingError: the page has another end.
        """
        if page.end_ms != self.subtracted_from_ms:
            raise PageMissingError(self.subtracted_from_ms)
        self._subtract_later(page.entries)
        self.subtracted_from_ms = page.start_ms
        # A page that was never amended has only the entries that it was created with, which the totals include.
        self.may_be_torn = self.may_be_torn or self.part.amended > 0 or page.revision > 1

    def add(self, page: Page) -> None:
        """
        Add the entries that are not later than the time, from the page that starts at `added_until_ms`.

        Raises:
            PageMissingError: the page has another start.
        """
        if page.start_ms != self.added_until_ms:
            raise PageMissingError(self.added_until_ms + 1)
        amounts = [entry.amount for entry in page.entries if entry.recorded_at_ms <= self._at_ms]
        self._added_value += sum(amounts)
        self._added_version += len(amounts)
        self.added_until_ms = page.end_ms

    def _subtract_later(self, entries: Iterable[Entry]) -> None:
        amounts = [entry.amount for entry in entries if entry.recorded_at_ms > self._at_ms]
        self._value -= sum(amounts)
        self._version -= len(amounts)


def acceptable_times(parts: Sequence[PastPart]) -> tuple[int, int]:
    """
    Return the earliest time from which the pages read so far suffice, and the latest time up to which they suffice.

    If there is no such latest time, the second result is `NOTHING_ARCHIVED`.
    """
    incomplete = [part for part in parts if part.subtracted_from_ms > NOTHING_ARCHIVED]
    earliest_ms = max(part.subtracted_from_ms for part in parts)
    return earliest_ms, min((part.added_until_ms for part in incomplete), default=NOTHING_ARCHIVED)
