"""The page's offline cache has one complete version, and no responses of the API."""

import http.server
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from ops import stages
from ops.deployment import site_files
from tests.browser.pages import click_increment, expect_pending, expect_shown, get_value_and_version
from tests.loopback_server import LoopbackServer

pytestmark = pytest.mark.exhaustive

WORKER_TIMEOUT = "const TIMEOUT_MS = 3_000;"


class Host(LoopbackServer):
    """A server of the page at the root and the API below /api, like a CDN with a path route."""

    def __init__(self, api_url: str) -> None:
        outer = self
        self.api_url = api_url
        self.files: dict[str, site_files.SiteFile] = {}
        # The files to serve after the next page has started.
        self.next: dict[str, site_files.SiteFile] = {}
        self.has_worker = threading.Event()
        self.has_worker.set()
        # "hangs": no file is answered until the host has recovered; "fails": each is a 503.
        self.fault = ""
        self.recovered = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def do_POST(self) -> None:
                outer.answer(self)

        super().__init__(Handler)
        self.files = self.version("")

    def version(self, style: str, *, timeout_ms: str = "60_000") -> dict[str, site_files.SiteFile]:
        """
        Return the files of the published page with an additional style.

        Its service worker waits this long for the host: by default, longer than a slow machine needs.
        """
        folder = stages.PROJECT / "web"
        web = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        web["page/style.css"] += style.encode()
        worker = web["service-worker.js"].decode()
        assert WORKER_TIMEOUT in worker
        web["service-worker.js"] = worker.replace(WORKER_TIMEOUT, f"const TIMEOUT_MS = {timeout_ms};").encode()
        return {file.key: file for file in site_files.build_site(web, self.url, f"{self.url}api", 1000).files}

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        key = urlsplit(request.path).path.removeprefix("/") or "index.html"
        if key.startswith("api/"):
            self._forward(request)
            return
        if self.fault == "hangs":
            self.recovered.wait(60)
        elif self.fault == "fails":
            _send(request, 503, {}, b"<h1>Service unavailable</h1>")
            return
        if key == "service-worker.js":
            self.has_worker.wait(60)
        if key.endswith("page/app.js"):
            self.files.update(self.next)
        file = self.files.get(key)
        if file is None:
            _send(request, 404, {}, b"")
            return
        headers = {"Content-Type": file.content_type, "Cache-Control": "no-cache"}
        if file.content_encoding:
            headers["Content-Encoding"] = file.content_encoding
        _send(request, 200, headers, file.body)

    def _forward(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = (
            request.rfile.read(int(request.headers.get("Content-Length") or 0)) if request.command == "POST" else None
        )
        headers = {
            name: request.headers[name] for name in ("Content-Type", "Idempotency-Key") if name in request.headers
        }
        forwarded = urllib.request.Request(
            self.api_url + request.path.removeprefix("/api"), data=body, headers=headers, method=request.command
        )
        try:
            answer = urllib.request.urlopen(forwarded, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            headers = {name: answer.headers[name] for name in ("Content-Type", "Cache-Control") if answer.headers[name]}
            _send(request, answer.status, headers, answer.read())


def _send(request: http.server.BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    request.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


@pytest.fixture
def host(api_url: str) -> Iterator[Host]:
    host = Host(api_url)
    yield host
    host.close()


READ_CACHE = """async () => {
    const cache = await caches.open("page");
    const index = await cache.match(location.href.replace(/[#?].*/, ""));
    if (!index) return null;
    const paths = (await cache.keys()).map(({ url }) => new URL(url).pathname).sort();
    return { paths, version: (await index.text()).match(/v\\/(\\w+)/)[1] };
}"""


def wait_until_cached(page: Page, version: str) -> list[str]:
    """Wait until a service worker responds with only this version of the page. Return the cached paths."""
    paths: list[str] = page.evaluate(
        f"""async version => {{
            await navigator.serviceWorker.ready;
            let kept;
            for (const end = Date.now() + 60_000; Date.now() < end; ) {{
                kept = await ({READ_CACHE})();
                const {{ paths, version: cached }} = kept ?? {{}};
                const others = paths?.filter((path) => path.startsWith("/v/") && !path.includes(version));
                if (cached === version && !others.length) return paths;
                await new Promise((resume) => setTimeout(resume, 20));
            }}
            throw new Error(`The cache must have only the version ${{version}}, got ${{JSON.stringify(kept)}}.`);
        }}""",
        version,
    )
    return paths


def get_version(files: dict[str, site_files.SiteFile]) -> str:
    return next(key for key in files if key.startswith("v/")).split("/")[1]


@pytest.fixture
def context(new_context: Callable[..., BrowserContext]) -> BrowserContext:
    return new_context(service_workers="allow")


def test_cached_files_are_of_one_version_during_a_publication(context, page, host, counter_id):
    old, new = host.version(""), host.version("/* new */")
    page.goto(f"{host.url}#/{counter_id}")
    expect_shown(page, value=0)
    kept = wait_until_cached(page, get_version(old))

    host.next = new
    page.reload()
    expect_shown(page, value=0)
    page.wait_for_load_state("networkidle")

    assert page.evaluate(READ_CACHE) == {"paths": kept, "version": get_version(old)}
    context.set_offline(True)
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text(counter_id)
    # The installed app starts at this address.
    page.goto(f"{host.url}index.html#/{counter_id}")
    expect(page.get_by_role("heading", level=1)).to_have_text(counter_id)
    page.goto(f"{host.url}#/{counter_id}")
    context.set_offline(False)
    page.reload()
    assert f"/v/{get_version(new)}/page/app.js" in wait_until_cached(page, get_version(new))


def test_api_responses_are_not_cached_if_page_and_api_share_a_host(context, page, host, api_url, counter_id):
    host.has_worker.clear()
    page.goto(f"{host.url}#/{counter_id}")
    expect_shown(page, value=0)
    click_increment(page)
    expect_shown(page, value=1)
    host.has_worker.set()

    kept = wait_until_cached(page, get_version(host.files))

    published = {f"/{key}" for key in host.files if key.startswith("v/") and key.endswith((".js", ".css", ".svg"))}
    of_page = {key for key in published if "/gallery/" not in key}
    assert set(kept) == {"/", "/index.html", *of_page}
    context.set_offline(True)
    page.reload()
    expect(page.locator("#connection")).to_contain_text("You’re offline.")
    expect(page.locator("#value")).to_have_text("1")
    expect(page.locator("#facts")).to_have_text("As of a moment ago")
    expect(page.get_by_role("radio", name="Hour", exact=True)).to_be_checked()
    expect(page.get_by_label("Link", exact=True)).to_have_value(page.url)
    click_increment(page)
    expect_pending(page, 1)
    context.set_offline(False)
    expect_shown(page, value=2)
    assert get_value_and_version(api_url, counter_id) == (2, 2)


@pytest.mark.parametrize("fault", ["hangs", "fails"])
def test_kept_page_is_served_if_its_host_hangs_or_fails(page, host, api_url, counter_id, fault):
    host.files = host.version("", timeout_ms="3_000")
    page.goto(f"{host.url}#/{counter_id}")
    expect_shown(page, value=0)
    kept = wait_until_cached(page, get_version(host.files))

    host.fault = fault
    page.reload()

    click_increment(page)
    expect_shown(page, value=1)
    assert page.evaluate(READ_CACHE) == {"paths": kept, "version": get_version(host.files)}
    host.recovered.set()
    host.fault = ""
    page.reload()
    expect_shown(page, value=1)
    assert get_value_and_version(api_url, counter_id) == (1, 1)
