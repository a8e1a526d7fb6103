"""
Purge junk counters: void their events in the log, and delete them from the read model.

Nothing counts a voided event again: not the scheduled check, a replay, a rebuild or a client's retry. If an old message
is delivered again, `verify` names the entry and `rebuild` removes it.
"""

import contextlib
import itertools
import json
import random
import time
import uuid

import click
import pytest

from chalicelib import event_log, log_reader, settings
from chalicelib.aws import partitions
from chalicelib.domain.archive import RECENT_MAX
from chalicelib.domain.events import FIRST_ID_AFTER_PURGES, LATEST_MS, Purged, choose_part
from chalicelib.errors import UnavailableError
from chalicelib.extras.verification import repair, scheduled_check, verifier
from chalicelib.extras.verification import report as kinds
from chalicelib.extras.verification.part_comparison import select_all
from chalicelib.extras.verification.purges import PurgeTracker
from chalicelib.read_model import past, queries, writer
from ops.cli.errors import OperatorError
from ops.maintenance import notes, purge
from testkit import aws_requests, faults
from testkit.builders import A_TIME_MS, an_event, log_items, message_body
from tests.comparisons import stage_parts, verify_parts
from tests.environments import environment
from tests.resilience.read_model_damage import empty_tables

pytestmark = pytest.mark.usefixtures("no_waits", "empty")

#: A time by which no event of a test can still be in flight.
NOW_S = 1_900_000_000

NOTE = notes.Note("spam", "ann")

#: A counter that no purge may change.
OTHER = "other"


@pytest.fixture
def empty(engine):
    """Empty the tables, because a check and a pattern concern all counters."""
    empty_tables(engine)


@pytest.fixture(params=["1", "3"])
def shards(request):
    with environment(SHARDS=request.param):
        yield int(request.param)


def make_events(counter_id, number, first_ms=0):
    """Return events with fixed ids: these determine the parts, and the number of requests."""
    chance = random.Random(f"{counter_id} {number} {first_ms}")
    ids = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(number)]
    return [
        an_event(counter_id=counter_id, event_id=event_id, by=2, recorded_at_ms=A_TIME_MS + first_ms + 10 * at)
        for at, event_id in enumerate(ids)
    ]


@pytest.fixture
def counted(engine):
    """Return a function that puts events into the log, in few requests, and counts them."""

    def count(counter_id, number, first_ms=0):
        events = make_events(counter_id, number, first_ms)
        puts = [
            {"PutRequest": {"Item": {**item, "partition": {"S": log_reader.locate(event).partition}}}}
            for event, item in zip(events, log_items(events), strict=True)
        ]
        for start in range(0, len(puts), 25):
            request = {settings.current().event_log_table: puts[start : start + 25]}
            engine.client("dynamodb").batch_write_item(RequestItems=request)
        writer.count(events)
        return events

    return count


def run_purge(*names, is_open=lambda _: False, confirm=lambda _: None, dry_run=False):
    return purge.purge(settings.current(), names, NOTE, is_open=is_open, confirm=confirm, dry_run=dry_run)


def verify():
    return dict(verify_parts(select_all(2), lag_s=0, waits=False).numbers)


def rebuild():
    with stage_parts(select_all(2)) as comparison:
        return dict(repair.repair_all(comparison).corrected)


def run_check(runs=2):
    return [scheduled_check.check(NOW_S + hour * 3600) for hour in range(runs)]


def scan(engine, table):
    return engine.client("dynamodb").scan(TableName=table)["Items"]


def read_purges(engine):
    log = scan(engine, settings.current().event_log_table)
    return sorted((item for item in log if item["type"]["S"] == "Purged"), key=lambda item: item["event_id"]["S"])


def check_purged(engine, *counter_ids):
    """Check that the read model has nothing of these counters, and that everything agrees."""
    names = settings.current()
    items = [item["counter_id"]["S"] for item in scan(engine, names.counters_table)]
    pages = [item["partition"]["S"].partition("#")[0] for item in scan(engine, names.archive_table)]
    assert not {*items, *pages} & {*counter_ids}
    assert verify() == {}


