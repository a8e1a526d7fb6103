"""The site as it is published: versioned names, minified scripts and styles, narrow policy."""

import contextlib
import gzip
import http.server
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from ops.deployment.site_files import INDEX, SiteFile, build_site
from tests.browser.pages import click_increment, expect_shown
from tests.loopback_server import LoopbackServer
from tests.web_files import read_web


class Bucket(LoopbackServer):
    """A server of the published files with their headers."""

    def __init__(self, api_url: str) -> None:
        files: dict[str, SiteFile] = {}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                file = files.get(urlsplit(self.path).path[1:] or INDEX)
                self.send_response(200 if file else 404)
                if file:
                    self.send_header("Content-Type", file.content_type)
                    self.send_header("Cache-Control", file.cache_control)
                    if file.content_encoding:
                        self.send_header("Content-Encoding", file.content_encoding)
                self.send_header("Content-Length", str(len(file.body) if file else 0))
                self.end_headers()
                self.wfile.write(file.body if file else b"")

        super().__init__(Handler)
        files.update((file.key, file) for file in build_site(read_web(), self.url, api_url, 1000).files)


@pytest.fixture
def site(api_url: str) -> Iterator[Bucket]:
    with contextlib.closing(Bucket(api_url)) as site:
        yield site


#: Return the rules of a style sheet as the browser reads them. It keeps spaces in the values of custom properties.
READ_RULES = """text => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(text);
    return [...sheet.cssRules].map((rule) => rule.cssText.replace(/,\\s+/g, ","));
}"""


@pytest.mark.parametrize("name", ["tokens.css", "page/style.css", "page/details.css", "gallery/style.css"])
def test_published_styles_have_the_rules_of_their_source(page, name):
    source = read_web()[name].decode()
    files = build_site(read_web(), "https://page.example/", "https://api.example", 1000).files
    published = next(gzip.decompress(file.body) for file in files if file.key.endswith(f"/{name}"))

    rules = page.evaluate(READ_RULES, published.decode())

    assert rules == page.evaluate(READ_RULES, source)


def test_published_page_and_gallery_count(new_context, site, counter_id):
    """The page and the gallery write nothing to the console. The page also opens without its host."""
    context = new_context(service_workers="allow")
    page = context.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))

    page.goto(f"{site.url}#/{counter_id}")
    click_increment(page)
    expect_shown(page, value=1)
    expect(page.locator("#events li")).to_have_count(1)
    expect(page.locator("#badge")).to_be_visible()
    page.get_by_role("link", name="More forms").click()
    expect(page.locator("#html")).to_contain_text(f'counter="{counter_id}"')
    for element in page.locator("counter-button, counter-value").all():
        expect(element.locator("[part=value]")).to_have_text(re.compile(r"\d"))
    assert messages == []

    page.goto(f"{site.url}#/{counter_id}")
    page.wait_for_function("caches.match('/').then(Boolean)")
    site.close()
    page.reload()
    expect(page.locator("#value")).to_have_text("1")
