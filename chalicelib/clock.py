"""The clock of this machine."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return the current time, in ms since 1970 in UTC."""
    return time.time_ns() // 1_000_000
