"""
Random interleavings: python -m tests.proof.simulate --seeds N

Each seed makes two to four workers (projectors with overlapping batches, clients that swap, add and get or send a key
again, a replay), and an order in which their requests to AWS are made, one at a time. A failure prints its seed and the
schedule; the same seed makes the same run.
"""

from __future__ import annotations

import contextlib
import io
import random
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from chalicelib.errors import ContendedError, PartlyCountedError
from tests import conftest  # noqa: F401  (sets what the application reads when it is imported)
from tests.building import message_body
from tests.proof import scheduler
from tests.proof.conftest import pipeline_on
from tests.proof.engine import Engine
from tests.proof.invariant import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness import Pipeline
    from tests.proof.scheduler import Ran


@dataclass
class Simulated:
    """A seed's run, and what was wrong with it, if anything was."""

    seed: int
    ran: Ran
    wrong: str | None


def simulate(engine: Engine, seed: int) -> Simulated:
    """One seed's workers in one seed's order, then everything delivered again, then the invariant."""
    chance = random.Random(seed)
    pipeline = pipeline_on(engine, seed)
    watcher = Watcher(engine.client, pipeline.counter_id)
    for number in range(chance.randint(1, 8)):
        pipeline.increment({"by": chance.randint(1, 9)}, Idempotency_Key=f"before {number}")
    records = pipeline.new_records()
    bodies = _messages(records, chance)
    workers = {f"worker {number}": _worker(pipeline, chance, bodies) for number in range(chance.randint(2, 4))}

    def choose(waiting: int) -> int:
        watcher.check_meanwhile()
        return chance.randrange(waiting)

    ran = scheduler.Ran()
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
    except Exception as error:  # noqa: BLE001  (whatever it is, it is told with its seed)
        return Simulated(seed, ran, f"{type(error).__name__}: {error}")
    return Simulated(seed, ran, None)


def _raise_what_was_not_contention(ran: Ran) -> None:
    for result in ran.results.values():
        if isinstance(result, Exception) and not isinstance(result, ContendedError | PartlyCountedError):
            raise result


def _messages(records: list[Any], chance: random.Random) -> list[str]:
    from chalicelib import codec

    events = [codec.from_stream_record(record) for record in records]
    return [message_body(*chance.sample(events, chance.randint(1, len(events)))) for _ in range(chance.randint(1, 5))]


def _worker(pipeline: Pipeline, chance: random.Random, bodies: list[str]) -> Callable[[], Any]:
    by = chance.randint(1, 9)
    batch = [chance.choice(bodies) for _ in range(chance.randint(1, 4))]
    key = chance.choice(["before 0", "new"])
    version = chance.randint(0, 2)
    kinds: list[Callable[[], Any]] = [
        lambda: pipeline.project(batch),
        lambda: pipeline.project(batch),
        lambda: pipeline.increment({"by": by}, If_Match=f'"{version}"'),
        lambda: pipeline.increment({"by": by}, Prefer="return=representation"),
        lambda: pipeline.increment({"by": 1}, Idempotency_Key=key, If_Match=f'"{version}"'),
        lambda: pipeline.increment({"by": 1}, Idempotency_Key=key, Prefer="return=representation"),
        lambda: pipeline.increment({"by": 1}, Idempotency_Key=key),
    ]
    return chance.choice(kinds)


@click.command(help=__doc__)
@click.option("--seeds", default=1000, show_default=True, help="How many.")
@click.option("--first", default=0, show_default=True, help="The first one.")
def main(seeds: int, first: int) -> None:
    engine = Engine()
    failed = 0
    began = time.monotonic()
    with engine.serving(), click.progressbar(range(first, first + seeds), label="Seeds", show_pos=True) as numbers:
        for seed in numbers:
            with contextlib.redirect_stdout(io.StringIO()):  # what operators would see
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
