"""An interrupted redrive neither loses nor hides a message. It reports messages that other consumers hide."""

import json
import signal
import stat

import click
import pytest

from chalicelib import event_log, settings
from chalicelib.aws import sqs
from chalicelib.projections import READ_MODEL
from ops.cli import interrupts
from ops.cli.errors import OperatorError
from ops.maintenance import dead_letters, redrive
from ops.maintenance.dead_letters import DeadLetter, Selection
from testkit import aws_requests, faults
from testkit.builders import an_event, message_body, stream_note

#: A time at which no other test's events are recorded.
A_TIME_MS = 1_234_567_890_000
HOURS = (0, 3_600_000, 7_200_000)


@pytest.fixture
def bodies(pipeline):
    """Park three messages with one event each, as an older version does that cannot read them."""
    found = [message_body(an_event(counter_id=pipeline.counter_id, by=by)) for by in (1, 2, 4)]
    for body in found:
        sqs.send(
            READ_MODEL.dead_letter_queue(settings.current().stage),
            body,
            {"reason": "too new", "source": "projection queue"},
        )
    return found


def run(*, dry_run=False, **selection):
    return redrive.redrive(settings.current(), Selection(**selection), dry_run=dry_run)


def discard(folder, *, confirm=lambda _: None, dry_run=False, **selection):
    return redrive.discard(settings.current(), Selection(**selection), folder, dry_run=dry_run, confirm=confirm)


@pytest.fixture
def hidden(pipeline, bodies):
    """Receive one of the messages, as another consumer does, and hold it until the end of the test."""
    url = pipeline.dead_letter_url
    (message,) = sqs.client().receive_message(QueueUrl=url, MaxNumberOfMessages=1, VisibilityTimeout=600)["Messages"]
    yield message["MessageId"]
    sqs.client().delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


