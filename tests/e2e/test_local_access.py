"""Requests that the embedded AWS of a running local system accepts and refuses."""

import hashlib
import os
import stat
import sys

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from ops.deployment import deploy
from tests.e2e.conftest import PROJECT, run

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def client(service, place, key, secret, token=None):
    return boto3.client(
        service,
        endpoint_url=place.aws_url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", FORM | {"Origin": "https://foreign.example"}),
        ("/", FORM),
        ("/", FORM | {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/cloudformation/x"}),
        ("/_ministack/reset", FORM | {"Origin": "null", "Sec-Fetch-Site": "cross-site"}),
        ("/_ministack/reset", {}),
        ("/", FORM | {"Host": "foreign.example"}),
    ],
)
def test_form_of_a_web_page_changes_nothing(place, path, headers):
    template = '{"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}'
    form = {"Action": "CreateStack", "StackName": "foreign", "TemplateBody": template, "Version": "2010-05-15"}

    refused = httpx.post(f"{place.aws_url}{path}", data=form, headers=headers, timeout=60)

    stacks = boto3.client("cloudformation").describe_stacks()["Stacks"]
    assert refused.status_code == 403
    assert "foreign" not in {stack["StackName"] for stack in stacks}
    assert deploy.stack_name("local") in {stack["StackName"] for stack in stacks}


@pytest.mark.parametrize(
    ("key", "secret"), [("test", "test"), ("000000000000", "test"), ("AKIAIOSFODNN7EXAMPLE", "test"), ("", "")]
)
def test_guessed_credentials_are_refused(place, key, secret):
    for service, operation in (("dynamodb", "list_tables"), ("cloudformation", "list_stacks"), ("s3", "list_buckets")):
        call = getattr(client(service, place, key or " ", secret or " "), operation)

        with pytest.raises(ClientError, match="Sign requests with this local system's credentials"):
            call()


def test_key_without_its_secret_is_refused(place):
    with pytest.raises(ClientError, match="Sign requests"):
        client("dynamodb", place, os.environ["AWS_ACCESS_KEY_ID"], "guessed").list_tables()


def test_credentials_derived_from_a_functions_name_are_refused(place, operator):
    """The embedded AWS alone would derive each function's secret from names."""
    function = boto3.client("lambda").get_function_configuration(FunctionName=operator.publish_function)
    digest = hashlib.sha256(f"{function['FunctionArn']}:{function['Role']}".encode()).hexdigest()
    key = f"ASIA{digest[:16].upper()}"
    secret, token = (hashlib.sha256(f"{name}:{digest}".encode()).hexdigest() for name in ("secret", "token"))

    with pytest.raises(ClientError, match="Sign requests"):
        client("sqs", place, key, secret, token).send_message(QueueUrl=operator.queue_url, MessageBody="{}")


def test_only_the_user_can_read_the_credentials(place):
    modes = {name: stat.S_IMODE((place.folder / name).stat().st_mode) for name in ("credentials", "env")}

    assert modes == {"credentials": 0o600, "env": 0o600}


def test_environment_file_exports_to_the_commands_of_a_shell(place):
    script = f". {place.folder}/env; {sys.executable} -c 'import os; print(os.environ[\"AWS_ENDPOINT_URL\"])'"

    shown = run("sh", "-c", script, at=PROJECT, AWS_ENDPOINT_URL=None)

    assert (shown.returncode, shown.stdout.strip()) == (0, place.aws_url)
