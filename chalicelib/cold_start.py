"""Import the modules that a function needs, and no others, during its cold start."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from chalicelib.projections import PROJECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chalicelib.projections import Projection

#: The modules to import for each handler. The function `client` of the last module creates the client.
_FUNCTIONS: dict[str, tuple[str, ...]] = {
    "app.app": ("access.catalog", "command_handlers", "aws.tables"),
    "app.publish": ("publisher", "aws.sqs"),
    "app.check": ("extras.verification.scheduled_check", "aws.tables"),
}

#: The API's handler in stages with a front other than the REST API.
_SERVE = {"app.serve": ("api.payload_v2", *_FUNCTIONS["app.app"])}

_AUTHORIZER = {"app.authorize": ("access.tokens",)}


def list_functions(
    projections: Iterable[Projection], *, has_authorizer: bool = False, has_serve: bool = False
) -> dict[str, tuple[str, ...]]:
    """Return the modules to import for each function of a stage with these projections, keyed by handler."""
    of_projections = {f"app.{each.function}": ("projector", each.module, each.client) for each in projections}
    return _FUNCTIONS | (_SERVE if has_serve else {}) | (_AUTHORIZER if has_authorizer else {}) | of_projections


def preload(function: str) -> None:
    """
    Import this function's modules, and create its client for AWS, the database or the issuer.

    While a function starts, Lambda gives it one or two whole CPUs. Afterwards, the function's share of a CPU depends on
    its memory. Imports during the first event would take several times as long. An unknown `function` is ignored.
    """
    known = list_functions(PROJECTIONS, has_authorizer=True, has_serve=True)
    if function in known:
        *modules, clients = known[function]
        for module in modules:
            importlib.import_module(f"chalicelib.{module}")
        importlib.import_module(f"chalicelib.{clients}").client()
