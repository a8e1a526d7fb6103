"""
The page and the badge: clicks are shown as pending, then as counted, even if requests fail in between.

Tests of cross-origin requests and of request numbers have no simulated network.
"""

import base64
import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from chalicelib.extras import badge
from ops import stages
from ops.deployment import site
from ops.local.stack import LocalSystem
from tests.browser.pages import (
    Gate,
    click_fast,
    click_increment,
    configure,
    cut_off,
    expect_shown,
    get_add_button,
    get_value_and_version,
    hide,
    increment_elsewhere,
    open_options,
    reconnect,
    stop_clock,
)


def record_complaints(page: Page) -> list[str]:
    """
    Return a list that collects the page's console messages and errors.

    It ignores the browser's own messages about reports that a stage without SQL does not have.
    """
    complaints: list[str] = []
    page.on(
        "console",
        lambda message: complaints.append(message.text) if "/reports/" not in message.location["url"] else None,
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


def record_pauses(page: Page) -> None:
    """Record on the page how long it pauses between reads of an idle counter; see `expect_pauses`."""
    page.add_init_script(
        """{
            const { setTimeout } = window;
            const pauses = [];
            window.setTimeout = (callback, ms, ...rest) => {
                if (callback.name === "poll" && ms >= 5_000) pauses.push(ms);
                document.documentElement.dataset.pauses = pauses.join(" ");
                return setTimeout(callback, ms, ...rest);
            };
        }"""
    )


def expect_pauses(page: Page, *pauses_ms: int) -> None:
    """Expect exactly these pauses so far; the last one is still running."""
    expect(page.locator("html")).to_have_attribute("data-pauses", " ".join(map(str, pauses_ms)))


def test_click_is_shown_as_pending_and_then_as_counted(page, open_counter, api_url, counter_id):
    open_counter(counter_id)
    reads = Gate(page, f"**/counters/{counter_id}")

    with page.expect_response("**/increments") as answer:
        click_increment(page)

    assert answer.value.status == 202
    expect_shown(page, value=0, pending=1)
    reads.open()
    expect_shown(page, value=1)
    expect(page.locator("#facts")).to_have_text("Updated a moment ago")
    assert get_value_and_version(api_url, counter_id) == (1, 1)


def test_unanswered_increment_is_pending_and_does_not_block_others(page, open_counter, counter_id):
    open_counter(counter_id)
    commands = Gate(page, "**/increments")

    click_increment(page, times=3)

    expect_shown(page, value=0, pending=3)
    commands.open()
    expect_shown(page, value=3)


@pytest.mark.exhaustive
def test_value_and_pending_always_add_up_to_accepted_increments(page, open_counter, counter_id):
    open_counter(counter_id)
    reads = Gate(page, f"**/counters/{counter_id}")
    accepted: list[int] = []
    page.on("response", lambda answer: accepted.append(answer.status) if "/increments" in answer.url else None)
    click_increment(page, times=20)
    while len(accepted) < 20:
        page.wait_for_event("response")
    page.evaluate(
        """() => {
            const shown = (id) => Number(document.getElementById(id).textContent.match(/\\d+/)?.[0] ?? 0);
            window.sums = [];
            new MutationObserver(() => window.sums.push(shown("value") + shown("pending")))
                .observe(document.querySelector("main"), { subtree: true, childList: true, characterData: true });
        }"""
    )

    reads.open()

    expect_shown(page, value=20)
    sums = page.evaluate("window.sums")
    assert sums
    assert set(sums) == {20}


def test_each_click_has_its_own_key(page, open_counter, counter_id):
    keys: set[str | None] = set()
    page.on(
        "request",
        lambda sent: keys.add(sent.header_value("idempotency-key")) if "/increments" in sent.url else None,
    )
    open_counter(counter_id)

    click_increment(page, times=2)

    expect_shown(page, value=2)
    assert [len(base64.b64decode(key or "")) for key in keys] == [16, 16]


@pytest.mark.exhaustive
def test_unreachable_api_is_reported_until_it_answers(page, page_url, api_url, counter_id):
    cut_off(page, api_url)

    page.goto(f"{page_url}#/{counter_id}")

    expect(page.locator("#connection")).to_have_text("Can’t reach the server. Trying again.")
    expect(page.locator("#value")).to_have_text("–")  # noqa: RUF001  (a number that is not known)
    expect(page.locator("#facts")).to_have_text("We’ll show the number when the connection is back.")
    reconnect(page, api_url)
    expect_shown(page, value=0)
    expect(page.locator("#connection")).to_be_empty()


@pytest.mark.exhaustive
@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_or_failing_api_is_retried_no_earlier_than_retry_after(page, open_counter, counter_id, status):
    """The retry has the same key."""
    keys: list[str] = []

    def fail_first(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            headers = {
                "Retry-After": "3600",
                "Access-Control-Allow-Origin": "*",
                "Access-Control-Expose-Headers": "Retry-After",
            }
            route.fulfill(status=status, headers=headers)
        else:
            route.continue_()

    page.clock.install()
    open_counter(counter_id)
    page.route("**/increments", fail_first)

    click_increment(page)

    expect(page.locator("#connection")).to_have_text(
        "Can’t reach the server. 1 click saved; we’ll send it when it’s back."
    )
    page.clock.fast_forward(3_500_000)
    expect_shown(page, value=0, pending=1)
    assert len(keys) == 1
    with page.expect_response("**/increments") as answer:
        page.clock.fast_forward(110_000)
    assert answer.value.status == 202
    expect_shown(page, value=1)
    expect(page.locator("#connection")).to_be_empty()
    assert len(set(keys)) == 1


def test_refused_increment_is_dropped_and_its_reason_shown(page, open_counter, api_url, counter_id):
    """The reason stays until an increment is accepted."""
    keys: list[str] = []

    def spoil_first_key(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if keys[-1] == keys[0]:
            route.continue_(headers={**route.request.headers, "idempotency-key": "k" * 256})
        else:
            route.continue_()

    open_counter(counter_id)
    page.route("**/increments", spoil_first_key)

    click_increment(page)

    expect(page.get_by_role("alert")).to_contain_text("1 to 255 printable ASCII characters")
    expect_shown(page, value=0)
    click_increment(page)
    expect_shown(page, value=1)
    expect(page.get_by_role("alert")).to_be_empty()
    assert len(set(keys)) == 2
    assert get_value_and_version(api_url, counter_id) == (1, 1)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("status", "problem_type"), [(403, "counter-closed"), (403, "forbidden"), (401, "unauthorized")]
)
def test_increment_not_permitted_is_dropped_and_its_reason_shown(page, open_counter, counter_id, status, problem_type):
    problem = {"type": f"urn:counter:problem:{problem_type}", "status": status, "detail": "Not permitted here."}
    headers = {"Access-Control-Allow-Origin": "*"}
    sent: list[str] = []

    def refuse(route: Route) -> None:
        sent.append(route.request.url)
        route.fulfill(status=status, json=problem, headers=headers)

    open_counter(counter_id)
    page.route("**/increments", refuse)

    click_increment(page)

    expect(page.get_by_role("alert")).to_contain_text("Not permitted here.")
    expect_shown(page, value=0)
    assert len(sent) == 1


def test_address_selects_the_counter(page, open_counter, counter_id):
    open_counter(counter_id)
    click_increment(page)
    expect_shown(page, value=1)
    other = f"{counter_id}-other"

    page.evaluate("id => { location.hash = `#/${id}` }", other)

    expect(page.get_by_role("heading", level=1)).to_have_text(other)
    expect_shown(page, value=0)
    click_increment(page, times=2)
    expect_shown(page, value=2)
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text(counter_id)
    expect_shown(page, value=1)


@pytest.mark.exhaustive
def test_pending_clicks_are_sent_while_another_counter_is_shown(page, open_counter, counter_id):
    open_counter(counter_id)
    commands = Gate(page, "**/increments")
    click_increment(page)
    expect_shown(page, value=0, pending=1)

    page.evaluate("id => { location.hash = `#/${id}` }", f"{counter_id}-other")
    expect_shown(page, value=0)
    commands.open()
    page.go_back()

    expect_shown(page, value=1)


@pytest.mark.sample(1)
@pytest.mark.parametrize("address", ["#/not%20an%20id", "#/%20", "#/" + "x" * 65, "#/%"])
def test_address_with_an_invalid_counter_id_is_reported(page, page_url, address):
    page.goto(page_url + address)

    if address == "#/%20":
        expect(page.get_by_role("heading", level=1)).to_have_text("clicks")
        expect(page.get_by_role("alert")).to_be_empty()
    else:
        name = address.removeprefix("#/").replace("%20", " ")
        expect(page.get_by_role("alert")).to_contain_text(f"“{name}” isn’t a valid name")
        expect(get_add_button(page)).to_be_disabled()


@pytest.mark.exhaustive
def test_ten_clicks_on_an_api_of_another_origin_need_one_preflight(new_context, page_url, api_url, counter_id):
    page = new_context(service_workers="allow").new_page()
    complaints = record_complaints(page)
    preflights: list[tuple[str, int]] = []
    devtools = page.context.new_cdp_session(page)

    def record_preflight(received: dict[str, Any]) -> None:
        if received["type"] == "Preflight":
            preflights.append((received["response"]["url"], received["response"]["status"]))

    devtools.on("Network.responseReceived", record_preflight)
    devtools.send("Network.enable")

    page.goto(f"{page_url}#/{counter_id}")
    expect_shown(page, value=0)
    expect(page.get_by_role("img", name="Badge")).to_be_visible()
    click_increment(page, times=5)
    click_fast(page, times=5)
    expect_shown(page, value=10)

    assert not api_url.startswith(page_url)
    assert preflights == [(f"{api_url}/counters/{counter_id}/increments", 200)]
    assert complaints == []


@pytest.mark.exhaustive
def test_idle_counter_is_polled_less_and_less_often_with_304(page, page_url, api_url, counter_id):
    counter = f"{api_url}/counters/{counter_id}"
    addresses = (counter, f"{counter}/cached")
    sent: dict[str, str] = {}
    devtools = page.context.new_cdp_session(page)
    devtools.on("Network.requestWillBeSent", lambda it: sent.update({it["requestId"]: it["request"]["url"]}))
    asked_with: dict[str, str | None] = {}
    devtools.on(
        "Network.requestWillBeSentExtraInfo",
        lambda it: asked_with.update({it["requestId"]: it["headers"].get("If-None-Match")}),
    )

    # The browser may report a response before its request.
    received: list[tuple[str, int]] = []
    devtools.on("Network.responseReceivedExtraInfo", lambda it: received.append((it["requestId"], it["statusCode"])))
    devtools.send("Network.enable")
    stop_clock(page)
    record_pauses(page)
    page.goto(f"{page_url}#/{counter_id}")

    pauses_ms = (5_000, 7_500, 11_250, 16_875)
    for number, pause_ms in enumerate(pauses_ms, start=1):
        expect_pauses(page, *pauses_ms[:number])
        page.clock.run_for(pause_ms)
    expect(page.locator("html")).to_have_attribute("data-pauses", re.compile(r"16875 25312"))

    statuses = [(sent[each], asked_with[each], status) for each, status in received if sent.get(each) in addresses]
    assert statuses == [*((each, None, 200) for each in addresses), *[(addresses[1], '"0"', 304)] * 3]
    expect_shown(page, value=0)


@pytest.mark.exhaustive
def test_rounded_value_is_marked_as_approximate(page, page_url, counter_id):
    body = f'{{"counter_id": "{counter_id}", "value": 9007199254740993, "version": 2, "updated_at": null}}'
    headers = {"Access-Control-Allow-Origin": "*"}
    page.route(f"**/counters/{counter_id}", lambda route: route.fulfill(body=body, headers=headers))

    page.goto(f"{page_url}#/{counter_id}")

    expect(page.locator("#value")).to_have_text("≈9,007,199,254,740,992")


@pytest.mark.exhaustive
def test_idle_counter_is_polled_often_again_after_a_click(page, open_counter, counter_id):
    stop_clock(page)
    record_pauses(page)
    open_counter(counter_id)
    expect_pauses(page, 5_000)
    page.clock.run_for(5_000)
    expect_pauses(page, 5_000, 7_500)

    click_increment(page)
    expect(page.locator("#dots i.recorded")).to_have_count(1)
    page.clock.resume()

    expect_shown(page, value=1)
    expect(page.locator("html")).to_have_attribute("data-pauses", re.compile(r"^5000 7500 5000\b"))


@pytest.mark.exhaustive
def test_increments_of_other_clients_are_shown_without_a_click(page, open_counter, api_url, counter_id):
    stop_clock(page)
    record_pauses(page)
    open_counter(counter_id)
    expect_pauses(page, 5_000)

    increment_elsewhere(api_url, counter_id)
    page.clock.run_for(5_000)

    expect_shown(page, value=1)


@pytest.mark.exhaustive
def test_hidden_page_sends_no_requests_until_it_is_visible(page, open_counter, api_url, counter_id):
    page.clock.install()
    open_counter(counter_id)
    expect(page.locator("#events li")).to_have_text("No clicks yet. Be the first.")
    hide(page, is_hidden=True)
    requested: list[str] = []
    # The page's own files may still be on their way into its cache.
    page.on("request", lambda sent: requested.append(sent.url) if sent.url.startswith(api_url) else None)

    page.clock.run_for(60_000)

    assert requested == []
    with page.expect_response(f"**/counters/{counter_id}"):
        hide(page, is_hidden=False)


@pytest.mark.exhaustive
def test_page_without_https_counts_and_says_what_is_limited(page, page_url, api_url, counter_id):
    """On another host than this machine, browsers disable many functions of such a page."""
    address = "http://page.example/"
    page.route(
        f"{address}**",
        lambda route: route.fulfill(response=route.fetch(url=page_url + route.request.url.removeprefix(address))),
    )
    page.route(f"{api_url}/**", lambda route: route.fulfill(response=route.fetch()))

    page.goto(f"{address}#/{counter_id}")

    expect_shown(page, value=0)
    assert page.evaluate("[isSecureContext, typeof crypto.randomUUID]") == [False, "undefined"]
    expect(page.get_by_text("This page isn’t served over HTTPS")).to_be_visible()
    click_increment(page)
    expect_shown(page, value=1)
    open_options(page)
    page.get_by_role("button", name="Add only if still 1").click()
    expect(page.locator("#swapped")).to_have_text("Added: 1 → 2")
    stop_clock(page)
    page.get_by_role("button", name="Copy: Link").click()
    expect(page.get_by_role("button", name="Copy: Link")).to_have_text("Copied")
    assert get_value_and_version(api_url, counter_id) == (2, 2)


@pytest.mark.sample(1)
@pytest.mark.parametrize("config", ["{}", "no JSON", '{"api_url": ""}'])
def test_page_without_an_api_address_shows_the_way_out(page, page_url, config):
    configure(page, config)

    page.goto(page_url)

    expect(page.get_by_role("alert")).to_contain_text("make run")
    expect(get_add_button(page)).to_be_disabled()


def test_page_without_javascript_links_to_the_api(new_context, page_url, api_url):
    page = new_context(java_script_enabled=False).new_page()

    page.goto(page_url)

    expect(page.locator("noscript p")).to_contain_text("needs JavaScript", use_inner_text=True)
    expect(page.locator("noscript a")).to_have_attribute("href", f"{api_url}/")
    expect(page.locator("noscript a")).to_be_visible()
    expect(page.get_by_role("button")).to_have_count(0)


@pytest.fixture(scope="module")
def site_url(place: LocalSystem, api_url: str) -> str:
    """Return the address of the page that `ops site` published, on another origin than the API."""
    done = site.publish(stages.read_settings("local"), stages.PROJECT / "web", api_url, dry_run=False)
    return f"http://localhost:{place.aws_port}/{done.facts['bucket']}/index.html"


def origin(url: str) -> str:
    return "/".join(url.split("/")[:3])


@pytest.mark.exhaustive
def test_page_requests_only_its_bucket_and_the_api(new_context, site_url, api_url, counter_id):
    page = new_context(service_workers="allow").new_page()
    complaints = record_complaints(page)
    requested: set[str] = set()
    page.on("request", lambda sent: requested.add(origin(sent.url)))

    page.goto(f"{site_url}#/{counter_id}")
    expect_shown(page, value=0)
    click_increment(page, times=2)

    expect_shown(page, value=2)
    expect(page.get_by_role("img", name="Badge")).to_be_visible()
    assert get_value_and_version(api_url, counter_id) == (2, 2)
    assert origin(site_url) != origin(api_url)
    assert requested == {origin(site_url), origin(api_url)}
    assert complaints == []


@pytest.mark.exhaustive
def test_published_page_connects_only_to_its_origin_and_the_api(page, site_url, page_url, api_url):
    page.goto(site_url)
    expect(get_add_button(page)).to_be_enabled()

    blocked = page.evaluate(
        """async urls => {
            const blocked = [];
            document.addEventListener("securitypolicyviolation",
                event => blocked.push([event.effectiveDirective, event.blockedURI]));
            for (const url of urls) await fetch(url).catch(() => null);
            return blocked;
        }""",
        [page_url, "https://third.example/", f"{api_url}/"],
    )

    assert blocked == [["connect-src", page_url], ["connect-src", "https://third.example/"]]


@pytest.mark.exhaustive
def test_error_page_loads_nothing_and_links_to_the_page(page, site_url):
    requested: list[str] = []
    page.on("request", lambda sent: requested.append(sent.url))
    error_url = site_url.replace("index.html", "error.html")

    page.goto(error_url)

    expect(page.get_by_role("link")).to_have_attribute("href", "/")
    # The policy permits the page's own style by its hash.
    assert page.locator("body").evaluate("body => getComputedStyle(body).display") == "grid"
    assert requested == [error_url]


@pytest.mark.sample(1)
@pytest.mark.parametrize("style", badge.STYLES)
def test_badge_is_an_image_on_pages_of_any_origin(page, api_url, counter_id, style):
    page.set_content(f'<img src="{api_url}/counters/{counter_id}/badge.svg?style={style}" alt="counter">')

    page.wait_for_function("document.images[0].complete")

    size = page.evaluate("[document.images[0].naturalWidth > 20, document.images[0].naturalHeight]")
    assert size == [True, badge.STYLES[style].height]


@pytest.mark.exhaustive
def test_badge_opened_alone_is_shown_and_has_a_name(page, api_url, counter_id):
    page.goto(f"{api_url}/counters/{counter_id}/badge.svg?label=visits")

    expect(page.get_by_role("img", name="visits: 0")).to_be_visible()
