"""Parsing requests and rendering responses and problem documents."""

import base64
from urllib.parse import urljoin

import pytest
from chalice.app import Request, Response
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.api import problems, requests, responses
from chalicelib.command_handlers import Accepted
from chalicelib.domain.commands import Increment
from chalicelib.domain.counter import Counter
from chalicelib.domain.events import LATEST_MS, IncrementedByCaller
from chalicelib.domain.history import EventPage, EventPosition, Point, Span
from chalicelib.errors import (
    BodyTooLargeError,
    InvalidRequestError,
    LogUnavailableError,
    RangeTooLongError,
    UnsupportedMediaTypeError,
)
from testkit.builders import an_adjustment, an_event, an_event_by_caller, api_event

JSON = {"Content-Type": "application/json"}


def received(event):
    return requests.parse_request(Request(event))


def request(*, headers=None, body=None, query=None):
    return received(api_event("POST", "/", headers=headers, body=body, query=query))


def command(**parts):
    return requests.parse_command(Increment, "clicks", request(**parts), max_by=1000)


def test_missing_body_means_one():
    assert command() == Increment("clicks", by=1)


def test_body_sets_the_amount():
    assert command(body={"by": 1000}).by == 1000


def test_body_with_charset_and_spaces_is_accepted():
    assert command(body=' { "by" : 2 } ', headers={"content-type": "Application/JSON; charset=UTF-8"}).by == 2


def test_body_in_base64_is_decoded():
    event = api_event("POST", "/", headers=JSON, body=base64.b64encode(b'{"by": 5}').decode())
    event["isBase64Encoded"] = True

    assert requests.parse_command(Increment, "clicks", received(event), max_by=1000).by == 5


def test_headers_set_key_version_and_preference():
    increment = command(headers={"idempotency-key": "k 1", "if-match": '"16"', "prefer": "return=representation"})

    assert increment == Increment("clicks", by=1, idempotency_key="k 1", at_version=16, count_at_once=True)


CALLERS = [
    ({}, None),
    ({"identity": {"apiKeyId": None, "userArn": None, "apiKey": "secret"}, "authorizer": None}, None),
    ({"identity": {"apiKeyId": "8x2k1"}}, "api-key 8x2k1"),
    ({"identity": {"userArn": "arn:aws:iam::1:user/ann"}}, "iam arn:aws:iam::1:user/ann"),
    ({"authorizer": {"principalId": "ann"}}, "jwt ann"),
    ({"authorizer": {"principalId": "ann"}, "identity": {"apiKeyId": "8x2k1"}}, "jwt ann"),
    ({"authorizer": {"principalId": " "}}, "jwt  "),
    ({"authorizer": {"principalId": 'a"\\\n\u202e\ud800é\x7f'}}, r"jwt a\"\\\n\u202e\ud800\u00e9\u007f"),
    ({"authorizer": {"principalId": "a" * 296}}, f"jwt {'a' * 296}"),
    ({"authorizer": {"principalId": f"{'a' * 200}{'b' * 200}"}}, f"jwt {'a' * 143}...{'b' * 150}"),
]


@pytest.mark.parametrize(("context", "caller"), CALLERS)
def test_caller_is_the_identity_that_the_gateway_authenticated(context, caller):
    event = api_event("POST", "/", context=context)

    increment = requests.parse_command(Increment, "clicks", received(event), max_by=1000)

    assert increment.who == caller
    assert caller is None or IncrementedByCaller.rules["who"].accepts(caller)


@given(st.text(min_size=1, max_size=500))
def test_caller_with_any_subject_can_be_recorded(subject):
    caller = received(api_event("POST", "/", context={"authorizer": {"principalId": subject}})).caller

    assert IncrementedByCaller.rules["who"].accepts(caller)


def test_no_header_sets_the_caller():
    names = ["x-api-key", "authorization", "x-amzn-principal-id", "principalid", "apikeyid", "userarn", "who", "caller"]

    assert command(headers=dict.fromkeys(names, "ann")) == Increment("clicks")


