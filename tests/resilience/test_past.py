"""Test the past states of a counter, over its recent entries and its archive, while events are counted."""

import json
import random

import pytest

from chalicelib import settings
from chalicelib.api import formats
from chalicelib.domain.archive import PAGE_MAX, RECENT_MAX
from chalicelib.errors import ContendedError, TooFarBackError
from chalicelib.read_model import past
from testkit import aws_requests
from testkit.builders import an_adjustment, an_event
from testkit.faults import no_fault
from tests.environments import environment

pytestmark = pytest.mark.usefixtures("no_waits")

A_TIME_MS = 1_700_000_000_000


def at(pipeline, ms, by=1):
    make = an_event if by > 0 else an_adjustment
    return make(counter_id=pipeline.counter_id, by=by, recorded_at_ms=A_TIME_MS + ms)


def count(pipeline, events, size=50):
    """Count these events in batches of this size."""
    for start in range(0, len(events), size):
        pipeline.count(*events[start : start + size])


def fold(events, at_ms):
    """Return the value and version as of `at_ms`, in ms since `A_TIME_MS`."""
    amounts = [event.by for event in events if event.recorded_at_ms <= A_TIME_MS + at_ms]
    return sum(amounts), len(amounts)


def ask(pipeline, at_ms):
    """Return the API's value and version as of `at_ms`, in ms since `A_TIME_MS`."""
    answer = pipeline.counter_at(A_TIME_MS + at_ms)
    assert answer.status == 200, answer.body
    assert answer.headers["ETag"] == f'"{answer.body["version"]}"'
    return answer.body["value"], answer.body["version"]


def pages(engine, pipeline):
    """Return the counter's archive pages, in DynamoDB's JSON."""
    found = engine.client("dynamodb").scan(TableName=settings.current().archive_table, ConsistentRead=True)["Items"]
    return [item for item in found if item["partition"]["S"].startswith(pipeline.counter_id)]


