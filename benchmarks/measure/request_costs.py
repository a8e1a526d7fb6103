"""
Measure what each phase of an increment costs: write units, read units, requests, and bytes of requests and responses.

Units are counted by AWS's published rules (testkit/aws_requests.py), in simulated time.

The project's own design archives old entries from time to time. Its counting is therefore measured in the steady state:
over complete archive cycles, without the first two. Each counter's events are spread evenly over one second, and
counted at its end. Counters do not share requests, so a few counters of a batch represent all of them. The alternatives
keep no state that changes the cost of a batch, so one batch of new counters is measured for them.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import app
from benchmarks.measure import clock, designs, environment, scope, workloads
from benchmarks.measure.designs import Design
from benchmarks.models import steady_state
from chalicelib import codec
from chalicelib.domain.counter import PartKey
from chalicelib.domain.events import Incremented
from chalicelib.read_model import store
from testkit import aws_requests
from testkit.builders import queue_record
from testkit.engine import Engine
from testkit.faults import Attempt

#: The number of measured counters in a batch. They represent all counters of the batch.
_COUNTERS_MEASURED: Final = 2

#: Archives that are written before the measurement begins, and the minimum numbers of archives and batches in a
#: measurement.
_CYCLES_BEFORE: Final = 2
_CYCLES_MEASURED: Final = 4
_BATCHES_MEASURED: Final = 20

_BEGAN_S: Final = 1_700_000_000
_BEGAN_MS: Final = _BEGAN_S * 1000
_WINDOW_MS: Final = 1000

Row = dict[str, Any]

_ORDERS: Final[dict[str, Callable[[Any], Any]]] = {
    scope.IN_ORDER: lambda messages: messages,
    scope.IN_PAIRS: steady_state.swap_pairs,
    scope.DELAYED: lambda messages: steady_state.delay(messages, 0.1),
}

#: The marks by which `project` recognizes events that are probably counted.
_MARKS: Final[dict[str, Row]] = {
    scope.REDELIVERY: {"attributes": {"ApproximateReceiveCount": "2"}},
    scope.REPLAY: {
        "messageAttributes": {name: {"stringValue": "true", "dataType": "String"} for name in codec.LIKELY_COUNTED}
    },
}


def measure(*, quick: bool) -> dict[str, list[Row]]:
    """Measure the costs of an increment with each design, on a separate engine."""
    return measure_designs(environment.new_engine(), scope.BATCHES[: 2 if quick else None])


def measure_designs(engine: Engine, batches: Sequence[int]) -> dict[str, list[Row]]:
    """
    Measure every design by batch size and number of counters.

    Also measure the project's own design by message order and by path.
    """
    with designs.connect(engine) as every:
        for design in every:
            design.send([])  # caches the queue URLs
        workloads.publish(_batch("first", 1, 1))()
        every_cell = [*enumerate(itertools.product(batches, scope.SPREADS, every))]
        cells: list[Row] = []
        for number, (events, spread, design) in environment.show_progress(every_cell, "Units"):
            row = {"design": design.name, "events": events, "spread": spread}
            measure_cell = _measure_ours if design.name == scope.OURS else _measure_alternative
            cells += measure_cell(engine, design, f"{number:04}", row)
        return {
            "cells": cells,
            "orders": [*_measure_orders(engine, every[0])],
            "paths": [*_measure_paths(engine, every[0])],
        }


def _measure_alternative(engine: Engine, design: Design, name: str, row: Row) -> Iterator[Row]:
    batch, work = _batch(name, row["events"], row["spread"]), design.worker(0)
    yield {**row, "part": scope.COMMAND, **_measure(engine, lambda: design.send(batch[:1]))}
    bodies = [*design.encode(batch)]
    designs.drain(engine, design.queue_url)
    yield {**row, "part": scope.COUNTING, **_measure(engine, lambda: work(bodies), len(batch))}


def _measure_ours(engine: Engine, design: Design, name: str, row: Row) -> Iterator[Row]:
    batch = _batch(name, row["events"], row["spread"])
    increment = workloads.increment(f"{name}.0000", **{"Idempotency-Key": "k" * 36})
    yield {**row, "part": scope.COMMAND, **_measure(engine, increment)}
    yield {**row, "part": scope.PUBLISH, **_measure(engine, lambda: design.send(batch), len(batch))}
    designs.drain(engine, design.queue_url)
    counters = min(_COUNTERS_MEASURED, row["spread"], row["events"])
    messages = steady_state.in_order(max(1, row["events"] // row["spread"]), _WINDOW_MS)
    yield {**row, "part": scope.COUNTING, **_measure_steady(engine, design, f"steady.{name}", counters, messages)}


def _measure_orders(engine: Engine, ours: Design) -> Iterator[Row]:
    for events, (order, reorder) in itertools.product(scope.BATCHES, _ORDERS.items()):
        messages = reorder(steady_state.in_order(events, _WINDOW_MS))
        name = f"order.{events}.{len(order)}"
        yield {"events": events, "order": order, **_measure_steady(engine, ours, name, 1, messages)}


def _measure_paths(engine: Engine, ours: Design) -> Iterator[Row]:
    """Measure the less common paths, including the command if the path has one."""
    work = ours.worker(0)
    for events in (1, 100):
        times = [times for _, times in itertools.islice(steady_state.in_order(events, _WINDOW_MS), 3)]
        messages = [_encode([f"again.{events}"], each) for each in times]
        for bodies in messages:
            work(bodies)
        for path, marks in _MARKS.items():
            records = [{**queue_record(body), **marks} for body in messages[1]]
            run = functools.partial(app.project, {"Records": records}, workloads.lambda_context())
            yield {"path": path, "events": events, **_measure(engine, run, events)}
    yield {"path": scope.BUSY_SECOND, "events": 1, **_measure_busy_second(engine, ours)}
    add_and_get, swap = {"Prefer": "return=representation"}, {"If-Match": '"{}"'}
    yield {"path": scope.ADD_AND_GET, "events": 1, **_measure_commands(engine, "add-and-get", add_and_get)}
    yield {"path": scope.SWAP, "events": 1, **_measure_commands(engine, "compare-and-swap", swap)}


def _measure_busy_second(engine: Engine, ours: Design) -> Row:
    """Measure a lone event and its command in a busy second, in which 500 events were counted before the lone event."""
    work, measured = ours.worker(0), []
    with clock.simulate(_BEGAN_S) as time:
        for began_ms in range(_BEGAN_MS, _BEGAN_MS + 8000, 1000):
            time.now_s = began_ms / 1000 + 0.5
            work(_encode(["busy"], range(began_ms, began_ms + scope.EVENTS_BEFORE_LONE)))
            for at_ms in range(began_ms + 505, began_ms + 955, 9):
                time.now_s = at_ms / 1000
                measured.append(_measure(engine, functools.partial(work, _encode(["busy"], [at_ms]))))
        command = _measure(engine, workloads.increment("busy"))
    return _average([_average(measured, len(measured)), command], 1)


def _measure_commands(engine: Engine, name: str, headers: Mapping[str, str]) -> Row:
    """Measure a command that counts its event at once, in the steady state. Send the command once per second."""
    measured = []
    with clock.simulate(_BEGAN_S) as time:
        for version, is_measured in enumerate(_until_archived(name)):
            run = workloads.increment(name, **{header: value.format(version) for header, value in headers.items()})
            row = _measure(engine, run)
            time.sleep(1)
            if is_measured:
                measured.append(row)
    return _average(measured, len(measured))


def _measure_steady(engine: Engine, ours: Design, name: str, counters: int, messages: Iterable[Any]) -> Row:
    """Measure the counting of an event in the steady state, for counters whose messages arrive like these."""
    work, measured, events = ours.worker(0), [], 0
    with clock.simulate(_BEGAN_S) as time:
        for is_measured, (now_ms, times) in zip(_until_archived(f"{name}.0"), messages, strict=False):
            time.now_s = now_ms / 1000
            bodies = _encode([f"{name}.{number}" for number in range(counters)], times)
            row = _measure(engine, functools.partial(work, bodies))
            if is_measured:
                measured.append(row)
                events += counters * len(times)
    return _average(measured, events)


def _until_archived(counter_id: str) -> Iterator[bool]:
    """For each batch of a counter, yield whether to measure it. Stop after enough archives and batches."""
    archives = batches = 0
    is_archived = False
    while not (is_archived and archives >= _CYCLES_BEFORE + _CYCLES_MEASURED and batches >= _BATCHES_MEASURED):
        before_ms = store.read_part(PartKey(counter_id)).archived_until_ms
        yield archives >= _CYCLES_BEFORE
        batches += archives >= _CYCLES_BEFORE
        is_archived = store.read_part(PartKey(counter_id)).archived_until_ms != before_ms
        archives += is_archived


def _measure(engine: Engine, run: Callable[[], object], events: int = 1) -> Row:
    """Measure one run with this number of events, and return the cost of an event."""
    transferred = 0

    def count_bytes(attempt: Attempt) -> Any:
        nonlocal transferred
        response = attempt.carry_out()
        transferred += len(attempt.request.body) + len(response.content)
        return response

    clients, reader = [*aws_requests.clients(), *designs.alternative_clients()], engine.client("dynamodb")
    with designs.pass_gate(engine, count_bytes), aws_requests.record(*clients, reader=reader) as requests:
        run()
    units = {"write_units": requests.write_units(), "read_units": requests.read_units()}
    return _average([{**units, "requests": len(requests.made), "bytes": transferred}], events)


def _average(rows: Sequence[Row], events: int) -> Row:
    return {measure: sum(row[measure] for row in rows) / events for measure in scope.MEASURES}


def _batch(name: str, events: int, spread: int) -> list[Incremented]:
    """Return events of counters that take turns, with 1,000 events per second each."""
    return [workloads.new_event(f"{name}.{n % spread:04}", _BEGAN_MS + n // spread) for n in range(events)]


def _encode(counter_ids: Sequence[str], times_ms: Iterable[int]) -> list[str]:
    """Return messages with an event of each counter at each of these times."""
    return [*codec.encode_bodies([workloads.new_event(name, at_ms) for name in counter_ids for at_ms in times_ms])]
