"""
How many events a second workers count, one and several of them, on one counter and on many, beside the rivals.

Workers are threads of this process, on the engine within it. Each request takes as long as AWS is assumed to take
(bench/costing.py), in which threads do not hinder each other; what limits many of them is the one processor that this
process has. While a transaction is under way its items are in conflict with each other write, as in DynamoDB, and all
the time that it takes. Nothing is throttled, and a batch that failed is delivered again at once: both are in the favour
of those who fail more. FIFO queues are left out: they give a counter's messages to one worker at a time.

A run ends after so many batches, or when its time is up. What is counted by then is what the counters stand at.
"""

from __future__ import annotations

import functools
import itertools
import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bench import costing, designs, rivals, scope
from chalicelib import codec, commands, settings
from chalicelib.domain.events import Incremented
from tests import faults
from tests.building import a_counter_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from botocore.awsrequest import AWSResponse

    from bench.designs import Design
    from tests.faults import Attempt
    from tests.proof.engine import Engine

_WAIT_S: Final = costing.WAIT_MS / 1000
_A_SECOND_MS: Final = 1_700_000_000_000
_WRITES: Final = frozenset({"PutItem", "UpdateItem", "TransactWriteItems"})


class _TimeIsUpError(BaseException):
    """Whatever the worker would have liked to do."""


@dataclass
class Wire:
    """A gate at which each request takes its time, and at which a transaction holds its items meanwhile."""

    ends_at: float
    requests: int = 0
    conflicts: int = 0
    _held: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, attempt: Attempt) -> AWSResponse:
        if time.monotonic() >= self.ends_at:
            raise _TimeIsUpError
        items = _written(attempt)
        is_transaction = attempt.operation == "TransactWriteItems"
        with self._lock:
            self.requests += 1
            refused = [item in self._held for item in items]
            if is_transaction and not any(refused):
                self._held |= set(items)
        time.sleep(_WAIT_S)
        if any(refused):
            with self._lock:
                self.conflicts += 1
            if not is_transaction:
                return faults.conflicts(attempt)
            return faults.cancelled_for(*("TransactionConflict" if one else None for one in refused))(attempt)
        try:
            return attempt.carry_out()
        finally:
            if is_transaction:
                with self._lock:
                    self._held -= set(items)


def _written(attempt: Attempt) -> list[str]:
    """The items that a request writes, each by its table and what tells it from others there."""
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
    """The attributes that make the key, by table."""
    names = settings.current()
    return {
        names.event_log_table: ("partition", "event_id"),
        names.buckets_table: ("partition", "second"),
        names.counters_table: ("counter_id",),
        rivals.COUNTERS: ("counter_id",),
        rivals.MARKERS: ("id",),
    }


@dataclass(frozen=True, slots=True)
class Crowd:
    """What is compared: batches of these sizes, so many workers, these designs; and how long a run may last."""

    sizes: Sequence[int]
    workers: Sequence[int]
    names: Sequence[str]
    seconds: float

    @property
    def runs(self) -> int:
        """How many runs that makes."""
        return len(self.sizes) * len(scope.CROWDED_SPREADS) * len(self.workers) * len(self.names)


def measured(engine: Engine, crowd: Crowd, advance: Callable[[int], None]) -> list[dict[str, Any]]:
    """
    Events a second of each design, by batch size, spread and number of workers, and the requests and conflicts it took.

    `advance` is told of each run that is done.
    """
    rows = []
    with designs.on(engine) as found:
        every = [design for design in found if design.name in crowd.names]
        for size, spread, workers in itertools.product(crowd.sizes, scope.CROWDED_SPREADS, crowd.workers):
            for design in every:
                rivals.provision(engine.client("dynamodb"))
                row = {"design": design.name, "batch": size, "spread": spread, "workers": workers}
                rows.append({**row, **_run(engine, design, row, crowd.seconds)})
                advance(1)
    return rows


def _run(engine: Engine, design: Design, row: dict[str, Any], seconds: float) -> dict[str, float]:
    counter_ids = [a_counter_id() for _ in range(row["spread"])]
    # More than can be counted in the time by whoever makes two requests for a batch, and not many more.
    most = int(row["workers"] * seconds / (2 * _WAIT_S)) + row["workers"]
    batches = list(itertools.islice(_batches(design, counter_ids, row["batch"]), most))
    to_do, begins = iter(batches), threading.Barrier(row["workers"] + 1)
    lock = threading.Lock()

    def work(number: int) -> None:
        count = design.worker(number)
        begins.wait()
        while True:
            with lock:
                batch = next(to_do, None)
            if batch is None:
                return
            try:
                while not _is_counted(count, batch):
                    pass
            except _TimeIsUpError:
                return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(row["workers"])]
    for thread in threads:
        thread.start()
    wire = Wire(time.monotonic() + seconds)
    engine.gate = wire
    try:
        begins.wait()
        began = time.monotonic()
        for thread in threads:
            thread.join()
        took = min(time.monotonic() - began, seconds)
    finally:
        engine.gate = faults.carried_out
    counted = sum(design.value(counter_id) for counter_id in counter_ids)
    return {"a_second": round(counted / took, 1), "requests": wire.requests, "conflicts": wire.conflicts}


def _is_counted(count: Callable[[Sequence[str]], None], batch: list[str]) -> bool:
    """Whether the worker acknowledges the batch; it may have counted some of it, or all, where it does not."""
    try:
        count(batch)
    except Exception:  # noqa: BLE001  (whatever it is, the batch is delivered again)
        return False
    return True


def _batches(design: Design, counter_ids: list[str], size: int) -> Iterator[list[str]]:
    """Bodies of messages as they come: events of counters that take turns, at 1,000 a second in all for each."""
    for number in itertools.count():
        events = []
        for n in range(number * size, (number + 1) * size):
            recorded_at_ms = _A_SECOND_MS + n // len(counter_ids)
            counter_id = counter_ids[n % len(counter_ids)]
            events.append(Incremented(counter_id, commands.time_ordered_id(recorded_at_ms), 1, recorded_at_ms))
        if design.name == scope.OURS:
            yield [*codec.to_messages(events)]
        else:
            yield [designs.rival_message(event) for event in events]
