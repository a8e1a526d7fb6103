"""The chart of a counter's history: ranges, bars, scale, readout and failures."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import FloatRect, Locator, Page, Route, expect

from tests.browser.pages import (
    CORS,
    Gate,
    choose_range,
    click_increment,
    expect_shown,
    serve_counter,
    serve_reports,
    set_amount,
    stop_clock,
)

pytestmark = pytest.mark.exhaustive

HOUR = "Changes in the last hour, by minute"
DAY = "Changes in the last 24 hours, by hour"
DAYS = "Changes in the last 2 weeks, by day"
#: The time of the API that `serve_counter` replaces.
NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
#: The time of a browser whose clock is wrong: the page uses the API's.
WRONG_NOW = NOW + timedelta(days=100)
#: The sums by minute, in the hour before `NOW`.
POINTS = [
    {"start": f"2026-03-01T09:{minute}:00.000Z", "increments": 1, "sum": total}
    for minute, total in (("10", 4), ("40", 12), ("41", -7), ("59", 1))
]


def get_chart(page: Page, label: str = HOUR) -> Locator:
    return page.get_by_role("img", name=re.compile(rf"^{label}: "))


def get_kinds(page: Page) -> list[str]:
    """Return for each bar whether it is `positive`, `negative` or `none`."""
    bars: list[str] = page.locator("#plot > i").evaluate_all("bars => bars.map((bar) => bar.classList[0])")
    return bars


def measure(locator: Locator) -> list[FloatRect]:
    """Return the boxes of the visible elements, in document order."""
    return [box for element in locator.all() if (box := element.bounding_box())]


def expect_total(page: Page, total: str, period: str) -> None:
    expect(page.locator("#total")).to_have_text(total)
    expect(page.locator("#period")).to_have_text(period)


def open_chart(page: Page, page_url: str, api_url: str) -> None:
    """Open the page at a counter with these points. The page's time is fixed and wrong, but its timers run."""
    page.clock.set_fixed_time(WRONG_NOW)
    serve_counter(page, api_url, points=POINTS)
    page.goto(page_url)
    expect_total(page, "+10", "in the last hour")


def test_chart_of_the_last_hour_describes_its_content(page, open_counter, counter_id):
    open_counter(counter_id)
    set_amount(page, 5)
    click_increment(page, times=2)
    expect_shown(page, value=10)

    expect_total(page, "+10", "in the last hour")

    label = get_chart(page).get_attribute("aria-label") or ""
    assert re.search(r": \+10 since \d\d:\d\d\. Most in one minute: \+(5|10), \d\d:\d\d\.$", label)
    kinds = get_kinds(page)
    assert len(kinds) == 60
    assert kinds.count("positive") in {1, 2}
    choose_range(page, "Day")
    expect(get_chart(page, DAY)).to_have_attribute("aria-label", re.compile(r": \+10 since "))
    expect_total(page, "+10", "in the last 24 hours")
    assert len(get_kinds(page)) == 24


def test_last_days_are_a_chart_if_reports_exist(page, page_url, api_url):
    days = [
        {"counter_id": "clicks", "day": str(NOW.date() - timedelta(days=ago)), "events": 2, "total": total}
        for ago, total in ((0, 3), (1, -1), (13, 7))
    ]
    page.clock.set_fixed_time(NOW)
    serve_counter(page, api_url)
    requested = serve_reports(page, days)
    page.goto(page_url)
    choose_range(page, "2 weeks")

    expect(get_chart(page, DAYS)).to_be_visible()

    expect_total(page, "+9", "in the last 2 weeks")
    assert get_kinds(page) == ["positive", *["none"] * 11, "negative", "positive"]
    assert requested[-1].endswith("/reports/daily?counter_id=clicks&limit=14")


