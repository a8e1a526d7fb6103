"""Progress of long work, for people: on standard error, and only where somebody looks."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_EVERY_S = 0.2


@contextlib.contextmanager
def shown(label: str, about: int | None, unit: str = "events") -> Iterator[Callable[[int], None]]:
    """
    While the block runs, how much is done is shown, with the rate and, where it is known about how much there is, the
    time that remains. Gives a function, for any thread, that is told how much more is done.
    """
    progress = _Progress(label, about, unit)
    try:
        yield progress.advance
    finally:
        progress.end()


@contextlib.contextmanager
def told() -> Iterator[Callable[[str], None]]:
    """While the block runs, the last thing that was told to the function that it gets is shown, in one line."""
    visible = sys.stderr.isatty()

    def tell(line: str) -> None:
        if visible:
            click.echo(f"\r\033[K{line}", err=True, nl=False)

    try:
        yield tell
    finally:
        tell("")


class _Progress:
    def __init__(self, label: str, about: int | None, unit: str) -> None:
        self._label, self._about, self._unit = label, about, unit
        self._lock = threading.Lock()
        self._began = self._shown = time.monotonic()
        self._done = 0
        self._visible = sys.stderr.isatty()

    def advance(self, by: int) -> None:
        with self._lock:
            self._done += by
            now = time.monotonic()
            if self._visible and now - self._shown >= _EVERY_S:
                self._shown = now
                click.echo(f"\r\033[K{self._line(now)}", err=True, nl=False)

    def end(self) -> None:
        if self._visible:
            click.echo(f"\r\033[K{self._line(time.monotonic())}", err=True)

    def _line(self, now: float) -> str:
        rate = self._done / max(now - self._began, 0.001)
        line = f"{self._label}: {self._done:,} {self._unit}, {rate:,.0f}/s"
        if self._about and rate and self._done < self._about:
            line += f", {self._done / self._about:.0%}, about {(self._about - self._done) / rate:,.0f} s left"
        return line
