"""Adjustments are recorded and counted once for their key, next to concurrent writers."""

import re

import pytest

from chalicelib import command_handlers, event_log
from chalicelib.domain.commands import Adjust, Increment, InvalidAdjustmentError
from chalicelib.domain.events import Adjusted
from chalicelib.errors import ContendedError, KeyReusedError, UnavailableError
from ops.cli.errors import OutageError
from ops.maintenance import adjust as ops_adjust
from testkit import faults
from testkit.builders import an_event
from tests.pipeline import run_concurrently


def adjust(pipeline, **parts):
    return command_handlers.adjust(
        Adjust(**{"counter_id": pipeline.counter_id, "idempotency_key": "k", "reason": "a test", "who": "ann", **parts})
    )


def test_adjustment_is_counted_at_once_and_not_again_by_the_stream(pipeline):
    pipeline.increment({"by": 3}, If_Match='"0"')

    accepted = adjust(pipeline, by=-5)
    pipeline.deliver()

    assert (accepted.counter.value, accepted.counter.version, accepted.is_retry) == (-2, 2, False)
    assert (pipeline.value, pipeline.version) == (-2, 2)
    assert event_log.get(pipeline.counter_id, accepted.event.event_id) == accepted.event
    assert isinstance(accepted.event, Adjusted)


def test_adjustment_that_only_the_stream_delivers_is_counted(pipeline):
    accepted = adjust(pipeline, by=-5)
    other = f"{pipeline.counter_id}-other"
    (record,) = pipeline.new_records()
    for image in (record["dynamodb"]["NewImage"], record["dynamodb"]["Keys"]):
        image["partition"] = {"S": other}

    pipeline.publish([record])
    pipeline.project(pipeline.published() * 3)
    pipeline.counter_id = other

    assert (accepted.counter.value, pipeline.value, pipeline.version) == (-5, -5, 1)
    assert pipeline.parked() == []


def test_same_key_is_the_same_adjustment_for_any_operator(pipeline):
    first = adjust(pipeline, by=-5)
    second = adjust(pipeline, by=-5, who="ben")
    pipeline.deliver()

    assert (first.is_retry, second.is_retry, second.event) == (False, True, first.event)
    assert (pipeline.value, pipeline.version) == (-5, 1)


def test_adjustment_to_a_value_is_not_repeated_by_the_same_key(pipeline):
    adjust(pipeline, to=100)
    pipeline.increment({"by": 7}, If_Match='"1"')

    again = adjust(pipeline, to=100)

    assert (again.is_retry, again.counter.value, pipeline.version) == (True, 107, 2)


@pytest.mark.parametrize("other", [{"by": 6}, {"by": 5, "reason": "another"}, {"to": 5, "reason": "another"}])
def test_key_used_for_a_different_adjustment_is_refused(pipeline, other):
    adjust(pipeline, by=5)

    with pytest.raises(KeyReusedError):
        adjust(pipeline, **other)

    assert (pipeline.value, pipeline.version) == (5, 1)


def test_adjustment_key_differs_from_a_clients_equal_key(pipeline):
    pipeline.increment({"by": 5}, Idempotency_Key="k")

    accepted = adjust(pipeline, by=5)
    pipeline.deliver()

    assert accepted.is_retry is False
    assert (pipeline.value, pipeline.version) == (10, 2)


def test_same_key_on_another_counter_is_another_adjustment(pipeline):
    adjust(pipeline, by=5)

    assert adjust(pipeline, by=5, counter_id=f"{pipeline.counter_id}-other").is_retry is False


def test_adjustment_to_the_current_value_records_nothing(pipeline):
    pipeline.increment({"by": 5}, If_Match='"0"')

    assert adjust(pipeline, to=5) is None
    assert (pipeline.value, pipeline.version) == (5, 1)
    assert adjust(pipeline, to=0, idempotency_key="other").counter.value == 0


@pytest.mark.parametrize("asked", [{"by": 0}, {"by": 2**53}])
def test_adjustment_by_an_invalid_amount_records_nothing(pipeline, asked):
    with pytest.raises(InvalidAdjustmentError):
        adjust(pipeline, **asked)

    assert pipeline.version == 0


