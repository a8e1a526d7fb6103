"""Send requests through API Gateway: preflight requests, errors, caching and links."""

import httpx
import pytest

import app
from tests.e2e.conftest import eventually

#: A constant, because parametrized tests must have the same ids in every worker process.
UNKNOWN_EVENT = "0197a9d4-6f0e-7c3a-9d51-2b8e6f3c7a10"

ORIGIN = {"Origin": "https://page.example"}
EXPOSED_HEADERS = {"ETag", "Location", "Idempotency-Replayed", "Preference-Applied", "Retry-After", "Link", "Date"}
ALLOWED_HEADERS = {"Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Prefer"}


def parse_list(response, header):
    return {name.strip() for name in response.headers[header].split(",")}


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (path.format(counter_id="a", event_id=UNKNOWN_EVENT, name="daily"), method)
        for path, methods in app.app.routes.items()
        for method in methods
    ],
)
def test_preflight_allows_method_and_headers(client, path, method):
    response = client.http.options(path, headers={**ORIGIN, "Access-Control-Request-Method": method})

    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert method in parse_list(response, "Access-Control-Allow-Methods")
    assert parse_list(response, "Access-Control-Allow-Headers") >= ALLOWED_HEADERS


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/counters"), ("GET", "/counters/a"), ("GET", "/counters/a%20b"), ("POST", "/counters/a")],
)
def test_every_response_is_readable_from_another_origin(client, method, path):
    response = client.http.request(method, path, headers=ORIGIN)

    assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("path", ["/counters/a", "/counters/a%20b", "/nothing"])
def test_gateway_errors_expose_the_headers_that_the_page_needs(client, path):
    assert parse_list(client.http.get(path, headers=ORIGIN), "Access-Control-Expose-Headers") == EXPOSED_HEADERS


@pytest.mark.parametrize(
    ("method", "path", "parts", "status"),
    [
        ("GET", "/nothing", {}, 404),
        ("GET", "/counters/%FF", {}, 400),
        ("GET", "/counters/%2561", {}, 400),
        ("DELETE", "/counters/a", {}, 405),
        ("GET", "/counters/a%20b", {}, 400),
        ("GET", f"/counters/{'x' * 65}", {}, 400),
        ("GET", "/counters/a/events/7", {}, 400),
        ("GET", f"/counters/a/events/{UNKNOWN_EVENT}", {}, 404),
        ("GET", "/counters?limit=0", {}, 400),
        ("GET", "/counters?limit=1&limit=2", {}, 400),
        ("GET", "/counters?cursor=nonsense", {}, 400),
        ("GET", "/counters/a/events?limit=101", {}, 400),
        ("GET", "/counters/a/events?cursor=nonsense", {}, 400),
        ("GET", "/counters/a%20b/events", {}, 400),
        ("GET", "/counters/a/history?from=today", {}, 400),
        ("GET", "/counters/a/history?from=2023-11-14T22:13:20+01:00", {}, 400),
        ("GET", "/counters/a/history?resolution=hour&resolution=day", {}, 400),
        ("GET", "/counters/a/history?from=1970-01-01T00:00:00Z", {}, 400),
        ("GET", "/counters/a%20b/history", {}, 400),
        ("GET", "/counters/a%20b/badge.svg", {}, 400),
        ("GET", "/counters/a/badge.svg?color=%234c1", {}, 400),
        ("GET", "/counters/a/badge.svg?colour=red", {}, 400),
        ("GET", "/counters/a/badge.svg?label=a%0Ab", {}, 400),
        ("GET", "/counters/a/badge.svg?style=flat&style=plastic", {}, 400),
        ("GET", "/reports/yearly", {}, 404),
        ("GET", "/reports/daily/more", {}, 404),
        ("POST", "/reports/daily", {}, 405),
        ("GET", "/reports/daily?limit=101", {}, 400),
        ("GET", "/reports/daily?cursor=nonsense", {}, 400),
        ("GET", "/reports/daily?format=xml", {}, 400),
        ("GET", "/reports/daily?counter_id=a%27%3B%20DROP%20TABLE%20events%3B--", {}, 400),
        ("GET", "/reports/daily?from=2026-11-27&to=2026-11-26", {}, 400),
        ("GET", "/reports/top_counters?from=2026-11-27", {}, 400),
        ("GET", "/reports/running_totals", {}, 400),
        ("POST", "/counters/a/history", {}, 405),
        ("POST", "/counters/a/adjustments", {"json": {"by": -1, "reason": "none"}}, 404),
        ("POST", "/counters/a/increments", {"json": {"by": -1}}, 400),
        ("POST", "/counters/a/increments", {"json": {}}, 400),
        ("POST", "/counters/a/increments", {"json": {"by": 0}}, 400),
        ("POST", "/counters/a/increments", {"json": {"by": 1001}}, 400),
        ("POST", "/counters/a/increments", {"json": {"by": 1.5}}, 400),
        ("POST", "/counters/a/increments", {"json": {"by": True}}, 400),
        ("POST", "/counters/a/increments", {"json": {"by": 1, "colour": "red"}}, 400),
        ("POST", "/counters/a/increments", {"content": "by=1"}, 415),
        ("POST", "/counters/a/increments", {"data": {"by": "1"}}, 415),
        ("POST", "/counters/a/increments", {"content": "x" * 1025}, 413),
        ("POST", "/counters/a/increments", {"headers": {"If-Match": "*"}}, 400),
        ("POST", "/counters/a/increments", {"headers": {"If-Match": 'W/"0"'}}, 400),
        ("POST", "/counters/a/increments", {"headers": {"If-Match": '"99"'}}, 412),
        ("POST", "/counters/a/increments", {"headers": {"Idempotency-Key": "x" * 256}}, 400),
    ],
)
def test_every_error_is_a_problem_document(client, method, path, parts, status):
    response = client.http.request(method, path, **parts)

    problem = response.json()
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")
    assert problem["status"] == status
    assert {"type", "title", "detail"} <= set(problem)
    assert response.text.endswith("}\n")


