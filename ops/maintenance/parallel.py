"""The log in parts that are read at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_T = TypeVar("_T")

#: So many are read at once, of a log that is read whole.
PARTS = 4


def each(
    parts: Iterable[Iterable[_T]],
    work: Callable[[Iterable[_T], Callable[[int], None]], None],
    advance: Callable[[int], None],
) -> None:
    """
    The work is done on each part, on some at a time. It is given what to tell how much is done.

    Cut off, or where one part fails, the others end as soon as they tell something.
    """
    cut_off = threading.Event()

    def advance_unless_cut_off(by: int) -> None:
        if cut_off.is_set():
            raise CancelledError
        advance(by)

    with ThreadPoolExecutor(PARTS) as pool:
        try:
            for done in [pool.submit(work, part, advance_unless_cut_off) for part in parts]:
                done.result()
        except BaseException:
            cut_off.set()  # or the end of the block would wait until all is done
            raise
