"""
Test transactions that a query sees only in part.

DynamoDB commits a transaction item by item. A consistent read of one item sees all of it or nothing. A query may return
one item as it is after the transaction and another as it was before (developer guide, "Isolation levels for DynamoDB
transactions"). The engine's transactions are atomic, so these tests remove an item from a query's response or restore
its former state.
"""

import base64
import json

import pytest

from chalicelib import event_log, settings
from chalicelib.domain.archive import PAGE_MAX
from chalicelib.domain.counter import PartKey
from chalicelib.errors import ArchiveGapError
from chalicelib.extras.verification.part_comparison import select_counters
from chalicelib.extras.verification.repair import repair_all
from testkit.builders import an_event, message_body
from testkit.faults import response
from tests.comparisons import stage_parts, verify_parts
from tests.resilience.invariant import Watcher

pytestmark = pytest.mark.usefixtures("no_waits")

A_TIME_MS = 1_700_000_000_000


class Veil:
    """A gate that shows queries of the archive an earlier version of a page, or no page, for a number of queries."""

    def __init__(self, engine, before, after):
        """Take the archive's pages, by their ends, from `before` and `after` a transaction."""
        self._engine = engine
        self._before = before
        self._after = after
        self.hidden = set()
        self.left = 0
        self.used = 0

    def hide(self, ends, queries=1):
        """Let the next queries see these pages as they were before."""
        self.hidden, self.left = set(ends), queries

    def __call__(self, attempt):
        answer = attempt.carry_out()
        asked = json.loads(attempt.request.body)
        if attempt.operation != "Query" or asked["TableName"] != settings.current().archive_table or self.left == 0:
            return answer
        self.left -= 1
        self.used += 1
        found = json.loads(answer.content)
        end_of = "end"
        kept = [item for item in found["Items"] if item[end_of]["N"] not in self.hidden]
        former = [self._before[end] for end in self.hidden if end in self._before]
        first = int(next(iter(asked.get("ExpressionAttributeValues", {":": {"N": "0"}}).values())).get("N", 0))
        kept += [item for item in former if int(item["end"]["N"]) >= first]
        kept.sort(key=lambda item: int(item[end_of]["N"]), reverse=asked.get("ScanIndexForward") is False)
        found["Items"] = kept
        if asked.get("Limit") == 1 and not kept:
            # The item behind the hidden one is the first that a query finds.
            later = [item for end, item in self._after.items() if int(end) >= first and end not in self.hidden]
            found["Items"] = sorted(later, key=lambda item: int(item["end"]["N"]))[:1]
        return response(attempt.request, 200, {}, json.dumps(found).encode())


def archive_of(engine, counter_id):
    """Return the counter's pages by their ends, in DynamoDB's JSON."""
    body = engine.client("dynamodb").query(
        TableName=settings.current().archive_table,
        KeyConditionExpression="#p = :p",
        ExpressionAttributeNames={"#p": "partition"},
        ExpressionAttributeValues={":p": {"S": counter_id}},
        ConsistentRead=True,
    )
    return {item["end"]["N"]: plain(item) for item in body["Items"]}


def plain(item):
    """Return the item with binary values as in JSON."""
    return {
        name: {kind: base64.b64encode(value).decode() if isinstance(value, bytes) else value}
        for name, typed in item.items()
        for kind, value in typed.items()
    }


def logged(pipeline, times_ms):
    events = [an_event(counter_id=pipeline.counter_id, by=3, recorded_at_ms=A_TIME_MS + ms) for ms in times_ms]
    for event in events:
        event_log.append(event)
    return events


