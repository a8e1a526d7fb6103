"""
Redrive: send back to each projection's queue what lies on its dead-letter queue.

What comes from the log's stream concerns all projections, and is sent to the queues of all: what `publish` did not
understand; and, where the stream gave a batch up, its events. For that Lambda leaves a note, on the first projection's
dead-letter queue alone, which says when they were recorded, and not what they are: they are in the log.

First all is gathered, then what was chosen is sent, so that what this makes the projector park anew is not taken again.
A message leaves the dead-letter queue only once it is sent: ended in between, it is sent twice, and counted once.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from chalicelib import codec, event_log
from chalicelib.aws import sqs
from chalicelib.aws.dead_letters import STREAM_SOURCE
from chalicelib.extras.chunks import chunked
from chalicelib.settings import PROJECTIONS
from ops.cli import progress
from ops.cli.errors import OperatorError
from ops.cli.result import Outcome
from ops.maintenance import projections, replay

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from chalicelib.domain.events import Event
    from chalicelib.settings import Receiver, Settings

#: What SQS itself moves to the dead-letter queue comes without a reason.
MOVED_BY_SQS = "failed too often"

#: What the stream's event source leaves there comes without a reason, too.
GIVEN_UP = "not published in half a day"

#: An event is recorded before the stream takes it, by a clock of its own. What is counted stays counted once.
_MARGIN_MS = 300_000

#: So many are sent in one run, which takes less time than what is gathered stays hidden from others.
MOST_IN_ONE_RUN = 5_000
_HIDDEN_S = 900

#: Events of the log that are sent together.
_AT_ONCE = 1000

#: The attributes that messages are sent back with count as parts of them.
_ATTRIBUTE_BYTES = sum(len(f"{name}String{value}") for name, value in codec.LIKELY_COUNTED.items())

_SHOWN_LINES = 3
_SHOWN_COLUMNS = 100


@dataclass(frozen=True, slots=True)
class Letter:
    """
    What lies on a projection's dead-letter `queue`. Its `outcome` is "listed", "too large", or "sent", and then as
    what: the ids of the messages.
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


def redrive(  # noqa: PLR0913  (what is chosen, by name)
    settings: Settings,
    ids: Sequence[str],
    reason: str,
    *,
    dry_run: bool,
    names: Sequence[str] = PROJECTIONS,
    most: int = MOST_IN_ONE_RUN,
) -> Outcome:
    """
    What is chosen is on the queues that it belongs to and not on a dead-letter queue; all else is as it was.

    Chosen is, of the dead letters of these projections, what has `reason` in its reason and, if there are `ids`, an id
    that begins with one of them. A `dry_run` sends nothing. What was asked holds unless something is too large for a
    queue, or `most` were chosen.

    Raises:
        OperatorError: one of the `ids` fits no message or several. Nothing is sent.
        QueueUnavailableError: SQS throttles or does not answer. What is sent is sent, and all else is as it was.
    """
    chosen: dict[str, Letter] = {}
    bodies: dict[str, str] = {}
    largest = {one.queue: _number(one.queue, "MaximumMessageSize") for one in settings.receivers}
    with contextlib.ExitStack() as all_hidden:
        hidden: dict[str, _Hidden] = {}
        for receiver in projections.receivers(settings, names):
            of_this = hidden[receiver.projection] = all_hidden.enter_context(_Hidden(receiver))
            for letter, body in of_this.gather() if len(chosen) < most else ():
                if reason in letter.reason and letter.id.startswith(tuple(ids) or ""):
                    chosen[letter.id] = letter
                    if all(
                        letter.size_bytes + _ATTRIBUTE_BYTES <= largest[queue]
                        for queue in _queues_for(letter, settings)
                    ):
                        bodies[letter.id] = body
                if len(chosen) >= most:
                    break
        _check_fit(ids, [letter_id for one in hidden.values() for letter_id in one.receipts])
        if not dry_run:
            for letter_id, sent_as in _sent_back(settings, chosen, bodies):
                hidden[chosen[letter_id].projection].delete(letter_id)
                chosen[letter_id] = replace(chosen[letter_id], outcome="sent", sent_as=sent_as)
    for letter_id in chosen.keys() - bodies.keys():
        chosen[letter_id] = replace(chosen[letter_id], outcome="too large")
    oldest_first = sorted(chosen.values(), key=lambda letter: -letter.age_s)
    left = {name: len(one.receipts) for name, one in hidden.items()}
    complete = len(chosen) < most
    return _told(oldest_first, left=left, largest=min(largest.values()), complete=complete, dry_run=dry_run)


