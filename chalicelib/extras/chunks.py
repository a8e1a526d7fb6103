"""Split an iterable into lists of limited size."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_T = TypeVar("_T")


def split_into_chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Yield the items in order, in lists of `size`. The last list may be shorter."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk
