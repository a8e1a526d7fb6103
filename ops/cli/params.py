"""What the commands' options may hold; what is none of it is refused in one line that says what would be right."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from chalicelib.domain.events import is_counter_id

if TYPE_CHECKING:
    from typing import Any


class Time(click.ParamType[int]):
    """A moment as RFC 3339 writes it, as milliseconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = datetime.min  # noqa: DTZ901  (to be refused for its lack of a zone)
        if moment.tzinfo is None or "T" not in value.upper():
            self.fail(f"{value!r} is no time as RFC 3339 writes it, such as 2026-01-31T12:00:00Z", param, ctx)
        return round(moment.timestamp() * 1000)


class CounterId(click.ParamType[str]):
    """The name of a counter."""

    name = "counter"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_counter_id(value):
            self.fail(f"{value!r} names no counter: 1 to 64 of A-Z a-z 0-9 . _ ~ -", param, ctx)
        return str(value)


TIME = Time()
COUNTER_ID = CounterId()
