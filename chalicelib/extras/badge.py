"""
Render a counter's value as a badge: a small SVG image with the style and parameter names of shields.io.

Rendering is pure: no clock, fonts or network. A table of character widths replaces font metrics, and `textLength` makes
programs with other fonts fit the text into the computed width.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from chalicelib.api.formats import quote
from chalicelib.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The maximum size of an image, in bytes of UTF-8.
MAX_BYTES = 2048

#: The color names of shields.io.
COLORS = {
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
HEX_COLOR = "[0-9A-Fa-f]{3}([0-9A-Fa-f]{3})?"
DEFAULT_COLOR = "blue"
DEFAULT_LABEL_COLOR = "grey"

#: Excludes control characters, marks that change the direction of text, and characters that XML forbids.
LABEL = r"[^\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufffe\uffff]*"
_SURROGATES = re.compile("[\ud800-\udfff]")

#: Headers of the response. A browser may open an SVG image as a page, which must not run scripts or load anything.
HEADERS = {
    "Content-Type": "image/svg+xml",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class _Style:
    """A badge's style, with lengths in pixels. `gradient` is the opacity at the top and at the bottom."""

    height: int
    baseline: float
    font_px: int = 11
    padding: float = 5
    corner: int = 0
    gradient: tuple[float, float] | None = None
    spacing: float = 0
    upper_case: bool = False


STYLES = {
    "flat": _Style(height=20, baseline=14, corner=3, gradient=(0.1, 0.1)),
    "flat-square": _Style(height=20, baseline=14),
    "plastic": _Style(height=18, baseline=13, corner=4, gradient=(0.45, 0.3)),
    "for-the-badge": _Style(height=28, baseline=17.6, font_px=10, padding=12, spacing=1.2, upper_case=True),
}
DEFAULT_STYLE = "flat"

_MAX_TEXT_LENGTH = 64
_MAX_TEXT_BYTES = 160

# fmt: off
#: Verdana's characters by their width in thousandths of the font size.
_CHARACTERS = {
    269: "'", 274: "il", 344: "j", 352: " f", 364: ",.", 394: "!t", 421: "I", 427: "r", 454: "()-/:;[\\]|", 455: "J",
    459: '"', 521: "cs", 525: "z", 545: "?", 557: "L", 575: "F", 592: "kvxy", 596: "e", 601: "a", 603: "P", 607: "o",
    615: "Y", 616: "T", 623: "bdgpq", 632: "E", 633: "hnu", 635: "{}", 636: "$*0123456789_`", 684: "ASV", 685: "XZ",
    686: "B", 693: "K", 695: "R", 698: "C", 727: "&", 732: "U", 748: "N", 751: "H", 771: "D", 775: "G", 787: "OQ",
    818: "#+<=>^w~", 843: "M", 973: "m", 989: "W", 1000: "@", 1076: "%",
}
# fmt: on
_WIDTHS = {character: width for width, characters in _CHARACTERS.items() for character in characters}
_DEFAULT_WIDTH = 700
_WIDE = 1000
_ARABIC = 500
_BOLD = 1.14
_WHITE = "ffffff"
_BLACK = "222222"


@dataclass(frozen=True, slots=True)
class Options:
    """The label and appearance of a badge. Colors are six hexadecimal digits; `style` is a key of `STYLES`."""

    label: str
    color: str
    label_color: str
    style: str


def parse_options(counter_id: str, parameters: Mapping[str, str]) -> Options:
    """
    Parse the query parameters of a badge. Default: the counter's id in the default colors and style.

    Raises:
        InvalidRequestError: a label, color or style is invalid.
    """
    label = parameters.get("label", counter_id)
    if not re.fullmatch(LABEL, label) or _SURROGATES.search(label):
        raise InvalidRequestError(
            "label must not contain control characters, marks that change the text direction, or characters that XML "
            "forbids."
        )
    style = parameters.get("style", DEFAULT_STYLE)
    if style not in STYLES:
        rule = f"style must be one of {', '.join(STYLES)}"
        raise InvalidRequestError(f"{rule}, got {quote(style)}. Default: {DEFAULT_STYLE}.")
    return Options(
        label,
        _parse_color("color", parameters.get("color", DEFAULT_COLOR)),
        _parse_color("labelColor", parameters.get("labelColor", DEFAULT_LABEL_COLOR)),
        style,
    )


def render_badge(options: Options, value: int) -> str:
    """Render a badge as an SVG document of at most `MAX_BYTES`. A label that is too long ends in an ellipsis."""
    return _render(options, f"{value:,}")


