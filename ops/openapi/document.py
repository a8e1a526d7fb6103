"""
Generate the API's OpenAPI 3.1 document: each path, parameter, header, status and error, with examples.

`make openapi` writes the document to `chalicelib/extras/openapi.json`, which ships. Routes come from `app.py`; limits,
patterns and defaults come from their modules; and the service itself renders the examples. Therefore, the document
cannot drift from the code.
"""

import json
import re
from collections.abc import Iterable

from chalice.app import RouteEntry

import chalicelib
from chalicelib.extras import openapi
from ops.openapi.operations import OPERATIONS, PARAMETERS
from ops.openapi.responses import HEADERS, REFUSALS
from ops.openapi.schemas import JSON, SCHEMAS, refer_to

_DESCRIPTION = """\
A `202` response means that the event is durably recorded. It is counted exactly once, usually within a second. Requests
with the same `Idempotency-Key` on the same counter are the same command. A client can therefore retry with the same key
after a timeout, a `429` or a `5xx`.

Every error is a problem document (RFC 9457). `detail` states what was wrong and how to correct it; `type` is for
programs. API Gateway may refuse a request itself, with the type `urn:counter:problem:gateway-error` and a status of its
choice. Such a document has no `status`.

Each path that has GET also has HEAD: the same response, without its body. Any method that a path does not have, except
OPTIONS, gets a `405`, whose `Allow` lists the methods of the path.

Pages of the allowed origins can read every response, including errors (CORS). Each path responds to preflight requests.
"""

#: The errors of every route, of routes with parameters, and of routes with parameters in the path.
_EVERYWHERE = {"403": "GatewayRefused", "429": "TooMany", "500": "Failed", "502": "GatewayFailed", "503": "Unavailable"}
_WITH_PARAMETERS = {"400": "BadRequest"}
_WITH_PATH_PARAMETERS = {"404": "NotFound"}


def generate() -> JSON:
    """
    Generate the document, with placeholders for the settings of a stage.

    Raises:
        ValueError: a route of `app.py` has no description, or its query parameters differ from its description.
    """
    import app  # noqa: PLC0415  (it reads the settings)
    from chalicelib.api import views  # noqa: PLC0415  (it reads the settings)

    paths: JSON = {}
    for path, methods in app.app.routes.items():
        for method, route in methods.items():
            described = _describe_route(path, route, views.PARAMETERS.get(route.view_name, ()))
            paths.setdefault(path, {})[method.lower()] = _describe_head(described) if method == "HEAD" else described
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Counter",
            "version": chalicelib.__version__,
            "summary": "An event-sourced counter: each increment is counted exactly once.",
            "description": _DESCRIPTION,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": ".", "description": "The address of the API, relative to this document."}],
        "security": [],
        "paths": paths,
        "components": {"parameters": PARAMETERS, "headers": HEADERS, "schemas": SCHEMAS, "responses": REFUSALS},
    }


def _describe_route(path: str, route: RouteEntry, query_parameters: Iterable[str]) -> JSON:
    name = route.view_name
    summary = route.view_function.__doc__
    if name not in OPERATIONS or not summary:
        raise ValueError(f"{path} has no description: the view {name} needs a docstring and an entry in OPERATIONS")
    operation = OPERATIONS[name]
    in_path = [refer_to("parameters", parameter) for parameter in re.findall(r"{(\w+)}", path)]
    resolved = [
        PARAMETERS[part["$ref"].rpartition("/")[2]] if "$ref" in part else part for part in operation.parameters
    ]
    in_query = [parameter["name"] for parameter in resolved if parameter["in"] == "query"]
    if in_query != list(query_parameters):
        raise ValueError(f"{path} reads {list(query_parameters)} according to app.py, but OPERATIONS has {in_query}")
    refusals = (
        _EVERYWHERE
        | (_WITH_PARAMETERS if in_path or in_query else {})
        | (_WITH_PATH_PARAMETERS if in_path else {})
        | operation.refusals
    )
    responses = operation.responses | {status: refer_to("responses", refusal) for status, refusal in refusals.items()}
    return {
        "operationId": name,
        "summary": summary,
        **({"requestBody": operation.body} if operation.body else {}),
        "parameters": [*in_path, *operation.parameters],
        "responses": dict(sorted(responses.items())),
    }


def _describe_head(get: JSON) -> JSON:
    """Describe HEAD: the statuses and headers of GET, without bodies."""
    succeeded = {
        status: {name: part for name, part in response.items() if name != "content"}
        for status, response in get["responses"].items()
        if status < "400"
    }
    failed = {status: refer_to("responses", "Head") for status in ("4XX", "5XX")}
    return {
        **get,
        "operationId": f"head_{get['operationId']}",
        "summary": "Get the headers of the response to GET.",
        "responses": succeeded | failed,
    }


if __name__ == "__main__":
    openapi.FILE.write_text(json.dumps(generate(), indent=1) + "\n", encoding="utf-8")
