"""The controls around the number: options, the size of targets, and the digits that roll."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.pages import click_increment, expect_pending, expect_shown, get_add_button, set_amount

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext, Locator, Page

PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True}


def get_amount(page: Page) -> Locator:
    return page.get_by_label("Amount")


def slow_down_animations(page: Page) -> None:
    """Keep each animation at its start until a test finishes it."""
    page.add_init_script(
        """{
            const { animate } = Element.prototype;
            Element.prototype.animate = function (frames, options) {
                return animate.call(this, frames, { ...options, duration: 1e9 });
            };
        }"""
    )


def test_options_open_by_keyboard_and_stay_open_on_later_visits(
    page: Page, open_counter: Callable[[str], None], counter_id: str
) -> None:
    open_counter(counter_id)
    expect(get_amount(page)).to_be_hidden()

    get_add_button(page).press("Tab")
    page.keyboard.press("Enter")
    expect(get_amount(page)).to_be_visible()
    page.reload()
    expect(get_amount(page)).to_be_visible()

    page.get_by_text("More options").click()
    expect(get_amount(page)).to_be_hidden()
    page.reload()
    expect_shown(page, value=0)
    expect(get_amount(page)).to_be_hidden()


@pytest.mark.exhaustive
def test_invalid_amount_in_closed_options_opens_them(
    page: Page, open_counter: Callable[[str], None], counter_id: str
) -> None:
    open_counter(counter_id)
    set_amount(page, 0)
    page.get_by_text("More options").click()
    expect(get_amount(page)).to_be_hidden()

    get_add_button(page).click()

    expect(get_amount(page)).to_be_focused()
    expect_pending(page, 0)


@pytest.mark.exhaustive
def test_value_stays_plain_text_while_its_digits_roll(
    page: Page, open_counter: Callable[[str], None], counter_id: str
) -> None:
    slow_down_animations(page)
    open_counter(counter_id)
    set_amount(page, 12)

    click_increment(page)

    expect(page.locator("#figure")).to_have_class("rolling")
    expect_shown(page, value=12)
    assert page.locator("#figure").aria_snapshot() == '- text: "12"'
    expect(page.locator("#reel i")).to_have_text(["1", "2"])
    page.evaluate("document.getAnimations().forEach((animation) => animation.finish())")
    expect(page.locator("#figure")).not_to_have_class("rolling")


@pytest.mark.exhaustive
def test_digits_do_not_roll_with_reduced_motion(
    new_context: Callable[..., BrowserContext], page_url: str, counter_id: str
) -> None:
    page = new_context(reduced_motion="reduce").new_page()
    page.goto(f"{page_url}#/{counter_id}")
    expect_shown(page, value=0)

    click_increment(page)

    expect_shown(page, value=1)
    expect(page.locator("#reel *")).to_have_count(0)
    expect(page.locator("#figure")).not_to_have_class("rolling")


@pytest.mark.exhaustive
def test_controls_of_the_counter_are_large_enough_for_fingers(
    new_context: Callable[..., BrowserContext], page_url: str, counter_id: str
) -> None:
    """At least 44 pixels in height."""
    page = new_context(**PHONE).new_page()
    page.goto(f"{page_url}#/{counter_id}")
    set_amount(page, 2)

    heights = page.evaluate(
        """() => Object.fromEntries(
            [...document.querySelectorAll("header :is(a, input, button), .hero :is(button, summary, label)")]
                .map((element) => [element.id || element.textContent.trim(), element.getBoundingClientRect().height])
        )"""
    )

    small = {name: height for name, height in heights.items() if height < 44 and name != "Another counter"}
    assert small == {}
    assert len(heights) >= 7
