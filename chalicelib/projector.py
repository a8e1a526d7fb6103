"""Project: apply the events in messages from the projection queue to the read model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib import projection, settings
from chalicelib.projection import Projection
from chalicelib.read_model import writer

if TYPE_CHECKING:
    from collections.abc import Iterable


def project(records: Iterable[object]) -> dict[str, Any]:
    """
    Count every event in these SQS records in the read model, once; see `projection.project`.

    Raises:
        ReadModelUnavailableError, ContendedError, PartlyCountedError, QueueUnavailableError: a passing failure. The
            queue delivers all records again; events that were counted stay counted once.
    """
    return projection.project(
        records, Projection("projection queue", settings.current().dead_letter_queue, writer.count)
    )
