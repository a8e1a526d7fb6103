"""The pipeline on tables and queues of the embedded AWS."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from chalicelib import settings
from tests.harness import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@pytest.fixture
def pipeline(stage: dict[str, str]) -> Pipeline:
    """The pipeline, empty, and a counter of its own."""
    return Pipeline(
        stage["ProjectionQueueUrl"], stage["DeadLetterQueueUrl"], stage["EventLogStreamArn"], random.Random(20181)
    )


#: Of the log and of the buckets.
KEYS = {"partition", "second", "event_id"}


@pytest.fixture
def put_for_now(stage: dict[str, str]) -> Iterator[Callable[[str, Iterable[dict[str, Any]]], None]]:
    """Puts items into a table until the test ends: so many would hold up whatever reads all of the stage later."""
    keys: dict[str, list[dict[str, Any]]] = {}

    def put(table: str, items: Iterable[dict[str, Any]]) -> None:
        with boto3.resource("dynamodb").Table(table).batch_writer() as batch:
            for item in items:
                batch.put_item(Item=item)
                keys.setdefault(table, []).append({name: item[name] for name in item.keys() & KEYS})

    yield put
    for table, put_there in keys.items():
        with boto3.resource("dynamodb").Table(table).batch_writer() as batch:
            for key in put_there:
                batch.delete_item(Key=key)


@pytest.fixture
def a_small_budget(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The scheduled check looks at all counters at each run, and reads this many events at most."""
    monkeypatch.setenv("CHECK_PARTS", "1")
    monkeypatch.setenv("CHECK_EVENTS", "20")
    settings.current.cache_clear()
    yield 20
    monkeypatch.undo()
    settings.current.cache_clear()