@pytest.mark.parametrize("body", ["!!!", "e30", "ä"])
def test_body_with_invalid_base64_is_malformed(body):
    event = api_event("POST", "/", headers=JSON, body=body)
    event["isBase64Encoded"] = True

    with pytest.raises(InvalidRequestError):
        received(event)


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '{"by":0}',
        '{"by":-1}',
        '{"by":1001}',
        '{"by":1.0}',
        '{"by":1e2}',
        '{"by":"1"}',
        '{"by":true}',
        '{"by":null}',
        '{"by":[1]}',
        '{"by":NaN}',
        '{"by":Infinity}',
        '{"by":1,"by":1}',
        '{"by":1,"to":"x"}',
        '{"BY":1}',
        "[]",
        "[1]",
        "1",
        "null",
        '"by"',
        "by=1",
        "{",
        " ",
        "\ufeff{}",
        '{"by":' + "9" * 900 + "}",
        "[" * 1000,
    ],
)
def test_body_of_any_other_form_is_malformed(body):
    with pytest.raises(InvalidRequestError, match="integer from 1 to 1000"):
        command(body=body, headers=JSON)


def test_body_over_a_kibibyte_is_too_large():
    with pytest.raises(BodyTooLargeError, match="1025"):
        command(body=" " * 1025, headers={"Content-Type": "text/plain"})


def test_body_size_is_measured_in_bytes():
    with pytest.raises(BodyTooLargeError):
        command(body="ä" * 513, headers=JSON)


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/jsonp", "", "application/json; charset=latin-1", "*/*"]
)
def test_body_of_another_media_type_is_unsupported(media_type):
    with pytest.raises(UnsupportedMediaTypeError, match="application/json"):
        command(body='{"by":1}', headers={"Content-Type": media_type})


def test_body_without_media_type_is_unsupported():
    with pytest.raises(UnsupportedMediaTypeError):
        command(body='{"by":1}')


def test_quotes_of_an_idempotency_key_belong_to_it():
    """A key never expires, so its meaning never changes: `"k1"` stays another key than `k1`."""
    assert command(headers={"Idempotency-Key": '"k1"'}).idempotency_key == '"k1"'


@pytest.mark.parametrize("key", ["", "x" * 256, "käse", "a\tb", "\x7f"])
def test_idempotency_key_is_1_to_255_printable_ascii_characters(key):
    with pytest.raises(InvalidRequestError, match="1 to 255 printable ASCII"):
        command(headers={"Idempotency-Key": key})


@pytest.mark.parametrize(
    "tag", ["*", "16", 'W/"16"', '"16", "17"', '"016"', '"-1"', '"a"', "", '""', '"' + "9" * 40 + '"']
)
def test_if_match_other_than_one_version_is_malformed(tag):
    """The advice also works behind a proxy that makes every `ETag` weak."""
    with pytest.raises(InvalidRequestError, match=r'in double quotes, such as "16": the `version` of the counter\.'):
        command(headers={"If-Match": tag})


@pytest.mark.parametrize("name", ["Idempotency-Key", "If-Match", "Content-Type"])
def test_repeated_header_is_malformed(name):
    event = api_event("POST", "/", body='{"by":1}', headers=JSON)
    event["multiValueHeaders"][name] = ['"1"', '"2"']

    with pytest.raises(InvalidRequestError, match="at most once"):
        requests.parse_command(Increment, "clicks", received(event), max_by=1000)


@pytest.mark.parametrize("name", ["Idempotency-Key", "If-Match", "Content-Type"])
def test_repeated_header_in_another_case_is_malformed(name):
    event = api_event("POST", "/", body='{"by":1}', headers=JSON)
    event["multiValueHeaders"] |= {name: ['"1"'], name.upper(): ['"1"']}

    with pytest.raises(InvalidRequestError, match="at most once"):
        requests.parse_command(Increment, "clicks", received(event), max_by=1000)


def test_body_nested_too_deeply_is_malformed():
    with pytest.raises(InvalidRequestError, match=r"nested too deeply\.$"):
        command(body="[" * 1000, headers=JSON)


@pytest.mark.parametrize(
    ("prefer", "wanted"),
    [
        ("return=representation", True),
        ('Return = "representation"', True),
        ("respond-async, return=representation; foo=bar", True),
        ("return=minimal", False),
        ("return=minimal, return=representation", False),
        ("return=representation, return=minimal", True),
        ("representation", False),
        ("", False),
    ],
)
def test_prefer_is_honored_or_ignored(prefer, wanted):
    assert command(headers={"Prefer": prefer}).count_at_once is wanted


@pytest.mark.parametrize("text", ["", "a b", "x" * 65, "ä", "a#1"])
def test_invalid_counter_id_is_malformed(text):
    with pytest.raises(InvalidRequestError, match="1 to 64 characters"):
        requests.parse_counter_id(text)


@pytest.mark.parametrize(
    "text", ["", "1", "01890a5dac96774bbcceb302099a8057", "{01890a5d-ac96-774b-bcce-b302099a8057}"]
)
def test_invalid_event_id_is_malformed(text):
    with pytest.raises(InvalidRequestError, match="UUID"):
        requests.parse_event_id(text)


@pytest.mark.parametrize(
    "address",
    [
        "/api/counters/a/increments",
        "/api/counters/a/increments/",
        "/api/counters/%61/increments",
        "/counters/a/increments",
        "/v1/base/counters/a/increments/",
    ],
)
def test_location_resolves_from_every_address(address):
    """With a custom domain, the API has another base path."""
    event = an_event(counter_id="a")
    sent = received(api_event("POST", "/counters/{counter_id}/increments", address=address))

    response = responses.render_accepted(sent, Increment("a"), Accepted(event, None, is_retry=False))

    base = address.partition("/counters")[0]
    found = urljoin(f"https://host{address}", str(response.headers["Location"]))
    assert found == f"https://host{base}/counters/a/events/{event.event_id}"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("image/avif,image/webp,image/*,*/*;q=0.8", True),
        ("Image/SVG+xml", True),
        ("*/*", False),
        ("text/html,application/xhtml+xml,image/avif,*/*;q=0.8", False),
        ("application/json", False),
        (None, False),
    ],
)
def test_image_is_preferred_if_it_comes_first(accept, wanted):
    assert requests.prefers_image(request(headers={"Accept": accept} if accept else {})) is wanted


