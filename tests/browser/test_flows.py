"""
What visitors do, in Chromium, Firefox and WebKit, all in dark mode.

Each test has its own page server and its own proxy to the API, so that any browser can be offline: without the API, or
without both the API and the page's host. Each test also has a new origin with empty storage.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright
from selenium import webdriver

from ops.local.page_server import PageServer
from tests.browser.conftest import TIMEOUT_MS
from tests.browser.embedding import ForeignSite
from tests.browser.pages import get_value_and_version, increment_elsewhere
from tests.browser.proxy import ApiProxy
from tests.browser.webkit import WebKitContext, WebKitTab, run_webkit
from tests.e2e.conftest import eventually
from tests.programs import require_program

Context = BrowserContext | WebKitContext
Tab = Page | WebKitTab

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")


class Site:
    """A page and its API, each of which can be out of reach."""

    def __init__(self, api_url: str) -> None:
        self.api = ApiProxy(api_url)
        self._page = self._serve(0)
        self.url = self._page.url

    def stop(self) -> None:
        """Make both the page's host and the API unreachable."""
        self.api.fault = "all"
        self._page.close()

    def restart(self) -> None:
        """Undo `stop`."""
        self._page = self._serve(urlsplit(self.url).port or 0)
        self.api.fault = ""

    def close(self) -> None:
        self._page.close()
        self.api.close()

    def _serve(self, port: int) -> PageServer:
        return PageServer(port, self.api.url.rstrip("/"), 1000)


@pytest.fixture
def site(api_url: str) -> Iterator[Site]:
    with contextlib.closing(Site(api_url)) as site:
        yield site


@pytest.fixture(scope="module")
def firefox(playwright: Playwright) -> Iterator[Browser]:
    """Run Debian's Firefox, which Playwright drives with WebDriver BiDi. A preference sets dark mode."""
    path = require_program("firefox-esr", "firefox-esr")
    with playwright.firefox.launch(
        channel="moz-firefox",
        executable_path=path,
        firefox_user_prefs={"layout.css.prefers-color-scheme.content-override": 0},
    ) as browser:
        yield browser


@pytest.fixture(scope="module")
def webkit() -> Iterator[webdriver.WebKitGTK]:
    with run_webkit() as driver:
        yield driver


@pytest.fixture(
    params=[
        "chromium",
        pytest.param("firefox", marks=pytest.mark.exhaustive),
        pytest.param("webkit", marks=pytest.mark.exhaustive),
    ]
)
def context(request: pytest.FixtureRequest, new_context: Callable[..., BrowserContext]) -> Iterator[Context]:
    if request.param == "chromium":
        yield new_context(service_workers="allow", color_scheme="dark")
        return
    running = request.getfixturevalue(request.param)
    with contextlib.closing(WebKitContext(running) if request.param == "webkit" else running.new_context()) as context:
        if isinstance(context, BrowserContext):
            context.set_default_timeout(TIMEOUT_MS)
        yield context


def wait_for(tab: Tab, expression: str) -> None:
    """Wait until this JavaScript expression is true."""
    eventually(lambda: bool(tab.evaluate(expression)))


def expect_text(tab: Tab, selector: str, text: str) -> None:
    wait_for(tab, f"document.querySelector({json.dumps(selector)}).textContent.includes({json.dumps(text)})")


def expect_counted(tab: Tab, value: int) -> None:
    """Expect that this value is shown and that no click is pending."""
    wait_for(tab, f"document.querySelector('#value').textContent === '{value}'")
    wait_for(tab, "document.querySelector('#pending').hidden")


def open_counter(context: Context, site: Site, counter_id: str) -> Tab:
    tab = context.new_page()
    tab.goto(f"{site.url}#/{counter_id}")
    expect_counted(tab, 0)
    return tab


def click_increment(tab: Tab, times: int = 1) -> None:
    wait_for(tab, "!document.querySelector('#increment').disabled")
    for _ in range(times):
        tab.click("#increment")


