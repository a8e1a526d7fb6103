"""Serve the page from a local web server, on a separate origin."""

import http.server
import io
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from ops import stages
from ops.deployment import site_files
from ops.local.loopback import LoopbackHandler

WEB = stages.PROJECT / "web"


class PageServer:
    """Serve `web/` on 127.0.0.1 until closed, and insert the configuration into its pages."""

    def __init__(self, port: int, api_url: str, max_increment: int) -> None:
        configure = partial(site_files.configure, api_url=api_url, max_increment=max_increment)
        handler = partial(_Handler, configure=configure, directory=str(WEB))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop the server and free the port."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(LoopbackHandler, http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args: Any, configure: Callable[[str, str], str], **kwargs: Any) -> None:
        self._configure = configure
        super().__init__(*args, **kwargs)

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Send the headers of the file, or of the configured page. Return the content, which only GET sends."""
        path = Path(self.translate_path(self.path))
        page = path / site_files.INDEX if path.is_dir() else path
        if page.suffix != ".html" or not page.is_file():
            return super().send_head()
        content = self._configure(page.read_text(encoding="utf-8"), f"http://{self.headers['Host']}/").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return io.BytesIO(content)

    def translate_path(self, path: str) -> str:
        """Return the file at this path. Pages request the embeddable client under its published name."""
        return super().translate_path(f"/{site_files.EMBED}" if self._is_embed(path) else path)

    def end_headers(self) -> None:
        if self._is_embed(getattr(self, "path", "")):  # not set for a malformed request
            # So that pages of other origins can import it, as from the bucket.
            self.send_header("Access-Control-Allow-Origin", "*")
        # So that edits are visible on the next reload.
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def _is_embed(self, path: str) -> bool:
        return path.partition("?")[0] == f"/{site_files.PUBLISHED_EMBED}"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""
