"""The OpenAPI document: well-formed, complete, with valid examples."""

from __future__ import annotations

import json

import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator

import chalicelib
from chalicelib import settings
from chalicelib.api import problems, responses
from chalicelib.errors import CounterError
from chalicelib.extras import badge as extras_badge
from chalicelib.extras import openapi
from tests.unit.test_requests import request

#: As a client reads it.
DOCUMENT = json.loads(json.dumps(openapi.document(settings.read({"STAGE": "dev"}))))
OPERATIONS = [
    (method, path, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]


def resolved(part):
    """Resolve a reference; return anything else unchanged."""
    if "$ref" not in part:
        return part
    _, _, kind, name = part["$ref"].split("/")
    return DOCUMENT["components"][kind][name]


def complaints(schema, value):
    whole = {**schema, "components": DOCUMENT["components"]}
    return [error.message for error in OAS31Validator(whole, format_checker=oas31_format_checker).iter_errors(value)]


def answers(operation):
    return {status: resolved(answer) for status, answer in operation["responses"].items()}


def with_examples():
    """Everything that has a schema and must have an example: where it is, the schema and the examples."""
    for _, path, operation in OPERATIONS:
        for parameter in map(resolved, operation["parameters"]):
            yield f"{path} {parameter['name']}", parameter["schema"], [parameter.get("example")]
        for content in operation.get("requestBody", {}).get("content", {}).values():
            yield f"{path} body", content["schema"], [content.get("example")]
        for status, answer in answers(operation).items():
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


def test_every_route_is_described_and_no_other():
    import app

    declared = {(method.lower(), path) for path, methods in app.app.routes.items() for method in methods}

    assert {(method, path) for method, path, _ in OPERATIONS} == declared


def test_every_operation_has_the_name_of_its_function():
    import app

    names = {path: view.view_name for path, methods in app.app.routes.items() for view in methods.values()}

    assert {path: operation["operationId"] for _, path, operation in OPERATIONS} == names


@pytest.mark.parametrize(
    ("place", "schema", "examples"), [pytest.param(*found, id=found[0]) for found in with_examples()]
)
def test_everything_has_an_example_that_is_what_it_says(place, schema, examples):
    assert examples
    assert [complaints(schema, example) for example in examples] == [[]] * len(examples)


def test_every_problem_is_described_where_it_is_answered_and_no_other():
    known = {*problem_types(), *(problem for problem, _ in problems.GATEWAY_PROBLEMS.values())}

    described = {
        (schema["properties"].get("status", {}).get("const"), kind)
        for _, _, operation in OPERATIONS
        for answer in answers(operation).values()
        for media_type, content in answer.get("content", {}).items()
        if media_type == problems.PROBLEM_JSON
        for schema in [content["schema"]]
        for kind in schema["properties"]["type"]["enum"]
    }

    assert described == {(problem.status, f"urn:counter:problem:{problem.name}") for problem in known}


def test_every_refusal_is_a_problem_document_of_its_status():
    for _, path, operation in OPERATIONS:
        for status, answer in answers(operation).items():
            if int(status) >= 400:
                (schema,) = [content["schema"] for content in answer["content"].values()]
                assert set(answer["content"]) == {problems.PROBLEM_JSON}, path
                assert {"type", "title", "detail"} <= set(schema["required"]), path
                assert schema["properties"].get("status", {"const": int(status)}) == {"const": int(status)}, path


def test_every_answer_says_what_a_browser_needs_to_read_it():
    for _, path, operation in OPERATIONS:
        for status, answer in answers(operation).items():
            headers = {name: resolved(header)["schema"] for name, header in answer["headers"].items()}
            assert headers["Access-Control-Allow-Origin"] == {"const": "*"}, (path, status)
            assert "ETag" in headers["Access-Control-Expose-Headers"]["const"], (path, status)


def test_limits_and_origins_are_those_of_the_stage():
    stage = settings.read({"STAGE": "dev", "MAX_INCREMENT": "7", "ALLOWED_ORIGIN": "https://page.example"})

    document = openapi.document(stage)

    body = document["paths"]["/counters/{counter_id}/increments"]["post"]["requestBody"]
    assert body["content"]["application/json"]["schema"]["properties"]["by"]["maximum"] == 7
    origin = document["components"]["headers"]["Access-Control-Allow-Origin"]
    assert origin["schema"] == {"const": "https://page.example"}


def test_badges_have_the_parameters_that_are_read():
    badge = DOCUMENT["paths"]["/counters/{counter_id}/badge.svg"]["get"]

    parameters = map(resolved, badge["parameters"])

    assert tuple(found["name"] for found in parameters if found["in"] == "query") == extras_badge.PARAMETERS


def test_document_has_the_deployed_version():
    assert DOCUMENT["info"]["version"] == chalicelib.__version__


def test_a_client_that_has_it_is_not_sent_it_again():
    first = responses.render_cacheable(request(), json.dumps(DOCUMENT), openapi.HEADERS)

    again = responses.render_cacheable(
        request(headers={"If-None-Match": first.headers["ETag"]}), json.dumps(DOCUMENT), openapi.HEADERS
    )

    assert (first.status_code, again.status_code) == (200, 304)
    assert json.loads(first.body) == DOCUMENT
    assert first.headers["Content-Type"] == "application/json"
