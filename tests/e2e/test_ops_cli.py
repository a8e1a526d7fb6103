"""Test the operators' CLI: commands are safe to repeat, and a refusal prints one line."""

import json
import sys

import boto3
import pytest
from botocore.exceptions import ClientError, NoRegionError
from click.testing import CliRunner

from chalicelib import settings
from chalicelib.errors import KeyReusedError, LogUnavailableError
from ops import stages
from ops.__main__ import main
from ops.cli import errors
from ops.cli.errors import InputError, OperatorError, OutageError
from ops.deployment import deploy, provision
from tests.e2e.conftest import PROJECT, copy_project, ops, run

pytestmark = pytest.mark.exhaustive


def configuration(project):
    """Return the text of the stages' configuration."""
    return (project / ".chalice" / "config.json").read_text(encoding="utf-8")


def event_sources(function):
    return boto3.client("lambda").list_event_source_mappings(FunctionName=function)["EventSourceMappings"]


def test_every_command_has_help():
    listed = CliRunner().invoke(main, ["--help"])

    for name in main.commands:
        assert name in listed.stdout
        assert CliRunner().invoke(main, [name, "--help"]).stdout.startswith("Usage:")


@pytest.mark.parametrize("program", ["ops", "ops.local"])
def test_python_without_packages_names_the_way_into_the_environment(program):
    """`-S` leaves out the packages of the environment."""
    refused = run(sys.executable, "-S", "-m", program, "--help", at=PROJECT)

    assert (refused.returncode, refused.stderr.count("\n")) == (3, 1)
    assert ". .venv/bin/activate" in refused.stderr


def test_provision_and_deploy_can_be_repeated(place, api_url, client, counter_id):
    client.increment(counter_id, 3, If_Match='"0"')

    provisioned = ops("provision", "--stage", "local", "--json")
    deployed = ops("deploy", "--stage", "local", "--json")

    assert (provisioned.returncode, deployed.returncode) == (0, 0)
    assert json.loads(provisioned.stdout)["EventLogStreamArn"].startswith("arn:aws:dynamodb:")
    assert json.loads(deployed.stdout)["Url"] == api_url
    assert json.loads(provisioned.stdout)["Where"] == json.loads(deployed.stdout)["Where"]
    assert place.aws_url in json.loads(deployed.stdout)["Where"]
    assert client.counter(counter_id)["value"] == 3


def test_stream_source_filters_inserts_and_reports_discarded_batches(operator):
    (source,) = event_sources("counter-local-publish")

    patterns = [json.loads(one["Pattern"]) for one in source["FilterCriteria"]["Filters"]]
    assert patterns == [{"eventName": ["INSERT"]}]
    assert (source["StartingPosition"], source["BisectBatchOnFunctionError"]) == ("TRIM_HORIZON", True)
    assert source["MaximumRecordAgeInSeconds"] == 43_200
    assert source["DestinationConfig"]["OnFailure"]["Destination"].endswith(":counter-local-projection-dead-letter")


def test_queue_source_accepts_partial_batch_responses(operator):
    (source,) = event_sources("counter-local-project")
    function = boto3.client("lambda").get_function_configuration(FunctionName="counter-local-project")

    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert function["Environment"]["Variables"]["PARTIAL_BATCH_RESPONSES"] == "1"


def test_api_throttles_at_the_configured_rate(api_url):
    gateway = boto3.client("apigateway")
    (api_id,) = (api["id"] for api in gateway.get_rest_apis()["items"] if api["name"] == "counter-local")

    limits = gateway.get_stage(restApiId=api_id, stageName="api")["methodSettings"]["*/*"]

    assert api_id in api_url
    assert (limits["throttlingRateLimit"], limits["throttlingBurstLimit"]) == (1000, 1000)


