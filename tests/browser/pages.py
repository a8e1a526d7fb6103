"""What the tests do with the page, and what they expect on it."""

from __future__ import annotations

import json
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request, Route


class Gate:
    """Between the page and the API: requests to addresses that match wait here until it is opened."""

    def __init__(self, page: Page, pattern: str) -> None:
        self._page = page
        self._is_open = False
        self._waiting: list[Route] = []
        page.route(pattern, self._arrive)

    def open(self) -> None:
        """Release the held requests and hold no more."""
        self._is_open = True
        for route in self._waiting:
            route.continue_()

    def arrived(self) -> list[Request]:
        """Return the held requests once there are any, or none after half a minute. The page may be a little ahead."""
        for _ in range(1500):
            if self._waiting:
                break
            self._page.wait_for_timeout(20)
        return [route.request for route in self._waiting]

    def _arrive(self, route: Route) -> None:
        if self._is_open:
            route.continue_()
        else:
            self._waiting.append(route)


def stop_clock(page: Page) -> None:
    """Time stands still on the page, ahead of ours, until a test moves it."""
    now = datetime.now(UTC)
    page.clock.install(time=now)
    # It goes on until it is stopped, and cannot be stopped at a time that is over by then.
    page.clock.pause_at(now + timedelta(minutes=5))


def cut_off(page: Page, api_url: str) -> None:
    """Keep the page from reaching the API until its routes are removed."""
    page.route(f"{api_url}/**", lambda route: route.abort("internetdisconnected"))


def reconnect(page: Page, api_url: str) -> None:
    """Undo `cut_off` and let the browser tell the page."""
    page.unroute(f"{api_url}/**")
    page.evaluate("dispatchEvent(new Event('online'))")


def set_amount(page: Page, by: int | str) -> None:
    page.get_by_label("by", exact=True).fill(str(by))


def click_increment(page: Page, times: int = 1) -> None:
    button = page.get_by_role("button", name="Increment")
    for _ in range(times):
        button.click()


def click_at_once(page: Page, times: int) -> None:
    """So many clicks, faster than anybody."""
    page.locator("#increment").evaluate("(button, times) => { for (let i = 0; i < times; i++) button.click(); }", times)


def expect_shown(page: Page, *, value: int, pending: int = 0) -> None:
    expect(page.locator("#value")).to_have_text(f"{value:,}")
    expect_pending(page, pending)


def expect_pending(page: Page, pending: int) -> None:
    if pending:
        expect(page.locator("#pending")).to_have_text(f"+{pending:,} pending")
    else:
        expect(page.locator("#pending")).to_be_hidden()


def events_counted(api_url: str, counter_id: str) -> tuple[int, int]:
    """Value and version, as the API says."""
    with urllib.request.urlopen(f"{api_url}/counters/{counter_id}", timeout=60) as response:
        counter = json.load(response)
    return counter["value"], counter["version"]


def increment_elsewhere(api_url: str, counter_id: str) -> None:
    """Somebody else increments the counter, which is counted at once."""
    asked = urllib.request.Request(
        f"{api_url}/counters/{counter_id}/increments", data=b"", headers={"Prefer": "return=representation"}
    )
    urllib.request.urlopen(asked, timeout=60).close()