def test_event_id_in_upper_case_is_accepted():
    assert requests.parse_event_id("01890A5D-AC96-774B-BCCE-B302099A8057") == "01890a5d-ac96-774b-bcce-b302099a8057"


def test_counters_page_defaults_to_the_first_50():
    assert requests.parse_counters_page(request()) == (50, None)
    assert requests.parse_counters_page(request(query={"limit": ["100"]})) == (100, None)


@pytest.mark.parametrize("limit", ["0", "101", "-1", "1.0", "ten", "", "1000000000000000000000"])
def test_limit_outside_1_to_100_is_malformed(limit):
    with pytest.raises(InvalidRequestError, match="from 1 to 100"):
        requests.parse_counters_page(request(query={"limit": [limit]}))


@pytest.mark.parametrize("cursor", ["", "x", "!", "ä", base64.b64encode(b"2 clicks").decode(), "MSBhIGI"])
def test_counters_cursor_that_was_not_issued_is_malformed(cursor):
    with pytest.raises(InvalidRequestError, match="next_cursor"):
        requests.parse_counters_page(request(query={"cursor": [cursor]}))


def test_events_page_defaults_to_the_newest_50():
    event = an_event(recorded_at_ms=1_700_000_000_007)
    page = EventPage([event], EventPosition(event.recorded_at_ms, event.event_id))
    cursor = responses.render_events(page).body["next_cursor"]

    assert requests.parse_events_page(request()) == (50, None)
    assert requests.parse_events_page(request(query={"limit": ["7"], "cursor": [cursor]})) == (
        7,
        EventPosition(1_700_000_000_007, event.event_id),
    )


