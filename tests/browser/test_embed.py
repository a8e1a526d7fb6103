"""Embed counters in a site of another origin. Each click counts exactly once, and the elements show correct states."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.embedding import ForeignSite, expect_value, get_button
from tests.browser.pages import (
    CORS,
    Gate,
    cut_off,
    expect_no_violation,
    get_value_and_version,
    increment_elsewhere,
    reconnect,
)
from tests.e2e.conftest import eventually

#: The day on which visitors count once. It must not end during a test.
TODAY = datetime(2026, 3, 1, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def site(page_url: str) -> Iterator[ForeignSite]:
    with contextlib.closing(ForeignSite(page_url)) as site:
        yield site


@pytest.fixture
def counter_id() -> str:
    return f"embed-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def embed(site: ForeignSite, api_url: str, counter_id: str) -> Callable[..., str]:
    """Write the page of the site with these elements, and return its address. `COUNTER` means the usual attributes."""

    def write(body: str) -> str:
        site.body = body.replace("COUNTER", f'api="{api_url}" counter="{counter_id}"')
        return site.url

    return write


def test_button_and_value_of_a_foreign_page_count_a_click(
    page: Page, embed: Callable[..., str], api_url: str, counter_id: str
) -> None:
    """The page's policy forbids inline styles and scripts."""
    page.goto(embed('<counter-button COUNTER label="Like"></counter-button> <counter-value COUNTER></counter-value>'))
    expect_value(page, 0)
    expect_no_violation(page)

    get_button(page).click()

    expect_value(page, 1)
    expect_value(page, 1, element="counter-value")
    button = get_button(page)
    expect(button).to_have_accessible_name(f"Like {counter_id}: 1")
    expect(page.locator("counter-button").get_by_role("status")).to_have_text(f"{counter_id}: 1")
    assert get_value_and_version(api_url, counter_id) == (1, 1)
    box = button.bounding_box()
    assert box
    assert min(box["width"], box["height"]) >= 24
    expect_no_violation(page)


def test_offline_clicks_of_two_elements_count_once_after_a_reload(
    page: Page, embed: Callable[..., str], api_url: str, counter_id: str
) -> None:
    """The clicks are saved, shown as pending in both elements, and sent with the same keys."""
    keys = []
    page.goto(embed("<counter-button COUNTER></counter-button><counter-button COUNTER by=5></counter-button>"))
    expect_value(page, 0)
    page.on("request", lambda sent: keys.append(sent.headers["idempotency-key"]) if sent.method == "POST" else None)
    cut_off(page, api_url)

    get_button(page).click()
    get_button(page, 1).click()
    expect_value(page, 0, mark="+6")
    expect(page.locator("counter-button").first.get_by_role("status")).to_have_text("Not sent yet. The click is saved.")
    expect_no_violation(page)
    page.reload()
    for n in range(2):
        expect_value(page, 0, n=n, mark="+6")
    expect(get_button(page)).to_have_attribute("title", "Not sent yet. The click is saved.")
    reconnect(page, api_url)

    for n in range(2):
        expect_value(page, 6, n=n)
    assert len(set(keys)) == 2
    assert get_value_and_version(api_url, counter_id) == (6, 2)


@pytest.mark.exhaustive
def test_click_that_was_offline_is_announced_once_it_is_counted(
    page: Page, embed: Callable[..., str], api_url: str, counter_id: str
) -> None:
    """Until then, the value of an earlier click is not announced again."""
    page.goto(embed("<counter-button COUNTER></counter-button>"))
    expect_value(page, 0)
    status = page.locator("counter-button").get_by_role("status")
    get_button(page).click()
    expect(status).to_have_text(f"{counter_id}: 1")
    cut_off(page, api_url)
    get_button(page).click()
    expect(status).to_have_text("Not sent yet. The click is saved.")

    reads = Gate(page, f"**/counters/{counter_id}")
    with page.expect_response("**/increments"):
        reconnect(page, api_url)

    expect(status).to_be_empty()
    reads.open()
    expect(status).to_have_text(f"{counter_id}: 2")


