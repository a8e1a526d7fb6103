"""A local web server for the page, on its own origin."""

from __future__ import annotations

import http.server
import io
import json
import threading
from functools import partial
from typing import Any, BinaryIO

from ops import stages
from ops.local.loopback import LoopbackHandler

WEB = stages.PROJECT / "web"


class PageServer:
    """Serve `web/` on 127.0.0.1, with the API's address and maximum amount in `config.json`, until closed."""

    def __init__(self, port: int, api_url: str, max_increment: int) -> None:
        config = {"api_url": api_url, "max_increment": max_increment}
        handler = partial(_Handler, config=config, directory=str(WEB))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop the server and free the port."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(LoopbackHandler, http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args: Any, config: dict[str, Any], **kwargs: Any) -> None:
        self._config = json.dumps(config).encode()
        super().__init__(*args, **kwargs)

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Send the headers of the file, or of the configuration. Return the content, which GET sends and HEAD not."""
        if self.path != "/config.json":
            return super().send_head()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self._config)))
        self.end_headers()
        return io.BytesIO(self._config)

    def end_headers(self) -> None:
        # So that edits are visible on the next reload.
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""
