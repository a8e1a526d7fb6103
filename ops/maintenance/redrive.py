"""
Redrive: send dead letters back to their projection's queue.

Dead letters of the log's stream concern all projections and go to the queues of all of them. They are records that
`publish` could not read, and batches that the stream's event source discarded. For such a batch, Lambda sends a note to
the dead-letter queue of the first projection. The note has only the times of the records, so the events are read from
the log.

All dead letters are received first, then the selected ones are sent, so that messages that the projector parks again
are not received twice. A message is deleted from the dead-letter queue only after it is sent. If the run is interrupted
in between, the message is sent twice and counted once.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter as Numbers
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from chalicelib import codec, event_log
from chalicelib.aws import sqs
from chalicelib.aws.dead_letters import STREAM_SOURCE
from chalicelib.extras.chunks import split_into_chunks
from ops.cli import progress
from ops.cli.errors import OperatorError
from ops.cli.result import Outcome
from ops.maintenance import projections, replay

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from chalicelib.domain.events import Event
    from chalicelib.projections import Projection
    from chalicelib.settings import Settings

#: The reason shown for messages that SQS moved to the dead-letter queue. They have no reason attribute.
MOVED_BY_SQS = "failed too often"

#: The reason shown for notes on discarded batches.
DISCARDED = "not published in half a day"

#: The stream receives an event after it is recorded, and has another clock.
_MARGIN_MS = 300_000

#: The most dead letters of one run, so that it ends before the visibility timeout.
MAX_MESSAGES = 5_000
_VISIBILITY_TIMEOUT_S = 900

#: Events of the log that are sent in one batch.
_AT_ONCE = 1000

#: The message attributes count towards the size of a message.
_ATTRIBUTE_BYTES = sum(len(f"{name}String{value}") for name, value in codec.LIKELY_COUNTED.items())

_SHOWN_LINES = 3
_SHOWN_COLUMNS = 100


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """
    A message on a projection's dead-letter `queue`.

    Its `outcome` is "listed", "too large" or "sent"; `sent_as` then has the ids of the new messages.
    """

    id: str
    projection: str
    queue: str
    reason: str
    source: str
    age_s: int
    size_bytes: int
    first_lines: list[str]
    outcome: str = "listed"
    sent_as: str | None = None


def redrive(  # noqa: PLR0913  (one for each option)
    settings: Settings,
    ids: Sequence[str],
    reason: str,
    *,
    dry_run: bool,
    selected_projections: Sequence[Projection] = (),
    max_messages: int = MAX_MESSAGES,
) -> Outcome:
    """
    Send dead letters of these projections back to their queues. Default: all projections of the stage.

    Selects dead letters whose reason contains `reason` and, if there are `ids`, whose id starts with one of them. With
    `dry_run`, list them and send nothing. The outcome holds unless a message is too large for a queue, or
    `max_messages` were selected.

    Raises:
        OperatorError: an id matches no message or several. Nothing is sent.
        QueueUnavailableError: SQS throttles or does not answer. Unsent messages are still on the dead-letter queue.
    """
    selected: dict[str, DeadLetter] = {}
    bodies: dict[str, str] = {}
    queues = [projection.queue(settings.stage) for projection in settings.projections]
    limits = {queue: _get_attribute(queue, "MaximumMessageSize") for queue in queues}
    with contextlib.ExitStack() as stack:
        in_flight: dict[str, _InFlightMessages] = {}
        for projection in selected_projections or settings.projections:
            messages = _InFlightMessages(projection, projection.dead_letter_queue(settings.stage))
            in_flight[projection.name] = stack.enter_context(messages)
            for letter, body in messages.receive() if len(selected) < max_messages else ():
                if reason in letter.reason and letter.id.startswith(tuple(ids) or ""):
                    selected[letter.id] = letter
                    size_bytes = letter.size_bytes + _ATTRIBUTE_BYTES
                    if all(size_bytes <= limits[queue] for queue in _list_queues(letter, settings)):
                        bodies[letter.id] = body
                if len(selected) >= max_messages:
                    break
        _check_ids(ids, [letter_id for messages in in_flight.values() for letter_id in messages.receipts])
        if not dry_run:
            for letter_id, sent_as in _send_back(settings, selected, bodies):
                in_flight[selected[letter_id].projection].delete(letter_id)
                selected[letter_id] = replace(selected[letter_id], outcome="sent", sent_as=sent_as)
    for letter_id in selected.keys() - bodies.keys():
        selected[letter_id] = replace(selected[letter_id], outcome="too large")
    oldest_first = sorted(selected.values(), key=lambda letter: -letter.age_s)
    remaining = {name: len(messages.receipts) for name, messages in in_flight.items()}
    is_complete = len(selected) < max_messages
    return _to_outcome(
        oldest_first, remaining=remaining, limit=min(limits.values()), is_complete=is_complete, dry_run=dry_run
    )


def _list_queues(letter: DeadLetter, settings: Settings) -> list[str]:
    """Return the queues that a dead letter goes to: the queue of its projection, or all queues."""
    is_for_all = letter.source == STREAM_SOURCE
    return [
        projection.queue(settings.stage)
        for projection in settings.projections
        if is_for_all or projection.name == letter.projection
    ]


def _send_back(settings: Settings, letters: dict[str, DeadLetter], bodies: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Send the dead letters with these bodies. Yield the id of each, and a description of the sent messages."""
    notes = {letter_id: selection for letter_id, body in bodies.items() if (selection := _read_note(body))}
    already_sent: dict[tuple[str, str], str] = {}
    with progress.bar("Sending back", len(bodies) - len(notes), "messages") as advance:
        for letter_id in [letter_id for letter_id in bodies if letter_id not in notes]:
            letter, body = letters[letter_id], bodies[letter_id]
            sent_as = []
            for queue in _list_queues(letter, settings):
                before = already_sent.get((queue, body)) if letter.source == STREAM_SOURCE else None
                already_sent[queue, body] = before or sqs.send(queue, body, codec.LIKELY_COUNTED)
                sent_as.append(already_sent[queue, body])
            yield letter_id, ", ".join(sent_as)
            advance(1)
    if notes:
        # An outage may leave many notes, so the log is read once for all of them.
        events = (event for event in _read_log() if any(note.has(event) for note in notes.values()))
        number = 0
        for chunk in split_into_chunks(events, _AT_ONCE):
            for projection in settings.projections:
                replay.send(projection.queue(settings.stage), chunk)
            number += len(chunk)
        yield from ((letter_id, f"{number} events of the log") for letter_id in notes)