def test_purge_deletes_items_and_pages_and_keeps_the_log(engine, shards, counted):
    events, others = counted("spam", 3 * RECENT_MAX * shards), counted(OTHER, 50)

    outcome = run_purge("spam")

    assert outcome.facts == {
        "counters": 1,
        "events": len(events),
        "value": 2 * len(events),
        "refused": {},
        "dry_run": False,
    }
    check_purged(engine, "spam")
    log = scan(engine, settings.current().event_log_table)
    assert len(log) == len(events) + len(others) + shards
    state = queries.get_counter(OTHER)
    assert (state.value, state.version) == (100, 50)


def test_each_part_has_a_purge_that_sorts_before_its_events(engine, shards, counted):
    events = counted("spam", 9)

    run_purge("spam")

    partitions_of_counter = [partitions.format_partition(key) for key in partitions.part_keys("spam")]
    for partition in partitions_of_counter:
        first, *rest = log_reader.scan_partition(partition)
        assert isinstance(first, Purged)
        assert (first.until_ms, first.reason, first.who) == (events[-1].recorded_at_ms, "spam", "ann")
        assert not any(isinstance(event, Purged) for event in rest)


@pytest.mark.parametrize("parts", [1, 2, 3, 63, 64])
@pytest.mark.parametrize("until_ms", [0, 1, (1 << 20) - 1, 1 << 20, A_TIME_MS, LATEST_MS])
def test_purge_id_is_unique_first_and_of_its_part(parts, until_ms):
    ids = [purge.make_purge_id(time_ms, part, parts) for time_ms in (until_ms, until_ms + 1) for part in range(parts)]

    assert len(set(ids)) == 2 * parts
    assert [choose_part(each, parts) for each in ids[:parts]] == list(range(parts))
    assert all(Purged.rules["event_id"].accepts(each) and each < FIRST_ID_AFTER_PURGES for each in ids)


def test_events_after_a_purge_count_as_usual(engine, shards, counted):
    """The name is used again: the events after the last purge make the counter."""
    old = counted("spam", 60)
    run_purge("spam")

    counted("spam", 45, first_ms=601)
    run_check(3)

    state = queries.get_counter("spam")
    assert (old[-1].recorded_at_ms, state.value, state.version) == (A_TIME_MS + 590, 90, 45)
    states = [past.get_counter_at("spam", A_TIME_MS + ms) for ms in (590, 600, 601, 611)]
    assert [(each.value, each.version) for each in states] == [(0, 0), (0, 0), (2, 1), (4, 2)]
    assert verify() == {}
    assert rebuild() == {}


def test_event_of_the_millisecond_of_the_last_purged_event_is_void(engine, counted):
    (event,) = counted("spam", 1)
    run_purge("spam")
    event_log.append(an_event(counter_id="spam", recorded_at_ms=event.recorded_at_ms))
    event_log.append(an_event(counter_id="spam", recorded_at_ms=event.recorded_at_ms + 1))

    assert verify() == {kinds.UNCOUNTED: 1}


def test_second_purge_voids_the_events_since_the_first(engine, shards, counted):
    counted("spam", 5)
    run_purge("spam")
    counted("spam", 7, first_ms=1000)

    outcome = run_purge("spam")
    again = run_purge("spam")

    assert (outcome.facts["events"], again.facts["events"]) == (7, 0)
    assert len(read_purges(engine)) == 2 * shards
    check_purged(engine, "spam")


def test_pattern_purges_all_matching_counters_in_chunks(engine, monkeypatch, counted):
    """In chunks of two counters, five counters take three chunks."""
    monkeypatch.setattr(purge, "_AT_ONCE", 2)
    for number in range(5):
        counted(f"spam-{number}", number + 1)
    counted(OTHER, 3)

    outcome = run_purge("spam*")

    assert (outcome.facts["counters"], outcome.facts["events"], outcome.holds) == (5, 15, True)
    assert [each.counter_id for each in queries.list_counters(10).counters] == [OTHER]
    assert verify() == {}


