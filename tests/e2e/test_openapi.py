"""The deployed service conforms to its OpenAPI document, as checked by Schemathesis."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from tests.e2e.conftest import PROJECT, make_environment, ops

pytestmark = pytest.mark.exhaustive

CONFIGURATION = PROJECT / "tests" / "e2e" / "schemathesis.toml"


@pytest.fixture(scope="module")
def document(api_url):
    """Return the service's OpenAPI document, after an adjustment and the example of each command."""
    with httpx.Client(base_url=api_url, timeout=60) as http:
        document = http.get("/openapi.json").raise_for_status().json()
        for path, methods in document["paths"].items():
            if command := methods.get("post"):
                (key,) = [each["example"] for each in command["parameters"] if each.get("name") == "Idempotency-Key"]
                body = command["requestBody"]["content"]["application/json"]["example"]
                sent = {"Idempotency-Key": key, "Prefer": "return=representation"}
                http.post(path.format(counter_id="clicks"), json=body, headers=sent).raise_for_status()
    adjust = ("adjust", "clicks", "--by=-1", "--reason=an example", "--key=an example", "--yes", "--stage=local")
    assert ops(*adjust, STAGE=None).returncode == 0
    return document


@pytest.fixture
def run_schemathesis(api_url, tmp_path):
    """Return a function that checks the service against a document with Schemathesis."""

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


def test_service_conforms_to_the_document(document, run_schemathesis):
    result = run_schemathesis(document)

    assert result.returncode == 0, result.stdout + result.stderr
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert f"Tested: {len(operations)}\n" in result.stdout
    (generated,) = re.findall(r"(\d+) generated, \1 passed", result.stdout)
    assert int(generated) > 1000


def replace_202_by_201(document):
    answers = document["paths"]["/counters/{counter_id}/increments"]["post"]["responses"]
    answers["201"] = answers.pop("202")


def make_value_a_string(document):
    document["components"]["schemas"]["Counter"]["properties"]["value"] = {"type": "string"}


def remove_updated_at(document):
    counter = document["components"]["schemas"]["Counter"]
    del counter["properties"]["updated_at"]
    counter["required"].remove("updated_at")


def require_location(document):
    answer = document["paths"]["/counters/{counter_id}"]["get"]["responses"]["200"]
    answer["headers"]["Location"] = {"$ref": "#/components/headers/Location"}


def change_media_type(document):
    content = document["paths"]["/counters/{counter_id}/badge.svg"]["get"]["responses"]["200"]["content"]
    content["image/png"] = content.pop("image/svg+xml")


def raise_limit(document):
    document["components"]["parameters"]["limit"]["schema"]["maximum"] = 1000


def restrict_counter_id(document):
    document["components"]["parameters"]["counter_id"]["schema"]["pattern"] = "^[a-z]{1,64}$"


def make_report_value_a_string(document):
    rows = document["components"]["schemas"]["Report"]["oneOf"][0]["properties"]["rows"]
    rows["items"]["properties"]["value"] = {"type": "string"}


@pytest.mark.parametrize(
    ("break_document", "operation", "difference"),
    [
        (replace_202_by_201, "increment", "Undocumented status code"),
        (make_value_a_string, "counter", "Response violates schema"),
        (remove_updated_at, "counter", "Response violates schema"),
        (require_location, "counter", "Missing required response headers"),
        (change_media_type, "badge", "Undocumented Content-Type"),
        (raise_limit, "counters", "Schema-valid request rejected"),
        (restrict_counter_id, "counter", "Schema-violating request accepted"),
        (make_report_value_a_string, "report", "Response violates schema"),
    ],
)
def test_wrong_document_is_detected(document, run_schemathesis, break_document, operation, difference):
    changed = copy.deepcopy(document)
    break_document(changed)

    result = run_schemathesis(
        changed, "--include-operation-id", operation, "--phases", "coverage,fuzzing", "--no-shrink"
    )

    assert result.returncode == 1, result.stdout + result.stderr
    assert difference in result.stdout


def test_server_of_the_document_is_its_own_address(client, document):
    (server,) = document["servers"]
    response = client.http.get("/openapi.json")

    address = urljoin(str(response.request.url), server["url"]).rstrip("/")

    assert client.http.get(f"{address}/counters/clicks").json()["counter_id"] == "clicks"


def test_document_with_a_matching_etag_is_304(client):
    first = client.http.get("/openapi.json")

    again = client.http.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})

    assert (first.headers["Content-Type"], first.headers["Cache-Control"]) == ("application/json", "public, max-age=60")
    assert (again.status_code, again.content) == (304, b"")
