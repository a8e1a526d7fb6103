"""Commands on a stage's data, without the stage."""

import contextlib
import inspect
from typing import Any

import pytest

from chalicelib import settings
from ops.cli import data
from ops.cli.result import Outcome
from ops.maintenance import dead_letters, redrive, replay
from ops.maintenance.dead_letters import DeadLetter, ReceivedLetters, Selection


@pytest.mark.parametrize("dry_run", [True, False])
def test_replay_from_start_deletes_the_checkpoint_unless_dry_run(tmp_path, monkeypatch, dry_run):
    monkeypatch.setenv("LOCAL_FOLDER", str(tmp_path))
    monkeypatch.setattr(replay, "replay", lambda *_, **_options: Outcome({}))
    current = settings.current()
    names = tuple(projection.name for projection in current.projections)
    checkpoint = replay.locate_checkpoint(tmp_path, current.stage, replay.Selection(projections=names))
    checkpoint.touch()
    callback: Any = data.replay_command.callback

    inspect.unwrap(callback)(
        current, counter_ids=(), from_ms=None, to_ms=None, rate=1, dry_run=dry_run, from_start=True, names=()
    )

    assert checkpoint.exists() is dry_run


class Unreachable:
    """The messages of a queue that no longer answers."""

    def delete(self, _message_id):
        raise ConnectionError


def test_failing_discard_names_its_copy(tmp_path, monkeypatch, capsys):
    letter = DeadLetter("a", "read-model", "queue", "not JSON", "the queue", "2026-01-31T00:00:00.000Z", 1, "{")
    messages: Any = {"read-model": Unreachable()}
    received = contextlib.nullcontext(ReceivedLetters([letter], messages))
    monkeypatch.setattr(dead_letters, "receive", lambda *_: received)

    with pytest.raises(ConnectionError):
        redrive.discard(settings.current(), Selection(), tmp_path, dry_run=False, confirm=lambda _: None)

    (copy,) = tmp_path.iterdir()
    assert capsys.readouterr().err.startswith(f"Copied to {copy}.\n")
