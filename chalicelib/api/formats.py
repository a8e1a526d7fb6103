"""Text formats of the API: times, cursors and entity tags."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chalicelib.domain.counter import Counter


VERSION_TAG = re.compile(r'"(0|[1-9][0-9]{0,17})"')


_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]((?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2})(\.[0-9]{1,9})?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)


def to_cursor(last: str) -> str:
    """A cursor that says what was last on a page, in ASCII; opaque to clients, and no secret."""
    return base64.urlsafe_b64encode(f"1 {last}".encode()).decode().rstrip("=")


def seconds(text: str) -> Decimal:
    """
    Seconds since 1970 of a time as RFC 3339 writes it, of which a fraction is left as it is.

    Raises:
        ValueError: it is none.
    """
    if not (found := _TIME.fullmatch(text)):
        raise ValueError(text)
    date, clock, fraction, sign, hours, minutes = found.groups()
    # An offset is subtracted by hand: with it, a time may lie beyond the years that a datetime has.
    at = datetime.fromisoformat(f"{date}T{clock}+00:00") - datetime(1970, 1, 1, tzinfo=UTC)
    offset_s = int(f"{sign}1") * (int(hours) * 3600 + int(minutes) * 60) if sign else 0
    return at.days * 86_400 + at.seconds - offset_s + Decimal(fraction or 0)


def rfc3339(ms: int) -> str:
    """A time in milliseconds since 1970 as answers write it: RFC 3339, in UTC, to the millisecond."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03}Z"


def digest_tag(text: str) -> str:
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'


def etag(counter: Counter) -> str:
    return f'"{counter.version}"'
