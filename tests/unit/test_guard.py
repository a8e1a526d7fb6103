"""The guard in front of the embedded AWS, with an application that records the requests that reach it."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import pytest

from ops.local.guard import Guard

PORT = 4566
API = "/restapis/5e5b5cbc/api/_user_request_/counters/clicks/increments"
#: Addresses of deployed APIs of each kind.
APIS = [
    API,
    "/_aws/execute-api/5e5b5cbc/$default/counters/clicks/increments",
    "/_aws/lambda-url/5e5b5cbc5e5b5cbc5e5b5cbc5e5b5cbc/counters/clicks/increments",
]
OBJECT = "/site.example/index.html"
DISTRIBUTION = "d5e5b5cbc.cloudfront.net"
SIGNATURE = {"authorization": "AWS4-HMAC-SHA256 Credential=KEY/20260101/us-east-1/sqs/aws4_request"}
FORM = {"content-type": "application/x-www-form-urlencoded"}

#: One header of each kind that a browser adds to a page's requests.
BROWSER_HEADERS = [
    {"origin": "https://foreign.example"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site"},
    {"referer": "https://foreign.example/"},
    {"cookie": "name=value"},
]


@dataclass
class Application:
    """The application behind the guard."""

    scopes: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            self.bodies.append((await receive())["body"])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})


def read_message(text):
    """Return the message of a refusal, which is JSON or XML."""
    if text.startswith(b"{"):
        return json.loads(text)["message"]
    return ElementTree.fromstring(text).findtext("Error/Message")


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def call(application):
    """Send a request through the guard and return the status and the text of its response."""

    def is_authentic(scope, body):
        return dict(scope["headers"]).get(b"authorization") == SIGNATURE["authorization"].encode() and body != b"forged"

    def send_through(method, path, headers=(), *, host=f"127.0.0.1:{PORT}", chunks=(b"",), query=b"", kind="http"):
        guard = Guard(
            application,
            PORT,
            is_authentic=is_authentic,
            is_bucket=lambda name: name == "site.example",
            is_distribution=lambda domain: domain == DISTRIBUTION,
        )
        pairs = [("host", host), *dict(headers).items()] if host is not None else [*dict(headers).items()]
        scope = {
            "type": kind,
            "method": method,
            "path": path,
            "query_string": query,
            "headers": [(name.encode(), value.encode()) for name, value in pairs],
        }
        incoming = [
            {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
            for number, chunk in enumerate(chunks, start=1)
        ]
        sent: list[dict[str, Any]] = []

        async def receive():
            return incoming.pop(0) if incoming else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        asyncio.run(guard(scope, receive, send))
        if not sent:
            return None, ""
        if sent[0]["type"] != "http.response.start":
            return sent[0], ""
        text = b"".join(message["body"] for message in sent[1:])
        return sent[0]["status"], read_message(text) if text else ""

    return send_through


@pytest.mark.parametrize("headers", [{}, *BROWSER_HEADERS, FORM, {"authorization": "Bearer token"}])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("path", APIS)
def test_every_client_may_call_a_deployed_api(call, application, path, method, headers):
    assert call(method, path, headers, chunks=(b"{}",)) == (200, "")
    assert application.bodies == [b"{}"]


@pytest.mark.parametrize("headers", [{}, *BROWSER_HEADERS])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_every_client_may_read_an_object_but_sends_no_query(call, application, method, headers):
    assert call(method, OBJECT, headers, query=b"X-Amz-Signature=0&acl") == (200, "")
    assert application.scopes[0]["query_string"] == b""


@pytest.mark.parametrize("host", ["localhost:4566", "LOCALHOST:4566", "127.0.0.1:4566"])
def test_signed_request_is_passed_on_with_its_whole_body(call, application, host):
    assert call("POST", "/", SIGNATURE | FORM, host=host, chunks=(b"Action=", b"ListStacks")) == (200, "")
    assert application.bodies == [b"Action=ListStacks"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:80", "LOCALHOST"])
def test_host_without_the_default_port_is_accepted(application, host):
    """With AWS_PORT=80, SDKs send no port."""
    unknown = {"is_bucket": lambda _name: False, "is_distribution": lambda _domain: False}
    guard = Guard(application, 80, is_authentic=lambda _scope, _body: False, **unknown)
    scope = {"type": "http", "method": "GET", "path": API, "headers": [(b"host", host.encode())]}

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(_message):
        pass

    asyncio.run(guard(scope, receive, send))

    assert application.scopes == [scope]


@pytest.mark.parametrize("path", ["/", "/index.html", "/embed-1.js", "/v/5e5b/page/app.js", "/api/counters/a%2Fb"])
def test_every_client_may_call_a_distribution_by_its_domain(call, application, path):
    assert call("POST", path, {"origin": f"https://{DISTRIBUTION}"}, host=DISTRIBUTION) == (200, "")
    assert len(application.scopes) == 1


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("dunknown.cloudfront.net", "/"),
        (f"{DISTRIBUTION}.foreign.example", "/"),
        (DISTRIBUTION, "/_ministack/reset"),
        (DISTRIBUTION, "/site.example/index.html"),
        (DISTRIBUTION, "/api/../_ministack/reset"),
        (DISTRIBUTION, "/2015-03-31/functions/"),
    ],
)
def test_distribution_leads_only_to_pages_and_the_api(call, application, host, path):
    assert call("POST", path, SIGNATURE, host=host) == (403, "Host must be 127.0.0.1:4566 or localhost:4566.")
    assert application.scopes == []


@pytest.mark.parametrize("host", [None, "", "foreign.example:4566", "127.0.0.1", "127.0.0.1:80", "localhost:4567"])
@pytest.mark.parametrize("path", ["/", API, OBJECT, "/_ministack/health"])
def test_another_host_is_refused_as_after_dns_rebinding(call, application, host, path):
    assert call("GET", path, SIGNATURE, host=host) == (403, "Host must be 127.0.0.1:4566 or localhost:4566.")
    assert application.scopes == []


@pytest.mark.parametrize("headers", [*BROWSER_HEADERS, *(SIGNATURE | each for each in BROWSER_HEADERS)])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("GET", "/"),
        ("OPTIONS", "/"),
        ("POST", "/_ministack/reset"),
        ("GET", "/_ministack/health"),
        ("POST", OBJECT),
        ("PUT", OBJECT),
        ("GET", "/other.example/index.html"),
        ("GET", "/site.example/"),
        ("GET", "/site.example/../other.example/index.html"),
        ("GET", "/2015-03-31/functions/"),
        ("POST", "/restapis"),
        ("GET", "/restapis/5e5b5cbc/resources"),
    ],
)
def test_web_page_reaches_nothing_else(call, application, method, path, headers):
    status, message = call(method, path, headers)

    assert (status, application.scopes) == (403, [])
    assert message.startswith("A web page may call a deployed API")


@pytest.mark.parametrize(
    "headers",
    [{}, FORM, {"content-type": "application/x-amz-json-1.0"}, {"authorization": "AWS4-HMAC-SHA256 Credential=test/"}],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/"), ("GET", "/"), ("PUT", OBJECT), ("GET", "/health")])
def test_request_without_a_valid_signature_is_refused_with_advice(call, application, method, path, headers):
    status, message = call(method, path, headers)

    assert (status, application.scopes) == (403, [])
    assert ". .local/env" in message


def test_signature_of_another_body_is_refused(call, application):
    assert call("POST", "/", SIGNATURE, chunks=(b"for", b"ged"))[0] == 403
    assert application.scopes == []


@pytest.mark.parametrize("path", ["/_ministack/reset", "/_ministack/config", "/_localstack/health"])
def test_administration_is_closed_even_to_programs_that_sign(call, application, path):
    assert call("POST", path, SIGNATURE) == (403, f"{path} is closed.")
    assert application.scopes == []


def test_health_is_open_to_programs(call):
    assert call("GET", "/_ministack/health") == (200, "")


def test_two_hosts_are_refused(call, application):
    assert call("GET", API, {"Host": "127.0.0.1:4566"}, host="127.0.0.1:4566")[0] == 403
    assert application.scopes == []


def test_websocket_is_closed(call, application):
    assert call("GET", API, kind="websocket")[0] == {"type": "websocket.close", "code": 1008}
    assert application.scopes == []


def test_client_that_leaves_before_its_body_ends_gets_no_response(call, application):
    assert call("POST", "/", SIGNATURE, chunks=())[0] is None
    assert application.scopes == []


def test_start_and_stop_reach_the_application(call, application):
    assert call("GET", "", kind="lifespan")[0] is None
    assert [scope["type"] for scope in application.scopes] == ["lifespan"]