def _read_log() -> Iterator[Event]:
    with progress.bar("Reading the log", None) as advance:
        for event in event_log.skip_unreadable(event_log.scan()):
            yield event
            advance(1)


def _read_note(body: str) -> replay.Selection | None:
    """
    If the body is a note on a discarded batch, return the selection of the batch's events, with a margin; else None.

    The note has the times, in seconds, at which the stream received the records. (Lambda developer guide, "Retain
    discarded batch records for a DynamoDB event source".)
    """
    try:
        batch = json.loads(body)["DDBStreamBatchInfo"]
        first_ms, last_ms = (
            datetime.fromisoformat(batch[f"approximateArrivalOf{which}Record"]).timestamp() * 1000
            for which in ("First", "Last")
        )
    except (ValueError, LookupError, TypeError):
        return None
    return replay.Selection(from_ms=round(first_ms - _MARGIN_MS), to_ms=round(last_ms + _MARGIN_MS))


class _InFlightMessages:
    """Messages of a dead-letter queue, invisible to other consumers. Undeleted messages become visible at the end."""

    def __init__(self, projection: Projection, queue: str) -> None:
        self._projection, self._queue = projection, queue
        self._url = sqs.queue_url(queue)
        self.receipts: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for receipts in split_into_chunks(self.receipts.values(), 10):
            entries: Any = [
                {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                for number, receipt in enumerate(receipts)
            ]
            sqs.client().change_message_visibility_batch(QueueUrl=self._url, Entries=entries)

    def receive(self) -> Iterator[tuple[DeadLetter, str]]:
        """Yield all messages on the queue, with their bodies. They become invisible to other consumers."""
        started_s = time.time()
        total = _get_attribute(self._queue, "ApproximateNumberOfMessages")
        with progress.bar("Reading", total, "messages") as advance:
            for messages in self._receive_batches():
                # Messages that arrive in the meantime wait for the next run. Otherwise, this run might never end.
                is_end = all(
                    _get_sent_s(message) > started_s or message["MessageId"] in self.receipts for message in messages
                )
                self.receipts |= {message["MessageId"]: message["ReceiptHandle"] for message in messages}
                yield from ((self._read_letter(message, started_s), message["Body"]) for message in messages)
                advance(len(messages))
                if is_end:
                    return

    def delete(self, message_id: str) -> None:
        """Delete the message from the queue."""
        sqs.client().delete_message(QueueUrl=self._url, ReceiptHandle=self.receipts[message_id])
        del self.receipts[message_id]

    def _read_letter(self, message: MessageTypeDef, now_s: float) -> DeadLetter:
        attributes = {
            name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()
        }
        body = message["Body"]
        is_note = "reason" not in attributes and _read_note(body) is not None
        source = STREAM_SOURCE if is_note else self._projection.describe("projection queue")
        return DeadLetter(
            id=message["MessageId"],
            projection=self._projection.name,
            queue=self._queue,
            reason=attributes.get("reason", DISCARDED if is_note else MOVED_BY_SQS),
            source=attributes.get("source", source),
            age_s=max(0, round(now_s - _get_sent_s(message))),
            size_bytes=len(body.encode()),
            first_lines=[line[:_SHOWN_COLUMNS] for line in body.splitlines()[:_SHOWN_LINES]],
        )

    def _receive_batches(self) -> Iterator[list[MessageTypeDef]]:
        while (
            messages := sqs.client()
            .receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=1,  # short polling may miss messages
                VisibilityTimeout=_VISIBILITY_TIMEOUT_S,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["SentTimestamp"],
            )
            .get("Messages", [])
        ):
            yield messages


