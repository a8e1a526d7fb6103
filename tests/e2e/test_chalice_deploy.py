"""
Deploy, change, repeat and delete a stage with Chalice's own command line on the embedded AWS.

The tests use a copy of the project, a separate stage, and a proxy that imports APIs, which the embedded AWS cannot do.
"""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.session import Session
from botocore.stub import Stubber
from chalice.awsclient import TypedAWSClient

import app
from chalicelib import settings
from ops.deployment import package as packaging
from ops.deployment import policies as deployment_policies
from tests import chalice_proxy
from tests.e2e.conftest import copy_project, eventually, make_environment, ops

pytestmark = pytest.mark.exhaustive

STAGE = "chalice"
FUNCTIONS = {"counter-chalice", "counter-chalice-publish", "counter-chalice-project", "counter-chalice-check"}
PREFIX = f"counter-{STAGE}"


@dataclass(frozen=True)
class Seen:
    """The stage's resources, as AWS reports them."""

    functions: dict[str, dict[str, Any]] = field(default_factory=dict)
    permissions: dict[str, list[str]] = field(default_factory=dict)
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    sources: list[dict[str, Any]] = field(default_factory=list)
    rules: dict[str, dict[str, Any]] = field(default_factory=dict)
    apis: dict[str, dict[str, set[str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Project:
    """A copy of the project, the address of the proxy, and the outputs of the provisioned stage."""

    folder: Path
    door: str
    data: dict[str, str]

    def chalice(self, *arguments: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).parent / "chalice", *arguments],
            cwd=self.folder,
            env=make_environment(
                {
                    "HTTP_PROXY": self.door,
                    "http_proxy": self.door,
                    "NO_PROXY": None,
                    "no_proxy": None,
                    **packaging.pip_variables(self.folder / "requirements.txt", settings.read({"STAGE": STAGE})),
                    **environment,
                }
            ),
            capture_output=True,
            text=True,
            check=False,
        )

    def api(self, api_id: str) -> httpx.Client:
        url = f"{os.environ['AWS_ENDPOINT_URL']}/restapis/{api_id}/api/_user_request_"
        return httpx.Client(base_url=url, timeout=60)

    def edit(self, name: str, old: str, new: str) -> None:
        file = self.folder / name
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")


def seen() -> Seen:
    functions, iam, events = boto3.client("lambda"), boto3.client("iam"), boto3.client("events")
    gateway = boto3.client("apigateway")
    names = [
        name for one in functions.list_functions()["Functions"] if (name := one["FunctionName"]).startswith(PREFIX)
    ]
    roles = [name for role in iam.list_roles()["Roles"] if (name := role["RoleName"]).startswith(PREFIX)]
    rules = [name for rule in events.list_rules()["Rules"] if (name := rule["Name"]).startswith(PREFIX)]
    apis = [api["id"] for api in gateway.get_rest_apis(limit=500)["items"] if _is_ours(api["id"])]
    return Seen(
        functions={name: _configuration(functions.get_function_configuration(FunctionName=name)) for name in names},
        permissions={name: _permitted(name) for name in names},
        policies={
            f"{role}/{policy}": iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
            for role in roles
            for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]
        },
        sources=[
            {key: source.get(key) for key in ("UUID", "EventSourceArn", "FunctionArn", "BatchSize", "StartingPosition")}
            for source in functions.list_event_source_mappings()["EventSourceMappings"]
            if PREFIX in source["FunctionArn"]
        ],
        rules={
            rule: {
                "schedule": events.describe_rule(Name=rule)["ScheduleExpression"],
                "targets": [target["Arn"] for target in events.list_targets_by_rule(Rule=rule)["Targets"]],
            }
            for rule in rules
        },
        apis={
            api: {
                resource["path"]: set(resource["resourceMethods"]) - {"OPTIONS"}
                for resource in gateway.get_resources(restApiId=api, limit=500)["items"]
                if "resourceMethods" in resource
            }
            for api in apis
        },
    )


def _configuration(found: Any) -> dict[str, Any]:
    kept = ("Handler", "Role", "Runtime", "MemorySize", "Timeout", "Architectures", "CodeSize", "CodeSha256")
    return {**{key: found[key] for key in kept}, "Environment": found["Environment"]["Variables"]}