AN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 clicks",
        f"2 5 {AN_ID}",
        f"1 {AN_ID}",
        "1 5",
        "1 5 " + "-" * 36,
        f"1 05 {AN_ID}",
        f"1 -5 {AN_ID}",
        f"1 5 {AN_ID.upper()}",
        f"1 5 {AN_ID} ",
        f"1 {LATEST_MS + 1} {AN_ID}",
    ],
)
def test_events_cursor_that_was_not_issued_is_malformed(text):
    cursor = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    with pytest.raises(InvalidRequestError, match="next_cursor"):
        requests.parse_events_page(request(query={"cursor": [cursor]}))


def test_events_cursor_for_counters_is_malformed():
    cursor = base64.urlsafe_b64encode(f"1 5 {AN_ID}".encode()).decode().rstrip("=")

    with pytest.raises(InvalidRequestError, match="next_cursor"):
        requests.parse_counters_page(request(query={"cursor": [cursor]}))


def test_event_body_of_an_increment_never_shows_the_caller():
    anonymous, by_caller = an_event(event_id=AN_ID, by=2), an_event_by_caller(event_id=AN_ID, by=2)

    for render in (
        lambda event: responses.render_events(EventPage([event], None)),
        lambda event: responses.render_event(event, counted=True),
        lambda event: responses.render_accepted(request(), Increment("a"), Accepted(event, None, is_retry=False)),
    ):
        assert render(by_caller).body == render(anonymous).body


def test_event_body_has_type_and_reason_but_not_the_operator():
    increment, adjustment = an_event(by=2), an_adjustment(by=-3, reason="a test", who="ann")

    first, second = responses.render_events(EventPage([increment, adjustment], None)).body["events"]

    assert set(first) == {"counter_id", "event_id", "by", "recorded_at", "type"}
    assert (first["type"], first["by"]) == ("Incremented", 2)
    assert set(second) == {*first, "reason"}
    assert (second["type"], second["by"], second["reason"]) == ("Adjusted", -3, "a test")
    assert responses.render_event(adjustment, counted=True).body == {**second, "status": "counted"}


@pytest.mark.parametrize(
    ("body", "text"), [({"a": 1}, '{"a":1}\n'), ("text", "text\n"), ("line\r\n", "line\r\n"), ("", "")]
)
def test_body_ends_with_one_newline_unless_empty(body, text):
    assert responses.end_line(Response(body)).body == text


NOW_S = 1_700_000_000.5  # 2023-11-14T22:13:20.5Z


def span(**query):
    asked = {name.rstrip("_"): [value] for name, value in query.items()}
    return requests.parse_history_span(request(query=asked), NOW_S)


@pytest.mark.parametrize(
    ("resolution", "step_s", "length_s"),
    [("second", 1, 3600), ("minute", 60, 86_400), ("hour", 3600, 30 * 86_400), ("day", 86_400, 365 * 86_400)],
)
def test_history_defaults_end_now_with_length_by_resolution(resolution, step_s, length_s):
    assert span(resolution=resolution) == Span(1_700_000_001 - length_s, 1_700_000_001, step_s)


def test_history_resolution_defaults_to_minute():
    assert span() == span(resolution="minute")


def test_history_with_one_bound_uses_the_default_for_the_other():
    assert span(from_="2023-11-14T22:00:00Z") == Span(1_699_999_200, 1_700_000_001, 60)
    assert span(to="2023-11-14T22:00:00Z") == Span(1_699_999_200 - 86_400, 1_699_999_200, 60)


