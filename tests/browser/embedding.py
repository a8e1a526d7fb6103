"""A site of another origin that embeds counters, and what its visitors see."""

import http.server

from playwright.sync_api import Locator, Page, expect

from tests.loopback_server import LoopbackServer

HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>A site</title>
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src {origin};
connect-src http:; img-src http:">
<script type="module" src="{origin}/embed-1.js"></script><main><h1>A site</h1>"""


class ForeignSite(LoopbackServer):
    """A server of one HTML page, by default with a strict Content-Security-Policy."""

    def __init__(self, page_url: str, head: str = HEAD) -> None:
        outer = self
        self._head = head.replace("{origin}", page_url.rstrip("/"))
        self.body = ""

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f"{outer._head}{outer.body}</main>".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        super().__init__(Handler)


def get_button(page: Page, n: int = 0) -> Locator:
    """Return the button in the page's nth `<counter-button>`."""
    return page.locator("counter-button").nth(n).get_by_role("button")


def expect_value(page: Page, value: int | str, *, element: str = "counter-button", n: int = 0, mark: str = "") -> None:
    """Expect that the page's nth element of this name shows this value and mark."""
    shown = page.locator(element).nth(n)
    expect(shown.locator("[part=value]")).to_have_text(f"{value}")
    expect(shown.locator("[part=mark]")).to_have_text(mark)