def _permitted(name: str) -> list[str]:
    client = boto3.client("lambda")
    try:
        statements = json.loads(client.get_policy(FunctionName=name)["Policy"])["Statement"]
    except client.exceptions.ResourceNotFoundException:
        return []
    return [statement["Principal"]["Service"] for statement in statements]


def _is_ours(api_id: str) -> bool:
    client = boto3.client("apigateway")
    integrations = (
        method["methodIntegration"].get("uri", "")
        for resource in client.get_resources(restApiId=api_id, limit=500, embed=["methods"])["items"]
        for method in resource.get("resourceMethods", {}).values()
    )
    return any(f":function:{PREFIX}/" in uri for uri in integrations)


@pytest.fixture(scope="module")
def project(place, tmp_path_factory) -> Iterator[Project]:
    """Copy the project and provision a stage with its operators' CLI."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    provisioned = ops("provision", "--stage", STAGE, "--yes", "--counters", "*", "--json", at=folder)
    assert provisioned.returncode == 0, provisioned.stderr
    with chalice_proxy.serve(place.aws_port) as door:
        yield Project(folder, door, json.loads(provisioned.stdout))


@dataclass(frozen=True)
class Deployment:
    """A deployment's output, the resources after it, and the responses to a browser's preflight and to a request."""

    process: subprocess.CompletedProcess[str]
    after: Seen
    answers: dict[str, httpx.Response]

    @property
    def api_id(self) -> str:
        (found,) = self.after.apis
        return found


def deployed(project: Project, asked: Callable[[httpx.Client], dict[str, httpx.Response]]) -> Deployment:
    process = project.chalice("deploy", "--stage", STAGE)
    assert process.returncode == 0, process.stderr
    found = Deployment(process, seen(), {})
    with project.api(found.api_id) as client:
        return replace(found, answers=asked(client))


@pytest.fixture(scope="module")
def first(project) -> Deployment:
    """Deploy for the first time, and count."""

    def asked(client):
        recorded = client.post("/counters/clicks/increments", json={"by": 3})
        eventually(lambda: client.get("/counters/clicks").raise_for_status().json()["value"] == 3)
        preflights = {path: client.options(path.replace("{counter_id}", "clicks")) for path in PATHS}
        return {
            **preflights,
            "recorded": recorded,
            "counted": client.get("/counters/clicks"),
            "reports": client.get("/reports"),
        }

    return deployed(project, asked)


PATHS = {path: set(methods) for path, methods in app.app.routes.items()}


def test_each_function_has_its_own_role_and_policy(first):
    expected = {
        name.removesuffix(".json"): of
        for name, of in deployment_policies.function_policies(settings.read({"STAGE": STAGE}), traced=False).items()
    }

    assert first.after.policies == {
        f"{PREFIX}-{role}/{PREFIX}-{role}": expected[name]
        for role, name in {"api_handler": "api", "publish": "publish", "project": "project", "check": "check"}.items()
    }
    assert {name: found["Role"].rpartition("/")[2] for name, found in first.after.functions.items()} == {
        PREFIX: f"{PREFIX}-api_handler",
        **{name: name for name in FUNCTIONS - {PREFIX}},
    }


def test_functions_have_the_configured_settings(first):
    functions = first.after.functions
    environment = {"STAGE": STAGE, "ALLOWED_ORIGIN": "*", "COUNTERS": "*"}

    assert {name: (one["Handler"], one["MemorySize"], one["Timeout"]) for name, one in functions.items()} == {
        PREFIX: ("app.app", 512, 25),
        f"{PREFIX}-publish": ("app.publish", 256, 60),
        f"{PREFIX}-project": ("app.project", 512, 30),
        f"{PREFIX}-check": ("app.check", 512, 300),
    }
    assert all(one["Environment"] == environment for one in functions.values())
    assert all(one["Architectures"] == ["arm64"] for one in functions.values())
    assert all(one["CodeSize"] < 2_000_000 for one in functions.values())


def test_event_sources_belong_to_the_stage_and_start_at_the_oldest_record(first, project):
    found = {
        source["FunctionArn"].rpartition(":")[2]: (
            source["EventSourceArn"],
            source["BatchSize"],
            source["StartingPosition"],
        )
        for source in first.after.sources
    }

    assert len(first.after.sources) == 2
    assert found == {
        f"{PREFIX}-publish": (project.data["EventLogStreamArn"], 1000, "TRIM_HORIZON"),
        f"{PREFIX}-project": (f"arn:aws:sqs:us-east-1:000000000000:{PREFIX}-projection", 10, None),
    }


def test_the_check_has_its_schedule_and_each_caller_its_permission(first):
    assert first.after.rules == {
        f"{PREFIX}-check-event": {
            "schedule": "rate(60 minutes)",
            "targets": [f"arn:aws:lambda:us-east-1:000000000000:function:{PREFIX}-check"],
        }
    }
    assert first.after.permissions == {
        PREFIX: ["apigateway.amazonaws.com"],
        f"{PREFIX}-check": ["events.amazonaws.com"],
        f"{PREFIX}-publish": [],
        f"{PREFIX}-project": [],
    }


def test_checkout_without_policies_is_refused_with_the_way_out(first, project):
    policies_of_stage = project.folder / ".chalice" / "policies" / STAGE
    elsewhere = policies_of_stage.rename(policies_of_stage.with_suffix(".elsewhere"))

    refused = project.chalice("deploy", "--stage", STAGE)

    elsewhere.rename(policies_of_stage)
    assert (refused.returncode, refused.stderr) == (
        1,
        "Error: This checkout lacks the policies of stage chalice: run `python -m ops provision --stage chalice`, "
        "which is safe to repeat.\n",
    )


def test_every_route_is_deployed_with_cors(first):
    assert first.after.apis[first.api_id] == PATHS
    for path, methods in PATHS.items():
        assert first.answers[path].headers["Access-Control-Allow-Origin"] == "*"
        assert methods < set(first.answers[path].headers["Access-Control-Allow-Methods"].split(","))


def test_increment_after_chalice_deploy_is_counted(first):
    assert first.answers["recorded"].status_code == 202
    assert (first.answers["counted"].json()["value"], first.answers["counted"].json()["version"]) == (3, 1)


def test_reports_without_sql_are_not_found_with_the_way_out(first):
    refused = first.answers["reports"]

    assert (refused.status_code, refused.json()["type"]) == (404, "urn:counter:problem:reports-off")
    assert "SQL_URL" in refused.json()["detail"]


def test_keys_belong_to_the_api_that_chalice_deployed(first, project):
    added = ops("keys", "add", "shop", "--stage", STAGE, at=project.folder)

    plans = boto3.client("apigateway").get_usage_plans(limit=500)["items"]
    removed = ops("keys", "remove", "shop", "--stage", STAGE, at=project.folder)
    (plan,) = (each for each in plans if each["name"] == f"{PREFIX}.shop")
    assert (added.returncode, removed.returncode) == (0, 0)
    assert plan["apiStages"] == [{"apiId": first.api_id, "stage": "api"}]


@pytest.fixture(scope="module")
def others(first, project) -> dict[str, subprocess.CompletedProcess[str]]:
    """Try to deploy and to destroy Chalice's deployment with `ops`."""
    return {
        "deploy": ops("deploy", "--stage", STAGE, at=project.folder),
        "destroy": ops("destroy", "--stage", STAGE, at=project.folder),
        "dry run": ops("destroy", "--stage", STAGE, "--dry-run", at=project.folder),
    }


