"""The pipeline on tables and queues of the embedded AWS."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from chalicelib import settings
from chalicelib.projections import SQL
from tests import databases
from tests.databases import Database
from tests.environments import sql_environment
from tests.pipeline import Pipeline


@pytest.fixture
def pipeline(stage: dict[str, str]) -> Pipeline:
    """Return an empty pipeline with its own counter."""
    return Pipeline(
        stage["ProjectionQueueUrl"], stage["DeadLetterQueueUrl"], stage["EventLogStreamArn"], random.Random(20181)
    )


#: The names of the key attributes of the log, the archive and the counters' table.
KEYS = {"partition", "event_id", "end", "counter_id", "part"}


@pytest.fixture
def put_until_end(stage: dict[str, str]) -> Iterator[Callable[[str, Iterable[dict[str, Any]]], None]]:
    """Put items into a table, and delete them after the test, so that later scans of the stage stay quick."""
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


@dataclass
class Second:
    """The second projection: its queues, whose messages only the test receives, and its database."""

    pipeline: Pipeline
    database: Database
    queue_url: str
    dead_letter_url: str

    def published(self) -> list[str]:
        """Take all messages from the projection's queue and return their bodies."""
        return [message["Body"] for message in self.pipeline.drain(self.queue_url)]

    def parked(self) -> list[dict[str, Any]]:
        """Take all messages from the projection's dead-letter queue."""
        return self.pipeline.drain(self.dead_letter_url)


@pytest.fixture
def second(pipeline: Pipeline, tmp_path: Path) -> Iterator[Second]:
    """Turn SQL on, with an empty database in a file and empty queues."""
    from chalicelib.extras.sql import read_model

    database = databases.sqlite_database(tmp_path / "read-model.sqlite")
    read_model.make_schema(database.url)
    with sql_environment(database.url):
        sqs, names = boto3.client("sqs"), settings.current()
        urls = [
            sqs.create_queue(QueueName=name, Attributes={"MaximumMessageSize": "196608"})["QueueUrl"]
            for name in (SQL.queue(names.stage), SQL.dead_letter_queue(names.stage))
        ]
        projection = Second(pipeline, database, *urls)
        projection.published()
        projection.parked()
        yield projection
