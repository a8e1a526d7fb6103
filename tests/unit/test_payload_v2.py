"""Requests in the payload format 2.0 get the responses of a REST API."""

import base64
import gzip
import hashlib
import json
from dataclasses import replace
from urllib.parse import unquote

import pytest
from chalice.app import Chalice, Response

from chalicelib import settings
from chalicelib.api import payload_v2

ENCODED, DECODED = "abc.lambda-url.eu-west-1.on.aws", "abc.execute-api.eu-west-1.amazonaws.com"
STAGE = settings.read({"STAGE": "dev", "FRONT": "http,url"})
LARGE = "x" * 5000

app = Chalice("counter", configure_logs=False)


@app.route("/", methods=["GET"])
def index():
    return Response("", headers={"Set-Cookie": "a=1"})


@app.route("/counters/{counter_id}/events/{event_id}", methods=["GET", "POST"], content_types=["*/*"])
def echo(**path):
    assert app.current_request
    request = app.current_request.to_original_event()
    names = ("multiValueQueryStringParameters", "multiValueHeaders", "body", "isBase64Encoded", "requestContext")
    return Response({"path": path, **{name: request[name] for name in names}})


@app.route("/large", methods=["GET"])
def large():
    return Response(LARGE, headers={"Vary": "Origin", "Content-Type": "text/plain"})


def request(path="/counters/a/events/b", method="GET", *, query="", host=ENCODED, headers=None, **more):
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"host": host, **(headers or {})},
        "requestContext": {
            "domainName": host,
            "requestId": "1",
            "http": {"method": method, "sourceIp": "192.0.2.1"},
        },
        **more,
    }


def serve(*arguments, stage=STAGE, **more):
    return payload_v2.serve(app, stage, request(*arguments, **more), None)


def echoed(*arguments, **more):
    response = serve(*arguments, **more)
    assert response["statusCode"] == 200, response["body"]
    return json.loads(response["body"])


@pytest.mark.parametrize("host", [ENCODED, DECODED])
@pytest.mark.parametrize("path", ["/counters/a/events/b", "/api/counters/a/events/b", "/counters/a/events/b//"])
def test_path_selects_the_route_of_chalices_table(path, host):
    assert echoed(path, host=host)["path"] == {"counter_id": "a", "event_id": "b"}


@pytest.mark.parametrize("sent", ["a%20b", "%61", "%2561", "%C3%A4", "a%3Fb", "%", "api"])
def test_path_is_encoded_as_the_client_sent_it(sent):
    """An HTTP API decodes everything except %25."""
    decoded = unquote(sent.replace("%25", "%2525")) if sent != "%" else sent

    assert echoed(f"/counters/{sent}/events/b")["path"]["counter_id"] == sent
    from_decoded = echoed(f"/counters/{decoded}/events/b", host=DECODED)["path"]["counter_id"]
    assert unquote(from_decoded) == unquote(sent)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/counters//events/b",
        "/counters/a/events",
        "/counters/a/events/b/c",
        "/apis/large",
        "/api/api/large",
    ],
)
def test_unknown_path_is_a_404_that_pages_can_read(path):
    response = serve(path)

    assert response["statusCode"] == json.loads(response["body"])["status"] == 404
    assert response["headers"]["Access-Control-Allow-Origin"] == "*"
    assert response["headers"]["Content-Type"] == "application/problem+json"
    assert response["body"].endswith("}\n")


@pytest.mark.parametrize("path", ["", "/", "//", "/api", "/api/"])
def test_root_has_the_same_response_with_and_without_the_api_folder(path):
    assert serve(path)["statusCode"] == 200


def test_response_is_json_unless_it_has_another_type():
    """An HTTP API would call a response without a type plain text."""
    types = [serve(path)["headers"]["Content-Type"] for path in ("/counters/a/events/b", "/large", "/nothing")]

    assert types == ["application/json", "text/plain", "application/problem+json"]


