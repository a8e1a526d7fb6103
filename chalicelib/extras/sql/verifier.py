"""
Verify the relational read model: hold its rows against the log, and its totals against its rows.

As `comparison` does it, under traffic: the log is read first, so that a row without its event is one of the
meantime, or wrong; and whatever seems to differ is looked at again before it is told.
"""

from __future__ import annotations

import time
from itertools import groupby
from typing import TYPE_CHECKING

from chalicelib import codec, event_log
from chalicelib.domain.events import is_counter_id, is_event_id
from chalicelib.event_log import Unreadable
from chalicelib.extras.chunks import chunked
from chalicelib.extras.sql import repair
from chalicelib.extras.verification.comparison import poll_pending
from chalicelib.extras.verification.report import (
    TOO_HIGH,
    TOO_LOW,
    UNCOUNTED,
    UNREADABLE,
    WRONG_VERSION,
    Difference,
    Report,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from sqlalchemy import Engine

    from chalicelib.domain.events import Event
    from chalicelib.extras.sql.repair import State
    from chalicelib.extras.sql.row_staging import Row, RowStaging

UNKNOWN = "row without an event"
OTHERWISE = "row that says something else"
EMPTY = "counter without events"

_AT_ONCE = 100
_NOTED_AT_ONCE = 1000


def noted(events: Iterable[Event | Unreadable], spool: RowStaging) -> Iterator[Event | Unreadable]:
    """The same, in order, each of them in the spool by the time that it comes, and some that are still to come."""
    for some in chunked(events, _NOTED_AT_ONCE):
        note(some, spool)
        yield from some


def note(events: Sequence[Event | Unreadable], spool: RowStaging) -> None:
    """The spool knows that the log holds these."""
    spool.add_logged(repair.of_event(event) for event in event_log.skip_unreadable(events))
    for one in events:
        if isinstance(one, Unreadable):
            spool.add_unreadable(str(codec.counter_id_of(one.partition)), one.event_id, one.reason)


def read(engine: Engine, spool: RowStaging, counter_ids: Sequence[str], advance: Callable[[int], None]) -> None:
    """
    The spool knows the rows and the names of these counters, or of all if there are none.

    Raises:
        ReadModelUnavailableError, ContendedError: the database refuses or does not answer.
    """
    spool.add_counters(counter_ids or repair.counter_ids(engine))
    for counter_id in counter_ids or (None,):
        for some in chunked(repair.scan(engine, counter_id), _NOTED_AT_ONCE):
            spool.add_kept(some)
            advance(len(some))


def verify(  # noqa: PLR0913  (all but the first two are named)
    engine: Engine,
    spool: RowStaging,
    *,
    counter_ids: Sequence[str] = (),
    lag_s: float = 30,
    waits: bool = True,
    advance: Callable[[int], None] = lambda _: None,
) -> Report:
    """
    The relational read model of these counters, or of all if there are none, has been compared with their log, which is
    in the spool.

    What is pending, and for how long this waits, is as with `comparison.verify`. `advance` is told how many more rows
    were read. Memory does not grow with the log; the spool does.

    Raises:
        LogUnavailableError, ReadModelUnavailableError, ContendedError: DynamoDB or the database throttles, refuses or
            does not answer.
    """
    one = _Verification(engine, spool)
    read(engine, spool, counter_ids, advance)
    one.tell_what_cannot_be_read()
    one.wait_for_what_is_pending(lag_s, waits=waits)
    one.find_what_was_recorded_since()
    one.compare_rows()
    one.compare_totals()
    return one.report


def strangers(spool: RowStaging) -> Iterator[list[Row]]:
    """
    The rows of which the log holds nothing, some of one counter at a time. What was recorded since it was read is not
    among them: that is looked up now, and in the spool then.

    Raises:
        LogUnavailableError: DynamoDB throttles or does not answer.
    """
    for counter_id, its_own in groupby(spool.strangers(), key=lambda row: row.counter_id):
        for some in chunked(its_own, _AT_ONCE):
            logged = _in_the_log(counter_id, [row.event_id for row in some])
            note(logged, spool)
            found = {one.event_id for one in logged}
            if left := [row for row in some if row.event_id not in found]:
                yield left


def differences(logged: Row, kept: Row) -> list[str]:
    """What the row says otherwise than the event, by column."""
    return [
        f"its {name} is {is_!r}, and the log says {ought!r}"
        for name, is_, ought in zip(kept._fields, kept, logged, strict=True)
        if is_ != ought
    ]


def judged(state: State) -> Difference | None:
    """What is wrong with a counter's totals, if anything is."""
    value, version = state.itself or (0, 0)
    expected, number = state.by_rows
    if state.is_right:
        return None
    if number == 0:
        return Difference(EMPTY, state.counter_id, f"it is {value} at version {version}, and there are no rows")
    if value != expected:
        kind = TOO_LOW if value < expected else TOO_HIGH
        return Difference(kind, state.counter_id, f"it is {value}, and its rows add up to {expected}")
    return Difference(WRONG_VERSION, state.counter_id, f"it is {version}, and it has {number} rows")


def _in_the_log(counter_id: str, event_ids: Collection[str]) -> list[Event | Unreadable]:
    """Strongly consistent. What could be no event's id, or no counter's, the log is not asked for."""
    asked = {event_id for event_id in event_ids if is_event_id(event_id)}
    return event_log.find_many(counter_id, asked) if asked and is_counter_id(counter_id) else []


class _Verification:
    def __init__(self, engine: Engine, spool: RowStaging) -> None:
        self._engine = engine
        self._spool = spool
        self.report = Report()

    def tell_what_cannot_be_read(self) -> None:
        for counter_id, event_id, reason in self._spool.unreadable():
            self.report.unreadable.add(counter_id)
            self.report.add(Difference(UNREADABLE, counter_id, reason, event_id))

    def wait_for_what_is_pending(self, lag_s: float, *, waits: bool) -> None:
        young_from_ms = poll_pending(self._look_again, lag_s, waits=waits)
        self._look_again(0, young_from_ms)
        for row in self._spool.missing():
            age_s = (_now_ms() - _recorded_ms(row)) / 1000
            self.report.lag_s = max(self.report.lag_s, age_s)
            if _recorded_ms(row) >= young_from_ms:
                self.report.pending += 1
            else:
                self._tell(UNCOUNTED, row, f"by {row.amount}, recorded {age_s:.0f} s ago")

    def _look_again(self, oldest_ms: int, young_from_ms: int) -> int:
        """How many events are pending. Those that have been counted since are in the spool."""
        young = 0
        missing = (row for row in self._spool.missing() if _recorded_ms(row) >= oldest_ms)
        for some in chunked(missing, _AT_ONCE):
            now = self._now(some)
            self._spool.add_kept(now.values())
            young += sum(_recorded_ms(row) >= young_from_ms for row in some if row[:2] not in now)
        return young

    def find_what_was_recorded_since(self) -> None:
        for some in strangers(self._spool):
            now = self._now(some)
            for row in some:
                if row[:2] in now:
                    self._tell(UNKNOWN, row, "there is such a row, and the log has no such event")
                else:
                    self._spool.forget_kept(row)

    def compare_rows(self) -> None:
        for some in chunked(self._spool.differing(), _AT_ONCE):
            now = self._now(some)
            for row in some:
                if said := differences(row, now.get((row.counter_id, row.event_id), row)):
                    self._tell(OTHERWISE, row, "; ".join(said))

    def compare_totals(self) -> None:
        self.report.events, self.report.rows = self._spool.sizes()
        for names in chunked(self._spool.counter_ids(), _AT_ONCE):
            self.report.counters += len(names)
            for state in repair.states(self._engine, names):
                if difference := judged(state):
                    self.report.add(difference)

    def _now(self, rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
        """What stands under the keys of these rows now."""
        found = repair.find(self._engine, [(row.counter_id, row.event_id) for row in rows])
        return {(row.counter_id, row.event_id): row for row in found}

    def _tell(self, kind: str, row: Row, detail: str) -> None:
        self.report.add(Difference(kind, row.counter_id, detail, row.event_id))


def _recorded_ms(logged: Row) -> int:
    """Of the log's rows, that is always a number."""
    return int(logged.recorded_at_ms or 0)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
