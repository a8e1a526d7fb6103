"""What Chalice's command line must know of a stage. A deployed function needs none of it, and never asks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_lambda import LambdaClient

    from chalicelib.settings import Settings


def find_stream_arn(settings: Settings) -> str:
    """
    The stream of the stage's event log: as the settings have it, or else, for Chalice's command line, as AWS has it.

    Empty in a deployed function, whose event source is there. Asked with the profile that Chalice was given.

    Raises:
        click.ClickException: it cannot be found; or what else Chalice needs is missing, or `chalice deploy` would take
            over what a stack owns, or deploy settings with which increments are lost or doubled. Chalice's command line
            tells the message, one line with the way out.
    """
    if os.environ.get("AWS_CHALICE_CLI_MODE") != "true":
        return settings.event_log_stream_arn
    import click  # noqa: PLC0415  (a function lacks it)

    chalice = click.get_current_context(silent=True)
    command, profile = (chalice.info_name, chalice.params.get("profile")) if chalice else (None, None)
    if settings.event_log_stream_arn and command != "deploy":
        return settings.event_log_stream_arn
    if settings.partial_batch_responses and command == "deploy":
        raise click.ClickException(
            "Take PARTIAL_BATCH_RESPONSES out of .chalice/config.json: the event source that `chalice deploy` makes "
            "does not read them, so that messages which are not counted would be removed."
        )
    found = _found(settings, command, profile)
    return settings.event_log_stream_arn or found


def _found(settings: Settings, command: str | None, profile: str | None) -> str:
    import boto3  # noqa: PLC0415  (a function lacks click, and starts faster without the others)
    import click  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    stage = settings.stage
    provision = f"run `python -m ops provision --stage {stage}`"
    try:
        session = boto3.Session(profile_name=profile)
        if command == "deploy" and (stack := find_stack(session.client("lambda"), stage)):
            raise click.ClickException(
                f"Stage {stage} was deployed as stack {stack}: go on with `python -m ops deploy --stage {stage}`, "
                f"or run `python -m ops destroy --stage {stage}` first, which leaves the data."
            )
        table = session.client("dynamodb").describe_table(TableName=settings.event_log_table)["Table"]
        shards = _shards_of(session.client("cloudformation"), f"counter-{stage}-data")
    except (BotoCoreError, ClientError) as error:
        if isinstance(error, ClientError) and error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise click.ClickException(
                f"Stage {stage} is not provisioned in {session.region_name}: {provision} first, or look at your region."
            ) from error
        raise click.ClickException(
            f"AWS does not tell where the stream of {settings.event_log_table} is: look at your credentials and your "
            f"region. ({' '.join(str(error).split())})"
        ) from error
    if shards not in (None, str(settings.shards)):
        raise click.ClickException(
            f"Stage {stage} was made with SHARDS={shards}, and .chalice/config.json says SHARDS={settings.shards}: "
            f"keep SHARDS={shards}, for with another number idempotency keys would be forgotten."
        )
    if command in ("deploy", "package") and not Path(".chalice", "policies", stage).is_dir():
        raise click.ClickException(
            f"The policies of stage {stage} are not in this checkout: {provision}, which is safe to repeat."
        )
    return table["LatestStreamArn"]


def _shards_of(client: CloudFormationClient, stack: str) -> str | None:
    """What the stage was made with, if `provision` made it."""
    try:
        outputs = client.describe_stacks(StackName=stack)["Stacks"][0].get("Outputs", [])
    except client.exceptions.ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return next((output["OutputValue"] for output in outputs if output["OutputKey"] == "Shards"), None)


def find_stack(client: LambdaClient, stage: str) -> str | None:
    """
    The stack that the stage's functions belong to: empty, where they belong to none; None, where there are none.

    Raises:
        click.ClickException: they are there, and their tags, which tell it, may not be seen.
    """
    import click  # noqa: PLC0415

    try:
        tags = client.get_function(FunctionName=f"counter-{stage}").get("Tags")
    except client.exceptions.ResourceNotFoundException:
        return None
    if tags is None:  # both ways of deploying set some
        raise click.ClickException("Your credentials lack lambda:ListTags, by which a stack's functions are known.")
    return tags.get("aws:cloudformation:stack-name", "")
