"""Copy: bring the events of another stage's log into the stage's log, while clients use either of them."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chalicelib.aws import tables
from chalicelib.aws.tables import CatalogItem
from chalicelib.domain.events import have_same_content
from ops.maintenance import counters, missing_events, other_log
from ops.maintenance.missing_events import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_dynamodb import DynamoDBClient

    from chalicelib.settings import Settings
    from ops.cli.result import Outcome

#: The sets of the catalog that restrict or extend a stage's counters, and the actions that add to them.
_ACTIONS = {"added": "add", "closed": "close", "hidden": "hide"}

#: Closes all counters of a stage that moves. The other stage must stay open.
_ALL = "*"


def copy(settings: Settings, source: Settings, client: DynamoDBClient, rate: int, *, dry_run: bool) -> Outcome:
    """
    Append the events of the source's log that the stage's log lacks, at most `rate` events a second.

    `client` is in the source's account and region. An event that the log has is skipped, also if a client recorded it
    in both stages with its key. An event that differs from the recorded one is a problem, and so is one that cannot be
    read. If interrupted at any point, the next call finishes. With `dry_run`, read and report only. Memory use does not
    grow with the logs.

    Raises:
        OperatorError: both are the same log, or the source has none. Nothing is changed.
        LogUnavailableError, botocore.exceptions.ClientError: the next call finishes.
    """
    own: Any = tables.client()
    description = own.describe_table(TableName=settings.event_log_table)["Table"]
    log = other_log.open_log(client, source.event_log_table, description)
    result = Result()
    with other_log.Difference() as difference:
        number = difference.find(log, description.get("ItemCount", 0), result)
        candidates = difference.candidates(log, have_same_content)
        missing_events.append_missing(settings, candidates, result, rate, total=number, dry_run=dry_run)
    outcome = missing_events.to_outcome(settings, result, following="rebuild", dry_run=dry_run)
    advice = [*_compare_catalogs(settings, source, client)]
    facts = {**outcome.facts, "from": source.stage, "catalog": advice}
    lines = [*(outcome.lines or [])]
    if advice:
        lines += [f"The catalog of stage {source.stage} has entries that stage {settings.stage} lacks:", *advice]
    return replace(outcome, facts=facts, lines=lines)


def _compare_catalogs(settings: Settings, source: Settings, client: DynamoDBClient) -> Iterator[str]:
    """Yield the commands that add the source's entries to the stage's catalog."""
    item: Any = client.get_item(
        TableName=source.catalog_table, Key={"name": {"S": CatalogItem.KEY}}, ConsistentRead=True
    ).get("Item", {})
    catalog = counters.read()
    for name, action in _ACTIONS.items():
        entries = {*item.get(name, {}).get("SS", [])} - getattr(catalog, name).entries
        if name == "closed":
            entries.discard(_ALL)
        if entries:
            yield f"python -m ops counters {action} {shlex.join(sorted(entries))} --stage {settings.stage}"
