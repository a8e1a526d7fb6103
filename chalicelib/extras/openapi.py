"""The API's OpenAPI document, as `ops.openapi` generated it at build time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chalicelib.settings import Settings

HEADERS = {"Content-Type": "application/json"}
FILE = Path(__file__).with_name("openapi.json")

#: Placeholders for settings of the stage.
MAX_INCREMENT = "<MAX_INCREMENT>"
ALLOWED_ORIGIN = "<ALLOWED_ORIGIN>"


def render_document(settings: Settings, root: str = ".") -> str:
    """Render the document as compact JSON, with the settings of the stage. `root` is the API's address."""
    text = FILE.read_text(encoding="utf-8")
    for placeholder, value in ((MAX_INCREMENT, settings.max_increment), (ALLOWED_ORIGIN, settings.allowed_origin[0])):
        text = text.replace(json.dumps(placeholder), json.dumps(value))
    document = json.loads(text)
    if len(settings.allowed_origin) > 1:  # API Gateway's own errors name any origin, or none
        document["components"]["headers"]["Access-Control-Allow-Origin"] = {"schema": {"type": "string"}}
    document["servers"][0]["url"] = root
    return json.dumps(document)
