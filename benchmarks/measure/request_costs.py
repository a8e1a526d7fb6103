"""
What an increment asks of AWS, part by part: write units, read units, requests, and bytes of requests and responses.

Counted at the clients, on the engine within this process, by the published rules for units (tests/aws_requests.py),
in simulated time: every run finds the same.

This design archives old entries now and then, so its counting is measured in the steady state: over whole cycles of the
archive, and without the first ones. Each counter's events are spread evenly over one second, at whose end they are
counted. Counters share no request, so a few of the counters of a batch stand for all of them. The other designs keep no
state between batches that changes what a batch costs: for them, one batch of new counters is measured.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import app
from benchmarks import designs
from benchmarks.measure import scope, steady_state
from benchmarks.models import clock
from benchmarks.models.clock import Clock
from chalicelib import codec, command_handlers
from chalicelib.domain.counter import PartKey
from chalicelib.domain.events import Incremented
from chalicelib.read_model import store
from tests import aws_requests
from tests.builders import api_event, queue_record, stream_batch, stream_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from benchmarks.designs import Design
    from tests.faults import Attempt
    from tests.resilience.engine import Engine

#: Counters of a batch that stand for all of them.
_COUNTERS_MEASURED: Final = 2

#: Archives that are written before the measurement begins, and at least so many archives and batches in it.
_CYCLES_BEFORE: Final = 2
_CYCLES_MEASURED: Final = 4
_BATCHES_MEASURED: Final = 20

_BEGAN_S: Final = 1_700_000_000
_BEGAN_MS: Final = _BEGAN_S * 1000
_WINDOW_MS: Final = 1000

Row = dict[str, Any]


@dataclass
class _Bytes:
    """A gate that lets everything pass, and how many bytes did."""

    total: int = 0

    def __call__(self, attempt: Attempt) -> Any:
        response = attempt.carry_out()
        self.total += len(attempt.request.body) + len(response.content)
        return response


def measured(
    engine: Engine, batches: Sequence[int], spreads: Sequence[int], advance: Callable[[int], None]
) -> dict[str, list[Row]]:
    """
    Measure every design by batch and spread, this one by the order of messages, and its less usual paths.

    `advance` is called for each cell of the first, with 1.
    """
    with designs.on(engine) as every:
        for design in every:
            design.hand_over([])  # so that the addresses of queues are known
        app.publish(stream_batch([stream_record(event) for event in _batch("first", 1, 1)]), designs.context())
        cells: list[Row] = []
        for number, (events, spread, design) in enumerate(_cells(every, batches, spreads)):
            row = {"design": design.name, "events": events, "spread": spread}
            rows = _rows_of_ours if design.name == scope.OURS else _rows_of_alternative
            cells += rows(engine, design, f"{number:04}", row)
            advance(1)
        return {"cells": cells, "orders": list(_orders(engine, every[0])), "paths": list(_paths(engine, every[0]))}


def total_cells(batches: Sequence[int], spreads: Sequence[int]) -> int:
    """Return how many cells `measured` measures."""
    return sum(1 for _ in _cells(scope.DESIGNS, batches, spreads))


def _cells(every: Sequence[Any], batches: Sequence[int], spreads: Sequence[int]) -> Iterator[tuple[int, int, Any]]:
    """Yield what is measured: so many events, over so many counters, by a design (or its name)."""
    yield from itertools.product(batches, spreads, every)


def _rows_of_alternative(engine: Engine, design: Design, name: str, row: Row) -> Iterator[Row]:
    batch, work = _batch(name, row["events"], row["spread"]), design.worker(0)
    yield {**row, "part": scope.COMMAND, **_taken(engine, lambda: design.hand_over(batch[:1]), 1)}
    bodies = [designs.alternative_message(event) for event in batch]
    designs.bodies(engine, design.queue_url)
    yield {**row, "part": scope.COUNTING, **_taken(engine, lambda: work(bodies), len(batch))}


def _rows_of_ours(engine: Engine, design: Design, name: str, row: Row) -> Iterator[Row]:
    batch = _batch(name, row["events"], row["spread"])
    increment = _request(f"{name}.0000", **{"Idempotency-Key": "k" * 36})
    yield {**row, "part": scope.COMMAND, **_taken(engine, increment, 1)}
    yield {**row, "part": scope.PUBLISH, **_taken(engine, lambda: design.hand_over(batch), len(batch))}
    designs.bodies(engine, design.queue_url)
    counters = min(_COUNTERS_MEASURED, row["spread"], row["events"])
    each = max(1, row["events"] // row["spread"])
    messages = steady_state.in_order(each, _WINDOW_MS)
    yield {**row, "part": scope.COUNTING, **_steady(engine, design, f"steady.{name}", counters, messages)}


def _orders(engine: Engine, ours: Design) -> Iterator[Row]:
    """Yield what counting takes for an event of one counter, by size of the messages and by their order."""
    for events, (order, reorder) in itertools.product(scope.ORDERED, ORDERS.items()):
        messages = reorder(steady_state.in_order(events, _WINDOW_MS))
        taken = _steady(engine, ours, f"order.{events}.{len(order)}", 1, messages)
        yield {"events": events, "order": order, **taken}


#: How the messages of a counter may come.
ORDERS: Final[dict[str, Callable[[Any], Any]]] = {
    scope.IN_ORDER: lambda messages: messages,
    scope.IN_PAIRS: steady_state.in_pairs,
    scope.DELAYED: lambda messages: steady_state.delayed(messages, 0.1),
}


def _paths(engine: Engine, ours: Design) -> Iterator[Row]:
    """Yield what a path takes for each event, the command included where there is one."""
    work = ours.worker(0)
    for events in (1, 100):
        messages = [[*codec.encode_bodies(_at(f"again.{events}", times))] for times in _times(events, 3)]
        for bodies in messages:
            work(bodies)
        for path, marks in _REPEATED.items():
            batch = {"Records": [{**queue_record(body), **marks} for body in messages[1]]}
            run = functools.partial(_project, batch)
            yield {"path": path, "events": events, **_taken(engine, run, events)}
    yield {"path": scope.BUSY_SECOND, "events": 1, **_busy_second(engine, ours)}
    for path, headers in (
        (scope.ADD_AND_GET, lambda _: {"Prefer": "return=representation"}),
        (scope.SWAP, lambda version: {"If-Match": f'"{version}"'}),
    ):
        yield {"path": path, "events": 1, **_commanded(engine, path.partition(" ")[0], headers)}


def _project(batch: Row) -> object:
    return app.project(batch, designs.context())


_REPEATED: Final[dict[str, Row]] = {
    scope.REDELIVERY: {"attributes": {"ApproximateReceiveCount": "2"}},
    scope.REPLAY: {
        "messageAttributes": {name: {"stringValue": "true", "dataType": "String"} for name in codec.LIKELY_COUNTED}
    },
}


def _busy_second(engine: Engine, ours: Design) -> Row:
    """Return what lone events take, command and counting, in seconds of each of which half of 1,000 are counted."""
    taken = _Sum()
    work = ours.worker(0)
    with _simulated() as time:
        for second in range(8):
            began_ms = _BEGAN_MS + second * 1000
            time.now_s = began_ms / 1000 + 0.5
            work([*codec.encode_bodies(_at("busy", [began_ms + n for n in range(scope.HALF)]))])
            for n in range(50):
                at_ms = began_ms + 505 + n * 9
                time.now_s = at_ms / 1000
                bodies = [*codec.encode_bodies(_at("busy", [at_ms]))]
                taken.add(_taken(engine, functools.partial(work, bodies), 1))
        command = _taken(engine, _request("busy"), 1)
    return _Sum().add(taken.mean()).add(command).total


def _commanded(engine: Engine, name: str, headers: Callable[[int], dict[str, str]]) -> Row:
    """Return what a command takes that counts its event at once, one a second, in the steady state."""
    taken = _Sum()
    with _simulated() as time:
        for version, is_measured in enumerate(_until_archived(name)):
            run = _request(name, **headers(version))
            found = _taken(engine, run, 1)
            time.sleep(1)
            if is_measured:
                taken.add(found)
    return taken.mean()


def _until_archived(counter_id: str) -> Iterator[bool]:
    """Yield for each event of a counter whether it is measured, until enough archives were written."""
    archives = batches = 0
    is_archived = False
    while not (is_archived and archives >= _CYCLES_BEFORE + _CYCLES_MEASURED and batches >= _BATCHES_MEASURED):
        before_ms = store.read_part(PartKey(counter_id)).archived_until_ms
        yield archives >= _CYCLES_BEFORE
        batches += archives >= _CYCLES_BEFORE
        is_archived = store.read_part(PartKey(counter_id)).archived_until_ms != before_ms
        archives += is_archived


def _steady(engine: Engine, ours: Design, name: str, counters: int, messages: Iterable[Any]) -> Row:
    """Return what counting takes for an event in the steady state, if each counter's messages come like these."""
    work = ours.worker(0)
    taken, events = _Sum(), 0
    with _simulated() as time:
        for is_measured, (now_ms, times) in zip(_until_archived(f"{name}.0"), messages, strict=False):
            time.now_s = now_ms / 1000
            batch = [event for number in range(counters) for event in _at(f"{name}.{number}", times)]
            bodies = [*codec.encode_bodies(batch)]
            found = _taken(engine, functools.partial(work, bodies), 1)
            if is_measured:
                taken.add(found)
                events += len(batch)
    return {measure: total / events for measure, total in taken.total.items()}


