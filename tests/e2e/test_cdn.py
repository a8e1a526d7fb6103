"""Run a stage behind CloudFront, with page and API at one host and a replaceable secret that blocks direct requests."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import pytest

from tests.e2e.conftest import PROJECT, configure, copy_project, eventually, ops

pytestmark = pytest.mark.exhaustive

STAGE = "edge"
STACK = f"counter-{STAGE}-cdn"


@dataclass(frozen=True)
class Edge:
    """The deployed stage, its distribution, and the address of its function URL."""

    project: Path
    deployed: dict[str, Any]
    site: dict[str, Any]
    viewer: httpx.Client

    @property
    def function_url(self) -> str:
        return str(self.deployed["AlsoAt"])

    def run(self, *arguments: str) -> dict[str, Any]:
        return run(self.project, *arguments)


def run(project: Path, command: str, *arguments: str) -> dict[str, Any]:
    done = ops(command, "--stage", STAGE, "--json", *arguments, at=project)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def read_secrets() -> tuple[str, list[str]]:
    """Return the secret that the distribution sends, and the digests that the function accepts."""
    distribution = (
        boto3.client("cloudformation")
        .describe_stack_resource(StackName=STACK, LogicalResourceId="Distribution")["StackResourceDetail"]
        .get("PhysicalResourceId", "")
    )
    origins = boto3.client("cloudfront").get_distribution_config(Id=distribution)["DistributionConfig"]["Origins"]
    (secret,) = [
        header["HeaderValue"]
        for origin in origins["Items"]
        for header in origin.get("CustomHeaders", {}).get("Items", [])
    ]
    function = boto3.client("lambda").get_function_configuration(FunctionName=f"counter-{STAGE}")
    return secret, function["Environment"]["Variables"]["FRONT_SECRETS"].split(",")


@pytest.fixture(scope="module")
def edge(place, tmp_path_factory) -> Iterator[Edge]:
    """Provision, deploy and publish the stage. Afterwards, remove everything."""
    project = copy_project(tmp_path_factory.mktemp("project"))
    shutil.copytree(PROJECT / "web", project / "web")
    run(project, "provision", "--yes", "--counters", "*")
    configure(project, STAGE, FRONT="url", CDN="cloudfront")
    run(project, "provision")
    deployed = run(project, "deploy")
    site = run(project, "site")
    host = urlsplit(site["url"]).netloc
    # The headers of a viewer that uses HTTPS. The embedded CloudFront selects its distribution by the Host.
    headers = {"Host": host, "X-Forwarded-Proto": "https"}
    with httpx.Client(base_url=place.aws_url, headers=headers, timeout=60) as viewer:
        yield Edge(project, deployed, site, viewer)
    ops("destroy", "--stage", STAGE, "--data", "--confirm", STAGE, at=project)


def test_distribution_serves_the_page_from_a_private_bucket(place, edge):
    page, gallery, script = (edge.viewer.get(path) for path in ("/", "/gallery.html", "/embed-1.js"))

    assert [page.status_code, gallery.status_code, script.status_code] == [200, 200, 200]
    assert json.dumps({"api_url": f"{edge.site['url']}api", "max_increment": 1000}) in page.text
    assert page.headers["cache-control"] == "public, max-age=60"
    assert httpx.get(f"{place.aws_url}/{edge.site['bucket']}/index.html", timeout=60).status_code == 403
    block = boto3.client("s3").get_public_access_block(Bucket=edge.site["bucket"])
    assert set(block["PublicAccessBlockConfiguration"].values()) == {True}


def test_page_has_the_security_headers_that_a_bucket_cannot_send(edge):
    documented = (PROJECT / "docs" / "cdn.md").read_text().partition("Content-Security-Policy: ")
    lines = "".join(documented[1:]).partition("```")[0].splitlines()

    page = edge.viewer.get("/")

    assert len(lines) == 6
    assert {name: page.headers[name] for name, _, _ in (line.partition(": ") for line in lines)} == {
        name: value for name, _, value in (line.partition(": ") for line in lines)
    }


def test_pages_of_other_sites_may_import_the_embeddable_client(edge):
    script = edge.viewer.get("/embed-1.js", headers={"Origin": "https://blog.example"})

    assert script.headers["access-control-allow-origin"] == "*"


def test_viewer_without_https_is_redirected(edge):
    found = edge.viewer.get("/", headers={"X-Forwarded-Proto": "http"})

    assert (found.status_code, found.headers["location"]) == (301, edge.site["url"])


def test_increment_through_the_distribution_is_counted(edge):
    counter = f"/api/counters/{uuid.uuid4()}"

    accepted = edge.viewer.post(f"{counter}/increments", json={"by": 3})

    assert accepted.status_code == 202, accepted.text
    eventually(lambda: edge.viewer.get(counter).raise_for_status().json()["value"] == 3)
    assert edge.viewer.get(f"{counter}/cached").json()["value"] == 3


def test_errors_of_the_api_stay_problem_documents(edge):
    found = edge.viewer.get("/api/nothing")

    assert (found.status_code, found.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("secret", [None, "", "0" * 64])
def test_function_url_refuses_clients_that_bypass_the_distribution(edge, secret):
    headers = {} if secret is None else {"X-Origin-Secret": secret}

    assert httpx.get(f"{edge.function_url}/counters/clicks", headers=headers, timeout=60).status_code == 403


def test_viewer_cannot_replace_the_secret(edge):
    assert edge.viewer.get("/api/counters/clicks", headers={"X-Origin-Secret": "mine"}).status_code == 200


def test_deploy_keeps_the_secret_unless_a_new_one_is_requested(edge):
    before = read_secrets()
    edge.run("deploy")
    kept = read_secrets()
    output = json.dumps(edge.run("deploy", "--new-secret"))
    secret, digests = read_secrets()

    assert kept == before
    assert secret != before[0]
    assert digests == [hashlib.sha256(secret.encode()).hexdigest()]
    assert secret not in output
    assert edge.viewer.get("/api/counters/clicks").status_code == 200
    old = {"X-Origin-Secret": before[0]}
    assert httpx.get(f"{edge.function_url}/counters/clicks", headers=old, timeout=60).status_code == 403


def test_secret_is_in_no_file_and_no_parameter(place, edge):
    secret, _ = read_secrets()
    (stack,) = boto3.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    files = [file for folder in (edge.project, place.folder / f"package-{STAGE}") for file in folder.rglob("*.json")]

    assert secret not in json.dumps(stack, default=str)
    assert files
    assert not [file for file in files if secret in file.read_text(encoding="utf-8")]


def test_destroy_removes_the_distribution_first(edge):
    listed = edge.run("destroy", "--data", "--dry-run")

    gone = edge.run("destroy", "--data", "--confirm", STAGE)
    again = edge.run("destroy", "--data", "--confirm", STAGE)

    assert "AWS::CloudFront::Distribution" in {each["type"] for each in listed["removed"]}
    assert gone["removed"][:2] == [STACK, f"counter-{STAGE}-app"]
    assert again["removed"] == []
    assert boto3.client("cloudfront").list_distributions()["DistributionList"].get("Items", []) == []
    assert edge.viewer.get("/").status_code == 403
