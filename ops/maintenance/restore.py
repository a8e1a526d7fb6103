"""Restore: bring the events of a table that AWS restored back into the stage's log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.aws import tables
from chalicelib.domain.events import have_same_content
from ops.cli.errors import OperatorError
from ops.maintenance import missing_events, other_log
from ops.maintenance.missing_events import Result

if TYPE_CHECKING:
    from chalicelib.domain.events import Event
    from chalicelib.settings import Settings
    from ops.cli.result import Outcome


def restore(settings: Settings, table: str, rate: int, *, dry_run: bool) -> Outcome:
    """
    Append the events of the restored table that the stage's log lacks, at most `rate` events a second.

    An event that the log has is skipped, also if a client recorded it again with its key since. An event that differs
    from the recorded one is a problem, and so is one that cannot be read. If interrupted at any point, the next call
    finishes. With `dry_run`, read and report only. Memory use does not grow with the logs.

    Raises:
        OperatorError: the table is not a log of this stage, or not ready. Nothing is changed.
        LogUnavailableError, botocore.exceptions.ClientError: the next call finishes.
    """
    client: Any = tables.client()
    own: Any = client.describe_table(TableName=settings.event_log_table)["Table"]
    log = other_log.open_log(client, table, own)
    _check_source(log.description, settings.event_log_table)
    result = Result()
    with other_log.Difference() as difference:
        number = difference.find(log, own.get("ItemCount", 0), result)
        candidates = difference.candidates(log, _is_restored)
        missing_events.append_missing(settings, candidates, result, rate, total=number, dry_run=dry_run)
    return missing_events.to_outcome(settings, result, following="rebuild", dry_run=dry_run)


def _is_restored(recorded: Event, restored: Event) -> bool:
    """Check whether the log has the restored event, or the same increment, recorded again by a retry since."""
    return recorded == restored or (
        have_same_content(recorded, restored) and recorded.recorded_at_ms >= restored.recorded_at_ms
    )


def _check_source(restored: dict[str, Any], own_table: str) -> None:
    """Check that AWS restored the table from the stage's log, or from a table that is named after it."""
    name = restored["TableName"]
    source = restored.get("RestoreSummary", {}).get("SourceTableArn", name).rpartition("/")[2]
    if source != own_table and not source.startswith(f"{own_table}-"):
        raise OperatorError(
            f"Table {name} must be restored from {own_table}, or from a table whose name begins so, got {source}. To "
            "append the events of another stage, use `python -m ops copy`."
        )
