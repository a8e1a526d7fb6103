"""Text of twice the size (WCAG 1.4.4) and with more space (WCAG 1.4.12) fits narrow windows in each state."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.pages import CORS, expect_pending, open_options

pytestmark = pytest.mark.exhaustive

STYLES = {
    "twice the size": "html { font-size: 200% !important }",
    "more space": """* {
        line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important;
    }
    p { margin-bottom: 2em !important }""",
}
LONG_NAME = "W" * 64
HUGE = 9_007_199_254_740_991
#: Apply this style. The page's Content-Security-Policy does not concern style sheets that scripts make.
SET_STYLE = """style => {
    window.sheet ??= new CSSStyleSheet();
    sheet.replaceSync(style);
    document.adoptedStyleSheets = [sheet];
}"""
#: Describe elements that reach beyond the window, text that does not fit into its box, and elements that overlap.
#: A text field scrolls, and some elements are in a box of a pixel, for screen readers only.
FIND_FAULTS = """() => {
    const describe = ({ outerHTML }) => outerHTML.slice(0, 200);
    const isShown = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    const shown = [...document.querySelectorAll("body *")].filter(
        (element) => isShown(element) && element.clientWidth !== 1 && !element.closest("svg")
    );
    const getBox = (element) => element.getBoundingClientRect();
    const faults = [];
    if (document.documentElement.scrollWidth > innerWidth) {
        faults.push("The page scrolls sideways.");
    }
    for (const element of shown) {
        const { overflowX, overflowY } = getComputedStyle(element);
        const { scrollWidth, scrollHeight, clientWidth, clientHeight } = element;
        const cuts = (overflow, needed, available) => ["hidden", "clip"].includes(overflow) && needed > available + 1;
        const box = getBox(element);
        if (box.right > innerWidth + 1 || box.left < -1) faults.push(`beyond the window: ${describe(element)}`);
        if (element.matches("input")) continue;
        if (cuts(overflowX, scrollWidth, clientWidth) || cuts(overflowY, scrollHeight, clientHeight)) {
            faults.push(`cut: ${describe(element)}`);
        }
        const spills = element.matches("button, summary, label, select, .notice") && scrollWidth > clientWidth + 1;
        if (spills) faults.push(`spills: ${describe(element)}`);
    }
    const apart = "a, button, select, summary, input, label, h1, h2, h3, p, li, data, #times span";
    const parts = shown.filter((element) => element.matches(apart));
    for (const [index, one] of parts.entries()) {
        for (const other of parts.slice(index + 1)) {
            if (one.contains(other) || other.contains(one)) continue;
            const [a, b] = [getBox(one), getBox(other)];
            const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (width > 1 && height > 1) faults.push(`overlap: ${describe(one)} AND ${describe(other)}`);
        }
    }
    return faults;
}"""


class MadeUpApi:
    """An API whose responses depend on attributes that a test changes."""

    def __init__(self, page: Page, api_url: str) -> None:
        self.value = 0
        #: Whether details have rows, with texts of the maximum length.
        self.is_full = False
        #: How requests fail. "reads": reads get no response. "all", "details": requests get a 503. "refusal":
        #: increments get a 400. Otherwise, increments get no response.
        self.fault = ""
        self._path = urlsplit(api_url).path
        page.route(f"{api_url}/**", self._respond)

    def _respond(self, route: Route) -> None:
        path = urlsplit(route.request.url).path.removeprefix(self._path)
        is_detail = path.count("/") > 2 and not path.endswith("/cached")
        if self.fault == "all" or (self.fault == "details" and is_detail):
            problem = {"title": "Unavailable", "detail": "The log does not respond. Retry in a few seconds."}
            route.fulfill(status=503, json=problem, headers=CORS)
        elif route.request.method == "POST":
            if self.fault == "refusal":
                problem = {"type": "urn:counter:problem:invalid-request", "title": "Invalid request"}
                problem["detail"] = "by must be an integer from 1 to 1000, got 1001. " * 4
                route.fulfill(status=400, json=problem, headers={**CORS, "Content-Type": "application/problem+json"})
        elif path.endswith("/badge.svg"):
            badge = '<svg xmlns="http://www.w3.org/2000/svg" width="400" height="20"><path d="M0 0h400v20H0z"/></svg>'
            route.fulfill(body=badge, content_type="image/svg+xml", headers=CORS)
        elif self.fault != "reads":
            route.fulfill(json=self._read(path), headers=CORS)

    def _read(self, path: str) -> dict[str, Any]:
        start = datetime.now(UTC) - timedelta(minutes=20)
        times = [f"{(start + timedelta(minutes=n)).isoformat(timespec='milliseconds')[:-6]}Z" for n in range(8)]
        rows = range(8 if self.is_full else 0)
        return {
            "counter_id": LONG_NAME,
            "value": self.value,
            "version": len(rows),
            "updated_at": times[-1] if rows else None,
            "points": [{"start": times[n], "increments": 3, "sum": HUGE if n % 2 else -HUGE} for n in rows],
            "events": [
                {"event_id": f"{n}", "type": "Adjusted", "by": -HUGE, "reason": "x" * 200, "recorded_at": times[n]}
                for n in rows
            ],
            "rows": [{"counter_id": f"{LONG_NAME[1:]}{n}", "value": HUGE, "rank": n + 1} for n in rows]
            if "top_counters" in path
            else [],
            "next_cursor": None,
        }


def walk_states(page: Page, page_url: str, api_url: str) -> Iterator[str]:
    """Bring the page into each of its states, and yield the state's name."""
    api = MadeUpApi(page, api_url)
    value = page.locator("#value")

    def open_(counter_id: str) -> None:
        page.goto("about:blank")
        page.goto(f"{page_url}#/{counter_id}")

    api.fault = "reads"
    open_("a")
    expect(page.get_by_role("heading", level=1)).to_have_text("a")
    yield "loading"

    api.fault = ""
    open_("b")
    expect(value).to_have_text("0")
    open_options(page)
    yield "never counted"

    page.locator("#increment").click(click_count=14)
    expect_pending(page, 14)
    yield "pending"

    api.fault = "refusal"
    open_("c")
    expect(value).to_have_text("0")
    page.locator("#increment").click()
    expect(page.get_by_role("alert")).to_contain_text("from 1 to 1000")
    yield "refused"

    api.fault, api.is_full = "", True
    for api.value in (HUGE, -HUGE):
        open_(f"{'-' if api.value < 0 else '~'}{LONG_NAME[1:]}")
        expect(value).to_have_text(f"{api.value:,}".replace("-", "−"))  # noqa: RUF001  (a minus sign)
        expect(page.locator("#events li").first).to_be_visible()
        expect(page.locator("#counters li").first).to_be_visible()
        expect(page.locator("#badge")).to_be_visible()
        open_options(page)
        yield f"value of {api.value}"

    api.fault = "details"
    open_("d")
    expect(page.locator("#details")).to_contain_text("Can’t load this")
    yield "details failed"

    api.fault = "all"
    open_("e")
    page.locator("#increment").click()
    expect(page.locator("#connection")).to_contain_text(" saved; ")
    yield "unreachable"

    open_("no counter")
    expect(page.get_by_role("alert")).to_contain_text("isn’t a valid name")
    yield "invalid name"


