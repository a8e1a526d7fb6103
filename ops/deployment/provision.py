"""Provision: the tables, queues and buckets of a stage, and what watches it, from the one template."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3

from ops import sql_url, stages
from ops.cli.errors import OperatorError
from ops.deployment import site_files, stacks

if TYPE_CHECKING:
    from chalicelib.settings import Settings

_TEMPLATE = stages.PROJECT / "infrastructure" / "template.yaml"


def stack_name(stage: str) -> str:
    """The stack that holds the stage's data."""
    return f"counter-{stage}-data"


def provision(settings: Settings) -> dict[str, str]:
    """
    The stage's tables, queues, buckets, logs, alarms and dashboard are there. Returns the stack's outputs.

    Where SQL is on, so are the database's tables and views, made by who connects with SQL_OWNER_URL, if that is in the
    environment. Safe to repeat.

    Raises:
        OperatorError: CloudFormation refuses, the configuration is malformed, the number of shards is not the one that
            the log was made with, or the log is there without its stack.
        ReadModelUnavailableError: the database refuses or does not answer.
    """
    name = stack_name(settings.stage)
    if stacks.exists(name):
        check_shards(settings, stacks.outputs(name))
    elif has_log(settings):
        raise OperatorError(
            f"The table {settings.event_log_table} is there, and stack {name}, which leaves it when it is deleted, is "
            "not. To keep its events, take it into the stack anew (aws cloudformation create-change-set "
            f"--change-set-type IMPORT). Only to lose them: python -m ops destroy --stage {settings.stage} --data."
        )
    parameters = {
        **stages.template_parameters_of(settings.stage),
        "Stage": settings.stage,
        "Shards": str(settings.shards),
        "SiteHost": site_files.host_of(settings.allowed_origin),
        "Sql": "on" if settings.sql_url else "off",
    }
    outputs = stacks.apply(name, _TEMPLATE.read_text(encoding="utf-8"), parameters, stage=settings.stage)
    if settings.sql_url:
        from chalicelib.extras.sql import read_model  # noqa: PLC0415  (nothing of it is loaded where SQL is off)

        read_model.make_schema(sql_url.address(settings))
    return outputs


def has_log(settings: Settings) -> bool:
    """Whether the stage's event log is there, with or without its stack."""
    client = boto3.client("dynamodb")
    try:
        client.describe_table(TableName=settings.event_log_table)
    except client.exceptions.ResourceNotFoundException:
        return False
    return True


def check_log(settings: Settings) -> None:
    """
    The stage's log lies where these settings look for it.

    Raises:
        OperatorError: there is no such stage, or it was made with another number of shards.
    """
    check_shards(settings, stacks.outputs(stack_name(settings.stage)))


def check_shards(settings: Settings, outputs: dict[str, str]) -> None:
    """
    The number of shards is the one that the stage, whose outputs these are, was made with.

    Raises:
        OperatorError: it is another. With it, the log would be looked up in other places than it was written to.
    """
    shards = outputs.get("Shards", str(settings.shards))
    if shards != str(settings.shards):
        raise OperatorError(
            f"Stage {settings.stage} was made with SHARDS={shards}, and now SHARDS={settings.shards} is asked for. "
            "An event's place in the log depends on it, so idempotency keys would be forgotten: keep "
            f"SHARDS={shards}, or begin a new stage."
        )
