"""A redrive that is interrupted at the worst moments loses no message and leaves the others visible."""

from __future__ import annotations

import pytest

from chalicelib import event_log, settings
from chalicelib.aws import sqs
from chalicelib.projections import READ_MODEL
from ops.maintenance import redrive
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


def run(**options):
    return redrive.redrive(settings.current(), [], "", dry_run=False, **options)


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


def test_interrupted_while_gathering_all_is_visible_at_once(pipeline, bodies):
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

    assert (done.facts["sent"], done.holds, done.text.endswith("There may be more: run it again.")) == (3, False, True)
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

    assert [(told["reason"], told["source"], told["sent_as"]) for told in done.facts["messages"]] == [
        ("not published in half a day", "event log stream", "1 events of the log")
    ] * 2
    assert requests.operations.count("SendMessage") == 1
    assert pipeline.published() == [message_body(then)]
    assert pipeline.parked() == []


def test_messages_that_are_sent_back_say_so(pipeline, bodies):
    """The projector then reads first, because many of their events are counted."""
    run()

    found = pipeline.drain(pipeline.queue_url)
    assert [message["MessageAttributes"]["likely_counted"]["StringValue"] for message in found] == ["true"] * len(
        bodies
    )


def test_interrupted_while_reading_the_log_the_note_stays(pipeline):
    pipeline.increment()
    sqs.send(READ_MODEL.dead_letter_queue(settings.current().stage), stream_note(A_TIME_MS, A_TIME_MS))

    with faults.inject("Scan", interrupted), pytest.raises(KeyboardInterrupt):
        run()

    assert len(pipeline.parked()) == 1


@pytest.mark.parametrize(("age_s", "shown"), [(59, "59 s"), (60, "1 min"), (7_300, "2 h"), (200_000, "2 d")])
def test_an_age_is_shown_in_its_largest_unit(age_s, shown):
    assert redrive._format_age(age_s) == shown