def _queues_for(letter: Letter, settings: Settings) -> list[str]:
    """The queues that are to get it: that of its projection, or all."""
    is_for_all = letter.source == STREAM_SOURCE
    return [one.queue for one in settings.receivers if is_for_all or one.projection == letter.projection]


def _sent_back(settings: Settings, letters: dict[str, Letter], bodies: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What the letters with these bodies stand for is where it belongs. Gives the id of each, and as what."""
    notes = {letter_id: span for letter_id, body in bodies.items() if (span := _given_up(body))}
    # What was parked for each projection is on the dead-letter queue of each, and not to be sent to all for each.
    sent: dict[tuple[str, str], str] = {}
    with progress.bar("Sending back", len(bodies) - len(notes), "messages") as advance:
        for letter_id in [letter_id for letter_id in bodies if letter_id not in notes]:
            letter, body = letters[letter_id], bodies[letter_id]
            sent_as = []
            for queue in _queues_for(letter, settings):
                before = sent.get((queue, body)) if letter.source == STREAM_SOURCE else None
                sent[queue, body] = before or sqs.send(queue, body, codec.LIKELY_COUNTED)
                sent_as.append(sent[queue, body])
            yield letter_id, ", ".join(sent_as)
            advance(1)
    if notes:
        # However many notes an outage left, the log is read once.
        events = (event for event in _log() if any(span.has(event) for span in notes.values()))
        number = 0
        for some in chunked(events, _AT_ONCE):
            for receiver in settings.receivers:
                replay.send(receiver.queue, some)
            number += len(some)
        yield from ((letter_id, f"{number} events of the log") for letter_id in notes)


def _log() -> Iterator[Event]:
    with progress.bar("Reading the log", None) as advance:
        for event in event_log.skip_unreadable(event_log.scan()):
            yield event
            advance(1)


def _given_up(body: str) -> replay.Selection | None:
    """
    Which events the stream gave up, if this is its note, and some around them.

    Lambda's developer guide, "Retain discarded batch records for a DynamoDB event source". The times are those at which
    the stream took the records, in seconds.
    """
    try:
        batch = json.loads(body)["DDBStreamBatchInfo"]
        first, last = (
            datetime.fromisoformat(batch[f"approximateArrivalOf{which}Record"]).timestamp() * 1000
            for which in ("First", "Last")
        )
    except (ValueError, LookupError, TypeError):
        return None
    return replay.Selection(from_ms=round(first - _MARGIN_MS), to_ms=round(last + _MARGIN_MS))


class _Hidden:
    """Messages of a queue that nobody else sees. What is not deleted when the block ends, however, is visible again."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._url = sqs.queue_url(receiver.dead_letter_queue)
        self.receipts: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        left = iter(self.receipts.values())
        while some := [*itertools.islice(left, 10)]:
            entries: Any = [{"Id": str(n), "ReceiptHandle": it, "VisibilityTimeout": 0} for n, it in enumerate(some)]
            sqs.client().change_message_visibility_batch(QueueUrl=self._url, Entries=entries)

    def gather(self) -> Iterator[tuple[Letter, str]]:
        """All that lies on the queue, with its body, each message hidden from here on."""
        began_s = time.time()
        about = _number(self._receiver.dead_letter_queue, "ApproximateNumberOfMessages")
        with progress.bar("Reading", about, "messages") as advance:
            for messages in self._received():
                # What comes in meanwhile is left for the next run, or this one might go on for ever.
                is_end = all(_sent_s(one) > began_s or one["MessageId"] in self.receipts for one in messages)
                self.receipts |= {message["MessageId"]: message["ReceiptHandle"] for message in messages}
                yield from ((_letter(message, self._receiver, began_s), message["Body"]) for message in messages)
                advance(len(messages))
                if is_end:
                    return

    def delete(self, message_id: str) -> None:
        """The message is gone from the queue."""
        sqs.client().delete_message(QueueUrl=self._url, ReceiptHandle=self.receipts[message_id])
        del self.receipts[message_id]

    def _received(self) -> Iterator[list[MessageTypeDef]]:
        while (
            messages := sqs.client()
            .receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=1,  # or a queue that holds something may say that it is empty
                VisibilityTimeout=_HIDDEN_S,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["SentTimestamp"],
            )
            .get("Messages", [])
        ):
            yield messages


