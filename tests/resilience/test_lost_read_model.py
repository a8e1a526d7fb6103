"""Rebuild a lost read model, with full pages, the oldest events first, and constant memory."""

import json
import tracemalloc
from collections.abc import Iterator

import pytest

from chalicelib import settings
from chalicelib.domain.archive import PAGE_MAX
from chalicelib.domain.counter import PartKey
from chalicelib.domain.events import Event
from chalicelib.extras.verification import report as kinds
from chalicelib.extras.verification.part_comparison import Scope, select_counters
from chalicelib.extras.verification.repair import repair, repair_all
from chalicelib.read_model import store
from testkit import aws_requests, faults
from testkit.builders import A_TIME_MS, a_counter_id, an_event
from tests.comparisons import stage_parts
from tests.resilience.invariant import Watcher

pytestmark = [pytest.mark.exhaustive, pytest.mark.usefixtures("no_waits")]

EVENTS = 5000


def log_of(counter_id: str, number: int) -> Iterator[Event]:
    """Yield events of one counter. Their ids, by which the log is sorted, do not depend on their times."""
    return (an_event(counter_id=counter_id, by=2, recorded_at_ms=A_TIME_MS + 10 * at) for at in range(number))


def test_lost_counter_is_filled_in_full_pages_from_the_oldest(engine, pipeline):
    pipeline.log(list(log_of(pipeline.counter_id, EVENTS)))

    with (
        aws_requests.record(reader=engine.client("dynamodb")) as requests,
        stage_parts(select_counters([pipeline.counter_id])) as comparison,
    ):
        repaired = repair_all(comparison)

    archive = settings.current().archive_table
    ends = [
        int(member["Put"]["Item"]["end"]["N"])
        for operation, made in requests.made
        if operation == "TransactWriteItems"
        for member in made["TransactItems"]
        if member.get("Put", {}).get("TableName") == archive
    ]
    sizes = [len(page.entries) for page in store.read_pages(PartKey(pipeline.counter_id), 0, 100)]
    units = requests.write_units() / EVENTS
    print(f"{units:.4f} write units an event, pages of {sizes}")  # noqa: T201  (for pytest -s)
    assert dict(repaired.corrected) == {kinds.UNCOUNTED: EVENTS}
    assert ends == sorted(set(ends))
    assert min(sizes) >= 0.9 * PAGE_MAX
    assert units <= 0.047
    Watcher(engine.client, pipeline.counter_id).check_in_the_end()


def peak_of_rebuild(engine, number: int) -> int:
    """Return Python's peak memory, in bytes, during a rebuild whose writes are discarded."""
    key = PartKey(a_counter_id())
    writes = []

    def gate(attempt):
        if attempt.operation != "TransactWriteItems":
            return attempt.carry_out()
        writes.append(len(json.loads(attempt.request.body)["TransactItems"]))
        return faults.response(attempt.request, 200, {}, b"{}")

    engine.gate = gate
    tracemalloc.start()
    try:
        with stage_parts(Scope([], [], [lambda: log_of(key.counter_id, number)])) as comparison:
            repaired = repair(comparison.db, key)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        engine.gate = faults.no_fault
    assert dict(repaired) == {kinds.UNCOUNTED: number}
    assert sum(writes) > number / PAGE_MAX
    return peak


@pytest.mark.no_cover
def test_memory_of_a_rebuild_does_not_grow_with_the_log(engine):
    peak_of_rebuild(engine, 3000)  # imports modules and fills caches

    small, large = peak_of_rebuild(engine, 20_000), peak_of_rebuild(engine, 100_000)

    print(f"{small / 1e6:.2f} and {large / 1e6:.2f} MB")  # noqa: T201  (for pytest -s)
    assert large < 2 * small