def test_alarms_watch_deployed_functions_and_apis(api_url):
    pages = boto3.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix="counter-local-")
    looked_at = {
        (one["Name"], one["Value"]) for page in pages for alarm in page["MetricAlarms"] for one in alarm["Dimensions"]
    }

    functions = {("FunctionName", one["FunctionName"]) for one in boto3.client("lambda").list_functions()["Functions"]}
    apis = {("ApiName", one["name"]) for one in boto3.client("apigateway").get_rest_apis()["items"]}

    assert {one for one in looked_at if one[0] in ("FunctionName", "ApiName")} <= functions | apis


def test_unknown_stage_is_refused_with_the_way_to_create_it():
    refused = ops("deploy", "--stage", "nowhere")

    assert refused.returncode == 1
    assert refused.stderr == (
        "Error: No such stage: nowhere. Stages in .chalice/config.json: local, dev, prod. "
        "Create it with `python -m ops provision --stage nowhere`.\n"
    )


def test_new_stage_requires_confirmation(tmp_path):
    project = copy_project(tmp_path)

    refused = ops("provision", "--stage", "beta", at=project)

    assert refused.returncode == 1
    assert refused.stderr == (
        "Error: No such stage: beta. Stages in .chalice/config.json: local, dev, prod. Add --yes to create it.\n"
    )
    assert configuration(project) == configuration(stages.PROJECT)


def test_new_stage_is_the_only_change_of_the_configuration(tmp_path, place):
    project = copy_project(tmp_path)

    made = ops("provision", "--stage", "beta", "--yes", "--counters", "visits,likes-*", at=project)

    before = configuration(stages.PROJECT)
    expected = json.loads(before)
    expected["stages"]["beta"] = json.loads(json.dumps(expected["stages"]["prod"]).replace("prod", "beta"))
    expected["stages"]["beta"]["environment_variables"]["COUNTERS"] = "visits,likes-*"
    assert (made.returncode, made.stderr) == (0, "")
    assert before == f"{json.dumps(json.loads(before), indent=2)}\n"
    assert configuration(project) == f"{json.dumps(expected, indent=2)}\n"
    assert (project / ".chalice" / "policies" / "beta" / "api.json").exists()


@pytest.mark.parametrize("command", [["provision"], ["deploy"], ["package", "build"]])
def test_stage_whose_owner_did_not_choose_its_counters_is_refused(command):
    refused = ops(*command, "--stage", "dev")

    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert refused.stderr.startswith("Error: COUNTERS of stage dev is not set: choose with `python -m ops provision")


@pytest.mark.parametrize(
    ("stage", "options", "status", "message"),
    [
        ("beta", [], 1, "COUNTERS of stage beta is not set"),
        ("beta", ["--counters", "visits,a b"], 2, "COUNTERS must be * or names and patterns"),
        ("dev", ["--counters", "visits,a b"], 2, "COUNTERS must be * or names and patterns"),
        *(
            (name, [], 2, "STAGE must be 1 to 20 lower-case letters")
            for name in ("Beta", "my_stage", "a" * 21, "1st", "")
        ),
    ],
)
def test_invalid_provision_is_refused_and_nothing_is_written(tmp_path, stage, options, status, message):
    project = copy_project(tmp_path)

    refused = ops("provision", "--stage", stage, "--yes", *options, at=project)

    assert (refused.returncode, refused.stderr.count("\n")) == (status, 1)
    assert message in refused.stderr
    assert configuration(project) == configuration(stages.PROJECT)


def test_counters_of_a_stage_are_written_to_the_configuration(tmp_path, place):
    project = copy_project(tmp_path)

    done = [ops("provision", "--stage", "gamma", "--yes", "--counters", text, at=project) for text in ("*", "visits")]

    assert [each.returncode for each in done] == [0, 0]
    assert json.loads(configuration(project))["stages"]["gamma"]["environment_variables"]["COUNTERS"] == "visits"


@pytest.mark.parametrize(
    ("variables", "way_out"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Could not connect to the endpoint URL"),
        ({"AWS_ACCESS_KEY_ID": ""}, "No AWS credentials: set AWS_PROFILE"),
    ],
)
def test_unreachable_account_is_a_one_line_error_with_the_way_out(tmp_path, variables, way_out):
    local = {
        "API_URL": "",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
        **variables,
    }
    (tmp_path / "env").write_text("".join(f"{name}={value}\n" for name, value in local.items()))

    refused = ops("provision", "--stage", "local", LOCAL_FOLDER=str(tmp_path))

    assert (refused.returncode, refused.stderr.count("\n")) == (3, 1)
    assert way_out in refused.stderr


