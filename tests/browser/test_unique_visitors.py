"""Run the recipe of docs/embed.md in Chromium: tabs share the visitor, but private windows do not."""

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.pages import get_value_and_version
from tests.doc_pages import section
from tests.e2e.conftest import eventually

pytestmark = pytest.mark.exhaustive

CODE = "\n".join(
    re.findall(r"```js\n(.*?)```", section(title), re.DOTALL)[0] for title in ("Clients that retry", "Unique visitors")
)
START = f"(counter) => {{ {CODE}\n globalThis.visit = countVisitor(counter); }}"


def visit(pages: list[Page], counter: str) -> None:
    """Count a visit in all pages at the same time, and wait until all are recorded."""
    for page in pages:
        page.evaluate(START, counter)
    for page in pages:
        page.evaluate("() => globalThis.visit")


def test_tabs_and_reloads_are_one_visitor_and_private_windows_are_more(
    new_context: Callable[..., BrowserContext], page_url: str, api_url: str, counter_id: str
) -> None:
    """A new context shares no storage with others, like a private window."""
    counter = f"{api_url}/counters/{counter_id}"
    context, private = new_context(), new_context()
    for visitor in (context, private):
        # The day must not end during the test.
        visitor.clock.set_fixed_time(datetime(2026, 3, 1, 10, tzinfo=UTC))
    tabs = [context.new_page() for _ in range(3)]
    windows = [*tabs, private.new_page()]
    for page in windows:
        page.goto(page_url)

    visit(tabs, counter)
    tabs[0].reload()
    visit(tabs[:1], counter)
    eventually(lambda: get_value_and_version(api_url, counter_id) == (1, 1))
    visit(windows, counter)

    eventually(lambda: get_value_and_version(api_url, counter_id) == (2, 2))