@pytest.fixture
def veiled(engine, pipeline):
    """Split a counter's full page by late events, hide the split, and return the events of the first half."""
    first = logged(pipeline, range(0, 10 * PAGE_MAX, 10))
    pipeline.count(*first)
    before = archive_of(engine, pipeline.counter_id)
    pipeline.count(*logged(pipeline, range(5, 10 * PAGE_MAX // 2, 10)))
    after = archive_of(engine, pipeline.counter_id)
    veil = Veil(engine, before, after)
    engine.gate = veil
    return veil, first[: PAGE_MAX // 4]


def new_pages(veil):
    """Return the ends of the pages that the split made."""
    return veil._after.keys() - veil._before.keys()


def test_an_event_of_an_invisible_page_is_not_counted_again(engine, pipeline, veiled):
    veil, early = veiled
    veil.hide(new_pages(veil))

    pipeline.project([message_body(*early)], received=2)

    assert veil.used == 1
    Watcher(engine.client, pipeline.counter_id).check_in_the_end()


def test_late_swap_reads_again_when_its_page_is_invisible(monkeypatch, engine, pipeline, veiled):
    """The swap is late because the clock of its function is slow."""
    veil, _ = veiled
    monkeypatch.setattr("chalicelib.clock.now_ms", lambda: A_TIME_MS + PAGE_MAX)
    if_match = f'"{pipeline.version}"'
    veil.hide(new_pages(veil))

    swapped = pipeline.increment(If_Match=if_match)

    assert veil.used == 1
    assert swapped.status == 200
    Watcher(engine.client, pipeline.counter_id).check_in_the_end()


def test_an_event_is_not_counted_into_a_page_that_is_seen_too_old(engine, pipeline, veiled):
    veil, early = veiled
    veil.hide(veil._before)
    late = logged(pipeline, [10 * PAGE_MAX // 2 + 3])

    pipeline.project([message_body(*early, *late)])

    assert veil.used == 1
    Watcher(engine.client, pipeline.counter_id).check_in_the_end()


@pytest.mark.parametrize("query", ["events", "history", "event", "past"])
def test_a_query_reads_again_when_a_page_is_invisible(pipeline, veiled, query):
    veil, early = veiled
    limit = {"cursor": pipeline.events(limit=100).body["next_cursor"], "limit": 100}
    asked = {
        "events": lambda: pipeline.events(**limit),
        "history": lambda: pipeline.history(from_="2023-11-14T22:13:20Z", to="2023-11-14T22:13:25Z"),
        "event": lambda: pipeline.event(early[0].event_id),
        "past": lambda: pipeline.counter_at(A_TIME_MS + PAGE_MAX),
    }[query]
    right = asked().body
    veil.hide(new_pages(veil))

    seen = asked()

    assert veil.used == 1
    assert (seen.status, seen.body) == (200, right)


@pytest.mark.parametrize("at_ms", range(PAGE_MAX, 10 * PAGE_MAX, 3 * PAGE_MAX))
def test_a_past_state_is_not_misled_by_a_page_seen_too_old(pipeline, veiled, at_ms):
    """The counter shows late events that the page does not have yet, both later and earlier than the requested time."""
    veil, _ = veiled
    right = pipeline.counter_at(A_TIME_MS + at_ms).body
    veil.hide(veil._before)

    seen = pipeline.counter_at(A_TIME_MS + at_ms)

    assert veil.used == 1
    assert (seen.status, seen.body) == (200, right)


def test_page_that_stays_invisible_raises_a_named_error(engine, pipeline, veiled):
    veil, early = veiled
    veil.hide(new_pages(veil), queries=1000)

    answer = pipeline.event(early[0].event_id)
    with pytest.raises(ArchiveGapError):
        pipeline.project([message_body(*early)])

    assert (answer.status, answer.headers["Content-Type"]) == (503, "application/problem+json")


@pytest.mark.parametrize("queries", range(1, 5))
@pytest.mark.parametrize("is_hidden_after", [True, False])
def test_a_repair_is_not_misled_by_an_invisible_page(engine, pipeline, veiled, queries, is_hidden_after):
    """Even if some of a repair's queries see only a part of the split, the read model still matches the log."""
    veil, _ = veiled
    veil.hide(new_pages(veil) if is_hidden_after else veil._before, queries)

    with stage_parts(select_counters([pipeline.counter_id])) as comparison:
        repair_all(comparison)

    assert veil.used >= 1
    veil.left = 0
    Watcher(engine.client, pipeline.counter_id).check_in_the_end()
    assert verify_parts(select_counters([pipeline.counter_id]), lag_s=0, waits=False).holds


def test_verify_reports_no_difference_for_an_invisible_page(pipeline, veiled):
    veil, _ = veiled
    veil.hide(new_pages(veil))

    report = verify_parts(select_counters([pipeline.counter_id]), lag_s=0, waits=False)

    assert veil.used == 1
    assert report.holds


class NotYet:
    """A gate that answers reads of the log as if it had no such event, for a number of reads."""

    def __init__(self, reads):
        self.left = reads

    def __call__(self, attempt):
        answer = attempt.carry_out()
        asked = json.loads(attempt.request.body)
        if attempt.operation == "GetItem" and asked["TableName"] == settings.current().event_log_table and self.left:
            self.left -= 1
            return response(attempt.request, 200, {}, b"{}")
        if attempt.operation == "BatchGetItem" and self.left:
            self.left -= 1
            found = json.loads(answer.content)
            found["Responses"] = {table: [] for table in found["Responses"]}
            return response(attempt.request, 200, {}, json.dumps(found).encode())
        return answer


def test_repeated_swap_is_found_although_its_event_is_invisible(engine, pipeline):
    """The counter already shows the swap, so the answer "nothing was recorded" would be wrong."""
    first = pipeline.increment(If_Match='"0"', Idempotency_Key="k")
    engine.gate = NotYet(1)

    again = pipeline.increment(If_Match='"0"', Idempotency_Key="k")

    engine.gate = lambda attempt: attempt.carry_out()
    assert (first.status, again.status) == (200, 200)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert pipeline.version == 1


def test_a_repair_keeps_the_entry_of_a_swap_whose_event_is_invisible(engine, pipeline):
    """The swap comes after the log was read, and before the read model is read again."""
    pipeline.count(*logged(pipeline, [0]))
    with stage_parts(select_counters([pipeline.counter_id])) as comparison:
        comparison.db.forget_part(PartKey(pipeline.counter_id), -1)
        assert pipeline.increment({"by": 5}, If_Match='"1"').status == 200
        engine.gate = NotYet(1)
        repair_all(comparison)
    engine.gate = lambda attempt: attempt.carry_out()

    assert (pipeline.value, pipeline.version) == (8, 2)