def test_encoded_slash_does_not_lead_to_another_counter(client):
    """The slash is part of the counter's name. An HTTP API decodes the slash, so that the path is unknown."""
    response = client.http.get("/counters/a%2Fb")

    assert (response.status_code, response.json()["status"]) in ((400, 400), (404, 404))


def test_body_not_in_utf_8_is_malformed(client):
    response = client.http.post(
        "/counters/a/increments", content=b'{"by": "\xff\xfe"}', headers={"Content-Type": "application/json"}
    )

    assert response.status_code == 400


def test_unchanged_counter_is_304(client, counter_id):
    client.increment(counter_id, 1, If_Match='"0"')

    first = client.http.get(f"/counters/{counter_id}")
    second = client.http.get(f"/counters/{counter_id}", headers={"If-None-Match": first.headers["ETag"]})

    assert (second.status_code, second.content) == (304, b"")


def test_cached_counter_may_be_kept_by_a_cdn_for_a_second(client, counter_id):
    client.increment(counter_id, 3, If_Match='"0"')

    counter = client.http.get(f"/counters/{counter_id}")
    cached = client.http.get(f"/counters/{counter_id}/cached")
    again = client.http.get(str(cached.request.url), headers={"If-None-Match": counter.headers["ETag"]})
    head = client.http.head(str(cached.request.url))

    policy = "public, max-age=0, s-maxage=1"
    assert (cached.json(), cached.headers["ETag"]) == (counter.json(), counter.headers["ETag"])
    assert [each.headers["Cache-Control"] for each in (counter, cached, again, head)] == ["no-cache", *[policy] * 3]
    assert (again.status_code, again.content, head.status_code, head.content) == (304, b"", 200, b"")
    assert head.headers["ETag"] == cached.headers["ETag"]


def test_refused_read_is_not_cached(client):
    refused = client.http.get("/counters/a%20b/cached")

    assert (refused.status_code, refused.headers["Cache-Control"]) == (400, "no-store")


