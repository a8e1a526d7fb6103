"""The number that the browser read last is shown until there is a fresh one, with its time, and never as current."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import (
    Gate,
    click_increment,
    cut_off,
    expect_shown,
    hide,
    increment_elsewhere,
    open_options,
    reconnect,
    stop_clock,
)

MINUTE_MS = 60_000


def expect_old(page: Page, value: int, age: str = "a moment ago") -> None:
    """Expect the value with the time at which it was read."""
    expect(page.locator("#value")).to_have_text(f"{value:,}")
    expect(page.locator("#value")).to_have_class("old")
    expect(page.locator("#facts")).to_have_text(f"As of {age}")


def expect_current(page: Page, value: int) -> None:
    expect_shown(page, value=value)
    expect(page.locator("#value")).not_to_have_class("old")


def age_states(page: Page, ms: int) -> None:
    """Make the states in the browser's storage older."""
    page.evaluate(
        """ms => {
            const states = JSON.parse(localStorage["counter states"]);
            for (const state of Object.values(states)) state.at -= ms;
            localStorage["counter states"] = JSON.stringify(states);
        }""",
        ms,
    )


def test_last_known_number_is_shown_with_its_age_until_a_fresh_one(page, open_counter, api_url, counter_id):
    open_counter(counter_id)
    click_increment(page)
    expect_current(page, 1)
    increment_elsewhere(api_url, counter_id)
    reads = Gate(page, f"**/counters/{counter_id}")
    age_states(page, 3 * MINUTE_MS)

    page.reload()

    expect_old(page, 1, "3 minutes ago")
    open_options(page)
    expect(page.get_by_role("button", name="Add only if still 1")).to_be_disabled()
    expect(page.locator("#spoken")).to_be_empty()
    reads.open()
    expect_current(page, 2)
    expect(page.locator("#facts")).to_have_text("Updated a moment ago")


@pytest.mark.exhaustive
def test_unreachable_server_leaves_the_last_known_number(page, open_counter, api_url, counter_id):
    """The number is shown as old both on the open page and after a reload."""
    open_counter(counter_id)
    expect_current(page, 0)
    cut_off(page, api_url)

    page.evaluate("dispatchEvent(new Event('online'))")
    expect_old(page, 0)
    page.reload()
    expect_old(page, 0)
    click_increment(page)
    expect(page.locator("#pending")).to_have_text("+1 pending")

    expect_old(page, 0)
    reconnect(page, api_url)
    expect_current(page, 1)


@pytest.mark.exhaustive
def test_age_of_the_number_is_kept_true(page, page_url, api_url, counter_id):
    stop_clock(page)
    page.goto(f"{page_url}#/{counter_id}")
    expect_current(page, 0)
    page.clock.run_for(1)
    cut_off(page, api_url)
    page.reload()
    expect_old(page, 0)
    exact = page.locator("#facts time").get_attribute("title")

    page.clock.run_for(2 * MINUTE_MS)

    expect_old(page, 0, "2 minutes ago")
    assert page.locator("#facts time").get_attribute("title") == exact
    assert re.fullmatch(r"\d+ \w+ \d{4}, \d\d:\d\d:\d\d", exact or "")


@pytest.mark.exhaustive
def test_number_of_a_page_that_was_hidden_is_not_current(page, open_counter, counter_id):
    stop_clock(page)
    open_counter(counter_id)
    page.clock.run_for(1)
    expect_current(page, 0)
    hide(page, is_hidden=True)
    page.clock.run_for(5 * MINUTE_MS)
    reads = Gate(page, f"**/counters/{counter_id}")

    hide(page, is_hidden=False)

    expect_old(page, 0, "5 minutes ago")
    reads.open()
    expect_current(page, 0)


@pytest.mark.exhaustive
def test_states_that_cannot_be_read_are_ignored(page, open_counter, counter_id):
    open_counter(counter_id)
    page.evaluate("localStorage['counter states'] = 'no JSON'")

    page.reload()

    expect_current(page, 0)


@pytest.mark.exhaustive
def test_states_of_the_fifty_latest_counters_are_kept(page, open_counter, counter_id):
    open_counter(counter_id)
    page.evaluate(
        """() => {
            const states = Object.entries(JSON.parse(localStorage["counter states"]));
            const others = Array.from({ length: 60 }, (_, n) => [`https://other.example/${n}`, states[0][1]]);
            localStorage["counter states"] = JSON.stringify(Object.fromEntries(others));
        }"""
    )

    page.reload()
    expect_current(page, 0)

    kept = page.evaluate("Object.keys(JSON.parse(localStorage['counter states']))")
    assert len(kept) == 50
    assert kept[-1].endswith(f"/counters/{counter_id}")
    assert kept[-2] == "https://other.example/59"
