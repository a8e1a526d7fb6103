"""Project: apply the events in messages from the projection queue to the read model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib import counting, projection, read_model, settings
from chalicelib.projection import Projection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chalicelib.counting import Event


def project(records: Iterable[object]) -> dict[str, Any]:
    """
    Every event in these SQS records is counted in the read model, once; see `projection.project`.

    Raises:
        ReadModelUnavailableError, ContendedError, PartlyCountedError, QueueUnavailableError: a passing failure; the
            queue keeps all the records and delivers them again, and what is counted by then stays counted once.
    """
    dead_letter_queue = settings.current().dead_letter_queue
    return projection.project(records, Projection("projection queue", dead_letter_queue, _count))


def _count(events: list[Event]) -> frozenset[tuple[str, str]]:
    return counting.newly_counted(read_model.count(events))