def _get_sent_s(message: MessageTypeDef) -> float:
    return int(message["Attributes"]["SentTimestamp"]) / 1000


def _check_ids(prefixes: Sequence[str], ids: Sequence[str]) -> None:
    for prefix in prefixes:
        matches = sorted(letter_id for letter_id in ids if letter_id.startswith(prefix))
        if len(matches) != 1:
            result = f"{len(matches)} messages ({', '.join(matches[:3])}, ...)" if matches else "no message"
            raise OperatorError(f"--message {prefix} matches {result} on the dead-letter queue. Nothing was sent.")


def _to_outcome(
    letters: list[DeadLetter], *, remaining: dict[str, int], limit: int, is_complete: bool, dry_run: bool
) -> Outcome:
    too_large = sum(letter.outcome == "too large" for letter in letters)
    sent = Numbers(letter.projection for letter in letters if letter.outcome == "sent")
    lines = [line for letter in letters for line in _describe(letter)]
    result = "Nothing was sent: this was a dry run." if dry_run else f"Sent back: {sent.total()}."
    sizes = (
        f"On the {projections.describe(name, 'dead-letter queue')}: {number}." for name, number in remaining.items()
    )
    lines.append(" ".join([result, *sizes]))
    if too_large:
        lines.append(
            f"Too large for the projection queue, which takes {limit} bytes: {too_large}. They stay on the dead-letter "
            "queue: send their events in smaller messages."
        )
    if not is_complete:
        lines.append("There may be more: run it again.")
    facts = {
        name: {
            "sent": sent[name],
            "left": number,
            "messages": [asdict(letter) for letter in letters if letter.projection == name],
        }
        for name, number in remaining.items()
    }
    return Outcome(projections.merge_facts(facts), lines, holds=is_complete and (dry_run or not too_large))


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


def _get_attribute(queue: str, name: Any) -> int:
    answer = sqs.client().get_queue_attributes(QueueUrl=sqs.queue_url(queue), AttributeNames=[name])
    return int(answer["Attributes"][name])
