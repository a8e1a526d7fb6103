"""
Serve function URLs and HTTP APIs, whose requests arrive in the payload format 2.0.

The Chalice application expects requests in the format of a REST API. This module translates requests and responses; the
application provides routes, errors and everything else. See
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from chalicelib.api import problems, responses
from chalicelib.errors import PathNotFoundError, RequestError, SecretMissingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from chalice.app import Chalice

    from chalicelib.settings import Settings

    Event = Mapping[str, Any]

#: The folder of the API on the page's host. A CDN may forward paths with or without it.
FOLDER = "/api"

#: The header with which the stage's CDN proves that a request came through it.
SECRET_HEADER = "x-origin-secret"  # noqa: S105  (a name)

#: Equal to `minimum_compression_size` in `.chalice/config.json`: a smaller body fits in one packet.
_COMPRESSED_BYTES = 1400

#: Matches an Accept-Encoding header of a client that accepts gzip.
_GZIP = re.compile(r"(?:^|,)\s*gzip\s*(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", re.IGNORECASE)


def serve(app: Chalice, settings: Settings, event: Event, context: object) -> dict[str, Any]:
    """
    Respond to a request from a function URL, an HTTP API or the REST API.

    If FRONT_SECRETS is set, a request in the payload format 2.0 must have one of the secrets in its header
    `X-Origin-Secret`.
    """
    if event.get("version") != "2.0":
        response: dict[str, Any] = app(event, context)
        return response
    headers = event["headers"]
    try:
        _check_secret(headers, settings.front_secrets)
        response = app(_to_rest(event, app.routes), context)
    except RequestError as error:
        refusal = responses.end_line(problems.render_problem(error))
        response = responses.add_cors_headers(refusal, settings.allowed_origin, headers.get("origin")).to_dict()
    return _from_rest(response, headers.get("accept-encoding", ""))


def _check_secret(headers: Mapping[str, str], digests: tuple[str, ...]) -> None:
    sent = hashlib.sha256(headers.get(SECRET_HEADER, "").encode()).hexdigest()
    if digests and not any(hmac.compare_digest(sent, digest) for digest in digests):
        raise SecretMissingError


def _to_rest(event: Event, routes: Iterable[str]) -> dict[str, Any]:
    """
    Translate a request into the format of a REST API.

    Raises:
        PathNotFoundError: no route has this path.
    """
    context = event["requestContext"]
    path = event["rawPath"]
    if ".lambda-url." not in context["domainName"]:
        # A function URL leaves paths encoded. An HTTP API decodes them, except for %25.
        path = quote(path, safe="/%")
    path = path.removeprefix(FOLDER) if path.startswith(f"{FOLDER}/") or path == FOLDER else path
    resource, parameters = _find_route(routes, path)
    method = context["http"]["method"]
    query = parse_qs(event["rawQueryString"], keep_blank_values=True)
    return {
        "httpMethod": method,
        "path": path,
        "resource": resource,
        "pathParameters": parameters,
        "headers": event["headers"],
        "multiValueHeaders": {name: [value] for name, value in event["headers"].items()},
        "multiValueQueryStringParameters": query or None,
        "body": event.get("body"),
        "isBase64Encoded": event.get("isBase64Encoded", False),
        "stageVariables": None,
        "requestContext": {
            "httpMethod": method,
            "path": path,
            "resourcePath": resource,
            "requestId": context["requestId"],
            "identity": {"sourceIp": context["http"]["sourceIp"]},
        },
    }


def _find_route(routes: Iterable[str], path: str) -> tuple[str, dict[str, str]]:
    """
    Return the route that matches a path, and the path's parameters, still percent-encoded.

    Like a REST API, ignore trailing slashes.
    """
    parts = path.rstrip("/").split("/")
    for route in routes:
        names = route.rstrip("/").split("/")
        pairs = list(zip(names, parts, strict=False))
        if len(names) == len(parts) and all(part if name[:1] == "{" else name == part for name, part in pairs):
            return route, {name[1:-1]: part for name, part in pairs if name[:1] == "{"}
    raise PathNotFoundError


def _from_rest(response: Mapping[str, Any], accepted_encodings: str) -> dict[str, Any]:
    """Translate a response into the payload format 2.0. Compress a large body if the client accepts gzip."""
    headers = {"Content-Type": "application/json", **response["headers"]}  # the default of a REST API
    headers |= {name: ", ".join(values) for name, values in response.get("multiValueHeaders", {}).items()}
    body, is_encoded = response["body"], False
    if len(body) >= _COMPRESSED_BYTES:
        headers["Vary"] = ", ".join(filter(None, [headers.get("Vary"), "Accept-Encoding"]))
        if _GZIP.search(accepted_encodings):
            headers["Content-Encoding"] = "gzip"
            body, is_encoded = base64.b64encode(gzip.compress(body.encode())).decode(), True
    return {"statusCode": response["statusCode"], "headers": headers, "body": body, "isBase64Encoded": is_encoded}
