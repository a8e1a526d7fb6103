"""Render the API's OpenAPI document, which `ops.openapi` generates at build time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from chalicelib.access import callers
from chalicelib.api import responses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chalice.app import RouteEntry

    from chalicelib.settings import Settings

HEADERS = {"Content-Type": "application/json"}
FILE = Path(__file__).with_name("openapi.json")

#: Placeholders for the stage's settings.
MAX_INCREMENT = "<MAX_INCREMENT>"
ALLOWED_ORIGIN = "<ALLOWED_ORIGIN>"

#: The security schemes, by the value of WRITERS or READERS.
SCHEMES = {
    "api-key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "iam": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "AWS Signature Version 4, for the service execute-api.",
        "x-amazon-apigateway-authtype": "awsSigv4",
    },
    "jwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
}


def render_document(
    settings: Settings, root: str = ".", routes: Mapping[str, Mapping[str, RouteEntry]] | None = None
) -> str:
    """
    Render the document as JSON in one line, with the settings of the stage. `root` is the API's address.

    `routes`, the application's routes, determine the callers of each operation. Default: anyone may call every
    operation.
    """
    text = FILE.read_text(encoding="utf-8")
    for placeholder, value in ((MAX_INCREMENT, settings.max_increment), (ALLOWED_ORIGIN, settings.allowed_origin[0])):
        text = text.replace(json.dumps(placeholder), json.dumps(value))
    document = json.loads(text)
    if len(settings.allowed_origin) > 1:  # API Gateway's own errors echo the request's origin, allowed or not
        document["components"]["headers"]["Access-Control-Allow-Origin"] = {"schema": {"type": "string"}}
    document["servers"][0]["url"] = root
    for path, methods in (routes or {}).items():
        for method, route in methods.items():
            if (allowed := callers.find_callers(route)) != "anyone":
                operation = json.dumps({**document["paths"][path][method.lower()], "security": [{allowed: []}]})
                document["paths"][path][method.lower()] = json.loads(responses.make_private(operation))
                document["components"].setdefault("securitySchemes", {})[allowed] = SCHEMES[allowed]
    return json.dumps(document)
