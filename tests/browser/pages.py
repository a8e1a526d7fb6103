"""Actions and expectations of the tests on the page."""

import json
import re
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, Request, Route, expect

CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Date"}

TOP = [
    {"rank": 1, "counter_id": "visits", "value": 51231, "version": 40000},
    {"rank": 2, "counter_id": "clicks", "value": 16, "version": 16},
]


#: The pause of the page between a recorded click and the next poll.
_WAKE_MS = 400

#: Count the pauses between the polls of an idle counter, and those after recorded clicks.
_COUNT_PAUSES = f"""{{
    const {{ setTimeout }} = window;
    Object.assign(window, {{ pauses: 0, wakes: 0 }});
    window.setTimeout = (callback, ms, ...rest) => {{
        if (callback.name === "poll" && ms >= 5_000) window.pauses++;
        if (callback.name === "poll" && ms === {_WAKE_MS}) window.wakes++;
        return setTimeout(callback, ms, ...rest);
    }};
}}"""


class Gate:
    """A gate that holds the page's requests to matching addresses until it is opened."""

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

    def abort(self) -> None:
        """Fail the held requests."""
        for route in self._waiting:
            route.abort("connectionreset")

    def wait_for_requests(self) -> list[Request]:
        """Return the held requests once there are any, or none after half a minute."""
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


def configure(page: Page, config: str) -> None:
    """Replace the page's configuration with this one as soon as the page is parsed."""
    replace = f"document.getElementById('config').textContent = {json.dumps(config)}"
    page.add_init_script(f"document.addEventListener('readystatechange', () => {{ {replace}; }});")


def stop_clock(page: Page) -> None:
    """Stop the page's clock, five minutes ahead of the real time, until a test moves it."""
    now = datetime.now(UTC)
    page.clock.install(time=now)
    # The clock runs until it is stopped, and can only be stopped at a later time.
    page.clock.pause_at(now + timedelta(minutes=5))


def stop_polls(page: Page) -> None:
    """Stop the page's clock, so that the page polls only in `poll` and `poll_after_click`."""
    stop_clock(page)
    page.add_init_script(_COUNT_PAUSES)


def poll(page: Page) -> None:
    """
    Let the idle page poll a cached state, and wait until it pauses again.

    Also wait for a pause before the poll: the clock moves beyond a request's timeout, so the page would drop a response
    that it has not yet read.
    """
    page.wait_for_function("() => window.pauses > 0")
    pauses = page.evaluate("window.pauses")
    with page.expect_response("**/cached"):
        page.clock.fast_forward(60_000)
    page.wait_for_function("pauses => window.pauses > pauses", arg=pauses)


def poll_after_click(page: Page) -> None:
    """Let the page poll after its first click, which is already counted, and wait until it pauses."""
    page.wait_for_function("() => window.wakes > 0")
    pauses = page.evaluate("window.pauses")
    page.clock.run_for(_WAKE_MS)
    page.wait_for_function("pauses => window.pauses > pauses", arg=pauses)


def hide(page: Page, *, is_hidden: bool) -> None:
    """Make `document.hidden` true or false, as if the tab moved to the background or back, and notify the page."""
    page.evaluate(
        """isHidden => {
            Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


def expect_no_violation(page: Page) -> None:
    """Expect that axe finds no violation, in light mode and in dark mode."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        violations = [
            f"{scheme}: {rule['id']}: {node['failureSummary']} {node['html']}"
            for rule in Axe().run(page).response["violations"]
            for node in rule["nodes"]
        ]
        assert violations == []


def cut_off(page: Page, api_url: str) -> None:
    """Keep the page from reaching the API until its routes are removed."""
    page.route(f"{api_url}/**", lambda route: route.abort("internetdisconnected"))


def reconnect(page: Page, api_url: str) -> None:
    """Undo `cut_off`, and dispatch the event `online` as the browser does."""
    page.unroute(f"{api_url}/**")
    page.evaluate("dispatchEvent(new Event('online'))")


def open_options(page: Page) -> None:
    page.locator("#options").evaluate("options => { options.open = true; }")


def set_amount(page: Page, by: int | str) -> None:
    open_options(page)
    page.get_by_label("Amount").fill(str(by))


def get_add_button(page: Page) -> Locator:
    return page.get_by_role("button", name=re.compile(r"^Add( [\d,]+)?$"))


def click_increment(page: Page, times: int = 1) -> None:
    button = get_add_button(page)
    for _ in range(times):
        button.click()


def click_fast(page: Page, times: int) -> None:
    """Click this number of times, faster than a person could."""
    page.locator("#increment").evaluate("(button, times) => { for (let i = 0; i < times; i++) button.click(); }", times)


def expect_shown(page: Page, *, value: int, pending: int = 0) -> None:
    expect(page.locator("#value")).to_have_text(f"{value:,}")
    expect_pending(page, pending)


def expect_pending(page: Page, pending: int) -> None:
    if pending:
        expect(page.locator("#pending")).to_have_text(f"+{pending:,} pending")
    else:
        expect(page.locator("#pending")).to_be_hidden()


def get_value_and_version(api_url: str, counter_id: str) -> tuple[int, int]:
    """Return the counter's value and version from the API."""
    counter = httpx.get(f"{api_url}/counters/{counter_id}", timeout=60).raise_for_status().json()
    return counter["value"], counter["version"]


def increment_elsewhere(api_url: str, counter_id: str, by: int = 1) -> None:
    """Increment the counter as another client, and wait until the increment is counted."""
    request = urllib.request.Request(
        f"{api_url}/counters/{counter_id}/increments",
        data=json.dumps({"by": by}).encode(),
        headers={"Content-Type": "application/json", "Prefer": "return=representation"},
    )
    urllib.request.urlopen(request, timeout=60).close()


def choose_range(page: Page, name: str) -> None:
    page.get_by_role("group", name="Range").get_by_role("radio", name=name, exact=True).check()


def serve_reports(page: Page, daily: list[dict[str, Any]] | None = None) -> list[str]:
    """Serve `TOP` and these daily rows as reports. Return a list that collects the URLs that the page requests."""
    requested: list[str] = []

    def answer(rows: list[dict[str, Any]]) -> Any:
        def fulfil(route: Any) -> None:
            requested.append(route.request.url)
            route.fulfill(json={"rows": rows, "next_cursor": None}, headers=CORS)

        return fulfil

    page.route("**/reports/top_counters?*", answer(TOP))
    page.route("**/reports/daily?*", answer(daily or []))
    return requested


def serve_counter(
    page: Page,
    api_url: str,
    *,
    date: str = "Sun, 01 Mar 2026 10:00:00 GMT",
    events: list[dict[str, Any]] | None = None,
    points: list[dict[str, Any]] | None = None,
    next_cursor: str | None = None,
) -> None:
    """Serve a counter with these latest events and this history in place of the API, whose clock shows this date."""
    number = len(events or points or ())
    answer = {
        "counter_id": "clicks",
        "value": number,
        "version": number,
        "updated_at": "2026-03-01T10:00:00.000Z" if number else None,
        "events": events or [],
        "points": points or [],
        "next_cursor": next_cursor,
        "rows": [],
    }
    page.route(f"{api_url}/**", lambda route: route.fulfill(json=answer, headers=CORS | {"Date": date}))
