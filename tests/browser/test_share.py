"""Share a counter: its link, its badge and the line that puts a button on another site."""

import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import click_increment, expect_shown, stop_clock

pytestmark = pytest.mark.exhaustive


def test_each_copy_button_copies_its_field_and_says_so(new_context, page_url, api_url, counter_id):
    page = new_context(permissions=["clipboard-read", "clipboard-write"]).new_page()
    stop_clock(page)
    page.goto(f"{page_url}#/{counter_id}")
    expect_shown(page, value=0)
    page.clock.run_for(1)
    link = f"{page_url}#/{counter_id}"
    badge = f"{api_url}/counters/{counter_id}/badge.svg"
    texts = {
        "Link": link,
        "Button for your site": f'<script type="module" src="{page_url}embed-1.js"></script>'
        f'<counter-button counter="{counter_id}" api="{api_url}"></counter-button>',
        "Markdown": f"[![{counter_id}]({badge})]({link})",
        "HTML": f'<a href="{link}"><img src="{badge}" alt="{counter_id}"></a>',
    }
    for name, text in texts.items():
        button = page.get_by_role("button", name=f"Copy: {name}")
        button.click()
        expect(button).to_have_text("Copied")
        expect(page.locator("#spoken")).to_have_text(f"Copied: {name}")
        assert page.evaluate("navigator.clipboard.readText()") == text

    page.clock.run_for(2_000)
    assert page.get_by_role("button", name="Copy: ").all_inner_texts() == ["Copy"] * len(texts)


def test_copy_without_permission_selects_the_text(page, open_counter, page_url, counter_id):
    page.add_init_script("document.execCommand = () => false; navigator.clipboard.writeText = () => Promise.reject();")
    stop_clock(page)
    open_counter(counter_id)

    page.get_by_role("button", name="Copy: Link").click()

    expect(page.get_by_role("button", name="Copy: Link")).to_have_text("Selected")
    expect(page.locator("#spoken")).to_have_text("Selected: Link")
    assert page.evaluate("getSelection().toString()") == f"{page_url}#/{counter_id}"


@pytest.mark.parametrize("is_offered", [True, False])
def test_share_button_exists_where_the_browser_shares(
    page: Page, open_counter: Callable[[str], None], page_url: str, counter_id: str, *, is_offered: bool
) -> None:
    share = (
        "(data) => { window.shared = data; return Promise.reject(new Error('closed')); }" if is_offered else "undefined"
    )
    page.add_init_script(f"Object.defineProperty(navigator, 'share', {{ value: {share} }});")
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    open_counter(counter_id)
    button = page.get_by_role("button", name="Share link")

    if is_offered:
        button.click()
        assert page.evaluate("shared.url") == f"{page_url}#/{counter_id}"
        assert counter_id in page.evaluate("shared.title")
    else:
        expect(button).to_be_hidden()
    assert errors == []


def test_badge_shows_the_current_value_despite_caches(page, open_counter, counter_id):
    badge = page.locator("#badge")
    open_counter(counter_id)
    expect(badge).to_have_attribute("src", re.compile(re.escape(quote(f'"{counter_id}: 0"'))))

    click_increment(page)

    expect(badge).to_have_attribute("src", re.compile(re.escape(quote(f'"{counter_id}: 1"'))))
    expect(page.get_by_role("img", name=f"Badge of {counter_id}")).to_be_visible()


def test_badge_style_changes_the_picture_and_the_lines(page, open_counter, counter_id):
    """The API supports each style that the page offers."""
    open_counter(counter_id)
    styles = page.get_by_label("Badge style")
    expect(page.locator("#badge")).to_be_visible()
    heights = {"flat-square": 20, "plastic": 18, "for-the-badge": 28}

    for style, height in heights.items():
        styles.select_option(style)
        expect(page.locator("#badge")).to_have_attribute("src", re.compile(quote(f'height="{height}"')))
        for field in ("#markdown", "#html"):
            expect(page.locator(field)).to_have_value(re.compile(rf"/badge\.svg\?style={style}[\")]"))

    styles.select_option("flat")
    expect(page.locator("#markdown")).to_have_value(re.compile(r"/badge\.svg\)"))
