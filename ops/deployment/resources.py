"""
Compare a stage's tables and queues with its templates, and correct the differences.

CloudFormation compares a template with the previous template, not with the resources. A table that was restored from a
backup therefore stays unchanged when its stack is applied again, and a deleted queue stays deleted.
"""

import json
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import boto3
from samtranslator.yaml_helper import yaml_parse

from chalicelib.settings import Settings
from ops import stages
from ops.cli.errors import OperatorError
from ops.deployment import template

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_NO_STREAM = {"StreamEnabled": False}

#: The attributes of queues that are compared. SQS returns numbers as text.
_QUEUE_ATTRIBUTES = ("VisibilityTimeout", "MessageRetentionPeriod", "MaximumMessageSize")


class Difference(NamedTuple):
    """A difference between a resource and its template, and the call that restores the resource."""

    text: str
    restore: Callable[[], object]


def restore(settings: Settings) -> list[str]:
    """
    Restore the stage's tables and queues to their templates, and return the differences. Safe to repeat.

    Restore streams, point-in-time recovery, deletion protection, on-demand billing and attributes of queues. Create
    deleted queues and deleted tables of read models again, without their data.
    """
    found: dict[str, None] = {}
    for _ in range(2):  # the second pass also compares resources that the first pass created
        for difference in _compare(settings):
            found[difference.text] = None
            difference.restore()
    return list(found)


def check(settings: Settings) -> None:
    """Check that the stage's tables and queues match their templates."""
    if differences := [difference.text for difference in _compare(settings)]:
        raise OperatorError(
            f"Stage {settings.stage} differs from its template: {', '.join(differences)}. Run provision first, which "
            "restores it."
        )


def find_stream_arn(settings: Settings) -> str:
    """Return the ARN of the event log's stream. After a restore of the table, its stack still exports the old ARN."""
    return boto3.client("dynamodb").describe_table(TableName=settings.event_log_table)["Table"]["LatestStreamArn"]


def _compare(settings: Settings) -> Iterator[Difference]:
    yield from _compare_resources(template.render_data(), {"Stage": settings.stage})
    for projection in settings.projections[1:]:
        names = {"Stage": settings.stage, "Name": projection.name}
        yield from _compare_resources(template.render_projection(projection), names)


def _compare_resources(body: str, names: dict[str, str]) -> Iterator[Difference]:
    resources = _parse_resources(body)
    for resource in resources.values():
        if resource["Type"] == "AWS::DynamoDB::Table":
            yield from _compare_table(resource, names)
        elif resource["Type"] == "AWS::SQS::Queue":
            yield from _compare_queue(resource["Properties"], names, resources)


@cache
def _parse_resources(body: str) -> dict[str, Any]:
    """Return the resources of a template. Parsing is slow, and each template is compared repeatedly."""
    resources: dict[str, Any] = yaml_parse(body)["Resources"]
    return resources


def _compare_table(resource: dict[str, Any], names: dict[str, str]) -> Iterator[Difference]:
    client = boto3.client("dynamodb")
    wanted = resource["Properties"]
    name = _resolve(wanted["TableName"], names)
    keys = {key: wanted[key] for key in ("KeySchema", "AttributeDefinitions")}
    try:
        table: Any = client.describe_table(TableName=name)["Table"]
    except client.exceptions.ResourceNotFoundException:
        if resource["DeletionPolicy"] == "Retain":
            _require_backup(name)
        if "PointInTimeRecoverySpecification" in wanted:  # provision adds this table to a stack of an earlier version
            yield Difference(f"{name} does not exist", partial(_require_backup, name))
            return
        tags = [{"Key": "application", "Value": "counter"}, {"Key": "stage", "Value": names["Stage"]}]
        parameters = {"TableName": name, "BillingMode": wanted["BillingMode"], "Tags": tags, **keys}
        yield Difference(f"{name} does not exist (run rebuild)", partial(_create_table, client, parameters))
        return
    if not has_key(table, wanted):
        raise OperatorError(
            f"Table {name} must have the key {keys['KeySchema']}, got {table['KeySchema']} and "
            f"{table['AttributeDefinitions']}: restore the right table, and run provision again."
        )
    update = partial(update_table, client, name)
    if table.get("BillingModeSummary", {}).get("BillingMode") != wanted["BillingMode"]:
        yield Difference(f"{name} has no on-demand billing", partial(update, BillingMode=wanted["BillingMode"]))
    if (view := wanted.get("StreamSpecification", {}).get("StreamViewType")) and not has_images(table, view):
        if table.get("StreamSpecification", {}).get("StreamEnabled"):  # DynamoDB cannot change the view of a stream
            yield Difference(f"{name} has a stream without images", partial(update, StreamSpecification=_NO_STREAM))
        enabled = {"StreamEnabled": True, "StreamViewType": view}
        yield Difference(f"{name} has no stream (run deploy and rebuild)", partial(update, StreamSpecification=enabled))
    if _resolve(wanted.get("DeletionProtectionEnabled", False), names) and not table.get("DeletionProtectionEnabled"):
        yield Difference(f"{name} has no deletion protection", partial(update, DeletionProtectionEnabled=True))
    if "PointInTimeRecoverySpecification" in wanted and not _is_recoverable(client, name):
        enable = partial(
            client.update_continuous_backups,
            TableName=name,
            PointInTimeRecoverySpecification=wanted["PointInTimeRecoverySpecification"],
        )
        yield Difference(f"{name} has no point-in-time recovery", enable)


