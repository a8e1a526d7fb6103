"""Schemathesis compares /openapi.json with the deployed service."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urljoin

import pytest

from tests.e2e.conftest import PROJECT, make_environment, ops

pytestmark = pytest.mark.exhaustive

CONFIGURATION = PROJECT / "tests" / "e2e" / "schemathesis.toml"


@pytest.fixture
def document(client):
    """Return the service's OpenAPI document, after counting events of each type on the counter of its examples."""
    client.increment("clicks", 5, Idempotency_Key="my first click", Prefer="return=representation")
    adjust = ("adjust", "clicks", "--by=-1", "--reason=an example", "--key=an example", "--yes", "--stage=local")
    assert ops(*adjust, STAGE=None).returncode == 0
    return client.http.get("/openapi.json").raise_for_status().json()


@pytest.fixture
def ask(api_url, tmp_path):
    """Lets Schemathesis hold the service against a document."""

    def run(document, *options):
        described = Path(tmp_path, "openapi.json")
        described.write_text(json.dumps(document), encoding="utf-8")
        program = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"
        arguments = ["--no-color", "--config-file", str(CONFIGURATION), "run", str(described), "--url", api_url]
        return subprocess.run(
            [sys.executable, "-c", program, *arguments, *options],
            cwd=tmp_path,
            env=make_environment({"PYTHONPATH": str(PROJECT), "COLUMNS": "120"}),
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_document_and_service_agree(document, ask):
    found = ask(document)

    assert found.returncode == 0, found.stdout + found.stderr
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert f"Tested: {len(operations)}\n" in found.stdout
    (generated,) = re.findall(r"(\d+) generated, \1 passed", found.stdout)
    assert int(generated) > 1000


def says_created(document):
    answers = document["paths"]["/counters/{counter_id}/increments"]["post"]["responses"]
    answers["201"] = answers.pop("202")


def says_text(document):
    document["components"]["schemas"]["Counter"]["properties"]["value"] = {"type": "string"}


def lacks_a_member(document):
    counter = document["components"]["schemas"]["Counter"]
    del counter["properties"]["updated_at"]
    counter["required"].remove("updated_at")


def promises_a_header(document):
    answer = document["paths"]["/counters/{counter_id}"]["get"]["responses"]["200"]
    answer["headers"]["Location"] = {"$ref": "#/components/headers/Location"}


def says_another_media_type(document):
    content = document["paths"]["/counters/{counter_id}/badge.svg"]["get"]["responses"]["200"]["content"]
    content["image/png"] = content.pop("image/svg+xml")


def allows_longer_pages(document):
    document["components"]["parameters"]["limit"]["schema"]["maximum"] = 1000


def allows_less(document):
    document["components"]["parameters"]["counter_id"]["schema"]["pattern"] = "^[a-z]{1,64}$"


def takes_numbers_for_texts(document):
    rows = document["components"]["schemas"]["Report"]["oneOf"][0]["properties"]["rows"]
    rows["items"]["properties"]["value"] = {"type": "string"}


@pytest.mark.parametrize(
    ("wrong", "operation", "difference"),
    [
        (says_created, "increment", "Undocumented status code"),
        (says_text, "counter", "Response violates schema"),
        (lacks_a_member, "counter", "Response violates schema"),
        (promises_a_header, "counter", "Missing required response headers"),
        (says_another_media_type, "badge", "Undocumented Content-Type"),
        (allows_longer_pages, "counters", "Schema-valid request rejected"),
        (allows_less, "counter", "Schema-violating request accepted"),
        (takes_numbers_for_texts, "report", "Response violates schema"),
    ],
)
def test_a_document_that_is_wrong_does_not_pass(document, ask, wrong, operation, difference):
    changed = copy.deepcopy(document)
    wrong(changed)

    found = ask(changed, "--include-operation-id", operation, "--phases", "coverage,fuzzing", "--no-shrink")

    assert found.returncode == 1, found.stdout + found.stderr
    assert difference in found.stdout


def test_the_documents_server_is_where_the_document_is(client, document):
    (server,) = document["servers"]
    found = client.http.get("/openapi.json")

    address = urljoin(str(found.request.url), server["url"]).rstrip("/")

    assert client.http.get(f"{address}/counters/clicks").json()["counter_id"] == "clicks"


def test_a_client_that_has_the_document_is_not_sent_it_again(client):
    first = client.http.get("/openapi.json")

    again = client.http.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})

    assert (first.headers["Content-Type"], first.headers["Cache-Control"]) == ("application/json", "public, max-age=60")
    assert (again.status_code, again.content) == (304, b"")
