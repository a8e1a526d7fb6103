"""What is known of a stage without reading all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3

from chalicelib import event_log
from chalicelib.read_model import store
from ops.cli.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def about_how_many(table: str) -> int:
    """The number of a table's items as DynamoDB last counted them, which it does every six hours."""
    return boto3.client("dynamodb").describe_table(TableName=table)["Table"]["ItemCount"]


def check_counters(counter_ids: Iterable[str], is_elsewhere: Callable[[str], bool] = lambda _: False) -> None:
    """
    Each of these counters has an event in the log, or a state in the read model, or is somewhere else.

    Raises:
        OperatorError: one is nowhere. It is probably misspelt.
    """
    for counter_id in counter_ids:
        is_known = next(event_log.scan_counter(counter_id), None) is not None or store.query_parts(counter_id)
        if not is_known and not is_elsewhere(counter_id):
            raise OperatorError(f"There is no counter {counter_id} on this stage: names are case-sensitive.")
