"""Project the messages of the SQL projection queue onto the SQL read model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib import projector, settings
from chalicelib.extras.sql import read_model
from chalicelib.projector import Projection

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from chalicelib.domain.events import Event


def project(records: Iterable[object]) -> dict[str, Any]:
    """
    Count each event in these SQS records in the SQL read model, exactly once; see `projector.project`.

    Raises:
        ReadModelUnavailableError, ContendedError, PartlyCountedError, QueueUnavailableError: a temporary failure. The
            queue delivers the records again; counted events do not count twice.
    """
    dead_letter_queue = settings.current().sql_dead_letter_queue
    return projector.project(Projection("SQL projection queue", dead_letter_queue, _count, "Sql"), records)


def _count(events: list[Event], _likely_counted: Collection[str]) -> frozenset[tuple[str, str]]:
    return read_model.count(events)
