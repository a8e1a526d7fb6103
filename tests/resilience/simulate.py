"""
Run random interleavings.

    python -m tests.resilience.simulate --seeds N

Each seed determines a counter with recent entries and archive pages, two to four workers, and the order of their AWS
requests. Workers are projectors with overlapping batches, late events and redeliveries, and clients that swap, add and
get, or reuse a key. A failure prints its seed and schedule. The same seed makes the same choices.
"""

import contextlib
import io
import random
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from chalicelib.domain.archive import PAGE_MAX, RECENT_MAX
from chalicelib.errors import ContendedError, PartlyCountedError
from tests import conftest  # noqa: F401  (sets what the application reads when it is imported)

# isort: split
from chalicelib import codec
from chalicelib.domain.events import Event
from testkit import scheduler
from testkit.builders import A_TIME_MS, an_event, message_body
from testkit.engine import Engine
from testkit.scheduler import Run
from tests.pipeline import Pipeline
from tests.resilience.conftest import make_pipeline
from tests.resilience.invariant import Watcher


@dataclass
class Simulated:
    """A seed's run, and its failure if there is one."""

    seed: int
    ran: Run
    wrong: str | None


def simulate(engine: Engine, seed: int) -> Simulated:
    """Run a seed's workers in the order that it determines, deliver all events again, and check the invariants."""
    chance = random.Random(seed)
    pipeline = make_pipeline(engine, seed)
    watcher = Watcher(engine.client, pipeline.counter_id)
    pipeline.increment({"by": chance.randint(1, 9)}, Idempotency_Key="before")
    _count_before(pipeline, chance)
    pipeline.log(_events(pipeline, chance, chance.randint(1, 12)))
    records = pipeline.new_records()
    bodies = _messages(records, chance)
    workers = {f"worker {number}": _worker(pipeline, chance, bodies) for number in range(chance.randint(2, 4))}

    def choose(waiting: int) -> int:
        watcher.check_between_requests()
        return chance.randrange(waiting)

    ran = scheduler.Run()
    try:
        ran = scheduler.run(engine, workers, choose)
        _raise_what_was_not_contention(ran)
        pipeline.publish(records)
        pipeline.deliver()
        watcher.acknowledged = [
            answer.headers["Location"].rpartition("/")[2]
            for answer in ran.results.values()
            if getattr(answer, "status", 0) in (200, 202)
        ]
        watcher.check_in_the_end()
    except Exception as error:  # noqa: BLE001  (every error is reported with its seed)
        return Simulated(seed, ran, f"{type(error).__name__}: {error}")
    return Simulated(seed, ran, None)


def _count_before(pipeline: Pipeline, chance: random.Random) -> None:
    """Count up to two batches of events: one event, enough to almost fill the item, or enough to archive some."""
    for _ in range(chance.randint(0, 2)):
        size = chance.choice([1, RECENT_MAX - chance.randint(0, 3), RECENT_MAX + chance.randint(1, 9), PAGE_MAX])
        events = _events(pipeline, chance, size)
        pipeline.log(events)
        pipeline.count(*events)


def _events(pipeline: Pipeline, chance: random.Random, size: int) -> list[Event]:
    """Return events with mixed times, almost equal times, or times in the next seconds, as from a fast clock."""
    now_ms = time.time_ns() // 1_000_000
    start_ms, spread_ms = chance.choice([(A_TIME_MS, 1000), (A_TIME_MS, 3), (now_ms, 3000)])
    return [
        an_event(
            counter_id=pipeline.counter_id,
            event_id=str(uuid.UUID(int=chance.getrandbits(128))),
            by=chance.randint(1, 9),
            recorded_at_ms=start_ms + chance.randrange(spread_ms),
        )
        for _ in range(size)
    ]


def _raise_what_was_not_contention(ran: Run) -> None:
    for result in ran.results.values():
        if isinstance(result, Exception) and not isinstance(result, ContendedError | PartlyCountedError):
            raise result


def _messages(records: list[Any], chance: random.Random) -> list[str]:
    events = [codec.decode_stream_record(record) for record in records]
    latest, all_of_them = events[-chance.randint(1, 12) :], chance.choice([1, 12, len(events)])
    return [
        message_body(*chance.sample(events, min(len(events), all_of_them)), *latest)
        for _ in range(chance.randint(1, 5))
    ]


def _worker(pipeline: Pipeline, chance: random.Random, bodies: list[str]) -> Callable[[], Any]:
    by = chance.randint(1, 9)
    batch = [chance.choice(bodies) for _ in range(chance.randint(1, 4))]
    key = chance.choice(["before", "new"])
    received = chance.choice([1, 1, 2])
    version = max(0, pipeline.version + chance.choice([0, 0, 1, -1]))
    kinds: list[Callable[[], Any]] = [
        lambda: pipeline.project(batch, received),
        lambda: pipeline.project(batch, received),
        lambda: pipeline.project(batch, received),
        lambda: pipeline.increment({"by": by}, If_Match=f'"{version}"'),
        lambda: pipeline.increment({"by": by}, Prefer="return=representation"),
        lambda: pipeline.increment({"by": 1}, Idempotency_Key=key, If_Match=f'"{version}"'),
        lambda: pipeline.increment({"by": 1}, Idempotency_Key=key, Prefer="return=representation"),
        lambda: pipeline.increment({"by": 1}, Idempotency_Key=key),
    ]
    return chance.choice(kinds)


@click.command(help=__doc__)
@click.option("--seeds", default=1000, show_default=True, help="Number of seeds.")
@click.option("--first", default=0, show_default=True, help="First seed.")
def main(seeds: int, first: int) -> None:
    engine = Engine()
    failed = 0
    began = time.monotonic()
    with (
        engine.serve_clients(),
        click.progressbar(range(first, first + seeds), label="Seeds", show_pos=True) as numbers,
    ):
        for seed in numbers:
            with contextlib.redirect_stdout(io.StringIO()):  # log lines and metrics
                simulated = simulate(engine, seed)
            if simulated.wrong:
                failed += 1
                click.echo(f"\nseed {seed}: {simulated.wrong}\n  schedule: {simulated.ran.schedule}", err=True)
                for request in simulated.ran.requests:
                    click.echo(f"    {request}", err=True)
    click.echo(f"{seeds} seeds, {failed} failed, {time.monotonic() - began:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
