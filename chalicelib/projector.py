"""Project: apply the events in messages from the projection queue to the read model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib import codec, counting, parking, read_model, telemetry
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
    events, parked, message_ids = [], [], []
    for record in records:
        body, message_id = (record.get("body"), record.get("messageId")) if isinstance(record, dict) else (None, None)
        message_ids.append(message_id)
        understood, reasons = codec.from_message(body)
        events += understood
        if reasons:
            original = record if body is None else body
            parked.append(Parked("projection queue", "; ".join(reasons), original, message_id))
    new = read_model.count(events)
    number = sum(update.new for update in new)
    telemetry.projected(message_ids, events=len(events), new=number, oldest_ms=counting.oldest_ms(events, new))
    parking.park(parked)
    return number
