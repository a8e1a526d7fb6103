"""Look up table sizes and counters without reading whole tables."""

from collections.abc import Callable, Iterable

import boto3

from chalicelib import log_reader
from chalicelib.read_model import store
from ops.cli.errors import OperatorError


def approximate_item_count(*tables: str) -> int:
    """Return the approximate number of items in these tables. DynamoDB updates this number about every six hours."""
    client = boto3.client("dynamodb")
    return sum(client.describe_table(TableName=table)["Table"]["ItemCount"] for table in tables)


def table_ids(*tables: str) -> dict[str, str]:
    """Return the id of each of these tables. A table that is created again has a new id."""
    client = boto3.client("dynamodb")
    return {table: client.describe_table(TableName=table)["Table"]["TableId"] for table in tables}


def check_counters(counter_ids: Iterable[str], is_elsewhere: Callable[[str], bool] = lambda _: False) -> None:
    """Check that each counter has an event in the log or an item in the read model, or that `is_elsewhere` finds it."""
    for counter_id in counter_ids:
        is_known = next(log_reader.scan_counter(counter_id), None) is not None or store.query_part_items(counter_id)
        if not is_known and not is_elsewhere(counter_id):
            raise OperatorError(f"No such counter: {counter_id}. Names are case-sensitive.")
