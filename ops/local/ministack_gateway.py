"""Correct the embedded AWS's API gateway, in its process, so that it behaves like API Gateway."""

from __future__ import annotations

from typing import Any

_ANY = "x-amazon-apigateway-any-method"


def correct(ministack: Any) -> None:
    """Correct the gateway of the module `ministack.app`. Call this once, before the embedded AWS serves requests."""
    _keep_encoding(ministack)
    _import_any_methods(ministack._get_module("apigateway_v1"))


def _keep_encoding(ministack: Any) -> None:
    """Pass a request's path on as the client encoded it. The embedded AWS would decode it."""
    handle = ministack._handle_execute_api_request

    parse = ministack._parse_execute_api_url

    async def handle_encoded(host: str, path: str, *request: Any, raw_path: str | None = None, **more: Any) -> Any:
        if raw_path and parse(host, path) and parse(host, raw_path):
            path = raw_path
        return await handle(host, path, *request, raw_path=raw_path, **more)

    ministack._handle_execute_api_request = handle_encoded


def _import_any_methods(gateway: Any) -> None:
    """Import methods that serve all undeclared methods of a path. The embedded AWS would drop them."""
    import_operation = gateway._import_operation

    def import_any_operation(api_id: str, resource_id: str, method: str, *operation: Any) -> None:
        import_operation(api_id, resource_id, "ANY" if method == _ANY.upper() else method, *operation)

    gateway._OPENAPI_HTTP_METHODS.add(_ANY)
    gateway._import_operation = import_any_operation
