"""
Receive the messages of the dead-letter queues, and select some of them.

Received messages are hidden from other consumers. When the run ends or is interrupted, undeleted messages become
visible again. A killed run leaves them hidden until their visibility timeout ends.
"""

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from chalicelib.api.formats import format_time
from chalicelib.aws import sqs
from chalicelib.aws.dead_letters import STREAM_SOURCE
from chalicelib.extras.chunks import split_into_chunks
from chalicelib.projections import Projection
from chalicelib.settings import Settings
from ops.cli import interrupts, progress
from ops.cli.errors import OperatorError
from ops.cli.result import count
from ops.maintenance import projections
from ops.maintenance.event_selection import EventSelection

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

#: The reason shown for messages that SQS moved to the dead-letter queue. They have no reason attribute.
MOVED_BY_SQS = "failed too often"

#: The reason shown for notes on discarded batches.
DISCARDED = "not published within 12 hours"

#: The margin around a batch's times. The stream receives an event after it is recorded, and uses another clock.
_MARGIN_MS = 300_000

#: The maximum number of dead letters in one run, so that it ends before the visibility timeout.
MAX_MESSAGES = 5_000
VISIBILITY_TIMEOUT_S = 900

#: Attempts to release a message. After the last attempt, the message stays hidden until its visibility timeout ends.
_RELEASES = 3

_SHOWN_LINES = 3
_SHOWN_COLUMNS = 100


@dataclass(slots=True)
class DeadLetter:
    """
    A message on a projection's dead-letter `queue`.

    Its `outcome` is "listed", "too large", "sent" or "discarded". If it was sent, `sent_as` contains the ids of the new
    messages or the number of events.
    """

    id: str
    projection: str
    queue: str
    reason: str
    source: str
    sent_at: str
    age_s: int
    body: str
    outcome: str = "listed"
    sent_as: str | None = None

    @property
    def size_bytes(self) -> int:
        """The size of the body in UTF-8."""
        return len(self.body.encode())

    @property
    def first_lines(self) -> list[str]:
        """The first three lines of the body, each cut off after 100 characters."""
        return [line[:_SHOWN_COLUMNS] for line in self.body.splitlines()[:_SHOWN_LINES]]

    def to_facts(self) -> dict[str, Any]:
        """Return all fields, with the size and the first lines of the body instead of the body."""
        facts = asdict(self) | {"size_bytes": self.size_bytes, "first_lines": self.first_lines}
        return {name: fact for name, fact in facts.items() if name != "body"}


@dataclass(frozen=True, slots=True)
class Selection:
    """
    Dead letters whose reason contains `reason` and that were sent at least `min_age_s` seconds ago.

    With `ids`, select only dead letters whose id starts with one of them. Each of the `ids` must match exactly one
    received message. `projections` limits the selection to the queues of these projections. Default: all projections of
    the stage. No more than `max_messages` are selected.
    """

    ids: Sequence[str] = ()
    reason: str = ""
    min_age_s: int = 0
    projections: Sequence[Projection] = ()
    max_messages: int = MAX_MESSAGES

    def has(self, letter: DeadLetter) -> bool:
        """Check whether the dead letter is selected. Ignore `projections` and `max_messages`."""
        has_id = letter.id.startswith(tuple(self.ids) or "")
        return has_id and self.reason in letter.reason and letter.age_s >= self.min_age_s


@dataclass(frozen=True, slots=True)
class ReceivedLetters:
    """The selected dead letters (`letters`), and the received messages of each projection (`in_flight`)."""

    letters: list[DeadLetter]
    in_flight: "dict[str, InFlightMessages]"

    def delete(self, letter: DeadLetter, outcome: str, sent_as: str | None = None) -> None:
        """Delete the dead letter from its queue, and set its outcome."""
        self.in_flight[letter.projection].delete(letter.id)
        letter.outcome, letter.sent_as = outcome, sent_as

    @property
    def oldest_first(self) -> list[DeadLetter]:
        """The selected dead letters, oldest first."""
        return sorted(self.letters, key=lambda letter: -letter.age_s)

    @property
    def hidden_count(self) -> int:
        """
        The approximate number of messages that other consumers have received.

        Only queues that were read completely are included.
        """
        return sum(messages.hidden_count for messages in self.in_flight.values())


@contextlib.contextmanager
def receive(settings: Settings, selection: Selection) -> Iterator[ReceivedLetters]:
    """Receive the selected dead letters. At the end of the block, undeleted messages become visible again."""
    received = ReceivedLetters([], {})
    with contextlib.ExitStack() as stack:
        for projection in selection.projections or settings.projections:
            messages = InFlightMessages(projection, projection.dead_letter_queue(settings.stage))
            received.in_flight[projection.name] = stack.enter_context(messages)
            for letter in messages.receive() if len(received.letters) < selection.max_messages else ():
                if selection.has(letter):
                    received.letters.append(letter)
                if len(received.letters) >= selection.max_messages:
                    break
        _check_ids(selection.ids, received)
        yield received


def read_note(body: str) -> EventSelection | None:
    """
    If the body is a note on a discarded batch, return a selection that covers the batch's events; else None.

    The note contains the times, to the second, at which the stream received the first and the last record. The
    selection extends this range by a margin at both ends. See the Lambda developer guide, "Retain discarded batch
    records for a DynamoDB event source".
    """
    try:
        batch = json.loads(body)["DDBStreamBatchInfo"]
        first_ms, last_ms = (
            datetime.fromisoformat(batch[f"approximateArrivalOf{which}Record"]).timestamp() * 1000
            for which in ("First", "Last")
        )
    except (ValueError, LookupError, TypeError):
        return None
    return EventSelection(from_ms=round(first_ms - _MARGIN_MS), to_ms=round(last_ms + _MARGIN_MS))