@pytest.mark.parametrize(
    "command", [lambda current, _: provision.provision(current), deploy.deploy], ids=["provision", "deploy"]
)
def test_other_shards_are_refused(stage, four_shards, tmp_path, command):
    with pytest.raises(OperatorError, match="SHARDS of stage pipeline must be 1, as at its creation, got 4"):
        command(settings.current(), tmp_path)


@pytest.mark.parametrize("arguments", ["verify", "redrive --dry-run", "sql --csv 'SELECT 1 AS a'"])
def test_full_disk_exits_with_3_and_not_as_a_difference(place, api_url, arguments):
    failed = run("sh", "-c", f"exec {sys.executable} -m ops {arguments} --stage local >/dev/full", at=stages.PROJECT)

    assert (failed.returncode, failed.stderr) == (
        3,
        "Error: No space left on device: an open file or stream. Check paths, permissions and free space.\n",
    )


@pytest.mark.parametrize("command", ["verify", "redrive", "deploy", "site"])
def test_file_where_the_local_folder_belongs_exits_with_3(tmp_path, command):
    (tmp_path / "file").touch()

    failed = ops(command, "--stage", "local", LOCAL_FOLDER=str(tmp_path / "file"))

    assert (failed.returncode, failed.stderr.count("\n")) == (3, 1)
    assert failed.stderr.startswith(f"Error: Not a directory: {tmp_path}/file")


def test_local_stage_is_read_from_the_configuration():
    assert stages.read_settings("local").stage == "local"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OperatorError("no"), 1),
        (InputError("no"), 2),
        (OutageError("no"), 3),
        (ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": "no"}}, "Scan"), 1),
        (ClientError({"Error": {"Code": "ThrottlingException", "Message": "no"}}, "Scan"), 3),
        (ClientError({"Error": {"Code": "ExpiredTokenException", "Message": "no"}}, "Scan"), 3),
        (NoRegionError(), 3),
        (LogUnavailableError("no"), 3),
        (KeyReusedError("clicks", "no"), 1),
    ],
)
def test_exit_status_differs_for_refusal_usage_error_and_outage(error, status):
    assert errors.exit_status(error) == status


@pytest.mark.parametrize(
    ("code", "operation", "hint"),
    [
        ("403", "HeadObject", "Your credentials have expired or lack a permission: sign in again"),
        ("400", "HeadObject", "Your credentials have expired or lack a permission: sign in again"),
        ("RequestExpired", "DescribeStacks", "Your credentials have expired: sign in again"),
        (
            "ExpiredTokenException",
            "DescribeStacks",
            "Your credentials have expired: sign in again, for example with aws sso login.",
        ),
        ("AccessDeniedException", "Scan", "Your credentials lack a permission: use other credentials"),
        ("InvalidAccessKeyId", "ListBuckets", "AWS does not recognize these credentials"),
        (
            "RequestTimeTooSkewed",
            "PutObject",
            "AWS does not accept the signature: check your credentials and the clock",
        ),
    ],
)
def test_refusal_of_credentials_has_a_way_out(code, operation, hint):
    """S3 answers HEAD without a body, so without an error code."""
    error = ClientError({"Error": {"Code": code, "Message": "Forbidden"}}, operation)

    assert errors.describe(error).startswith(hint)


def test_missing_stack_names_the_region(place, tmp_path):
    elsewhere = (place.folder / "env").read_text().replace("=us-east-1", "=eu-west-2")
    (tmp_path / "env").write_text(elsewhere)

    refused = ops("deploy", "--stage", "local", LOCAL_FOLDER=str(tmp_path))

    assert (refused.returncode, refused.stderr) == (
        1,
        "Error: No such stack: counter-local-data in eu-west-2. Run provision, or check the region.\n",
    )
