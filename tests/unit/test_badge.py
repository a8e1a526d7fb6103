"""Badges are well-formed, small, readable and harmless for any parameters."""

from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.api import requests, responses
from chalicelib.errors import InvalidRequestError
from chalicelib.extras import badge
from tests.unit.test_requests import request

SVG = "{http://www.w3.org/2000/svg}"

#: The allowed elements: none of them runs, loads or links anything.
ELEMENTS = {"svg", "title", "clipPath", "linearGradient", "stop", "g", "rect", "text"}

LABELS = st.from_regex(badge.LABEL, fullmatch=True, alphabet=st.characters(codec="utf-8"))
COLORS = st.from_regex(badge.HEX_COLOR, fullmatch=True) | st.sampled_from(sorted(badge.COLORS))
VALUES = st.integers(-(10**38) + 1, 10**38 - 1)
PARAMETERS = st.fixed_dictionaries(
    {}, optional={"label": LABELS, "color": COLORS, "labelColor": COLORS, "style": st.sampled_from([*badge.STYLES])}
)


def render(value=1_234_567, **parameters):
    return ElementTree.fromstring(badge.render_badge(badge.parse_options("clicks", parameters), value))


def texts(svg):
    """Return the visible texts, without their shadows."""
    return [text.text for text in svg.iter(f"{SVG}text") if "aria-hidden" not in text.attrib]


def text_colors(svg):
    return [text.attrib["fill"] for text in svg.iter(f"{SVG}text") if "aria-hidden" not in text.attrib]


@given(PARAMETERS, VALUES)
@example({"label": "&" * 300, "color": "fff", "style": "plastic"}, -(10**38) + 1)
@example({"label": '"' * 300}, -(10**38) + 1)
@example({"label": "\U0001f600" * 300}, -(10**38) + 1)
@example({"label": "ß" * 64, "style": "for-the-badge"}, 0)
@example({"label": "</title><script>alert(1)</script>"}, 0)
@example({"label": "\u0301"}, 0)
def test_badge_for_any_parameters_is_well_formed_small_and_harmless(parameters, value):
    document = badge.render_badge(badge.parse_options("clicks", parameters), value)

    svg = ElementTree.fromstring(document)
    assert len(document.encode()) <= badge.MAX_BYTES
    assert {element.tag.removeprefix(SVG) for element in svg.iter()} <= ELEMENTS
    assert not any(name.startswith("on") or "href" in name for element in svg.iter() for name in element.attrib)


@given(LABELS.filter(lambda label: 0 < len(label) <= 24), VALUES)
def test_label_that_fits_is_shown_and_read_out_unchanged(label, value):
    svg = render(value, label=label)

    assert texts(svg) == [label, f"{value:,}"]
    assert svg.attrib["aria-label"] == svg.findtext(f"{SVG}title") == f"{label}: {value:,}"


@given(LABELS, VALUES)
def test_texts_fit_into_their_boxes(label, value):
    svg = render(value, label=label)

    boxes = [rect for rect in svg.iter(f"{SVG}rect") if "x" in rect.attrib]
    lengths = [float(text.attrib["textLength"]) for text in svg.iter(f"{SVG}text") if text.attrib["y"] == "14"]
    assert sum(float(box.attrib["width"]) for box in boxes) == float(svg.attrib["width"])
    for box, length in zip(boxes, lengths, strict=True):
        assert 0 < length < float(box.attrib["width"])


@given(st.from_regex(badge.HEX_COLOR, fullmatch=True))
def test_text_on_any_color_has_a_contrast_of_3(color):
    options = badge.parse_options("clicks", {"color": color})

    assert badge.calculate_contrast(badge.choose_text_color(options.color), options.color) >= 3


def test_contrast_matches_wcag_examples():
    assert badge.calculate_contrast("000000", "ffffff") == pytest.approx(21)
    assert badge.calculate_contrast("777777", "ffffff") == pytest.approx(4.48, abs=0.005)


def test_text_is_white_on_dark_and_dark_on_light_colors():
    assert text_colors(render()) == ["#ffffff", "#ffffff"]
    assert text_colors(render(color="ff0", labelColor="eeeeee")) == ["#222222", "#222222"]


def test_badge_shows_the_id_and_the_value_with_separators():
    assert texts(render(1_234_567)) == ["clicks", "1,234,567"]
    assert texts(render(-1000)) == ["clicks", "-1,000"]


@pytest.mark.parametrize("style", badge.STYLES)
def test_longest_counter_id_and_value_are_shown_in_full(style):
    options = badge.parse_options("W" * 64, {"style": style})

    assert texts(ElementTree.fromstring(badge.render_badge(options, 10**38 - 1))) == ["W" * 64, f"{10**38 - 1:,}"]


