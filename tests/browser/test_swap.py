"""Compare-and-swap on the page: add only if the value is still the one shown."""

import json

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.pages import (
    Gate,
    configure,
    cut_off,
    expect_shown,
    get_add_button,
    get_value_and_version,
    increment_elsewhere,
    open_options,
    reconnect,
    set_amount,
)

pytestmark = pytest.mark.exhaustive


def get_swap_button(page: Page) -> Locator:
    open_options(page)
    return page.get_by_role("button", name="Add only if still")


def test_swap_of_an_unchanged_counter_counts_immediately(page, open_counter, api_url, counter_id):
    open_counter(counter_id)
    set_amount(page, 5)

    with page.expect_request("**/increments") as sent:
        get_swap_button(page).click()

    assert sent.value.header_value("if-match") == '"0"'
    expect(page.locator("#swapped")).to_have_text("Added: 0 → 5")
    expect_shown(page, value=5)
    expect(get_swap_button(page)).to_have_text("Add only if still 5")
    expect(get_swap_button(page)).to_be_focused()
    assert get_value_and_version(api_url, counter_id) == (5, 1)


def test_swap_with_a_lost_answer_is_the_same_swap_when_retried(page, open_counter, api_url, counter_id):
    sent: list[tuple[str, str, str | None]] = []

    def lose_first_answer(route: Route) -> None:
        headers = route.request.headers
        sent.append((headers["idempotency-key"], headers["if-match"], route.request.post_data))
        answer = route.fetch()
        assert answer.status == 200
        if len(sent) == 1:
            route.abort("connectionreset")
        else:
            route.fulfill(response=answer)

    open_counter(counter_id)
    set_amount(page, 5)
    page.route("**/increments", lose_first_answer)
    get_swap_button(page).click()
    expect(page.locator("#swapped")).to_contain_text("We don’t know if it was counted.")
    expect_shown(page, value=5)
    set_amount(page, 7)

    page.get_by_role("button", name="Check again").click()

    expect(page.locator("#swapped")).to_have_text("Added: 0 → 5")
    expect(get_swap_button(page)).to_have_text("Add only if still 5")
    assert len(sent) == 2
    assert len(set(sent)) == 1
    assert get_value_and_version(api_url, counter_id) == (5, 1)


def test_swap_that_never_arrived_is_refused_when_retried_too_late(page, open_counter, api_url, counter_id):
    open_counter(counter_id)
    page.route("**/increments", lambda route: route.abort("connectionreset"))
    get_swap_button(page).click()
    expect(page.locator("#swapped")).to_contain_text("We don’t know")
    page.unroute("**/increments")
    increment_elsewhere(api_url, counter_id)

    page.get_by_role("button", name="Check again").click()

    expect(page.locator("#swapped")).to_contain_text("Not added: someone else got there first. The value is now 1.")
    expect_shown(page, value=1)
    get_swap_button(page).click()
    expect(page.locator("#swapped")).to_have_text("Added: 1 → 2")
    assert get_value_and_version(api_url, counter_id) == (2, 2)


def test_double_click_on_the_swap_button_is_one_swap(page, open_counter, api_url, counter_id):
    open_counter(counter_id)
    commands = Gate(page, "**/increments")

    get_swap_button(page).dblclick()

    commands.open()
    expect(page.locator("#swapped")).to_have_text("Added: 0 → 1")
    expect_shown(page, value=1)
    assert get_value_and_version(api_url, counter_id) == (1, 1)


def test_swap_is_never_stored_or_sent_later(page, open_counter, api_url, counter_id):
    open_counter(counter_id)
    cut_off(page, api_url)
    get_swap_button(page).click()
    expect(page.locator("#swapped")).to_contain_text("We don’t know")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))

    reconnect(page, api_url)
    increment_elsewhere(api_url, counter_id)
    page.reload()

    expect_shown(page, value=1)
    assert "POST" not in sent


@pytest.mark.parametrize("by", ["0", "1.5", ""])
def test_invalid_amount_is_not_sent(page, open_counter, counter_id, by):
    open_counter(counter_id)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    set_amount(page, by)

    get_swap_button(page).click()
    get_add_button(page).click()

    assert page.get_by_label("Amount").evaluate("field => !field.validity.valid")
    expect_shown(page, value=0)
    assert "POST" not in sent


def test_swap_with_a_refused_amount_shows_the_reason(page, open_counter, api_url, counter_id):
    configure(page, json.dumps({"api_url": api_url}))  # without a maximum
    open_counter(counter_id)
    set_amount(page, 1001)

    get_swap_button(page).click()

    expect(page.locator("#swapped")).to_contain_text("Not added: ")
    expect_shown(page, value=0)
