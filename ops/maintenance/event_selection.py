"""Select events of the log by counter and time, and read them, starting at any position."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chalicelib import codec, log_reader
from chalicelib.domain.events import Event
from chalicelib.log_reader import LogPosition, Unreadable
from ops.maintenance import lookups


@dataclass(frozen=True, slots=True)
class EventSelection:
    """
    The events of these counters (default: all) recorded at or after `from_ms` and before `to_ms`, in ms since 1970.

    An event that cannot be read has no known time, so it is selected regardless of the time range.
    """

    counter_ids: Sequence[str] = ()
    from_ms: int = 0
    to_ms: int | None = None

    def has(self, event: Event) -> bool:
        """Check whether the event was recorded in this time range. Ignore the counter."""
        return self.from_ms <= event.recorded_at_ms and (self.to_ms is None or event.recorded_at_ms < self.to_ms)

    def read(self, after: LogPosition | None) -> Iterator[Event | Unreadable]:
        """Yield these counters' events after a position, regardless of the time range. The order is always the same."""
        if not self.counter_ids:
            yield from log_reader.scan(after=after)
            return
        resumed = str(codec.extract_counter_id(after.partition)) if after else ""
        for counter_id in sorted({*self.counter_ids}):
            if counter_id >= resumed:
                yield from log_reader.scan_counter(counter_id, after if counter_id == resumed else None)

    def estimate_size(self, table: str) -> int | None:
        """Return the approximate number of events that `read` yields from the log in this table; None if unknown."""
        return None if self.counter_ids else lookups.approximate_item_count(table)
