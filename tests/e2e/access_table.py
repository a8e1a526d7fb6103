"""
The verdicts on requests, by caller and route, for each value of WRITERS and READERS.

`test_access.py` and `test_jwt.py` send each request to a deployed stage and compare the response with its verdict.
docs/access-responses.md shows the verdicts.
"""

from collections.abc import Iterator

import app
from tests.doc_pages import PROJECT

ALLOWED = "allowed"
UNAUTHORIZED = "401 unauthorized"
FORBIDDEN = "403 forbidden"
REFUSED = "403 gateway-error"
NOT_FOUND = "404 not-found"
NO_METHOD = "405"
THROTTLED = "429 throttled"
OVER_QUOTA = "429 quota-exceeded"

#: The routes whose responses contain no counter data.
OPEN = ("/", "/openapi.json")

#: The verdict on a request without credentials, by the setting's value.
WITHOUT_CREDENTIALS = {"anyone": ALLOWED, "api-key": FORBIDDEN, "iam": FORBIDDEN, "jwt": UNAUTHORIZED}

#: The verdict on an unknown path. With `iam`, API Gateway treats it like an unsigned request.
UNKNOWN_PATH = {"anyone": NOT_FOUND, "api-key": NOT_FOUND, "iam": FORBIDDEN, "jwt": NOT_FOUND}

#: The verdicts on an increment and on a query, by caller.
BY_CALLER = {
    "api-key": {
        "a key of the stage": (ALLOWED, ALLOWED),
        "a key of the stage, in `X-API-KEY`": (ALLOWED, ALLOWED),
        "no key": (FORBIDDEN, FORBIDDEN),
        "an empty key": (FORBIDDEN, FORBIDDEN),
        "an unknown key": (FORBIDDEN, FORBIDDEN),
        "a key of the stage, with upper and lower case swapped": (FORBIDDEN, FORBIDDEN),
        "the first characters of a key": (FORBIDDEN, FORBIDDEN),
        "the id of a key": (FORBIDDEN, FORBIDDEN),
        "a key of another stage": (FORBIDDEN, FORBIDDEN),
        "a removed key": (FORBIDDEN, FORBIDDEN),
        "a key of the stage, in the query": (FORBIDDEN, FORBIDDEN),
        "a key of the stage, in `Authorization`": (FORBIDDEN, FORBIDDEN),
        "a key of the stage, in a cookie": (FORBIDDEN, FORBIDDEN),
        "a signature of the account's root": (FORBIDDEN, FORBIDDEN),
        "a key that exceeds its rate": (THROTTLED, THROTTLED),
        "a key that exceeds its quota": (OVER_QUOTA, OVER_QUOTA),
    },
    "iam": {
        "a principal with `execute-api:Invoke` on the stage": (ALLOWED, ALLOWED),
        "the same principal, with the signature in the query": (ALLOWED, ALLOWED),
        "a principal that may only read": (FORBIDDEN, ALLOWED),
        "a principal that may only increment another counter": (FORBIDDEN, FORBIDDEN),
        "a principal of another stage": (FORBIDDEN, FORBIDDEN),
        "a principal without permissions": (FORBIDDEN, FORBIDDEN),
        "no signature": (FORBIDDEN, FORBIDDEN),
        "an unknown access key": (REFUSED, REFUSED),
        "a wrong secret": (FORBIDDEN, FORBIDDEN),
        "root's access key, with a wrong secret": (FORBIDDEN, FORBIDDEN),
        "a session without its token": (REFUSED, REFUSED),
        "a signature from 20 minutes ago": (FORBIDDEN, FORBIDDEN),
        "a signature dated 20 minutes ahead": (FORBIDDEN, FORBIDDEN),
        "a signature for another service": (FORBIDDEN, FORBIDDEN),
        "a signature for another region": (FORBIDDEN, FORBIDDEN),
        "a signature for another path": (FORBIDDEN, FORBIDDEN),
        "a signature for another method": (FORBIDDEN, FORBIDDEN),
        "a signature for another body": (FORBIDDEN, FORBIDDEN),
        "a signature for another stage": (FORBIDDEN, FORBIDDEN),
        "a malformed signature": (REFUSED, REFUSED),
        "a token": (REFUSED, REFUSED),
        "an API key": (FORBIDDEN, FORBIDDEN),
    },
    "jwt": {
        "a token of the issuer": (ALLOWED, ALLOWED),
        "a token that expired 5 seconds ago": (ALLOWED, ALLOWED),
        "no token": (UNAUTHORIZED, UNAUTHORIZED),
        "an empty header": (UNAUTHORIZED, UNAUTHORIZED),
        "text that is not a token": (UNAUTHORIZED, UNAUTHORIZED),
        "a token with another scheme": (UNAUTHORIZED, UNAUTHORIZED),
        "a token without a signature": (UNAUTHORIZED, UNAUTHORIZED),
        "a token whose `alg` is `none`": (UNAUTHORIZED, UNAUTHORIZED),
        "a token signed with the public key as a secret": (UNAUTHORIZED, UNAUTHORIZED),
        "a token that was changed": (UNAUTHORIZED, UNAUTHORIZED),
        "a token signed with a foreign key": (UNAUTHORIZED, UNAUTHORIZED),
        "a token that names an unknown key": (UNAUTHORIZED, UNAUTHORIZED),
        "a token of another issuer": (UNAUTHORIZED, UNAUTHORIZED),
        "a token for another audience": (UNAUTHORIZED, UNAUTHORIZED),
        "an expired token": (UNAUTHORIZED, UNAUTHORIZED),
        "a token that is not valid yet": (UNAUTHORIZED, UNAUTHORIZED),
        "a token without a subject": (UNAUTHORIZED, UNAUTHORIZED),
        "a token in the query": (UNAUTHORIZED, UNAUTHORIZED),
        "a token in another header": (UNAUTHORIZED, UNAUTHORIZED),
        "a token in a cookie": (UNAUTHORIZED, UNAUTHORIZED),
        "a subject in a header": (UNAUTHORIZED, UNAUTHORIZED),
        "a signature of an IAM principal": (UNAUTHORIZED, UNAUTHORIZED),
    },
}