@pytest.mark.exhaustive
def test_clicks_of_a_closed_tab_are_sent_by_another(
    context: BrowserContext, embed: Callable[..., str], api_url: str, counter_id: str
) -> None:
    address = embed("<counter-button COUNTER></counter-button>")
    closed, other = (context.new_page() for _ in range(2))
    for tab in (closed, other):
        tab.goto(address)
        expect_value(tab, 0)
    cut_off(closed, api_url)
    get_button(closed).click()
    expect_value(closed, 0, mark="+1")

    closed.close()
    other.reload()

    expect_value(other, 1)
    get_button(other).click()
    expect_value(other, 2)
    assert get_value_and_version(api_url, counter_id) == (2, 2)


def test_once_counts_one_visitor_in_all_elements_tabs_and_reloads(
    context: BrowserContext, embed: Callable[..., str], api_url: str, counter_id: str
) -> None:
    address = embed("<counter-button COUNTER once></counter-button><counter-button COUNTER once></counter-button>")
    tabs = [context.new_page() for _ in range(2)]
    for tab in tabs:
        tab.goto(address)
        expect_value(tab, 0)
    commands = Gate(tabs[0], "**/increments")

    get_button(tabs[0]).click()
    expect_value(tabs[0], 0, mark="+1")
    expect(get_button(tabs[0], 1)).to_have_attribute("aria-disabled", "true")
    get_button(tabs[0], 1).click(force=True)
    get_button(tabs[1]).click()
    commands.open()

    for tab in tabs:
        for n in range(2):
            expect_value(tab, 1, n=n, mark="✓")
    tabs[0].reload()
    expect_value(tabs[0], 1, mark="✓")
    get_button(tabs[0]).click(force=True)
    expect(get_button(tabs[0])).to_have_attribute("title", "Counted")
    expect_no_violation(tabs[0])
    assert get_value_and_version(api_url, counter_id) == (1, 1)


def test_once_click_of_a_closed_page_is_shown_as_done(
    page: Page, embed: Callable[..., str], api_url: str, counter_id: str
) -> None:
    """The click is sent after the reload, and the new page then knows that the visitor was counted."""
    page.clock.set_fixed_time(TODAY)
    page.goto(embed('<counter-button COUNTER once="day"></counter-button>'))
    expect_value(page, 0)
    cut_off(page, api_url)
    get_button(page).click()
    expect_value(page, 0, mark="+1")

    page.reload()
    expect_value(page, 0, mark="+1")
    reconnect(page, api_url)

    expect_value(page, 1, mark="✓")
    page.reload()
    expect_value(page, 1, mark="✓")
    assert get_value_and_version(api_url, counter_id) == (1, 1)


def test_visits_are_counted_once_a_day_in_tabs_and_reloads(
    new_context: Callable[..., BrowserContext], embed: Callable[..., str], api_url: str, counter_id: str
) -> None:
    """A private window is another visitor. Each element without a limit counts each view."""
    address = embed('<counter-value COUNTER count="day"></counter-value>')
    context, private = new_context(), new_context()
    for visitor in (context, private):
        visitor.clock.set_fixed_time(TODAY)
    tabs = [context.new_page() for _ in range(3)]
    for tab in tabs:
        tab.goto(address)
    tabs[0].reload()
    for tab in tabs:
        expect_value(tab, 1, element="counter-value")

    other = private.new_page()
    other.goto(address)

    expect_value(other, 2, element="counter-value")
    assert get_value_and_version(api_url, counter_id) == (2, 2)
    other.goto(embed('<counter-value COUNTER count="view"></counter-value>'))
    expect_value(other, 3, element="counter-value")
    other.reload()
    expect_value(other, 4, element="counter-value")


@pytest.mark.exhaustive
def test_prerendered_page_counts_no_visit(page: Page, embed: Callable[..., str], api_url: str, counter_id: str) -> None:
    """Browsers may render a page before the visitor opens it."""
    page.add_init_script("Object.defineProperty(document, 'prerendering', { value: true, configurable: true });")
    page.goto(embed('<counter-value COUNTER count="view"></counter-value>'))
    expect_value(page, 0, element="counter-value")
    assert get_value_and_version(api_url, counter_id) == (0, 0)

    page.evaluate(
        """() => {
            Object.defineProperty(document, "prerendering", { value: false });
            document.dispatchEvent(new Event("prerenderingchange"));
        }"""
    )

    expect_value(page, 1, element="counter-value")
    assert get_value_and_version(api_url, counter_id) == (1, 1)


