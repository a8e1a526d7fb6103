"""Verify the relational read model, alone or beside the first, of one reading of the log."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace
from typing import TYPE_CHECKING

from chalicelib.errors import ReadModelUnavailableError
from chalicelib.extras.sql import read_model, verifier
from chalicelib.extras.sql.row_staging import RowStaging
from chalicelib.settings import READ_MODEL, SQL
from ops import sql_url
from ops.cli import progress
from ops.cli.errors import OperatorError
from ops.maintenance import lookups, parallel
from ops.maintenance import verify as verifying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Engine

    from chalicelib.domain.events import Event
    from chalicelib.event_log import Unreadable
    from chalicelib.extras.verification.comparison import Readings
    from chalicelib.settings import Settings
    from ops.cli.result import Outcome


def verify(  # noqa: PLR0913  (all but the first three are named)
    settings: Settings,
    counter_ids: Sequence[str],
    readings: Readings,
    *,
    lag_s: float = 30,
    waits: bool = True,
    first: Callable[[Readings], Outcome] | None = None,
) -> dict[str, Outcome]:
    """
    What came of verifying the relational read model of these counters, or of all if there are none, by its name.

    And of the first, too, if it is said how it is verified: then the log is read when that is done.
    """
    outcomes = {}
    with connected(settings) as engine, contextlib.closing(RowStaging()) as spool:
        log = [functools.partial(_noted, part, spool) for part in readings.log]
        if first:
            outcomes[READ_MODEL] = first(replace(readings, log=[*log]))
        else:
            about = None if counter_ids else lookups.about_how_many(settings.event_log_table)
            with progress.bar("Reading the log", about) as advance:
                parallel.each((part() for part in log), _each_is_told, advance)
        with progress.bar("Verifying", spool.sizes()[0], "rows") as advance:
            report = verifier.verify(engine, spool, counter_ids=counter_ids, lag_s=lag_s, waits=waits, advance=advance)
        outcomes[SQL] = verifying.outcome(report, "rows")
    return outcomes


def _noted(part: Callable[[], Iterable[Event | Unreadable]], spool: RowStaging) -> Iterator[Event | Unreadable]:
    return verifier.noted(part(), spool)


@contextlib.contextmanager
def connected(settings: Settings) -> Iterator[Engine]:
    """
    An engine of the relational read model, for who operates it.

    Raises:
        OperatorError: it has no tables.
        ReadModelUnavailableError, ContendedError: the database refuses or does not answer.
    """
    with read_model.connected(sql_url.address(settings)) as engine:
        try:
            has_schema = read_model.has_schema(engine)
        except ReadModelUnavailableError as error:
            raise ReadModelUnavailableError(f"{error} (--projection {READ_MODEL} leaves it alone)") from error
        if not has_schema:
            raise OperatorError(
                f"The relational read model of stage {settings.stage} has no tables: run provision, and deploy, first."
            )
        yield engine


def _each_is_told(things: Iterable[object], advance: Callable[[int], None]) -> None:
    for _ in things:
        advance(1)