def _require_backup(name: str) -> NoReturn:
    raise OperatorError(
        f"Table {name} does not exist, although its stack does. Restore it from a backup under this name, and run "
        "provision again."
    )


def has_key(table: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Check whether a table has the wanted key. Additional attributes belong to indexes that the operator created."""
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    return _read_schema(table) == _read_schema(wanted) and all(
        types.get(each["AttributeName"]) == each["AttributeType"] for each in wanted["AttributeDefinitions"]
    )


def has_images(table: dict[str, Any], view: str) -> bool:
    """Check whether the table's stream has at least the images of this view. If not, the stream must be replaced."""
    return table.get("StreamSpecification", {}).get("StreamViewType") in (view, "NEW_AND_OLD_IMAGES")


def _read_schema(table: dict[str, Any]) -> dict[str, str]:
    return {each["AttributeName"]: each["KeyType"] for each in table["KeySchema"]}


def _create_table(client: "DynamoDBClient", parameters: Any) -> None:
    client.create_table(**parameters)
    client.get_waiter("table_exists").wait(TableName=parameters["TableName"])


def update_table(client: "DynamoDBClient", name: str, **change: Any) -> None:
    """Change the table, and wait until DynamoDB accepts another change."""
    client.update_table(TableName=name, **change)
    client.get_waiter("table_exists").wait(TableName=name)


def _is_recoverable(client: "DynamoDBClient", name: str) -> bool:
    backups: Any = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    return bool(backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") == "ENABLED")


def _compare_queue(wanted: dict[str, Any], names: dict[str, str], resources: dict[str, Any]) -> Iterator[Difference]:
    client: Any = boto3.client("sqs")
    name = _resolve(wanted["QueueName"], names)
    try:
        url = client.get_queue_url(QueueName=name)["QueueUrl"]
    except client.exceptions.QueueDoesNotExist:
        tags = {"application": "counter", "stage": names["Stage"]}
        yield Difference(
            f"{name} does not exist (run rebuild)", partial(client.create_queue, QueueName=name, tags=tags)
        )
        return
    current = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    attributes = {key: str(wanted[key]) for key in _QUEUE_ATTRIBUTES if key in wanted}
    differs = any(current.get(key) != value for key, value in attributes.items())
    if policy := wanted.get("RedrivePolicy"):
        dead_letters = resources[policy["deadLetterTargetArn"]["Fn::GetAtt"][0]]["Properties"]["QueueName"]
        arn = f"{current['QueueArn'].rpartition(':')[0]}:{_resolve(dead_letters, names)}"
        redrive = {"deadLetterTargetArn": arn, "maxReceiveCount": policy["maxReceiveCount"]}
        has = json.loads(current.get("RedrivePolicy", "{}"))
        differs |= any(str(has.get(key)) != str(value) for key, value in redrive.items())
        attributes["RedrivePolicy"] = json.dumps(redrive)
    if differs:
        change = partial(client.set_queue_attributes, QueueUrl=url, Attributes=attributes)
        yield Difference(f"{name} has changed attributes", change)


def _resolve(value: Any, names: dict[str, str]) -> Any:
    """Resolve `!Sub` with these names, and `!If` with the condition IsLocal. Tables and queues use only these."""
    if isinstance(value, dict) and "Fn::Sub" in value:
        text = value["Fn::Sub"]
        for name, replacement in names.items():
            text = text.replace(f"${{{name}}}", replacement)
        return text
    if isinstance(value, dict) and value.get("Fn::If", [None])[0] == "IsLocal":
        return value["Fn::If"][1 if names["Stage"] == stages.LOCAL_STAGE else 2]
    return value
