"""The pipeline on tables and queues of the embedded AWS."""

from __future__ import annotations

import random

import pytest

from tests.harness import Pipeline


@pytest.fixture
def pipeline(stage: dict[str, str]) -> Pipeline:
    """The pipeline, empty, and a counter of its own."""
    return Pipeline(
        stage["ProjectionQueueUrl"], stage["DeadLetterQueueUrl"], stage["EventLogStreamArn"], random.Random(20181)
    )