@pytest.mark.parametrize(
    ("text", "first", "end"),
    [
        ("2023-11-14T22:13:20Z", 1_700_000_000, 1_700_000_000),
        ("2023-11-14t22:13:20z", 1_700_000_000, 1_700_000_000),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000, 1_700_000_000),
        ("2023-11-14T16:43:20-05:30", 1_700_000_000, 1_700_000_000),
        ("2023-11-14T22:13:20-00:00", 1_700_000_000, 1_700_000_000),
        ("2023-11-14T22:13:20.000Z", 1_700_000_000, 1_700_000_000),
        ("2023-11-14T22:13:20.000000001Z", 1_700_000_000, 1_700_000_001),
        ("2023-11-14T22:13:20.9Z", 1_700_000_000, 1_700_000_001),
        ("2023-11-14T22:13:20.1234567890Z", 1_700_000_000, 1_700_000_001),
        (f"2023-11-14T22:13:20.{'0' * 60}1Z", 1_700_000_000, 1_700_000_001),
        ("2023-11-14T23:59:60Z", 1_700_006_400, 1_700_006_400),
        ("2023-11-14t15:59:60.5-08:00", 1_700_006_400, 1_700_006_401),
    ],
)
def test_time_may_have_any_offset_and_is_rounded_outward(text, first, end):
    assert span(from_=text, to="2023-11-15T00:00:02Z").first == first
    assert span(from_="2023-11-14T00:00:00Z", to=text).end == end


@pytest.mark.parametrize("name", ["from_", "to"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1700000000",
        "2023-11-14",
        "2023-11-14T22:13:20",
        "2023-11-14T22:13Z",
        "2023-11-14 22:13:20Z",
        "2023-11-14T22:13:20 01:00",
        "2023-11-14T22:13:20+0100",
        "2023-11-14T22:13:20+24:00",
        "2023-11-14T22:13:20+01:60",
        "2023-11-14T22:13:20.Z",
        "2023-11-14T22:13:20,5Z",
        "2023-11-31T22:13:20Z",
        "2023-13-01T22:13:20Z",
        "2023-11-14T24:00:00Z",
        "2023-11-14T22:60:20Z",
        "2023-11-14T22:13:60Z",
        "2023-11-14T23:59:61Z",
        "2016-12-31T23:59:60+01:00",
        "0000-01-01T00:00:00Z",
        "02023-11-14T22:13:20Z",
        "20231114T221320Z",
        "2023-W46-2T22:13:20Z",
        "२०२३-11-14T22:13:20Z",
        "2023-11-14T22:13:20Z\n",
    ],
)
def test_time_not_in_rfc_3339_is_malformed(name, text):
    with pytest.raises(InvalidRequestError, match=rf"^{name.rstrip('_')} must be a time in RFC 3339"):
        span(**{name: text})


@pytest.mark.parametrize(
    "query",
    [
        {"from_": "2023-11-14T22:00:00Z", "to": "2023-11-14T22:00:00Z"},
        {"from_": "2023-11-14T22:00:00.7Z", "to": "2023-11-14T22:00:00.2Z"},
        {"from_": "2023-11-14T22:00:00Z", "to": "2023-11-14T22:00:00+01:00"},
        {"from_": "2024-01-01T00:00:00Z"},
    ],
)
def test_range_ending_before_its_start_is_malformed(query):
    with pytest.raises(InvalidRequestError, match="`from` must be earlier than `to`"):
        span(**query)


@pytest.mark.parametrize("resolution", ["", "week", "Minute", "60"])
def test_unknown_resolution_is_malformed(resolution):
    with pytest.raises(InvalidRequestError, match="second, minute, hour or day"):
        span(resolution=resolution)


@pytest.mark.parametrize("name", ["from", "to", "resolution", "limit", "cursor"])
def test_repeated_parameter_is_malformed(name):
    twice = request(query={name: ["2023-11-14T22:00:00Z"] * 2})

    parsers = (requests.parse_events_page, lambda request: requests.parse_history_span(request, NOW_S))

    with pytest.raises(InvalidRequestError, match="at most once"):
        parsers[name in ("from", "to", "resolution")](twice)