@pytest.mark.sample(2)
@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("spread_ms", [150, 3_000, 1_000_000])
@pytest.mark.parametrize("seed", range(5))
def test_state_at_any_time_is_the_fold_of_the_log(engine, new_pipeline, seed, spread_ms, shards):
    """Events are recorded in one order and delivered in another, some of them late, and each one to three times."""
    with environment(SHARDS=str(shards)):
        pipeline, chance = new_pipeline(seed), random.Random(seed)
        events = [
            at(pipeline, chance.randrange(spread_ms), chance.choice([1, 2, 300, -1]))
            for _ in range(chance.randint(1, 600))
        ]
        in_order = sorted(events, key=lambda event: event.recorded_at_ms)
        count(pipeline, in_order[: len(events) // 2], chance.randint(1, 200))
        shuffled = [event for event in events for _ in range(chance.randint(1, 2))]
        chance.shuffle(shuffled)
        count(pipeline, shuffled, chance.randint(100, 900))

        ends = [int(page["end"]["N"]) - A_TIME_MS for page in pages(engine, pipeline)]
        times = {-1, 0, spread_ms, *(end + ms for end in ends[::4] for ms in (-1, 0, 1))}
        times |= {*chance.choices(range(spread_ms), k=15)}
        found = {at_ms: ask(pipeline, at_ms) for at_ms in times}

        assert found == {at_ms: fold(events, at_ms) for at_ms in times}
        assert ask(pipeline, spread_ms) == (pipeline.value, pipeline.version)


@pytest.fixture
def ten_pages(pipeline):
    """Count enough events for ten full archive pages, a second apart. Return the events."""
    events = [at(pipeline, 1_000 * n) for n in range(10 * PAGE_MAX + RECENT_MAX)]
    count(pipeline, events, PAGE_MAX)
    return events


def measure(pipeline, at_ms):
    """Return the requests and the read units of a query."""
    with aws_requests.record() as requests:
        ask(pipeline, at_ms)
    return len(requests.made), requests.read_units()


def test_recent_time_costs_as_much_as_the_current_state(pipeline, ten_pages):
    with aws_requests.record() as requests:
        pipeline.counter()

    assert measure(pipeline, 1_000 * (len(ten_pages) - 3)) == (1, requests.read_units()) == (1, 1)
    assert measure(pipeline, 10**9) == (1, 1)


def test_time_in_the_latest_page_costs_one_page_more(engine, pipeline, ten_pages):
    *_, before, last = sorted(int(page["end"]["N"]) - A_TIME_MS for page in pages(engine, pipeline))

    assert measure(pipeline, last - 1) == (2, 2)
    assert measure(pipeline, before) == (2, 2)


def test_time_near_the_first_event_is_read_from_the_beginning(pipeline, ten_pages):
    """The query reads one page from each end. The archive has ten pages."""
    assert measure(pipeline, 5_000) == (3, 3)
    assert measure(pipeline, -1) == (3, 3)


def test_late_events_double_the_cost_of_pages(pipeline, ten_pages):
    """The second reading confirms the first."""
    pipeline.count(at(pipeline, 1))

    assert measure(pipeline, 1_000 * (len(ten_pages) - 3)) == (1, 1)
    assert measure(pipeline, 5_001) == (6, 6)


def test_each_part_costs_one_page(pipeline, four_shards):
    events = [at(pipeline, 1_000 * n) for n in range(4 * 3 * PAGE_MAX)]
    count(pipeline, events, 4 * PAGE_MAX)

    requests, units = measure(pipeline, 1_000 * (len(events) - 4 * RECENT_MAX))

    assert (requests, units) == (1 + four_shards, 1 + four_shards)


@pytest.mark.parametrize("shards", [1, 4])
def test_time_too_far_back_is_refused_with_times_that_are_accepted(new_pipeline, shards, monkeypatch):
    """The read units of a refusal and of each accepted time are bounded."""
    monkeypatch.setattr(past.get_counter_at, "__defaults__", (8 * 1024,))
    with environment(SHARDS=str(shards)):
        pipeline = new_pipeline(1)
        events = [at(pipeline, 1_000 * n) for n in range(30 * PAGE_MAX)]
        count(pipeline, events, 2_000)
        with aws_requests.record() as requests:
            refused = pipeline.counter_at(events[len(events) // 2].recorded_at_ms)
        earliest, latest = (part.split()[0].rstrip(".,") for part in refused.body["detail"].split("at=")[1:])
        times = {
            name: round(formats.parse_time(text) * 1000) - A_TIME_MS
            for name, text in (("earliest", earliest), ("latest", latest))
        }

        assert (refused.status, refused.body["type"]) == (400, "urn:counter:problem:too-far-back")
        assert requests.read_units() <= 1 + 2 + past.PAGES_AT_ONCE + 2 * shards
        assert ask(pipeline, times["earliest"]) == fold(events, times["earliest"])
        assert ask(pipeline, times["latest"]) == fold(events, times["latest"])
        assert 0 < times["latest"] < times["earliest"] < 1_000 * (len(events) - 2 * PAGE_MAX)


def test_operators_read_without_a_limit(pipeline, ten_pages):
    state = past.get_counter_at(pipeline.counter_id, A_TIME_MS + 1_000_000, None)

    assert (state.value, state.version) == fold(ten_pages, 1_000_000)
    with pytest.raises(TooFarBackError):
        past.get_counter_at(pipeline.counter_id, A_TIME_MS + 1_000_000, 4_096)


def test_late_event_changes_the_past_and_its_entity_tag(pipeline, ten_pages):
    """An event that was recorded after the requested time changes neither."""
    tag = pipeline.counter_at(A_TIME_MS + 500_000).headers["ETag"]

    pipeline.count(at(pipeline, 500_001), at(pipeline, 10_000_000))
    unchanged = pipeline.counter_at(A_TIME_MS + 500_000, If_None_Match=tag)
    pipeline.count(at(pipeline, 500_000, by=7))
    changed = pipeline.counter_at(A_TIME_MS + 500_000, If_None_Match=tag)

    assert (unchanged.status, unchanged.body) == (304, "")
    assert unchanged.headers["ETag"] == tag
    assert (changed.status, changed.body["value"], changed.body["version"]) == (200, 508, 502)
    assert changed.headers["Cache-Control"] == "no-cache"


def test_answer_has_the_members_of_the_contract(pipeline):
    count(pipeline, [at(pipeline, 0, by=5), at(pipeline, 1, by=-2)])

    assert pipeline.counter_at("2023-11-14T23:13:20.0009+01:00").body == {
        "counter_id": pipeline.counter_id,
        "value": 5,
        "version": 1,
        "at": "2023-11-14T22:13:20.000Z",
    }


@pytest.mark.parametrize(
    ("at_text", "version", "at_member"),
    [
        ("1900-01-01T00:00:00Z", 0, "1969-12-31T23:59:59.999Z"),
        ("1969-12-31T23:59:59.9999Z", 0, "1969-12-31T23:59:59.999Z"),
        ("1970-01-01T00:00:00Z", 1, "1970-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.9999-01:00", 3, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times_before_1970_and_in_the_future_have_a_state(pipeline, at_text, version, at_member):
    """In the future, the state is the current one."""
    events = [at(pipeline, -A_TIME_MS), at(pipeline, 0), at(pipeline, 253_402_300_799_999 - A_TIME_MS)]
    count(pipeline, events)

    answer = pipeline.counter_at(at_text)

    assert (answer.body["version"], answer.body["at"]) == (version, at_member)


def test_counter_without_events_was_always_0(pipeline):
    answer = pipeline.counter_at(A_TIME_MS)

    assert (answer.status, answer.body["value"], answer.headers["ETag"]) == (200, 0, '"0"')


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"at": ["yesterday"]}, "at must be a time in RFC 3339 such as"),
        ({"at": [""]}, "at must be a time in RFC 3339 such as"),
        ({"at": ["2023-11-14"]}, "at must be a time in RFC 3339 such as"),
        ({"at": ["2023-11-14T22:13:20Z"] * 2}, "at must be given at most once."),
        ({"at": ["2023-11-14T22:13:20Z"], "to": ["x"]}, "Unknown parameter 'to'. Use at."),
    ],
)
def test_malformed_time_is_a_problem_with_the_rule(pipeline, query, says):
    with aws_requests.record() as requests:
        answer = pipeline.send("GET", "/counters/{counter_id}", query=query)

    assert (answer.status, answer.body["type"]) == (400, "urn:counter:problem:invalid-request")
    assert says in answer.body["detail"]
    assert requests.operations == []


def test_other_parameters_of_the_current_state_are_ignored(pipeline):
    assert pipeline.send("GET", "/counters/{counter_id}", query={"_": ["1"]}).status == 200


def is_query_of(attempt, table):
    return attempt.operation == "Query" and json.loads(attempt.request.body)["TableName"] == table


@pytest.fixture
def before_pages(engine):
    """Return a function that takes actions and runs one of them before each of the next queries of the archive."""

    def arrange(*works):
        left = list(works)

        def gate(attempt):
            if left and is_query_of(attempt, settings.current().archive_table):
                engine.gate = no_fault
                left.pop(0)()
                engine.gate = gate
            return attempt.carry_out()

        engine.gate = gate
        return left

    return arrange


def test_late_event_counted_during_the_query_is_not_subtracted(pipeline, ten_pages, before_pages):
    """The page has the event, but the totals, which were read before, do not include it."""
    at_ms = 1_000 * (len(ten_pages) - RECENT_MAX - PAGE_MAX // 2)
    left = before_pages(lambda: pipeline.count(at(pipeline, at_ms + 1, by=100)))

    assert ask(pipeline, at_ms) == fold(ten_pages, at_ms)
    assert left == []


def test_page_split_during_the_query_is_read_once(pipeline, ten_pages, before_pages):
    late = [at(pipeline, 1_000 * n + 1) for n in range(len(ten_pages) - RECENT_MAX)]
    left = before_pages(lambda: None, lambda: None, lambda: pipeline.count(*late))
    at_ms = 900_000

    value, version = ask(pipeline, at_ms)

    assert left == []
    assert value == version
    assert (value, version) == fold([*ten_pages, *late], at_ms)


def test_events_archived_during_the_query_are_not_subtracted_twice(pipeline, ten_pages, before_pages):
    newer = [at(pipeline, 10**7 + n) for n in range(2 * PAGE_MAX)]
    at_ms = 1_000 * (len(ten_pages) - RECENT_MAX - PAGE_MAX // 2)
    left = before_pages(lambda: pipeline.count(*newer))

    assert ask(pipeline, at_ms) == fold(ten_pages, at_ms)
    assert left == []


def test_late_events_during_each_reading_are_a_503(pipeline, ten_pages, before_pages):
    at_ms = 1_000 * (len(ten_pages) - RECENT_MAX - PAGE_MAX // 2)
    before_pages(*[lambda n=n: pipeline.count(at(pipeline, at_ms + n)) for n in range(1, 10)])

    answer = pipeline.counter_at(A_TIME_MS + at_ms)
    with pytest.raises(ContendedError):
        past.get_counter_at(pipeline.counter_id, A_TIME_MS + at_ms)

    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
