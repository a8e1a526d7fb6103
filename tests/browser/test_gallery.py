"""The gallery: each form, live and accessible, and the texts to copy, which count on a site of another origin."""

import contextlib
import re
import uuid
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.embedding import ForeignSite, expect_value, get_button
from tests.browser.pages import CORS, expect_no_violation, get_value_and_version, stop_clock
from tests.e2e.conftest import eventually

BLANK = '<!doctype html><html lang="en"><meta charset="utf-8"><title>A site</title><body><main>'


def open_gallery(page: Page, page_url: str, counter_id: str) -> None:
    page.goto(f"{page_url}gallery.html#/{counter_id}")
    expect(page.locator("#html")).to_contain_text(f'counter="{counter_id}"')


def test_gallery_shows_each_form_without_violation(new_context, page_url, api_url, counter_id):
    """The gallery fits a small phone, and runs under its own policy without a message on the console."""
    page = new_context(viewport={"width": 320, "height": 568}).new_page()
    state = {"counter_id": "c", "value": 7, "version": 7, "updated_at": None}
    answer = {**state, "event_id": "e", "recorded_at": None, "status": "counted"}
    badge = '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="20"/>'
    page.route(f"{api_url}/**", lambda route: route.fulfill(json=answer, headers=CORS))
    page.route(f"{api_url}/**/badge.svg", lambda route: route.fulfill(body=badge, headers=CORS))
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    open_gallery(page, page_url, counter_id)

    expect(page.locator("#badge")).to_be_visible()
    expect(page.locator("#libraryOutput")).to_have_text(re.compile(r"\d"))
    for element in page.locator("counter-button, counter-value").all():
        expect(element.locator("[part=value]")).to_have_text(re.compile(r"\d"))
    expect_no_violation(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    assert messages == []


def test_each_text_of_the_generator_counts_on_another_site(page, page_url, api_url, counter_id):
    """The badge shows the number and does not count."""
    texts: dict[str, dict[str, str]] = {}
    open_gallery(page, page_url, counter_id)
    page.get_by_label("Label", exact=True).fill("I <3 [it]")
    page.get_by_label("Amount", exact=True).fill("2")
    for form in ("Button", "Visits"):
        page.get_by_role("radio", name=form).check()
        texts[form] = {name: page.locator(f"#{name}").inner_text() for name in ("html", "markdown", "javascript")}
    assert get_value_and_version(api_url, counter_id) == (0, 0)
    with contextlib.closing(ForeignSite(page_url, BLANK)) as site:
        site.body = texts["Button"]["html"]
        page.goto(site.url)
        expect(get_button(page)).to_have_accessible_name(re.compile(r"^I <3 \[it\]"))
        get_button(page).click()
        expect_value(page, 2)

        site.body = texts["Visits"]["html"]
        page.goto(site.url)
        expect_value(page, 4, element="counter-value")

        site.body = f"<script type='module'>{texts['Button']['javascript']}</script>"
        page.goto(site.url)
        expect(page.get_by_role("button")).to_have_text("I <3 [it] 4")
        page.get_by_role("button").click()
        expect(page.get_by_role("button")).to_have_text("I <3 [it] 6")

        site.body = f"<script type='module'>{texts['Visits']['javascript']}</script>"
        page.goto(site.url)
        expect(page.locator("output")).to_have_text("I <3 [it] 8")

        badge = re.fullmatch(r"\[!\[(.*)\]\((.*)\)\]\((.*)\)", texts["Button"]["markdown"])
        assert badge
        site.body = f'<a href="{badge[3]}"><img src="{badge[2]}" alt="likes"></a>'
        page.goto(site.url)
        assert page.evaluate("document.images[0].decode().then(() => document.images[0].naturalWidth)") > 0
    assert badge[3] == f"{page_url}#/{counter_id}"
    eventually(lambda: get_value_and_version(api_url, counter_id) == (8, 4))


def test_form_is_filled_from_an_example_and_copied(new_context, page_url, api_url, counter_id):
    page = new_context(permissions=["clipboard-read", "clipboard-write"]).new_page()
    stop_clock(page)
    open_gallery(page, page_url, counter_id)

    page.get_by_role("button", name="Use this: Once a day").click()
    copy = page.get_by_role("button", name="Copy: HTML")
    copy.click()

    expect(copy).to_have_text("Copied")
    expect(page.locator("#spoken")).to_have_text("Copied: HTML")
    badge = f"{api_url}/counters/{counter_id}/badge.svg?label=I%20was%20here%20today"
    assert page.evaluate("navigator.clipboard.readText()") == (
        f'<script type="module" src="{page_url}embed-1.js"></script>\n'
        f'<counter-button api="{api_url}" counter="{counter_id}" label="I was here today" once="day">'
        f'<img src="{badge}" alt="{counter_id}"></counter-button>'
    )
    page.get_by_label("Counter", exact=True).fill("a b")
    expect(page.locator("#html")).to_have_text("")
    expect(page.locator("#previewHint")).to_contain_text("Counter: ")
    assert page.locator("#preview counter-button").count() == 0


def test_gallery_states_why_the_api_refuses_an_example(page, page_url):
    def refuse(route: Any) -> None:
        problem = {"type": "urn:counter:problem:counter-closed", "detail": "It does not exist here.", "status": 403}
        route.fulfill(status=403, json=problem, headers=CORS | {"Access-Control-Allow-Headers": "*"})

    page.route("**/gallery-visits/increments", refuse)

    open_gallery(page, page_url, f"gallery-{uuid.uuid4()}")

    expect(page.get_by_role("alert")).to_have_text("The API refused “gallery-visits”: It does not exist here.")
