"""Remove the application after one confirmation, the data after two, and nothing else."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.e2e.conftest import copy_project, ops

pytestmark = pytest.mark.exhaustive

STAGE = "doomed"
APPLICATION, DATA = f"counter-{STAGE}-app", f"counter-{STAGE}-data"
LOG = f"counter-{STAGE}-event-log"


@dataclass(frozen=True)
class Step:
    """The output of a command, and the stage's resources after it."""

    process: subprocess.CompletedProcess[str]
    stacks: set[str]
    functions: set[str]
    tables: set[str]
    events: int
    buckets: set[str]

    @property
    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.process.stdout)
        return found


def step(project: Path, *arguments: str) -> Step:
    process = ops("destroy", "--stage", STAGE, *arguments, at=project)
    stacks = boto3.client("cloudformation").describe_stacks()["Stacks"]
    tables = {
        name for name in boto3.client("dynamodb").list_tables()["TableNames"] if name.startswith(f"counter-{STAGE}")
    }
    return Step(
        process,
        {name for one in stacks if (name := one["StackName"]).startswith(f"counter-{STAGE}")},
        {
            name
            for one in boto3.client("lambda").list_functions()["Functions"]
            if (name := one["FunctionName"]).startswith(f"counter-{STAGE}")
        },
        tables,
        boto3.client("dynamodb").scan(TableName=LOG)["Count"] if LOG in tables else 0,
        {
            name
            for one in boto3.client("s3").list_buckets()["Buckets"]
            if (name := one.get("Name", "")).startswith(f"counter-{STAGE}")
        },
    )


@pytest.fixture(scope="module")
def project(place, tmp_path_factory) -> Path:
    """Provision, deploy and use a stage."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    for command in (("provision", "--yes", "--counters", "*"), ("deploy",)):
        done = ops(*command, "--stage", STAGE, at=folder)
        assert done.returncode == 0, done.stderr
    boto3.client("dynamodb").put_item(TableName=LOG, Item={"partition": {"S": "clicks"}, "event_id": {"S": "1"}})
    return folder


@pytest.fixture(scope="module")
def refusals(project) -> dict[str, Step]:
    """Return the refusals without a terminal and with a missing or wrong confirmation."""
    return {
        "application": step(project),
        "data": step(project, "--data"),
        "data, with --yes": step(project, "--data", "--yes"),
        "data of another stage": step(project, "--data", "--confirm", "prod"),
        "confirmed, and not asked for": step(project, "--confirm", STAGE, "--yes"),
    }


@pytest.fixture(scope="module")
def listed(refusals, project) -> Step:
    """List everything and remove nothing."""
    return step(project, "--data", "--dry-run", "--json")


@pytest.fixture(scope="module")
def down(listed, project) -> Step:
    """Remove the application."""
    return step(project, "--yes", "--json")


@pytest.fixture(scope="module")
def down_again(down, project) -> Step:
    """Remove the application a second time."""
    return step(project)


@pytest.fixture(scope="module")
def gone(down_again, project) -> Step:
    """Remove the data. One bucket holds old versions and deleted objects; another is already gone."""
    *left, gone = sorted(down_again.buckets)
    boto3.client("s3").delete_bucket(Bucket=gone)
    for bucket in left:
        boto3.client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        for body in (b"old", b"new"):
            boto3.client("s3").put_object(Bucket=bucket, Key="left", Body=body)
        boto3.client("s3").delete_object(Bucket=bucket, Key="left")
    return step(project, "--data", "--confirm", STAGE)


@pytest.fixture(scope="module")
def gone_again(gone, project) -> Step:
    """Remove the data a second time."""
    return step(project, "--data", "--confirm", STAGE)


def test_destroy_without_confirmation_removes_nothing(refusals):
    outputs = {name: (one.process.returncode, one.process.stderr) for name, one in refusals.items()}
    place = f"the embedded AWS at {os.environ['AWS_ENDPOINT_URL']}"
    warning = (
        f"Error: All data of stage {STAGE} in {place} will be deleted permanently. Confirm with --confirm {STAGE}.\n"
    )

    assert outputs.pop("confirmed, and not asked for")[0] == 2
    assert outputs == {
        "application": (1, "Error: Confirmation required: add --yes.\n"),
        "data": (1, warning),
        "data, with --yes": (1, warning),
        "data of another stage": (2, f"Error: The confirmation must be {STAGE}, got prod. Nothing was removed.\n"),
    }
    assert all(one.stacks == {APPLICATION, DATA} for one in refusals.values())


def test_destroy_dry_run_lists_all_resources_and_removes_nothing(listed, refusals):
    names = {one["name"] for one in listed.facts["removed"]}

    assert listed.process.returncode == 0
    assert listed.functions | listed.tables | listed.buckets <= names
    assert len(listed.functions) == 4
    assert listed.stacks == {APPLICATION, DATA}


def test_destroy_removes_the_application_and_keeps_the_data(down):
    assert down.facts == {"removed": [APPLICATION], "left": [DATA]}
    assert (down.stacks, down.functions) == ({DATA}, set())
    assert (len(down.tables), down.events) == (4, 1)


def test_repeated_removal_succeeds(down_again, gone_again):
    assert (down_again.process.returncode, gone_again.process.returncode) == (0, 0)
    assert f"Nothing to remove: stage {STAGE} has no application here." in down_again.process.stdout
    assert f"Nothing to remove: stage {STAGE} has no application and no data here." in gone_again.process.stdout


@pytest.fixture
def a_log_alone(gone_again) -> Iterator[None]:
    """Create the event log of the stage as it remains if its stack is deleted manually."""
    client = boto3.client("dynamodb")
    client.create_table(
        TableName=LOG,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "partition", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "partition", "KeyType": "HASH"}],
    )
    yield
    client.delete_table(TableName=LOG)


@pytest.mark.usefixtures("a_log_alone")
def test_log_without_its_stack_is_not_a_failed_stage(project):
    refused = ops("provision", "--stage", STAGE, at=project)

    assert refused.returncode == 1
    assert f"Table {LOG} exists without its stack {DATA}" in refused.stderr
    assert "To keep the events" in refused.stderr


def test_destroy_data_removes_the_retained_log_too(gone):
    assert gone.process.returncode == 0, gone.process.stderr
    assert gone.process.stdout.splitlines() == [
        f"Removed: {DATA}, {LOG}.",
        "AWS keeps a final backup of the event log for 35 days, from which you can restore it.",
    ]
    assert (gone.stacks, gone.tables, gone.buckets) == (set(), set(), set())