def test_ops_refuses_a_stage_that_chalice_deployed(others):
    message = (
        "Error: Stage chalice was deployed by `chalice deploy`: first run `chalice delete --stage chalice` in the "
        "checkout that deployed it. The data is kept.\n"
    )

    assert {name: (process.returncode, process.stderr) for name, process in others.items()} == dict.fromkeys(
        others, (1, message)
    )


@pytest.fixture(scope="module")
def repeated(others, project) -> Deployment:
    """Deploy again without changes."""
    return deployed(project, lambda client: {"counted": client.get("/counters/clicks")})


def test_repeated_chalice_deploy_changes_nothing(first, repeated):
    assert repeated.after == first.after
    assert repeated.answers["counted"].json() == first.answers["counted"].json()


@pytest.fixture(scope="module")
def changed(repeated, project) -> Deployment:
    """Deploy again after changing a route, a setting, a function's memory and a policy."""
    project.edit("app.py", "/counters/{counter_id}/history", "/counters/{counter_id}/chronicle")
    configuration = json.loads((project.folder / ".chalice" / "config.json").read_text())
    configuration["stages"][STAGE]["environment_variables"]["MAX_INCREMENT"] = "4"
    configuration["lambda_functions"]["publish"]["lambda_memory_size"] = 320
    (project.folder / ".chalice" / "config.json").write_text(json.dumps(configuration))
    project.edit(f".chalice/policies/{STAGE}/check.json", "SeeHowMuchIsParked", "SeeWhatIsParked")

    def asked(client):
        return {
            "chronicle": client.get("/counters/clicks/chronicle"),
            "history": client.get("/counters/clicks/history"),
            "too much": client.post("/counters/clicks/increments", json={"by": 5}),
        }

    return deployed(project, asked)


