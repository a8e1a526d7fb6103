"""Provision a stage with several projections that the project does not have, switch one off, and remove the stage."""

import io
import zipfile
from dataclasses import replace

import boto3
import pytest

from chalicelib import settings
from chalicelib.projections import PROJECTIONS, Projection, Table
from ops.deployment import destroy, provision, stacks

STAGE = "with-more"

MORE = tuple(
    Projection(
        name,
        name,
        f"extras.{name}",
        setting=name.upper(),
        tables=(Table(name, keys={"day": "S"}, actions={"project": ("PutItem",)}),),
    )
    for name in ("days", "places", "people")
)


@pytest.fixture
def stage_with_more(place, monkeypatch):
    """Return the settings of a stage with three additional projections."""
    for module in (settings, provision, destroy):
        monkeypatch.setattr(module, "PROJECTIONS", (*PROJECTIONS, *MORE))
    return replace(settings.read({"STAGE": STAGE, "COUNTERS": "*"}), switches=frozenset(more.setting for more in MORE))


def list_queues():
    urls = boto3.client("sqs").list_queues(QueueNamePrefix=f"counter-{STAGE}-").get("QueueUrls", [])
    return {url.rpartition("/")[2] for url in urls}


def count_access_logs():
    groups = boto3.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/apigateway/counter-{STAGE}")
    return len(groups["logGroups"])


def list_tables():
    pages = boto3.client("dynamodb").get_paginator("list_tables").paginate()
    return {name for page in pages for name in page["TableNames"] if name.startswith(f"counter-{STAGE}-")}


def deploy_function(name):
    """Create a function with this name: while a projection's function exists, `publish` sends to its queue."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as package:
        package.writestr("app.py", "")
    role = boto3.client("iam").create_role(RoleName=f"counter-{STAGE}-{name}", AssumeRolePolicyDocument="{}")["Role"]
    boto3.client("lambda").create_function(
        FunctionName=f"counter-{STAGE}-{name}",
        Runtime="python3.11",
        Role=role["Arn"],
        Handler="app.main",
        Code={"ZipFile": code.getvalue()},
    )


@pytest.mark.exhaustive
def test_stage_gets_each_projection_that_is_on_and_loses_one_that_is_off(stage_with_more):
    provision.provision(replace(stage_with_more, access_log=1))
    assert count_access_logs() == 1
    queues = {queue(STAGE) for more in MORE for queue in (more.queue, more.dead_letter_queue)}
    tables = {f"counter-{STAGE}-{more.name}" for more in MORE}
    assert queues <= list_queues()
    assert tables <= list_tables()
    alarms = boto3.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"counter-{STAGE}-")["MetricAlarms"]
    assert f"counter-{STAGE}-project_people-errors" in {alarm["AlarmName"] for alarm in alarms}

    without_days = replace(stage_with_more, switches=stage_with_more.switches - {"DAYS"})
    deploy_function("project_days")
    assert f"counter-{STAGE}-days-projection (deployed" in provision.provision(without_days)["Kept"]
    assert queues <= list_queues()
    assert count_access_logs() == 0

    boto3.client("lambda").delete_function(FunctionName=f"counter-{STAGE}-project_days")
    assert "Kept" not in provision.provision(without_days)
    assert not any(name.startswith(f"counter-{STAGE}-days") for name in list_queues() | list_tables())
    assert tables - {f"counter-{STAGE}-days"} <= list_tables()

    stacks.delete(provision.stack_name(STAGE))
    assert destroy.has_resources(stage_with_more, data=True)
    kept = {provision.projection_stack_name(STAGE, more) for more in MORE[1:]}
    assert set(destroy.destroy(stage_with_more, data=False).facts["left"]) == kept

    removed = destroy.destroy(stage_with_more, data=True).facts["removed"]
    assert kept <= set(removed)
    assert (list_queues(), list_tables()) == (set(), set())
    assert not any(stacks.exists(provision.projection_stack_name(STAGE, more)) for more in MORE)
