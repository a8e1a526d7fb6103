"""Test interleavings of requests: all of them for two actors on one counter, and many random ones for more."""

import time

import pytest

from chalicelib.domain.archive import KEPT_MIN, PAGE_MAX, RECENT_MAX
from testkit import scheduler
from testkit.builders import A_TIME_MS, an_event, message_body
from tests.environments import environment
from tests.resilience.invariant import Watcher
from tests.resilience.simulate import simulate

pytestmark = pytest.mark.usefixtures("no_waits")

#: The number of seeds that the gate runs; `make simulate SEEDS=N` runs any number.
SEEDS = 150

#: The number of orders of each test, by name. A different number means different coverage.
ORDERS = {
    "two workers with overlapping batches": 2,
    "two workers with different events": 2,
    "two workers on an almost full counter": 6,
    "a worker and an archiving worker": 2,
    "two workers that keep entries": 6,
    "two workers with late events of one page": 20,
    "two workers that split a page": 20,
    "a worker with late events and an archiving worker": 20,
    "two workers on a full counter": 6,
    "two workers with large batches": 6,
    "a worker and a redelivery": 3,
    "a worker and an add-and-get": 3,
    "a worker and an archiving add-and-get": 10,
    "a worker and a swap with 0 recent entries": 3,
    "a worker and a swap with 35 recent entries": 6,
    "a worker and a swap with 36 recent entries": 6,
    "two swaps": 6,
    "two archiving swaps": 6,
    "two swaps on a counter with parts": 6,
    "one key sent twice": 4,
    "one key sent as two swaps": 6,
    "one key with two amounts": 2,
    "a list of events and an archiving worker": 36,
    "a list of events and a split": 35,
    "a history and an archiving worker": 6,
    "an event's status and an archiving worker": 6,
}


def logged(pipeline, times_ms):
    """Append events with these times, in ms after `A_TIME_MS`. Their amounts show which of them are counted."""
    events = [
        an_event(counter_id=pipeline.counter_id, by=2 ** (number % 16), recorded_at_ms=A_TIME_MS + ms)
        for number, ms in enumerate(times_ms)
    ]
    pipeline.log(events)
    return events


def counted(pipeline, times_ms):
    """Append events and count them."""
    events = [an_event(counter_id=pipeline.counter_id, by=1, recorded_at_ms=A_TIME_MS + ms) for ms in times_ms]
    pipeline.log(events)
    pipeline.count(*events)
    return events


def projecting(pipeline, *events, received=1):
    return lambda: pipeline.project([message_body(*events)], received)


def every_order(engine, new_pipeline, workers_of, name, *, counts_all=False):
    """Run all orders of these workers, and assert the number of orders. Check the invariants before each request."""
    results = []

    def run_with(choose):
        pipeline = new_pipeline(0)
        watcher = Watcher(engine.client, pipeline.counter_id)
        workers = workers_of(pipeline)

        def watched(waiting):
            watcher.check_between_requests()
            return choose(waiting)

        ran = scheduler.run(engine, workers, watched)
        results.append((pipeline, ran))
        for result in ran.results.values():
            if isinstance(result, Exception):
                raise result
        if counts_all:
            # A worker that returned has promised that its events are counted: they will not be delivered again.
            watcher.check_in_the_end()
        else:
            pipeline.deliver()
            watcher.check_in_the_end()
        return ran

    orders = scheduler.all_schedules(run_with, at_most=1000)
    print(f"{orders} orders of {name}")  # noqa: T201  (for pytest -s)
    assert orders == ORDERS[name]
    return results


@pytest.mark.parametrize(
    ("name", "shared", "requests"),
    [("two workers with overlapping batches", 1, 3), ("two workers with different events", 0, 2)],
    ids=["overlapping", "different"],
)
def test_workers_conflict_only_on_common_events_in_every_order(engine, new_pipeline, name, shared, requests):
    """Different events do not conflict. With a common event, the second worker is refused and writes the other one."""

    def workers_of(pipeline):
        events = logged(pipeline, range(4 - shared))
        return {"first": projecting(pipeline, *events[:2]), "second": projecting(pipeline, *events[2 - shared :])}

    results = every_order(engine, new_pipeline, workers_of, name, counts_all=True)

    assert all(len(ran.requests) == requests for _, ran in results)


