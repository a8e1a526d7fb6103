"""Check requests against the setting COUNTERS and the catalog. Each process keeps a copy of the catalog."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, TypeVar

from chalicelib import clock, settings, telemetry
from chalicelib.access.names import Catalog, Names, Verdict, judge
from chalicelib.aws import dynamodb
from chalicelib.aws.tables import CatalogItem
from chalicelib.errors import (
    CatalogUnavailableError,
    CounterClosedError,
    CounterNotAllowedError,
    CounterNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_Row = TypeVar("_Row")

#: The age at which a copy is replaced. The documentation promises that a change takes effect within a minute.
MAX_AGE_MS = 30_000


class Copy:
    """A process's copy of the catalog."""

    def __init__(self) -> None:
        self._catalog: Catalog | None = None
        self._read_at_ms = 0

    def get(self) -> Catalog:
        """
        Return the process's copy of the catalog, which is at most 30 seconds old unless a read fails.

        At most one call every 30 seconds reads the catalog, with eventual consistency. If a read fails, keep the copy
        for another 30 seconds. A process without a copy tries again on each call.

        Raises:
            CatalogUnavailableError: there is no copy, and the catalog cannot be read; see `find_item`.
        """
        now_ms = clock.now_ms()
        if self._catalog is None or not 0 <= now_ms - self._read_at_ms < MAX_AGE_MS:
            self._read_at_ms = now_ms  # first, so that concurrent threads use the old copy
            try:
                self._catalog = _read()
            except CatalogUnavailableError:
                if self._catalog is None:
                    raise
                telemetry.log_old_catalog()
        return self._catalog


_copy = Copy()


def check(counter_id: str, *, increments: bool) -> None:
    """
    Check that the counter exists and, if the request increments it, that it is open.

    Raises:
        CounterNotFoundError: the request reads a counter that does not exist.
        CounterNotAllowedError: the request increments a counter that does not exist.
        CounterClosedError: the request increments a closed counter.
        CatalogUnavailableError: the catalog cannot be read, and this process has no copy of it.
    """
    match _judge(counter_id):
        case Verdict.UNKNOWN:
            raise CounterNotAllowedError(counter_id) if increments else CounterNotFoundError(counter_id)
        case Verdict.CLOSED if increments:
            raise CounterClosedError(counter_id)


def select_known(rows: Iterable[_Row], get_counter_id: Callable[[_Row], str]) -> list[_Row]:
    """
    Return those rows of a page that belong to existing counters.

    The result may be empty although later pages have such rows.

    Raises:
        CatalogUnavailableError: the catalog cannot be read, and this process has no copy of it.
    """
    return [row for row in rows if _judge(get_counter_id(row)) is not Verdict.UNKNOWN]


def _judge(counter_id: str) -> Verdict:
    return judge(counter_id, _allowed(settings.current().counters or ()), _copy.get())


@functools.cache
def _allowed(entries: tuple[str, ...]) -> Names:
    return Names(entries)


def find_item(*, stale: bool = False) -> CatalogItem:
    """
    Return the catalog's item, or an empty item if it does not exist.

    The call takes one read, which is strongly consistent unless the item may be `stale`.

    Raises:
        CatalogUnavailableError: DynamoDB throttles or refuses the request, or does not respond, or an attribute has the
            wrong type.
    """
    try:
        found = dynamodb.find(CatalogItem, CatalogItem.KEY, None, CatalogUnavailableError, stale=stale)
    except TypeError as error:
        raise CatalogUnavailableError(str(error)) from error
    return found or CatalogItem()


def _read() -> Catalog:
    item = find_item(stale=True)
    return Catalog(*(Names(entries or ()) for entries in (item.added, item.closed, item.hidden)))
