"""The pipeline on the engine within this process."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.harness import Pipeline
from tests.proof.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def the_engine() -> Engine:
    """One for all tests: each has counters of its own."""
    return Engine()


@pytest.fixture
def engine(the_engine: Engine) -> Iterator[Engine]:
    """Serves the application's clients during the test."""
    with the_engine.serving():
        yield the_engine


@pytest.fixture
def new_pipeline(engine: Engine) -> Callable[[int], Pipeline]:
    """Makes a pipeline with a counter of its own, whose chance comes from a seed."""
    return lambda seed: pipeline_on(engine, seed)


def pipeline_on(engine: Engine, seed: int) -> Pipeline:
    """A pipeline on the engine."""
    return Pipeline(
        engine.outputs["ProjectionQueueUrl"],
        engine.outputs["DeadLetterQueueUrl"],
        engine.outputs["EventLogStreamArn"],
        random.Random(seed),
        client=engine.client,
    )