def prepare_almost_full_counter(pipeline):
    """Leave so little room that both batches are refused, in some orders because of each other, and both archive."""
    counted(pipeline, range(0, 2 * RECENT_MAX - 4, 2))
    events = logged(pipeline, [1, 7, 1000, 1001])
    return {"first": projecting(pipeline, *events[:3]), "second": projecting(pipeline, *events[1:])}


def prepare_archiving(pipeline):
    """Leave room for the events of either worker but not of both."""
    counted(pipeline, range(0, 2 * RECENT_MAX - 4, 2))
    events = logged(pipeline, [1, 1000, 1001])
    return {"adds": projecting(pipeline, events[0]), "archives": projecting(pipeline, *events[1:])}


def prepare_kept_entries(pipeline):
    """Fill the recent entries with the last seconds: archiving keeps the newest, and an event belongs between them."""
    now_ms = time.time_ns() // 1_000_000 - A_TIME_MS
    counted(pipeline, [now_ms - 2 * number for number in range(RECENT_MAX)])
    events = logged(pipeline, [now_ms - 1, now_ms - 2 * KEPT_MIN - 1, now_ms - 61])
    return {"adds": projecting(pipeline, *events[:2]), "archives": projecting(pipeline, *events[1:])}


def prepare_late_events(pipeline):
    counted(pipeline, range(0, 100, 2))
    events = logged(pipeline, [1, 3, 51])
    return {"first": projecting(pipeline, *events[:2]), "second": projecting(pipeline, *events[1:])}


def prepare_page_split(pipeline):
    counted(pipeline, range(0, 2 * PAGE_MAX, 2))
    events = logged(pipeline, [1, 3, 301])
    return {"first": projecting(pipeline, *events[:2]), "second": projecting(pipeline, *events[1:])}


def prepare_late_and_archiving(pipeline):
    counted(pipeline, range(0, 100, 2))
    counted(pipeline, range(1000, 1000 + RECENT_MAX))
    events = logged(pipeline, [1, 51, 2000, 2001])
    return {"late": projecting(pipeline, *events[:3]), "archives": projecting(pipeline, *events[1:])}


def prepare_full_counter(pipeline):
    """Fill the recent entries: an event becomes late between refusal and write, because the other worker archives."""
    counted(pipeline, range(0, 2 * RECENT_MAX, 2))
    events = logged(pipeline, [31, 71, 1000])
    return {"first": projecting(pipeline, *events[:2]), "second": projecting(pipeline, *events[1:])}


def prepare_large_batches(pipeline):
    events = logged(pipeline, range(2 * RECENT_MAX))
    half = RECENT_MAX // 2
    return {"first": projecting(pipeline, *events[:-half]), "second": projecting(pipeline, *events[half:])}


def prepare_redelivery(pipeline):
    events = logged(pipeline, range(3))
    again = projecting(pipeline, *events[1:], received=2)
    return {"worker": projecting(pipeline, *events[:2]), "redelivery": again}


#: Two workers, both of which count their events in every order.
WORKERS = {
    "two workers on an almost full counter": prepare_almost_full_counter,
    "a worker and an archiving worker": prepare_archiving,
    "two workers that keep entries": prepare_kept_entries,
    "two workers with late events of one page": prepare_late_events,
    "two workers that split a page": prepare_page_split,
    "a worker with late events and an archiving worker": prepare_late_and_archiving,
    "two workers on a full counter": prepare_full_counter,
    "two workers with large batches": prepare_large_batches,
    "a worker and a redelivery": prepare_redelivery,
}

#: Cases that `make test` leaves to `make check`.
EXHAUSTIVE = {"two workers that split a page", "a worker with late events and an archiving worker"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.exhaustive] * (name in EXHAUSTIVE)) for name in WORKERS]
)
def test_two_workers_count_all_events_in_every_order(engine, new_pipeline, name):
    every_order(engine, new_pipeline, WORKERS[name], name, counts_all=True)


