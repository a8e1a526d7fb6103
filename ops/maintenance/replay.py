"""Replay: events of the log sent to the projections' queues again, at a given rate, from where the last run stopped."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from chalicelib import codec, event_log
from chalicelib.aws import sqs
from chalicelib.event_log import LogPosition, Unreadable
from chalicelib.extras.chunks import chunked
from chalicelib.settings import PROJECTIONS, READ_MODEL
from ops.cli import progress
from ops.cli.result import Outcome
from ops.maintenance import lookups
from ops.maintenance import projections as maintenance_projections

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from chalicelib.domain.events import Event
    from chalicelib.settings import Settings

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Selection:
    """
    Which events: of this counter, or of all; recorded from and before these times, in ms since 1970. And for which
    projections, of those that the stage has.
    """

    counter_id: str | None = None
    from_ms: int = 0
    to_ms: int | None = None
    projections: Sequence[str] = PROJECTIONS

    def has(self, event: Event) -> bool:
        """Whether this event is among them."""
        return self.from_ms <= event.recorded_at_ms and (self.to_ms is None or event.recorded_at_ms < self.to_ms)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay got: behind which event of the log, and what was sent by then to each queue."""

    after: LogPosition | None = None
    events: int = 0
    messages: int = 0
    unreadable: int = 0


def memory_in(folder: Path, stage: str, selection: Selection) -> Path:
    """Where a replay of this selection remembers how far it got, undisturbed by others."""
    digest = hashlib.sha256(json.dumps(_as_json(selection)).encode()).hexdigest()
    return folder / f"replay-{stage}-{digest[:16]}.json"


def replay(settings: Settings, selection: Selection, rate: int, memory: Path, *, dry_run: bool) -> Outcome:
    """
    The selected events are on the queue of each selected projection that the stage has, at most `rate` of them a second
    on each; what was counted stays counted once. Cut off, the next call with the same selection goes on where it
    stopped: that is in `memory`, a file of its own.

    With `dry_run`, nothing is sent, and it is told how much would be.

    Raises:
        LogUnavailableError, QueueUnavailableError: the next call with the same selection goes on.
    """
    receivers = maintenance_projections.receivers(settings, selection.projections)
    so_far = Progress() if dry_run else _remembered(memory, selection)
    resumed_after = so_far.events
    began = time.monotonic()
    pause = threading.Event()
    about = None if selection.counter_id else lookups.about_how_many(settings.event_log_table)
    with progress.bar("Replaying", about) as advance:
        for read in chunked(_log(selection, so_far.after), min(_AT_ONCE, rate)):
            events = [event for event in read if not isinstance(event, Unreadable) and selection.has(event)]
            messages = [*codec.encode_bodies(events)]
            for receiver in () if dry_run else receivers:
                _send(receiver.queue, messages)
            so_far = _further(so_far, read, len(events), len(messages))
            advance(len(read))
            if not dry_run:
                _remember(memory, selection, so_far)
                pause.wait(max(0.0, began + (so_far.events - resumed_after) / rate - time.monotonic()))
    if not dry_run:
        memory.unlink(missing_ok=True)
    return _told([receiver.projection for receiver in receivers], so_far, resumed_after, dry_run=dry_run)


def _told(names: list[str], so_far: Progress, resumed_after: int, *, dry_run: bool) -> Outcome:
    told = {
        "events": so_far.events,
        "messages": so_far.messages,
        "unreadable": so_far.unreadable,
        "resumed_after": resumed_after,
    }
    verb = "would be sent" if dry_run else "were sent"
    queues_told = (
        "" if names == [READ_MODEL] else f" to the {' and to the '.join(map(maintenance_projections.queue_of, names))}"
    )
    lines = [
        f"{so_far.events:,} events {verb}{queues_told} in {so_far.messages:,} messages"
        f"{' each' if len(names) > 1 else ''}. What is counted stays counted once."
    ]
    if resumed_after:
        lines.append(f"{resumed_after:,} of them by an earlier run, which this one went on with.")
    if so_far.unreadable:
        lines.append(f"{so_far.unreadable:,} events cannot be read by this version and were left out.")
    return Outcome({**maintenance_projections.facts(dict.fromkeys(names, told)), "dry_run": dry_run}, lines)


def send(queue: str, events: Iterable[Event]) -> int:
    """These events are on this queue, which is one projection's. Returns in how many messages."""
    return _send(queue, codec.encode_bodies(events))


def _send(queue: str, messages: Iterable[str]) -> int:
    return sum(1 for message in messages if sqs.send(queue, message, codec.LIKELY_COUNTED))


def _log(selection: Selection, after: LogPosition | None) -> Iterator[Event | Unreadable]:
    if selection.counter_id is None:
        return event_log.scan(after=after)
    return event_log.scan_counter(selection.counter_id, after)


def _further(so_far: Progress, read: list[Event | Unreadable], events: int, messages: int) -> Progress:
    last = read[-1]
    return Progress(
        LogPosition(last.partition, last.event_id) if isinstance(last, Unreadable) else event_log.position_of(last),
        so_far.events + events,
        so_far.messages + messages,
        so_far.unreadable + sum(isinstance(one, Unreadable) for one in read),
    )


def _remembered(memory: Path, selection: Selection) -> Progress:
    try:
        found: dict[str, Any] = json.loads(memory.read_text(encoding="utf-8"))
        if found["selection"] != _as_json(selection):
            return Progress()
        so_far = Progress(**found["progress"])
        return replace(so_far, after=LogPosition(**found["progress"]["after"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Progress()  # where there is nothing to go on from, from the start is right, too


def _remember(memory: Path, selection: Selection, so_far: Progress) -> None:
    memory.parent.mkdir(parents=True, exist_ok=True)
    written = memory.with_suffix(f".{os.getpid()}")
    written.write_text(json.dumps({"selection": _as_json(selection), "progress": asdict(so_far)}), encoding="utf-8")
    written.replace(memory)


def _as_json(selection: Selection) -> dict[str, Any]:
    """As it comes back from a file."""
    return {**asdict(selection), "projections": list(selection.projections)}
