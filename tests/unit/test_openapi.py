"""Test that the OpenAPI document is valid, complete and up to date, and that its examples match their schemas."""

import json
from urllib.parse import urljoin

import pytest
from chalice.app import IAMAuthorizer
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator

import app
import chalicelib
from chalicelib import settings
from chalicelib.api import problems, responses, views
from chalicelib.errors import CounterError
from chalicelib.extras import openapi
from ops.deployment.gateway_responses import GATEWAY_PROBLEMS
from ops.openapi import document, operations
from testkit.builders import api_event
from tests.unit.test_requests import received, request

#: The document as a client reads it.
DOCUMENT = json.loads(openapi.render_document(settings.read({"STAGE": "dev"})))
OPERATIONS = [
    (method, path, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]


def resolve(part):
    """Return the target of a reference, or the part itself."""
    if "$ref" not in part:
        return part
    _, _, kind, name = part["$ref"].split("/")
    return DOCUMENT["components"][kind][name]


def validate(schema, value):
    whole = {**schema, "components": DOCUMENT["components"]}
    return [error.message for error in OAS31Validator(whole, format_checker=oas31_format_checker).iter_errors(value)]


def responses_of(operation):
    return {status: resolve(answer) for status, answer in operation["responses"].items()}


def schemas_with_examples():
    """Yield the place, the schema and the examples of each part that must have examples."""
    for _, path, operation in OPERATIONS:
        for parameter in map(resolve, operation["parameters"]):
            yield f"{path} {parameter['name']}", parameter["schema"], [parameter.get("example")]
        for content in operation.get("requestBody", {}).get("content", {}).values():
            yield f"{path} body", content["schema"], [content.get("example")]
        for status, answer in responses_of(operation).items():
            for content in answer.get("content", {}).values():
                yield f"{path} {status}", content["schema"], [shown["value"] for shown in content["examples"].values()]
    for name, header in DOCUMENT["components"]["headers"].items():
        yield name, header["schema"], [header["example"] if "example" in header else header["schema"]["const"]]


def problem_types(error=CounterError):
    """Yield the problem types of all error classes."""
    yield error.problem
    for subclass in error.__subclasses__():
        yield from problem_types(subclass)


def test_document_is_valid_openapi():
    assert [str(error) for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_document_describes_exactly_the_routes():
    """Each operation has the name of its view, with a prefix for HEAD."""
    declared = {
        (method.lower(), path, f"head_{route.view_name}" if method == "HEAD" else route.view_name)
        for path, methods in app.app.routes.items()
        for method, route in methods.items()
    }

    assert {(method, path, operation["operationId"]) for method, path, operation in OPERATIONS} == declared


def test_route_without_description_is_named(monkeypatch):
    monkeypatch.delitem(operations.OPERATIONS, "history")

    with pytest.raises(ValueError, match=r"^/counters/{counter_id}/history has no description: the view history needs"):
        document.generate()


def test_route_described_with_other_parameters_is_named(monkeypatch):
    monkeypatch.setitem(views.PARAMETERS, "history", ("from", "to"))

    with pytest.raises(ValueError, match=r"^/counters/{counter_id}/history reads \['from', 'to'\] according to app.py"):
        document.generate()


@pytest.mark.parametrize(
    ("place", "schema", "examples"), [pytest.param(*case, id=case[0]) for case in schemas_with_examples()]
)
def test_examples_match_their_schemas(place, schema, examples):
    assert examples
    assert [validate(schema, example) for example in examples] == [[]] * len(examples)


def test_document_describes_exactly_the_problem_types():
    known = {*problem_types(), *(gateway.problem for gateway in GATEWAY_PROBLEMS.values())}

    described = {
        (example["value"].get("status"), kind)
        for answer in DOCUMENT["components"]["responses"].values()
        for content in answer.get("content", {}).values()
        for kind in content["schema"]["properties"]["type"]["enum"]
        for example in content["examples"].values()
        if example["value"]["type"] == kind
    }

    assert described == {(problem.status, f"urn:counter:problem:{problem.name}") for problem in known}


def test_error_responses_are_problem_documents_of_their_status():
    for _, path, operation in OPERATIONS:
        for status, answer in responses_of(operation).items():
            if status >= "400" and "content" in answer:
                (schema,) = [content["schema"] for content in answer["content"].values()]
                assert set(answer["content"]) == {problems.PROBLEM_JSON}, path
                assert {"type", "title", "detail"} <= set(schema["required"]), path
                assert schema["properties"].get("status", {"const": int(status)}) == {"const": int(status)}, path


def test_head_has_the_statuses_and_headers_of_get_and_no_content():
    for path, methods in DOCUMENT["paths"].items():
        assert ("get" in methods) == ("head" in methods), path
        if "get" in methods:
            get, head = responses_of(methods["get"]), responses_of(methods["head"])
            assert methods["head"]["parameters"] == methods["get"]["parameters"]
            assert {status: answer["headers"] for status, answer in head.items() if status < "400"} == {
                status: answer["headers"] for status, answer in get.items() if status < "400"
            }
            assert {"4XX", "5XX"} <= head.keys()
            assert not any("content" in answer for answer in head.values())


def test_every_response_has_cors_headers():
    for _, path, operation in OPERATIONS:
        for status, answer in responses_of(operation).items():
            headers = {name: resolve(header)["schema"] for name, header in answer["headers"].items()}
            assert headers["Access-Control-Allow-Origin"] == {"const": "*"}, (path, status)
            assert "ETag" in headers["Access-Control-Expose-Headers"]["const"], (path, status)


def test_document_has_the_limit_and_origin_of_the_stage():
    stage = settings.read({"STAGE": "dev", "MAX_INCREMENT": "7", "ALLOWED_ORIGIN": "https://page.example"})

    document = json.loads(openapi.render_document(stage))

    body = document["paths"]["/counters/{counter_id}/increments"]["post"]["requestBody"]
    assert body["content"]["application/json"]["schema"]["properties"]["by"]["maximum"] == 7
    origin = document["components"]["headers"]["Access-Control-Allow-Origin"]
    assert origin["schema"] == {"const": "https://page.example"}


def test_security_of_operations_matches_the_routes(monkeypatch):
    stage = settings.read({"STAGE": "dev"})
    increments, counter = "/counters/{counter_id}/increments", "/counters/{counter_id}"
    monkeypatch.setattr(app.app.routes[increments]["POST"], "authorizer", IAMAuthorizer())
    for route in app.app.routes[counter].values():
        monkeypatch.setattr(route, "api_key_required", True)

    document = json.loads(openapi.render_document(stage, ".", app.app.routes))

    secured = {
        (path, method): operation["security"]
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "security" in operation
    }
    assert secured.pop((increments, "post")) == [{"iam": []}]
    assert secured == {(counter, method): [{"api-key": []}] for method in ("get", "head")}
    assert document["components"]["securitySchemes"].keys() == {"api-key", "iam"}
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


@pytest.mark.parametrize(("address", "root"), [("/openapi.json", "."), ("/openapi.json/", "..")])
def test_server_of_the_document_is_relative_to_its_address(address, root):
    event = api_event("GET", "/openapi.json", address=f"/api{address}")

    document = json.loads(openapi.render_document(settings.read({"STAGE": "dev"}), received(event).root))

    assert urljoin(f"https://host/api{address}", document["servers"][0]["url"]).rstrip("/") == "https://host/api"
    assert document["servers"][0]["url"] == root


def test_document_has_the_version_of_the_service():
    assert DOCUMENT["info"]["version"] == chalicelib.__version__


def test_committed_document_is_up_to_date():
    """`make openapi` renders it."""
    assert json.loads(openapi.FILE.read_text(encoding="utf-8")) == json.loads(json.dumps(document.generate()))


def test_document_with_a_matching_etag_is_304():
    first = responses.render_cacheable(request(), json.dumps(DOCUMENT), openapi.HEADERS)

    again = responses.render_cacheable(
        request(headers={"If-None-Match": first.headers["ETag"]}), json.dumps(DOCUMENT), openapi.HEADERS
    )

    assert (first.status_code, again.status_code) == (200, 304)
    assert json.loads(first.body) == DOCUMENT
    assert first.headers["Content-Type"] == "application/json"
