"""
Restrict routes to the callers that a setting allows.

API Gateway refuses other callers before it invokes the API's function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalice.app import ChaliceAuthorizer, IAMAuthorizer

if TYPE_CHECKING:
    from chalice.app import RouteEntry

#: How long API Gateway caches the result for a valid token, in seconds. After a token expires, it may still be accepted
#: for that time, plus the leeway for clocks.
TOKEN_S = 300


def restrict(callers: str, authorizer: ChaliceAuthorizer | None = None) -> dict[str, Any]:
    """
    Return the arguments of `app.route` for the callers that a value of WRITERS or READERS allows.

    `authorizer` is the function that verifies tokens.

    Raises:
        ValueError: the value is unknown, or it is `jwt` without an authorizer. The route must not be deployed without
            a restriction.
    """
    match callers:
        case "anyone":
            return {}
        case "api-key":
            return {"api_key_required": True}
        case "iam":
            return {"authorizer": IAMAuthorizer()}
        case "jwt" if authorizer:
            return {"authorizer": authorizer}
    raise ValueError(callers)


def find_callers(route: RouteEntry) -> str:
    """Return the value of WRITERS or READERS with which the route was declared."""
    if route.api_key_required:
        return "api-key"
    if isinstance(route.authorizer, ChaliceAuthorizer):
        return "jwt"
    return "iam" if isinstance(route.authorizer, IAMAuthorizer) else "anyone"
