"""With several origins, each response names the origin that asked, so that pages of all origins can read it."""

import importlib.util
import json

import pytest
from chalice.config import Config
from chalice.local import LocalGateway

from chalicelib import settings
from chalicelib.extras import openapi
from ops.deployment import overlay
from ops.stages import PROJECT
from testkit.builders import api_event
from tests.environments import environment

PAGE, SECOND = "https://page.example", "http://localhost:8080"
BOTH = f"{PAGE},{SECOND}"
EXPOSED = {"ETag", "Location", "Idempotency-Replayed", "Preference-Applied", "Retry-After", "Link", "Date"}


def load_app(allowed):
    """Load the application's module again, with these origins."""
    spec = importlib.util.spec_from_file_location("app_with_origins", PROJECT / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with environment(ALLOWED_ORIGIN=allowed):
        spec.loader.exec_module(module)
    return module.app


@pytest.fixture(scope="module")
def app():
    return load_app(BOTH)


def send(app, method, resource, origin=None, **headers):
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    origins = {} if origin is None else {"origin": origin}
    return app(
        api_event(
            method, resource, path=dict.fromkeys(("counter_id", "event_id", "name"), "a b"), headers={**sent, **origins}
        ),
        None,
    )


@pytest.mark.parametrize("origin", [PAGE, SECOND])
@pytest.mark.parametrize(
    ("method", "resource", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/openapi.json", 200),
        ("GET", "/counters/{counter_id}", 400),
        ("POST", "/counters/{counter_id}/increments", 400),
        ("PUT", "/counters", 405),
        ("OPTIONS", "/counters/{counter_id}/increments", 200),
    ],
)
def test_every_response_names_the_origin_that_asked(app, method, resource, status, origin):
    response = send(app, method, resource, origin)

    assert response["statusCode"] == status
    assert response["headers"]["Access-Control-Allow-Origin"] == origin
    assert response["headers"]["Vary"] == "Origin"
    assert set(response["headers"]["Access-Control-Expose-Headers"].split(",")) == EXPOSED


@pytest.mark.parametrize("origin", [None, "", "null", "https://foreign.example", f"{PAGE}/", PAGE.upper(), "*", BOTH])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "PUT"])
def test_another_origin_gets_the_first_one_named(app, method, origin):
    """Browsers compare origins character by character, and refuse a response that names another one."""
    response = send(app, method, "/counters/{counter_id}", origin)

    assert response["headers"]["Access-Control-Allow-Origin"] == PAGE
    assert response["headers"]["Vary"] == "Origin"


def test_unchanged_response_names_the_origin_that_asked(app):
    tag = send(app, "GET", "/openapi.json", PAGE)["headers"]["ETag"]

    unchanged = send(app, "GET", "/openapi.json", SECOND, If_None_Match=tag)

    assert unchanged["statusCode"] == 304
    assert unchanged["headers"]["Access-Control-Allow-Origin"] == SECOND
    assert unchanged["headers"]["Vary"] == "Origin"


def test_badge_that_varies_by_accept_also_varies_by_origin(app):
    refusal = send(app, "GET", "/counters/{counter_id}/badge.svg", SECOND, Accept="image/*")

    assert refusal["statusCode"] == 200
    assert refusal["headers"]["Vary"] == "Accept, Origin"
    assert refusal["headers"]["Access-Control-Allow-Origin"] == SECOND


def test_preflight_allows_the_methods_and_headers_of_its_path(app):
    for path, methods in app.routes.items():
        headers = send(app, "OPTIONS", path, SECOND)["headers"]
        assert set(headers["Access-Control-Allow-Methods"].split(",")) == methods.keys() >= {"OPTIONS"}
        assert "Idempotency-Key" in headers["Access-Control-Allow-Headers"].split(",")
        assert int(headers["Access-Control-Max-Age"]) > 0


def test_other_responses_omit_the_headers_that_a_preflight_needs(app):
    headers = send(app, "GET", "/", SECOND)["headers"]

    assert not {"Access-Control-Allow-Headers", "Access-Control-Max-Age"} & headers.keys()


def test_preflight_is_not_a_link_of_the_index(app):
    several, one = (json.loads(send(each, "GET", "/")["body"])["links"] for each in (app, load_app(PAGE)))

    assert several == one


@pytest.mark.parametrize("allowed", ["*", PAGE])
def test_one_origin_is_named_to_all_and_needs_no_vary(allowed):
    app = load_app(allowed)

    response = send(app, "GET", "/", SECOND)

    assert response["headers"]["Access-Control-Allow-Origin"] == allowed
    assert "Vary" not in response["headers"]
    assert not any("OPTIONS" in methods for methods in app.routes.values())


def gateway_headers(allowed):
    rendered = overlay.render(settings.read({"STAGE": "dev", "ALLOWED_ORIGIN": allowed}))
    responses = rendered["Resources"]["RestAPI"]["Properties"]["GatewayResponses"]
    return [response["ResponseParameters"]["Headers"] for response in responses.values()]


def test_gateway_errors_name_the_origin_that_asked_if_there_are_several():
    for headers in gateway_headers(BOTH):
        assert headers["Access-Control-Allow-Origin"] == "method.request.header.Origin"
        assert headers["Vary"] == "'Origin'"
    for headers in gateway_headers(PAGE):
        assert headers["Access-Control-Allow-Origin"] == f"'{PAGE}'"
        assert "Vary" not in headers


def test_document_describes_any_origin_if_there_are_several():
    """API Gateway's own errors name any origin, and none if the request has none."""
    rendered = json.loads(openapi.render_document(settings.read({"STAGE": "dev", "ALLOWED_ORIGIN": BOTH})))

    origin = rendered["components"]["headers"]["Access-Control-Allow-Origin"]
    assert "required" not in origin
    assert origin["schema"] == {"type": "string"}


def test_chalice_local_lets_the_application_answer_preflights(app):
    gateway = LocalGateway(app, Config.create(lambda_timeout=25))

    response = gateway.handle_request("OPTIONS", "/counters/a", {"origin": SECOND}, b"")

    assert (response["statusCode"], response["body"]) == (200, "")
    assert response["headers"]["Access-Control-Allow-Origin"] == SECOND
