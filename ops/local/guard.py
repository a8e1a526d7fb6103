"""
Guard the embedded AWS against web pages of other origins, and against other users of this machine.

The embedded AWS runs Lambda functions on this machine, so any client that can deploy functions can run code here. The
embedded AWS does not verify signatures of its root user. Some of its paths need no signature, such as the path that
deletes all data. The guard forwards five kinds of requests, if their `Host` is this server or a distribution:

- requests to a deployed API, from any client: the API decides, as on AWS;
- unsigned reads of an object in a bucket, from any client: the bucket's policy decides;
- requests for pages and the API of a CloudFront distribution, whose domain is their `Host`, from any client;
- unsigned reads of the embedded AWS's health, by programs;
- signed requests of programs to AWS services. Browsers add headers by which the guard recognizes web pages.
"""

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from xml.sax.saxutils import escape

from ops.local.loopback import is_loopback

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

HEALTH = "/_ministack/health"

_API = re.compile(
    r"(/restapis/[a-z0-9]+/[A-Za-z0-9_-]+/_user_request_|/_aws/lambda-url/[a-z0-9]+|/_aws/execute-api/[a-z0-9]+/\$default)"
    r"(/.*)?",
    re.DOTALL,
)
_OBJECT = re.compile(r"/(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?!.*\.\.).+", re.DOTALL)

_DISTRIBUTION = re.compile(r"[a-z0-9]+\.cloudfront\.net")
#: Paths of the page and its API, which no service of the embedded AWS uses.
_PAGE_OR_API = re.compile(r"/((?:api|v)/(?!.*\.\.).+|[a-z0-9-]+\.(?:html|js))?", re.DOTALL)

#: Headers that browsers add and AWS SDKs do not, and the prefix of further such headers.
_BROWSER_HEADERS = frozenset({"origin", "referer", "cookie"})
_BROWSER_PREFIX = "sec-"


class Guard:
    """
    An ASGI application that forwards permitted requests to another application, and refuses all others with 403.

    `is_authentic` verifies the signature of a request, given its scope and body.
    """

    def __init__(
        self,
        app: App,
        port: int,
        *,
        is_authentic: Callable[[Message, bytes], bool],
        is_bucket: Callable[[str], bool],
        is_distribution: Callable[[str], bool],
    ) -> None:
        self._app = app
        self._port = port
        self._is_authentic = is_authentic
        self._is_bucket = is_bucket
        self._is_distribution = is_distribution

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Forward the request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif self._is_for_distribution(scope):
            await self._app(scope, receive, send)
        elif not is_loopback(_hosts(scope), self._port):
            await _refuse(scope, send, f"Host must be 127.0.0.1:{self._port} or localhost:{self._port}.")
        elif self._is_open_to_all(scope):
            await self._app(scope, receive, send)
        elif _is_from_browser(scope):
            await _refuse(scope, send, "A web page may call a deployed API and read the site's bucket, nothing else.")
        elif scope["path"].startswith("/_"):
            await _refuse(scope, send, f"{scope['path']} is closed.")
        elif (body := await _read(receive)) is not None:
            if self._is_authentic(scope, body):
                await self._app(scope, _replay(body, receive), send)
            else:
                await _refuse(
                    scope, send, "Sign requests with this local system's credentials. `. .local/env` sets them."
                )

    def _is_for_distribution(self, scope: Message) -> bool:
        """Check for a page or API path on a distribution's domain, which no web page can point to this machine."""
        hosts = _hosts(scope)
        is_known = len(hosts) == 1 and _DISTRIBUTION.fullmatch(hosts[0]) and self._is_distribution(hosts[0])
        return bool(is_known and _PAGE_OR_API.fullmatch(scope["path"]))

    def _is_open_to_all(self, scope: Message) -> bool:
        """
        Check whether any client may send this request.

        Remove the query from a request that reads an object, because S3 might interpret it.
        """
        path = scope["path"]
        if _API.fullmatch(path):
            return True
        is_signed = any(name.lower() == b"authorization" for name, _ in scope["headers"])
        if scope["method"] not in ("GET", "HEAD") or is_signed:
            return False
        if (match := _OBJECT.fullmatch(path)) and self._is_bucket(match["bucket"]):
            scope["query_string"] = b""
            return True
        return path == HEALTH and not _is_from_browser(scope)


def _is_from_browser(scope: Message) -> bool:
    names = {name.decode("latin-1").lower() for name, _ in scope["headers"]}
    return not names.isdisjoint(_BROWSER_HEADERS) or any(name.startswith(_BROWSER_PREFIX) for name in names)


def _hosts(scope: Message) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"]


async def _read(receive: Receive) -> bytes | None:
    """Return the request's body, or None if the client disconnects."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a function that receives the whole body once, and then the messages that follow it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


async def _refuse(scope: Message, send: Send, reason: str) -> None:
    """Respond with 403 in the format that the SDK expects: JSON for some services, XML for all others."""
    code = "AccessDeniedException"
    if b"json" in dict(scope["headers"]).get(b"content-type", b""):
        kind, text = b"application/json", json.dumps({"__type": code, "message": reason})
    else:
        error = f"<Error><Code>{code}</Code><Message>{escape(reason)}</Message></Error>"
        kind, text = b"text/xml", f"<ErrorResponse>{error}</ErrorResponse>"
    headers = [(b"content-type", kind), (b"content-length", str(len(text.encode())).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
