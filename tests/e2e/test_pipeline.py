"""Deployment from a CI pipeline: the package is applied by AWS's own calls and serves HTTP."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from samtranslator.translator.managed_policy_translator import ManagedPolicyLoader
from samtranslator.translator.transform import transform

from chalicelib import settings
from ops.deployment import package as packaging
from ops.deployment import stacks, template
from ops.local import ministack_gaps
from tests.e2e.conftest import copy_project, eventually, ops

pytestmark = pytest.mark.exhaustive

STAGE = "piped"
STACK = f"counter-{STAGE}-app"

#: The environment of a machine without an AWS account.
NOWHERE: dict[str, Any] = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": None,
    "AWS_SECRET_ACCESS_KEY": None,
    "AWS_DEFAULT_REGION": None,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Packaged:
    """The copy of the project, the folder with the package, and the command's output."""

    project: Path
    folder: Path
    result: dict[str, Any]

    @property
    def template(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "sam.json").read_text(encoding="utf-8"))
        return found


@pytest.fixture(scope="module")
def packaged(place, tmp_path_factory) -> Iterator[Packaged]:
    """Provision a stage and package its application."""
    project = copy_project(tmp_path_factory.mktemp("project"))
    provisioned = ops("provision", "--stage", STAGE, "--yes", "--counters", "clicks,likes-*", at=project)
    assert provisioned.returncode == 0, provisioned.stderr
    process = ops("package", "--stage", STAGE, "build", "--json", at=project, **NOWHERE)
    assert process.returncode == 0, process.stderr
    yield Packaged(project, project / "build", json.loads(process.stdout))
    ops("destroy", "--stage", STAGE, "--yes", at=project)