def test_adjustment_to_a_value_succeeds_next_to_concurrent_writers(pipeline):
    def work(number):
        if number == 0:
            return adjust(pipeline, to=1000)
        return command_handlers.record(Increment(pipeline.counter_id, count_at_once=True))

    set_to, *_ = run_concurrently(6, work)
    pipeline.deliver()

    before = set_to.counter.version - 1
    assert set_to.counter.value == 1000
    assert set_to.event.by == 1000 - before
    assert (pipeline.value, pipeline.version) == (1000 + 5 - before, 6)


def test_adjustment_to_a_value_is_decided_again_after_a_conflict(pipeline):
    """A concurrent writer counts between the read and the write."""

    def another_counts_first(attempt):
        pipeline.count(an_event(counter_id=pipeline.counter_id, by=7))
        return attempt.carry_out()

    with faults.inject("TransactWriteItems", another_counts_first):
        accepted = adjust(pipeline, to=100)

    assert (accepted.event.by, accepted.counter.value) == (93, 100)
    assert (pipeline.value, pipeline.version) == (100, 2)


def test_concurrent_adjustments_with_one_key_record_one_event(pipeline):
    results = run_concurrently(8, lambda _: adjust(pipeline, by=-4))
    pipeline.deliver()

    assert [result.is_retry for result in results].count(False) == 1
    assert len({result.event.event_id for result in results}) == 1
    assert (pipeline.value, pipeline.version) == (-4, 1)


def test_adjustment_that_conflicts_at_every_attempt_records_nothing(pipeline):
    with faults.inject("TransactWriteItems", faults.cancel, faults.ALWAYS), pytest.raises(ContendedError):
        adjust(pipeline, to=5)

    assert pipeline.version == 0


def test_adjustment_cancelled_by_a_conflict_is_retried(pipeline):
    with faults.inject("TransactWriteItems", faults.cancel, times=2):
        accepted = adjust(pipeline, to=5)

    assert accepted.counter.value == pipeline.value == 5


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "fault", [faults.drop_request, faults.lose_answer, faults.throttle], ids=lambda fault: fault.__name__
)
def test_adjustment_with_unknown_outcome_is_recorded_once_when_retried(pipeline, fault):
    with faults.inject("TransactWriteItems", fault, faults.ALWAYS), pytest.raises(UnavailableError):
        adjust(pipeline, by=5)

    adjust(pipeline, by=5)
    pipeline.deliver()

    assert (pipeline.value, pipeline.version) == (5, 1)


def test_adjustment_with_shards_is_counted_in_its_part(pipeline, four_shards):
    accepted = adjust(pipeline, by=-5)
    pipeline.deliver()

    assert (pipeline.value, pipeline.version) == (-5, 1)
    assert pipeline.event(accepted.event.event_id).body["status"] == "counted"
    assert [event["by"] for event in pipeline.events().body["events"]] == [-5]


def operate(pipeline, key=None):
    command = ops_adjust.build_command(pipeline.counter_id, by=5, to=None, reason="a test", who="ann", key=key)
    return ops_adjust.adjust(command, dry_run=False, yes=True)


def record_then_interrupt(attempt):
    attempt.carry_out()
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("fault", "error"),
    [(record_then_interrupt, KeyboardInterrupt), (faults.lose_answer, OutageError)],
    ids=["interrupted", "unanswered"],
)
def test_operators_adjustment_cut_off_after_recording_is_recorded_once(pipeline, capsys, fault, error):
    """The key that was shown before the request is in the advice. Following the advice records nothing else."""
    with faults.inject("TransactWriteItems", fault, faults.ALWAYS), pytest.raises(error) as raised:
        operate(pipeline)
    (key,) = re.findall(r"^Recording with --key (\S+)\.$", capsys.readouterr().err, re.MULTILINE)

    again = operate(pipeline, key)

    advice = f"may have been recorded. Run the command again with --key {key}: it is recorded only once."
    assert advice in str(raised.value)
    assert again.facts["recorded_before"]
    assert (pipeline.value, pipeline.version) == (5, 1)


def test_operators_adjustment_shows_its_key_as_the_shell_reads_it(pipeline, capsys):
    done = operate(pipeline, "ticket 17; it's")

    assert capsys.readouterr().err == "Recording with --key 'ticket 17; it'\"'\"'s'.\n"
    assert ", key ticket 17; it's. The value is 5." in done.text
