"""Retry with random waits after conflicts and throttling."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_WAIT_S = 0.02
_LONGEST_WAIT_S = 0.5
_PAUSE_S = 0.1


def with_backoff(limit: int) -> Iterator[int]:
    """
    Yield 0, 1, 2, ... up to `limit` - 1, with a random wait before each number except the first.

    The wait is uniformly random up to a bound, which doubles from 20 ms to half a second. Concurrent writers therefore
    spread out ("full jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    for attempt in range(limit):
        if attempt:
            time.sleep(draw_wait_s(attempt, _LONGEST_WAIT_S))
        yield attempt


def draw_wait_s(attempt: int, longest_s: float) -> float:
    """
    Draw a random wait, in seconds, after this number of attempts.

    The wait is at most 20 ms after the first attempt. The limit doubles after each further attempt, up to `longest_s`.
    """
    return random.uniform(0, min(longest_s, _FIRST_WAIT_S * 2 ** (attempt - 1)))  # noqa: S311  (no secret)


def pause() -> None:
    """Wait for a random time between 50 and 100 ms."""
    time.sleep(random.uniform(_PAUSE_S / 2, _PAUSE_S))  # noqa: S311  (no secret)