def test_negative_sums_are_bars_below_the_line(page, page_url, api_url):
    open_chart(page, page_url, api_url)

    four, twelve, minus_seven, one = measure(page.locator("#plot b"))
    zero = measure(page.locator("#scale .zero"))[0]["y"]

    for box in (four, twelve, one):
        assert box["y"] + box["height"] == pytest.approx(zero, abs=1)
    assert minus_seven["y"] == pytest.approx(zero, abs=1)
    unit = twelve["height"] / 12
    assert [four["height"], minus_seven["height"]] == pytest.approx([4 * unit, 7 * unit], abs=1)
    assert page.locator("#scale i").all_inner_texts() == ["20", "10", "0", "−10"]  # noqa: RUF001  (a minus sign)


def test_chart_labels_its_peaks(page, page_url, api_url):
    """The highest label is above its bar, the lowest one below its bar."""
    open_chart(page, page_url, api_url)

    peaks = page.locator("#plot em")

    assert peaks.all_inner_texts() == ["+12", "−7"]  # noqa: RUF001  (a minus sign)
    high, low = measure(peaks)
    bars = measure(page.locator("#plot b"))
    assert high["y"] + high["height"] <= bars[1]["y"]
    assert low["y"] >= bars[2]["y"] + bars[2]["height"]
    expect(get_chart(page)).to_have_attribute(
        "aria-label",
        re.compile(r"Most in one minute: \+12, \d\d:40\. Least: −7, \d\d:41\.$"),  # noqa: RUF001
    )


@pytest.mark.parametrize(
    ("sums", "values"),
    [
        ([0], [0]),
        ([1], [1, 0]),
        ([3], [3, 2, 1, 0]),
        ([4], [4, 2, 0]),
        ([128, 5], [150, 100, 50, 0]),
        ([-1], [0, -1]),
        ([7, -1], [10, 5, 0, -5]),
        ([-250, 100], [200, 0, -200, -400]),
    ],
)
def test_scale_has_round_values_and_includes_all_sums(page, page_url, sums, values):
    page.goto(page_url)

    script = "async (range) => (await import('/page/chart.js')).chooseScale(...range)"

    assert page.evaluate(script, [max(0, *sums), min(0, *sums)]) == values


def test_chart_without_clicks_says_so(page, open_counter, counter_id):
    open_counter(counter_id)

    expect(page.locator("#plot p")).to_have_text("No clicks in the last hour.")
    expect_total(page, "0", "in the last hour")
    choose_range(page, "Day")
    expect(page.locator("#plot p")).to_have_text("No clicks in the last 24 hours.")
    assert page.locator("#plot em").count() == 0


def test_ranges_are_chosen_with_the_keyboard(page, open_counter, counter_id):
    """The ranges are one tab stop. An arrow key chooses the next one."""
    serve_reports(page)
    open_counter(counter_id)
    expect(get_chart(page)).to_be_visible()
    ranges = page.get_by_role("group", name="Range").get_by_role("radio")
    ranges.first.focus()

    page.keyboard.press("ArrowRight")

    expect(ranges.nth(1)).to_be_checked()
    expect(get_chart(page, DAY)).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("slider")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(ranges.nth(1)).to_be_focused()


def test_chart_is_read_with_the_keyboard(page, page_url, api_url):
    """The chart is one tab stop. Arrow keys move along the bars, and a screen reader reads the bar as a value."""
    open_chart(page, page_url, api_url)
    reader = page.get_by_role("slider", name=HOUR)

    reader.focus()
    expect(page.locator("#total")).to_have_text("0")
    page.keyboard.press("ArrowLeft")

    expect(page.locator("#total")).to_have_text("+1")
    expect(page.locator("#period")).to_have_text(re.compile(r"^\d\d:59$"))
    expect(reader).to_have_attribute("aria-valuetext", re.compile(r"^\+1, \d\d:59$"))
    assert page.locator("#plot > i").nth(58).get_attribute("class") == "positive read"
    page.keyboard.press("Home")
    expect(reader).to_have_attribute("aria-valuetext", re.compile(r"^0, \d\d:01$"))
    page.keyboard.press("Tab")
    expect_total(page, "+10", "in the last hour")
    assert page.locator(".read").count() == 0


