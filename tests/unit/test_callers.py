"""WRITERS and READERS decide which callers API Gateway lets in, by route."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chalice.app import Chalice, IAMAuthorizer

from chalicelib import settings
from chalicelib.access import callers
from chalicelib.errors import SettingsError

PROJECT = Path(__file__).parent.parent.parent

_PRINT_ROUTES = """
import app, json
print(json.dumps([
    (method, path, bool(route.api_key_required), getattr(route.authorizer, "name", None))
    for path, methods in app.app.routes.items() for method, route in methods.items()
]))
"""

#: The routes that return no counter data.
OPEN = {"/", "/openapi.json"}


def list_routes(**environment: str) -> list[tuple[str, str, bool, str | None]]:
    """Return each method and path, whether it requires an API key, and the name of its authorizer."""
    routes: list[tuple[str, str, bool, str | None]] = run(_PRINT_ROUTES, **environment)
    return routes


def run(program: str, **environment: str) -> Any:
    """Run a program that imports the application with these settings, and return the JSON in its last line."""
    output = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return json.loads(output.splitlines()[-1])


RESTRICTIONS = {
    "anyone": (False, None),
    "api-key": (True, None),
    "iam": (False, "sigv4"),
    "jwt": (False, "authorize"),
}
ISSUER = {"JWT_ISSUER": "https://login.example", "JWT_AUDIENCE": "counter"}


def test_each_setting_has_an_expected_restriction():
    assert RESTRICTIONS.keys() == {*settings.CALLERS}


@pytest.mark.parametrize(
    ("writers", "readers"), [("anyone", "api-key"), ("api-key", "iam"), ("iam", "jwt"), ("jwt", "anyone")]
)
def test_routes_are_restricted_by_writers_and_readers(writers, readers):
    routes = list_routes(WRITERS=writers, READERS=readers, **ISSUER)

    assert {(method, path): tuple(found) for method, path, *found in routes} == {
        (method, path): RESTRICTIONS["anyone" if path in OPEN else writers if method == "POST" else readers]
        for method, path, *_ in routes
    }


def test_preflight_routes_of_several_origins_are_not_restricted():
    """Browsers send no credentials with a preflight request."""
    origins = "https://a.example,https://b.example"

    routes = list_routes(WRITERS="iam", READERS="api-key", ALLOWED_ORIGIN=origins)

    preflights = [found for method, _, *found in routes if method == "OPTIONS"]
    assert preflights
    assert preflights == [[False, None]] * len(preflights)


def test_unknown_callers_are_not_let_in():
    with pytest.raises(ValueError, match="everyone"):
        callers.restrict("everyone")
    with pytest.raises(ValueError, match="jwt"):
        callers.restrict("jwt")


@pytest.mark.parametrize("name", ["WRITERS", "READERS"])
def test_unknown_callers_in_a_setting_are_refused(name):
    with pytest.raises(SettingsError, match=f"{name} must be one of anyone, api-key, iam.*, got 'friends'"):
        settings.read({"STAGE": "dev", name: "friends"})


def test_signatures_are_checked_by_api_gateway():
    assert isinstance(callers.restrict("iam")["authorizer"], IAMAuthorizer)


_PRINT_POLICIES = """
import app, json
from testkit.builders import api_event
from chalicelib.extras import openapi
document = json.loads(openapi.render_document(app._settings, ".", app.app.routes))
described = [
    json.dumps(document["paths"][path]["get"]["responses"]["200"]["headers"]["Cache-Control"])
    for path in ("/counters/{counter_id}/badge.svg", "/counters/{counter_id}/cached", "/openapi.json")
]
send = lambda path: app.app(api_event("GET", path), None)["headers"]["Cache-Control"]
sent = [send("/openapi.json")]
for path, policy in (("/minute", "public, max-age=60"), ("/second", app.responses.SHARED)):
    app.app.route(path, **app._query_route)(lambda policy=policy: app.Response("", headers={"Cache-Control": policy}))
    sent.append(send(path))
print(json.dumps([sent, described]))
"""


@pytest.mark.parametrize(
    ("readers", "policies"),
    [
        ("anyone", ("public, max-age=60", "public, max-age=0, s-maxage=1")),
        ("iam", ("private, max-age=60", "private, no-cache")),
    ],
)
def test_shared_caches_keep_no_response_that_needs_credentials(readers, policies):
    """A cache that keeps it would serve it to clients without credentials."""
    sent, described = run(_PRINT_POLICIES, READERS=readers)

    assert sent == ["public, max-age=60", *policies]
    assert [json.loads(each)["schema"]["const"] for each in described] == [*policies, "public, max-age=60"]


@pytest.mark.parametrize("allowed", settings.CALLERS)
def test_callers_can_be_read_from_a_route(allowed):
    app = Chalice(app_name="test")
    authorizer = app.authorizer()(lambda request: request)
    app.route("/", **callers.restrict(allowed, authorizer))(lambda: None)

    assert callers.find_callers(app.routes["/"]["GET"]) == allowed
