"""Races of real threads on a server that isolates writes."""

import random
import sys
import time

import pytest

from chalicelib import event_log
from chalicelib.domain.archive import RECENT_MAX
from chalicelib.errors import ContendedError, KeyReusedError
from testkit.builders import A_TIME_MS, an_event
from tests.pipeline import Pipeline, run_concurrently

ROUNDS = 12


@pytest.fixture
def pipeline(stage: dict[str, str]) -> Pipeline:
    """Return a pipeline with its own counter."""
    return Pipeline(
        stage["ProjectionQueueUrl"], stage["DeadLetterQueueUrl"], stage["EventLogStreamArn"], random.Random(20181)
    )


def project_until_taken(pipeline, *events):
    """Project like the queue, which redelivers a batch after a conflict."""
    while True:
        try:
            return pipeline.count(*events)
        except ContendedError:
            continue


def log_all(events):
    for event in events:
        event_log.append(event)


def event_named_in(answer):
    return answer.headers["Location"].rpartition("/")[2]


def test_concurrent_appends_of_one_event_append_it_once(pipeline, watcher):
    """One append wins. The others return the recorded event."""
    for _ in range(ROUNDS):
        event = an_event(counter_id=pipeline.counter_id)

        appended = run_concurrently(8, lambda _, event=event: event_log.append(event))

        assert [found.event for found in appended] == [event] * 8
        assert sorted(found.was_recorded for found in appended) == [False] + [True] * 7

    pipeline.deliver()
    watcher.check_in_the_end()
    assert (pipeline.value, pipeline.version) == (ROUNDS, ROUNDS)


def test_concurrent_appends_of_one_id_with_other_amounts_append_one(pipeline, watcher):
    """One append wins. The others raise: their event has the same id and another amount."""
    name = an_event().event_id

    def append(number):
        try:
            return event_log.append(an_event(counter_id=pipeline.counter_id, event_id=name, by=number + 1)).event.by
        except KeyReusedError:
            return None

    winners = [by for by in run_concurrently(8, append) if by]

    pipeline.deliver()
    watcher.check_in_the_end()
    assert len(winners) == 1
    assert (pipeline.value, pipeline.version) == (winners[0], 1)


def test_concurrent_increments_with_one_key_record_one_event(pipeline, watcher):
    """One request records the event. The others answer with it, as retries."""
    answers = run_concurrently(10, lambda _: pipeline.increment({"by": 4}, Idempotency_Key="k"))

    watcher.acknowledged = [event_named_in(answer) for answer in answers]
    pipeline.deliver()
    watcher.check_in_the_end()
    assert {answer.status for answer in answers} == {202}
    assert len(set(watcher.acknowledged)) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert (pipeline.value, pipeline.version) == (4, 1)


def test_concurrent_swaps_from_one_version_succeed_once(pipeline, watcher):
    acknowledged = 0

    for version in range(ROUNDS):
        answers = run_concurrently(6, lambda n, tag=f'"{version}"': pipeline.increment({"by": n + 1}, If_Match=tag))

        (winner,) = [number for number, answer in enumerate(answers) if answer.status == 200]
        acknowledged += winner + 1
        watcher.acknowledged.append(event_named_in(answers[winner]))
        assert answers[winner].body["value"] == acknowledged
        assert answers[winner].headers["ETag"] == f'"{version + 1}"'
        assert sorted(answer.status for answer in answers) == [200] + [412] * 5
        assert {answer.body["current"]["value"] for answer in answers if answer.status == 412} == {acknowledged}

    pipeline.deliver()
    watcher.check_in_the_end()
    assert (pipeline.value, pipeline.version) == (acknowledged, ROUNDS)


def test_concurrent_swaps_with_one_key_all_return_the_same_swap(pipeline, watcher):
    answers = run_concurrently(8, lambda _: pipeline.increment({"by": 3}, If_Match='"0"', Idempotency_Key="k"))

    pipeline.deliver()
    watcher.check_in_the_end()
    assert {answer.status for answer in answers} == {200}
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert (pipeline.value, pipeline.version) == (3, 1)


def test_add_and_get_answers_the_state_after_its_own_increment(pipeline, watcher):
    answers = run_concurrently(4, lambda _: pipeline.increment({"by": 10}, Prefer="return=representation"))

    watcher.acknowledged = [event_named_in(answer) for answer in answers]
    pipeline.deliver()
    watcher.check_in_the_end()
    granted = [answer for answer in answers if answer.status == 200]
    assert {answer.status for answer in answers} <= {200, 202}
    assert all(answer.headers["Preference-Applied"] == "return=representation" for answer in granted)
    assert len({answer.body["value"] for answer in granted}) == len(granted) > 0
    assert all(answer.headers["ETag"] == f'"{answer.body["value"] // 10}"' for answer in granted)
    assert (pipeline.value, pipeline.version) == (40, 4)


