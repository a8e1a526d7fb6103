"""The deployed functions' log lines in CloudWatch, and the completeness of their package."""

import json
import subprocess
import sys
import zipfile
from typing import Any

import boto3
import pytest

from ops.deployment import deploy
from tests.e2e.conftest import eventually

pytestmark = pytest.mark.exhaustive

#: The packages that Lambda's runtime for Python includes (developer guide, "Runtime-included SDK versions").
IN_THE_RUNTIME = {"boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3"}

#: Import the application from the package, with only the standard library and the packages of the runtime.
IMPORT_AS_LAMBDA_DOES = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in {allowed!r}:
            raise ModuleNotFoundError(name)

sys.path.insert(0, {package!r})
sys.meta_path.insert(0, Refusing())
import app
"""


@pytest.fixture
def lines_with(operator):
    """Return the JSON log lines with this text of a function, named as in the template."""
    stack = {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for resource in boto3.client("cloudformation").describe_stack_resources(StackName=deploy.stack_name("local"))[
            "StackResources"
        ]
    }
    logs: Any = boto3.client("logs")

    def found(function, text):
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=f"/aws/lambda/{stack[function]}", filterPattern=f'"{text}"'
        )
        try:
            return [json.loads(event["message"]) for page in pages for event in page["events"]]
        except logs.exceptions.ResourceNotFoundException:  # made when a function first runs
            return []

    return found


@pytest.mark.parametrize(
    ("projector", "queue"), [("Project", None), ("ProjectSql", "counter-local-sql-projection")], ids=["project", "sql"]
)
def test_one_increment_is_followed_through_the_logs_by_its_ids(client, counter_id, lines_with, projector, queue):
    event_id = client.increment(counter_id).json()["event_id"]

    def published_to_it():
        return [line for line in lines_with("Publish", event_id) if line.get("queue") == queue]

    eventually(lambda: bool(published_to_it()))
    (accepted,) = lines_with("APIHandler", event_id)
    (published,) = published_to_it()
    eventually(lambda: bool(lines_with(projector, published["message_id"])))
    (projected,) = lines_with(projector, published["message_id"])

    assert (accepted["message"], accepted["counter_id"]) == ("command accepted", counter_id)
    assert event_id in published["event_ids"]
    assert published["message_id"] in projected["message_ids"]
    assert projected["new"] >= 1
    assert accepted["request_id"]
    assert len({line["invocation_id"] for line in (accepted, published, projected)}) == 3


def test_package_is_complete_and_small_with_sqlite(place, tmp_path):
    (package,) = place.folder.glob("package-local/result/*.zip")
    with zipfile.ZipFile(package) as archive:
        archive.extractall(tmp_path)
        top = {name.partition("/")[0].removesuffix(".py") for name in archive.namelist()}

    program = IMPORT_AS_LAMBDA_DOES.format(allowed=IN_THE_RUNTIME | top, package=str(tmp_path))
    imported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (imported.returncode, imported.stdout, imported.stderr) == (0, "", "")
    assert package.stat().st_size <= 6_000_000
