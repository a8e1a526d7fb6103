"""Destroy: the application of a stage is taken down; and its data, for whoever says so twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3

from ops import target
from ops.cli.result import Outcome
from ops.deployment import deploy, provision, site, stacks

if TYPE_CHECKING:
    from chalicelib.settings import Settings

_TABLE, _BUCKET = "AWS::DynamoDB::Table", "AWS::S3::Bucket"


def listed(settings: Settings, *, data: bool) -> Outcome:
    """
    What would be removed, and nothing is.

    Raises:
        OperatorError: the application was deployed by `chalice deploy`.
    """
    deploy.check_not_by_chalice(settings.stage)
    found = _found(settings, data=data)
    facts = {"dry_run": True, "removed": [{"type": kind, "name": name} for kind, name in found]}
    head = f"Of stage {settings.stage} in {target.place()} would be removed:"
    lines = [head, *(f"  {kind} {name}" for kind, name in found)]
    return Outcome(facts, lines if found else [_nothing(settings, data=data)])


def is_there(settings: Settings, *, data: bool) -> bool:
    """
    Whether there is anything to remove.

    Raises:
        OperatorError: the application was deployed by `chalice deploy`.
    """
    deploy.check_not_by_chalice(settings.stage)
    if stacks.exists(deploy.stack_name(settings.stage)):
        return True
    return data and (stacks.exists(provision.stack_name(settings.stage)) or provision.has_log(settings))


def destroy(settings: Settings, *, data: bool) -> Outcome:
    """
    The stage has no application; with `data`, it has no data either. Safe to repeat.

    The application goes first, for it needs the data; the event log goes last, when all else is gone.

    Raises:
        OperatorError: CloudFormation refuses. What is removed by then stays removed, and the same again goes on.
    """
    application, storage = deploy.stack_name(settings.stage), provision.stack_name(settings.stage)
    removed = [application] if stacks.delete(application) else []
    if data:
        for name in (name for kind, name in stacks.resources(storage) if kind == _BUCKET):
            site.empty(name)
        removed += [storage] if stacks.delete(storage) else []
        removed += [settings.event_log_table] if _delete_log(settings) else []
    left = [] if data or not stacks.exists(storage) else [storage]
    lines = [f"Removed: {', '.join(removed)}." if removed else _nothing(settings, data=data)]
    if left:
        lines.append(f"Left: {storage}, with all events, counters and queues.")
    if settings.event_log_table in removed:
        lines.append("A real account keeps a last backup of the event log for 35 days, from which it can be restored.")
    return Outcome({"removed": removed, "left": left}, lines)


def _found(settings: Settings, *, data: bool) -> list[tuple[str, str]]:
    found = stacks.resources(deploy.stack_name(settings.stage))
    if data:
        found += stacks.resources(provision.stack_name(settings.stage))
        log = (_TABLE, settings.event_log_table)
        found += [log] if log not in found and provision.has_log(settings) else []
    return found


def _nothing(settings: Settings, *, data: bool) -> str:
    return (
        f"There is nothing to remove: stage {settings.stage} has no application{' and no data' if data else ''} here."
    )


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