@pytest.mark.parametrize(
    ("name", "recent"), [("a worker and an add-and-get", 0), ("a worker and an archiving add-and-get", RECENT_MAX)]
)
def test_worker_and_add_and_get_count_all_events_in_every_order(engine, new_pipeline, name, recent):
    """The state includes the client's increment in every order."""

    def workers_of(pipeline):
        counted(pipeline, range(recent))
        events = logged(pipeline, range(2))
        return {
            "worker": projecting(pipeline, *events),
            "client": lambda: pipeline.increment({"by": 9}, Prefer="return=representation"),
        }

    results = every_order(engine, new_pipeline, workers_of, name)

    assert {ran.results["client"].body["value"] - recent for _, ran in results} == {9, 12}


@pytest.mark.parametrize("recent", [0, RECENT_MAX - 1, RECENT_MAX])
def test_worker_counts_its_events_next_to_a_swap_in_every_order(engine, new_pipeline, recent):
    """The swap happens if no event is counted before it, and the worker counts its events in every order."""

    def workers_of(pipeline):
        counted(pipeline, range(recent))
        events = logged(pipeline, [1, 2])
        return {
            "worker": projecting(pipeline, *events),
            "client": lambda: pipeline.increment({"by": 9}, If_Match=f'"{recent}"'),
        }

    results = every_order(engine, new_pipeline, workers_of, f"a worker and a swap with {recent} recent entries")

    outcomes = {(ran.results["client"].status, pipeline.value - recent) for pipeline, ran in results}
    assert outcomes == {(200, 12), (412, 3)}


@pytest.mark.parametrize(
    ("name", "recent", "shards"),
    [
        ("two swaps", 0, 1),
        ("two archiving swaps", RECENT_MAX, 1),
        ("two swaps on a counter with parts", 0, 4),  # the two events belong to different parts, which have no items
    ],
    ids=["one part", "archiving", "four parts"],
)
def test_one_of_two_swaps_from_a_version_succeeds_in_every_order(engine, new_pipeline, name, recent, shards):
    def workers_of(pipeline):
        counted(pipeline, range(recent))
        headers = {"If_Match": f'"{recent}"'}
        return {
            key: lambda by=by, key=({"Idempotency_Key": key} if shards > 1 else {}): pipeline.increment(
                {"by": by}, **headers, **key
            )
            for key, by in (("first", 1), ("second", 2))
        }

    with environment(SHARDS=str(shards)):
        results = every_order(engine, new_pipeline, workers_of, name)

    for _, ran in results:
        assert sorted(answer.status for answer in ran.results.values()) == [200, 412]


def test_key_sent_twice_counts_once_in_every_order(engine, new_pipeline):
    def workers_of(pipeline):
        return {
            "plain": lambda: pipeline.increment({"by": 4}, Idempotency_Key="k"),
            "wish": lambda: pipeline.increment({"by": 4}, Idempotency_Key="k", Prefer="return=representation"),
        }

    results = every_order(engine, new_pipeline, workers_of, "one key sent twice")

    for pipeline, ran in results:
        assert sum("Idempotency-Replayed" in answer.headers for answer in ran.results.values()) == 1
        assert (ran.results["wish"].status, ran.results["wish"].body["value"]) == (200, 4)
        assert (pipeline.value, pipeline.version) == (4, 1)


def test_key_sent_as_two_swaps_counts_once_in_every_order(engine, new_pipeline):
    def workers_of(pipeline):
        send = lambda: pipeline.increment({"by": 4}, Idempotency_Key="k", If_Match='"0"')  # noqa: E731
        return {"first": send, "second": send}

    results = every_order(engine, new_pipeline, workers_of, "one key sent as two swaps")

    for pipeline, ran in results:
        assert [answer.status for answer in ran.results.values()] == [200, 200]
        assert sum("Idempotency-Replayed" in answer.headers for answer in ran.results.values()) == 1
        assert (pipeline.value, pipeline.version) == (4, 1)


