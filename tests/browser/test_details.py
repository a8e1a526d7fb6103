"""Load the details next to the value, and show other counters."""

import re
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import (
    CORS,
    TOP,
    choose_range,
    click_increment,
    expect_shown,
    get_value_and_version,
    hide,
    increment_elsewhere,
    poll,
    poll_after_click,
    serve_reports,
    stop_clock,
    stop_polls,
)
from tests.e2e.conftest import eventually

pytestmark = pytest.mark.exhaustive


def get_paths(requested: list[str], counter_id: str) -> list[str]:
    """Return the requests to this counter as paths below it, and all others as full URLs."""
    return [re.sub(rf".*/counters/{counter_id}|\?.*", "", url) for url in requested]


#: The details that the page reads again after a change.
DETAILS = ("/badge.svg", "/events", "/history")


def sum_up(number: int) -> int:
    """Return the sum of the numbers from 1 to this one."""
    return number * (number + 1) // 2


def expect_details(page: Page, number: int = 0) -> None:
    """
    Expect that every response has arrived, after this number of increments by 1, by 2 and so on.

    Call this before a test moves the clock. Otherwise, the page may drop a response in flight and request it again, or
    start to wait for the next refresh too late.
    """
    events = page.locator("#events li")
    if number:
        expect(events).to_have_count(number)
    else:
        expect(events).to_have_text("No clicks yet. Be the first.")
    expect(page.locator("#total")).to_have_text(f"+{sum_up(number)}" if number else "0")
    expect(page.locator("#badge")).to_have_attribute("src", re.compile(re.escape(quote(f': {sum_up(number)}"'))))
    expect(page.locator("#counters li")).to_have_count(len(TOP))


def test_details_are_requested_only_when_the_value_changes(page, open_counter, api_url, counter_id):
    requested: list[str] = []
    # The page's own files may still be on their way into its cache.
    page.on("request", lambda sent: requested.append(sent.url) if sent.url.startswith(api_url) else None)
    serve_reports(page)
    stop_polls(page)
    open_counter(counter_id)
    expect_details(page)
    assert {"", "/badge.svg", "/events", "/history"} < set(get_paths(requested, counter_id))
    requested.clear()

    for _ in range(3):
        poll(page)

    assert set(get_paths(requested, counter_id)) == {"/cached"}


def test_changes_by_other_clients_are_shown_at_growing_pauses(page, open_counter, api_url, counter_id):
    """Details that are behind show their age. The user's own click updates them at once."""
    reports = serve_reports(page)
    stop_polls(page)
    requested: list[str] = []
    page.on("request", lambda sent: requested.append(sent.url))
    open_counter(counter_id)
    page.clock.run_for(1)
    expect_details(page)

    for number in range(1, 9):
        increment_elsewhere(api_url, counter_id, by=number)
        page.clock.run_for(5_000)
        expect_shown(page, value=sum_up(number))
        page.clock.run_for(1)

    paths = get_paths(requested, counter_id)
    # At the beginning, after 6 and after 18 seconds.
    assert {name: paths.count(name) for name in DETAILS} == dict.fromkeys(DETAILS, 3)
    assert len(reports) == 1
    for name in ("points", "events", "badge", "top"):
        expect(page.locator(f"#{name}Age")).to_have_text("As of a moment ago")
    assert page.locator("#total").inner_text() != "+36"
    click_increment(page)
    # The first poll after the click must include the click. Otherwise, the details would wait for the next refresh.
    eventually(lambda: get_value_and_version(api_url, counter_id) == (37, 9))
    poll_after_click(page)
    page.clock.run_for(1)
    expect_shown(page, value=37)
    expect(page.locator("#total")).to_have_text("+37")
    for name in ("points", "events", "badge", "top"):
        expect(page.locator(f"#{name}Age")).to_be_empty()
    assert len(reports) == 2


def test_list_is_not_called_empty_once_the_counter_has_changed(page, open_counter, api_url, counter_id):
    """The page shows the new value before it reads the latest events again."""
    serve_reports(page)
    stop_clock(page)
    open_counter(counter_id)
    page.clock.run_for(1)
    expect_details(page)
    increment_elsewhere(api_url, counter_id)

    page.clock.run_for(5_000)
    expect_shown(page, value=1)

    expect(page.locator("#events li")).to_have_count(0)
    page.clock.run_for(1_000)
    expect(page.locator("#events li")).to_contain_text("+1")


def test_hidden_page_requests_no_details(page, open_counter, api_url, counter_id):
    serve_reports(page)
    stop_clock(page)
    open_counter(counter_id)
    page.clock.run_for(1)
    expect_details(page)
    increment_elsewhere(api_url, counter_id)
    page.clock.run_for(5_000)
    expect_shown(page, value=1)
    requested: list[str] = []
    page.on("request", lambda sent: requested.append(sent.url))

    hide(page, is_hidden=True)
    page.clock.run_for(300_000)
    assert requested == []

    hide(page, is_hidden=False)
    page.clock.run_for(1)
    expect(page.locator("#total")).to_have_text("+1")


