"""
Rebuild the relational read model: make it what the log says, in place, while everything goes on.

First each counter's totals are made those of its rows; and from then on, each transaction leaves them so. Then what is
missing is counted, as the projector does it; and rows that say something else than their event, or have none, are put
right. Each step is right whenever it happens and however often, so what was cut off is finished by the next call.

Where the database cannot hold what a counter comes to on the way, it is set aside: its rows are put right first, and
its totals after that. The others do not wait for it.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chalicelib import event_log
from chalicelib.errors import DoesNotFitError, PartlyCountedError
from chalicelib.extras.chunks import chunked
from chalicelib.extras.sql import read_model, repair, verifier
from chalicelib.extras.sql.row_staging import RowStaging
from chalicelib.extras.verification import comparison
from chalicelib.settings import SQL
from ops.cli import progress
from ops.cli.result import Outcome
from ops.maintenance import lookups, parallel, sql_verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Engine

    from chalicelib.domain.events import Event
    from chalicelib.event_log import Unreadable
    from chalicelib.extras.sql.row_staging import Row
    from chalicelib.settings import Settings

_COUNTERS_AT_ONCE = 100
_EVENTS_AT_ONCE = 1000

#: Of rows that differ. Each is removed and inserted anew, with its entry in the index: 4 of the 3,000 rows that Aurora
#: DSQL takes in a transaction. And the log is asked for as many at once.
_ROWS_AT_ONCE = 100


def rebuild(settings: Settings, counter_ids: Sequence[str]) -> Outcome:
    """
    The relational read model of these counters, or of all if there are none, is what the log says; verified at the end.

    Queries are answered, and events counted, meanwhile; a counter's totals are never seen to differ from its rows by
    what is done here, unless its rows come to more than the database holds. Cut off, it is finished by the next call.

    Raises:
        OperatorError: there are no tables yet.
        LogUnavailableError, ReadModelUnavailableError, ContendedError, PartlyCountedError: what is done is done; run it
            again.
    """
    counter_ids = tuple(dict.fromkeys(counter_ids))
    done = mend(settings, counter_ids)
    readings = comparison.some(counter_ids) if counter_ids else comparison.everything(parallel.PARTS)
    found = sql_verify.verify(settings, counter_ids, readings)[SQL]
    lines = [
        *(found.lines or []),
        f"{done.counted:,} events that were missing were counted, {done.replaced:,} rows replaced and {done.removed:,} "
        f"removed; {done.recomputed:,} counters were not the sum of their rows.",
    ]
    if done.refused:
        names = ", ".join(sorted(done.refused)[:3])
        lines.append(f"{len(done.refused):,} counters come to more than the database holds exactly: {names}.")
    if not found.holds:
        lines.append("Look at the differences, then rebuild again.")
    facts = {name: getattr(done, name) for name in ("counted", "replaced", "removed", "recomputed")}
    return Outcome({**found.facts, **facts}, lines, found.holds)


@dataclass(slots=True)
class Mended:
    """
    How many events were counted that were missing, rows replaced and removed, and counters' totals made those of their
    rows; and the counters that come to more than the database can hold: `refused`, whose rows are put right all the
    same, and `aside`, of which that was so on the way.
    """

    counted: int = 0
    replaced: int = 0
    removed: int = 0
    recomputed: int = 0
    refused: set[str] = field(default_factory=set)
    aside: set[str] = field(default_factory=set)


def mend(settings: Settings, counter_ids: Sequence[str]) -> Mended:
    """
    The same, not verified yet.

    Raises:
        OperatorError: there are no tables yet.
        LogUnavailableError, ReadModelUnavailableError, ContendedError, PartlyCountedError: what is done is done; run it
            again.
    """
    about = None if counter_ids else lookups.about_how_many(settings.event_log_table)
    done = Mended()
    with sql_verify.connected(settings) as engine, contextlib.closing(RowStaging()) as spool:
        with progress.bar("Reading", about, "rows") as advance:
            # Before the log, so that of all rows that are read now the log has the event by then, or never.
            verifier.read(engine, spool, counter_ids, advance)
        with progress.bar("Adding up", None, "counters") as advance:
            done.recomputed, done.aside = _recompute(engine, spool.counter_ids(), advance)
        with progress.bar("Filling", about) as advance:
            parallel.each(_log(counter_ids), _Filling(engine, spool, done, done.aside).fill_from, advance)
        with progress.bar("Putting right", None, "rows") as advance:
            _replace(engine, spool, done, advance)
            _remove(engine, spool, done, advance)
        if done.aside:
            with progress.bar("Adding up what was set aside", None, "counters") as advance:
                _take_up(engine, spool, done, advance)
    return done


def _log(counter_ids: Sequence[str]) -> list[Iterator[Event | Unreadable]]:
    """Return the log of these counters, or the segments of the whole log if there are none."""
    if counter_ids:
        return [event_log.scan_counter(counter_id) for counter_id in counter_ids]
    return [event_log.scan(part, parallel.PARTS) for part in range(parallel.PARTS)]


def concerned(settings: Settings, counter_ids: Sequence[str]) -> Outcome:
    """
    How much would be compared with the log, of these counters or of all.

    Raises:
        OperatorError: there are no tables yet.
        ReadModelUnavailableError, ContendedError: the database refuses or does not answer.
    """
    with sql_verify.connected(settings) as engine:
        counters, rows = repair.sizes(engine, counter_ids)
    line = f"{counters:,} counters with {rows:,} rows, which would be compared with the log and put right in place."
    return Outcome({"counters": counters, "rows": rows}, [line])


def _recompute(engine: Engine, names: Iterable[str], advance: Callable[[int], None]) -> tuple[int, set[str]]:
    """How many counters' totals were not those of their rows, and are now; and those that come to too much."""
    recomputed, refused = 0, set()
    for some in chunked(names, _COUNTERS_AT_ONCE):
        for state in repair.states(engine, some):
            if not state.is_right:
                try:
                    repair.recompute(engine, state.counter_id)
                    recomputed += 1
                except DoesNotFitError:
                    refused.add(state.counter_id)
        advance(len(some))
    return recomputed, refused


