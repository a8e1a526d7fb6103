"""Read the history and the list of events while events are counted."""

import pytest

from chalicelib import settings
from chalicelib.domain import archive
from chalicelib.domain.entries import Entry, encode_page
from chalicelib.read_model import queries
from testkit import aws_requests, faults
from testkit.builders import an_adjustment, an_event
from tests.pipeline import newest_first

#: 2023-11-14T22:13:20Z
A_TIME_S = 1_700_000_000


def at(second, **parts):
    return an_event(recorded_at_ms=A_TIME_S * 1000 + int(second * 1000), **parts)


def rows(answer):
    return [(point["start"], point["increments"], point["sum"]) for point in answer.body["points"]]


@pytest.fixture
def put_archive(put_until_end, pipeline):
    """Put the archive that results from counting this many events in each of the first seconds."""

    def put(seconds, events, part=0, parts=1):
        partition = pipeline.counter_id if parts == 1 else f"{pipeline.counter_id}#{part}"
        pages = [
            {"partition": partition, "end": chunk[-1].recorded_at_ms, "entries": encode_page(chunk), "revision": 1}
            for second in range(seconds)
            for chunk in archive.split_by_time(
                [
                    Entry((A_TIME_S + second) * 1000 + number * 1000 // events, number.to_bytes(16, "big"), 1)
                    for number in range(events)
                ]
            )
        ]
        ends = [-1, *(page["end"] for page in pages)]
        pages = [{**page, "start": start} for start, page in zip(ends, pages, strict=False)]
        counter = {
            "counter_id": pipeline.counter_id,
            "part": part,
            "value": seconds * events,
            "version": seconds * events,
            "archived_until": pages[-1]["end"],
            "revision": 1,
        }
        put_until_end(settings.current().archive_table, pages)
        put_until_end(settings.current().counters_table, [counter])

    return put


def test_a_counter_that_was_never_incremented_has_no_history_and_no_events(pipeline):
    assert (pipeline.history().status, pipeline.history().body) == (200, {"points": []})
    assert (pipeline.events().status, pipeline.events().body) == (200, {"events": [], "next_cursor": None})


def test_event_is_in_the_history_once_it_is_counted(pipeline):
    pipeline.increment({"by": 3})

    before = pipeline.history(resolution="second").body["points"]
    pipeline.deliver()
    ((_, increments, total),) = rows(pipeline.history(resolution="second"))

    assert before == []
    assert (increments, total) == (1, 3)


def test_a_history_has_a_point_for_each_step_that_is_not_empty(pipeline):
    mine = {"counter_id": pipeline.counter_id}
    pipeline.count(at(0, by=1, **mine), at(0.9, by=2, **mine), at(39.999, by=4, **mine), at(40, by=8, **mine))
    pipeline.count(at(3700, by=16, **mine), at(90_000, by=32, **mine))
    asked = {"from_": "2023-11-14T00:00:00Z", "to": "2023-11-17T00:00:00Z"}

    assert rows(pipeline.history(**asked)) == [
        ("2023-11-14T22:13:00.000Z", 3, 7),
        ("2023-11-14T22:14:00.000Z", 1, 8),
        ("2023-11-14T23:15:00.000Z", 1, 16),
        ("2023-11-15T23:13:00.000Z", 1, 32),
    ]
    assert rows(pipeline.history(resolution="hour", **asked)) == [
        ("2023-11-14T22:00:00.000Z", 4, 15),
        ("2023-11-14T23:00:00.000Z", 1, 16),
        ("2023-11-15T23:00:00.000Z", 1, 32),
    ]
    assert rows(pipeline.history(resolution="day", **asked)) == [
        ("2023-11-14T00:00:00.000Z", 5, 31),
        ("2023-11-15T00:00:00.000Z", 1, 32),
    ]


def test_history_includes_its_start_and_excludes_its_end(pipeline):
    pipeline.count(*[at(n, counter_id=pipeline.counter_id, by=10**n) for n in range(4)])

    def total(start, end):
        answer = pipeline.history(from_=f"2023-11-14T22:13:{start}Z", to=f"2023-11-14T22:13:{end}Z")
        return sum(sum_ for _, _, sum_ in rows(answer))

    assert total("21", "23") == 110
    assert total("21.999", "22") == 10
    assert total("21", "22.001") == 110


def test_history_counts_adjustments_and_may_decrease(pipeline):
    pipeline.record(
        at(0, counter_id=pipeline.counter_id, by=5),
        an_adjustment(counter_id=pipeline.counter_id, by=-7, recorded_at_ms=A_TIME_S * 1000),
    )

    answer = pipeline.history(from_="2023-11-14T22:13:20Z", to="2023-11-14T22:13:21Z", resolution="second")

    assert rows(answer) == [("2023-11-14T22:13:20.000Z", 2, -2)]
    assert pipeline.value == -2


def test_before_1970_nothing_was_counted(pipeline):
    pipeline.count(an_event(counter_id=pipeline.counter_id, recorded_at_ms=0))

    with aws_requests.record() as requests:
        answer = pipeline.history(from_="1969-12-31T23:00:00Z", to="1970-01-01T00:00:00Z")

    assert (answer.status, answer.body, requests.operations) == (200, {"points": []}, [])


def test_history_with_shards_equals_history_without(pipeline, four_shards):
    pipeline.count(*[at(n % 3, counter_id=pipeline.counter_id, by=n) for n in range(1, 40)])

    answer = pipeline.history(from_="2023-11-14T22:13:20Z", to="2023-11-14T22:13:23Z", resolution="second")

    assert [(increments, total) for _, increments, total in rows(answer)] == [(13, 273), (13, 247), (13, 260)]


def test_a_history_over_archived_and_recent_entries_has_them_all(pipeline):
    mine = [at(n / 10, counter_id=pipeline.counter_id, by=n % 7 + 1) for n in range(1000)]
    for start in range(0, 1000, 30):
        pipeline.count(*mine[start : start + 30])

    answer = pipeline.history(from_="2023-11-14T22:13:20Z", to="2023-11-14T22:16:00Z", resolution="second")

    assert [(increments, total) for _, increments, total in rows(answer)] == [
        (10, sum(event.by for event in mine[second * 10 : second * 10 + 10])) for second in range(100)
    ]


#: About 2.2 MB of the archive: more than one response may read. 1,000 entries take about 19 KB.
TOO_MANY_S = 120


@pytest.mark.exhaustive
def test_history_too_long_to_read_is_refused_with_an_accepted_end(pipeline, put_archive):
    put_archive(TOO_MANY_S, 1000)
    asked = {"from_": "2023-11-14T22:13:20Z", "resolution": "second"}

    with aws_requests.record() as requests:
        refused = pipeline.history(to="2023-11-14T22:18:20Z", **asked)
    accepted = pipeline.history(to=refused.body["detail"].partition("to=")[2].split()[0], **asked)

    assert (refused.status, refused.body["type"]) == (400, "urn:counter:problem:range-too-long")
    assert requests.read_units() <= 1 + 1.2 * queries.HISTORY_BYTES / 4096
    assert accepted.status == 200
    assert [increments for _, increments, _ in rows(accepted)] == [1000] * len(accepted.body["points"])
    assert len(accepted.body["points"]) > 100


@pytest.mark.exhaustive
def test_a_history_of_less_than_two_megabytes_is_answered(pipeline, put_archive):
    put_archive(100, 1000)

    answer = pipeline.history(from_="2023-11-14T22:13:20Z", to="2023-11-14T23:00:00Z", resolution="second")

    assert (answer.status, len(answer.body["points"])) == (200, 100)


@pytest.mark.exhaustive
@pytest.mark.parametrize("heavy", [4, 1])
def test_a_history_of_parts_is_refused_with_an_end_that_is_accepted(pipeline, put_archive, four_shards, heavy):
    for part in range(four_shards):
        put_archive(TOO_MANY_S // heavy if part < heavy else 1, 1000, part, four_shards)
    asked = {"from_": "2023-11-14T22:13:20Z", "resolution": "second"}

    with aws_requests.record() as requests:
        refused = pipeline.history(to="2023-11-14T22:18:20Z", **asked)
    accepted = pipeline.history(to=refused.body["detail"].partition("to=")[2].split()[0], **asked)

    assert refused.status == 400
    assert requests.read_units() <= 1 + 1.5 * queries.HISTORY_BYTES / 4096
    assert accepted.status == 200
    assert [increments for _, increments, _ in rows(accepted)][1:] == [heavy * 1000] * (len(rows(accepted)) - 1)
    assert len(accepted.body["points"]) > 75 / heavy


@pytest.mark.exhaustive
def test_an_outage_of_the_read_model_or_the_log_is_503(pipeline):
    pipeline.record(at(0, counter_id=pipeline.counter_id))

    for operation, asked in (
        ("Query", pipeline.history),
        ("Query", pipeline.events),
        ("BatchGetItem", pipeline.events),
    ):
        with faults.inject(operation, faults.throttle, faults.ALWAYS):
            assert asked().status == 503


def test_events_are_newest_first_even_within_a_millisecond(pipeline):
    events = [at(n % 3 + n % 2 / 10, counter_id=pipeline.counter_id) for n in range(30)]
    pipeline.record(*events)

    found = list(pipeline.event_pages(7))

    assert [len(page) for page in found] == [7, 7, 7, 7, 2]
    assert [event_id for page in found for event_id in page] == newest_first(events)


def test_event_in_the_list_equals_the_single_event_without_status(pipeline):
    event_id = pipeline.increment({"by": 3}).body["event_id"]
    pending = pipeline.events().body["events"]
    pipeline.deliver()

    (listed,) = pipeline.events().body["events"]

    assert pending == []
    assert {**listed, "status": "counted"} == pipeline.event(event_id).body
    assert (listed["type"], listed["by"]) == ("Incremented", 3)


def test_adjustment_is_listed_with_its_reason_without_its_operator(pipeline):
    adjustment = an_adjustment(counter_id=pipeline.counter_id, by=-3, reason="a test", who="ann@example")
    pipeline.record(adjustment)

    (listed,) = pipeline.events().body["events"]

    assert (listed["type"], listed["by"], listed["reason"]) == ("Adjusted", -3, "a test")
    for body in (listed, pipeline.event(adjustment.event_id).body):
        assert "ann@example" not in str(body)
        assert "who" not in body


def test_events_counted_between_two_pages_are_listed_once_in_order(pipeline):
    there = [at(second, counter_id=pipeline.counter_id) for second in range(0, 40, 2)]
    pipeline.record(*there)
    newer = [at(100 + n, counter_id=pipeline.counter_id) for n in range(10)]
    late = [at(n + 0.5, counter_id=pipeline.counter_id) for n in range(5)]
    arriving = [[new, old] for new, old in zip(newer, late, strict=False)]

    found = list(pipeline.event_pages(3, lambda: pipeline.record(*(arriving.pop() if arriving else []))))

    flat = [event_id for page in found for event_id in page]
    assert len(flat) == len(set(flat))
    assert flat == newest_first([*there, *late])


def test_events_with_shards_equal_events_without(pipeline, four_shards):
    events = [at(n % 7, counter_id=pipeline.counter_id) for n in range(60)]
    pipeline.record(*events)

    assert [event_id for page in pipeline.event_pages(9) for event_id in page] == newest_first(events)


def test_a_busy_second_is_listed_page_by_page(pipeline):
    events = [at(n / 1000, counter_id=pipeline.counter_id) for n in range(250)]
    pipeline.record(*events)

    assert [event_id for page in pipeline.event_pages(100) for event_id in page] == newest_first(events)


def test_unprocessed_keys_of_a_batch_are_read(pipeline):
    events = [at(n, counter_id=pipeline.counter_id) for n in range(8)]
    pipeline.record(*events)

    with faults.inject("BatchGetItem", faults.leave_half_unprocessed, times=2), aws_requests.record() as requests:
        found = [event["event_id"] for event in pipeline.events().body["events"]]

    assert found == newest_first(events)
    assert requests.operations[-3:] == ["BatchGetItem"] * 3


def test_event_missing_from_a_stale_read_of_the_log_is_read_again(pipeline):
    events = [at(n, counter_id=pipeline.counter_id) for n in range(3)]
    pipeline.record(*events)

    with faults.inject("BatchGetItem", faults.find_nothing), aws_requests.record() as requests:
        found = [event["event_id"] for event in pipeline.events().body["events"]]

    consistent = [part["RequestItems"][settings.current().event_log_table] for _, part in requests.made[-2:]]
    assert found == newest_first(events)
    assert [part.get("ConsistentRead", False) for part in consistent] == [False, True]


def test_id_that_the_log_lacks_is_omitted(pipeline):
    known = at(5, counter_id=pipeline.counter_id)
    pipeline.record(known)
    pipeline.count(*[at(n, counter_id=pipeline.counter_id) for n in range(10)])

    assert [event_id for page in pipeline.event_pages(2) for event_id in page] == [known.event_id]