@pytest.fixture(scope="module")
def applied(packaged) -> str:
    """Apply the package by a change set, as the AWS command line does. Return the API's address."""
    template = packaged.template
    data = boto3.client("cloudformation").describe_stacks(StackName=f"counter-{STAGE}-data")["Stacks"][0]["Outputs"]
    (bucket,) = (output["OutputValue"] for output in data if output["OutputKey"] == "ArtifactsBucket")
    boto3.client("s3").upload_file(str(packaged.folder / "deployment.zip"), bucket, "code.zip")
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            assert (packaged.folder / resource["Properties"]["CodeUri"]).samefile(packaged.folder / "deployment.zip")
            resource["Properties"]["CodeUri"] = f"s3://{bucket}/code.zip"
    boto3.client("s3").put_object(Bucket=bucket, Key="packaged.json", Body=json.dumps(template).encode())
    client = boto3.client("cloudformation")
    change = client.create_change_set(
        StackName=STACK,
        ChangeSetName="pipeline",
        ChangeSetType="CREATE",
        TemplateURL=f"{client.meta.endpoint_url}/{bucket}/packaged.json",
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    client.get_waiter("change_set_create_complete").wait(ChangeSetName=change["Id"], WaiterConfig={"Delay": 1})
    client.execute_change_set(ChangeSetName=change["Id"])
    client.get_waiter("stack_create_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1})
    made = client.describe_stack_resource(StackName=STACK, LogicalResourceId="RestAPI")["StackResourceDetail"]
    api_id = made.get("PhysicalResourceId", "")
    ministack_gaps.complete_api(api_id, "api", template["Resources"]["RestAPI"]["Properties"])
    return f"{os.environ['AWS_ENDPOINT_URL']}/restapis/{api_id}/api/_user_request_"


def test_applied_package_counts_increments(applied):
    with httpx.Client(base_url=applied, timeout=60) as client:
        recorded = client.post("/counters/clicks/increments", json={"by": 3})

        eventually(lambda: client.get("/counters/clicks").raise_for_status().json()["value"] == 3)
    assert recorded.status_code == 202


def test_deployed_stage_has_only_the_chosen_counters(applied):
    with httpx.Client(base_url=applied, timeout=60) as client:
        incremented = {name: client.post(f"/counters/{name}/increments") for name in ("likes-1", "other", "Clicks")}
        read = {name: client.get(f"/counters/{name}") for name in ("likes-2", "other")}
        picture = client.get("/counters/other/badge.svg", headers={"Accept": "image/*"})

    assert {name: answer.status_code for name, answer in incremented.items()} == {
        "likes-1": 202,
        "other": 403,
        "Clicks": 403,
    }
    assert {name: answer.status_code for name, answer in read.items()} == {"likes-2": 200, "other": 404}
    assert incremented["other"].json()["type"] == "urn:counter:problem:counter-not-allowed"
    assert read["other"].json()["type"] == "urn:counter:problem:counter-not-found"
    assert read["other"].headers["Access-Control-Allow-Origin"] == "*"
    assert (picture.status_code, "There is no counter" in picture.text) == (200, True)
    written = boto3.client("dynamodb").scan(TableName=f"counter-{STAGE}-event-log", ConsistentRead=True)["Items"]
    assert {item["partition"]["S"] for item in written} <= {"clicks", "likes-1"}


def test_deploy_continues_from_an_applied_package(applied, packaged):
    deployed = ops("deploy", "--stage", STAGE, "--json", at=packaged.project)

    assert json.loads(deployed.stdout)["ApiId"] in applied


def test_api_has_one_stage_its_limit_and_the_name_of_its_alarms(packaged):
    template = packaged.template
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"

    made = list(transform(template, {}, ManagedPolicyLoader(None))["Resources"].values())

    (api,) = (one["Properties"] for one in made if one["Type"] == "AWS::ApiGateway::RestApi")
    (stage,) = (one["Properties"] for one in made if one["Type"] == "AWS::ApiGateway::Stage")
    (deployment,) = (one["Properties"] for one in made if one["Type"] == "AWS::ApiGateway::Deployment")
    assert api["Name"] == api["Body"]["info"]["title"] == f"counter-{STAGE}"
    assert stage["MethodSettings"][0]["ThrottlingRateLimit"] == 1000
    assert "StageName" not in deployment


def test_functions_take_shards_from_the_data_not_the_configuration(packaged):
    functions = [one for one in packaged.template["Resources"].values() if one["Type"] == "AWS::Serverless::Function"]
    variables = {one["Properties"]["Handler"]: one["Properties"]["Environment"]["Variables"] for one in functions}

    for handler in ("app.app", "app.project", "app.check"):
        assert variables[handler]["SHARDS"] == {"Fn::ImportValue": f"counter-{STAGE}-shards"}


def test_deployed_functions_have_the_shards_of_the_stage(applied):
    found = boto3.client("lambda").get_function_configuration(FunctionName=f"counter-{STAGE}")

    assert found["Environment"]["Variables"]["SHARDS"] == "1"


def test_printed_commands_name_the_stacks_and_existing_files(packaged):
    bucket, package, deploy = packaged.result["commands"]

    assert f"--stack-name counter-{STAGE}-data " in bucket
    assert "aws cloudformation package --template-file build/sam.json" in package
    assert (
        f"aws cloudformation deploy --template-file build/packaged.yaml --s3-bucket $BUCKET --stack-name {STACK}"
        in (deploy)
    )
    assert all((packaged.project / name).exists() for name in packaged.result["files"])


def test_chalice_itself_makes_the_same_template_from_the_overlay(packaged):
    made = subprocess.run(
        [
            Path(sys.executable).parent / "chalice",
            *("package", "--stage", STAGE, "--merge-template", "build/overlay.json", "by-chalice"),
        ],
        cwd=packaged.project,
        env={
            **os.environ,
            **packaging.pip_variables(packaged.project / "requirements.txt", settings.read({"STAGE": STAGE})),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert (made.returncode, made.stderr) == (0, "")
    assert json.loads((packaged.project / "by-chalice" / "sam.json").read_text()) == packaged.template


def test_both_templates_are_well_below_the_limits_of_cloudformation(packaged):
    """`deploy` and the AWS CLI's `deploy --s3-bucket` pass the application's template in a bucket."""
    assert len(json.dumps(packaged.template, separators=(",", ":")).encode()) < 0.1 * 1_000_000
    assert len(template.render_data().encode()) < 0.9 * 51_200


def test_deploy_reads_a_restored_log_and_deletes_unused_queues(applied, packaged):
    """The restored table has another stream. The queue belongs to a projection that was switched off."""
    client, log, unused = boto3.client("dynamodb"), f"counter-{STAGE}-event-log", f"counter-{STAGE}-sql-projection"
    table = client.describe_table(TableName=log)["Table"]
    client.update_table(TableName=log, DeletionProtectionEnabled=False)
    client.delete_table(TableName=log)
    keys: Any = {key: table[key] for key in ("KeySchema", "AttributeDefinitions")}
    client.create_table(TableName=log, BillingMode="PAY_PER_REQUEST", **keys)
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": unused}}
    stacks.apply(unused, json.dumps({"Resources": {"Queue": queue}}), {}, stage=STAGE)

    refused = ops("deploy", "--stage", STAGE, at=packaged.project)
    restored = ops("provision", "--stage", STAGE, "--json", at=packaged.project)
    deployed = ops("deploy", "--stage", STAGE, at=packaged.project)

    assert refused.returncode == 1
    assert "Run provision first, which restores it." in refused.stderr
    assert "has no stream (run deploy and rebuild)" in json.loads(restored.stdout)["Restored"]
    assert deployed.returncode == 0, deployed.stderr
    sources = boto3.client("lambda").list_event_source_mappings(FunctionName=f"counter-{STAGE}-publish")
    new_arn = client.describe_table(TableName=log)["Table"]["LatestStreamArn"]
    assert new_arn != table["LatestStreamArn"]
    assert [source["EventSourceArn"] for source in sources["EventSourceMappings"]] == [new_arn]
    assert not stacks.exists(unused)
