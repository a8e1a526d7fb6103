"""Redrive dead letters: valid messages are counted, and invalid messages are parked again or discarded."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from subprocess import PIPE
from typing import Any

import boto3
import pytest

from testkit.builders import message_body
from tests.e2e.conftest import PROJECT, eventually, ops

pytestmark = pytest.mark.exhaustive


@pytest.fixture
def mark():
    """Return a word that no other test's message contains."""
    return uuid.uuid4().hex


@pytest.fixture
def dead_letters(operator, mark):
    """Return a function that lists the dead letters with the mark, and remove them after the test."""
    sqs = boto3.client("sqs")

    def found():
        seen: dict[str, Any] = {}
        while messages := sqs.receive_message(
            QueueUrl=operator.dead_letter_url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=30,
            MessageAttributeNames=["All"],
        ).get("Messages"):
            seen |= {message["MessageId"]: message for message in messages}
        for message in seen.values():
            sqs.change_message_visibility(
                QueueUrl=operator.dead_letter_url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
        return [message for message in seen.values() if mark in message["Body"]]

    yield found
    for message in found():
        sqs.delete_message(QueueUrl=operator.dead_letter_url, ReceiptHandle=message["ReceiptHandle"])


@pytest.fixture
def park(operator):
    """Put a body on the dead-letter queue, as parking does or, without a reason, as SQS does. Return its id."""

    def lay(body, reason=None):
        attributes = {"reason": reason, "source": "projection queue"} if reason else {}
        sent: Any = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        return boto3.client("sqs").send_message(
            QueueUrl=operator.dead_letter_url, MessageBody=body, MessageAttributes=sent
        )["MessageId"]

    return lay


def redriven(*arguments):
    """Run redrive with `--json` and return its output and exit status."""
    done = ops("redrive", "--stage", "local", "--json", *arguments)
    assert done.stderr == ""
    return json.loads(done.stdout), done.returncode


def poison(mark):
    return json.dumps({"version": 9, "mark": mark})


def test_a_dry_run_lists_and_changes_nothing(dead_letters, park, mark):
    first, second = park(poison(mark) + "\nand more", f"strange {mark}"), park(poison(mark), f"strange {mark} \x1b[31m")

    listed = ops("redrive", "--stage", "local", "--dry-run", "--reason", mark)

    assert listed.returncode == 0
    assert listed.stdout.count(" old, listed; from the projection queue: strange ") == 2
    assert f"{first}  " in listed.stdout
    assert f"    {poison(mark)}\n    and more\n" in listed.stdout
    assert "\nNothing was sent: this was a dry run. On the dead-letter queue: " in listed.stdout
    assert "\x1b" not in listed.stdout
    assert {message["MessageId"] for message in dead_letters()} == {first, second}


def test_valid_dead_letter_is_counted_and_removed(client, dead_letters, park, mark, an_event_of):
    good = an_event_of(mark, 5)
    letter_id = park(message_body(good), f"unknown event type or version: {mark}")

    facts, status = redriven("--reason", mark)

    eventually(lambda: client.counter(mark)["value"] == 5)
    (letter,) = facts["messages"]
    assert (status, facts["sent"], letter["id"], letter["outcome"]) == (0, 1, letter_id, "sent")
    assert letter["sent_as"]
    assert letter["first_lines"][0].startswith('{"version":1,"events":[{"counter_id":')
    assert dead_letters() == []


def test_invalid_dead_letter_is_parked_again_once(operator, dead_letters, mark):
    broken = json.dumps({"version": 1, "events": [{"type": f"Vanished {mark}"}]})
    operator.send(broken)
    eventually(lambda: len(dead_letters()) == 1)
    (before,) = dead_letters()

    facts, status = redriven("--reason", mark)

    eventually(lambda: len(dead_letters()) == 1)
    (after,) = dead_letters()
    assert (status, facts["sent"]) == (0, 1)
    assert (after["Body"], after["MessageAttributes"]) == (before["Body"], before["MessageAttributes"])
    assert after["MessageId"] != before["MessageId"]


def test_messages_are_selected_by_the_start_of_their_ids(client, dead_letters, park, mark, an_event_of):
    ids = [park(message_body(an_event_of(mark, by)), mark) for by in (1, 2, 4)]

    facts, status = redriven("--message", ids[0][:13], "--message", ids[2])

    eventually(lambda: client.counter(mark)["value"] == 5)
    assert (status, facts["sent"]) == (0, 2)
    assert [message["MessageId"] for message in dead_letters()] == [ids[1]]


def test_messages_moved_by_sqs_are_selected_by_their_reason(client, dead_letters, park, mark, an_event_of):
    moved = park(message_body(an_event_of(mark, 3)))

    facts, status = redriven("--reason", "failed too often", "--message", moved)

    eventually(lambda: client.counter(mark)["value"] == 3)
    assert (status, [letter["reason"] for letter in facts["messages"]]) == (0, ["failed too often"])


def test_id_that_matches_several_messages_sends_nothing(dead_letters, park, mark):
    ids = {park(poison(mark), mark) for _ in range(2)}

    refused = ops("redrive", "--stage", "local", "--message", "")

    assert (refused.returncode, " messages (" in refused.stderr) == (1, True)
    assert {message["MessageId"] for message in dead_letters()} == ids


def test_dead_letter_too_large_for_the_queue_stays_and_is_reported(client, dead_letters, park, mark, an_event_of):
    """The other dead letters are sent."""
    large = park(json.dumps({"mark": mark, "filler": "x" * 200_000}), mark)
    park(message_body(an_event_of(mark, 2)), mark)

    done = ops("redrive", "--stage", "local", "--reason", mark)

    eventually(lambda: client.counter(mark)["value"] == 2)
    assert (done.returncode, f"{large}  " in done.stdout, done.stderr) == (1, True, "")
    assert "Too large for the projection queue, which accepts at most 196608 bytes: 1." in done.stdout
    assert [message["MessageId"] for message in dead_letters()] == [large]


def test_redrive_with_nothing_to_send_back_succeeds(place, mark):
    facts, status = redriven("--reason", mark)

    assert (status, facts["sent"], facts["messages"]) == (0, 0, [])


def test_discarded_dead_letter_is_only_in_a_local_file(place, dead_letters, park, mark):
    garbage = park(poison(mark), mark)
    kept = park(poison(mark), mark)

    unanswered = ops("redrive", "--stage", "local", "--discard", "--message", garbage)
    done = ops("redrive", "--stage", "local", "--json", "--discard", "--message", garbage, "--yes")
    facts = json.loads(done.stdout)

    assert (unanswered.returncode, unanswered.stderr) == (1, "Error: Confirmation required: add --yes.\n")
    assert (done.returncode, done.stderr) == (0, f"Copied to {facts['copy']}.\n")
    assert (facts["discarded"], facts["sent"]) == (1, 0)
    copied = json.loads(Path(facts["copy"]).read_text())
    assert (Path(facts["copy"]).parent, copied["id"], copied["body"]) == (place.folder, garbage, poison(mark))
    assert [message["MessageId"] for message in dead_letters()] == [kept]


def test_discard_is_confirmed_at_a_terminal(dead_letters, park, mark):
    letter_id = park(poison(mark), mark)

    process = at_a_terminal("redrive", "--stage", "local", "--discard", "--reason", mark, answer=b"n\n")

    assert process.returncode != 0
    assert f"{letter_id}  on the dead-letter queue" in process.stderr
    assert "Discard 1 message? [y/N]" in process.stderr
    assert [message["MessageId"] for message in dead_letters()] == [letter_id]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_redrive_that_a_signal_ends_leaves_all_visible(dead_letters, park, mark, number):
    """The process is at the confirmation, where it holds all messages."""
    ids = {park(poison(mark), mark) for _ in range(12)}

    process = at_a_terminal("redrive", "--stage", "local", "--discard", "--reason", mark, number=number)

    assert (process.returncode, "Traceback" in process.stderr) == (130, False)
    assert {message["MessageId"] for message in dead_letters()} == ids


def at_a_terminal(*arguments, answer=b"", number=None):
    """Run a command with a terminal as its input. At its first question, answer, or send the signal of this number."""
    terminal, its_side = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "ops", *arguments], cwd=PROJECT, stdin=its_side, stdout=PIPE, stderr=PIPE, text=True
    ) as process:
        os.close(its_side)
        assert process.stderr is not None
        prompt = ""
        while not prompt.endswith("[y/N]: ") and (character := process.stderr.read(1)):
            prompt += character
        if number is None:
            os.write(terminal, answer)
        else:
            end_by_signal(process, number)
        output, rest = process.communicate()
    os.close(terminal)
    return subprocess.CompletedProcess(arguments, process.returncode, output, prompt + rest)


def end_by_signal(process, number):
    """Send the signal repeatedly, because Python misses a signal that arrives just before it begins to read."""
    while process.poll() is None:
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
