"""Requests into commands: every malformed thing gets its own error, with a detail that says what would be right."""

from __future__ import annotations

import base64

import pytest
from chalice.app import Request, Response
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import http
from chalicelib.counting import Counter, Increment
from chalicelib.errors import (
    BodyTooLargeError,
    InvalidRequestError,
    LogUnavailableError,
    UnsupportedMediaTypeError,
)
from tests.building import api_event

JSON = {"Content-Type": "application/json"}


def received(event):
    return http.request(Request(event))


def request(*, headers=None, body=None, query=None):
    return received(api_event("POST", "/", headers=headers, body=body, query=query))


def command(**parts):
    return http.increment_command("clicks", request(**parts), max_increment=1000)


def test_no_body_means_one():
    assert command() == Increment("clicks", by=1)


def test_a_body_says_by_how_much():
    assert command(body={"by": 1000}).by == 1000


def test_json_may_come_with_its_charset_and_spaces():
    assert command(body=' { "by" : 2 } ', headers={"content-type": "Application/JSON; charset=UTF-8"}).by == 2


def test_a_base64_body_is_decoded():
    event = api_event("POST", "/", headers=JSON, body=base64.b64encode(b'{"by": 5}').decode())
    event["isBase64Encoded"] = True

    assert http.increment_command("clicks", received(event), max_increment=1000).by == 5


def test_the_headers_make_the_command():
    found = command(headers={"idempotency-key": "k 1", "if-match": '"16"', "prefer": "return=representation"})

    assert found == Increment("clicks", by=1, idempotency_key="k 1", at_version=16, wants_counter=True)


@pytest.mark.parametrize("body", ["!!!", "e30", "ä"])
def test_a_body_that_is_not_the_base64_it_says_is_malformed(body):
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
def test_any_other_body_is_malformed(body):
    with pytest.raises(InvalidRequestError, match="integer from 1 to 1000"):
        command(body=body, headers=JSON)


def test_a_body_over_a_kibibyte_is_too_large_whatever_it_holds():
    with pytest.raises(BodyTooLargeError, match="1025"):
        command(body=" " * 1025, headers={"Content-Type": "text/plain"})


