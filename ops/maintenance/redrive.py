"""
List dead letters, and send them back to their projection's queue or discard them.

Dead letters of the log's stream concern all projections and go to the queues of all projections. These dead letters are
records that `publish` could not read, and batches that the stream's event source discarded. For such a batch, Lambda
sends a note to the dead-letter queue of the first projection. Instead of the records, the note contains the arrival
times of the first and the last record. `redrive` reads the events of this period from the log.

`redrive` receives all dead letters before it sends the selected ones. Otherwise, it might receive the same messages
again after the projector parks them. A message is deleted from the dead-letter queue only after it is sent, or copied
to a file. If the run is interrupted in between, the message is sent twice, and its events are counted once.
"""

import json
import os
import tempfile
import time
from collections import Counter as Numbers
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from chalicelib import codec, log_reader
from chalicelib.aws import sqs
from chalicelib.aws.dead_letters import STREAM_SOURCE
from chalicelib.domain.events import Event
from chalicelib.extras.chunks import split_into_chunks
from chalicelib.extras.verification import purges
from chalicelib.settings import Settings
from ops.cli import progress
from ops.cli.errors import OperatorError
from ops.cli.result import Outcome, count
from ops.maintenance import dead_letters, projections, replay
from ops.maintenance.dead_letters import DeadLetter, ReceivedLetters, Selection

#: The longest wait for a confirmation: half of the visibility timeout. The other half is for deleting the messages.
_CONFIRM_WITHIN_S = dead_letters.VISIBILITY_TIMEOUT_S // 2

#: The number of the log's events that are sent in one batch.
_AT_ONCE = 1000

#: The size of the message attributes, which count towards the size of a message.
_ATTRIBUTE_BYTES = sum(len(f"{name}String{value}") for name, value in codec.LIKELY_COUNTED.items())


def redrive(settings: Settings, selection: Selection, *, dry_run: bool) -> Outcome:
    """
    Send the selected dead letters back to their queues. If SQS fails, unsent messages stay on the dead-letter queue.

    `holds` is false if a message is too large for a queue, except in a dry run, or if the run reached its maximum. It
    is also false if another consumer has received messages that may match the selection.
    """
    limits = {queue: _get_size_limit(queue) for queue in (each.queue(settings.stage) for each in settings.projections)}
    with dead_letters.receive(settings, selection) as received:
        for letter in received.letters:
            if letter.size_bytes + _ATTRIBUTE_BYTES > min(limits[queue] for queue in _list_queues(letter, settings)):
                letter.outcome = "too large"
        if not dry_run:
            listed = [letter for letter in received.letters if letter.outcome == "listed"]
            for letter, sent_as in _send_back(settings, listed):
                received.delete(letter, "sent", sent_as)
    outcomes = Numbers(letter.outcome for letter in received.letters)
    too_large = outcomes["too large"]
    note = (
        f"Too large for the projection queue, which accepts at most {min(limits.values())} bytes: {too_large}. These "
        "messages stay on the dead-letter queue: replay their events, or discard them."
    )
    return _to_outcome(
        selection,
        received,
        "Nothing was sent: this was a dry run." if dry_run else f"Sent back: {outcomes['sent']}.",
        [note] if too_large else [],
        holds=dry_run or not too_large,
    )


def discard(
    settings: Settings, selection: Selection, folder: Path, *, dry_run: bool, confirm: Callable[[str], None]
) -> Outcome:
    """
    Call `confirm` with a list of the selected dead letters, then delete them.

    `confirm` raises an error if the operator declines. Before deleting them, copy them to a new file in the folder, as
    JSON Lines that only this user can read. `holds` is false if another consumer has received messages that may match
    the selection, or if the run reached its maximum.

    Raises:
        OperatorError: an id matches no message or several; the confirmation took too long; or the copy cannot be
            written. Nothing is deleted.
    """
    copy = None
    with dead_letters.receive(settings, selection) as received:
        if received.letters and not dry_run:
            started_s = time.monotonic()
            confirm(
                "\n".join([*dead_letters.describe(received), f"Discard {count(len(received.letters), 'message')}?"])
            )
            if time.monotonic() - started_s > _CONFIRM_WITHIN_S:
                raise OperatorError(
                    f"The confirmation took over {_CONFIRM_WITHIN_S} seconds. Nothing was discarded. Run redrive again."
                )
            copy = _write_copy(folder, settings.stage, received)
            click.echo(f"Copied to {copy}.", err=True)  # shown now, because a later failure would hide it
            with progress.bar("Discarding", len(received.letters), "messages") as advance:
                for letter in received.letters:
                    received.delete(letter, "discarded")
                    advance(1)
    result = f"Discarded: {len(received.letters)}."
    return _to_outcome(
        selection,
        received,
        "Nothing was discarded: this was a dry run." if dry_run else result,
        [f"Copy: {copy}"] if copy else [],
        copy=copy,
    )