def _letter(message: MessageTypeDef, receiver: Receiver, now_s: float) -> Letter:
    said = {name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()}
    body = message["Body"]
    is_note = "reason" not in said and _given_up(body) is not None
    return Letter(
        id=message["MessageId"],
        projection=receiver.projection,
        queue=receiver.dead_letter_queue,
        reason=said.get("reason", GIVEN_UP if is_note else MOVED_BY_SQS),
        source=said.get("source", STREAM_SOURCE if is_note else projections.queue_of(receiver.projection)),
        age_s=max(0, round(now_s - _sent_s(message))),
        size_bytes=len(body.encode()),
        first_lines=[line[:_SHOWN_COLUMNS] for line in body.splitlines()[:_SHOWN_LINES]],
    )


def _sent_s(message: MessageTypeDef) -> float:
    return int(message["Attributes"]["SentTimestamp"]) / 1000


def _check_fit(ids: Sequence[str], found: Iterable[str]) -> None:
    for asked in ids:
        fitting = [one for one in found if one.startswith(asked)]
        if len(fitting) != 1:
            what = "no message" if not fitting else f"{len(fitting)} messages ({', '.join(sorted(fitting)[:3])}, ...)"
            raise OperatorError(f"--message {asked} fits {what} on the dead-letter queue. Nothing was sent.")


def _told(letters: list[Letter], *, left: dict[str, int], largest: int, complete: bool, dry_run: bool) -> Outcome:
    too_large = sum(letter.outcome == "too large" for letter in letters)
    sent = sum(letter.outcome == "sent" for letter in letters)
    lines = [line for letter in letters for line in _lines(letter)]
    said = "Nothing was sent: this was a dry run." if dry_run else f"Sent back: {sent}."
    lefts = (f"On the {projections.dead_letter_queue_of(name)}: {number}." for name, number in left.items())
    lines.append(" ".join([said, *lefts]))
    if too_large:
        lines.append(
            f"Too large for the projection queue, which takes {largest} bytes: {too_large}. They stay where they are: "
            "send the events in them in smaller messages."
        )
    if not complete:
        lines.append("There may be more: run it again.")
    told = {
        name: {
            "sent": sum(letter.outcome == "sent" for letter in letters if letter.projection == name),
            "left": number,
            "messages": [asdict(letter) for letter in letters if letter.projection == name],
        }
        for name, number in left.items()
    }
    return Outcome(projections.facts(told), lines, holds=complete and (dry_run or not too_large))


def _lines(letter: Letter) -> list[str]:
    came = f"{letter.outcome} as {letter.sent_as}" if letter.sent_as else letter.outcome
    place = f"on the {projections.dead_letter_queue_of(letter.projection)}"
    head = f"{letter.id}  {place}, {_age(letter.age_s)} old, {came}; from the {letter.source}: {letter.reason}"
    return [_printable(head), *(f"    {_printable(line)}" for line in letter.first_lines)]


def _age(seconds: int) -> str:
    units = (("d", 86_400), ("h", 3_600), ("min", 60))
    return next((f"{seconds // size} {unit}" for unit, size in units if seconds >= size), f"{seconds} s")


def _printable(text: str) -> str:
    """Nothing in it moves the cursor or changes colours."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _number(queue: str, attribute: Any) -> int:
    answer = sqs.client().get_queue_attributes(QueueUrl=sqs.queue_url(queue), AttributeNames=[attribute])
    return int(answer["Attributes"][attribute])
