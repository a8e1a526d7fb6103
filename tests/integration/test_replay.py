"""An interrupted replay resumes where it stopped."""

from __future__ import annotations

import json

import pytest

from chalicelib import event_log, settings
from chalicelib.aws import sqs
from chalicelib.errors import QueueUnavailableError
from ops.maintenance import replay
from testkit.builders import an_event

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
    cut_off(tmp_path, replay.Selection(counter_id), monkeypatch)

    other = replayed(tmp_path, replay.Selection(counter_id, to_ms=1))
    again = replayed(tmp_path, replay.Selection(counter_id))

    assert (other["events"], other["resumed_after"]) == (0, 0)
    assert (again["events"], again["resumed_after"]) == (EVENTS, 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "{", '{"selection": {}}', '"', b"\xff"])
def test_unreadable_position_is_ignored(counter_id, tmp_path, content):
    selection = replay.Selection(counter_id)
    memory = replay.locate_checkpoint(tmp_path, "pipeline", selection)
    memory.write_bytes(content if isinstance(content, bytes) else content.encode())

    assert replayed(tmp_path, selection)["events"] == EVENTS


def test_position_of_another_shape_is_ignored(counter_id, tmp_path, monkeypatch):
    selection = replay.Selection(counter_id)
    cut_off(tmp_path, selection, monkeypatch)
    (memory,) = tmp_path.iterdir()
    remembered = json.loads(memory.read_text())
    memory.write_text(json.dumps(remembered | {"progress": {"after": None, "events": 3}}))

    assert replayed(tmp_path, selection)["resumed_after"] == 0


def test_messages_of_a_replay_say_so(pipeline, counter_id, tmp_path):
    """The projector then reads first."""
    replayed(tmp_path, replay.Selection(counter_id))

    (message,) = pipeline.drain(pipeline.queue_url)
    assert message["MessageAttributes"]["likely_counted"] == {"StringValue": "true", "DataType": "String"}
