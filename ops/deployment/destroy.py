"""Destroy: remove a stage's application and, on request, its data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3

from chalicelib.projections import PROJECTIONS
from ops import target
from ops.cli.result import Outcome
from ops.deployment import deploy, provision, site, stacks

if TYPE_CHECKING:
    from chalicelib.settings import Settings

_TABLE, _BUCKET = "AWS::DynamoDB::Table", "AWS::S3::Bucket"


def preview(settings: Settings, *, data: bool) -> Outcome:
    """
    List what `destroy` would remove.

    Raises:
        OperatorError: `chalice deploy` deployed the application.
    """
    deploy.check_not_deployed_by_chalice(settings.stage)
    resources = _list_resources(settings, data=data)
    facts = {"dry_run": True, "removed": [{"type": kind, "name": name} for kind, name in resources]}
    head = f"Would be removed from stage {settings.stage} in {target.describe()}:"
    lines = [head, *(f"  {kind} {name}" for kind, name in resources)]
    return Outcome(facts, lines if resources else [_nothing_to_remove(settings, data=data)])


def has_resources(settings: Settings, *, data: bool) -> bool:
    """
    Check whether there is anything to remove.

    Raises:
        OperatorError: `chalice deploy` deployed the application.
    """
    deploy.check_not_deployed_by_chalice(settings.stage)
    if stacks.exists(deploy.stack_name(settings.stage)):
        return True
    return data and (any(map(stacks.exists, _storage_stacks(settings))) or provision.has_log(settings))


def destroy(settings: Settings, *, data: bool) -> Outcome:
    """
    Remove the stage's application and, with `data`, its data. Safe to repeat.

    The application is removed first because it needs the data. The event log is removed last.

    Raises:
        OperatorError: CloudFormation refuses. Removed resources stay removed; a repeated call continues.
    """
    application, storage = deploy.stack_name(settings.stage), _storage_stacks(settings)
    removed = [application] if stacks.delete(application) else []
    if data:
        for name in (name for kind, name in _list_resources(settings, data=True) if kind == _BUCKET):
            site.empty(name)
        removed += [name for name in storage if stacks.delete(name)]
        removed += [settings.event_log_table] if _delete_log(settings) else []
    kept = [] if data else [name for name in storage if stacks.exists(name)]
    lines = [f"Removed: {', '.join(removed)}." if removed else _nothing_to_remove(settings, data=data)]
    if kept:
        lines.append(f"Kept: {', '.join(kept)}, with all events, counters and queues.")
    if settings.event_log_table in removed:
        lines.append("AWS keeps a last backup of the event log for 35 days. It can be restored from that.")
    return Outcome({"removed": removed, "left": kept}, lines)


def _storage_stacks(settings: Settings) -> list[str]:
    """Return the names of the stacks with the stage's data, the log's stack last."""
    optional = [provision.projection_stack_name(settings.stage, projection) for projection in PROJECTIONS[1:]]
    return [*optional, provision.stack_name(settings.stage)]


def _list_resources(settings: Settings, *, data: bool) -> list[tuple[str, str]]:
    resources = stacks.resources(deploy.stack_name(settings.stage))
    if data:
        resources += [resource for name in _storage_stacks(settings) for resource in stacks.resources(name)]
        log = (_TABLE, settings.event_log_table)
        resources += [log] if log not in resources and provision.has_log(settings) else []
    return resources


def _nothing_to_remove(settings: Settings, *, data: bool) -> str:
    return f"Nothing to remove: stage {settings.stage} has no application{' and no data' if data else ''} here."


def _delete_log(settings: Settings) -> bool:
    if not provision.has_log(settings):
        return False
    client = boto3.client("dynamodb")
    table = settings.event_log_table
    if client.describe_table(TableName=table)["Table"].get("DeletionProtectionEnabled"):
        client.update_table(TableName=table, DeletionProtectionEnabled=False)
        client.get_waiter("table_exists").wait(TableName=table)
    client.delete_table(TableName=table)
    client.get_waiter("table_not_exists").wait(TableName=table)
    return True
