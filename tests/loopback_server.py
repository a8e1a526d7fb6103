"""An HTTP server for tests, on a free port of 127.0.0.1."""

import http.server
import threading


class LoopbackServer:
    """Serve requests with this handler, each in a separate thread, until closed. `url` ends in a slash."""

    def __init__(self, handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        quiet = type("QuietHandler", (handler,), {"log_message": lambda *_: None})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop the server and free the port."""
        self._server.shutdown()
        self._server.server_close()
