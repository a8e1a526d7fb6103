"""Restrict routes to the callers that a setting allows. API Gateway refuses all other callers before the function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalice.app import IAMAuthorizer

if TYPE_CHECKING:
    from chalice.app import RouteEntry


def restrict(callers: str) -> dict[str, Any]:
    """
    Return the arguments of `app.route` for the callers that a value of WRITERS or READERS allows.

    Raises:
        ValueError: the value is unknown. The route must not be deployed without a restriction.
    """
    match callers:
        case "anyone":
            return {}
        case "api-key":
            return {"api_key_required": True}
        case "iam":
            return {"authorizer": IAMAuthorizer()}
    raise ValueError(callers)


def find_callers(route: RouteEntry) -> str:
    """Return the value of WRITERS or READERS with which the route was declared."""
    if route.api_key_required:
        return "api-key"
    return "iam" if isinstance(route.authorizer, IAMAuthorizer) else "anyone"
