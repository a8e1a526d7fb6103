"""Query the past state of a counter. Reads are consistent."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from chalicelib import retries
from chalicelib.domain import past
from chalicelib.domain.archive import PageMissingError
from chalicelib.domain.counter import add_up
from chalicelib.domain.past import PastPart
from chalicelib.errors import ArchiveGapError, ContendedError, TooFarBackError
from chalicelib.read_model import items, planner, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from chalicelib.aws.dynamodb import RawItem
    from chalicelib.domain.archive import Page
    from chalicelib.domain.counter import Counter

#: The maximum size of the archive pages that one request reads, in bytes: 32 read units, about 6,000 events. It is much
#: smaller than `queries.HISTORY_BYTES`, because API Gateway allows these queries at the same rate as the cheap queries
#: for the current state.
PAST_BYTES = 128 * 1024

#: Archive pages, of up to 4 KB, per request: 1 at first, then doubled up to this number.
PAGES_AT_ONCE = 8

#: The maximum number of readings if late events are counted in the meantime. Usually, the second reading equals the
#: first.
_READINGS = 3


class _Reading(NamedTuple):
    """The state, and each part's number of amendments. If `may_be_torn`, another reading must confirm this one."""

    counter: Counter
    amended: tuple[int, ...]
    may_be_torn: bool


def get_counter_at(counter_id: str, at_ms: int, most_bytes: int | None = PAST_BYTES) -> Counter:
    """
    Return the counter's value and version at a given time: the sum and number of the events recorded up to that time.

    The result includes every event that was counted before the call, even a late one. The call takes one request if
    every part's archive ends at or before the given time. It takes one more request per part if the time is on the
    latest archive page. The call reads at most `most_bytes` of archive pages, plus two requests per part; None means no
    limit. If the counter has counted late events, a call that reads archive pages reads everything two or three times.

    Raises:
        TooFarBackError: the time requires more reads. The error contains the times that would be accepted.
        ContendedError: late events were counted during each reading.
        ReadModelUnavailableError: DynamoDB throttles or refuses the request or does not respond, or an item is damaged.
    """
    previous = None
    for _ in retries.with_backoff(_READINGS):
        reading = planner.retry_at_gaps(lambda: _read(counter_id, at_ms, most_bytes))
        if reading == previous or not reading.may_be_torn:
            return reading.counter
        previous = reading
    raise ContendedError(f"late events of counter {counter_id} were counted during {_READINGS} readings")


def _read(counter_id: str, at_ms: int, most_bytes: int | None) -> _Reading:
    """Read the counter, then its archive alternately from both ends, until the state at the given time is known."""
    parts = [PastPart(part, at_ms) for part in store.read_parts(counter_id)]
    size = turn = 0
    while not _are_known(parts):
        for part, read in itertools.product(parts, (_subtract_pages, _add_pages)):
            if not part.is_known:
                size += read(part, min(2**turn, PAGES_AT_ONCE))
                if turn and most_bytes is not None and size > most_bytes and not _are_known(parts):
                    raise TooFarBackError(*past.acceptable_times(parts))
        turn += 1
    counter = add_up(counter_id, (part.totals for part in parts))
    return _Reading(counter, tuple(part.current.amended for part in parts), any(part.may_be_torn for part in parts))


def _are_known(parts: Iterable[PastPart]) -> bool:
    return all(part.is_known for part in parts)


def _subtract_pages(part: PastPart, at_once: int) -> int:
    """Subtract the next pages, newest first. Return their size in bytes."""
    requests = store.query_pages_backward(part.current.key, part.subtracted_from_ms + 1, at_once)
    return _use_pages(part, part.subtract, next(requests, []), part.subtracted_from_ms)


def _add_pages(part: PastPart, at_once: int) -> int:
    """Add the next pages, oldest first. Return their size in bytes."""
    requests = store.query_pages(part.current.key, part.added_until_ms + 1, at_once)
    return _use_pages(part, part.add, next(requests, []), part.added_until_ms + 1)


def _use_pages(part: PastPart, use: Callable[[Page], None], response: list[RawItem], expected_ms: int) -> int:
    """Call `use` with each page until the state is known. Return the pages' size. Raise an error at a gap."""
    pages = [items.decode_page(item) for item in response]
    try:
        for page in pages:
            if not part.is_known:
                use(page)
    except PageMissingError as error:
        raise ArchiveGapError(part.current.key.counter_id, error.time_ms) from error
    if not pages:
        raise ArchiveGapError(part.current.key.counter_id, expected_ms)
    return sum(map(items.estimate_size, pages))
