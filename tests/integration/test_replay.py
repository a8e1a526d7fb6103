"""An interrupted replay resumes where it stopped, unless the stop was over a day ago or on other tables."""

import json
import re
import time

import pytest

from chalicelib import event_log, log_reader, settings
from chalicelib.api.formats import format_time
from chalicelib.aws import sqs
from chalicelib.errors import QueueUnavailableError
from chalicelib.read_model import writer
from ops.maintenance import lookups, notes, purge, replay
from testkit.builders import A_TIME_MS, an_event

EVENTS = 5


@pytest.fixture
def counter_id(pipeline):
    for n in range(EVENTS):
        event_log.append(an_event(counter_id=pipeline.counter_id, by=n + 1))
    return pipeline.counter_id


def replayed(folder, selection):
    current = settings.current()
    memory = replay.locate_checkpoint(folder, current.stage, selection)
    return replay.replay(current, selection, 1000, memory, dry_run=False).facts


def cut_off(folder, selection, monkeypatch, after=2):
    """Interrupt a replay, which sends one event at a time, after this number of events."""
    send, sent = sqs.send, list[str]()

    def send_some(queue, body, attributes):
        if len(sent) == after:
            raise QueueUnavailableError("stopped")
        sent.append(send(queue, body, attributes))

    with monkeypatch.context() as patched:
        patched.setattr(replay, "_AT_ONCE", 1)
        patched.setattr(sqs, "send", send_some)
        with pytest.raises(QueueUnavailableError):
            replayed(folder, selection)


def test_interrupted_replay_resumes_after_another_replay(counter_id, tmp_path, monkeypatch):
    cut_off(tmp_path, replay.Selection([counter_id]), monkeypatch)

    other = replayed(tmp_path, replay.Selection([counter_id], to_ms=1))
    again = replayed(tmp_path, replay.Selection([counter_id]))

    assert (other["events"], other["resumed_after"]) == (0, 0)
    assert (again["events"], again["resumed_after"]) == (EVENTS, 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "{", '{"selection": {}}', '"', b"\xff"])
def test_unreadable_position_is_ignored(counter_id, tmp_path, content):
    selection = replay.Selection([counter_id])
    memory = replay.locate_checkpoint(tmp_path, "pipeline", selection)
    memory.write_bytes(content if isinstance(content, bytes) else content.encode())

    assert replayed(tmp_path, selection)["events"] == EVENTS


def test_position_of_another_shape_is_ignored(counter_id, tmp_path, monkeypatch):
    selection = replay.Selection([counter_id])
    cut_off(tmp_path, selection, monkeypatch)
    (memory,) = tmp_path.iterdir()
    remembered = json.loads(memory.read_text())
    memory.write_text(json.dumps(remembered | {"progress": {**remembered["progress"], "after": None}}))

    assert replayed(tmp_path, selection)["resumed_after"] == 0


def test_messages_of_a_replay_are_marked(pipeline, counter_id, tmp_path):
    """The mark makes the projector read before it writes."""
    replayed(tmp_path, replay.Selection([counter_id]))

    (message,) = pipeline.drain(pipeline.queue_url)
    assert message["MessageAttributes"]["likely_counted"] == {"StringValue": "true", "DataType": "String"}


def test_position_has_its_owner_and_its_time(counter_id, tmp_path, monkeypatch):
    cut_off(tmp_path, replay.Selection([counter_id]), monkeypatch)

    (memory,) = tmp_path.iterdir()
    saved = json.loads(memory.read_text())
    assert saved["owner"]["stage"] == "pipeline"
    assert saved["owner"]["selection"]["counter_ids"] == [counter_id]
    assert {name.removeprefix("counter-pipeline-") for name in saved["owner"]["tables"]} == {
        "event-log",
        "counters",
        "archive",
    }
    assert saved["progress"]["saved_at"].endswith("Z")


