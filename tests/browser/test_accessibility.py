"""Use the page with a keyboard, a screen reader, dark mode, a small phone and reduced motion."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import (
    CORS,
    Gate,
    click_increment,
    cut_off,
    expect_no_violation,
    expect_pending,
    expect_shown,
    get_add_button,
    open_options,
    serve_reports,
    set_amount,
)

PHONE = {"viewport": {"width": 320, "height": 568}, "has_touch": True}


@pytest.mark.sample(1)
@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_page_has_no_accessibility_violation_in_any_state(new_context, page_url, api_url, counter_id, device):
    page = new_context(**device).new_page()
    serve_reports(page)
    page.goto(f"{page_url}#/{counter_id}")
    expect_shown(page, value=0)
    expect(page.locator("#counters li")).to_have_count(2)
    expect_no_violation(page)

    click_increment(page)
    expect_shown(page, value=1)
    expect(page.locator("#events li")).to_contain_text("+1")
    cut_off(page, api_url)
    open_options(page)
    page.get_by_role("button", name="Add only if still").click()
    expect(page.locator("#swapped")).to_contain_text("We don’t know")
    set_amount(page, 1000)
    click_increment(page, times=3)
    expect(page.locator("#connection")).to_contain_text("3 clicks saved")
    expect_no_violation(page)

    page.goto(f"{page_url}#/no counter")
    expect(page.get_by_role("alert")).to_contain_text("isn’t a valid name")
    expect_no_violation(page)


@pytest.mark.sample(1)
@pytest.mark.parametrize("width", [320, 768, 1440])
def test_content_fits_the_window(new_context, page_url, counter_id, width):
    page = new_context(viewport={"width": width, "height": 800}).new_page()
    serve_reports(page)
    state = {"counter_id": "x", "value": 123456789012, "version": 7, "updated_at": "2026-01-31T12:00:00.000Z"}
    page.route("**/counters/*", lambda route: route.fulfill(json=state, headers={"Access-Control-Allow-Origin": "*"}))

    page.goto(f"{page_url}#/{'x' * 64}")
    expect(page.locator("#value")).to_have_text("123,456,789,012")
    expect(page.locator("#counters li")).to_have_count(2)

    assert page.evaluate("document.documentElement.scrollWidth") == width
    for element in ("#value", "#increment"):
        fits = page.locator(element).evaluate(
            "element => element.scrollWidth <= element.clientWidth && element.scrollHeight <= element.clientHeight"
        )
        assert fits, element


def test_plus_key_increments_only_outside_fields(page, open_counter, counter_id):
    open_counter(counter_id)
    commands = Gate(page, "**/increments")

    open_options(page)
    page.keyboard.press("+")
    expect_pending(page, 1)
    page.get_by_label("Another counter").press("+")
    page.get_by_label("Amount").press("+")
    get_add_button(page).press("Control++")
    expect(page.get_by_label("Another counter")).to_have_value("+")
    expect_pending(page, 1)

    page.get_by_label("Add with the + key").uncheck()
    page.keyboard.press("+")
    page.get_by_label("Add with the + key").check()
    page.keyboard.press("+")

    expect_pending(page, 2)
    commands.open()
    expect_shown(page, value=2)


@pytest.mark.sample(1)
@pytest.mark.parametrize("key", ["Enter", "Space", "+"])
def test_held_key_is_one_increment(page, open_counter, counter_id, key):
    open_counter(counter_id)
    commands = Gate(page, "**/increments")
    get_add_button(page).focus()

    for _ in range(5):
        page.keyboard.down(key)
    page.keyboard.up(key)

    expect_pending(page, 1)
    assert len(commands.wait_for_requests()) == 1


def test_click_is_announced_once_when_it_is_counted(page, open_counter, counter_id):
    open_counter(counter_id)
    expect(page.locator("#spoken")).to_have_text(f"{counter_id}: 0")
    page.evaluate(
        """() => {
            const spoken = document.getElementById("spoken");
            spoken.texts = [];
            new MutationObserver(() => spoken.texts.push(spoken.textContent)).observe(spoken, { childList: true });
        }"""
    )

    click_increment(page, times=5)

    expect_shown(page, value=5)
    texts = page.locator("#spoken").evaluate("spoken => spoken.texts")
    assert texts[-1] == f"{counter_id}: 5"
    assert len(texts) <= 5


@pytest.mark.exhaustive
def test_nothing_moves_with_reduced_motion(new_context, page_url, counter_id):
    moved = {}
    for motion in ("reduce", "no-preference"):
        page = new_context(reduced_motion=motion).new_page()
        page.add_init_script(
            """Element.prototype.animate = function () { document.documentElement.dataset.moved = "yes"; return {}; };
            document.addEventListener("animationstart", () => { document.documentElement.dataset.moved = "yes"; });"""
        )
        page.goto(f"{page_url}#/{counter_id}-{motion}")
        expect_shown(page, value=0)
        click_increment(page)
        expect_shown(page, value=1)
        moved[motion] = page.locator("html").get_attribute("data-moved")

    assert moved == {"reduce": None, "no-preference": "yes"}


def serve_adjustments(page: Page) -> None:
    """Serve latest events with amounts and reasons of the maximum length."""
    amounts_and_reasons = [(-(2**53) + 1, "x" * 200), (2**53 - 1, "taken over from the old site " * 7), (-1, "typo")]
    events = [
        {"event_id": str(n), "type": "Adjusted", "by": by, "reason": reason, "recorded_at": "2026-01-31T12:00:00.000Z"}
        for n, (by, reason) in enumerate(amounts_and_reasons)
    ]
    page.route("**/events?*", lambda route: route.fulfill(json={"events": events, "next_cursor": None}, headers=CORS))


@pytest.mark.sample(1)
@pytest.mark.parametrize("width", [320, 1280])
def test_long_adjustments_fit_the_window(new_context, page_url, counter_id, width):
    page = new_context(viewport={"width": width, "height": 800}).new_page()
    serve_adjustments(page)
    page.goto(f"{page_url}#/{counter_id}")
    expect(page.locator("#events li")).to_have_count(3)

    assert page.evaluate("document.documentElement.scrollWidth") == width
    overflowing = page.locator("#events *").evaluate_all(
        "elements => elements.filter(({ scrollWidth, clientWidth }) => clientWidth && scrollWidth > clientWidth).length"
    )
    assert overflowing == 0
    expect(page.locator("#events")).to_contain_text("−9,007,199,254,740,991")  # noqa: RUF001  (a minus sign)


@pytest.mark.exhaustive
def test_controls_have_distinct_names(page, open_counter, counter_id):
    open_counter(counter_id)

    expect(page.get_by_role("combobox", name="Another counter", exact=True)).to_have_count(1)
    for name in ("Link", "Button for your site", "Markdown", "HTML"):
        expect(page.get_by_role("textbox", name=name, exact=True)).to_have_count(1)
    open_options(page)
    for name in (
        "Open",
        "Add 1",
        "Add only if still 0",
        "Copy: Link",
        "Copy: Button for your site",
        "Copy: Markdown",
        "Copy: HTML",
    ):
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(1)
    for named in (
        page.get_by_role("group", name="Range"),
        page.get_by_role("slider", name="Changes in the last hour, by minute"),
        page.get_by_role("combobox", name="Badge style"),
    ):
        expect(named).to_have_count(1)


@pytest.mark.exhaustive
def test_amount_is_not_clipped_and_has_a_maximum(page, open_counter, counter_id):
    """The maximum is the API's `MAX_INCREMENT`."""
    open_counter(counter_id)
    set_amount(page, 1000)
    amount = page.get_by_label("Amount")
    assert amount.evaluate("field => field.scrollWidth <= field.clientWidth")
    assert amount.get_attribute("max") == "1000"

    set_amount(page, 1001)
    page.locator("#increment").click()

    assert amount.evaluate("field => field.validity.rangeOverflow")
    expect_pending(page, 0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("size", [(320, 568), (1280, 800), (1280, 1600)])
@pytest.mark.parametrize("reports", [True, False])
def test_content_does_not_move_while_it_is_loaded(new_context, page_url, counter_id, size, reports):
    page = new_context(viewport=dict(zip(("width", "height"), size, strict=True))).new_page()
    page.add_init_script(
        """window.shift = 0;
        new PerformanceObserver((list) => {
            for (const { value } of list.getEntries()) window.shift += value;
        }).observe({ type: "layout-shift", buffered: true });"""
    )
    if reports:
        serve_reports(page)
    events = [{"event_id": str(n), "by": n, "recorded_at": "2026-01-31T12:00:00.000Z"} for n in range(1, 9)]
    page.route("**/events?*", lambda route: route.fulfill(json={"events": events, "next_cursor": None}, headers=CORS))

    page.goto(f"{page_url}#/{counter_id}")
    expect_shown(page, value=0)
    expect(page.locator("#events li")).to_have_count(8)
    expect(page.get_by_role("img", name="Changes in the last hour")).to_be_visible()
    expect(page.get_by_role("img", name="Badge of")).to_be_visible()
    if reports:
        expect(page.locator("#counters li")).to_have_count(2)

    # Entries are delivered after the next frame.
    page.wait_for_function(
        "() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(() => resolve(true))))"
    )
    assert page.evaluate("shift") < 0.05


@pytest.mark.exhaustive
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_high_contrast_hides_nothing_behind_the_value(new_context, page_url, counter_id, scheme):
    page = new_context(forced_colors="active", color_scheme=scheme).new_page()
    page.goto(f"{page_url}#/{counter_id}")
    expect_shown(page, value=0)
    name = page.get_by_role("heading", level=1)
    shown = name.screenshot()

    page.locator("#value").evaluate("value => { value.style.visibility = 'hidden' }")

    assert name.screenshot() == shown