def test_badge_shows_the_value_and_is_cacheable_for_a_minute(client, counter_id):
    client.increment(counter_id, 1000, If_Match='"0"')

    first = client.http.get(f"/counters/{counter_id}/badge.svg", params={"label": "räder & co"})
    again = client.http.get(str(first.request.url), headers={"If-None-Match": first.headers["ETag"]})

    assert (first.status_code, first.headers["Content-Type"]) == (200, "image/svg+xml")
    assert first.headers["Cache-Control"] == again.headers["Cache-Control"] == "public, max-age=60"
    assert "<title>räder &amp; co: 1,000</title>" in first.content.decode()
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("address", ["a/badge.svg?style=flashy", "a%20b/badge.svg", "a/badge.svg?colour=red"])
def test_invalid_badge_is_shown_as_a_badge_where_an_image_is_wanted(client, address):
    """An `<img>` would show a problem document as a broken picture."""
    response = client.http.get(f"/counters/{address}", headers={"Accept": "image/avif,image/webp,image/*,*/*;q=0.8"})

    assert (response.status_code, response.headers["Content-Type"]) == (200, "image/svg+xml")
    assert "<title>invalid badge: " in response.text
    assert response.headers["Vary"] == "Accept"


def test_badge_of_a_counter_never_incremented_is_0(client, counter_id):
    assert ">0</text>" in client.http.get(f"/counters/{counter_id}/badge.svg").raise_for_status().text


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (path, method)
        for path, methods in app.app.routes.items()
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE")
        if method not in methods
    ],
)
def test_method_that_a_path_lacks_is_405_with_the_allowed_methods(client, path, method):
    response = client.http.request(method, path.format(counter_id="a", event_id=UNKNOWN_EVENT, name="daily"))

    assert response.status_code == 405
    assert parse_list(response, "Allow") == {*app.app.routes[path], "OPTIONS"}


@pytest.mark.parametrize("path", [path for path, methods in app.app.routes.items() if "GET" in methods])
def test_head_has_the_headers_of_get_and_no_body(client, path):
    address = path.format(counter_id="a", event_id=UNKNOWN_EVENT, name="daily")

    exchanges = []

    def is_unchanged():
        """Check that the GETs before and after the HEAD agree. Events of earlier tests may be counted in between."""
        exchanges.append([client.http.request(method, address) for method in ("GET", "HEAD", "GET")])
        before, _, after = exchanges[-1]
        return before.content == after.content

    eventually(is_unchanged)
    get, head, _ = exchanges[-1]
    varying = {"date", "apigw-requestid", "x-amz-apigw-id", "x-amz-request-id", "x-amzn-request-id", "x-amzn-requestid"}
    varying |= {"x-amzn-trace-id"}
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert dict(head.headers.items() - get.headers.items()).keys() <= varying
    assert head.headers.keys() == get.headers.keys()


@pytest.mark.parametrize("version", ['"0"', 'W/"0"'])
def test_head_of_an_unchanged_counter_is_304(client, counter_id, version):
    assert client.http.head(f"/counters/{counter_id}", headers={"If-None-Match": version}).status_code == 304


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_counter_id_is_the_same_encoded_or_not(client, counter_id, method):
    client.increment(f"{counter_id}~", 3, If_Match='"0"')

    encoded = "".join(f"%{ord(character):02x}" for character in f"{counter_id}~")
    paths = (encoded, f"{counter_id}%7E", f"{counter_id}~")
    answers = [client.http.request(method, f"/counters/{path}") for path in paths]

    assert [answer.headers["ETag"] for answer in answers] == ['"1"'] * 3


@pytest.mark.parametrize("slash", ["", "/"])
def test_location_of_an_accepted_event_is_the_event(client, counter_id, slash):
    accepted = client.http.post(f"/counters/{counter_id}/increments{slash}", json={"by": 2})

    event = client.http.get(str(httpx.URL(str(accepted.request.url)).join(accepted.headers["Location"])))

    assert event.json()["event_id"] == accepted.json()["event_id"]


@pytest.mark.parametrize("name", ["a", "A-z.0_9~", "x" * 64])
def test_counter_id_of_any_valid_form_is_accepted(client, name):
    assert client.counter(name)["counter_id"] == name