@pytest.mark.parametrize("width", [320, 390])
def test_large_and_spaced_text_fits_narrow_windows(new_context, page_url, api_url, width):
    """In each state, nothing is cut off, scrolls sideways or overlaps a control."""
    page = new_context(viewport={"width": width, "height": 700}, reduced_motion="reduce").new_page()
    faults = []
    states = 0

    for state in walk_states(page, page_url, api_url):
        states += 1
        for name, style in STYLES.items():
            page.evaluate(SET_STYLE, style)
            faults += [f"{state}, {name}: {fault}" for fault in page.evaluate(FIND_FAULTS)]

    assert states == 9
    assert faults == []


def test_times_below_the_chart_fit_at_any_time(new_context, page_url, api_url, counter_id):
    """The distance between the last two labels depends on the minute, the hour and the day."""
    page = new_context(viewport={"width": 320, "height": 700}, reduced_motion="reduce").new_page()
    MadeUpApi(page, api_url).is_full = True
    page.goto(f"{page_url}#/{counter_id}")
    ranges = page.locator("#ranges label")
    faults = []

    # Labels repeat after 15 minutes, 6 hours and 5 days.
    for number in range(15):
        now = datetime(2026, 9, 20, tzinfo=UTC) + number * timedelta(days=1, hours=1, minutes=1)
        page.clock.set_fixed_time(now)
        for index in range(3):
            ranges.nth(index).click()
            expect(page.locator("#times span")).not_to_have_count(0)
            for name, style in STYLES.items():
                page.evaluate(SET_STYLE, style)
                found = page.evaluate(FIND_FAULTS)
                faults += [f"{now:%d %b %H:%M}, {name}: {fault}" for fault in found if "span" in fault]

    assert faults == []
