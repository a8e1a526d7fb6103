"""
How many events a second one worker and several workers count, on one counter and on many, in simulated time.

Workers, and the threads in which each counts its counters, run the real code on the engine within this process, one at
a time: only what they wait for takes time (benchmarks/models/clock.py), so no processor limits them. A read takes
3 ms, a write 5 ms and a transaction 10 ms. A request reaches DynamoDB after half of a write's time, or half of its
own if it is a
read, and its response takes as long to come back. In between, a transaction holds its items, and every other write of
them is refused as a conflict, as DynamoDB does.

Nothing is throttled, so a counter may take more than the 1,000 writes a second of a partition. A batch that failed is
delivered again at once. Both favour the designs that fail more often. FIFO queues are left out: they deliver a
counter's messages to one worker at a time.

A run ends after so much simulated time. The counters' values then tell how many events are counted.
"""

from __future__ import annotations

import functools
import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchmarks import alternatives, designs
from benchmarks.measure import scope
from benchmarks.models import clock as models_clock
from benchmarks.models.clock import Clock
from chalicelib import codec, command_handlers, settings
from chalicelib.domain.events import Incremented
from tests import faults
from tests.builders import a_counter_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from botocore.awsrequest import AWSResponse

    from benchmarks.designs import Design
    from tests.faults import Attempt
    from tests.resilience.engine import Engine

_BEGAN_S: Final = 1_700_000_000
_READ_S: Final = scope.READ_MS / 1000
_WRITE_S: Final = scope.WRITE_MS / 1000
_TRANSACTION_S: Final = scope.TRANSACTION_MS / 1000
_WRITES: Final = frozenset({"PutItem", "UpdateItem", "TransactWriteItems"})


class _TimeIsUpError(BaseException):
    """The run has ended: a worker stops, whatever it does."""


@dataclass
class Wire:
    """A gate at which each request takes its time, and at which a transaction holds its items meanwhile."""

    clock: Clock
    ends_at_s: float
    requests: int = 0
    conflicts: int = 0
    _held: set[str] = field(default_factory=set)

    def __call__(self, attempt: Attempt) -> AWSResponse:
        if self.clock.now_s >= self.ends_at_s:
            raise _TimeIsUpError
        self.requests += 1
        way_s = (_WRITE_S if attempt.operation in _WRITES else _READ_S) / 2
        self.clock.sleep(way_s)
        try:
            return self._served(attempt, _written(attempt))
        finally:
            self.clock.sleep(way_s)

    def _served(self, attempt: Attempt, items: list[str]) -> AWSResponse:
        is_transaction = attempt.operation == "TransactWriteItems"
        refused = [item in self._held for item in items]
        if any(refused):
            self.conflicts += 1
            if not is_transaction:
                return faults.conflict(attempt)
            return faults.cancel_for(*("TransactionConflict" if each else None for each in refused))(attempt)
        if not is_transaction:
            return attempt.carry_out()
        self._held |= set(items)
        self.clock.sleep(_TRANSACTION_S - _WRITE_S)
        try:
            return attempt.carry_out()
        finally:
            self._held -= set(items)


def _written(attempt: Attempt) -> list[str]:
    """Return the items that a request writes, each by its table and key."""
    if attempt.operation not in _WRITES:
        return []
    body = json.loads(attempt.request.body)
    members = [part for member in body.get("TransactItems", [{"": body}]) for part in member.values()]
    return [_place(member) for member in members]


def _place(member: dict[str, Any]) -> str:
    table, item = member["TableName"], member.get("Key") or member["Item"]
    return json.dumps([table, *(item[name] for name in _keys()[table])])


@functools.cache
def _keys() -> dict[str, tuple[str, ...]]:
    """Return the attributes of the key by table."""
    names = settings.current()
    return {
        names.event_log_table: ("partition", "event_id"),
        names.archive_table: ("partition", "end"),
        names.counters_table: ("counter_id", "part"),
        alternatives.COUNTERS: ("counter_id",),
        alternatives.MARKERS: ("id",),
    }


@dataclass(frozen=True, slots=True)
class Crowd:
    """What is compared: batch sizes, numbers of workers and designs, each in a run of so many simulated seconds."""

    sizes: Sequence[int]
    workers: Sequence[int]
    names: Sequence[str]
    seconds: float

    @property
    def runs(self) -> int:
        """The number of runs."""
        return len(self.sizes) * len(scope.CROWDED_SPREADS) * len(self.workers) * len(self.names)


def measured(engine: Engine, crowd: Crowd, advance: Callable[[int], None]) -> list[dict[str, Any]]:
    """
    Return events a second by design, batch size, spread and number of workers, with their requests and conflicts.

    `advance` is called with 1 after each run.
    """
    rows = []
    with designs.on(engine) as found:
        every = [design for design in found if design.name in crowd.names]
        for size, spread, workers in itertools.product(crowd.sizes, scope.CROWDED_SPREADS, crowd.workers):
            for design in every:
                alternatives.provision(engine.client("dynamodb"))
                row = {"design": design.name, "batch": size, "spread": spread, "workers": workers}
                rows.append({**row, **_run(engine, design, row, crowd.seconds)})
                advance(1)
    return rows


def _run(engine: Engine, design: Design, row: dict[str, Any], seconds: float) -> dict[str, float]:
    counter_ids = [a_counter_id() for _ in range(row["spread"])]
    time = Clock(_BEGAN_S)
    batches = _batches(design, counter_ids, row["batch"], time)

    def work(number: int) -> None:
        count = design.worker(number)
        try:
            for batch in batches:
                while not _is_counted(count, batch):
                    pass
        except _TimeIsUpError:
            return

    wire = Wire(time, _BEGAN_S + seconds)
    engine.gate = wire
    try:
        with models_clock.kept(time):
            time.run([functools.partial(work, number) for number in range(row["workers"])])
    finally:
        engine.gate = faults.no_fault
    counted = sum(design.value(counter_id) for counter_id in counter_ids)
    return {"a_second": round(counted / seconds, 1), "requests": wire.requests, "conflicts": wire.conflicts}


def _is_counted(count: Callable[[Sequence[str]], None], batch: list[str]) -> bool:
    """Check whether the worker acknowledges the batch; a batch that it does not may be counted in part, or whole."""
    try:
        count(batch)
    except Exception:  # noqa: BLE001  (whatever it is, the batch is delivered again)
        return False
    return True


def _batches(design: Design, counter_ids: list[str], size: int, time: Clock) -> Iterator[list[str]]:
    """Yield bodies of messages without end: events, recorded when a worker takes them, of counters that take turns."""
    for number in itertools.count():
        recorded_at_ms = time.time_ns() // 1_000_000
        events = [
            Incremented(
                counter_ids[n % len(counter_ids)], command_handlers.generate_event_id(recorded_at_ms), 1, recorded_at_ms
            )
            for n in range(number * size, (number + 1) * size)
        ]
        if design.name == scope.OURS:
            yield [*codec.encode_bodies(events)]
        else:
            yield [designs.alternative_message(event) for event in events]