def test_dry_run_and_declined_purge_change_nothing(engine, counted):
    counted("spam", 4)
    counted("spam-2", 5)

    outcome = run_purge("spam*", dry_run=True)

    def decline(question):
        assert question == "Purge 2 counters with 9 events and a total value of 18? This cannot be undone."
        raise click.Abort

    with pytest.raises(click.Abort):
        run_purge("spam*", confirm=decline)
    assert outcome.facts == {"counters": 2, "events": 9, "value": 18, "refused": {}, "dry_run": True}
    assert read_purges(engine) == []
    assert queries.get_counter("spam").version == 4


def test_counters_that_accept_increments_are_refused_together(engine, counted):
    for number in range(30):
        counted(f"spam-{number:02}", 1)

    with pytest.raises(OperatorError, match=r"accept increments: spam-01, spam-02, .*spam-20 and 9 others\. Close"):
        run_purge("spam*", is_open=lambda name: name != "spam-00")
    assert read_purges(engine) == []


def test_counter_with_an_obstacle_is_refused_and_others_are_purged(engine, counted):
    """The obstacles are an uncounted event, an event of this minute, and an event that cannot be read."""
    for name in ("spam", "late", "new", "odd", "spam-2"):
        counted(name, 3)
    event_log.append(an_event(counter_id="late", recorded_at_ms=A_TIME_MS + 7))
    new = an_event(counter_id="new", recorded_at_ms=time.time_ns() // 1_000_000 - 50_000)
    event_log.append(new)
    writer.count([new])
    odd = {"partition": {"S": "odd"}, "event_id": {"S": str(an_event().event_id)}, "type": {"S": "New"}}
    engine.client("dynamodb").put_item(TableName=settings.current().event_log_table, Item=odd)

    outcome = run_purge("*")

    assert not outcome.holds
    assert (outcome.facts["counters"], outcome.facts["events"]) == (2, 6)
    assert outcome.facts["refused"] == {
        "late": "some of its events are not counted yet: run verify",
        "new": "its latest event is less than a minute old",
        "odd": "this version of the code cannot read all of its events",
    }
    assert {item["partition"]["S"] for item in read_purges(engine)} == {"spam", "spam-2"}
    assert queries.get_counter("late").version == 3


def test_pattern_that_matches_no_counter_purges_nothing():
    outcome = run_purge("spam*")

    assert (outcome.lines, outcome.holds, outcome.facts["counters"]) == (["There is nothing to purge."], True, 0)


def test_unknown_counter_is_an_error():
    with pytest.raises(OperatorError, match="No such counter: spam"):
        run_purge("spam")


def test_publish_and_project_neither_count_nor_park_a_purge(engine, pipeline, counted):
    counted(pipeline.counter_id, 3)
    pipeline.new_records()
    run_purge(pipeline.counter_id)
    (purged,) = [event for event in log_reader.scan() if isinstance(event, Purged)]
    event = an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS + 100)
    event_log.append(event)

    records = pipeline.new_records()
    pipeline.publish(records)
    published = pipeline.published()
    pipeline.project([*published, message_body(purged), json.dumps(records[0], default=str)])

    assert len(records) == 2
    assert [json.loads(body)["events"] for body in published] == [[json.loads(message_body(event))["events"][0]]]
    assert (pipeline.value, pipeline.version) == (1, 1)
    assert pipeline.parked() == []


def test_purged_event_is_pending_and_a_purge_is_not_found(pipeline, counted):
    """Clients see no purge, and an event that a purge voids is recorded, but not counted."""
    (event,) = counted(pipeline.counter_id, 1)
    run_purge(pipeline.counter_id)

    found = pipeline.event(event.event_id)
    purge_itself = pipeline.event(purge.make_purge_id(event.recorded_at_ms, 0, 1))

    assert (found.status, found.body["status"]) == (200, "pending")
    assert purge_itself.status == 404
    assert pipeline.events().body["events"] == []


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 202), ({"Prefer": "return=representation"}, 200), ({"If_Match": '"0"'}, 200)], ids=str
)
def test_retry_of_a_purged_increment_is_a_replay_and_counts_nothing(pipeline, monkeypatch, headers, status):
    monkeypatch.setattr(purge, "_QUIET_MS", -1)
    sent = {"body": {"by": 5}, "Idempotency_Key": "k", **headers}
    first = pipeline.increment(**sent)
    pipeline.deliver()
    run_purge(pipeline.counter_id)

    # A swap finds its version again, because the purged counter is at version 0.
    retry = pipeline.increment(**sent)
    pipeline.deliver()

    assert (first.status, retry.status, retry.headers["Idempotency-Replayed"]) == (status, status, "true")
    assert pipeline.version == 0
    assert verify() == {}