@pytest.mark.parametrize(("age_s", "resumed_after"), [(86_000, 2), (86_401, 0), (90 * 86_400, 0), (-3600, 0)])
def test_position_expires_after_a_day(counter_id, tmp_path, monkeypatch, age_s, resumed_after):
    selection = replay.Selection([counter_id])
    cut_off(tmp_path, selection, monkeypatch)
    (memory,) = tmp_path.iterdir()
    saved = json.loads(memory.read_text())
    saved["progress"]["saved_at"] = format_time(time.time_ns() // 1_000_000 - age_s * 1000)
    memory.write_text(json.dumps(saved))

    assert replayed(tmp_path, selection)["resumed_after"] == resumed_after


@pytest.mark.parametrize("table", ["event-log", "counters", "archive"])
def test_position_of_a_table_that_was_created_again_is_ignored(counter_id, tmp_path, monkeypatch, table):
    selection = replay.Selection([counter_id])
    cut_off(tmp_path, selection, monkeypatch)
    ids = replay._identify(settings.current(), selection)["tables"] | {f"counter-pipeline-{table}": "another"}
    monkeypatch.setattr(lookups, "table_ids", lambda *names: {name: ids[name] for name in names})

    assert replayed(tmp_path, selection)["resumed_after"] == 0


def test_resumed_replay_says_so_before_it_sends(counter_id, tmp_path, monkeypatch, capsys):
    selection = replay.Selection([counter_id])
    cut_off(tmp_path, selection, monkeypatch)
    first = capsys.readouterr().err

    replayed(tmp_path, selection)

    assert first == ""
    assert re.fullmatch(
        r"Resuming the replay that was interrupted at \S+Z. --from-start starts over.\n", capsys.readouterr().err
    )


def test_only_positions_of_the_stage_are_deleted(tmp_path):
    selections = [replay.Selection(), replay.Selection(["clicks"])]
    deleted = [replay.locate_checkpoint(tmp_path, "dev", selection) for selection in selections]
    kept = [replay.locate_checkpoint(tmp_path, stage, replay.Selection()) for stage in ("dev-2", "prod")]
    for file in [*deleted, *kept]:
        file.touch()

    replay.delete_checkpoints(tmp_path, "dev")

    assert set(tmp_path.iterdir()) == set(kept)


@pytest.fixture
def purged_id(pipeline, counter_id):
    """Return a counter that was purged, and has two events since the purge."""
    writer.count(log_reader.skip_unreadable(log_reader.scan_counter(counter_id)))
    outcome = purge.purge(
        settings.current(),
        [counter_id],
        notes.Note("spam", "ann"),
        is_open=lambda _: False,
        confirm=lambda _: None,
        dry_run=False,
    )
    assert outcome.facts["events"] == EVENTS
    pipeline.record(*[an_event(counter_id=counter_id, recorded_at_ms=A_TIME_MS + ms) for ms in (1, 2)])
    return counter_id


def test_replay_sends_no_purged_event(pipeline, purged_id, tmp_path):
    sent = replayed(tmp_path, replay.Selection([purged_id]))
    of_all = replayed(tmp_path, replay.Selection())

    (_, version, _) = (pipeline.value, pipeline.version, pipeline.published())
    assert (sent["events"], version) == (2, 2)
    logged = [event for event in log_reader.skip_unreadable(log_reader.scan()) if event.is_projected]
    assert of_all["events"] == len(logged) - EVENTS


def test_replay_resumed_among_purged_events_sends_none_of_them(purged_id, tmp_path, monkeypatch):
    """The purge of a partition precedes the position."""
    selection, saves = replay.Selection([purged_id]), []

    def save_some(file, owner, so_far, save=replay._save):
        save(file, owner, so_far)
        saves.append(so_far.events)
        if len(saves) == 3:
            raise QueueUnavailableError("stopped")

    with monkeypatch.context() as patched:
        patched.setattr(replay, "_AT_ONCE", 1)
        patched.setattr(replay, "_save", save_some)
        with pytest.raises(QueueUnavailableError):
            replayed(tmp_path, selection)
    again = replayed(tmp_path, selection)

    assert again["events"] == 2
