"""Serve HTTP on this machine to this machine's user."""

import contextlib
import http.server
import json
import socket
from collections.abc import Sequence
from http import HTTPStatus

#: The longest pause, in seconds, of a client that is still sending a refused request.
_DRAIN_WAIT_S = 1


def is_loopback(hosts: Sequence[str], port: int) -> bool:
    """Check whether a request has one `Host` header, which names this machine and the port (HTTP's default: 80)."""
    names = {"127.0.0.1", "localhost"}
    accepted = {f"{name}:{port}" for name in names} | (names if port == 80 else set())
    return len(hosts) == 1 and hosts[0].lower() in accepted


class LoopbackHandler(http.server.BaseHTTPRequestHandler):
    """
    A handler that serves only requests that name its own host and port.

    Otherwise, a web page could make its own domain name resolve to 127.0.0.1, and read the responses (DNS rebinding).
    """

    def parse_request(self) -> bool:
        """Parse the request line and headers. Return False if the request was refused."""
        return super().parse_request() and self._is_for_this_host()

    def _is_for_this_host(self) -> bool:
        port = self.connection.getsockname()[1]
        if is_loopback(self.headers.get_all("Host", []), port):
            return True
        self.refuse(HTTPStatus.FORBIDDEN, f"Host must be 127.0.0.1:{port} or localhost:{port}.")
        return False

    def refuse(self, status: HTTPStatus, detail: str) -> None:
        """Respond with a problem document, and close the connection."""
        problem = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
        body = f"{json.dumps(problem)}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/problem+json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self._drain()

    def _drain(self) -> None:
        """Read the remaining request. Otherwise, a client that is still sending would get a reset, not a response."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(_DRAIN_WAIT_S)
        with contextlib.suppress(OSError):
            while self.rfile.read1():
                pass