PAGE = PROJECT / "docs" / "access-responses.md"
_HEAD = """# Responses by caller

This page shows how a stage responds to each kind of request and caller, for each value of `WRITERS` and `READERS`.
[Access](access.md) explains these settings. `tests/e2e/test_access.py` and `tests/e2e/test_jwt.py` send each request to
a stage on the embedded AWS and compare its response with these tables. `STAGE=local python -m tests.e2e.access_table`
writes this page.
"""


def list_routes() -> Iterator[tuple[str, str]]:
    """Yield the methods and paths of the application, and a path and a method that it does not have."""
    for path, methods in app.app.routes.items():
        for method in methods:
            yield method, path
    yield from (("OPTIONS", path) for path in app.app.routes)
    yield from (("DELETE", path) for path in app.app.routes)
    yield "GET", "/unknown"


def expect_without_credentials(callers: str, method: str, path: str) -> str:
    """Return the verdict on a request without credentials."""
    if path not in app.app.routes:
        return UNKNOWN_PATH[callers]
    if method == "DELETE":
        return NO_METHOD
    return ALLOWED if path in OPEN or method == "OPTIONS" else WITHOUT_CREDENTIALS[callers]


def render() -> str:
    """Render docs/access-responses.md."""
    settings = list(WITHOUT_CREDENTIALS)
    lines = [
        _HEAD,
        "## Requests without credentials",
        "",
        *_render_rows("request", *(f"`{each}`" for each in settings)),
    ]
    named = {"OPTIONS": "`OPTIONS` on any path", "DELETE": "any other method on any path"}
    rows: dict[str, tuple[str, ...]] = {}
    for method, path in list_routes():
        methods = "`GET` or `HEAD`" if method in {"GET", "HEAD"} else f"`{method}`"
        place = f"{methods} on `{path}`"
        name = named.get(method, place) if path in app.app.routes else "an unknown path"
        verdicts = tuple(expect_without_credentials(each, method, path) for each in settings)
        assert rows.setdefault(name, verdicts) == verdicts
    lines += [f"| {name} | {' | '.join(verdicts)} |" for name, verdicts in rows.items()]
    for setting, callers in BY_CALLER.items():
        lines += ["", f"## Callers with `{setting}`", "", *_render_rows("caller", "increment", "query")]
        lines += [f"| {caller} | {' | '.join(verdicts)} |" for caller, verdicts in callers.items()]
    return "\n".join(lines) + "\n"


def _render_rows(*columns: str) -> list[str]:
    return [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]


def write() -> None:
    """Write docs/access-responses.md."""
    PAGE.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    write()