def reconnect(tab: Tab, site: Site) -> None:
    """Let the page reach the API again, and tell the page as a browser does."""
    site.api.fault = ""
    tab.evaluate("dispatchEvent(new Event('online'))")


def show_options(tab: Tab) -> None:
    if not tab.evaluate("document.querySelector('#options').open"):
        tab.click("#options summary")


def focus_with_tab_key(tab: Tab, selector: str) -> None:
    """Press the Tab key, starting at the search field, until this element has the focus."""
    tab.press("#other", "Tab")
    for _ in range(40):
        if tab.evaluate(f"document.activeElement.matches('{selector}')"):
            return
        tab.press(":focus", "Tab")
    pytest.fail(f"{selector} cannot be reached with the Tab key")


def test_page_shows_the_number_and_counts_each_click(context, site, api_url, counter_id):
    increment_elsewhere(api_url, counter_id, 5)
    tab = context.new_page()
    tab.goto(f"{site.url}#/{counter_id}")
    expect_counted(tab, 5)

    click_increment(tab)
    expect_counted(tab, 6)
    click_increment(tab, times=5)
    expect_counted(tab, 11)

    expect_text(tab, "#events", "+1 × 6")  # noqa: RUF001  (a multiplication sign)
    assert get_value_and_version(api_url, counter_id) == (11, 7)
    assert len(set(site.api.keys)) == 6


def test_clicks_of_an_outage_count_once_after_it(context, site, api_url, counter_id):
    """The page is reloaded during the outage, and keeps the keys."""
    tab = open_counter(context, site, counter_id)
    click_increment(tab)
    expect_counted(tab, 1)

    site.api.fault = "all"
    click_increment(tab, times=2)
    expect_text(tab, "#connection", "2 clicks saved")
    tab.reload()
    expect_text(tab, "#connection", "2 clicks saved; we’ll send them")
    expect_text(tab, "#pending", "+2 pending")

    reconnect(tab, site)
    expect_counted(tab, 3)
    assert get_value_and_version(api_url, counter_id) == (3, 3)
    assert len(set(site.api.keys)) == 3


def test_clicks_with_lost_responses_count_once(context, site, api_url, counter_id):
    """The page is reloaded before it retries."""
    tab = open_counter(context, site, counter_id)
    site.api.fault = "increments"
    click_increment(tab, times=2)
    expect_text(tab, "#connection", "2 clicks saved")

    tab.reload()
    expect_text(tab, "#connection", "2 clicks saved")

    reconnect(tab, site)
    expect_counted(tab, 2)
    assert get_value_and_version(api_url, counter_id) == (2, 2)
    assert len(site.api.keys) > len(set(site.api.keys)) == 2


def test_clicks_of_two_tabs_count_once(context, site, api_url, counter_id):
    """The second tab also sends the clicks of the first, which is closed during an outage."""
    first, second = (open_counter(context, site, counter_id) for _ in range(2))
    for tab in (first, second):
        click_increment(tab, times=5)
    for tab in (first, second):
        expect_counted(tab, 10)

    site.api.fault = "all"
    click_increment(first, times=2)
    expect_text(first, "#connection", "2 clicks saved")
    first.close()
    wait_for(second, "navigator.locks.query().then(({ held }) => held.length === 1)")

    reconnect(second, site)
    expect_counted(second, 12)
    assert get_value_and_version(api_url, counter_id) == (12, 12)
    assert len(set(site.api.keys)) == 12


def test_swap_counts_only_if_the_shown_value_is_current(context, site, api_url, counter_id):
    """A swap whose response was lost is the same swap when it is retried."""
    tab = open_counter(context, site, counter_id)
    show_options(tab)
    tab.click("#swap")
    expect_text(tab, "#swapped", "Added: 0 → 1")
    expect_counted(tab, 1)

    site.api.fault = "reads"
    increment_elsewhere(api_url, counter_id)
    tab.click("#swap")
    expect_text(tab, "#swapped", "Not added: someone else got there first. The value is now 2.")
    reconnect(tab, site)
    expect_counted(tab, 2)

    site.api.fault = "increments"
    tab.click("#swap")
    expect_text(tab, "#swapped", "We don’t know if it was counted.")
    site.api.fault = ""
    tab.click("#swap")
    expect_text(tab, "#swapped", "Added: 2 → 3")
    expect_counted(tab, 3)
    assert get_value_and_version(api_url, counter_id) == (3, 3)


