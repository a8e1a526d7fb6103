"""Commands on a stage's data keep what a dry run must not delete."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from chalicelib import settings
from ops.cli import data
from ops.cli.result import Outcome
from ops.maintenance import replay


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