@contextlib.contextmanager
def _simulated() -> Iterator[Clock]:
    time = Clock(_BEGAN_S)
    with clock.kept(time):
        yield time


class _Sum:
    """What several runs take together."""

    def __init__(self) -> None:
        self.total: dict[str, float] = dict.fromkeys(scope.MEASURES, 0.0)
        self.runs = 0

    def add(self, taken: Row) -> _Sum:
        self.runs += 1
        self.total = {measure: total + taken[measure] for measure, total in self.total.items()}
        return self

    def mean(self) -> Row:
        return {measure: total / self.runs for measure, total in self.total.items()}


def _taken(engine: Engine, run: Callable[[], object], events: int) -> Row:
    """Return what this run takes, for each of so many events."""
    gate = _Bytes()
    engine.gate, before = gate, engine.gate
    try:
        with aws_requests.record(
            *aws_requests.clients(), *designs.alternative_clients(), reader=engine.client("dynamodb")
        ) as requests:
            run()
    finally:
        engine.gate = before
    return {
        "write_units": requests.write_units() / events,
        "read_units": requests.read_units() / events,
        "requests": len(requests.made) / events,
        "bytes": gate.total / events,
    }


def _request(counter_id: str, **headers: str) -> Callable[[], object]:
    event = api_event(
        "POST", "/counters/{counter_id}/increments", path={"counter_id": counter_id}, headers=headers or None
    )
    return lambda: app.app(event, designs.context())


def _times(events: int, batches: int) -> Iterator[Sequence[int]]:
    return (times for _, times in itertools.islice(steady_state.in_order(events, _WINDOW_MS), batches))


def _batch(name: str, events: int, spread: int) -> list[Incremented]:
    """Return so many events of so many counters, which take turns, at 1,000 a second for each."""
    return [_event(f"{name}.{n % spread:04}", _BEGAN_MS + n // spread) for n in range(events)]


def _at(counter_id: str, times: Iterable[int]) -> list[Incremented]:
    return [_event(counter_id, recorded_at_ms) for recorded_at_ms in times]


def _event(counter_id: str, recorded_at_ms: int) -> Incremented:
    return Incremented(counter_id, command_handlers.generate_event_id(recorded_at_ms), 1, recorded_at_ms)
