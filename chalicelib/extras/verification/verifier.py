"""
Compare read models with the log, while workers count events and clients send queries.

The read models are staged first, then the log, once for all read models. An event is recorded before it is counted, so
an entry whose event is not in the log is wrong. Under traffic, reads at different times may not match, so each
comparison rereads items that seem to differ.
"""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from chalicelib import clock
from chalicelib.domain.events import LATEST_MS
from chalicelib.extras.chunks import split_into_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from chalicelib.domain.events import Event
    from chalicelib.extras.verification.report import Report
    from chalicelib.extras.verification.staging_db import StagingDb
    from chalicelib.log_reader import Unreadable

    LogSegment = Callable[[], Iterable[Event | Unreadable]]

_THREADS = 8
_EVENTS_AT_ONCE = 1000
_POLL_AFTER_S = 0.5


class Comparison(Protocol):
    """The comparison of one read model with the log, both staged in a database."""

    def read(self, advance: Callable[[int], None]) -> None:
        """Stage the read model. Call `advance` with the number of items read."""

    def count_pending(self, oldest_ms: int, young_from_ms: int) -> int:
        """
        Check again whether each uncounted event since `oldest_ms` is now counted.

        Return the number of pending events.
        """

    def report_differences(self, young_from_ms: int) -> Report:
        """Report the current differences. Uncounted events since `young_from_ms` are pending."""


def stage(
    db: StagingDb,
    comparisons: Sequence[Comparison],
    log: Sequence[LogSegment],
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """
    Stage the read models, then the log. The comparisons depend on this order.

    Memory use does not grow with the log, but the database, a temporary file, does.

    Raises:
        LogUnavailableError, ReadModelUnavailableError, ContendedError: DynamoDB or the database throttles or refuses
            the request, or does not respond.
    """
    for comparison in comparisons:
        comparison.read(advance)
    run_in_parallel(db.add_events, [partial(_read_batches, segment) for segment in log], advance)


def report(
    comparisons: Sequence[Comparison], *, lag_s: float, waits: bool, announce: Callable[[int], None] = lambda _: None
) -> list[Report]:
    """
    Report how the staged read models differ from the staged log.

    An uncounted event is pending until it is `lag_s` seconds old; after that, it is a difference. If `waits`, call
    `announce` with the number of pending events, and poll until no event is pending. The wait takes at most `lag_s`
    seconds, because all staged events already existed at its start, even those with a time in the future.

    Raises:
        LogUnavailableError, ReadModelUnavailableError, ContendedError: see `stage`.
    """

    def count_pending(oldest_ms: int, young_from_ms: int) -> int:
        return sum(comparison.count_pending(oldest_ms, young_from_ms) for comparison in comparisons)

    pause = threading.Event()
    oldest_ms, started_ms = 0, clock.now_ms()
    while True:
        young_from_ms = clock.now_ms() - int(lag_s * 1000)
        if young_from_ms >= started_ms:
            young_from_ms = LATEST_MS + 1  # by now, even an event recorded with a time in the future is old
        pending = count_pending(oldest_ms, young_from_ms)
        if not (pending and waits):
            break
        if not oldest_ms:
            announce(pending)
        oldest_ms = max(oldest_ms, young_from_ms)
        pause.wait(_POLL_AFTER_S)
    count_pending(0, young_from_ms)  # once more, because older events may have been counted since
    return [comparison.report_differences(young_from_ms) for comparison in comparisons]


def run_in_parallel(
    work: Callable[[Any], None],
    segments: Sequence[Callable[[], Iterable[Sequence[Any]]]],
    advance: Callable[[int], None],
) -> None:
    """
    Call `work` with each batch of each segment. Read several segments concurrently.

    If one segment fails or is interrupted, the others stop at their next batch.
    """
    is_cancelled = threading.Event()

    def run(segment: Callable[[], Iterable[Sequence[Any]]]) -> None:
        for batch in segment():
            if is_cancelled.is_set():
                raise CancelledError
            if batch:
                advance(len(batch))
                work(batch)

    if len(segments) == 1:
        run(segments[0])
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for future in [pool.submit(run, segment) for segment in segments]:
                future.result()
        except BaseException:
            is_cancelled.set()  # otherwise, the block would wait until everything is read
            raise


def _read_batches(segment: LogSegment) -> Iterator[list[Event | Unreadable]]:
    return split_into_chunks(segment(), _EVENTS_AT_ONCE)