def test_chart_is_read_with_the_mouse(page, page_url, api_url):
    open_chart(page, page_url, api_url)

    page.locator("#plot > i").nth(39).hover()
    expect(page.locator("#total")).to_have_text("+12")
    page.locator("#plot > i").nth(40).hover()
    expect(page.locator("#total")).to_have_text("−7")  # noqa: RUF001  (a minus sign)
    page.mouse.move(0, 0)

    expect_total(page, "+10", "in the last hour")


def test_chart_is_read_with_a_tap(new_context, page_url, api_url):
    """The readout stays until a tap elsewhere."""
    page = new_context(has_touch=True, viewport={"width": 390, "height": 800}).new_page()
    open_chart(page, page_url, api_url)

    requested = serve_past(page)
    section = page.locator(".activity")
    before = section.bounding_box()
    page.locator("#plot > i").nth(39).tap()
    expect(page.locator("#total")).to_have_text("+12")
    expect(page.locator("#then")).to_have_text("1,234 by then")
    assert section.bounding_box() == before
    assert requested == ["2026-03-01T09:40:59.999Z"]
    page.locator("#plot > i").nth(9).tap()
    expect(page.locator("#total")).to_have_text("+4")
    page.get_by_role("heading", level=1).tap()

    expect_total(page, "+10", "in the last hour")


def serve_past(page: Page, status: int = 200, **answer: object) -> list[str]:
    """Serve this answer as every past state. Return the list to which each requested time is added."""
    requested: list[str] = []

    def fulfil(route: Route) -> None:
        at = route.request.url.partition("?at=")[2]
        requested.append(at)
        route.fulfill(
            status=status, json={"counter_id": "c", "value": 1234, "version": 3, "at": at, **answer}, headers=CORS
        )

    page.route("**/counters/clicks?at=*", fulfil)
    return requested


@pytest.fixture
def reader(page: Page, page_url: str, api_url: str) -> Locator:
    """Open the page with a stopped clock, and return the focused slider of its chart, at the last minute."""
    stop_clock(page)
    serve_counter(page, api_url, points=POINTS)
    page.goto(page_url)
    page.clock.run_for(1)
    expect_total(page, "+10", "in the last hour")
    reader = page.get_by_role("slider", name=HOUR)
    reader.focus()
    return reader


