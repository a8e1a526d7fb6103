"""Load and save the checkpoint of a scheduled job, which is kept between runs."""

from __future__ import annotations

import json
from typing import Any

from chalicelib.aws import dynamodb
from chalicelib.aws.tables import CheckpointItem
from chalicelib.errors import ReadModelUnavailableError


def load(job: str) -> dict[str, Any]:
    """
    Return the state that this job last saved, or an empty state if it is missing or unreadable.

    The call takes one read.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
    """
    try:
        item = dynamodb.find(CheckpointItem, f"#{job}", 0, ReadModelUnavailableError)
        state = json.loads(item.state) if item else {}
    except (ValueError, TypeError, RecursionError):
        return {}
    return state if isinstance(state, dict) else {}


def save(job: str, state: dict[str, Any]) -> None:
    """
    Replace the state that this job last saved. The call takes one write.

    Raises:
        ReadModelUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
    """
    with dynamodb.translate_errors(ReadModelUnavailableError):
        CheckpointItem(f"#{job}", 0, state=json.dumps(state)).save()
