"""
What an increment asks of AWS, part by part: write units, read units, requests, and bytes of requests and answers.

Counted on the engine within this process, at the clients, by the published rules for units (tests/aws.py): every run
finds the same. A batch is counted in one run of the worker. Its events are recorded at 1,000 a second for each counter,
which is what a partition takes, and the seconds are new; or, in one row, it begins half way through a second whose
first half is counted before. The largest batches are spread only by designs that count messages together: for the
others, whose every message costs the same, they would take minutes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import app
from bench import designs, rivals, scope
from chalicelib import codec, commands, read_model
from chalicelib.domain.events import Incremented
from tests import aws
from tests.building import api_event, stream_batch, stream_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.designs import Design
    from tests.faults import Attempt
    from tests.proof.engine import Engine

#: Of more events, only those are spread whose counting depends on the batch.
_MOST_ALONE: Final = 1000
_TOGETHER: Final = frozenset({scope.OURS, rivals.MARKING_BATCHES.name})

_A_SECOND_MS: Final = 1_700_000_000_000
_STREAM_BATCH: Final = 1000


@dataclass
class _Bytes:
    """A gate that lets everything pass, and how many bytes did."""

    total: int = 0

    def __call__(self, attempt: Attempt) -> Any:
        answer = attempt.carry_out()
        self.total += len(attempt.request.body) + len(answer.content)
        return answer


def measured(
    engine: Engine, batches: Sequence[int], spreads: Sequence[int], advance: Callable[[int], None]
) -> list[dict[str, Any]]:
    """
    What batches of so many events, spread over so many counters, take in each part and design, in rows.

    `advance` is told of each event that is counted.
    """
    with designs.on(engine) as every:
        for design in every:
            design.hand_over([])  # so that the addresses of queues are known
        app.publish(stream_batch([stream_record(event) for event in _events(1, 1, "first")]), designs.context())
        rows: list[dict[str, Any]] = []
        for number, (events, spread, design) in enumerate(_cells(every, batches, spreads)):
            batch = _events(events, spread, f"{number:04}")
            rows += _rows(engine, design, batch, {"design": design.name, "events": events, "spread": spread})
            if spread == 1 and design is every[0]:
                row = {"design": scope.HALF_FULL, "events": events, "spread": spread}
                rows += _half_full(engine, design, _events(events, spread, f"half.{number:04}", scope.HALF), row)
            advance(events)
        return rows


def total_events(batches: Sequence[int], spreads: Sequence[int]) -> int:
    """How many events `measured` counts."""
    return sum(events for events, _, _ in _cells(scope.DESIGNS, batches, spreads))


def _cells(every: Sequence[Any], batches: Sequence[int], spreads: Sequence[int]) -> Iterator[tuple[int, int, Any]]:
    """What is measured: so many events, over so many counters, by a design (or its name)."""
    for events, spread, design in itertools.product(batches, spreads, every):
        if events <= _MOST_ALONE or spread == min(spreads) or getattr(design, "name", design) in _TOGETHER:
            yield events, spread, design


def _rows(engine: Engine, design: Design, batch: list[Incremented], row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One for each part, of all of the batch; the command, which knows no batch, stands for one increment alone."""
    work, sample = design.worker(0), batch[:1]
    is_ours = design.name == scope.OURS
    if is_ours:
        increment = api_event(
            "POST",
            "/counters/{counter_id}/increments",
            path={"counter_id": sample[0].counter_id},
            headers={"Idempotency-Key": "k" * 36},
        )
        yield {**row, "part": scope.COMMAND, **_taken(engine, lambda: app.app(increment, designs.context()), 1)}
        parts = [batch[start : start + _STREAM_BATCH] for start in range(0, len(batch), _STREAM_BATCH)]
        yield {
            **row,
            "part": scope.PUBLISH,
            **_taken(engine, lambda: [*map(design.hand_over, parts)], len(batch)),
        }
        bodies = [*codec.to_messages(batch)]
    else:
        yield {**row, "part": scope.COMMAND, **_taken(engine, lambda: design.hand_over(sample), 1)}
        bodies = [designs.rival_message(event) for event in batch]
    designs.bodies(engine, design.queue_url)
    yield {**row, "part": scope.COUNTING, **_taken(engine, lambda: work(bodies), len(batch))}


def _half_full(engine: Engine, ours: Design, batch: list[Incremented], row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """As many as half a second of events was counted before the batch, in its second."""
    counter_id, work = batch[0].counter_id, ours.worker(0)
    read_model.count([_event(counter_id, _A_SECOND_MS) for _ in range(scope.HALF)])
    yield {**row, "part": scope.COUNTING, **_taken(engine, lambda: work([*codec.to_messages(batch)]), len(batch))}


def _taken(engine: Engine, run: Callable[[], object], events: int) -> dict[str, float]:
    """What this run takes, for each of so many events."""
    gate = _Bytes()
    engine.gate, before = gate, engine.gate
    try:
        with aws.requests(*aws.clients(), *designs.rivals_clients(), reader=engine.client("dynamodb")) as requests:
            run()
    finally:
        engine.gate = before
    return {
        "write_units": requests.write_units() / events,
        "read_units": requests.read_units() / events,
        "requests": len(requests.made) / events,
        "bytes": gate.total / events,
    }


def _events(number: int, spread: int, name: str, first: int = 0) -> list[Incremented]:
    """So many events of so many counters, which take turns, at 1,000 a second for each, from a millisecond on."""
    return [_event(f"{name}.{n % spread:04}", _A_SECOND_MS + first + n // spread) for n in range(number)]


def _event(counter_id: str, recorded_at_ms: int) -> Incremented:
    return Incremented(counter_id, commands.time_ordered_id(recorded_at_ms), 1, recorded_at_ms)
