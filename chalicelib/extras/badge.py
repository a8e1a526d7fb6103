"""
Badges: a counter's value as a small picture, an SVG document, in the forms that shields.io made known.

The picture is pure: no clock, no fonts, no network. What is written in it is measured by a table of widths, and each
text says how long it is to be, so that a viewer with another font neither overflows nor leaves gaps.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from chalicelib.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Of a picture, in UTF-8, whatever its texts are.
LARGEST_BYTES = 2048

#: Colours by the names that shields.io has for them.
COLOURS = {
    "brightgreen": "44cc11",
    "green": "97ca00",
    "yellowgreen": "a4a61d",
    "yellow": "dfb317",
    "orange": "fe7d37",
    "red": "e05d44",
    "blue": "007ec6",
    "grey": "555555",
    "gray": "555555",
    "lightgrey": "9f9f9f",
    "lightgray": "9f9f9f",
    "success": "44cc11",
    "important": "fe7d37",
    "critical": "e05d44",
    "informational": "007ec6",
    "inactive": "9f9f9f",
}

#: What else a colour may be.
HEX_COLOUR = "[0-9A-Fa-f]{3}([0-9A-Fa-f]{3})?"

#: What a label consists of: no controls, marks that turn the direction of text, or what XML cannot hold.
LABEL = r"[^\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufffe\uffff]*"
_HALVES_OF_CHARACTERS = re.compile("[\ud800-\udfff]")

#: Headers of a badge's response. An SVG document opened on its own is a page; this one must not run or load anything.
HEADERS = {
    "Content-Type": "image/svg+xml",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}

USUAL_COLOUR = "blue"
USUAL_LABEL_COLOUR = "grey"


@dataclass(frozen=True, slots=True)
class _Style:
    """Lengths are in pixels; `shine` is light above and shadow below."""

    height: int
    baseline: float
    font_px: int = 11
    padding: float = 5
    corner: int = 0
    shine: tuple[float, float] | None = None
    spacing: float = 0
    loud: bool = False


STYLES = {
    "flat": _Style(height=20, baseline=14, corner=3, shine=(0.1, 0.1)),
    "flat-square": _Style(height=20, baseline=14),
    "plastic": _Style(height=18, baseline=13, corner=4, shine=(0.45, 0.3)),
    "for-the-badge": _Style(height=28, baseline=17.6, font_px=10, padding=12, spacing=1.2, loud=True),
}
USUAL_STYLE = "flat"

#: What may be asked for, by the names that shields.io has for it.
PARAMETERS = ("label", "color", "labelColor", "style")

_LONGEST_TEXT = 64
_LARGEST_TEXT_BYTES = 160

#: Advance widths of Verdana's characters, in thousandths of the font's size.
_WIDTHS = {
    character: width
    for width, characters in {
        269: "'",
        274: "il",
        344: "j",
        352: " f",
        364: ",.",
        394: "!t",
        421: "I",
        427: "r",
        454: "()-/:;[\\]|",
        455: "J",
        459: '"',
        521: "cs",
        525: "z",
        545: "?",
        557: "L",
        575: "F",
        592: "kvxy",
        596: "e",
        601: "a",
        603: "P",
        607: "o",
        615: "Y",
        616: "T",
        623: "bdgpq",
        632: "E",
        633: "hnu",
        635: "{}",
        636: "$*0123456789_`",
        684: "ASV",
        685: "XZ",
        686: "B",
        693: "K",
        695: "R",
        698: "C",
        727: "&",
        732: "U",
        748: "N",
        751: "H",
        771: "D",
        775: "G",
        787: "OQ",
        818: "#+<=>^w~",
        843: "M",
        973: "m",
        989: "W",
        1000: "@",
        1076: "%",
    }.items()
    for character in characters
}
_USUAL_WIDTH = 700
_WIDE = 1000
_BOLD = 1.14

_WHITE = "ffffff"


@dataclass(frozen=True, slots=True)
class Look:
    """How a badge is to be drawn. Colours are six hexadecimal digits; `style` is one of `STYLES`."""

    label: str
    colour: str = COLOURS[USUAL_COLOUR]
    label_colour: str = COLOURS[USUAL_LABEL_COLOUR]
    style: str = USUAL_STYLE


@dataclass(frozen=True, slots=True)
class _Part:
    """Text on a colour; `width` and `text_width` are in pixels."""

    text: str
    colour: str
    text_width: float
    width: int
    is_bold: bool


def look(counter_id: str, asked: Mapping[str, str]) -> Look:
    """
    How a badge of this counter is drawn if this is asked for, of `PARAMETERS`; what is left out is usual.

    Raises:
        InvalidRequestError: a label, colour or style is none; the detail says what would be right.
    """
    label = asked.get("label", counter_id)
    if not re.fullmatch(LABEL, label) or _HALVES_OF_CHARACTERS.search(label):
        raise InvalidRequestError("label is text without control characters and marks that turn its direction.")
    style = asked.get("style", USUAL_STYLE)
    if style not in STYLES:
        raise InvalidRequestError(f"style is one of {', '.join(STYLES)}; left out, it is {USUAL_STYLE}.")
    return Look(
        label,
        _colour("color", asked.get("color", USUAL_COLOUR)),
        _colour("labelColor", asked.get("labelColor", USUAL_LABEL_COLOUR)),
        style,
    )


def drawn(look: Look, value: int) -> str:
    """The badge as an SVG document of at most `LARGEST_BYTES`. A label that is too long ends in an ellipsis."""
    style, number = STYLES[look.style], f"{value:,}"
    label = _part(_cut(look.label.upper() if style.loud else look.label), look.label_colour, style)
    parts = [*([label] if label.text else []), _part(number, look.colour, style, is_bold=style.loud)]
    size = f'width="{sum(part.width for part in parts)}" height="{style.height}"'
    starts = [sum(part.width for part in parts[:place]) for place in range(len(parts))]
    name = _escaped(": ".join(filter(None, [_cut(look.label), number])))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{name}"><title>{name}</title>'
        f'<clipPath id="c"><rect {size} rx="{style.corner}"/></clipPath><g clip-path="url(#c)">'
        f"{''.join(map(_box, parts, starts, [style] * len(parts)))}{_shine(style, size)}</g>"
        f'<g font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="{style.font_px}" text-anchor="middle">'
        f"{''.join(map(_text, parts, starts, [style] * len(parts)))}</g></svg>"
    )


def contrast(one: str, other: str) -> float:
    """How well two colours can be told apart, from 1 to 21 (WCAG 2.2, 1.4.3)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def ink(colour: str) -> str:
    """What is written in on this colour: white where that can be read, else nearly black."""
    # Three is what WCAG asks of signs; with more, shields' own blue and red would have to be written on in black.
    return _WHITE if contrast(_WHITE, colour) >= 3 else "222222"