def test_tracker_finds_void_events_from_any_position(counted, shards):
    """A scan that starts within a partition does not meet the purge of that partition."""
    old = counted("spam", 20)
    run_purge("spam")
    new = [*counted("spam", 5, first_ms=200), *counted(OTHER, 5)]
    log = list(log_reader.skip_unreadable(log_reader.scan()))
    assert {event.event_id for event in log if event.is_projected} == {event.event_id for event in [*old, *new]}

    for start in range(len(log)):
        tracker = PurgeTracker(log_reader.locate(log[start - 1]) if start else None)
        live = [event for event in log[start:] if not tracker.is_void(event)]
        assert live == [event for event in log[start:] if event in new]


@pytest.mark.parametrize("budget", ["20", "2000"])
def test_check_counts_no_purged_event(engine, shards, budget, counted):
    """With the smaller budget, a run starts among the events of a partition."""
    counted("spam", 60)
    counted(OTHER, 9)
    run_purge("spam")

    with environment(CHECK_EVENTS=budget):
        checked = run_check(16)

    assert (sum(each.repaired for each in checked), sum(each.drift for each in checked)) == (0, 0)
    check_purged(engine, "spam")


@pytest.mark.parametrize("operation", ["Scan", "Query"])
def test_check_that_read_the_log_before_a_purge_counts_nothing(engine, operation, counted):
    """The purge happens right after the check has read the log, or an archive page, and before it counts."""
    counted("spam", 60)
    reads = itertools.count()

    def gate(attempt):
        response = attempt.carry_out()
        is_read = attempt.operation == operation and settings.current().event_log_table in str(attempt.request.body)
        if is_read and next(reads) == 0:
            engine.gate = faults.no_fault
            run_purge("spam")
        return response

    engine.gate = gate
    checked = run_check(1)

    assert sum(each.repaired for each in checked) == 0
    check_purged(engine, "spam")


@pytest.mark.parametrize("number", [3, 60])
def test_rebuild_that_read_the_log_before_a_purge_counts_nothing(engine, counted, number):
    """The counter's value is wrong, so that the rebuild has a reason to read the counter again."""
    counted("spam", number)
    engine.client("dynamodb").update_item(
        TableName=settings.current().counters_table,
        Key={"counter_id": {"S": "spam"}, "part": {"N": "0"}},
        UpdateExpression="SET #value = :value",
        ExpressionAttributeNames={"#value": "value"},
        ExpressionAttributeValues={":value": {"N": "7"}},
    )

    with stage_parts(select_all(1)) as comparison:
        run_purge("spam")
        corrected = dict(repair.repair_all(comparison).corrected)
        report = comparison.report_differences(2**53)

    assert (corrected, dict(report.numbers)) == ({}, {})
    check_purged(engine, "spam")


def test_redelivered_event_of_a_purged_counter_is_named_and_removed(engine, pipeline, capsys, shards, counted):
    """A message that is delivered after the purge is counted: the projector does not read the log."""
    events = counted("spam", 60)
    run_purge("spam")
    capsys.readouterr()

    pipeline.project([message_body(*events[:3], *events[50:52])])

    assert queries.get_counter("spam").version == 5
    assert verify() == {kinds.PURGED: 5}
    run_check()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["kind"] for line in lines if line.get("message") == "drift"} == {kinds.PURGED}
    assert rebuild() == {kinds.PURGED: 5}
    check_purged(engine, "spam")


def test_redelivered_event_is_removed_from_a_counter_that_is_used_again(engine, pipeline, shards, counted):
    events = counted("spam", 60)
    run_purge("spam")
    counted("spam", 45, first_ms=1000)

    pipeline.project([message_body(*events[:3])])

    assert verify() == {kinds.PURGED: 3}
    assert rebuild()[kinds.PURGED] == 3
    state = queries.get_counter("spam")
    assert (state.value, state.version, verify()) == (90, 45, {})