def test_changes_are_applied_without_duplicates(repeated, changed):
    before, after = repeated.after, changed.after

    assert changed.answers["chronicle"].json()["points"][0]["sum"] == 3
    assert changed.answers["history"].status_code in (403, 404)
    assert changed.answers["too much"].status_code == 400
    assert set(after.apis) == set(before.apis)
    assert set(after.apis[changed.api_id]) == {path.replace("history", "chronicle") for path in PATHS}
    assert after.functions.keys() == before.functions.keys()
    assert after.functions[f"{PREFIX}-publish"]["MemorySize"] == 320
    assert after.functions[PREFIX]["Environment"]["MAX_INCREMENT"] == "4"
    assert "SeeWhatIsParked" in str(after.policies[f"{PREFIX}-check/{PREFIX}-check"])
    assert after.policies.keys() == before.policies.keys()
    assert (after.sources, after.rules, after.permissions) == (before.sources, before.rules, before.permissions)


@pytest.fixture(scope="module")
def deleted(changed, project):
    """Delete the deployment with Chalice."""
    return project.chalice("delete", "--stage", STAGE)


def test_chalice_delete_keeps_only_the_data(deleted, changed):
    client = boto3.client("apigateway")
    with pytest.raises(client.exceptions.NotFoundException):
        client.get_rest_api(restApiId=changed.api_id)

    log = boto3.client("dynamodb").scan(TableName=f"{PREFIX}-event-log")["Items"]
    assert (deleted.returncode, deleted.stderr) == (0, "")
    assert seen() == Seen()
    assert [event["by"]["N"] for event in log] == ["3"]


@pytest.mark.parametrize(
    ("stage", "variables", "way_out"),
    [
        ("dev", {}, "Stage dev is not provisioned in us-east-1: run `python -m ops provision --stage dev` first"),
        (STAGE, {"AWS_DEFAULT_REGION": "eu-west-3"}, "Stage chalice is not provisioned in eu-west-3"),
        (STAGE, {"AWS_DEFAULT_REGION": None}, "check your credentials and region. (You must specify a region.)"),
        (STAGE, {"AWS_ACCESS_KEY_ID": "", "AWS_EC2_METADATA_DISABLED": "true"}, "check your credentials"),
        (
            STAGE,
            {
                "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
                "AWS_MAX_ATTEMPTS": "1",
                "HTTP_PROXY": None,
                "http_proxy": None,
            },
            "Could not connect to the endpoint URL",
        ),
        ("local", {}, "Stage local was deployed as stack counter-local-app: continue with `python -m ops deploy"),
    ],
)
def test_undeployable_settings_print_one_line_with_the_way_out(project, api_url, stage, variables, way_out):
    refused = project.chalice("deploy", "--stage", stage, **variables)

    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert way_out in refused.stderr


def test_chalice_does_not_remove_a_dropped_concurrency_limit():
    """See docs/deploying.md: AWS keeps a limit that an update does not mention."""
    client = TypedAWSClient(Session())
    source: dict[str, Any] = {"UUID": str(uuid.uuid4()), "BatchSize": 10, "MaximumBatchingWindowInSeconds": 1}

    with Stubber(client._client("lambda")) as aws:
        for limit in ({"ScalingConfig": {"MaximumConcurrency": 5}}, {}):
            aws.add_response("update_event_source_mapping", {}, {**source, **limit})
        for projectors in (5, None):
            client.update_lambda_event_source(source["UUID"], 10, 1, projectors)
        aws.assert_no_pending_responses()