def test_key_with_two_amounts_counts_once_in_every_order(engine, new_pipeline):
    def workers_of(pipeline):
        return {
            name: lambda by=by: pipeline.increment({"by": by}, Idempotency_Key="k")
            for name, by in (("first", 4), ("second", 5))
        }

    results = every_order(engine, new_pipeline, workers_of, "one key with two amounts")

    for pipeline, ran in results:
        assert sorted(answer.status for answer in ran.results.values()) == [202, 422]
        (recorded,) = [answer.body["by"] for answer in ran.results.values() if answer.status == 202]
        assert (pipeline.value, pipeline.version) == (recorded, 1)


@pytest.mark.exhaustive
def test_list_of_events_during_archiving_is_complete_in_every_order(engine, new_pipeline):
    """The first two pages of a list have each event once, even if entries are archived between their requests."""

    def workers_of(pipeline):
        counted(pipeline, range(0, 100, 2))
        counted(pipeline, range(1000, 1000 + RECENT_MAX))
        (event,) = logged(pipeline, [2000])

        def read():
            first = pipeline.events(limit=20).body
            return first["events"] + pipeline.events(limit=100, cursor=first["next_cursor"]).body["events"]

        return {"worker": projecting(pipeline, event), "client": read}

    results = every_order(engine, new_pipeline, workers_of, "a list of events and an archiving worker", counts_all=True)

    for _, ran in results:
        ids = [event["event_id"] for event in ran.results["client"]]
        assert len(ids) == len(set(ids))
        assert len(ids) in (50 + RECENT_MAX, 51 + RECENT_MAX)


@pytest.mark.exhaustive
def test_list_of_events_during_a_split_has_no_duplicates_in_every_order(engine, new_pipeline):
    """If a page is split between two requests, no event is listed twice."""

    def workers_of(pipeline):
        before = counted(pipeline, range(0, 2 * PAGE_MAX, 2))
        (late,) = logged(pipeline, [101])
        cursor = pipeline.events(limit=20).body["next_cursor"]
        rest = {event.event_id for event in before[:-20]}

        def read():
            ids = [event["event_id"] for event in pipeline.events(limit=100, cursor=cursor).body["events"]]
            return len(ids), len(set(ids) & rest)

        return {"worker": projecting(pipeline, late), "client": read}

    results = every_order(engine, new_pipeline, workers_of, "a list of events and a split", counts_all=True)

    assert {ran.results["client"] for _, ran in results} == {(100, 100)}


def test_history_during_archiving_is_complete_in_every_order(engine, new_pipeline):
    def workers_of(pipeline):
        counted(pipeline, range(50))
        counted(pipeline, range(1000, 1000 + RECENT_MAX))
        (event,) = logged(pipeline, [10_000])
        start, end = "2023-11-14T00:00:00Z", "2023-11-15T00:00:00Z"
        return {
            "worker": projecting(pipeline, event),
            "client": lambda: pipeline.history(from_=start, to=end, resolution="day").body["points"],
        }

    results = every_order(engine, new_pipeline, workers_of, "a history and an archiving worker", counts_all=True)

    for _, ran in results:
        (day,) = ran.results["client"]
        assert day["sum"] == day["increments"]
        assert day["increments"] in (50 + RECENT_MAX, 51 + RECENT_MAX)


def test_status_of_an_event_during_archiving_is_correct_in_every_order(engine, new_pipeline):
    def workers_of(pipeline):
        before = counted(pipeline, range(RECENT_MAX))
        (event,) = logged(pipeline, [10_000])
        return {
            "worker": projecting(pipeline, event),
            "client": lambda: pipeline.event(before[3].event_id).body["status"],
        }

    results = every_order(
        engine, new_pipeline, workers_of, "an event's status and an archiving worker", counts_all=True
    )

    assert {ran.results["client"] for _, ran in results} == {"counted"}


@pytest.mark.sample(1)
@pytest.mark.parametrize("tens", range(SEEDS // 10))
def test_random_workers_keep_the_invariants_in_random_orders(engine, tens):
    failures = [simulated for seed in range(tens * 10, tens * 10 + 10) if (simulated := simulate(engine, seed)).wrong]

    assert failures == []


def test_seed_determines_the_run(engine):
    first, second = simulate(engine, 7), simulate(engine, 7)

    assert first.ran.choices == second.ran.choices
    assert first.ran.requests == second.ran.requests