def test_undeclared_method_is_a_405():
    assert serve("/large", "DELETE")["statusCode"] == 405


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("", None),
        ("a=1&a=2&b=%26", {"a": ["1", "2"], "b": ["&"]}),
        ("a=&b", {"a": [""], "b": [""]}),
        ("a=x+y%20z", {"a": ["x y z"]}),
        ("a=%FF", {"a": ["\N{REPLACEMENT CHARACTER}"]}),
    ],
)
def test_query_parameters_are_decoded_and_repeated_ones_kept(query, values):
    assert echoed(query=query)["multiValueQueryStringParameters"] == values


def test_body_headers_and_context_are_passed_on():
    body = base64.b64encode(b"\xff").decode()

    found = echoed(method="POST", headers={"if-match": '"1"'}, body=body, isBase64Encoded=True, cookies=["a=1"])

    assert (found["body"], found["isBase64Encoded"]) == (body, True)
    assert found["multiValueHeaders"]["if-match"] == ['"1"']
    assert "cookie" not in found["multiValueHeaders"]
    assert found["requestContext"]["identity"] == {"sourceIp": "192.0.2.1"}


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, br", "gzip"),
        ("br, GZIP;q=0.5", "gzip"),
        ("br", None),
        ("", None),
        ("gzip;q=0, br", None),
        ("x-gzip", None),
    ],
)
def test_large_body_is_compressed_for_clients_that_accept_it(accepted, encoding):
    response = serve("/large", headers={"accept-encoding": accepted})

    body = response["body"]
    read = gzip.decompress(base64.b64decode(body)).decode() if response["isBase64Encoded"] else body
    assert read == LARGE
    assert response["headers"].get("Content-Encoding") == encoding
    assert response["headers"]["Vary"] == "Origin, Accept-Encoding"


def test_small_body_is_not_compressed():
    response = serve(headers={"accept-encoding": "gzip"})

    assert (response["isBase64Encoded"], "Vary" in response["headers"]) == (False, False)


@pytest.mark.parametrize(
    ("sent", "status"),
    [("new", 200), ("old", 200), ("forged", 403), ("", 403), (None, 403), (hashlib.sha256(b"new").hexdigest(), 403)],
)
def test_request_without_the_secret_of_the_cdn_is_refused(sent, status):
    digests = tuple(hashlib.sha256(secret).hexdigest() for secret in (b"new", b"old"))
    headers = {} if sent is None else {"x-origin-secret": sent}

    response = serve(stage=replace(STAGE, front_secrets=digests), headers=headers)

    assert response["statusCode"] == status


def test_refused_request_reaches_no_route(monkeypatch):
    digest = hashlib.sha256(b"secret").hexdigest()
    monkeypatch.setattr(payload_v2, "_to_rest", None)

    response = serve("/nothing", stage=replace(STAGE, front_secrets=(digest,)), headers={"origin": "https://a.example"})

    problem = json.loads(response["body"])
    assert (problem["status"], problem["type"]) == (403, "urn:counter:problem:secret-missing")
    assert response["headers"]["Access-Control-Allow-Origin"] == "*"


def test_event_of_a_rest_api_is_passed_on_as_it_is():
    """The secret of the CDN applies only to the other fronts."""
    digest = hashlib.sha256(b"secret").hexdigest()
    none = ("multiValueQueryStringParameters", "pathParameters", "body", "isBase64Encoded", "stageVariables")
    context = {"resourcePath": "/large", "httpMethod": "GET"}
    event = {"requestContext": context, "headers": {}, **dict.fromkeys(none)}

    response = payload_v2.serve(app, replace(STAGE, front_secrets=(digest,)), event, None)

    assert (response["statusCode"], response["body"]) == (200, LARGE)


def test_payload_format_1_0_of_an_http_api_is_an_error():
    """Such an event has no `resourcePath`, which names the route."""
    event = {"version": "1.0", "path": "/large", "headers": {}, "requestContext": {"httpMethod": "GET"}}

    response = payload_v2.serve(app, STAGE, event, None)

    assert response["statusCode"] == 500