def test_the_size_of_a_body_is_counted_in_bytes():
    with pytest.raises(BodyTooLargeError):
        command(body="ä" * 513, headers=JSON)


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/jsonp", "", "application/json; charset=latin-1", "*/*"]
)
def test_a_body_of_another_media_type_is_unsupported(media_type):
    with pytest.raises(UnsupportedMediaTypeError, match="application/json"):
        command(body='{"by":1}', headers={"Content-Type": media_type})


def test_a_body_without_media_type_is_unsupported():
    with pytest.raises(UnsupportedMediaTypeError):
        command(body='{"by":1}')


@pytest.mark.parametrize("key", ["", "x" * 256, "käse", "a\tb", "\x7f"])
def test_an_idempotency_key_is_1_to_255_printable_ascii_characters(key):
    with pytest.raises(InvalidRequestError, match="1 to 255 printable ASCII"):
        command(headers={"Idempotency-Key": key})


@pytest.mark.parametrize(
    "tag", ["*", "16", 'W/"16"', '"16", "17"', '"016"', '"-1"', '"a"', "", '""', '"' + "9" * 40 + '"']
)
def test_if_match_is_one_version_in_quotes(tag):
    with pytest.raises(InvalidRequestError, match="in double quotes"):
        command(headers={"If-Match": tag})


@pytest.mark.parametrize("name", ["Idempotency-Key", "If-Match", "Content-Type"])
def test_a_header_that_must_be_single_is_refused_when_repeated(name):
    event = api_event("POST", "/", body='{"by":1}', headers=JSON)
    event["multiValueHeaders"][name] = ['"1"', '"2"']

    with pytest.raises(InvalidRequestError, match="more than once"):
        http.increment_command("clicks", received(event), max_increment=1000)


@pytest.mark.parametrize("name", ["Idempotency-Key", "If-Match", "Content-Type"])
def test_a_header_in_another_case_is_the_same_header(name):
    event = api_event("POST", "/", body='{"by":1}', headers=JSON)
    event["multiValueHeaders"] |= {name: ['"1"'], name.upper(): ['"1"']}

    with pytest.raises(InvalidRequestError, match="more than once"):
        http.increment_command("clicks", received(event), max_increment=1000)


def test_a_body_that_is_too_deep_is_told_so_and_not_how_python_says_it():
    with pytest.raises(InvalidRequestError, match=r"nested deeper than any reader goes\.$"):
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
def test_a_preference_is_heard_or_left_alone_and_never_an_error(prefer, wanted):
    assert command(headers={"Prefer": prefer}).wants_counter is wanted


@pytest.mark.parametrize("text", ["", "a b", "x" * 65, "ä", "a#1"])
def test_what_names_no_counter_is_malformed(text):
    with pytest.raises(InvalidRequestError, match="1 to 64 characters"):
        http.counter_named(text)


@pytest.mark.parametrize(
    "text", ["", "1", "01890a5dac96774bbcceb302099a8057", "{01890a5d-ac96-774b-bcce-b302099a8057}"]
)
def test_what_names_no_event_is_malformed(text):
    with pytest.raises(InvalidRequestError, match="UUID"):
        http.event_named(text)


def test_an_event_may_be_named_in_capitals():
    assert http.event_named("01890A5D-AC96-774B-BCCE-B302099A8057") == "01890a5d-ac96-774b-bcce-b302099a8057"


def test_a_page_is_50_counters_from_the_first_unless_said_otherwise():
    assert http.page_of_counters(request()) == (50, None)
    assert http.page_of_counters(request(query={"limit": ["100"]})) == (100, None)


@pytest.mark.parametrize("limit", ["0", "101", "-1", "1.0", "ten", "", "1000000000000000000000"])
def test_a_limit_is_1_to_100(limit):
    with pytest.raises(InvalidRequestError, match="from 1 to 100"):
        http.page_of_counters(request(query={"limit": [limit]}))


@pytest.mark.parametrize("cursor", ["", "x", "!", "ä", base64.b64encode(b"2 clicks").decode(), "MSBhIGI"])
def test_a_cursor_that_was_not_given_out_is_malformed(cursor):
    with pytest.raises(InvalidRequestError, match="next_cursor"):
        http.page_of_counters(request(query={"cursor": [cursor]}))


@pytest.mark.parametrize(
    ("tags", "status"),
    [('"3"', 304), ('W/"3"', 304), ('"1", "3"', 304), ("*", 304), ('"2"', 200), ("3", 200), ("", 200)],
)
def test_a_client_that_has_the_version_is_not_sent_it_again(tags, status):
    response = http.counter_state(request(headers={"If-None-Match": tags}), Counter("clicks", 9, 3, 0))

    assert response.status_code == status
    assert response.headers["ETag"] == '"3"'
    assert response.headers["Cache-Control"] == "no-cache"
    assert bool(response.body) is (status == 200)


def test_times_are_rfc_3339_in_utc_with_milliseconds():
    response = http.counter_state(request(), Counter("clicks", 9, 3, 1_700_000_000_007))

    assert response.body["updated_at"] == "2023-11-14T22:13:20.007Z"


def test_an_outage_is_503_with_a_time_to_try_again_and_tells_nothing_of_the_inside():
    response = http.problem(LogUnavailableError("ThrottlingException: table counter-prod-event-log"))

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert "counter-prod" not in str(response.body)


def test_what_was_not_foreseen_is_a_bare_500():
    @http.answers_problems
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
def test_whatever_is_sent_is_a_command_or_a_clear_error(counter_id, headers, body, encoded):
    event = api_event("POST", "/", headers=headers, body=body)
    event["isBase64Encoded"] = encoded

    @http.answers_problems
    def view():
        http.increment_command(counter_id, received(event), max_increment=1000)
        return Response("")

    assert view().status_code in (200, 400, 413, 415)
