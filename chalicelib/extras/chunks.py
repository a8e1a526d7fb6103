"""Split an iterable into lists of limited size."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_T = TypeVar("_T")


def chunked(things: Iterable[_T], most: int) -> Iterator[list[_T]]:
    """The same things, in order, up to `most` at a time."""
    remaining = iter(things)
    while some := list(islice(remaining, most)):
        yield some
