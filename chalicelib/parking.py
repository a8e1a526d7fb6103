"""
Parking: what cannot be understood goes to the dead-letter queue, with the reason and the original.

The body of a parked message is the original itself, so that it can be sent back as it is (SQS's own move to the
dead-letter queue leaves it so, too); what is known of it stands in the message's attributes: `reason`, and `source`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib import queues, settings, telemetry

if TYPE_CHECKING:
    from collections.abc import Iterable

#: SQS takes 1 MiB with the attributes. What comes by a queue or a stream is smaller; the rest is cut here.
_LONGEST_BODY_BYTES = 1_000_000
_LONGEST_REASON = 1_000

#: What SQS accepts in a body (API reference, SendMessage): a subset of XML 1.0's characters, and at least one.
#: Compiled when something is first parked: it takes about 3 ms, which no cold start should wait for.
_BODY = "[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+"


@dataclass(frozen=True, slots=True)
class Parked:
    """Something that came from `source`, as this message if it was one, and why it could not be understood."""

    source: str
    reason: str
    original: object
    message_id: object = None


def park(things: Iterable[Parked]) -> None:
    """
    Each of these is on the dead-letter queue. One that is delivered and parked again is there again.

    Raises:
        QueueUnavailableError: SQS does not take one; those before it are parked.
    """
    for thing in things:
        reason = thing.reason[:_LONGEST_REASON]
        attributes = {"reason": reason, "source": thing.source}
        parked_as = queues.send(settings.current().dead_letter_queue, _body(thing.original), attributes)
        telemetry.parked(thing.source, reason, thing.message_id, parked_as)


def _body(original: object) -> str:
    if not isinstance(original, str) or not re.fullmatch(_BODY, original):
        original = json.dumps(original, default=repr)
    return original.encode()[:_LONGEST_BODY_BYTES].decode(errors="ignore")
