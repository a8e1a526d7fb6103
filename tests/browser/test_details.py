"""Details next to the value: history, latest events, embedding, other counters."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.browser.pages import click_increment, expect_shown, increment_elsewhere, set_amount, stop_clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext, Page, Route

pytestmark = pytest.mark.exhaustive


TOP = [
    {"rank": 1, "counter_id": "visits", "value": 51231, "version": 40000},
    {"rank": 2, "counter_id": "clicks", "value": 16, "version": 16},
]


def serve_reports(page: Page, daily: list[dict[str, Any]] | None = None) -> list[str]:
    """Let the API offer these reports. Return the addresses at which the page requests them."""
    requested: list[str] = []

    def answer(rows: list[dict[str, Any]]) -> Any:
        def fulfil(route: Any) -> None:
            requested.append(route.request.url)
            headers = {"Access-Control-Allow-Origin": "*"}
            route.fulfill(json={"rows": rows, "next_cursor": None}, headers=headers)

        return fulfil

    page.route("**/reports/top_counters?*", answer(TOP))
    page.route("**/reports/daily?*", answer(daily or []))
    return requested


def get_paths(requested: list[str], counter_id: str) -> list[str]:
    """Return the requests to this counter as paths below it, all others as whole addresses."""
    return [re.sub(rf".*/counters/{counter_id}|\?.*", "", url) for url in requested]


def expect_details(page: Page, number: int = 0) -> None:
    """
    Expect that every response has arrived, after this number of increments by 1.

    A response that is in flight when a test moves the clock is dropped and requested again, or the page only then
    starts to wait for the next refresh.
    """
    events = page.locator("#events li")
    if number:
        expect(events).to_have_count(number)
    else:
        expect(events).to_have_text("None yet.")
    expect(page.locator("#since")).to_contain_text(f"{number} since")
    expect(page.locator("#badge")).to_have_attribute("src", re.compile(re.escape(quote(f': {number}"'))))
    expect(page.locator("#counters li")).to_have_count(len(TOP))


def test_chart_of_the_last_hour_describes_its_content(
    page: Page, open_counter: Callable[[str], None], counter_id: str
) -> None:
    open_counter(counter_id)
    set_amount(page, 5)
    click_increment(page, times=2)
    expect_shown(page, value=10)

    chart = page.get_by_role("img", name="Last hour, by minute")

    expect(chart.locator("desc")).to_have_text(re.compile(r"^\+10 since \d\d:\d\d\. Most in one minute: \+(5|10), "))
    expect(chart.locator("rect")).to_have_count(60)
    classes = chart.locator("rect").evaluate_all("bars => bars.map((bar) => bar.getAttribute('class'))")
    assert classes.count("") in {1, 2}
    expect(page.locator("#since")).to_contain_text("+10 since")
    page.get_by_label("Last day").check()
    expect(page.get_by_role("img", name="Last day, by hour").locator("desc")).to_contain_text("+10 since")


def test_latest_events_are_listed(page: Page, open_counter: Callable[[str], None], counter_id: str) -> None:
    open_counter(counter_id)
    expect(page.locator("#events li")).to_have_text("None yet.")

    set_amount(page, 7)
    click_increment(page)

    expect(page.locator("#events li")).to_have_text(re.compile(r"^\+7.*\d\d:\d\d:\d\d$"))
    assert page.locator("#events time").get_attribute("datetime").endswith("Z")  # type: ignore[union-attr]


def test_details_are_requested_only_when_the_value_changes(
    page: Page, open_counter: Callable[[str], None], api_url: str, counter_id: str
) -> None:
    requested: list[str] = []
    # The page's own files may still be on their way into its cache.
    page.on("request", lambda sent: requested.append(sent.url) if sent.url.startswith(api_url) else None)
    serve_reports(page)
    page.clock.install()
    open_counter(counter_id)
    expect_details(page)
    assert {"", "/badge.svg", "/events", "/history"} < set(get_paths(requested, counter_id))
    requested.clear()

    for _ in range(3):
        with page.expect_response(f"**/counters/{counter_id}/cached"):
            page.clock.fast_forward(60_000)

    assert set(get_paths(requested, counter_id)) == {"/cached"}


def test_frequent_changes_cause_few_requests_for_details(
    page: Page, open_counter: Callable[[str], None], api_url: str, counter_id: str
) -> None:
    serve_reports(page)
    stop_clock(page)
    open_counter(counter_id)
    page.clock.run_for(1)
    expect_details(page)
    requested: list[str] = []
    page.on("request", lambda sent: requested.append(sent.url))

    for number in range(1, 6):
        increment_elsewhere(api_url, counter_id)
        page.evaluate("dispatchEvent(new Event('online'))")  # the page refreshes
        expect_shown(page, value=number)
        page.clock.run_for(1)

    page.clock.run_for(3_000)
    expect_details(page, 5)
    assert get_paths(requested, counter_id).count("/history") == 1


def test_missing_reports_are_requested_once_and_not_shown(
    page: Page, open_counter: Callable[[str], None], counter_id: str
) -> None:
    requested: list[str] = []
    page.on("request", lambda sent: requested.append(sent.url) if "/reports/" in sent.url else None)
    page.route("**/reports/**", lambda route: route.fulfill(status=404, headers={"Access-Control-Allow-Origin": "*"}))
    open_counter(counter_id)
    expect(page.locator("#events li")).to_have_text("None yet.")

    click_increment(page)

    expect(page.locator("#events li")).to_contain_text("+1")
    expect(page.get_by_role("heading", name="Top counters")).to_be_hidden()
    expect(page.get_by_label("Last two weeks")).to_be_hidden()
    assert len(requested) == 1


def test_top_counters_are_links_if_reports_exist(
    page: Page, open_counter: Callable[[str], None], counter_id: str
) -> None:
    serve_reports(page)
    open_counter(counter_id)
    expect(page.locator("#counters li")).to_have_text(["visits51,231", "clicks16"])

    page.get_by_role("link", name="visits").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("visits")


def test_reports_are_requested_less_often_than_other_details(
    page: Page, open_counter: Callable[[str], None], api_url: str, counter_id: str
) -> None:
    requested = serve_reports(page)
    stop_clock(page)
    open_counter(counter_id)
    page.clock.run_for(1)
    expect_details(page)

    def increment_and_refresh(number: int) -> None:
        increment_elsewhere(api_url, counter_id)
        page.clock.run_for(5_000)
        expect_shown(page, value=number)
        page.clock.run_for(1)
        expect_details(page, number)

    for number in range(1, 6):
        increment_and_refresh(number)

    assert len(requested) == 1
    with page.expect_request("**/reports/top_counters?*"):
        increment_and_refresh(6)


def test_last_days_are_a_chart_if_reports_exist(
    page: Page, open_counter: Callable[[str], None], counter_id: str
) -> None:
    today = datetime.now(UTC).date()
    days = [
        {"counter_id": counter_id, "day": str(today - timedelta(days=ago)), "events": 2, "total": total}
        for ago, total in ((0, 3), (1, -1), (13, 7))
    ]
    requested = serve_reports(page, days)
    open_counter(counter_id)
    page.get_by_label("Last two weeks").check()

    chart = page.get_by_role("img", name="Last two weeks, by day")

    expect(chart.locator("desc")).to_contain_text("+9 since")
    bars = chart.locator("rect").all()
    assert [bar.get_attribute("class") for bar in bars] == ["", *["none"] * 11, "negative", ""]
    tops = [float(bar.get_attribute("y") or 0) for bar in bars]
    bottoms = [top + float(bar.get_attribute("height") or 0) for top, bar in zip(tops, bars, strict=True)]
    assert tops[12] == pytest.approx(7 / 8 * 100)
    _, y, _, height = map(float, (chart.get_attribute("viewBox") or "").split())
    assert min(tops) >= y
    assert max(bottoms) <= y + height
    expect(chart.locator("line")).to_have_attribute("y1", re.compile("87.5"))
    assert requested[-1].endswith(f"/reports/daily?counter_id={counter_id}&limit=14")


def test_link_and_badge_can_be_copied(
    new_context: Callable[..., BrowserContext], page_url: str, api_url: str, counter_id: str
) -> None:
    page = new_context(permissions=["clipboard-read", "clipboard-write"]).new_page()
    stop_clock(page)
    page.goto(f"{page_url}#/{counter_id}")
    expect_shown(page, value=0)
    page.clock.run_for(1)
    link = f"{page_url}#/{counter_id}"
    copied = []
    for number in range(2):
        page.get_by_role("button", name="Copy").first.click()
        expect(page.get_by_role("button", name="Copied")).to_have_count(number + 1)
        copied.append(page.evaluate("navigator.clipboard.readText()"))

    assert copied == [link, f"[![{counter_id}]({api_url}/counters/{counter_id}/badge.svg)]({link})"]
    expect(page.locator("#spoken")).to_have_text("Copied")
    expect(page.get_by_role("img", name=f"Badge of {counter_id}")).to_be_visible()
    page.clock.run_for(2_000)
    expect(page.get_by_role("button", name="Copied")).to_have_count(0)


def test_badge_shows_the_current_value_in_spite_of_caches(
    page: Page, open_counter: Callable[[str], None], counter_id: str
) -> None:
    badge = page.locator("#badge")
    open_counter(counter_id)
    expect(badge).to_have_attribute("src", re.compile(re.escape(quote(f'"{counter_id}: 0"'))))

    click_increment(page)

    expect(badge).to_have_attribute("src", re.compile(re.escape(quote(f'"{counter_id}: 1"'))))


def test_form_opens_another_counter(page: Page, open_counter: Callable[[str], None], counter_id: str) -> None:
    open_counter(counter_id)

    page.get_by_label("Another counter").fill(f"{counter_id}-b")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text(f"{counter_id}-b")
    expect_shown(page, value=0)
    expect(page.get_by_label("Another counter")).to_have_value("")


@pytest.mark.parametrize("text", [" {} ", "{}%20", "https://page.example/app/?a=b#/{}", "https://page.example/%23/{}"])
def test_form_takes_names_with_blanks_and_pasted_addresses(
    page: Page, open_counter: Callable[[str], None], counter_id: str, text: str
) -> None:
    open_counter(counter_id)

    page.get_by_label("Another counter").fill(text.format(f"{counter_id}-b").replace("-b", "%2Db"))
    page.get_by_role("button", name="Open", exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_have_text(f"{counter_id}-b")
    expect_shown(page, value=0)
    assert page.url.endswith(f"#/{counter_id}-b")


def fail_history(page: Page, status: int = 503) -> list[str]:
    """Fail each request for a history. Return the list to which each requested address is added."""
    requested: list[str] = []
    problem = {"title": "No", "status": status, "detail": "There is no history today."}

    def fail(route: Route) -> None:
        requested.append(route.request.url)
        route.fulfill(status=status, json=problem, headers={"Access-Control-Allow-Origin": "*"})

    page.route("**/history?*", fail)
    return requested


@pytest.mark.parametrize(
    ("status", "text"),
    [(503, "Can’t load this. Trying again."), (400, "Can’t load this: There is no history today.")],
)
def test_failed_history_clears_the_chart_and_is_explained(
    page: Page, open_counter: Callable[[str], None], counter_id: str, status: int, text: str
) -> None:
    """Neither the chart of the previous range nor that of the previous counter stays."""
    open_counter(counter_id)
    expect(page.get_by_role("img", name="Last hour, by minute")).to_be_visible()
    fail_history(page, status)

    page.get_by_label("Last day").check()
    expect(page.locator("#chart")).to_have_text(text)
    expect(page.locator("#since")).to_be_empty()

    page.unroute("**/history?*")
    page.get_by_label("Last hour").check()
    expect(page.get_by_role("img", name="Last hour, by minute")).to_be_visible()
    fail_history(page, status)
    page.evaluate("id => { location.hash = `#/${id}` }", f"{counter_id}-b")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{counter_id}-b")
    expect(page.locator("#chart")).to_have_text(text)
    expect(page.locator("#events li")).to_have_text("None yet.")


def test_failed_history_is_retried_less_and_less_often(
    page: Page, open_counter: Callable[[str], None], counter_id: str
) -> None:
    """Neither a refresh nor a changed value repeats the request earlier."""
    refreshes: list[str] = []
    page.on("request", lambda sent: refreshes.append(sent.url) if sent.url.endswith(f"/{counter_id}") else None)
    requested = fail_history(page)
    stop_clock(page)
    open_counter(counter_id)
    expect(page.locator("#chart")).to_have_text("Can’t load this. Trying again.")

    for _ in range(20):
        with page.expect_response(f"**/counters/{counter_id}"):
            page.clock.run_for(300)
            page.evaluate("dispatchEvent(new Event('online'))")  # the page refreshes
    assert len(refreshes) > 20
    assert 2 <= len(requested) <= 6

    page.unroute("**/history?*")
    page.clock.run_for(300_000)
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.get_by_role("img", name="Last hour, by minute")).to_be_visible()


@pytest.mark.parametrize(
    ("path", "shown"), [("events?limit=8", "#events"), ("badge.svg", "#badgeStatus"), ("history?*", "#chart")]
)
def test_failed_detail_is_explained_and_hides_no_other(
    page: Page, open_counter: Callable[[str], None], counter_id: str, path: str, shown: str
) -> None:
    page.route(f"**/{path}", lambda route: route.abort("connectionreset"))

    open_counter(counter_id)

    expect(page.locator(shown)).to_have_text("Can’t load this. Trying again.")
    others = {
        "#events": page.locator("#events").get_by_text("None yet."),
        "#badgeStatus": page.get_by_role("img", name="Badge of"),
        "#chart": page.get_by_role("img", name="Last hour, by minute"),
    }
    for other in others.keys() - {shown}:
        expect(others[other]).to_be_visible()
    expect(others[shown]).to_have_count(0)


@pytest.mark.parametrize("status", [404, 500])
def test_failed_report_hides_no_other(
    page: Page, open_counter: Callable[[str], None], counter_id: str, status: int
) -> None:
    serve_reports(page)
    headers = {"Access-Control-Allow-Origin": "*"}
    page.route("**/reports/daily?*", lambda route: route.fulfill(status=status, json={}, headers=headers))
    open_counter(counter_id)
    page.get_by_label("Last two weeks").check()

    explanation = "The API doesn’t have this report." if status == 404 else "Can’t load this. Trying again."
    expect(page.locator("#chart")).to_have_text(explanation)
    click_increment(page)

    expect(page.locator("#events li")).to_contain_text("+1")
    expect(page.locator("#counters li")).to_have_count(2)
    page.evaluate("id => { location.hash = `#/${id}` }", f"{counter_id}-b")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{counter_id}-b")
    expect(page.locator("#counters li")).to_have_count(2)
    expect(page.get_by_label("Last two weeks")).to_be_visible()


def test_top_counters_that_fail_are_explained_and_retried(
    page: Page, open_counter: Callable[[str], None], counter_id: str
) -> None:
    serve_reports(page)
    headers = {"Access-Control-Allow-Origin": "*"}
    page.route("**/reports/top_counters?*", lambda route: route.fulfill(status=500, headers=headers))
    page.clock.install()
    open_counter(counter_id)
    expect(page.locator("#counters li")).to_have_text("Can’t load this. Trying again.")
    page.get_by_label("Last two weeks").check()
    expect(page.get_by_role("img", name="Last two weeks, by day")).to_be_visible()

    serve_reports(page)
    page.clock.run_for(20_000)

    expect(page.locator("#counters li")).to_have_count(2)


@pytest.mark.parametrize("error_s", [3 * 3600, -15 * 60])
def test_wrong_browser_clock_does_not_change_the_chart(
    page: Page, open_counter: Callable[[str], None], counter_id: str, error_s: int
) -> None:
    page.clock.install(time=datetime.now(UTC) + timedelta(seconds=error_s))
    open_counter(counter_id)
    expect(page.get_by_role("img", name="Last hour, by minute")).to_be_visible()

    click_increment(page)
    expect_shown(page, value=1)

    expect(page.locator("#since")).to_contain_text("+1 since")
    latest = page.locator("rect").evaluate_all("bars => bars.slice(-2).map((bar) => bar.getAttribute('class'))")
    assert sorted(latest) == ["", "none"]


def test_chart_that_starts_yesterday_says_so(
    new_context: Callable[..., BrowserContext], page_url: str, api_url: str, counter_id: str
) -> None:
    """Today is the day of the API's clock, in the browser's time zone."""
    page = new_context(timezone_id="Asia/Kolkata").new_page()
    headers = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "Date",
        "Date": "Sun, 01 Mar 2026 10:00:00 GMT",
    }
    answer: dict[str, Any] = {"value": 0, "version": 0, "updated_at": None, "points": [], "events": [], "rows": []}
    page.route(f"{api_url}/**", lambda route: route.fulfill(json=answer, headers=headers))
    page.goto(f"{page_url}#/{counter_id}")
    expect(page.locator("#since")).to_have_text("0 since 14:31")

    page.get_by_label("Last day").check()

    expect(page.locator("#since")).to_have_text("0 since yesterday 16:30")
