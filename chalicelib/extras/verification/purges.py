"""Track the purges that a scan of the log finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib import log_reader
from chalicelib.domain.events import Purged
from chalicelib.log_reader import NEVER_PURGED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chalicelib.domain.events import Event
    from chalicelib.log_reader import LogPosition, Unreadable


class PurgeTracker:
    """
    Check whether each event in a scan of one segment of the log is void.

    In the log's order, the purges of a partition come before its other events. If the scan starts `after` a position
    within a partition, that partition's purges are read first.
    """

    def __init__(self, after: LogPosition | None) -> None:
        self._partition = after.partition if after else ""
        self._until_ms = log_reader.read_purge(after.partition) if after else NEVER_PURGED

    def is_void(self, event: Event) -> bool:
        """Check whether this event is purged, or is a purge. Call this for every readable event, in order."""
        partition = log_reader.locate(event).partition
        if partition != self._partition:
            self._partition, self._until_ms = partition, NEVER_PURGED
        if isinstance(event, Purged):
            self._until_ms = max(self._until_ms, event.until_ms)
        return isinstance(event, Purged) or event.recorded_at_ms <= self._until_ms


def skip_void(events: Iterable[Event | Unreadable]) -> Iterator[Event]:
    """Yield the events of a scan from the start of the log, without purges, purged events and unreadable events."""
    purges = PurgeTracker(None)
    return (event for event in log_reader.skip_unreadable(events) if not purges.is_void(event))
