"""The list of the latest events: groups, ages, reasons and empty states."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.pages import click_increment, serve_counter, set_amount, stop_clock

pytestmark = pytest.mark.exhaustive

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)


def make_events(*amounts_and_ages_s: tuple[int, int], **options: str) -> list[dict[str, Any]]:
    """Make events with these amounts and ages in seconds, in this order."""
    return [
        {"event_id": str(n), "by": by, "recorded_at": (NOW - timedelta(seconds=age)).isoformat(), **options}
        for n, (by, age) in enumerate(amounts_and_ages_s)
    ]


def test_events_are_listed_with_their_age(page, open_counter, counter_id):
    open_counter(counter_id)
    expect(page.locator("#events li")).to_have_text("No clicks yet. Be the first.")

    set_amount(page, 7)
    click_increment(page)

    expect(page.locator("#events li")).to_have_text("+7a moment ago")
    time = page.locator("#events time")
    assert (time.get_attribute("datetime") or "").endswith("Z")
    assert re.search(r"\d{4}, \d\d:\d\d:\d\d$", time.get_attribute("title") or "")


def test_equal_events_of_the_same_age_are_one_row(page, page_url, api_url):
    """An event with another amount, reason or age starts a row, even between equal events."""
    bursts = [(1, 5), (1, 6), (1, 7), (5, 8), (1, 9), (1, 130), (1, 170), (1, 200)]
    adjusted = make_events((-1, 210), type="Adjusted", reason="typo") + make_events(
        (-1, 220), type="Adjusted", reason="bot"
    )
    page.clock.set_fixed_time(NOW)
    serve_counter(page, api_url, events=make_events(*bursts) + adjusted + make_events((-1, 230)))

    page.goto(page_url)

    expect(page.locator("#events li")).to_have_text(
        [
            "+1 × 3a moment ago",  # noqa: RUF001  (a multiplication sign)
            "+5a moment ago",
            "+1a moment ago",
            "+1 × 22 minutes ago",  # noqa: RUF001
            "+13 minutes ago",
            "−13 minutes agoAdjusted: typo",  # noqa: RUF001  (a minus sign)
            "−13 minutes agoAdjusted: bot",  # noqa: RUF001
            "−13 minutes ago",  # noqa: RUF001
        ]
    )
    time = page.locator("#events time").first
    assert time.get_attribute("datetime") == (NOW - timedelta(seconds=5)).isoformat()
    assert re.search(r":53 to .*:55$", time.get_attribute("title") or "")


def test_group_that_may_continue_says_so(page, page_url, api_url):
    """The page reads 50 events. There may be more equal ones."""
    page.clock.set_fixed_time(NOW)
    serve_counter(page, api_url, events=make_events((2, 1), *[(1, 2)] * 49), next_cursor="more")

    page.goto(page_url)

    expect(page.locator("#events li")).to_have_text(["+2a moment ago", "+1 × 49 or morea moment ago"])  # noqa: RUF001


def test_ages_grow_and_rows_join_without_a_request(page, page_url, api_url):
    stop_clock(page)
    serve_counter(page, api_url, events=make_events((1, 50), (1, 70)))
    page.goto(page_url)
    expect(page.locator("#events li")).to_have_text(["+1a moment ago", "+11 minute ago"])
    page.unroute_all()
    page.route(f"{api_url}/**", lambda route: route.abort())

    page.clock.run_for(20_000)

    expect(page.locator("#events li")).to_have_text("+1 × 21 minute ago")  # noqa: RUF001


def test_list_shows_the_ten_latest_rows(page, page_url, api_url):
    serve_counter(page, api_url, events=make_events(*((n, n) for n in range(1, 51))))

    page.goto(page_url)

    expect(page.locator("#events b")).to_have_text([f"+{n}" for n in range(1, 11)])
