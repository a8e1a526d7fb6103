"""The stage's data as Chalice's command line sees it when it imports the application."""

import contextlib

import boto3
import click
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from chalicelib import settings
from chalicelib.aws import stream_arn


@pytest.fixture
def by_chalice(monkeypatch, tmp_path):
    """Make this process look like a Chalice command, in a folder without policies."""
    monkeypatch.setenv("AWS_CHALICE_CLI_MODE", "true")
    monkeypatch.chdir(tmp_path)

    @contextlib.contextmanager
    def running(name, profile=None):
        with click.Context(click.Command(name), info_name=name) as context:
            context.params["profile"] = profile
            yield

    return running


def of(stage, **variables):
    return settings.read({"STAGE": stage, **variables})


def test_deployed_function_makes_no_request_for_its_settings(monkeypatch):
    monkeypatch.delenv("AWS_CHALICE_CLI_MODE", raising=False)

    assert stream_arn.find_stream_arn(of("never-provisioned")) == ""


def test_environment_variables_take_precedence(by_chalice):
    with by_chalice("package"):
        assert stream_arn.find_stream_arn(of("dev", EVENT_LOG_STREAM_ARN="arn:it")) == "arn:it"


def test_stream_of_the_stage_is_found(stage, by_chalice):
    with by_chalice("local"):
        assert stream_arn.find_stream_arn(of("pipeline")) == stage["EventLogStreamArn"]


def test_chalice_finds_the_stream_without_a_command(stage, by_chalice):
    assert stream_arn.find_stream_arn(of("pipeline")) == stage["EventLogStreamArn"]


@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize("known", [{}, {"EVENT_LOG_STREAM_ARN": "arn:it"}])
@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SHARDS": "4"}, "was provisioned with SHARDS=1, but .chalice/config.json has SHARDS=4: restore SHARDS=1"),
        ({"PARTIAL_BATCH_RESPONSES": "1"}, "uncounted messages would be deleted"),
    ],
)
def test_settings_that_lose_or_double_increments_are_not_deployed(by_chalice, variables, known, message):
    with by_chalice("deploy"), pytest.raises(click.ClickException, match=message):
        stream_arn.find_stream_arn(of("pipeline", **variables, **known))


@pytest.mark.usefixtures("api_url", "stage")
@pytest.mark.parametrize(
    ("command", "name", "profile", "message"),
    [
        (
            "deploy",
            "never-provisioned",
            None,
            "is not provisioned in us-east-1: run `python -m ops provision --stage never",
        ),
        (
            "deploy",
            "local",
            None,
            "Stage local was deployed as stack counter-local-app: continue with `python -m ops deploy",
        ),
        (
            "package",
            "pipeline",
            None,
            "This checkout lacks the policies of stage pipeline: run `python -m ops provi",
        ),
        (
            "deploy",
            "pipeline",
            "none-such",
            r"check your credentials .*The config profile \(none-such\) could not be",
        ),
    ],
)
def test_missing_resource_is_a_one_line_error_with_the_way_out(by_chalice, command, name, profile, message):
    with by_chalice(command, profile), pytest.raises(click.ClickException, match=message):
        stream_arn.find_stream_arn(of(name))


def test_stage_not_made_by_provision_has_no_recorded_shards(place):
    assert stream_arn._find_shards(boto3.client("cloudformation"), "counter-never-provisioned-data") is None


def test_denied_lookup_is_not_mistaken_for_a_missing_stage():
    client = boto3.client("cloudformation")
    with Stubber(client) as answers:
        answers.add_client_error("describe_stacks", "AccessDenied")

        with pytest.raises(ClientError, match="AccessDenied"):
            stream_arn._find_shards(client, "counter-dev-data")


def test_functions_with_unreadable_tags_are_not_adopted():
    client = boto3.client("lambda")
    with Stubber(client) as answers:
        answers.add_response("get_function", {"Configuration": {"FunctionName": "counter-dev"}})

        with pytest.raises(click.ClickException, match="lack lambda:ListTags"):
            stream_arn.find_stack(client, "dev")
