"""A proxy between the page and the API that cuts connections or drops responses, for any browser."""

import http.server

import httpx

from tests.loopback_server import LoopbackServer

#: Headers of one connection, of the encoding that the proxy undoes, or that the proxy sends itself.
_OWN_HEADERS = ("connection", "content-encoding", "content-length", "host", "transfer-encoding")


class ApiProxy(LoopbackServer):
    """A server that passes requests on to the API."""

    def __init__(self, api_url: str) -> None:
        outer = self
        self._api = httpx.Client(base_url=api_url, timeout=60)
        #: Which requests get no response: "all", "reads" or "increments". Those of "increments" still reach the API.
        self.fault = ""
        #: The idempotency keys of all increments that the page sent.
        self.keys: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def do_POST(self) -> None:
                outer.answer(self)

            def do_OPTIONS(self) -> None:
                outer.answer(self)

        super().__init__(Handler)

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Respond as the API does, or close the connection."""
        body = request.rfile.read(int(request.headers["Content-Length"] or 0))
        is_increment = request.command == "POST"
        if is_increment:
            self.keys.append(request.headers["Idempotency-Key"])
        if self.fault == "all" or (self.fault == "reads" and request.command == "GET"):
            return
        response = self.fetch(request, body)
        if is_increment and self.fault == "increments":
            return
        request.send_response_only(response.status_code)
        for name, value in response.headers.items():
            if name not in _OWN_HEADERS:
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(response.content)))
        request.end_headers()
        request.wfile.write(response.content)

    def fetch(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> httpx.Response:
        """Send the request to the API, and return its response."""
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN_HEADERS}
        return self._api.request(request.command, request.path, content=body, headers=headers)

    def close(self) -> None:
        """Also close the connections to the API."""
        super().close()
        self._api.close()
