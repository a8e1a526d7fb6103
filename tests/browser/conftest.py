"""
A browser with the page, against the whole deployed system.

Some tests put a simulated network, which holds or loses requests, between the page and the API. Such a network answers
preflights itself and caches nothing, so tests of cross-origin requests do not use it.
"""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest

from tests import warm_up

# On a busy machine, the first call of each function takes seconds.
TIMEOUT_MS = 60_000

try:
    from playwright.sync_api import expect, sync_playwright

    from tests.browser.pages import expect_shown
    from tests.browser.traffic import Traffic
    from tests.programs import require_program
except ModuleNotFoundError:
    if os.environ.get("CI"):
        raise
    collect_ignore_glob = ["test_*.py"]
else:
    expect.set_options(timeout=TIMEOUT_MS)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from playwright.sync_api import Browser, BrowserContext, Page, Playwright

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

#: The maximum number of connections that Chromium opens to one host.
_CONNECTIONS = 6

_TRAFFIC = pytest.StashKey["Traffic"]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the pages' requests and errors to the report of a failure."""
    report = yield
    if report.failed and _TRAFFIC in item.stash:
        report.sections.append(("Requests of the pages", item.stash[_TRAFFIC].describe()))
    return report


@pytest.fixture(scope="module", autouse=True)
def _warm_functions(api_url: str) -> None:
    """Start a process of the API's function for each connection of a page, which may need all of them at once."""
    warm_up.start_processes(api_url, _CONNECTIONS)


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    chromium = require_program("chromium", "chromium")
    browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture
def new_context(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., BrowserContext]]:
    """
    Create browser contexts that share no cookies, storage or cache.

    Service workers are blocked by default: Playwright's routes do not see a worker's requests.
    """
    made: list[BrowserContext] = []
    traffic = request.node.stash[_TRAFFIC] = Traffic()

    def make(**options: object) -> BrowserContext:
        made.append(browser.new_context(**{"service_workers": "block", **options}))  # type: ignore[arg-type]
        made[-1].set_default_timeout(TIMEOUT_MS)
        traffic.watch(made[-1])
        return made[-1]

    yield make
    for context in made:
        for page in context.pages:
            # A handler that still passes a response on would fail in the next test.
            page.unroute_all(behavior="ignoreErrors")
        context.close()


@pytest.fixture
def context(new_context: Callable[..., BrowserContext]) -> BrowserContext:
    return new_context()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def counter_id() -> str:
    return f"page-{uuid.uuid4()}"


@pytest.fixture
def open_counter(page: Page, page_url: str) -> Callable[[str], None]:
    """Open the page at a counter with value 0 and wait until it is shown."""

    def open_(counter_id: str) -> None:
        page.goto(f"{page_url}#/{counter_id}")
        expect_shown(page, value=0)

    return open_