def _take_up(engine: Engine, spool: RowStaging, done: Mended, advance: Callable[[int], None]) -> None:
    """The counters that were set aside, whose rows are right now, have right totals; and what was not counted is."""
    names = sorted(done.aside)
    recomputed, refused = _recompute(engine, names, advance)
    done.recomputed += recomputed
    done.refused |= refused
    if left := [name for name in names if name not in refused]:
        parallel.each(_log(left), _Filling(engine, spool, done, done.refused).fill_from, lambda _: None)


class _Filling:
    """Counts the log, in several threads. Counters of which not all could be counted are in `uncounted` then."""

    def __init__(self, engine: Engine, spool: RowStaging, done: Mended, uncounted: set[str]) -> None:
        self._engine = engine
        self._spool = spool
        self._done = done
        self._uncounted = uncounted
        self._lock = threading.Lock()

    def fill_from(self, events: Iterable[Event | Unreadable], advance: Callable[[int], None]) -> None:
        """Each of these is in the spool, and counted if it was not."""
        for some in chunked(events, _EVENTS_AT_ONCE):
            verifier.note(some, self._spool)
            missing = [
                event
                for event in event_log.skip_unreadable(some)
                if not self._spool.is_kept(event.counter_id, event.event_id)
            ]
            uncounted: frozenset[str] = frozenset()
            try:
                new = read_model.count(missing, self._engine)
            except PartlyCountedError as error:
                if not all(isinstance(failure, DoesNotFitError) for failure in error.failures.values()):
                    raise
                # The others are not to wait for what does not fit.
                new, uncounted = error.new, error.uncounted
            with self._lock:
                self._done.counted += len(new)
                self._uncounted |= uncounted
            advance(len(some))


def _replace(engine: Engine, spool: RowStaging, done: Mended, advance: Callable[[int], None]) -> None:
    """The rows that said something else than the log have it now."""
    for some in chunked(spool.differing(), _ROWS_AT_ONCE):
        for counter_id, its_own in _by_counter(some).items():
            event_ids = {row.event_id for row in its_own}
            # Asked for anew, for the spool has not all of an event.
            events = [*event_log.skip_unreadable(event_log.find_many(counter_id, event_ids))]
            _put_right(engine, counter_id, {event.event_id for event in events}, events, done)
            done.replaced += len(events)
            advance(len(its_own))


def _remove(engine: Engine, spool: RowStaging, done: Mended, advance: Callable[[int], None]) -> None:
    """The rows that had no event in the log are gone."""
    for some in verifier.strangers(spool):
        _put_right(engine, some[0].counter_id, {row.event_id for row in some}, [], done)
        done.removed += len(some)
        advance(len(some))


def _put_right(engine: Engine, counter_id: str, event_ids: set[str], events: list[Event], done: Mended) -> None:
    """The rows are as the events say; and the totals have moved by as much, or the counter is set aside."""
    if counter_id not in done.aside:
        try:
            repair.put_right(engine, counter_id, event_ids, events)
        except DoesNotFitError:
            done.aside.add(counter_id)
    if counter_id in done.aside:
        repair.replace(engine, counter_id, event_ids, events)


def _by_counter(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.counter_id, []).append(row)
    return found
