"""
Park invalid messages and stream records on a dead-letter queue, with the reason.

The body of a dead letter is the original message, or the original record as JSON, so that an operator can send it back
unchanged. A body that SQS would reject is truncated, or encoded as JSON. SQS's redrive policy also keeps the body. The
message attributes `reason` and `source` describe the dead letter.
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

#: The `source` of dead letters from the event log's stream. They concern every projection.
STREAM_SOURCE = "event log stream"

#: SQS accepts 1 MiB, including the attributes. Messages and stream records are smaller; a longer body is truncated.
_LONGEST_BODY_BYTES = 1_000_000
_LONGEST_REASON = 1_000

#: The characters that SQS rejects in a body (API reference, SendMessage): all but a subset of XML 1.0's characters. The
#: pattern is compiled on first use, because compiling it takes about 3 ms, too long for a cold start.
_REJECTED = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An invalid message or stream record, the `source` that it came from, and the `reason` why it is invalid."""

    source: str
    reason: str
    original: object
    message_id: object = None


def park(letters: Iterable[DeadLetter], queue: str) -> None:
    """
    Send dead letters to this dead-letter queue. A redelivery is parked again, so the queue may contain duplicates.

    Raises:
        QueueUnavailableError: SQS throttles or refuses the request, or does not respond. Earlier letters are parked.
    """
    for letter in letters:
        body, reason = _encode_body(letter.original).encode(), letter.reason
        if len(body) > _LONGEST_BODY_BYTES:
            body, reason = body[:_LONGEST_BODY_BYTES], f"truncated from {len(body)} bytes; {reason}"
        attributes = {"reason": reason[:_LONGEST_REASON], "source": letter.source}
        parked_as = sqs.send(queue, body.decode(errors="ignore"), attributes)
        telemetry.log_parked(letter.source, attributes["reason"], letter.message_id, parked_as)


def _encode_body(original: object) -> str:
    """Return the original if SQS accepts it as a body; otherwise, return it as JSON."""
    if isinstance(original, str) and original and not re.search(_REJECTED, original):
        return original
    try:
        text = json.dumps(original, default=repr, ensure_ascii=False)
    except RecursionError:  # DynamoDB limits nesting; messages have no such limit
        text = json.dumps(reprlib.repr(original), ensure_ascii=False)
    return re.sub(_REJECTED, lambda match: f"\\u{ord(match[0]):04x}", text)