#: The number of requests of a purge, by the number of parts, and the faults at each request. If a number changes, so
#: do the crash points that the tests cover.
REQUESTS = {1: 26, 2: 48}
CUTS = {
    "the process dies before it": faults.die_before,
    "the process dies after it": faults.die_after,
    "the answer is lost": faults.lose_answer,
}
POINTS = [(shards, at) for shards, requests in REQUESTS.items() for at in range(requests)]
POINTS_OF_ONE_PART = [at for shards, at in POINTS if shards == 1]

#: What `verify` may find while a purge is incomplete. No event is uncounted, because each is void before it is deleted.
INCOMPLETE = {kinds.PURGED, kinds.PAGE_BEYOND, kinds.PAGE_MISSING, kinds.TOO_LOW, kinds.TOO_HIGH, kinds.WRONG_VERSION}


@pytest.fixture
def one_thread(monkeypatch):
    """Make one request at a time, so that the order of requests is always the same."""
    for module in (purge, repair, verifier):
        monkeypatch.setattr(module, "_THREADS", 1)


@pytest.fixture
def junk(counted):
    """Return a function that counts the events of two junk counters, one of them with an archive, and of another."""

    def count():
        return {
            name: counted(name, number)
            for name, number in {"spam": 45 * settings.current().shards, "spam-2": 2, OTHER: 5}.items()
        }

    return count


def purge_junk():
    return run_purge("spam*")


def check_other(events):
    state = queries.get_counter(OTHER)
    assert (state.value, state.version) == (2 * len(events), len(events))


@pytest.mark.parametrize("shards", REQUESTS, ids=str)
def test_number_of_requests_of_a_purge_is_asserted(engine, one_thread, junk, shards):
    with environment(SHARDS=str(shards)):
        junk()

        with aws_requests.record() as requests:
            purge_junk()

    print(f"{len(requests.operations) * len(CUTS)} crash points of a purge")  # noqa: T201  (for pytest -s)
    assert len(requests.operations) == REQUESTS[shards]


@pytest.mark.sample(4)
@pytest.mark.no_cover
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_purge_cut_off_at_any_request_is_finished_by_the_next(engine, one_thread, junk, point, cut):
    shards, at = point
    with environment(SHARDS=str(shards)):
        events = junk()
        engine.gate = faults.Disturbance(at, CUTS[cut], every_attempt=True)
        try:
            purge_junk()
        except (faults.DiedError, UnavailableError):
            pass
        finally:
            engine.gate = faults.no_fault
        assert verify().keys() <= INCOMPLETE
        check_other(events[OTHER])

        purge_junk()

        check_purged(engine, "spam", "spam-2")
        check_other(events[OTHER])
        logged = [item for item in scan(engine, settings.current().event_log_table) if item["type"]["S"] != "Purged"]
        assert len(logged) == sum(map(len, events.values()))


def redeliver(events):
    writer.count([*events["spam"][:2], *events["spam"][-2:], events["spam-2"][0], events[OTHER][0]])


#: Actors that act immediately before a request of a purge.
ACTORS = {
    "a worker, for whom old messages are delivered again": redeliver,
    "the check": lambda _: run_check(),
    "a rebuild": lambda _: rebuild(),
    "another purge": lambda _: purge_junk(),
}


@pytest.mark.sample(4)
@pytest.mark.no_cover
@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("at", POINTS_OF_ONE_PART)
def test_actor_between_any_requests_of_a_purge_hides_nothing(engine, one_thread, junk, at, actor):
    """No total of another counter changes. If an old event is counted, `verify` names it and `rebuild` removes it."""
    events = junk()
    requests = itertools.count()

    def gate(attempt):
        if next(requests) == at:
            engine.gate = faults.no_fault
            ACTORS[actor](events)
            engine.gate = gate
        return attempt.carry_out()

    engine.gate = gate
    with contextlib.suppress(UnavailableError):  # an actor may find a gap in the archive of a counter
        purge_junk()
    engine.gate = faults.no_fault

    assert verify().keys() <= INCOMPLETE
    check_other(events[OTHER])
    rebuild()
    check_purged(engine, "spam", "spam-2")