def test_long_label_ends_in_an_ellipsis():
    assert texts(render(label="x" * 65))[0] == "x" * 63 + "…"


def test_empty_label_shows_only_the_value():
    svg = render(7, label="")

    assert texts(svg) == ["7"]
    assert svg.attrib["aria-label"] == "7"


def test_for_the_badge_is_in_upper_case_but_read_out_unchanged():
    svg = render(7, style="for-the-badge")

    assert texts(svg) == ["CLICKS", "7"]
    assert svg.attrib["aria-label"] == "clicks: 7"


def test_wider_text_makes_a_wider_badge():
    widths = [float(render(label=label).attrib["width"]) for label in ("iiii", "aaaa", "ÄÄÄÄ", "MMMM", "漢漢漢漢")]

    assert widths == sorted(set(widths))
    assert render(label="é").attrib["width"] == render(label="e\u0301").attrib["width"]


COLORS_REFUSED = ["", "#4c1", "4c", "4c11", "44cc11ff", "Blue", "bluish", "٤c1", "4c1\n", '"/><script']
MARKS_REFUSED = ["\0", "\n", "\t", "\x7f", "\x85", "\u202e", "\u2066", "\u200f", "\ud800", "\uffff"]


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        *(("color", text, "^color must be .* 4c1 .*brightgreen, green") for text in COLORS_REFUSED),
        *(("labelColor", text, "^labelColor must be .* 4c1 .*brightgreen, green") for text in COLORS_REFUSED),
        *(("style", text, "flat, flat-square, plastic, for-the-badge") for text in ("", "social", "Flat", "flat ")),
        *(("label", f"a{mark}b", "must not contain control characters") for mark in MARKS_REFUSED),
    ],
)
def test_malformed_parameter_is_refused_with_the_rule(name, text, rule):
    with pytest.raises(InvalidRequestError, match=rule):
        badge.parse_options("clicks", {name: text})


@pytest.mark.parametrize("label", ["ضربات", "بازدید", "यात्रा", "ܫܠܡܐ", "ᠮᠣᠩᠭᠣᠯ", "a ضربات"])
def test_letters_of_joined_scripts_stay_joined(label):
    """Viewers stretch a text to its `textLength` by spacing its letters, unless they are told to scale the letters."""
    shown = [text.attrib for text in render(label=label).iter(f"{SVG}text")]

    assert [text.get("lengthAdjust") for text in shown] == ["spacingAndGlyphs"] * 2 + [None] * 2


def test_letters_of_latin_texts_are_not_scaled():
    assert "lengthAdjust" not in badge.render_badge(badge.parse_options("clicks", {"label": "Total hits"}), 7)


@given(LABELS)
@example("&" * 300)
@example("\U0001f600" * 300)
def test_refusal_is_a_small_badge_that_states_the_reason(detail):
    document = badge.render_refusal(detail)

    label, reason = texts(ElementTree.fromstring(document))
    assert len(document.encode()) <= badge.MAX_BYTES
    assert label == "invalid badge"
    assert (reason or "").removesuffix("…") == detail[: len((reason or "").removesuffix("…"))]


def test_parameters_have_the_names_of_shields_io():
    options = badge.parse_options(
        "clicks", {"label": "hits", "color": "ABC", "labelColor": "orange", "style": "flat-square"}
    )

    assert options == badge.Options("hits", "aabbcc", "fe7d37", "flat-square")


def test_unknown_parameter_is_refused_with_the_allowed_ones():
    with pytest.raises(InvalidRequestError, match=r"^Unknown parameter 'colour'. Use label, color, labelColor, style"):
        requests.parse_parameters(request(query={"colour": ["red"]}), ("label", "color", "labelColor", "style"))


def test_badge_response_is_cacheable_and_sandboxed():
    response = responses.render_cacheable(request(), "<svg/>", badge.HEADERS)

    assert response.headers["Content-Type"] == "image/svg+xml"
    assert response.headers["Cache-Control"] == "public, max-age=60"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_badge_with_a_matching_etag_is_304():
    first = responses.render_cacheable(request(), "<svg/>", badge.HEADERS)

    again = responses.render_cacheable(
        request(headers={"If-None-Match": first.headers["ETag"]}), "<svg/>", badge.HEADERS
    )
    changed = responses.render_cacheable(
        request(headers={"If-None-Match": first.headers["ETag"]}), "<svg></svg>", badge.HEADERS
    )

    assert (first.status_code, again.status_code, changed.status_code) == (200, 304, 200)
    assert again.headers["Cache-Control"] == "public, max-age=60"
