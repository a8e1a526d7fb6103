"""The controls around the number: options, the size of targets, and the digits that roll."""

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.pages import CORS, Gate, click_increment, expect_pending, expect_shown, get_add_button, set_amount

PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True}


def get_amount(page: Page) -> Locator:
    return page.get_by_label("Amount")


def get_field(page: Page) -> Locator:
    return page.get_by_role("combobox", name="Another counter")


def expect_suggestions(page: Page, *names: str) -> None:
    options = page.locator("#choices option")
    expect(options).to_have_count(len(names))
    assert options.evaluate_all("all => all.map(({ value }) => value)") == [*names]


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


def test_options_open_by_keyboard_and_stay_open_on_later_visits(page, open_counter, counter_id):
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


def test_held_key_repeats_in_a_field_but_adds_once(page, open_counter, counter_id):
    def hold(key: str) -> None:
        for _ in range(3):
            page.keyboard.down(key)
        page.keyboard.up(key)

    open_counter(counter_id)
    get_field(page).focus()
    hold("a")
    expect(get_field(page)).to_have_value("aaa")

    get_add_button(page).focus()
    hold("Enter")
    expect_shown(page, value=1)
    set_amount(page, 2)
    hold("Enter")
    expect_shown(page, value=3)


@pytest.mark.exhaustive
def test_invalid_amount_in_closed_options_opens_them(page, open_counter, counter_id):
    open_counter(counter_id)
    set_amount(page, 0)
    page.get_by_text("More options").click()
    expect(get_amount(page)).to_be_hidden()

    get_add_button(page).click()

    expect(get_amount(page)).to_be_focused()
    expect_pending(page, 0)


@pytest.mark.exhaustive
def test_suggestions_are_recent_counters_and_the_counters_of_the_api(page, open_counter, counter_id):
    """The list is read once. If it fails, it is read again when the field has the focus again."""
    statuses = [403, 200]
    listed = {"counters": [{"counter_id": name} for name in ("visits", counter_id)]}
    page.route("**/counters?limit=*", lambda route: route.fulfill(status=statuses.pop(0), json=listed, headers=CORS))
    open_counter(counter_id)
    page.evaluate("id => { location.hash = `#/${id}` }", f"{counter_id}-b")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{counter_id}-b")
    expect_shown(page, value=0)

    with page.expect_response("**/counters?limit=100"):
        get_field(page).focus()
    expect_suggestions(page, f"{counter_id}-b", counter_id)
    for _ in range(2):
        get_add_button(page).focus()
        get_field(page).focus()
        expect_suggestions(page, f"{counter_id}-b", counter_id, "visits")

    assert statuses == []


@pytest.mark.exhaustive
def test_chosen_suggestion_opens_its_counter(page, open_counter, counter_id):
    """Typing the name does not open the counter. The field may have the focus before its script is loaded."""
    open_counter(f"{counter_id}-a")
    page.goto("about:blank")
    script = Gate(page, "**/suggestions.js")
    open_counter(counter_id)
    field = get_field(page)
    field.press_sequentially(f"{counter_id}-a")
    assert script.wait_for_requests()
    script.open()
    expect(page.locator("#choices option").first).to_have_attribute("value", counter_id)
    expect(page.get_by_role("heading", level=1)).to_have_text(counter_id)
    field.press("Backspace")
    field.press("a")
    expect(page.get_by_role("heading", level=1)).to_have_text(counter_id)

    # Chromium reports the choice in its own window by this event.
    field.dispatch_event("input")

    expect(page.get_by_role("heading", level=1)).to_have_text(f"{counter_id}-a")
    expect(field).to_have_value("")
    expect(get_add_button(page)).to_be_focused()


@pytest.mark.exhaustive
def test_value_stays_plain_text_while_its_digits_roll(page, open_counter, counter_id):
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
def test_dot_of_a_refused_click_does_not_rise(page, open_counter, counter_id):
    """Only the dot of a counted click rises to the number."""
    slow_down_animations(page)
    open_counter(counter_id)
    problem = {"type": "urn:counter:problem:counter-closed", "status": 403, "detail": "The counter is closed."}
    page.route("**/increments", lambda route: route.fulfill(status=403, json=problem, headers=CORS))

    click_increment(page)

    expect(page.get_by_role("alert")).to_contain_text("The counter is closed.")
    expect(page.locator("#dots i")).to_have_count(0)


@pytest.mark.exhaustive
def test_controls_of_the_counter_are_large_enough_for_fingers(new_context, page_url, counter_id):
    """Each is at least 44 pixels high."""
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
