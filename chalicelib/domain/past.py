"""
Compute the past state of a part from its item and as few archive pages as possible.

An event belongs to the time at which it was recorded. There are two methods: subtract the later entries from the
current totals, or add up the earlier entries. The caller alternates between both methods, so a query costs at most
about twice as much as the cheaper one.
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
    The totals of a part as of a given time, including the events recorded in that millisecond.

    Subtract pages, newest first, and add pages, oldest first, until the totals are known. Subtraction has reached back
    to `subtracted_from_ms`, and addition has reached `added_until_ms`. The pages read so far therefore suffice for
    every time at or after `subtracted_from_ms`, and for every time up to `added_until_ms`.

    If `may_be_torn`, a late event may have been counted between the reads of the part and of a page. In that case, only
    one of them includes the event. Read both again.
    """

    def __init__(self, part: Part, at_ms: int) -> None:
        self.current = part
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
        """The value and version at the given time, if they are known."""
        is_subtracted = self.subtracted_from_ms <= self._at_ms
        value, version = (self._value, self._version) if is_subtracted else (self._added_value, self._added_version)
        return Counter(self.current.key.counter_id, value, version)

    def subtract(self, page: Page) -> None:
        """
        Subtract the entries after the given time on the page that ends at `subtracted_from_ms`.

        Raises:
            PageMissingError: the page ends at another time.
        """
        if page.end_ms != self.subtracted_from_ms:
            raise PageMissingError(self.subtracted_from_ms)
        self._subtract_later(page.entries)
        self.subtracted_from_ms = page.start_ms
        # A page that was never amended has only the entries that it was created with, which the totals include.
        self.may_be_torn = self.may_be_torn or self.current.amended > 0 or page.revision > 1

    def add(self, page: Page) -> None:
        """
        Add the entries up to the given time on the page that starts at `added_until_ms`.

        Raises:
            PageMissingError: the page starts at another time.
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