def test_page_opens_offline_and_sends_its_clicks_later(context, site, api_url, counter_id):
    tab = open_counter(context, site, counter_id)
    wait_for(tab, "caches.match(location.href.replace(/[#?].*/, '')).then(Boolean)")
    site.stop()

    tab.reload()
    click_increment(tab, times=2)
    expect_text(tab, "#connection", "2 clicks saved")

    site.restart()
    reconnect(tab, site)
    expect_counted(tab, 2)
    assert get_value_and_version(api_url, counter_id) == (2, 2)


def test_pending_clicks_are_sent_after_the_visitor_comes_back(context, site, api_url, counter_id):
    """The browser may keep the page as it was when the visitor left (back/forward cache), or load the page again."""
    tab = open_counter(context, site, counter_id)
    site.api.fault = "all"
    click_increment(tab, times=2)
    expect_text(tab, "#connection", "2 clicks saved")

    tab.goto(f"{site.url}error.html")
    site.api.fault = ""
    tab.go_back()

    expect_counted(tab, 2)
    click_increment(tab)
    expect_counted(tab, 3)
    assert get_value_and_version(api_url, counter_id) == (3, 3)


def test_keyboard_alone_reaches_each_action(context, site, api_url, counter_id):
    tab = open_counter(context, site, counter_id)
    focus_with_tab_key(tab, "#increment")
    for key in ("Enter", "Space", "+"):
        tab.press(":focus", key)
    expect_counted(tab, 3)

    focus_with_tab_key(tab, "#options summary")
    tab.press(":focus", "Enter")
    focus_with_tab_key(tab, "#by")
    for key in ("Backspace", "5"):
        tab.press(":focus", key)
    focus_with_tab_key(tab, "#swap")
    tab.press(":focus", "Enter")

    expect_text(tab, "#swapped", "Added: 3 → 8")
    assert get_value_and_version(api_url, counter_id) == (8, 4)


def test_embedded_button_of_another_site_counts_each_click_once(context, site, api_url, counter_id):
    """A click during an outage is sent after a reload."""

    def expect_part(part: str, text: str) -> None:
        element = f"document.querySelector('counter-button').shadowRoot.querySelector('[part={part}]')"
        wait_for(tab, f"{element}.textContent === {json.dumps(text)}")

    with contextlib.closing(ForeignSite(site.url)) as foreign:
        foreign.body = f'<counter-button api="{site.api.url.rstrip("/")}" counter="{counter_id}"></counter-button>'
        tab = context.new_page()
        tab.goto(foreign.url)
        expect_part("value", "0")
        tab.click("counter-button")
        expect_part("value", "1")

        site.api.fault = "all"
        tab.click("counter-button")
        expect_part("note", "Not sent yet. The click is saved.")
        tab.reload()
        expect_part("note", "Not sent yet. The click is saved.")
        reconnect(tab, site)

        expect_part("value", "2")
    assert get_value_and_version(api_url, counter_id) == (2, 2)


def test_page_has_no_accessibility_violation_in_dark_mode(context, site, counter_id):
    tab = open_counter(context, site, counter_id)
    click_increment(tab)
    expect_counted(tab, 1)
    show_options(tab)
    site.api.fault = "all"
    click_increment(tab)
    expect_text(tab, "#connection", "1 click saved")

    tab.evaluate(f"(() => {{ {AXE.read_text()} }})()")
    violations = tab.evaluate(
        "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => id + nodes[0].html))"
    )

    assert violations == []
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 17, 21)"