def _colour(name: str, text: str) -> str:
    if text in COLOURS:
        return COLOURS[text]
    if re.fullmatch(HEX_COLOUR, text):
        return (text if len(text) == 6 else "".join(digit * 2 for digit in text)).lower()
    raise InvalidRequestError(
        f"{name} is 3 or 6 hexadecimal digits such as 4c1 or 44cc11, without #, or one of {', '.join(COLOURS)}."
    )


def _escaped(text: str) -> str:
    return escape(text, quote=True)


def _cut(text: str) -> str:
    if _fits(text):
        return text
    longest = min(len(text), _LONGEST_TEXT)
    return next(cut for end in range(longest, -1, -1) if _fits(cut := f"{text[:end]}…"))


def _fits(text: str) -> bool:
    return len(text) <= _LONGEST_TEXT and len(_escaped(text).encode()) <= _LARGEST_TEXT_BYTES


def _part(text: str, colour: str, style: _Style, *, is_bold: bool = False) -> _Part:
    width = sum(map(_character_width, text)) / 1000 * style.font_px * (_BOLD if is_bold else 1)
    # A text of marks without a width of their own takes some room all the same; and whole pixels make sharp edges.
    text_width = max(width, 1) + len(text) * style.spacing
    return _Part(text, colour, text_width, round(text_width + 2 * style.padding), is_bold)


def _character_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    if unicodedata.east_asian_width(character) in "WF":
        return _WIDE
    return _WIDTHS.get(unicodedata.normalize("NFD", character)[0], _USUAL_WIDTH)


def _shine(style: _Style, size: str) -> str:
    if style.shine is None:
        return ""
    light, shadow = style.shine
    return (
        '<linearGradient id="s" x2="0" y2="1">'
        f'<stop stop-color="#fff" stop-opacity="{light}"/><stop offset="1" stop-opacity="{shadow}"/>'
        f'</linearGradient><rect {size} fill="url(#s)"/>'
    )


def _box(part: _Part, start: int, style: _Style) -> str:
    return f'<rect x="{start}" width="{part.width}" height="{style.height}" fill="#{part.colour}"/>'


def _text(part: _Part, start: int, style: _Style) -> str:
    place = f'x="{start + part.width / 2:.1f}" textLength="{part.text_width:.1f}"'
    place += ' font-weight="bold"' if part.is_bold else ""
    colour, text = ink(part.colour), _escaped(part.text)
    written = f'<text {place} y="{style.baseline}" fill="#{colour}">{text}</text>'
    if colour != _WHITE or style.loud:
        return written
    edge = f'<text {place} y="{style.baseline + 1}" fill="#000" fill-opacity=".3" aria-hidden="true">{text}</text>'
    return f"{edge}{written}"


def _luminance(colour: str) -> float:
    red, green, blue = (_linear(int(colour[at : at + 2], 16) / 255) for at in (0, 2, 4))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
