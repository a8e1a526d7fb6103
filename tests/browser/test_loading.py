"""The first number after two round trips, and reads through the cache of a CDN."""

import http.server
import json
import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Route, expect

from tests.browser.pages import (
    Gate,
    click_increment,
    configure,
    expect_shown,
    get_value_and_version,
    increment_elsewhere,
    poll,
    poll_after_click,
    stop_clock,
    stop_polls,
)
from tests.browser.proxy import ApiProxy
from tests.e2e.conftest import eventually
from tests.web_files import list_modules, read_web

#: The modules that the page imports after the first number.
LAZY = {f"page/{name}" for name in re.findall(r'import\("\./(.*?)"\)', read_web()["page/app.js"].decode())}


def test_first_number_needs_two_round_trips_after_the_document(page, page_url, api_url, counter_id):
    """
    The requests of a round are held until all of them have arrived. All other requests are held forever.

    If a read gets no response, the page repeats it. The repetition belongs to the same round.
    """
    held: dict[str, Route] = {}
    released: set[str] = set()

    def hold(route: Route) -> None:
        if route.request.url in released:
            route.continue_()
        else:
            held[route.request.url] = route

    def release(*urls: str) -> None:
        for _ in range(3000):
            if held.keys() >= {*urls}:
                break
            page.wait_for_timeout(20)
        assert {*urls} <= held.keys()
        released.update(urls)
        for url in urls:
            held.pop(url).continue_()

    page.route(re.compile(rf"{page_url}.+|{api_url}/.*"), hold)
    index = read_web()["index.html"].decode()
    styles = re.findall(r'<link rel="stylesheet" href="(.*?)">', index)

    page.goto(f"{page_url}#/{counter_id}", wait_until="commit")

    release(*(page_url + name for name in ("page/app.js", *list_modules("page/app.js"), *styles)))
    release(f"{api_url}/counters/{counter_id}")
    expect_shown(page, value=0)


def test_details_are_requested_only_after_the_first_number(page, page_url, counter_id):
    requested: list[str] = []
    page.on("request", lambda sent: requested.append(sent.url.removeprefix(page_url)))
    reads = Gate(page, f"**/counters/{counter_id}")
    # The page would also load the details if the held read timed out.
    stop_clock(page)
    page.goto(f"{page_url}#/{counter_id}", wait_until="load")
    assert reads.wait_for_requests()
    details = {"page/details.css", *LAZY, *list_modules("page/panels.js")} - {*list_modules("page/app.js")}
    assert details.isdisjoint(requested)

    reads.open()

    expect_shown(page, value=0)
    expect(page.get_by_role("slider", name="Changes in the last hour")).to_be_visible()
    assert details <= {*requested}


def test_first_number_is_requested_again_after_ten_seconds(page, page_url, counter_id):
    """A lost response does not keep the number from the user until API Gateway's timeout."""
    lost: list[Route] = []
    page.route(f"**/counters/{counter_id}", lambda route: route.continue_() if lost else lost.append(route))
    stop_clock(page)
    page.goto(f"{page_url}#/{counter_id}")
    hint = page.get_by_text("We’ll show the number when the connection is back.")
    page.clock.run_for(9_999)
    expect(hint).to_be_hidden()

    page.clock.run_for(1)

    expect(hint).to_be_visible()
    page.clock.run_for(500)
    expect_shown(page, value=0)


@pytest.mark.parametrize("name", ["panels.js", "details.css"])
def test_details_that_cannot_be_loaded_are_explained(page, open_counter, counter_id, name):
    page.route(f"**/page/{name}", lambda route: route.abort("connectionreset"))

    open_counter(counter_id)

    expect(page.locator("#details")).to_have_text("Can’t load the details. Reload the page.")
    click_increment(page)
    expect_shown(page, value=1)


class Cdn(ApiProxy):
    """A CDN of one location in front of the API, which keeps responses for as long as they say. `now` is in seconds."""

    def __init__(self, api_url: str) -> None:
        self.now = 0.0
        # The paths of the requests that reached the API.
        self.requested: list[str] = []
        self._kept: dict[tuple[str, str | None], tuple[float, httpx.Response]] = {}
        super().__init__(api_url)

    def fetch(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> httpx.Response:
        """Return a kept response, or the API's response."""
        if request.command != "GET":
            return self._forward(request, body)
        key = (request.path, request.headers["Origin"])
        until, response = self._kept.get(key, (self.now, None))
        if response is None or until <= self.now:
            # Remove If-None-Match, because a CDN needs the body.
            del request.headers["If-None-Match"]
            response = self._forward(request, body)
            seconds = re.search(r"s-maxage=(\d+)", response.headers.get("Cache-Control", ""))
            self._kept[key] = (self.now + float(seconds[1] if seconds else 0), response)
        return response

    def _forward(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> httpx.Response:
        self.requested.append(request.path)
        return super().fetch(request, body)


@pytest.fixture
def cdn(api_url: str) -> Iterator[Cdn]:
    cdn = Cdn(api_url)
    yield cdn
    cdn.close()


@pytest.mark.exhaustive
def test_own_click_is_shown_at_once_and_never_undone_behind_a_cdn(new_context, cdn, page_url, api_url, counter_id):
    clicking, watching = (new_context().new_page() for _ in range(2))
    for page in (clicking, watching):
        configure(page, json.dumps({"api_url": cdn.url.rstrip("/")}))
        stop_polls(page)
        page.goto(f"{page_url}#/{counter_id}")
        expect_shown(page, value=0)
        poll(page)
    clicking.evaluate(
        """() => {
            window.values = [];
            new MutationObserver(() => window.values.push(document.getElementById("value").value))
                .observe(document.getElementById("value"), { attributes: true, childList: true, subtree: true });
        }"""
    )

    click_increment(clicking)
    eventually(lambda: get_value_and_version(api_url, counter_id) == (1, 1))
    poll_after_click(clicking)
    expect_shown(clicking, value=1)
    for page in (clicking, watching):
        poll(page)

    expect_shown(clicking, value=1)
    expect_shown(watching, value=0)
    values = clicking.evaluate("window.values")
    assert values == sorted(values)
    assert values[-1] == "1"
    assert cdn.requested.count(f"/counters/{counter_id}/cached") == 1
    increment_elsewhere(api_url, counter_id)
    cdn.now = 1
    for page in (clicking, watching):
        poll(page)
        expect_shown(page, value=2)
    assert cdn.requested.count(f"/counters/{counter_id}/cached") == 2