@pytest.fixture
def handled_signals():
    """Interrupt this process on signals, as the operators' CLI does."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    interrupts.handle_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def interrupted(_attempt):
    raise KeyboardInterrupt


def test_interrupted_redrive_leaves_the_remaining_messages_visible(pipeline, bodies):
    attempts = []

    def second_is_interrupted(attempt):
        attempts.append(attempt)
        return attempt.carry_out() if len(attempts) == 1 else interrupted(attempt)

    with faults.inject("SendMessage", second_is_interrupted, faults.ALWAYS), pytest.raises(KeyboardInterrupt):
        run()

    sent, left = pipeline.published(), [message["Body"] for message in pipeline.parked()]
    assert (len(sent), len(left), {*sent, *left}) == (1, 2, set(bodies))


def test_redrive_interrupted_while_receiving_leaves_all_visible(pipeline, bodies):
    calls = []

    def second_is_interrupted(attempt):
        calls.append(attempt)
        return attempt.carry_out() if len(calls) == 1 else interrupted(attempt)

    with faults.inject("ReceiveMessage", second_is_interrupted, faults.ALWAYS), pytest.raises(KeyboardInterrupt):
        run()

    assert (pipeline.published(), len(pipeline.parked())) == ([], 3)


def test_dead_letter_sent_but_not_deleted_is_sent_twice_and_counted_once(pipeline, bodies):
    with faults.inject("DeleteMessage", interrupted), pytest.raises(KeyboardInterrupt):
        run()
    again = run()

    messages = pipeline.published()
    pipeline.project(messages)
    assert (again.facts["sent"], len(messages), pipeline.parked()) == (3, 4, [])
    assert (pipeline.value, pipeline.version) == (7, 3)


def test_messages_parked_during_a_redrive_are_left_for_the_next(pipeline, bodies):
    def another_comes_in(attempt):
        sqs.send(READ_MODEL.dead_letter_queue(settings.current().stage), "later")
        return attempt.carry_out()

    with faults.inject("ReceiveMessage", another_comes_in, faults.ALWAYS):
        done = run()

    assert done.holds
    assert set(bodies) <= set(pipeline.published())


def test_redrive_beyond_its_limit_sends_the_first_and_asks_for_another(pipeline, bodies):
    done = run(max_messages=3)

    assert (done.facts["sent"], done.holds) == (3, False)
    assert done.text.endswith("There may be more messages: run redrive again.")
    assert sorted(pipeline.published()) == sorted(bodies)


def test_discarded_stream_batch_is_sent_from_the_log(pipeline):
    long_ago, then, later = (an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS + ms) for ms in HOURS)
    for event in (long_ago, then, later):
        event_log.append(event)
    for _ in range(2):
        sqs.send(
            READ_MODEL.dead_letter_queue(settings.current().stage),
            stream_note(then.recorded_at_ms, then.recorded_at_ms + 900),
        )

    with aws_requests.record() as requests:
        done = run()

    assert [(letter["reason"], letter["source"], letter["sent_as"]) for letter in done.facts["messages"]] == [
        ("not published within 12 hours", "event log stream", "1 event of the log")
    ] * 2
    assert requests.operations.count("SendMessage") == 1
    assert pipeline.published() == [message_body(then)]
    assert pipeline.parked() == []


def test_messages_that_are_sent_back_are_marked(pipeline, bodies):
    """The mark makes the projector read first, because many of the events are counted."""
    run()

    found = pipeline.drain(pipeline.queue_url)
    assert [message["MessageAttributes"]["likely_counted"]["StringValue"] for message in found] == ["true"] * len(
        bodies
    )


def test_redrive_interrupted_while_reading_the_log_keeps_the_note(pipeline):
    pipeline.increment()
    sqs.send(READ_MODEL.dead_letter_queue(settings.current().stage), stream_note(A_TIME_MS, A_TIME_MS))

    with faults.inject("Scan", interrupted), pytest.raises(KeyboardInterrupt):
        run()

    assert len(pipeline.parked()) == 1


@pytest.mark.parametrize(("age_s", "shown"), [(59, "59 s"), (60, "1 min"), (7_300, "2 h"), (200_000, "2 d")])
def test_an_age_is_shown_in_its_largest_unit(age_s, shown):
    assert dead_letters._format_age(age_s) == shown


def test_redrive_next_to_a_hidden_message_reports_it_and_fails(pipeline, hidden):
    listed, done = run(dry_run=True), run()

    assert [(each.facts["left"], each.facts["hidden"], each.holds) for each in (listed, done)] == [
        (3, 1, False),
        (1, 1, False),
    ]
    assert (
        "Sent back: 2. On the dead-letter queue: 1.\nHidden: 1 message that another consumer has received" in done.text
    )


def test_redrive_by_id_ignores_other_hidden_messages(pipeline, hidden):
    chosen = next(letter["id"] for letter in run(dry_run=True).facts["messages"])

    done = run(ids=[chosen])

    assert (done.facts["sent"], done.facts["hidden"], done.holds) == (1, 1, True)


def test_redrive_of_a_hidden_message_by_id_says_that_it_is_hidden(pipeline, hidden):
    with pytest.raises(OperatorError, match=r"matches no message .* Nothing was changed. Hidden: 1 message"):
        run(ids=[hidden])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_while_messages_are_received_leaves_all_visible(pipeline, bodies, handled_signals, number):
    """The signal arrives after SQS has hidden the messages and before this process has read the response."""

    def signal_before_the_answer(attempt):
        answer = attempt.carry_out()
        signal.raise_signal(number)
        return answer

    with faults.inject("ReceiveMessage", signal_before_the_answer), pytest.raises(KeyboardInterrupt):
        run()

    assert (pipeline.published(), len(pipeline.parked())) == ([], 3)


def test_second_signal_while_messages_are_released_leaves_all_visible(pipeline, handled_signals):
    queue = READ_MODEL.dead_letter_queue(settings.current().stage)
    for number in range(11):  # SQS releases ten in one request
        sqs.send(queue, str(number))

    def signal_first(attempt):
        signal.raise_signal(signal.SIGINT)
        return attempt.carry_out()

    with faults.inject("ChangeMessageVisibilityBatch", signal_first), pytest.raises(KeyboardInterrupt):
        run(dry_run=True)

    assert len(pipeline.parked()) == 11


def test_messages_that_sqs_fails_to_release_are_released_again(pipeline, bodies):
    """SQS responds 200 and lists the messages that failed: one by its own fault, and one that is visible already."""

    def fail_two(attempt):
        answer = json.loads(attempt.carry_out().content)
        faults_by_sender = zip(answer["Successful"][1:], (False, True), strict=True)
        failed = [{"Id": each["Id"], "SenderFault": fault, "Code": "Any"} for each, fault in faults_by_sender]
        content = {"Successful": answer["Successful"][:1], "Failed": failed}
        return faults.response(attempt.request, 200, {}, json.dumps(content).encode())

    with aws_requests.record() as requests, faults.inject("ChangeMessageVisibilityBatch", fail_two):
        run(dry_run=True)

    released = [sent["Entries"] for name, sent in requests.made if name == "ChangeMessageVisibilityBatch"]
    assert [[each["Id"] for each in entries] for entries in released] == [["0", "1", "2"], ["1"]]
    assert released[1] == [released[0][1]]
    assert len(pipeline.parked()) == 3


def test_discarded_messages_are_deleted_after_a_copy(pipeline, bodies, tmp_path):
    sqs.send(READ_MODEL.dead_letter_queue(settings.current().stage), "unreadable\n€", {"reason": "not JSON"})
    questions: list[str] = []

    done = discard(tmp_path, reason="not JSON", confirm=questions.append)

    (file,) = tmp_path.iterdir()
    (letter,) = done.facts["messages"]
    (copied,) = [json.loads(line) for line in file.read_text().splitlines()]
    assert (done.holds, done.facts["discarded"], done.facts["sent"], letter["outcome"]) == (True, 1, 0, "discarded")
    assert (copied["id"], copied["reason"], copied["body"]) == (letter["id"], "not JSON", "unreadable\n€")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (done.facts["copy"], done.text.splitlines()[-1]) == (str(file), f"Copy: {file}")
    assert done.text.splitlines()[-2] == "Discarded: 1. On the dead-letter queue: 3."
    (question,) = questions
    assert question.startswith(f"{letter['id']}  on the dead-letter queue, ")
    assert question.endswith("\nDiscard 1 message?")
    assert {message["Body"] for message in pipeline.parked()} == set(bodies)
    assert pipeline.published() == []


def test_dry_discard_deletes_nothing_and_does_not_ask(pipeline, bodies, tmp_path):
    done = discard(tmp_path, dry_run=True, confirm=interrupted)

    assert (done.facts["discarded"], done.facts["copy"], len(pipeline.parked())) == (0, None, 3)
    assert done.text.endswith("Nothing was discarded: this was a dry run. On the dead-letter queue: 3.")


def test_discard_of_nothing_does_not_ask(pipeline, bodies, tmp_path):
    done = discard(tmp_path, reason="none such", confirm=interrupted)

    assert (done.holds, done.facts["discarded"], list(tmp_path.iterdir())) == (True, 0, [])


def decline(_question):
    raise click.Abort


def test_declined_discard_deletes_nothing(pipeline, bodies, tmp_path):
    with pytest.raises(click.Abort):
        discard(tmp_path, confirm=decline)

    assert (len(pipeline.parked()), list(tmp_path.iterdir())) == (3, [])


def test_discard_confirmed_too_late_deletes_nothing(pipeline, bodies, tmp_path, monkeypatch):
    """Other consumers may have received the messages meanwhile."""
    monkeypatch.setattr(redrive, "_CONFIRM_WITHIN_S", -1)

    with pytest.raises(OperatorError, match="The confirmation took over"):
        discard(tmp_path)

    assert (len(pipeline.parked()), list(tmp_path.iterdir())) == (3, [])


def test_discard_without_a_place_for_the_copy_deletes_nothing(pipeline, bodies, tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(OperatorError, match=r"The copy cannot be written: .* Nothing was discarded."):
        discard(tmp_path / "file")

    assert len(pipeline.parked()) == 3


def test_interrupted_discard_has_copied_all_and_releases_the_remaining(pipeline, bodies, tmp_path):
    with faults.inject("DeleteMessage", interrupted), pytest.raises(KeyboardInterrupt):
        discard(tmp_path)

    (file,) = tmp_path.iterdir()
    copied = {json.loads(line)["body"] for line in file.read_text().splitlines()}
    assert (copied, {message["Body"] for message in pipeline.parked()}) == (set(bodies), set(bodies))


def test_discard_removes_a_message_that_is_too_large_to_send(pipeline, tmp_path):
    sqs.send(READ_MODEL.dead_letter_queue(settings.current().stage), "x" * 200_000)

    refused = run()
    done = discard(tmp_path)

    assert (refused.holds, done.holds, done.facts["discarded"], pipeline.parked()) == (False, True, 1, [])


def test_redrive_by_age_sends_the_older_messages(pipeline, bodies):
    done = run(min_age_s=3600)

    assert (done.facts["sent"], done.facts["left"], done.holds) == (0, 3, True)


@pytest.mark.parametrize(
    ("selection", "is_selected"),
    [
        (Selection(), True),
        (Selection(min_age_s=60), True),
        (Selection(min_age_s=61), False),
        (Selection(reason="new"), True),
        (Selection(reason="old"), False),
        (Selection(ids=["b", "a1"]), True),
        (Selection(ids=["b"]), False),
        (Selection(ids=["a1"], reason="old"), False),
    ],
)
def test_selection_has_dead_letters_that_match_all_criteria(selection, is_selected):
    letter = DeadLetter("a1b2", "read-model", "queue", "too new", "projection queue", "", 60, "")

    assert selection.has(letter) is is_selected
