"""
Measure the events per second of one worker and of several workers, on one counter and on many, in simulated time.

Workers, and the threads in which each counts its counters, run the real code on the engine in this process, one at a
time (benchmarks/measure/clock.py). A request arrives after half of its time, and its response takes the other half. In
between, a transaction locks its items. A run ends after a fixed simulated time. The counters' values then give the
number of counted events. Nothing is throttled, and a failed batch is redelivered at once: both simplifications favor
the designs that fail more often.
"""

import functools
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.awsrequest import AWSResponse

from benchmarks import alternatives
from benchmarks.measure import clock, designs, environment, scope, workloads
from benchmarks.measure.clock import Clock
from benchmarks.measure.designs import Design
from chalicelib import settings
from testkit import faults
from testkit.engine import Engine
from testkit.faults import Attempt

_BEGAN_S: Final = 1_700_000_000
_READ_S: Final = scope.READ_MS / 1000
_WRITE_S: Final = scope.WRITE_MS / 1000
_TRANSACTION_S: Final = scope.TRANSACTION_MS / 1000
_WRITES: Final = frozenset({"PutItem", "UpdateItem", "TransactWriteItems"})


class _TimeIsUpError(BaseException):
    """The run has ended, so a worker stops at its next request."""


@dataclass
class Network:
    """A gate at which each request takes simulated time. In the middle of this time, a transaction locks its items."""

    clock: Clock
    ends_at_s: float
    _held: set[str] = field(default_factory=set)

    def __call__(self, attempt: Attempt) -> AWSResponse:
        if self.clock.now_s >= self.ends_at_s:
            raise _TimeIsUpError
        one_way_s = (_WRITE_S if attempt.operation in _WRITES else _READ_S) / 2
        self.clock.sleep(one_way_s)
        try:
            return self._serve(attempt, _written_items(attempt))
        finally:
            self.clock.sleep(one_way_s)

    def _serve(self, attempt: Attempt, items: list[str]) -> AWSResponse:
        is_transaction = attempt.operation == "TransactWriteItems"
        held = [item in self._held for item in items]
        if any(held):
            if not is_transaction:
                return faults.conflict(attempt)
            return faults.cancel_for(*("TransactionConflict" if each else None for each in held))(attempt)
        if not is_transaction:
            return attempt.carry_out()
        self._held |= set(items)
        self.clock.sleep(_TRANSACTION_S - _WRITE_S)
        try:
            return attempt.carry_out()
        finally:
            self._held -= set(items)


def _written_items(attempt: Attempt) -> list[str]:
    """Return the items that a request writes, each by its table and key."""
    if attempt.operation not in _WRITES:
        return []
    body = json.loads(attempt.request.body)
    members = [part for member in body.get("TransactItems", [{"": body}]) for part in member.values()]
    keys = [(member["TableName"], member.get("Key") or member["Item"]) for member in members]
    return [json.dumps([table, *(item[name] for name in _key_names()[table])]) for table, item in keys]


@functools.cache
def _key_names() -> dict[str, tuple[str, ...]]:
    """Return the key attributes of each table."""
    names = settings.current()
    return {
        names.event_log_table: ("partition", "event_id"),
        names.archive_table: ("partition", "end"),
        names.counters_table: ("counter_id", "part"),
        alternatives.COUNTERS: ("counter_id",),
        alternatives.MARKERS: ("id",),
    }


def measure(*, quick: bool) -> list[dict[str, Any]]:
    """Measure the throughput of the designs on a new engine."""
    engine = environment.new_engine()
    if quick:
        return measure_workers(engine, (1, 100), (1, 8), (scope.OURS, scope.PACE_UNIT), 0.2)
    return measure_workers(engine, scope.WORKER_BATCHES, scope.WORKERS, scope.WORKER_DESIGNS, 1.0)


def measure_workers(
    engine: Engine, sizes: Sequence[int], workers: Sequence[int], names: Sequence[str], seconds: float
) -> list[dict[str, Any]]:
    """Return the events per second by design, batch size, number of counters and number of workers."""
    rows = []
    with designs.connect(engine) as every:
        compared = [design for design in every if design.name in names]
        runs = [*itertools.product(sizes, scope.WORKER_SPREADS, workers, compared)]
        for size, spread, number, design in environment.show_progress(runs, "Workers"):
            alternatives.provision(engine.client("dynamodb"))
            row = {"design": design.name, "batch": size, "spread": spread, "workers": number}
            rows.append({**row, "a_second": _run(engine, design, row, seconds)})
    return rows


def _run(engine: Engine, design: Design, row: dict[str, Any], seconds: float) -> float:
    counter_ids = [workloads.new_counter_id() for _ in range(row["spread"])]
    with clock.simulate(_BEGAN_S) as time:
        batches = _make_batches(design, counter_ids, row["batch"], time)

        def work(number: int) -> None:
            count = design.worker(number)
            try:
                for batch in batches:
                    while not _is_acknowledged(count, batch):
                        pass
            except _TimeIsUpError:
                return

        with designs.pass_gate(engine, Network(time, _BEGAN_S + seconds)):
            time.run([functools.partial(work, number) for number in range(row["workers"])])
    counted = sum(design.value(counter_id) for counter_id in counter_ids)
    return round(counted / seconds, 1)


def _is_acknowledged(count: Callable[[Sequence[str]], None], batch: list[str]) -> bool:
    """Deliver the batch, and check whether the worker acknowledges it. An unacknowledged batch may still be counted."""
    try:
        count(batch)
    except Exception:  # noqa: BLE001  (after any failure, the batch is redelivered)
        return False
    return True


def _make_batches(design: Design, counter_ids: list[str], size: int, time: Clock) -> Iterator[list[str]]:
    """Yield batches endlessly, as message bodies. Counters take turns; events are recorded when a worker gets them."""
    for number in itertools.count():
        recorded_at_ms = time.time_ns() // 1_000_000
        numbers = range(number * size, (number + 1) * size)
        events = [workloads.new_event(counter_ids[n % len(counter_ids)], recorded_at_ms) for n in numbers]
        yield [*design.encode(events)]
