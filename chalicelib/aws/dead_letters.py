"""
Parking: what cannot be understood goes to the dead-letter queue, with the reason and the original.

The body of a parked message is the original itself, so that it can be sent back as it is (SQS's own move to the
dead-letter queue leaves it so, too); what is known of it stands in the message's attributes: `reason`, and `source`.
"""

from __future__ import annotations

import json
import re
import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib import telemetry
from chalicelib.aws import sqs

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What `source` says of what came by the event log's stream, and so concerns every projection.
STREAM_SOURCE = "event log stream"

#: SQS takes 1 MiB with the attributes. What comes by a queue or a stream is smaller; the rest is cut here.
_LONGEST_BODY_BYTES = 1_000_000
_LONGEST_REASON = 1_000

#: What SQS does not accept in a body (API reference, SendMessage): all but a subset of XML 1.0's characters.
#: Compiled when something is first parked: it takes about 3 ms, which no cold start should wait for.
_NOT_ACCEPTED = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Something that came from `source`, as this message if it was one, and why it could not be understood."""

    source: str
    reason: str
    original: object
    message_id: object = None


def park(things: Iterable[DeadLetter], queue: str) -> None:
    """
    Each of these is on this dead-letter queue. One that is delivered and parked again is there again.

    Raises:
        QueueUnavailableError: SQS does not take one; those before it are parked.
    """
    for thing in things:
        body, reason = _text(thing.original).encode(), thing.reason
        if len(body) > _LONGEST_BODY_BYTES:
            body, reason = body[:_LONGEST_BODY_BYTES], f"cut, for it has {len(body)} bytes; {reason}"
        attributes = {"reason": reason[:_LONGEST_REASON], "source": thing.source}
        parked_as = sqs.send(queue, body.decode(errors="ignore"), attributes)
        telemetry.log_parked(thing.source, attributes["reason"], thing.message_id, parked_as)


def _text(original: object) -> str:
    """The original itself, if a queue takes it; as JSON, if not."""
    if isinstance(original, str) and original and not re.search(_NOT_ACCEPTED, original):
        return original
    try:
        text = json.dumps(original, default=repr, ensure_ascii=False)
    except RecursionError:  # nothing that DynamoDB keeps is nested so deep
        text = json.dumps(reprlib.repr(original), ensure_ascii=False)
    return re.sub(_NOT_ACCEPTED, lambda found: f"\\u{ord(found[0]):04x}", text)