def test_concurrent_increments_of_all_kinds_never_fail(pipeline, watcher):
    kinds = [{}, {"Prefer": "return=representation"}, {"Idempotency_Key": "same"}]

    answers = run_concurrently(12, lambda n: pipeline.increment(**kinds[n % 3]))

    watcher.acknowledged = [event_named_in(answer) for answer in answers]
    pipeline.deliver()
    watcher.check_in_the_end()
    assert {answer.status for answer in answers} <= {200, 202}
    assert (pipeline.value, pipeline.version) == (9, 9)


def test_concurrent_workers_on_one_counter_count_each_event_once(pipeline, watcher):
    """Their batches overlap, some of their events are late, and they archive a dozen times."""
    events = [
        an_event(counter_id=pipeline.counter_id, by=n % 7 + 1, recorded_at_ms=A_TIME_MS + n * 7919 % 1000)
        for n in range(160)
    ]
    log_all(events)

    def work(number):
        if number == 8:
            return [watcher.check_meanwhile() for _ in range(20)]
        mine = (events + events)[number * 20 : number * 20 + 60]
        return [project_until_taken(pipeline, *mine[start : start + 14]) for start in range(0, len(mine), 14)]

    run_concurrently(9, work)

    # A worker that returned has promised that its events are counted: before anything is delivered again.
    watcher.check_in_the_end()
    assert (pipeline.value, pipeline.version) == (sum(event.by for event in events), 160)
    pipeline.deliver()
    watcher.check_in_the_end()


def test_concurrent_update_and_archiving_transaction_both_count(pipeline, watcher):
    """There is room for one event and not for two: one worker adds, the other archives, or both archive."""
    for number in range(ROUNDS):
        before = pipeline.version
        room = [an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS + number) for _ in range(RECENT_MAX)]
        events = [an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS + number) for _ in range(2)]
        log_all(room + events)
        project_until_taken(pipeline, *room[1:])

        run_concurrently(3, lambda n, new=(*events, room[0]): project_until_taken(pipeline, new[n]))

        watcher.check_in_the_end()
        assert pipeline.version == before + RECENT_MAX + 2


def test_add_and_gets_next_to_projectors_count_each_event_once(pipeline, watcher):
    """Some of the add-and-gets retry one idempotency key."""
    # Use the current time, so that the clients' events share the recent entries.
    now_ms = time.time_ns() // 1_000_000
    events = [an_event(counter_id=pipeline.counter_id, by=100, recorded_at_ms=now_ms) for _ in range(40)]
    log_all(events)
    wish = {"Prefer": "return=representation"}

    def work(number):
        if number < 3:
            return [
                project_until_taken(pipeline, *events[start : start + 16]) for start in range(number * 8, 40 - 16, 8)
            ] and [project_until_taken(pipeline, *events)]
        if number < 6:
            return [pipeline.increment({"by": 1}, **wish) for _ in range(3)]
        return [pipeline.increment({"by": 10}, Idempotency_Key="k", **wish) for _ in range(2)]

    answers = run_concurrently(8, work)

    plain = [answer for some in answers[3:6] for answer in some]
    keyed = [answer for some in answers[6:] for answer in some]
    watcher.acknowledged = [event_named_in(answer) for answer in [*plain, *keyed]]
    pipeline.deliver()
    watcher.check_in_the_end()
    assert {answer.status for answer in [*plain, *keyed]} <= {200, 202}
    assert sum("Idempotency-Replayed" not in answer.headers for answer in keyed) == 1
    assert len({event_named_in(answer) for answer in plain}) == 9
    # Increments that were counted at once have different states.
    states = [answer.headers["ETag"] for answer in plain if answer.status == 200]
    assert len(states) == len(set(states))
    assert (pipeline.value, pipeline.version) == (40 * 100 + 9 + 10, 40 + 9 + 1)


def test_requests_in_threads_get_their_own_answers(engine, new_pipeline):
    pipeline = new_pipeline(0)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        sums = run_concurrently(8, lambda n: sum(pipeline.increment({"by": n + 1}).body["by"] for _ in range(60)))
    finally:
        sys.setswitchinterval(usual)

    assert sums == [60 * (n + 1) for n in range(8)]
