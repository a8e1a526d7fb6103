"""Compare-and-swap on the page: add only if the value is still the one shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.pages import (
    Gate,
    cut_off,
    events_counted,
    expect_shown,
    increment_elsewhere,
    reconnect,
    set_amount,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext, Locator, Page, Route

pytestmark = pytest.mark.exhaustive


def swap_button(page: Page) -> Locator:
    return page.get_by_role("button", name="Only if it still says")


def test_a_swap_is_counted_at_once_if_nothing_has_changed(
    page: Page, open_counter: Callable[[str], None], api_url: str, counter_id: str
) -> None:
    open_counter(counter_id)
    set_amount(page, 5)

    with page.expect_request("**/increments") as sent:
        swap_button(page).click()

    assert sent.value.header_value("if-match") == '"0"'
    expect(page.locator("#swapped")).to_have_text("Counted: it still said 0, and then 5.")
    expect_shown(page, value=5)
    expect(swap_button(page)).to_have_text("Only if it still says 5")
    expect(swap_button(page)).to_be_focused()
    assert events_counted(api_url, counter_id) == (5, 1)


def test_one_of_two_browsers_swapping_from_one_version_wins(
    new_context: Callable[..., BrowserContext], page_url: str, api_url: str, counter_id: str
) -> None:
    """The other explains that the value changed."""
    pages = [new_context().new_page() for _ in range(2)]
    gates = []
    for page in pages:
        page.goto(f"{page_url}#/{counter_id}")
        expect_shown(page, value=0)
        gates.append(Gate(page, "**/increments"))
    for page in pages:
        with page.expect_request("**/increments"):
            swap_button(page).click()

    for gate in gates:
        gate.open()

    for page in pages:
        expect(page.locator("#swapped")).not_to_be_empty()
        expect_shown(page, value=1)
    said = sorted(page.locator("#swapped").inner_text() for page in pages)
    assert said == [
        "Counted: it still said 0, and then 1.",
        "Not counted: somebody was quicker. It said 0, and says 1 now.",
    ]
    assert events_counted(api_url, counter_id) == (1, 1)


def test_swap_with_a_lost_answer_is_the_same_swap_when_retried(
    page: Page, open_counter: Callable[[str], None], api_url: str, counter_id: str
) -> None:
    sent: list[tuple[str, str, str | None]] = []

    def lose_the_first_answer(route: Route) -> None:
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
    page.route("**/increments", lose_the_first_answer)
    swap_button(page).click()
    expect(page.locator("#swapped")).to_contain_text("No answer, so whether it was counted is not known.")
    expect_shown(page, value=5)
    set_amount(page, 7)

    page.get_by_role("button", name="Ask again about that one").click()

    expect(page.locator("#swapped")).to_have_text("Counted: it still said 0, and then 5.")
    expect(swap_button(page)).to_have_text("Only if it still says 5")
    assert len(sent) == 2
    assert len(set(sent)) == 1
    assert events_counted(api_url, counter_id) == (5, 1)


def test_swap_that_never_arrived_is_refused_when_retried_too_late(
    page: Page, open_counter: Callable[[str], None], api_url: str, counter_id: str
) -> None:
    open_counter(counter_id)
    page.route("**/increments", lambda route: route.abort("connectionreset"))
    swap_button(page).click()
    expect(page.locator("#swapped")).to_contain_text("No answer")
    page.unroute("**/increments")
    increment_elsewhere(api_url, counter_id)

    page.get_by_role("button", name="Ask again about that one").click()

    expect(page.locator("#swapped")).to_contain_text("Not counted: somebody was quicker. It said 0, and says 1 now.")
    expect_shown(page, value=1)
    swap_button(page).click()
    expect(page.locator("#swapped")).to_have_text("Counted: it still said 1, and then 2.")
    assert events_counted(api_url, counter_id) == (2, 2)


def test_a_swap_that_is_pressed_twice_is_one(
    page: Page, open_counter: Callable[[str], None], api_url: str, counter_id: str
) -> None:
    open_counter(counter_id)
    commands = Gate(page, "**/increments")

    swap_button(page).dblclick()

    commands.open()
    expect(page.locator("#swapped")).to_have_text("Counted: it still said 0, and then 1.")
    expect_shown(page, value=1)
    assert events_counted(api_url, counter_id) == (1, 1)


def test_a_swap_is_not_kept_to_be_sent_later(
    page: Page, open_counter: Callable[[str], None], api_url: str, counter_id: str
) -> None:
    open_counter(counter_id)
    cut_off(page, api_url)
    swap_button(page).click()
    expect(page.locator("#swapped")).to_contain_text("No answer")
    sent: list[str] = []
    page.on("request", lambda asked: sent.append(asked.method))

    reconnect(page, api_url)
    increment_elsewhere(api_url, counter_id)
    page.reload()

    expect_shown(page, value=1)
    assert "POST" not in sent


@pytest.mark.parametrize("by", ["0", "1.5", ""])
def test_invalid_amount_is_not_sent(page: Page, open_counter: Callable[[str], None], counter_id: str, by: str) -> None:
    open_counter(counter_id)
    sent: list[str] = []
    page.on("request", lambda asked: sent.append(asked.method))
    set_amount(page, by)

    swap_button(page).click()
    page.get_by_role("button", name="Increment").click()

    assert page.get_by_label("by", exact=True).evaluate("field => !field.validity.valid")
    expect_shown(page, value=0)
    assert "POST" not in sent


def test_a_swap_that_the_api_refuses_for_its_amount_says_why(
    page: Page, open_counter: Callable[[str], None], counter_id: str
) -> None:
    open_counter(counter_id)
    set_amount(page, 1001)

    swap_button(page).click()

    expect(page.locator("#swapped")).to_contain_text("Not counted: The body is")
    expect_shown(page, value=0)
