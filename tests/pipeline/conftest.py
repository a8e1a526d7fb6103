"""The pipeline on tables and queues of the embedded AWS."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from chalicelib import settings
from tests.harness import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pipeline(stage: dict[str, str]) -> Pipeline:
    """The pipeline, empty, and a counter of its own."""
    return Pipeline(
        stage["ProjectionQueueUrl"], stage["DeadLetterQueueUrl"], stage["EventLogStreamArn"], random.Random(20181)
    )


@pytest.fixture
def a_small_budget(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The scheduled check looks at all counters at each run, and reads this many events at most."""
    monkeypatch.setenv("CHECK_PARTS", "1")
    monkeypatch.setenv("CHECK_EVENTS", "20")
    settings.current.cache_clear()
    yield 20
    monkeypatch.undo()
    settings.current.cache_clear()
