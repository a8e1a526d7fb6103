"""Parse and format the API's times, cursors and entity tags."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta
from decimal import MAX_PREC, Context, Decimal

from chalicelib.domain.events import LATEST_MS

VERSION_TAG = re.compile(r'"(0|[1-9][0-9]{0,17})"')

#: RFC 3339. `datetime.fromisoformat` also accepts other forms, which differ between versions.
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d):([0-5]\d|60)(\.\d+)?(Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII | re.IGNORECASE,
)
_EXACT = Context(prec=MAX_PREC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_time(text: str) -> Decimal:
    """
    Parse a time in RFC 3339 into seconds since 1970, exactly. A leap second is the first second of the next day.

    Raises:
        ValueError: the text is not such a time.
    """
    if not (match := _TIME.fullmatch(text)):
        raise ValueError(text)
    minute, second, fraction, offset = match.groups()
    minute_s = (datetime.fromisoformat(f"{minute}{offset.upper()}") - _EPOCH) // timedelta(seconds=1)
    whole_s = minute_s + int(second)
    if second == "60" and whole_s % 86_400:  # leap seconds are at the end of a day in UTC
        raise ValueError(text)
    return _EXACT.add(whole_s, Decimal(fraction or 0))


def floor_to_ms(time: Decimal) -> int:
    """
    Convert a time in seconds since 1970 to ms, rounded down without a floating-point error.

    The result is at most `LATEST_MS`. Every time before 1970 becomes -1, because nothing was recorded then.
    """
    numerator, denominator = time.as_integer_ratio()
    return min(max(numerator * 1000 // denominator, -1), LATEST_MS)


def format_time(ms: int) -> str:
    """Format milliseconds since 1970 as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03}Z"


def encode_cursor(last: str) -> str:
    """Encode the position of a page's last row as a cursor: URL-safe, opaque to clients, not secret."""
    return base64.urlsafe_b64encode(f"1 {last}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """
    Return the position that `encode_cursor` encoded.

    Raises:
        ValueError: the cursor does not have the format of `encode_cursor`.
    """
    text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    version, _, last = text.partition(" ")
    if version != "1":
        raise ValueError(cursor)
    return last


def format_version_tag(version: int) -> str:
    """Format a counter's version as an entity tag."""
    return f'"{version}"'


def hash_content(text: str) -> str:
    """Derive an entity tag from a body."""
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'


def quote(text: str) -> str:
    """Quote the start of a client's text for an error message, in ASCII."""
    return ascii(text if len(text) <= 20 else f"{text[:20]}...")