def render_refusal(detail: str) -> str:
    """Render a badge that explains a refusal, within the limits of `render_badge`."""
    options = Options("invalid badge", COLORS["critical"], COLORS[DEFAULT_LABEL_COLOR], DEFAULT_STYLE)
    return _render(options, _truncate(detail))


def _render(options: Options, message: str) -> str:
    style, label = STYLES[options.style], _truncate(options.label)
    parts = [(message, options.color, style.upper_case)]
    if label:
        parts.insert(0, (_truncate(options.label.upper()) if style.upper_case else label, options.label_color, False))
    boxes = texts = ""
    width = 0
    for text, color, is_bold in parts:
        text_width = _measure(text, style, is_bold=is_bold)
        box_width = round(text_width + 2 * style.padding)  # whole pixels make sharp edges
        boxes += f'<rect x="{width}" width="{box_width}" height="{style.height}" fill="#{color}"/>'
        position = f'x="{width + box_width / 2:.1f}" textLength="{text_width:.1f}"'
        texts += _render_text(text, color, style, position + (' font-weight="bold"' if is_bold else ""))
        width += box_width
    size, title = f'width="{width}" height="{style.height}"', escape(f"{label}: {message}" if label else message)
    if style.gradient:
        top, bottom = style.gradient
        boxes += (
            '<linearGradient id="s" x2="0" y2="1">'
            f'<stop stop-color="#fff" stop-opacity="{top}"/><stop offset="1" stop-opacity="{bottom}"/>'
            f'</linearGradient><rect {size} fill="url(#s)"/>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{title}"><title>{title}</title>'
        f'<clipPath id="c"><rect {size} rx="{style.corner}"/></clipPath><g clip-path="url(#c)">{boxes}</g>'
        f'<g font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="{style.font_px}" text-anchor="middle">'
        f"{texts}</g></svg>"
    )


def _render_text(text: str, background: str, style: _Style, position: str) -> str:
    if set(text) - _WIDTHS.keys():  # spacing would separate the letters of joined scripts, such as Arabic
        position += ' lengthAdjust="spacingAndGlyphs"'
    color, text = choose_text_color(background), escape(text)
    element = f'<text {position} y="{style.baseline}" fill="#{color}">{text}</text>'
    if color != _WHITE or style.upper_case:
        return element
    shadow = f'<text {position} y="{style.baseline + 1}" fill="#000" fill-opacity=".3" aria-hidden="true">{text}</text>'
    return f"{shadow}{element}"


def calculate_contrast(color: str, other: str) -> float:
    """Calculate the contrast ratio of two colors, from 1 to 21 (WCAG 2.2, 1.4.3)."""
    darker, lighter = sorted((_calculate_luminance(color), _calculate_luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def choose_text_color(background: str) -> str:
    """Choose white if it is readable on this color, else nearly black."""
    # WCAG requires a ratio of 3 for graphics. Its 4.5 for text would require black on the blue and red of shields.io.
    return _WHITE if calculate_contrast(_WHITE, background) >= 3 else _BLACK


def _parse_color(name: str, text: str) -> str:
    if text in COLORS:
        return COLORS[text]
    if re.fullmatch(HEX_COLOR, text):
        return (text if len(text) == 6 else "".join(digit * 2 for digit in text)).lower()
    raise InvalidRequestError(
        f"{name} must be 3 or 6 hexadecimal digits such as 4c1 or 44cc11, without #, or one of {', '.join(COLORS)}, "
        f"got {quote(text)}."
    )


def _truncate(text: str) -> str:
    if _fits(text):
        return text
    longest = min(len(text), _MAX_TEXT_LENGTH)
    return next(cut for end in range(longest, -1, -1) if _fits(cut := f"{text[:end]}…"))


def _fits(text: str) -> bool:
    return len(text) <= _MAX_TEXT_LENGTH and len(escape(text).encode()) <= _MAX_TEXT_BYTES


def _measure(text: str, style: _Style, *, is_bold: bool) -> float:
    """Return the width of a text in pixels. The width is at least 1, even if the text has only zero-width marks."""
    width = sum(map(_character_width, text)) / 1000 * style.font_px * (_BOLD if is_bold else 1)
    return max(width, 1) + len(text) * style.spacing


def _character_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    if unicodedata.east_asian_width(character) in "WF":
        return _WIDE
    if unicodedata.bidirectional(character) == "AL":
        return _ARABIC
    return _WIDTHS.get(unicodedata.normalize("NFD", character)[0], _DEFAULT_WIDTH)


def _calculate_luminance(color: str) -> float:
    channels = [int(color[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