def test_value_at_the_end_of_a_step_is_read_after_a_rest(page, reader, api_url):
    """The value is requested once per version, and not for the last step, which has not ended."""
    requested = serve_past(page)
    then = page.locator("#then")
    page.clock.run_for(400)

    for _ in range(5):
        page.clock.run_for(399)
        page.keyboard.press("ArrowLeft")
    assert requested == []
    page.clock.run_for(400)

    expect(then).to_have_text("1,234 by then")
    expect(reader).to_have_attribute("aria-valuetext", re.compile(r"^0, \d\d:55, 1,234 by then$"))
    for key in ("ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
        page.clock.run_for(400)
        expect(then).to_have_text("1,234 by then")
    assert requested == ["2026-03-01T09:55:59.999Z", "2026-03-01T09:54:59.999Z"]
    page.unroute_all()
    serve_counter(page, api_url, points=POINTS[1:])
    requested = serve_past(page, value=1235)
    page.evaluate("dispatchEvent(new Event('online'))")  # the page refreshes
    expect(page.locator("#changes")).to_have_text("3 changes so far")
    page.clock.run_for(6_000)
    expect(page.locator("#plot > i.positive")).to_have_count(2)
    page.clock.run_for(400)
    expect(then).to_have_text("1,235 by then")
    assert requested == ["2026-03-01T09:55:59.999Z"]
    page.keyboard.press("End")
    expect(then).to_be_empty()


@pytest.mark.usefixtures("reader")
def test_values_of_the_past_are_requested_one_after_the_other(page):
    past = Gate(page, "**/counters/clicks?at=*")
    page.keyboard.press("ArrowLeft")
    page.clock.run_for(400)
    assert past.wait_for_requests()

    for _ in range(3):
        page.keyboard.press("ArrowLeft")
        page.clock.run_for(1_000)
    assert len(past.wait_for_requests()) == 1
    page.unroute("**/counters/clicks?at=*")
    requested = serve_past(page)
    with page.expect_event("requestfailed"):
        past.abort()
    page.clock.run_for(400)

    expect(page.locator("#then")).to_have_text("1,234 by then")
    assert requested == ["2026-03-01T09:56:59.999Z"]


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    ("status", "answer", "text"),
    [
        (200, {"at": None}, ""),
        (400, {"detail": "Too far back."}, "Too long ago to show the value"),
    ],
)
def test_value_of_the_past_that_cannot_be_read_is_explained(page, status, answer, text):
    """An older API ignores the time. A repeated request would return the same response, so the page makes only one."""
    requested = serve_past(page, status, **answer)
    page.keyboard.press("ArrowLeft")

    with page.expect_response("**/counters/clicks?at=*") as answered:
        page.clock.run_for(400)
    answered.value.finished()
    expect(page.locator("#then")).to_have_text(text)
    page.clock.run_for(10_000)
    assert len(requested) == 1

    for key in ("ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
        page.clock.run_for(400)
    expect(page.locator("#then")).to_have_text(text)
    assert len(requested) == 1


@pytest.mark.usefixtures("reader")
def test_unavailable_value_of_the_past_is_read_when_the_user_returns(page):
    requested = serve_past(page, 503)
    page.keyboard.press("ArrowLeft")

    with page.expect_response("**/counters/clicks?at=*") as answered:
        page.clock.run_for(400)
    answered.value.finished()
    expect(page.locator("#then")).to_have_text("Value unknown")
    page.clock.run_for(10_000)
    assert len(requested) == 1

    page.keyboard.press("ArrowRight")
    page.clock.run_for(400)
    page.keyboard.press("ArrowLeft")
    with page.expect_response("**/counters/clicks?at=*"):
        page.clock.run_for(400)
    assert len(requested) == 2


def test_value_a_minute_ago_matches_the_api(page, open_counter, counter_id):
    open_counter(counter_id)
    set_amount(page, 5)
    click_increment(page)
    expect_total(page, "+5", "in the last hour")

    page.locator("#plot > i").nth(57).hover()

    expect(page.locator("#then")).to_have_text("0 by then")


def test_readout_stays_true_while_the_chart_moves(page, page_url, api_url):
    """Half an hour later, another minute is at the position that the user reads."""
    open_chart(page, page_url, api_url)
    reader = page.get_by_role("slider")
    reader.focus()
    reader.fill("9")
    expect(page.locator("#total")).to_have_text("+4")

    page.unroute_all()
    serve_counter(page, api_url, points=POINTS, date="Sun, 01 Mar 2026 10:30:00 GMT")
    page.evaluate("dispatchEvent(new Event('online'))")  # the page refreshes

    expect(page.locator("#total")).to_have_text("+12")
    expect(page.locator("#period")).to_have_text(re.compile(r"^\d\d:40$"))
    expect(reader).to_have_attribute("aria-valuetext", re.compile(r"^\+12, \d\d:40$"))
    expect(reader).to_be_focused()
    assert page.locator("#plot > i").nth(9).get_attribute("class") == "positive read"


def test_chart_has_the_same_size_while_loading(page, page_url, api_url):
    serve_counter(page, api_url, points=POINTS)
    history = Gate(page, "**/history?*")
    page.goto(page_url)
    assert history.wait_for_requests()
    section = page.locator(".activity")
    expect(page.locator("#plot")).to_be_empty()
    before = section.bounding_box()

    page.unroute_all()
    serve_counter(page, api_url, points=POINTS)
    choose_range(page, "Day")
    choose_range(page, "Hour")

    expect_total(page, "+10", "in the last hour")
    assert section.bounding_box() == before


def fail_history(page: Page, status: int = 503) -> list[str]:
    """Fail each request for a history. Return the list to which each requested address is added."""
    requested: list[str] = []
    problem = {"title": "No", "status": status, "detail": "There is no history today."}

    def fail(route: Route) -> None:
        requested.append(route.request.url)
        route.fulfill(status=status, json=problem, headers=CORS)

    page.route("**/history?*", fail)
    return requested


@pytest.mark.parametrize(
    ("status", "text"),
    [(503, "Can’t load this. Trying again."), (400, "Can’t load this: There is no history today.")],
)
def test_failed_history_clears_the_chart_and_is_explained(page, open_counter, counter_id, status, text):
    """The charts of the previous range and of the previous counter disappear."""
    open_counter(counter_id)
    expect(get_chart(page)).to_be_visible()
    fail_history(page, status)

    choose_range(page, "Day")
    expect(page.locator("#chart")).to_have_text(text)
    expect_total(page, "–", "in the last 24 hours")  # noqa: RUF001  (as in place of an unknown value)

    page.unroute("**/history?*")
    choose_range(page, "Hour")
    expect(get_chart(page)).to_be_visible()
    fail_history(page, status)
    page.evaluate("id => { location.hash = `#/${id}` }", f"{counter_id}-b")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{counter_id}-b")
    expect(page.locator("#chart")).to_have_text(text)
    expect(page.locator("#events li")).to_have_text("No clicks yet. Be the first.")


def test_failed_history_is_retried_less_and_less_often(page, open_counter, counter_id):
    """A refresh or a changed value does not repeat the request earlier."""
    refreshes: list[str] = []
    page.on("request", lambda sent: refreshes.append(sent.url) if sent.url.endswith(f"/{counter_id}") else None)
    requested = fail_history(page)
    stop_clock(page)
    open_counter(counter_id)
    expect(page.locator("#chart")).to_have_text("Can’t load this. Trying again.")

    for _ in range(20):
        with page.expect_response(f"**/counters/{counter_id}"):
            page.clock.run_for(300)
            page.evaluate("dispatchEvent(new Event('online'))")  # the page refreshes
    assert len(refreshes) > 20
    assert 2 <= len(requested) <= 6

    page.unroute("**/history?*")
    page.clock.resume()
    expect(get_chart(page)).to_be_visible()


@pytest.mark.parametrize("error_s", [3 * 3600, -15 * 60])
def test_wrong_browser_clock_does_not_change_the_chart(page, open_counter, counter_id, error_s):
    page.clock.install(time=datetime.now(UTC) + timedelta(seconds=error_s))
    open_counter(counter_id)
    expect(get_chart(page)).to_be_visible()

    click_increment(page)
    expect_shown(page, value=1)

    expect_total(page, "+1", "in the last hour")
    assert sorted(get_kinds(page)[-2:]) == ["none", "positive"]


def test_chart_that_starts_yesterday_says_so(new_context, page_url, api_url):
    """Today is the day of the API's clock, in the browser's time zone."""
    page = new_context(timezone_id="Asia/Kolkata").new_page()
    page.clock.set_fixed_time(WRONG_NOW)
    serve_counter(page, api_url)
    page.goto(page_url)
    expect(get_chart(page)).to_have_attribute("aria-label", f"{HOUR}: 0 since 14:31.")

    choose_range(page, "Day")

    expect(get_chart(page, DAY)).to_have_attribute("aria-label", f"{DAY}: 0 since yesterday 16:30.")
    page.get_by_role("slider").focus()
    page.keyboard.press("Home")
    expect(page.locator("#period")).to_have_text("yesterday 16:30–17:30")  # noqa: RUF001  (a range)
    assert page.locator("#times span").all_inner_texts() == ["18:30", "00:30", "06:30", "now"]
