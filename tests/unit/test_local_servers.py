"""The servers of the local system answer this machine only, and refuse requests that they would misread."""

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from chalice.app import Chalice
from chalice.config import Config
from chalice.local import LocalDevServer

from ops import stages
from ops.cli.errors import OperatorError
from ops.local import chalice_local, loopback, stack
from ops.local.page_server import PageServer


@pytest.fixture(scope="module")
def page_port() -> Iterator[int]:
    """Serve the page, and return its port."""
    with contextlib.closing(PageServer(0, "http://127.0.0.1:1/api", 1000)) as page:
        yield int(page.url.rstrip("/").rpartition(":")[2])


@pytest.fixture(scope="module")
def local_port() -> Iterator[int]:
    """Serve an application that repeats its requests as `make local` serves the counter, and return the port."""
    application = Chalice("repeat")

    def repeat(name: str) -> dict[str, str]:
        request = application.current_request
        assert request is not None
        body: Any = request.raw_body
        return {"name": name, "body": body.decode()}

    application.route("/counters/{name}", methods=["GET", "POST", "HEAD"], content_types=["*/*"])(repeat)
    served: LocalDevServer = chalice_local.factory().create_local_server(application, Config(), "127.0.0.1", 0)
    threading.Thread(target=served.server.serve_forever, daemon=True).start()
    yield served.server.server_port
    served.server.shutdown()
    served.server.server_close()


def send(port, *lines, body=b"", host=None):
    """Send a request as these lines, and return the status, headers and body of the response."""
    first, *headers = lines
    text = "\r\n".join([f"{first} HTTP/1.1", f"Host: {host or f'127.0.0.1:{port}'}", *headers, "", ""])
    return exchange(port, text.encode() + body, first.partition(" ")[0])


def exchange(port, request, method):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.connect()
        connection.sock.sendall(request)
        response = http.client.HTTPResponse(connection.sock, method=method)
        response.begin()
        return response.status, dict(response.getheaders()), response.read()


FOREIGN = [
    "attacker.example",
    "attacker.example:{port}",
    "127.0.0.1",
    "localhost:1",
    "127.0.0.1:{port}.attacker.example",
]


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("server", ["page_port", "local_port"])
def test_other_hosts_are_refused(request, server, host, method):
    """A page whose host name resolves to this machine could read the responses."""
    port = request.getfixturevalue(server)

    status, headers, body = send(port, f"{method} /counters/a", host=host.format(port=port))

    assert (status, headers["Content-Type"], headers["Connection"]) == (403, "application/problem+json", "close")
    assert method == "HEAD" or json.loads(body)["detail"] == f"Host must be 127.0.0.1:{port} or localhost:{port}."


@pytest.mark.parametrize("server", ["page_port", "local_port"])
def test_missing_and_repeated_hosts_are_refused(request, server):
    port = request.getfixturevalue(server)

    assert exchange(port, b"GET / HTTP/1.0\r\n\r\n", "GET")[0] == 403
    assert send(port, "GET /", f"Host: localhost:{port}")[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LocalHost:{port}"])
def test_own_host_is_answered(page_port, local_port, host):
    page = send(page_port, "GET /", host=host.format(port=page_port))
    local = send(local_port, "GET /counters/a", host=host.format(port=local_port))

    assert (page[0], local[0]) == (200, 200)
    preview = f"http://{host.format(port=page_port)}/icons/preview.png"
    assert f'<meta property="og:image" content="{preview}">'.encode() in page[2]


@pytest.mark.parametrize("path", ["/", "/index.html", "/page/app.js"])
def test_page_answers_head_as_get_without_the_body(page_port, path):
    status, headers, body = send(page_port, f"GET {path}")
    head_status, head_headers, nothing = send(page_port, f"HEAD {path}")

    assert (status, head_status, int(headers["Content-Length"]), nothing) == (200, 200, len(body), b"")
    assert {**head_headers, "Date": ""} == {**headers, "Date": ""}


CHUNKED = b"2\r\n{}\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["POST /counters/a", "Transfer-Encoding: chunked"], CHUNKED),
        (["POST /counters/a", "transfer-encoding: gzip, chunked"], CHUNKED),
        (["POST /counters/a", "Transfer-Encoding: chunked", "Content-Length: 2"], CHUNKED),
        (["POST /counters/a", "Content-Length: 2", "Content-Length: 3"], b"{}"),
        (["POST /counters/a", "Content-Length: 2, 2"], b"{}"),
        (["POST /counters/a", "Content-Length: -2"], b"{}"),
        (["POST /counters/a", "Content-Length: two"], b"{}"),
        (["POST /counters/a", "Content-Length: "], b"{}"),
        (["POST /counters/a", "Idempotency-Key: first", "idempotency-key: second"], b""),
        (["POST /counters/a;b"], b""),
        (["GET /counters/a#b"], b""),
    ],
)
def test_request_that_would_be_misread_is_refused(local_port, lines, body):
    status, headers, answer = send(local_port, *lines, body=body)

    assert (status in (400, 501), headers["Content-Type"]) == (True, "application/problem+json")
    assert json.loads(answer)["status"] == status


def test_refused_client_that_is_still_sending_gets_the_answer(local_port, monkeypatch):
    # On a busy machine, the client may pause for longer than a second.
    monkeypatch.setattr(loopback, "_DRAIN_WAIT_S", 60)
    chunk = b"10000\r\n" + 0x10000 * b"x" + b"\r\n"

    status, _, _ = send(local_port, "POST /counters/a", "Transfer-Encoding: chunked", body=100 * chunk + b"0\r\n\r\n")

    assert status == 501


def test_request_that_is_not_misread_is_passed_on(local_port):
    status, _, answer = send(local_port, "POST /counters/a?b=;", "Content-Length: 2", body=b"{}")

    assert (status, json.loads(answer)) == (200, {"name": "a", "body": "{}"})


def test_local_answers_head_as_get_without_the_body(local_port):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", local_port, timeout=60)) as connection:
        answers = []
        for method in ("GET", "HEAD", "GET"):
            connection.request(method, "/counters/a")
            response = connection.getresponse()
            answers.append((response.status, response.headers["Content-Length"], response.read()))

    (_, length, body), head, again = answers
    assert (head, again) == ((200, length, b""), (200, length, body))


@pytest.mark.parametrize("name", ["WRITERS", "READERS"])
@pytest.mark.parametrize("callers", ["api-key", "iam"])
def test_make_local_refuses_callers_that_chalice_does_not_check(monkeypatch, tmp_path, name, callers):
    variables = {"STAGE": "local", name: callers}
    (tmp_path / ".chalice").mkdir()
    (tmp_path / ".chalice" / "config.json").write_text(
        json.dumps({"stages": {"local": {"environment_variables": variables}}}), encoding="utf-8"
    )
    monkeypatch.setattr(stages, "PROJECT", tmp_path)

    with pytest.raises(OperatorError, match=f"Chalice's server does not check {callers}: use the API of `make up`"):
        stack.run_chalice_local(stack.LocalSystem(tmp_path, 1, 2), 8000)
