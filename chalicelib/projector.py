"""Project: apply the events in messages from the projection queue to the read model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib import codec, parking, read_model
from chalicelib.parking import Parked

if TYPE_CHECKING:
    from collections.abc import Iterable


def project(records: Iterable[object]) -> int:
    """
    Every event in these SQS records is counted, once, and a record with anything else in it is parked.

    Returns how many events were not counted before. Records may come again, late, in any order and company.

    Raises:
        ReadModelUnavailableError, ContendedError, QueueUnavailableError: a passing failure; the queue keeps all the
            records and delivers them again, and what is counted by then stays counted once.
    """
    events, parked = [], []
    for record in records:
        body = record.get("body") if isinstance(record, dict) else None
        understood, reasons = codec.from_message(body)
        events += understood
        if reasons:
            parked.append(Parked("projection queue", "; ".join(reasons), record if body is None else body))
    new = read_model.count(events)
    parking.park(parked)
    return new