class InFlightMessages:
    """Messages of a dead-letter queue, hidden from other consumers until they are deleted or the `with` block ends."""

    def __init__(self, projection: Projection, queue: str) -> None:
        self._projection, self._queue = projection, queue
        self._url = sqs.queue_url(queue)
        self._unreceived = sqs.approximate_length(queue)
        self._is_read = False
        self.receipts: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with interrupts.defer():
            for receipts in split_into_chunks(self.receipts.values(), 10):
                self._release(receipts)

    @property
    def remaining_count(self) -> int:
        """The approximate number of messages that are still on the queue, including hidden messages."""
        return len(self.receipts) + self._unreceived

    @property
    def hidden_count(self) -> int:
        """The approximate number of messages that another consumer has received, or 0 until the whole queue is read."""
        return self._unreceived if self._is_read else 0

    def receive(self) -> Iterator[DeadLetter]:
        """Yield all messages that were visible at the start. They become hidden from other consumers."""
        started_s = time.time()
        with progress.bar("Reading", self._unreceived, "messages") as advance:
            while not self._is_read:
                with interrupts.defer():  # without the receipts, these messages could not be released
                    messages = self._receive_batch()
                    new = [message for message in messages if message["MessageId"] not in self.receipts]
                    self.receipts |= {message["MessageId"]: message["ReceiptHandle"] for message in messages}
                # Messages that arrive in the meantime wait for the next run. Otherwise, this run might never end.
                earlier = sum(_get_sent_s(message) <= started_s for message in new)
                self._unreceived = max(0, self._unreceived - earlier)
                self._is_read = not earlier
                yield from (self._read_letter(message, started_s) for message in new)
                advance(len(new))

    def delete(self, message_id: str) -> None:
        """Delete the message from the queue."""
        sqs.client().delete_message(QueueUrl=self._url, ReceiptHandle=self.receipts[message_id])
        del self.receipts[message_id]

    def _release(self, receipts: Iterable[str]) -> None:
        """Make at most 10 messages visible. Retry the messages that SQS reports as failed."""
        entries: Any = [
            {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
            for number, receipt in enumerate(receipts)
        ]
        for _ in range(_RELEASES):
            answer = sqs.client().change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
            # SQS also refuses messages that are already visible or deleted, and reports that as the sender's fault.
            failed = {failure["Id"] for failure in answer.get("Failed", ()) if not failure["SenderFault"]}
            entries = [entry for entry in entries if entry["Id"] in failed]
            if not entries:
                return

    def _read_letter(self, message: "MessageTypeDef", now_s: float) -> DeadLetter:
        attributes = {
            name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()
        }
        is_note = "reason" not in attributes and read_note(message["Body"]) is not None
        source = STREAM_SOURCE if is_note else self._projection.describe("projection queue")
        sent_s = _get_sent_s(message)
        return DeadLetter(
            id=message["MessageId"],
            projection=self._projection.name,
            queue=self._queue,
            reason=attributes.get("reason", DISCARDED if is_note else MOVED_BY_SQS),
            source=attributes.get("source", source),
            sent_at=format_time(round(sent_s * 1000)),
            age_s=max(0, round(now_s - sent_s)),
            body=message["Body"],
        )

    def _receive_batch(self) -> "list[MessageTypeDef]":
        answer = sqs.client().receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=1,  # short polling may miss messages
            VisibilityTimeout=VISIBILITY_TIMEOUT_S,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        return answer.get("Messages", [])


def _get_sent_s(message: "MessageTypeDef") -> float:
    return int(message["Attributes"]["SentTimestamp"]) / 1000


def _check_ids(prefixes: Sequence[str], received: ReceivedLetters) -> None:
    ids = [letter_id for messages in received.in_flight.values() for letter_id in messages.receipts]
    for prefix in prefixes:
        matches = sorted(letter_id for letter_id in ids if letter_id.startswith(prefix))
        if len(matches) != 1:
            result = f"{len(matches)} messages ({', '.join(matches[:3])}, ...)" if matches else "no message"
            raise OperatorError(
                f"--message {prefix} matches {result} on the dead-letter queue. Nothing was changed."
                + (f" {explain_hidden(received.hidden_count)}" if received.hidden_count else "")
            )


def explain_hidden(number: int) -> str:
    """Explain why messages are hidden, and what the operator can do."""
    return (
        f"Hidden: {count(number, 'message')} that another consumer has received. A killed run of redrive hides "
        f"messages for {VISIBILITY_TIMEOUT_S // 60} minutes: run redrive again after that."
    )


def describe(received: ReceivedLetters) -> list[str]:
    """Describe the selected dead letters in lines of text, oldest first."""
    return [line for letter in received.oldest_first for line in _describe(letter)]


def _describe(letter: DeadLetter) -> list[str]:
    outcome = f"{letter.outcome} as {letter.sent_as}" if letter.sent_as else letter.outcome
    place = f"on the {projections.describe(letter.projection, 'dead-letter queue')}"
    head = (
        f"{letter.id}  {place}, {_format_age(letter.age_s)} old, {outcome}; from the {letter.source}: {letter.reason}"
    )
    return [_escape(head), *(f"    {_escape(line)}" for line in letter.first_lines)]


def _format_age(seconds: int) -> str:
    units = (("d", 86_400), ("h", 3_600), ("min", 60))
    return next((f"{seconds // size} {unit}" for unit, size in units if seconds >= size), f"{seconds} s")


def _escape(text: str) -> str:
    """Replace characters that could control the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
