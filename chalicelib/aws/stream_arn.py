"""Find the ARN of the event log's stream for Chalice's command line. A deployed function does not need the ARN."""

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
    Return the ARN of the event log's stream: from the settings or, for Chalice's command line, from AWS.

    In a deployed function, whose event source exists already, the result is empty unless the settings contain the ARN.
    Requests to AWS use the profile that was passed to Chalice.

    Raises:
        click.ClickException: AWS does not return the ARN, the stage is not provisioned or this checkout lacks its
            policies, `chalice deploy` would take over the functions of a stack, or the settings would lose increments
            or count them twice. Chalice prints the message, which is one line and states the fix.
    """
    if os.environ.get("AWS_CHALICE_CLI_MODE") != "true":
        return settings.event_log_stream_arn
    import click  # noqa: PLC0415  (not installed in a function)

    chalice = click.get_current_context(silent=True)
    command, profile = (chalice.info_name, chalice.params.get("profile")) if chalice else (None, None)
    if settings.event_log_stream_arn and command != "deploy":
        return settings.event_log_stream_arn
    if settings.partial_batch_responses and command == "deploy":
        raise click.ClickException(
            "Remove PARTIAL_BATCH_RESPONSES from .chalice/config.json: the event source that `chalice deploy` creates "
            "ignores partial batch responses, so uncounted messages would be deleted."
        )
    arn = _check_stage(settings, command, profile)
    return settings.event_log_stream_arn or arn


def _check_stage(settings: Settings, command: str | None, profile: str | None) -> str:
    """Check that Chalice may run `command` on this stage. Return the ARN of the stage's stream."""
    import boto3  # noqa: PLC0415  (not used in a function)
    import click  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    stage = settings.stage
    provision = f"run `python -m ops provision --stage {stage}`"
    try:
        session = boto3.Session(profile_name=profile)
        if command == "deploy" and (stack := find_stack(session.client("lambda"), stage)):
            raise click.ClickException(
                f"Stage {stage} was deployed as stack {stack}: continue with `python -m ops deploy --stage {stage}`, "
                f"or run `python -m ops destroy --stage {stage}` first, which keeps the data."
            )
        table = session.client("dynamodb").describe_table(TableName=settings.event_log_table)["Table"]
        shards = _find_shards(session.client("cloudformation"), f"counter-{stage}-data")
    except (BotoCoreError, ClientError) as error:
        if isinstance(error, ClientError) and error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise click.ClickException(
                f"Stage {stage} is not provisioned in {session.region_name}: {provision} first, or check your region."
            ) from error
        raise click.ClickException(
            f"Cannot find the stream of {settings.event_log_table}: check your credentials and region. "
            f"({' '.join(str(error).split())})"
        ) from error
    if shards not in (None, str(settings.shards)):
        raise click.ClickException(
            f"Stage {stage} was provisioned with SHARDS={shards}, but .chalice/config.json has "
            f"SHARDS={settings.shards}: restore SHARDS={shards}. With another number, retries would be counted twice."
        )
    if command in ("deploy", "package") and not Path(".chalice", "policies", stage).is_dir():
        raise click.ClickException(
            f"This checkout lacks the policies of stage {stage}: {provision}, which is safe to repeat."
        )
    return table["LatestStreamArn"]


def _find_shards(client: CloudFormationClient, stack: str) -> str | None:
    """Return the value of SHARDS with which `provision` created the stage, or None if the stack does not exist."""
    try:
        outputs = client.describe_stacks(StackName=stack)["Stacks"][0].get("Outputs", [])
    except client.exceptions.ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return next((output["OutputValue"] for output in outputs if output["OutputKey"] == "Shards"), None)


def find_stack(client: LambdaClient, stage: str) -> str | None:
    """
    Return the name of the stack that owns the stage's functions.

    The result is empty if no stack owns them, and None if they do not exist.

    Raises:
        click.ClickException: the credentials do not permit reading the functions' tags, which name the stack.
    """
    import click  # noqa: PLC0415

    try:
        tags = client.get_function(FunctionName=f"counter-{stage}").get("Tags")
    except client.exceptions.ResourceNotFoundException:
        return None
    if tags is None:  # every deployment sets tags
        raise click.ClickException(
            "Your credentials lack lambda:ListTags, which is required to find the stack that owns the functions."
        )
    return tags.get("aws:cloudformation:stack-name", "")