def _write_copy(folder: Path, stage: str, received: ReceivedLetters) -> str:
    """Write the selected messages to a new file, and wait until they are on disk. Return the file's path."""
    prefix = f"discarded-{stage}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=folder, prefix=prefix, suffix=".jsonl", delete=False
        ) as file:
            for letter in received.letters:
                facts = {name: getattr(letter, name) for name in ("id", "queue", "source", "reason", "sent_at", "body")}
                file.write(f"{json.dumps(facts)}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OperatorError(f"The copy cannot be written: {error}. Nothing was discarded.") from error
    return file.name


def _list_queues(letter: DeadLetter, settings: Settings) -> list[str]:
    """Return the queues that a dead letter goes to: the queue of its projection, or the queues of all projections."""
    is_for_all = letter.source == STREAM_SOURCE
    return [
        projection.queue(settings.stage)
        for projection in settings.projections
        if is_for_all or projection.name == letter.projection
    ]


def _send_back(settings: Settings, letters: Sequence[DeadLetter]) -> Iterator[tuple[DeadLetter, str]]:
    """Send the dead letters. Yield each dead letter with a description of the sent messages or events."""
    notes = {letter.id: note for letter in letters if (note := dead_letters.read_note(letter.body))}
    already_sent: dict[tuple[str, str], str] = {}
    with progress.bar("Sending back", len(letters) - len(notes), "messages") as advance:
        for letter in (letter for letter in letters if letter.id not in notes):
            body, sent_as = letter.body, []
            for queue in _list_queues(letter, settings):
                before = already_sent.get((queue, body)) if letter.source == STREAM_SOURCE else None
                already_sent[queue, body] = before or sqs.send(queue, body, codec.LIKELY_COUNTED)
                sent_as.append(already_sent[queue, body])
            yield letter, ", ".join(sent_as)
            advance(1)
    if notes:
        # An outage may leave many notes, so the log is read once for all of them.
        events = (event for event in _read_log() if any(note.has(event) for note in notes.values()))
        number = 0
        for chunk in split_into_chunks(events, _AT_ONCE):
            for projection in settings.projections:
                replay.send(projection.queue(settings.stage), codec.encode_bodies(chunk))
            number += len(chunk)
        yield from ((letter, f"{count(number, 'event')} of the log") for letter in letters if letter.id in notes)


def _read_log() -> Iterator[Event]:
    with progress.bar("Reading the log", None) as advance:
        for event in purges.skip_void(log_reader.scan()):
            yield event
            advance(1)


def _to_outcome(
    selection: Selection, received: ReceivedLetters, result: str, notes: list[str], *, holds: bool = True, **facts: Any
) -> Outcome:
    outcomes = Numbers((letter.projection, letter.outcome) for letter in received.letters)
    is_complete = len(received.letters) < selection.max_messages
    sizes = (
        f"On the {projections.describe(name, 'dead-letter queue')}: {messages.remaining_count}."
        for name, messages in received.in_flight.items()
    )
    lines = [*dead_letters.describe(received), " ".join([result, *sizes]), *notes]
    if received.hidden_count:
        lines.append(dead_letters.explain_hidden(received.hidden_count))
    if not is_complete:
        lines.append("There may be more messages: run redrive again.")
    by_projection = {
        name: {
            "sent": outcomes[name, "sent"],
            "discarded": outcomes[name, "discarded"],
            "left": messages.remaining_count,
            "hidden": messages.hidden_count,
            "messages": [letter.to_facts() for letter in received.oldest_first if letter.projection == name],
        }
        for name, messages in received.in_flight.items()
    }
    # A hidden message may match the selection, unless messages are selected by id: then, each id was found.
    holds = holds and is_complete and (not received.hidden_count or bool(selection.ids))
    return Outcome({**projections.merge_facts(by_projection), **facts}, lines, holds)


def _get_size_limit(queue: str) -> int:
    answer = sqs.client().get_queue_attributes(QueueUrl=sqs.queue_url(queue), AttributeNames=["MaximumMessageSize"])
    return int(answer["Attributes"]["MaximumMessageSize"])