def test_missing_reports_are_requested_once_and_not_shown(page, open_counter, counter_id):
    requested: list[str] = []
    page.on("request", lambda sent: requested.append(sent.url) if "/reports/" in sent.url else None)
    page.route("**/reports/**", lambda route: route.fulfill(status=404, headers=CORS))
    open_counter(counter_id)
    expect(page.locator("#events li")).to_have_text("No clicks yet. Be the first.")

    click_increment(page)

    expect(page.locator("#events li")).to_contain_text("+1")
    expect(page.get_by_role("heading", name="Top counters")).to_be_hidden()
    expect(page.get_by_role("radio", name="2 weeks")).to_be_hidden()
    assert len(requested) == 1


def test_top_counters_are_links_if_reports_exist(page, open_counter, counter_id):
    serve_reports(page)
    open_counter(counter_id)
    expect(page.locator("#counters li")).to_have_text(["visits51,231", "clicks16"])

    page.get_by_role("link", name="visits").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("visits")


def test_focus_stays_on_a_top_counter_that_changes(page, open_counter, api_url, counter_id):
    serve_reports(page)
    stop_clock(page)
    open_counter(counter_id)
    page.clock.run_for(1)
    expect_details(page)
    page.get_by_role("link", name="clicks").focus()
    rows = [TOP[0], {**TOP[1], "value": 17}]
    page.route("**/reports/top_counters?*", lambda route: route.fulfill(json={"rows": rows}, headers=CORS))

    increment_elsewhere(api_url, counter_id)
    page.clock.run_for(5_000)
    expect_shown(page, value=1)
    page.clock.run_for(60_000)

    expect(page.locator("#counters li")).to_have_text(["visits51,231", "clicks17"])
    expect(page.get_by_role("link", name="clicks")).to_be_focused()


def test_form_opens_another_counter(page, open_counter, counter_id):
    open_counter(counter_id)

    page.get_by_label("Another counter").fill(f"{counter_id}-b")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text(f"{counter_id}-b")
    expect_shown(page, value=0)
    expect(page.get_by_label("Another counter")).to_have_value("")


@pytest.mark.parametrize("text", [" {} ", "{}%20", "https://page.example/app/?a=b#/{}", "https://page.example/%23/{}"])
def test_form_accepts_names_with_blanks_and_pasted_addresses(page, open_counter, counter_id, text):
    open_counter(counter_id)

    page.get_by_label("Another counter").fill(text.format(f"{counter_id}-b").replace("-b", "%2Db"))
    page.get_by_role("button", name="Open", exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_have_text(f"{counter_id}-b")
    expect_shown(page, value=0)
    assert page.url.endswith(f"#/{counter_id}-b")


@pytest.mark.parametrize(
    ("path", "shown"), [("events?*", "#events"), ("badge.svg", "#badgeStatus"), ("history?*", "#plot")]
)
def test_failed_detail_is_explained_and_does_not_hide_others(page, open_counter, counter_id, path, shown):
    page.route(f"**/{path}", lambda route: route.abort("connectionreset"))

    open_counter(counter_id)

    expect(page.locator(shown)).to_have_text("Can’t load this. Trying again.")
    others = {
        "#events": page.locator("#events").get_by_text("No clicks yet. Be the first."),
        "#badgeStatus": page.get_by_role("img", name="Badge of"),
        "#plot": page.get_by_role("img", name="Changes in the last hour"),
    }
    for other in others.keys() - {shown}:
        expect(others[other]).to_be_visible()
    expect(others[shown]).to_have_count(0)


def test_failed_detail_is_retried_before_the_next_refresh(page, open_counter, counter_id):
    """The counter is refreshed 5 seconds later at the earliest, and later and later while it does not change."""
    page.route("**/badge.svg", lambda route: route.abort("connectionreset"))
    stop_clock(page)
    open_counter(counter_id)
    expect(page.locator("#badgeStatus")).to_have_text("Can’t load this. Trying again.")

    page.unroute("**/badge.svg")
    page.clock.run_for(1_000)

    expect(page.get_by_role("img", name="Badge of")).to_be_visible()
    expect(page.locator("#badgeStatus")).to_be_empty()


@pytest.mark.parametrize("status", [404, 500])
def test_failed_report_does_not_hide_others(page, open_counter, counter_id, status):
    serve_reports(page)
    page.route("**/reports/daily?*", lambda route: route.fulfill(status=status, json={}, headers=CORS))
    open_counter(counter_id)
    choose_range(page, "2 weeks")

    explanation = "The API doesn’t have this report." if status == 404 else "Can’t load this. Trying again."
    expect(page.locator("#plot")).to_have_text(explanation)
    click_increment(page)

    expect(page.locator("#events li")).to_contain_text("+1")
    expect(page.locator("#counters li")).to_have_count(2)
    page.evaluate("id => { location.hash = `#/${id}` }", f"{counter_id}-b")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{counter_id}-b")
    expect(page.locator("#counters li")).to_have_count(2)
    expect(page.get_by_role("radio", name="2 weeks")).to_be_visible()


def test_top_counters_that_fail_are_explained_and_retried(page, open_counter, counter_id):
    serve_reports(page)
    page.route("**/reports/top_counters?*", lambda route: route.fulfill(status=500, headers=CORS))
    page.clock.install()
    open_counter(counter_id)
    expect(page.locator("#counters li")).to_have_text("Can’t load this. Trying again.")
    choose_range(page, "2 weeks")
    expect(page.get_by_role("img", name="Changes in the last 2 weeks")).to_be_visible()

    serve_reports(page)
    page.clock.run_for(20_000)

    expect(page.locator("#counters li")).to_have_count(2)
