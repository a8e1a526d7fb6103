"""Badges are well-formed, small, readable and safe."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.api import requests, responses
from chalicelib.errors import InvalidRequestError
from chalicelib.extras import badge
from tests.unit.test_requests import request

SVG = "{http://www.w3.org/2000/svg}"

#: All that a picture may consist of: nothing that runs, loads or links.
ELEMENTS = {"svg", "title", "clipPath", "linearGradient", "stop", "g", "rect", "text"}

LABELS = st.from_regex(badge.LABEL, fullmatch=True, alphabet=st.characters(codec="utf-8"))
COLOURS = st.from_regex(badge.HEX_COLOUR, fullmatch=True) | st.sampled_from(sorted(badge.COLOURS))
VALUES = st.integers(-(10**38) + 1, 10**38 - 1)
ASKED = st.fixed_dictionaries(
    {}, optional={"label": LABELS, "color": COLOURS, "labelColor": COLOURS, "style": st.sampled_from([*badge.STYLES])}
)


def picture(value=1_234_567, **asked):
    return ElementTree.fromstring(badge.drawn(badge.look("clicks", asked), value))


def texts(drawn):
    """Return the texts of the badge, without their shadows."""
    return [text.text for text in drawn.iter(f"{SVG}text") if "aria-hidden" not in text.attrib]


def inks(drawn):
    return [text.attrib["fill"] for text in drawn.iter(f"{SVG}text") if "aria-hidden" not in text.attrib]


@given(ASKED, VALUES)
@example({"label": "&" * 300, "color": "fff", "style": "plastic"}, -(10**38) + 1)
@example({"label": '"' * 300}, -(10**38) + 1)
@example({"label": "\U0001f600" * 300}, -(10**38) + 1)
@example({"label": "ß" * 64, "style": "for-the-badge"}, 0)
@example({"label": "</title><script>alert(1)</script>"}, 0)
@example({"label": "\u0301"}, 0)
def test_any_badge_is_well_formed_small_and_made_of_harmless_things(asked, value):
    document = badge.drawn(badge.look("clicks", asked), value)

    drawn = ElementTree.fromstring(document)
    assert len(document.encode()) <= badge.LARGEST_BYTES
    assert {element.tag.removeprefix(SVG) for element in drawn.iter()} <= ELEMENTS
    assert not any(name.startswith("on") or "href" in name for element in drawn.iter() for name in element.attrib)


@given(LABELS.filter(lambda label: 0 < len(label) <= 24), VALUES)
def test_short_label_is_shown_and_read_out_unchanged(label, value):
    drawn = picture(value, label=label)

    assert texts(drawn) == [label, f"{value:,}"]
    assert drawn.attrib["aria-label"] == drawn.findtext(f"{SVG}title") == f"{label}: {value:,}"


@given(LABELS, VALUES)
def test_texts_fit_into_their_boxes_whatever_the_viewers_font(label, value):
    drawn = picture(value, label=label)

    boxes = [rect for rect in drawn.iter(f"{SVG}rect") if "x" in rect.attrib]
    lengths = [float(text.attrib["textLength"]) for text in drawn.iter(f"{SVG}text") if text.attrib["y"] == "14"]
    assert sum(float(box.attrib["width"]) for box in boxes) == float(drawn.attrib["width"])
    for box, length in zip(boxes, lengths, strict=True):
        assert 0 < length < float(box.attrib["width"])


@given(st.from_regex(badge.HEX_COLOUR, fullmatch=True))
def test_on_any_colour_there_is_enough_contrast_to_read(colour):
    look = badge.look("clicks", {"color": colour})

    assert badge.contrast(badge.ink(look.colour), look.colour) >= 3


def test_contrast_follows_the_guidelines():
    assert badge.contrast("000000", "ffffff") == pytest.approx(21)
    assert badge.contrast("777777", "ffffff") == pytest.approx(4.48, abs=0.005)


def test_dark_colours_are_written_on_in_white_and_light_ones_in_dark():
    assert inks(picture()) == ["#ffffff", "#ffffff"]
    assert inks(picture(color="ff0", labelColor="eeeeee")) == ["#222222", "#222222"]


def test_a_badge_shows_the_counters_name_and_its_value_in_groups_of_three():
    assert texts(picture(1_234_567)) == ["clicks", "1,234,567"]
    assert texts(picture(-1000)) == ["clicks", "-1,000"]


@pytest.mark.parametrize("style", badge.STYLES)
def test_the_longest_counter_id_and_value_are_shown_whole(style):
    look = badge.look("W" * 64, {"style": style})

    assert texts(ElementTree.fromstring(badge.drawn(look, 10**38 - 1))) == ["W" * 64, f"{10**38 - 1:,}"]


def test_a_longer_label_ends_in_an_ellipsis():
    assert texts(picture(label="x" * 65))[0] == "x" * 63 + "…"


def test_badge_without_a_label_shows_the_value_only():
    drawn = picture(7, label="")

    assert texts(drawn) == ["7"]
    assert drawn.attrib["aria-label"] == "7"


def test_for_the_badge_is_in_capitals_and_read_out_as_it_was_written():
    drawn = picture(7, style="for-the-badge")

    assert texts(drawn) == ["CLICKS", "7"]
    assert drawn.attrib["aria-label"] == "clicks: 7"


def test_wider_text_takes_more_room():
    widths = [float(picture(label=label).attrib["width"]) for label in ("iiii", "aaaa", "ÄÄÄÄ", "MMMM", "漢漢漢漢")]

    assert widths == sorted(set(widths))
    assert picture(label="é").attrib["width"] == picture(label="e\u0301").attrib["width"]


@pytest.mark.parametrize("name", ["color", "labelColor"])
@pytest.mark.parametrize("text", ["", "#4c1", "4c", "4c11", "44cc11ff", "Blue", "bluish", "٤c1", "4c1\n", '"/><script'])
def test_any_other_colour_is_refused_with_those_that_there_are(name, text):
    with pytest.raises(InvalidRequestError, match=f"^{name} is .* 4c1 .*brightgreen, green"):
        badge.look("clicks", {name: text})


@pytest.mark.parametrize("style", ["", "social", "Flat", "flat "])
def test_any_other_style_is_refused_with_those_that_there_are(style):
    with pytest.raises(InvalidRequestError, match="flat, flat-square, plastic, for-the-badge"):
        badge.look("clicks", {"style": style})


@pytest.mark.parametrize("mark", ["\0", "\n", "\t", "\x7f", "\x85", "\u202e", "\u2066", "\u200f", "\ud800", "\uffff"])
def test_a_label_that_would_break_the_picture_or_turn_its_text_is_refused(mark):
    with pytest.raises(InvalidRequestError, match="without control characters"):
        badge.look("clicks", {"label": f"a{mark}b"})


def test_parameters_have_the_names_of_shields():
    look = badge.look("clicks", {"label": "hits", "color": "ABC", "labelColor": "orange", "style": "flat-square"})

    assert look == badge.Look("hits", "aabbcc", "fe7d37", "flat-square")


def test_a_parameter_that_a_badge_does_not_have_is_refused_with_those_it_has():
    with pytest.raises(InvalidRequestError, match=r"^Unknown parameter 'colour'. Use label, color, labelColor, style"):
        requests.parse_parameters(request(query={"colour": ["red"]}), badge.PARAMETERS)


def test_a_badge_may_be_kept_for_a_minute_and_can_do_nothing():
    response = responses.render_cacheable(request(), "<svg/>", badge.HEADERS)

    assert response.headers["Content-Type"] == "image/svg+xml"
    assert response.headers["Cache-Control"] == "public, max-age=60"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_badge_that_looks_the_same_is_not_sent_again():
    first = responses.render_cacheable(request(), "<svg/>", badge.HEADERS)

    again = responses.render_cacheable(
        request(headers={"If-None-Match": first.headers["ETag"]}), "<svg/>", badge.HEADERS
    )
    changed = responses.render_cacheable(
        request(headers={"If-None-Match": first.headers["ETag"]}), "<svg></svg>", badge.HEADERS
    )

    assert (first.status_code, again.status_code, changed.status_code) == (200, 304, 200)
    assert again.headers["Cache-Control"] == "public, max-age=60"
