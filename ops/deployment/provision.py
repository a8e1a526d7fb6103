"""Provision a stage's stacks: its data, and each optional projection."""

import boto3

from chalicelib.projections import PROJECTIONS, Projection
from chalicelib.settings import Settings
from ops import stages
from ops.cli.errors import OperatorError
from ops.deployment import buckets, cdn, resources, site_files, stacks, template


def stack_name(stage: str) -> str:
    """Return the name of the stack with the stage's data."""
    return f"counter-{stage}-data"


def projection_stack_name(stage: str, projection: Projection) -> str:
    """Return the name of the stack with an optional projection's queues, tables and alarms."""
    return f"counter-{stage}-{projection.name}-projection"


def provision(settings: Settings) -> dict[str, str]:
    """
    Create or update the stage's data stack, and return its outputs. Safe to repeat.

    Each optional projection has a separate stack. If a projection is off, delete its stack, unless deployed functions
    use its queues. In that case, the output `Kept` names the stack, and `deploy` deletes it. The output `Restored`
    lists the resources that differed from their template, such as a table that was restored from a backup. With SQL,
    also create the database's tables and views, connecting with SQL_OWNER_URL if it is in the environment.
    """
    stages.check_counters(settings)
    cdn.check(settings)
    name = stack_name(settings.stage)
    before = stacks.find_outputs(name)
    if before:
        check_shards(settings, before)
    elif has_log(settings):
        raise OperatorError(
            f"Table {settings.event_log_table} exists without its stack {name}: deleting the stack keeps the table. To "
            "keep the events, import the table into a new stack (aws cloudformation create-change-set "
            "--change-set-type IMPORT). To delete the events: python -m ops destroy --stage "
            f"{settings.stage} --data."
        )
    bucket = site_bucket(settings)
    if before.get("SiteBucket") != bucket:
        _remove_kept_bucket(bucket)
    chosen = stages.read_template_parameters(settings.stage)
    chosen.pop("Certificate", None)  # a parameter of the CDN's stack
    if settings.cdn == "cloudfront":
        chosen["SiteReaders"] = "cloudfront"
    parameters = {
        **chosen,
        "Stage": settings.stage,
        "Shards": str(settings.shards),
        "AccessLog": str(settings.access_log),
        "Authorizer": str(int(settings.has_authorizer)),
        "RestApi": str(int("rest" in settings.front)),
        "SiteHost": site_files.parse_bucket_host(settings),
    }
    outputs = stacks.apply(name, template.render_data(), parameters, stage=settings.stage)
    for projection in settings.projections[1:]:
        _provision_projection(settings, projection, parameters.get("LogDays"), outputs.get("AlarmTopicArn", ""))
    if kept := remove_projections(settings):
        outputs["Kept"] = f"{', '.join(kept)} (deployed functions send to its queue; deploy deletes it)"
    if restored := resources.restore(settings):
        outputs["Restored"] = "; ".join(restored)
    if settings.sql_url:
        from chalicelib.extras.sql import read_model  # noqa: PLC0415  (imports SQLAlchemy, only if SQL is on)

        read_model.make_schema(stages.find_sql_url(settings))
    return outputs


def _provision_projection(settings: Settings, projection: Projection, log_days: str | None, topic: str) -> None:
    parameters = {
        "Stage": settings.stage,
        "Name": projection.name,
        "Title": projection.title,
        "Function": projection.function,
        "Prefix": projection.prefix,
        "AlarmTopic": topic,
        **({"LogDays": log_days} if log_days else {}),
    }
    name = projection_stack_name(settings.stage, projection)
    stacks.apply(name, template.render_projection(projection), parameters, stage=settings.stage)


def remove_projections(settings: Settings) -> list[str]:
    """
    Delete the stacks of optional projections that are off, and return the names of those that are kept.

    A stack is kept while the projection's function is deployed, because `publish` then sends to its queue.
    """
    kept = []
    for projection in PROJECTIONS[1:]:
        name = projection_stack_name(settings.stage, projection)
        if projection in settings.projections or not stacks.exists(name):
            continue
        if _has_function(settings.stage, projection):
            kept.append(name)
        else:
            stacks.delete(name)
    return kept


def _has_function(stage: str, projection: Projection) -> bool:
    client = boto3.client("lambda")
    try:
        client.get_function_configuration(FunctionName=f"counter-{stage}-{projection.function}")
    except client.exceptions.ResourceNotFoundException:
        return False
    return True


def site_bucket(settings: Settings) -> str:
    """Return the name of the site's bucket, as the template sets it."""
    if host := site_files.parse_bucket_host(settings):
        return host
    account = boto3.client("sts").get_caller_identity()["Account"]
    return f"counter-{settings.stage}-site-{account}-{boto3.Session().region_name}"


def _remove_kept_bucket(bucket: str) -> None:
    """Delete the empty bucket that `destroy` kept when it deleted the stack, so that a new stack can create it."""
    if holder := stacks.find_output("SiteBucket", bucket):
        raise OperatorError(f"Bucket {bucket} belongs to stack {holder}: ALLOWED_ORIGIN must name another host.")
    buckets.delete(
        bucket,
        f"Bucket {bucket} exists without its stack: remove its objects, and run provision again. If it is not "
        f"yours, change the DNS record of {bucket} first: the owner of the bucket can serve pages there.",
    )


def has_log(settings: Settings) -> bool:
    """Check whether the stage's event log exists, with or without its stack."""
    client = boto3.client("dynamodb")
    try:
        client.describe_table(TableName=settings.event_log_table)
    except client.exceptions.ResourceNotFoundException:
        return False
    return True


def check_log(settings: Settings) -> None:
    """Check that SHARDS matches the stage's log, so that events are found where they were written."""
    check_shards(settings, stacks.outputs(stack_name(settings.stage)))


def check_shards(settings: Settings, outputs: dict[str, str]) -> None:
    """Check that SHARDS is the number in the outputs of the stage's data stack."""
    shards = outputs.get("Shards", str(settings.shards))
    if shards != str(settings.shards):
        raise OperatorError(
            f"SHARDS of stage {settings.stage} must be {shards}, as at its creation, got {settings.shards}. Another "
            "number would lose idempotency keys, because it changes where events are looked up. For another number, "
            "create a new stage, and copy this stage's log to it."
        )
