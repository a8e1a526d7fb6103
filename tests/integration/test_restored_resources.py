"""Tables and queues that were restored, deleted or changed outside CloudFormation, which does not notice."""

import json
import uuid

import boto3
import pytest

from chalicelib import settings
from ops.cli.errors import OperatorError
from ops.deployment import provision, resources


@pytest.fixture(scope="module")
def stage(place):
    """Provision a separate stage whose event log is protected, and return its settings."""
    made = settings.read({"STAGE": f"lost-{uuid.uuid4().hex[:8]}", "COUNTERS": "*"})
    provision.provision(made)
    return made


def replace_table(name, **changes):
    """Replace a table with one that has its keys but, like a restored table, none of its settings."""
    client = boto3.client("dynamodb")
    table = client.describe_table(TableName=name)["Table"]
    delete_table(name)
    kept = {key: table[key] for key in ("KeySchema", "AttributeDefinitions")}
    client.create_table(**{"TableName": name, "BillingMode": "PAY_PER_REQUEST", **kept, **changes})


def delete_table(name):
    client = boto3.client("dynamodb")
    client.update_table(TableName=name, DeletionProtectionEnabled=False)
    client.delete_table(TableName=name)


def describe(name):
    client = boto3.client("dynamodb")
    table = client.describe_table(TableName=name)["Table"]
    backups = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    return (
        table.get("StreamSpecification", {}).get("StreamViewType"),
        backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"],
        table["DeletionProtectionEnabled"],
        table["BillingModeSummary"]["BillingMode"],
    )


def url_of(queue):
    return boto3.client("sqs").get_queue_url(QueueName=queue)["QueueUrl"]


def attributes_of(queue):
    found = boto3.client("sqs").get_queue_attributes(QueueUrl=url_of(queue), AttributeNames=["All"])["Attributes"]
    numbers = [found.get(key) for key in ("VisibilityTimeout", "MaximumMessageSize", "MessageRetentionPeriod")]
    return [*numbers, json.loads(found.get("RedrivePolicy", "{}"))]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
            "BillingMode": "PROVISIONED",
            "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
        },
    ],
)
def test_provision_restores_stream_backups_and_protection_of_the_log(stage, changes):
    before = describe(stage.event_log_table)
    replace_table(stage.event_log_table, **changes)

    with pytest.raises(OperatorError, match=r"has no deletion protection.*Run provision first"):
        resources.check(stage)
    restored = provision.provision(stage)["Restored"]

    assert describe(stage.event_log_table) == before == ("NEW_IMAGE", "ENABLED", True, "PAY_PER_REQUEST")
    for lost in ("no stream (run deploy and rebuild)", "no deletion protection", "no point-in-time recovery"):
        assert f"{stage.event_log_table} has {lost}" in restored
    resources.check(stage)
    assert "Restored" not in provision.provision(stage)


def test_lost_tables_and_queues_are_created_again(stage):
    queues = [f"counter-{stage.stage}-projection{suffix}" for suffix in ("", "-dead-letter")]
    before = [attributes_of(name) for name in queues]
    for name in queues:
        boto3.client("sqs").delete_queue(QueueUrl=url_of(name))
    delete_table(stage.counters_table)

    restored = resources.restore(stage)

    assert [attributes_of(name) for name in queues] == before
    assert boto3.client("dynamodb").scan(TableName=stage.counters_table)["Items"] == []
    assert {f"{name} does not exist (run rebuild)" for name in (*queues, stage.counters_table)} <= {*restored}
    assert resources.restore(stage) == []


@pytest.mark.parametrize("attributes", [{"VisibilityTimeout": "5"}, {"RedrivePolicy": ""}])
def test_changed_attributes_of_a_queue_are_restored(stage, attributes):
    queue = f"counter-{stage.stage}-projection"
    before = attributes_of(queue)
    boto3.client("sqs").set_queue_attributes(QueueUrl=url_of(queue), Attributes=attributes)
    assert attributes_of(queue) != before

    assert resources.restore(stage) == [f"{queue} has changed attributes"]
    assert attributes_of(queue) == before


def test_lost_catalog_is_not_replaced_by_an_empty_one(stage):
    """An empty one would open closed counters and show hidden ones."""
    replace_table(stage.catalog_table)
    assert f"{stage.catalog_table} has no point-in-time recovery" in resources.restore(stage)
    delete_table(stage.catalog_table)

    with pytest.raises(OperatorError, match=rf"{stage.catalog_table} does not exist. Run provision first"):
        resources.check(stage)
    with pytest.raises(OperatorError, match=rf"{stage.catalog_table} does not exist.*Restore it from a backup"):
        provision.provision(stage)
    boto3.client("dynamodb").create_table(
        TableName=stage.catalog_table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
    )
    provision.provision(stage)
    resources.check(stage)


def test_stage_without_its_log_is_refused(stage):
    replace_table(stage.event_log_table)
    delete_table(stage.event_log_table)

    with pytest.raises(OperatorError, match=rf"{stage.event_log_table} does not exist.*Restore it from a backup"):
        provision.provision(stage)


def test_log_with_other_keys_is_refused(place):
    other = settings.read({"STAGE": f"lost-{uuid.uuid4().hex[:8]}", "COUNTERS": "*"})
    boto3.client("dynamodb").create_table(
        TableName=other.event_log_table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "partition", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "partition", "AttributeType": "S"}],
    )

    with pytest.raises(OperatorError, match=rf"{other.event_log_table} must have the key"):
        resources.restore(other)