def test_element_follows_its_attributes_and_stops_when_removed(
    page: Page, embed: Callable[..., str], api_url: str, counter_id: str
) -> None:
    """No click is lost while the element is removed."""
    page.clock.install()
    page.goto(embed("<counter-button COUNTER></counter-button>"))
    expect_value(page, 0)
    element = page.locator("counter-button")
    changes = {"counter": f"{counter_id}-other", "by": "1000", "locale": "de", "label": "Mag ich"}
    element.evaluate(
        "(element, changes) => Object.entries(changes).forEach((change) => element.setAttribute(...change))", changes
    )
    expect(element.locator("[part=label]")).to_have_text("Mag ich")
    get_button(page).click()
    expect_value(page, "1.000")
    assert get_value_and_version(api_url, counter_id) == (0, 0)

    cut_off(page, api_url)
    get_button(page).click()
    expect_value(page, "1.000", mark="+1.000")
    element.evaluate("element => { window.removed = element; element.remove(); }")
    with page.expect_response("**/increments") as accepted:
        reconnect(page, api_url)
    accepted.value.finished()
    eventually(lambda: get_value_and_version(api_url, f"{counter_id}-other") == (2000, 2))
    reads: list[str] = []
    page.on("request", lambda sent: reads.append(sent.url))
    page.clock.fast_forward(120_000)
    assert reads == []
    page.evaluate("document.querySelector('main').append(window.removed)")

    expect_value(page, "2.000")


@pytest.mark.exhaustive
def test_element_that_a_listener_removes_stops_its_requests(page: Page, embed: Callable[..., str]) -> None:
    page.add_init_script("addEventListener('counter-change', ({ target }) => target.remove());")
    page.clock.install()
    page.goto(embed("<counter-button COUNTER></counter-button>"))
    expect(page.locator("counter-button")).to_have_count(0)
    reads: list[str] = []
    page.on("request", lambda sent: reads.append(sent.url))

    page.clock.run_for(120_000)

    assert reads == []


def test_refusals_are_shown_quietly(page: Page, embed: Callable[..., str], api_url: str, counter_id: str) -> None:
    def refuse(route: Any) -> None:
        problem = {"type": "urn:counter:problem:counter-closed", "detail": "The counter is closed.", "status": 403}
        headers = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*"}
        route.fulfill(status=403, json=problem, headers=headers)

    body = "<counter-button COUNTER></counter-button><counter-button counter=likes></counter-button>"
    page.route("**/increments", refuse)
    page.goto(embed(f"{body}<counter-button api={api_url}/nothing counter=likes></counter-button>"))

    get_button(page).click()

    expect_value(page, 0, mark="!")
    expect(get_button(page)).to_have_attribute("title", "The counter is closed.")
    expect(page.locator("counter-button").first.get_by_role("status")).to_have_text("The counter is closed.")
    for n in (1, 2):
        expect_value(page, "–", n=n, mark="!")  # noqa: RUF001  (a number that is not known)
    expect_no_violation(page)
    assert get_value_and_version(api_url, counter_id) == (0, 0)


@pytest.mark.exhaustive
def test_refusal_is_not_shown_at_another_counter(page: Page, embed: Callable[..., str], counter_id: str) -> None:
    """The attribute changes while the increment is in flight."""
    page.goto(embed("<counter-button COUNTER></counter-button><counter-button COUNTER></counter-button>"))
    expect_value(page, 0)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/increments", hold)
    get_button(page).click()
    expect_value(page, 0, n=1, mark="+1")
    page.locator("counter-button").first.evaluate(
        "(element, id) => element.setAttribute('counter', id)", f"{counter_id}-other"
    )
    expect_value(page, 0)

    problem = {"type": "urn:counter:problem:counter-closed", "detail": "The counter is closed.", "status": 403}
    held[0].fulfill(status=403, json=problem, headers=CORS)

    expect_value(page, 0, n=1)
    expect_value(page, 0)
    expect(get_button(page)).to_have_attribute("title", "")


def test_last_known_value_is_shown_offline_with_its_time(
    page: Page, embed: Callable[..., str], api_url: str, counter_id: str
) -> None:
    increment_elsewhere(api_url, counter_id)
    page.goto(embed("<counter-value COUNTER></counter-value>"))
    expect_value(page, 1, element="counter-value")
    cut_off(page, api_url)

    page.reload()

    expect_value(page, 1, element="counter-value")
    expect(page.locator("counter-value [part=note]")).to_contain_text("As of ")


