"""
Send events of the log to the projections' queues again, at a given rate, with a checkpoint.

A checkpoint belongs to a selection of events and to the stage's tables, and expires after a day. Otherwise, an old,
forgotten checkpoint could make a replay skip events.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from chalicelib import clock, codec, log_reader
from chalicelib.api.formats import format_time, parse_time
from chalicelib.aws import sqs
from chalicelib.extras.chunks import split_into_chunks
from chalicelib.extras.verification.purges import PurgeTracker
from chalicelib.log_reader import LogPosition, Unreadable
from chalicelib.projections import READ_MODEL
from chalicelib.settings import Settings
from ops.cli import progress
from ops.cli.result import Outcome, count
from ops.maintenance import lookups, projections
from ops.maintenance.event_selection import EventSelection

_AT_ONCE = 1000

_CHECKPOINT_EXPIRES_S = 86_400


@dataclass(frozen=True, slots=True)
class Selection(EventSelection):
    """The events to replay, and the projections that receive them. Default: all projections of the stage."""

    projections: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """
    The position in the log after which a replay continues, and the numbers of events and messages sent so far.

    The `events` and `messages` were sent to each queue. The `unreadable` events were skipped. `saved_at` is the time of
    the last save, in RFC 3339.
    """

    after: LogPosition | None = None
    events: int = 0
    messages: int = 0
    unreadable: int = 0
    saved_at: str = ""


def locate_checkpoint(folder: Path, stage: str, selection: Selection) -> Path:
    """Return the file in which a replay of this selection keeps its checkpoint."""
    digest = hashlib.sha256(json.dumps(asdict(selection)).encode()).hexdigest()
    return folder / f"replay-{stage}-{digest[:16]}.json"


def delete_checkpoints(folder: Path, stage: str) -> None:
    """Delete the checkpoints of all replays of the stage."""
    for file in folder.glob(f"replay-{stage}-{'[0-9a-f]' * 16}.*"):
        file.unlink(missing_ok=True)


def replay(settings: Settings, selection: Selection, rate: int, checkpoint_file: Path, *, dry_run: bool) -> Outcome:
    """
    Send the selected events to the queue of each selected projection, at most `rate` events per second to each.

    Purged events are not sent. Within a day, a call with the same selection and checkpoint file resumes an interrupted
    replay. With `dry_run`, report the number of events without sending them.
    """
    selected = projections.select(settings, selection.projections)
    owner = _identify(settings, selection)
    so_far = Checkpoint() if dry_run else _load(checkpoint_file, owner)
    resumed_after = so_far.events
    if so_far.after:
        click.echo(
            f"Resuming the replay that was interrupted at {so_far.saved_at}. --from-start starts over.", err=True
        )
    started = time.monotonic()
    pause = threading.Event()
    purges = PurgeTracker(so_far.after)
    with progress.bar("Replaying", selection.estimate_size(settings.event_log_table)) as advance:
        for batch in split_into_chunks(selection.read(so_far.after), min(_AT_ONCE, rate)):
            events = [
                event
                for event in log_reader.skip_unreadable(batch)
                if not purges.is_void(event) and selection.has(event)
            ]
            messages = [*codec.encode_bodies(events)]
            for projection in () if dry_run else selected:
                send(projection.queue(settings.stage), messages)
            so_far = Checkpoint(
                log_reader.locate(batch[-1]),
                so_far.events + len(events),
                so_far.messages + len(messages),
                so_far.unreadable + sum(isinstance(event, Unreadable) for event in batch),
            )
            advance(len(batch))
            if not dry_run:
                _save(checkpoint_file, owner, so_far)
                pause.wait(max(0.0, started + (so_far.events - resumed_after) / rate - time.monotonic()))
    if not dry_run:
        checkpoint_file.unlink(missing_ok=True)
    return _to_outcome([projection.name for projection in selected], so_far, resumed_after, dry_run=dry_run)


def _to_outcome(names: list[str], so_far: Checkpoint, resumed_after: int, *, dry_run: bool) -> Outcome:
    facts = {
        "events": so_far.events,
        "messages": so_far.messages,
        "unreadable": so_far.unreadable,
        "resumed_after": resumed_after,
    }
    verb = f"{'would be' if dry_run else 'was' if so_far.events == 1 else 'were'} sent"
    queues = (
        ""
        if names == [READ_MODEL.name]
        else f" to the {' and to the '.join(projections.describe(name, 'projection queue') for name in names)}"
    )
    lines = [
        f"{count(so_far.events, 'event')} {verb}{queues} in {count(so_far.messages, 'message')}"
        f"{' each' if len(names) > 1 else ''}. Events that are already counted are not counted again."
    ]
    if resumed_after:
        lines.append(f"{resumed_after:,} of them were sent by an earlier, interrupted run.")
    if so_far.unreadable:
        lines.append(f"{so_far.unreadable:,} events cannot be read by this version and were skipped.")
    return Outcome({**projections.merge_facts(dict.fromkeys(names, facts)), "dry_run": dry_run}, lines)


def send(queue: str, messages: Iterable[str]) -> None:
    """Send messages with these bodies to a projection's queue."""
    for message in messages:
        sqs.send(queue, message, codec.LIKELY_COUNTED)


def _identify(settings: Settings, selection: Selection) -> dict[str, Any]:
    """Describe the replay that a checkpoint belongs to, in JSON types. A recreated table counts as a different one."""
    tables = lookups.table_ids(settings.event_log_table, settings.counters_table, settings.archive_table)
    owner = {"stage": settings.stage, "tables": tables, "selection": asdict(selection)}
    stored: dict[str, Any] = json.loads(json.dumps(owner))
    return stored


def _load(file: Path, owner: dict[str, Any]) -> Checkpoint:
    try:
        saved: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        so_far = Checkpoint(**saved["progress"])
        age_s = clock.now_ms() / 1000 - float(parse_time(so_far.saved_at))
        if saved["owner"] != owner or not 0 <= age_s < _CHECKPOINT_EXPIRES_S:
            return Checkpoint()
        return replace(so_far, after=LogPosition(**saved["progress"]["after"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Checkpoint()  # without a usable checkpoint, start from the beginning


def _save(file: Path, owner: dict[str, Any], so_far: Checkpoint) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}")
    progress_so_far = asdict(replace(so_far, saved_at=format_time(clock.now_ms())))
    temporary.write_text(json.dumps({"owner": owner, "progress": progress_so_far}), encoding="utf-8")
    temporary.replace(file)
