"""A stage with several origins, deployed as operators do it, and asked by pages of each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest

import app
from ops.local import ministack_gaps
from tests.e2e.conftest import copy_project, ops

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.exhaustive

STAGE = "origins"
FIRST, SECOND, FOREIGN = "https://page.example", "http://localhost:8080", "https://foreign.example"
EVENT = "0197a9d4-6f0e-7c3a-9d51-2b8e6f3c7a10"
PATHS = [path.format(counter_id="a", event_id=EVENT, name="daily") for path in app.app.routes]

#: Requests of each kind of response: the application's, Chalice's and API Gateway's own.
REQUESTS = {
    "read": ("GET", "/counters/a", 200),
    "head": ("HEAD", "/counters/a", 200),
    "invalid": ("GET", "/counters/a%20b", 400),
    "wrong method": ("PUT", "/counters/a", 405),
    "unknown path": ("GET", "/nothing", 404),
}


@pytest.fixture(scope="module")
def http(place, tmp_path_factory) -> Iterator[httpx.Client]:
    """Deploy a copy of the project to a stage with two origins, and return a client of its API."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    config = folder / ".chalice" / "config.json"
    configuration = json.loads(config.read_text(encoding="utf-8"))
    stage = json.loads(json.dumps(configuration["stages"]["dev"]).replace("dev", STAGE))
    stage["environment_variables"]["ALLOWED_ORIGIN"] = f"{FIRST},{SECOND}"
    configuration["stages"][STAGE] = stage
    config.write_text(json.dumps(configuration), encoding="utf-8")
    for command in ("provision", "deploy"):
        done = ops(command, "--stage", STAGE, "--json", at=folder)
        assert done.returncode == 0, done.stderr
    deployed = json.loads(done.stdout)
    template = place.folder / f"package-{STAGE}" / "result" / "sam.json"
    definition = json.loads(template.read_text(encoding="utf-8"))["Resources"]["RestAPI"]["Properties"]
    ministack_gaps.complete_api(deployed["ApiId"], "api", definition)
    with httpx.Client(base_url=deployed["Url"], timeout=60) as client:
        yield client


@pytest.mark.parametrize("origin", [FIRST, SECOND])
@pytest.mark.parametrize(("method", "path", "status"), REQUESTS.values(), ids=REQUESTS)
def test_every_response_names_the_origin_that_asked(http, method, path, status, origin):
    response = http.request(method, path, headers={"Origin": origin})

    assert response.status_code == status
    assert response.headers.get_list("Access-Control-Allow-Origin") == [origin]
    assert response.headers["Vary"] == "Origin"
    assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize("origin", [FIRST, SECOND])
def test_unchanged_counter_names_the_origin_that_asked(http, origin):
    response = http.get("/counters/a", headers={"Origin": origin, "If-None-Match": '"0"'})

    assert response.status_code == 304
    assert response.headers["Access-Control-Allow-Origin"] == origin
    assert response.headers["Vary"] == "Origin"


@pytest.mark.parametrize("path", PATHS)
def test_preflight_of_a_second_origin_is_granted(http, path):
    asked = {"Origin": SECOND, "Access-Control-Request-Method": "GET"}

    response = http.options(path, headers=asked)

    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Access-Control-Allow-Origin"] == SECOND
    assert "Idempotency-Key" in response.headers["Access-Control-Allow-Headers"]
    assert response.headers["Vary"] == "Origin"


@pytest.mark.parametrize("headers", [{}, {"Origin": FOREIGN}])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_foreign_origin_is_never_named_by_the_application(http, method, headers):
    response = http.request(method, "/counters/a", headers=headers)

    assert response.headers["Access-Control-Allow-Origin"] == FIRST
    assert response.headers["Vary"] == "Origin"


def test_refused_cross_origin_preflight_leaves_increments_to_allowed_pages(http):
    """The browser sends the increment only after a preflight that names its page's origin."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "idempotency-key"}

    named = {
        origin: http.options("/counters/a/increments", headers={**asked, "Origin": origin}).headers[
            "Access-Control-Allow-Origin"
        ]
        for origin in (FIRST, SECOND, FOREIGN)
    }

    assert named == {FIRST: FIRST, SECOND: SECOND, FOREIGN: FIRST}