def test_badge_is_shown_only_without_javascript(
    new_context: Callable[..., BrowserContext], embed: Callable[..., str], api_url: str, counter_id: str
) -> None:
    badge = f'<img src="{api_url}/counters/{counter_id}/badge.svg" alt="likes">'
    address = embed(f"<counter-button COUNTER>{badge}</counter-button>")
    with_script, without = (new_context(java_script_enabled=enabled).new_page() for enabled in (True, False))
    for page in (with_script, without):
        page.goto(address)

    expect_value(with_script, 0)
    expect(with_script.get_by_role("img", name="likes")).to_be_hidden()
    expect(without.get_by_role("img", name="likes")).to_be_visible()
    assert without.evaluate("document.images[0].naturalWidth") > 0


def test_change_of_an_element_reaches_the_page_as_an_event(
    page: Page, embed: Callable[..., str], counter_id: str
) -> None:
    """The event leaves shadow roots. A poll that finds the same state causes no event."""
    page.add_init_script(
        "window.changes = []; document.addEventListener('counter-change', ({ detail }) => changes.push(detail));"
    )
    page.clock.install()
    page.goto(embed("<div></div><counter-button COUNTER></counter-button>"))
    expect_value(page, 0)
    page.evaluate(
        """() => {
            const root = document.querySelector("div").attachShadow({ mode: "open" });
            root.append(document.querySelector("counter-button"));
        }"""
    )

    get_button(page).click()
    expect_value(page, 1)

    changes = page.evaluate("changes")
    states = [(change.get("value"), change.get("isFresh"), change.get("pending")) for change in changes]
    assert (states[0], states[-1]) == ((None, False, 0), (1, True, 0))
    assert (0, True, 1) in states
    assert changes[-1] == {
        "counter": counter_id,
        "value": 1,
        "version": 1,
        "isFresh": True,
        "pending": 0,
        "refusal": "",
    }
    with page.expect_response(f"**/counters/{counter_id}/cached") as polled:
        page.clock.fast_forward(60_000)
    polled.value.finished()
    expect_value(page, 1)
    assert page.evaluate("changes") == changes


def test_held_enter_is_one_click_and_held_tab_moves_on(page: Page, embed: Callable[..., str]) -> None:
    page.goto(embed("<counter-button COUNTER></counter-button>" * 3))
    expect_value(page, 0)
    page.keyboard.press("Tab")
    expect(get_button(page)).to_be_focused()

    for _ in range(5):
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    for _ in range(2):
        page.keyboard.down("Tab")

    expect_value(page, 1)
    expect(get_button(page, 2)).to_be_focused()


def test_library_counts_and_reports_changes(
    page: Page, embed: Callable[..., str], page_url: str, api_url: str, counter_id: str
) -> None:
    """The library shares the elements' outbox and their view of the counter."""
    page.goto(embed("<counter-value COUNTER></counter-value>"))
    expect_value(page, 0, element="counter-value")
    result = page.evaluate(
        """async ([embed, api, id]) => {
            const { counter } = await import(embed);
            const likes = counter(api, id);
            const event = await likes.increment(2);
            let unsubscribe;
            const value = await new Promise((resolve) => {
                unsubscribe = likes.subscribe((state) => {
                    if (!state.pending && state.isFresh && state.value >= 2) resolve(state.value);
                });
            });
            unsubscribe();
            const refusal = await likes.increment(-1).catch((error) => error.status);
            return { event: Object.keys(event), value, read: (await likes.read()).value, refusal };
        }""",
        [f"{page_url}embed-1.js", api_url, counter_id],
    )

    assert result == {"event": ["id", "recordedAt"], "value": 2, "read": 2, "refusal": 400}
    expect_value(page, 2, element="counter-value")


def test_beacon_without_a_body_counts(page: Page, embed: Callable[..., str], api_url: str, counter_id: str) -> None:
    """The visitor leaves the page at once, and the browser still sends the request."""
    page.goto(embed("<p>Nothing to see.</p>"))
    page.evaluate("url => navigator.sendBeacon(url)", f"{api_url}/counters/{counter_id}/increments")
    page.goto("about:blank")

    eventually(lambda: get_value_and_version(api_url, counter_id) == (1, 1))
