"""Types of the commands' options."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from chalicelib import settings
from chalicelib.api import formats
from chalicelib.domain import events

if TYPE_CHECKING:
    from typing import Any


class Time(click.ParamType[int]):
    """An RFC 3339 time, or a day, which is its start in UTC. Converted to milliseconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
            value += "T00:00:00Z"
        try:
            return round(formats.parse_time(value) * 1000)
        except ValueError:
            self.fail(
                f"must be an RFC 3339 time such as 2026-01-31T12:00:00Z, got {value!r}. A day is its start in UTC.",
                param,
                ctx,
            )


class CounterId(click.ParamType[str]):
    """The id of a counter."""

    name = "counter"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not events.is_counter_id(value):
            self.fail(f"must be {events.COUNTER_ID}, got {value!r}.", param, ctx)
        return str(value)


class EventId(click.ParamType[str]):
    """The id of an event, in upper or lower case."""

    name = "event"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not events.is_event_id(value.lower()):
            self.fail(f"must be {events.EVENT_ID}, got {value!r}.", param, ctx)
        return str(value).lower()


class CounterPattern(click.ParamType[str]):
    """A counter's name, or a pattern in which `*` is any text."""

    name = "pattern"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not settings.is_counter_pattern(value):
            self.fail(f"must be {settings.COUNTER_PATTERN}, got {value!r}.", param, ctx)
        return str(value)


class Age(click.ParamType[int]):
    """An age such as 30min, 12h or 7d, converted to seconds."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch("([0-9]{1,9}) ?(s|min|h|d)", value)
        if match is None:
            self.fail(f"must be a number of s, min, h or d, such as 30min, 12h or 7d, got {value!r}.", param, ctx)
        return int(match[1]) * {"s": 1, "min": 60, "h": 3_600, "d": 86_400}[match[2]]


TIME = Time()
AGE = Age()
COUNTER_ID = CounterId()
COUNTER_PATTERN = CounterPattern()
EVENT_ID = EventId()