def test_range_over_10_000_steps_is_refused_with_accepted_values():
    most = {"from_": "2023-11-14T00:00:30Z", "to": "2023-11-20T22:40:00Z", "resolution": "minute"}
    assert span(**most).steps == 10_000

    with pytest.raises(RangeTooLongError) as caught:
        span(**{**most, "to": "2023-11-20T22:40:01Z"})

    problem = problems.render_problem(caught.value)
    assert problem.status_code == 400
    assert problem.body["detail"] == (
        "The range must span at most 10,000 steps of one minute, got 10,001. Use resolution=hour or a shorter range. "
        "to=2023-11-20T22:40:00.000Z would be accepted."
    )


def test_range_too_long_for_any_resolution_names_only_an_accepted_end():
    with pytest.raises(RangeTooLongError) as caught:
        span(from_="1970-01-01T00:00:00Z", to="2023-01-01T00:00:00Z", resolution="day")

    assert "resolution=" not in caught.value.detail
    assert "to=1997-05-19T00:00:00.000Z" in problems.render_problem(caught.value).body["detail"]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:58Z", "9999-12-31T23:59:59.9Z"),
        ("9999-12-31T23:59:59-00:01", "9999-12-31T23:59:59-23:59"),
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9Z"),
    ],
)
def test_time_at_the_limits_of_the_calendar_is_accepted(start, end):
    @problems.render_errors
    def view():
        span(from_=start, to=end, resolution="second")
        return Response("")

    assert view().status_code in (200, 400)


def test_history_body_has_start_increments_and_sum():
    response = responses.render_history([Point(1_700_000_040, 3, -7)])

    assert response.body == {"points": [{"start": "2023-11-14T22:14:00.000Z", "increments": 3, "sum": -7}]}
    assert response.headers["Cache-Control"] == "no-cache"


@given(
    st.dictionaries(
        st.sampled_from(["from", "to", "resolution", "limit", "cursor"]), st.lists(st.text(max_size=40), min_size=1)
    )
)
def test_any_query_is_parsed_or_refused_with_400(query):
    @problems.render_errors
    def view():
        requests.parse_history_span(request(query=query), NOW_S)
        requests.parse_events_page(request(query=query))
        return Response("")

    assert view().status_code in (200, 400)


@pytest.mark.parametrize(
    ("tags", "status"),
    [('"3"', 304), ('W/"3"', 304), ('"1", "3"', 304), ("*", 304), ('"2"', 200), ("3", 200), ("", 200)],
)
def test_counter_with_a_matching_etag_is_304(tags, status):
    response = responses.render_counter(request(headers={"If-None-Match": tags}), Counter("clicks", 9, 3, 0))

    assert response.status_code == status
    assert response.headers["ETag"] == '"3"'
    assert response.headers["Cache-Control"] == "no-cache"
    assert bool(response.body) is (status == 200)


def test_times_are_rendered_in_utc_with_milliseconds():
    response = responses.render_counter(request(), Counter("clicks", 9, 3, 1_700_000_000_007))

    assert response.body["updated_at"] == "2023-11-14T22:13:20.007Z"


def test_outage_is_503_with_retry_after_and_no_internals():
    response = problems.render_problem(LogUnavailableError("ThrottlingException: table counter-prod-event-log"))

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert "counter-prod" not in str(response.body)


def test_unexpected_error_is_500_without_details():
    @problems.render_errors
    def view():
        raise KeyError("arn:aws:secret")

    response = view()

    assert response.status_code == 500
    assert "secret" not in str(response.body)


anything = st.text(max_size=300) | st.sampled_from(["return=representation", '"1"', "application/json", '{"by":1}'])


@given(
    st.text(max_size=80),
    st.dictionaries(
        st.sampled_from(["Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Prefer", "X-Other"]), anything
    ),
    anything,
    st.booleans(),
)
def test_any_increment_request_is_parsed_or_refused(counter_id, headers, body, encoded):
    event = api_event("POST", "/", headers=headers, body=body)
    event["isBase64Encoded"] = encoded

    @problems.render_errors
    def view():
        requests.parse_command(Increment, requests.parse_counter_id(counter_id), received(event), max_by=1000)
        return Response("")

    assert view().status_code in (200, 400, 413, 415)
