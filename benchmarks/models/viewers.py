"""
Compute what viewers of one counter cost, in USD, by the polling intervals of the page.

A viewer reads the counter once and then polls it. Behind a CDN, each location of the CDN asks the API for a cached read
at most once a second. The first read of each viewer bypasses the cache.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.models import costing, fronts, pricing
from benchmarks.models.costing import Costs

_WEB: Final = Path(__file__).parents[2] / "web"


def _read_constants(module: str) -> dict[str, float]:
    """Return the constants of a module of the page."""
    source = (_WEB / module).read_text(encoding="utf-8")
    constants = re.findall(r"^const (\w+) = ([\d_.]+);$", source, re.MULTILINE)
    return {name: float(value) for name, value in constants}


_POLLING: Final = _read_constants("client/polling.js")

#: The pauses between the polls of a viewer, in seconds: the first, their growth, and the longest.
FIRST_S: Final = _POLLING["IDLE_MS"] / 1000
GROWTH: Final = _POLLING["GROWTH"]
LONGEST_S: Final = _POLLING["MAX_IDLE_MS"] / 1000

#: The longest pause between reads of the details of an active counter, in seconds.
LONGEST_OF_DETAILS_S: Final = _read_constants("page/details.js")["MAX_INTERVAL_MS"] / 1000

#: The assumed number of CDN locations that serve the viewers.
LOCATIONS: Final = 10


def count_polls(seconds: int, *, is_active: bool) -> int:
    """Count the polls of a viewer in this time. An active counter has changed at each poll, an idle counter has not."""
    if is_active:
        return int(seconds / FIRST_S)
    polls, pause_s, elapsed_s = 0, FIRST_S, FIRST_S
    while elapsed_s <= seconds:
        polls += 1
        pause_s = min(pause_s * GROWTH, LONGEST_S)
        elapsed_s += pause_s
    return polls


def price_cloudfront(answer_bytes: int) -> float:
    """Return the price of a response of this size from CloudFront."""
    return pricing.CLOUDFRONT_REQUESTS.of(1) + pricing.CLOUDFRONT_BYTES_OUT.of(answer_bytes)


def price_cloudflare(_answer_bytes: int) -> float:
    """Return the price of a response from Cloudflare, whose Free plan charges neither requests nor bytes."""
    return 0.0


def price(
    costs: Costs, number: int, seconds: int, *, is_active: bool, cdn: Callable[[int], float] | None = None
) -> float:
    """Return the cost of this number of viewers that all watch one counter for this time."""
    query = costs.measured.steps["counter"]
    read_usd = costs.price_requests(query) / costing.MILLION
    polls = number * count_polls(seconds, is_active=is_active)
    if cdn is None:
        return (number + polls) * read_usd
    response_usd = cdn(query.answer_bytes + len(fronts.REST.headers))
    return (number + min(polls, LOCATIONS * seconds)) * read_usd + (number + polls) * response_usd
