"""Define the types of the commands' options, and the options that several commands share."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import click

from chalicelib import settings
from chalicelib.api import formats
from chalicelib.domain import events
from chalicelib.projections import PROJECTIONS


class _Parsed(click.ParamType[Any]):
    """An option's type. `parse` converts a text or raises a `ValueError`. The error message contains the `rule`."""

    def __init__(self, name: str, parse: Callable[[str], Any], rule: object, note: str = "") -> None:
        self.name, self._parse, self._rule, self._note = name, parse, rule, note

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._parse(value)
        except ValueError:
            self.fail(f"must be {self._rule}, got {value!r}.{self._note}", param, ctx)


def _parse_time(text: str) -> Decimal:
    """Return the time, or the start of a day in UTC, in seconds since 1970, exactly."""
    is_day = re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII)
    return formats.parse_time(f"{text}T00:00:00Z" if is_day else text)


def _parse_bound(text: str) -> int:
    """Return the first millisecond since 1970 that is not before the time."""
    numerator, denominator = _parse_time(text).as_integer_ratio()
    return -(-numerator * 1000 // denominator)


def _parse_age(text: str) -> int:
    """Return the age in seconds."""
    match = re.fullmatch("([0-9]{1,9}) ?(s|min|h|d)", text)
    if match is None:
        raise ValueError(text)
    return int(match[1]) * {"s": 1, "min": 60, "h": 3_600, "d": 86_400}[match[2]]


def _accept(is_valid: Callable[[str], bool]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not is_valid(text):
            raise ValueError(text)
        return text

    return parse


_TIME_RULE = "an RFC 3339 time such as 2026-01-31T12:00:00Z, or a day such as 2026-01-31"
_DAY_NOTE = " A day means its start in UTC."

#: The start or the end of a range, in milliseconds since 1970, rounded up: no event is in between.
BOUND = _Parsed("time", _parse_bound, _TIME_RULE, _DAY_NOTE)
#: A time whose state is shown, in milliseconds since 1970, rounded down as in the API.
PAST = _Parsed("time", lambda text: formats.floor_to_ms(_parse_time(text)), _TIME_RULE, _DAY_NOTE)
AGE = _Parsed("age", _parse_age, "a number with the unit s, min, h or d, such as 30min, 12h or 7d")
COUNTER_ID = _Parsed("counter", _accept(events.is_counter_id), events.COUNTER_ID)
COUNTER_PATTERN = _Parsed("pattern", _accept(settings.is_counter_pattern), settings.COUNTER_PATTERN)
#: An event's id, in upper or lower case.
EVENT_ID = _Parsed("event", lambda text: _accept(events.is_event_id)(text.lower()), events.EVENT_ID)

counters_option = click.option(
    "--counter", "counter_ids", type=COUNTER_ID, multiple=True, help="Only this counter. Repeatable."
)
from_option = click.option(
    "--from", "from_ms", type=BOUND, help="Only events recorded at or after TIME (RFC 3339, or a day in UTC)."
)
to_option = click.option(
    "--to", "to_ms", type=BOUND, help="Only events recorded before TIME (RFC 3339, or a day in UTC)."
)
projection_option = click.option(
    "--projection",
    "names",
    type=click.Choice([projection.name for projection in PROJECTIONS]),
    multiple=True,
    help="Only this projection (default: all). Repeatable.",
)
