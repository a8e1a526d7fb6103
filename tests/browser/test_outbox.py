"""Clicks are neither lost nor counted twice: offline, across reloads, in several tabs, with lost responses."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from chalicelib.api.problems import describe_problem
from chalicelib.errors import SecretMissingError
from tests.browser.pages import (
    Gate,
    click_fast,
    click_increment,
    configure,
    cut_off,
    expect_pending,
    expect_shown,
    get_value_and_version,
    reconnect,
    set_amount,
    stop_clock,
)

WITHOUT_STORAGE = """Object.defineProperty(window, "indexedDB", {
    get() { throw new DOMException("not in private mode", "SecurityError"); },
});"""


def get_key(route: Route) -> str:
    return route.request.headers["idempotency-key"]


def expect_recorded(page: Page, number: int) -> None:
    """Expect that the API recorded this number of the stored clicks, and that the page has noted it."""
    page.wait_for_function(
        """async number => {
            const request = indexedDB.open("counter", 1);
            const db = await new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
            const all = db.transaction("clicks").objectStore("clicks").getAll();
            const clicks = await new Promise((resolve) => (all.onsuccess = () => resolve(all.result)));
            db.close();
            return clicks.filter(({ event }) => event).length === number;
        }""",
        arg=number,
        polling=100,
    )


def record_backoffs(page: Page) -> None:
    """Record on the page how many failed requests have made it wait; see `expect_backoffs`."""
    page.add_init_script(
        """{
            const { setTimeout } = window;
            let backoffs = 0;
            window.setTimeout = (callback, ms, ...rest) => {
                if (ms >= 100 && ms <= 1_000) document.documentElement.dataset.backoffs = ++backoffs;
                return setTimeout(callback, ms, ...rest);
            };
        }"""
    )


def expect_backoffs(page: Page, number: int) -> None:
    """Expect that this number of requests failed. The page shows only the first of concurrent failures."""
    expect(page.locator("html")).to_have_attribute("data-backoffs", str(number))


@pytest.mark.exhaustive
def test_recorded_increment_is_still_pending_after_a_reload(
    page: Page, open_counter: Callable[[str], None], api_url: str, counter_id: str
) -> None:
    open_counter(counter_id)
    reads = Gate(page, f"**/counters/{counter_id}")
    with page.expect_response("**/increments"):
        click_increment(page)
    expect(page.locator("#dots i.recorded")).to_have_count(1)

    page.reload()

    expect_pending(page, 1)
    expect(page.locator("#dots i.recorded")).to_have_count(1)
    reads.open()
    expect_shown(page, value=1)
    assert get_value_and_version(api_url, counter_id) == (1, 1)


@pytest.mark.exhaustive
def test_two_hundred_clicks_in_two_tabs_end_at_exactly_two_hundred(
    context: BrowserContext, page_url: str, api_url: str, counter_id: str
) -> None:
    tabs = [context.new_page() for _ in range(2)]
    for tab in tabs:
        tab.goto(f"{page_url}#/{counter_id}")
        expect_shown(tab, value=0)

    for tab in tabs:
        click_fast(tab, times=100)

    for tab in tabs:
        expect_shown(tab, value=200)
    assert get_value_and_version(api_url, counter_id) == (200, 200)


@pytest.mark.exhaustive
def test_click_is_sent_by_one_tab_at_a_time(
    context: BrowserContext, page_url: str, api_url: str, counter_id: str
) -> None:
    first, second = (context.new_page() for _ in range(2))
    first.goto(f"{page_url}#/{counter_id}")
    expect_shown(first, value=0)
    commands = Gate(first, "**/increments")
    click_increment(first)
    expect_pending(first, 1)
    sent: list[str] = []
    second.on("request", lambda request: sent.append(request.method))

    second.goto(f"{page_url}#/{counter_id}")
    expect_shown(second, value=0)
    second.evaluate("dispatchEvent(new Event('online'))")
    with second.expect_response(f"**/counters/{counter_id}"):
        second.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    assert "POST" not in sent
    commands.open()
    expect_shown(first, value=1)


@pytest.mark.exhaustive
def test_browser_without_storage_counts_and_warns_only_if_needed(
    page: Page, open_counter: Callable[[str], None], api_url: str, counter_id: str
) -> None:
    page.add_init_script(WITHOUT_STORAGE)
    open_counter(counter_id)
    click_increment(page)
    expect_shown(page, value=1)
    expect(page.locator("#connection")).to_be_empty()

    cut_off(page, api_url)
    click_increment(page)

    expect(page.locator("#connection")).to_contain_text(
        "1 click not sent. Keep this page open: your browser can’t save it."
    )
    reconnect(page, api_url)
    expect_shown(page, value=2)
    assert get_value_and_version(api_url, counter_id) == (2, 2)


@pytest.mark.exhaustive
@pytest.mark.parametrize("keeps", [True, False])
def test_leaving_warns_only_if_a_click_would_be_lost(
    page: Page, open_counter: Callable[[str], None], api_url: str, counter_id: str, keeps: bool
) -> None:
    if not keeps:
        page.add_init_script(WITHOUT_STORAGE)
    open_counter(counter_id)
    cut_off(page, api_url)
    click_increment(page)
    expect(page.locator("#connection")).to_contain_text("1 click saved" if keeps else "1 click not sent")

    is_warned = page.evaluate("!dispatchEvent(new Event('beforeunload', { cancelable: true }))")

    assert is_warned is not keeps


@pytest.mark.exhaustive
def test_stored_click_that_is_refused_is_dropped_with_its_reason(
    page: Page, open_counter: Callable[[str], None], api_url: str, counter_id: str
) -> None:
    configure(page, json.dumps({"api_url": api_url}))  # without a maximum
    open_counter(counter_id)
    cut_off(page, api_url)
    set_amount(page, 1001)
    click_increment(page)
    expect(page.locator("#connection")).to_contain_text("1 click saved")
    page.reload()
    expect_pending(page, 1001)
    # Only responses: the page retries until it is connected again.
    refused: list[int] = []
    page.on("response", lambda answer: refused.append(answer.status) if "/increments" in answer.url else None)

    reconnect(page, api_url)

    expect(page.get_by_role("alert")).to_contain_text("from 1 to 1000")
    expect_shown(page, value=0)
    page.reload()
    expect_shown(page, value=0)
    assert refused == [400]
    assert get_value_and_version(api_url, counter_id) == (0, 0)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "refusal",
    [
        {"status": 403, "body": "<h1>Please sign in to this network.</h1>"},
        {"status": 400, "body": "<h1>Bad request</h1>"},
        {"status": 400, "body": '{"title": "Bad request", "detail": "The gateway could not read it."}'},
        {"status": 403, "body": '{"title": "The gateway refused the request", "detail": "Forbidden"}'},
        {"status": 404, "body": '{"title": "There is no such path", "detail": "Not here."}'},
        {"status": 403, "body": json.dumps(describe_problem(SecretMissingError.problem, "Use the public address."))},
    ],
)
def test_refusal_by_an_intermediary_loses_no_click(
    page: Page, open_counter: Callable[[str], None], api_url: str, counter_id: str, refusal: dict[str, Any]
) -> None:
    open_counter(counter_id)
    answers = [{**refusal, "headers": {"Access-Control-Allow-Origin": "*"}}]
    page.route("**/increments", lambda route: route.fulfill(**answers.pop()) if answers else route.continue_())

    click_increment(page)

    expect_shown(page, value=1)
    assert answers == []
    assert get_value_and_version(api_url, counter_id) == (1, 1)


@pytest.mark.exhaustive
def test_failing_api_is_tried_with_one_click_for_all(
    page: Page, open_counter: Callable[[str], None], counter_id: str
) -> None:
    """After the first click is accepted, five are sent at once."""
    sent: list[str] = []

    def fail_after_first(route: Route) -> None:
        sent.append(get_key(route))
        if len(sent) == 1:
            route.continue_()
        else:
            route.fulfill(status=503, headers={"Access-Control-Allow-Origin": "*"})

    stop_clock(page)
    record_backoffs(page)
    open_counter(counter_id)
    reads = Gate(page, f"**/counters/{counter_id}")
    page.route("**/increments", fail_after_first)
    click_fast(page, times=41)
    expect_backoffs(page, 1 + 5)  # the first is the pause before the next read
    expect(page.locator("#connection")).to_contain_text("40 clicks saved")
    at_first = len(sent)

    page.clock.run_for(500)

    expect_backoffs(page, 1 + 6)
    expect(page.locator("#connection")).to_contain_text("40 clicks saved")
    assert at_first == 1 + 5
    assert len(sent) == 1 + 6
    page.unroute("**/increments")
    reads.open()
    page.clock.resume()
    expect_shown(page, value=41)


@pytest.mark.exhaustive
def test_failing_counter_does_not_delay_others(
    page: Page, open_counter: Callable[[str], None], api_url: str, counter_id: str
) -> None:
    other = f"{counter_id}-other"
    open_counter(counter_id)
    failing = {"status": 503, "headers": {"Access-Control-Allow-Origin": "*"}}
    page.route(f"**/counters/{counter_id}/increments", lambda route: route.fulfill(**failing))
    click_increment(page, times=7)
    expect(page.locator("#connection")).to_contain_text("7 clicks saved")

    page.evaluate("id => { location.hash = `#/${id}` }", other)
    expect_shown(page, value=0)
    click_increment(page)

    expect_shown(page, value=1)
    expect(page.locator("#connection")).to_contain_text("7 clicks saved")
    assert get_value_and_version(api_url, other) == (1, 1)
    page.unroute(f"**/counters/{counter_id}/increments")
    page.go_back()
    expect_shown(page, value=7)
    assert get_value_and_version(api_url, counter_id) == (7, 7)


@pytest.mark.exhaustive
def test_many_clicks_are_checked_by_few_requests(
    page: Page, open_counter: Callable[[str], None], counter_id: str
) -> None:
    open_counter(counter_id)
    reads = Gate(page, f"**/counters/{counter_id}")
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    click_fast(page, times=60)
    expect_recorded(page, 60)

    reads.open()

    expect_shown(page, value=60)
    one_by_one = [url for url in requested if re.search(r"/events/[0-9a-f-]{36}$", url)]
    assert len(one_by_one) < 20
    assert any(url.endswith("/events?limit=100") for url in requested)


@pytest.mark.exhaustive
def test_page_counts_while_another_tab_blocks_the_storage(
    context: BrowserContext, page_url: str, api_url: str, counter_id: str
) -> None:
    """The other tab keeps the database open, so its deletion waits, and so does every later request to open it."""
    other, page = context.new_page(), context.new_page()
    other.goto(f"{page_url}error.html")
    other.evaluate(
        """() => new Promise((resolve) => {
            const request = indexedDB.open("counter", 1);
            request.onsuccess = () => {
                window.db = request.result;
                indexedDB.deleteDatabase("counter").onblocked = resolve;
            };
        })"""
    )

    page.goto(f"{page_url}#/{counter_id}")
    expect_shown(page, value=0)
    click_increment(page)

    expect_shown(page, value=1)
    cut_off(page, api_url)
    click_increment(page)
    expect(page.locator("#connection")).to_contain_text("1 click not sent. Keep this page open")
    reconnect(page, api_url)
    expect_shown(page, value=2)
    assert get_value_and_version(api_url, counter_id) == (2, 2)


@pytest.mark.exhaustive
def test_open_page_lets_another_tab_delete_the_storage(
    context: BrowserContext, page_url: str, api_url: str, counter_id: str
) -> None:
    """A click that is then only in memory is counted once, and the page warns the user who leaves."""
    page, other = context.new_page(), context.new_page()
    page.goto(f"{page_url}#/{counter_id}")
    expect_shown(page, value=0)
    cut_off(page, api_url)
    click_increment(page)
    expect(page.locator("#connection")).to_contain_text("1 click saved")
    other.goto(f"{page_url}error.html")

    outcome = other.evaluate(
        """() => new Promise((resolve) => {
            const request = indexedDB.deleteDatabase("counter");
            request.onsuccess = () => resolve("deleted");
            request.onblocked = () => resolve("blocked");
        })"""
    )

    assert outcome == "deleted"
    assert page.evaluate("!dispatchEvent(new Event('beforeunload', { cancelable: true }))")
    reconnect(page, api_url)
    expect_shown(page, value=1)
    click_increment(page)
    expect_shown(page, value=2)
    assert get_value_and_version(api_url, counter_id) == (2, 2)


@pytest.mark.exhaustive
def test_clock_that_is_set_back_does_not_delay_a_retry(
    page: Page, open_counter: Callable[[str], None], api_url: str, counter_id: str
) -> None:
    open_counter(counter_id)
    cut_off(page, api_url)
    click_increment(page)
    expect(page.locator("#connection")).to_contain_text("1 click saved")

    page.evaluate("{ const { now } = Date; Date.now = () => now() - 3 * 3_600_000; }")
    reconnect(page, api_url)

    expect_shown(page, value=1)
