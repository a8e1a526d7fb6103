"""
Compute what clients can make a stage cost in an hour, in USD, if they send as many requests as its limits admit.

API Gateway does not charge for the requests that it refuses (API Gateway developer guide, "Pricing"). The function
time of expensive reads is not estimated for each kind: the limit of concurrent functions of a region bounds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.models import costing, fronts, limits, pricing

SECONDS: Final = 3600

#: Requests a second for each concurrent function (Lambda developer guide, "Creating and managing function URLs").
REQUESTS_OF_A_FUNCTION: Final = 10


@dataclass(frozen=True, slots=True)
class Read:
    """The largest response of a kind of read: its read units, and its size in bytes with the function's headers."""

    read_units: float
    answer_bytes: int


def price_reads(read: Read, a_second: float) -> float:
    """Return the cost of an hour of these reads, without the functions' time."""
    usd = (
        fronts.REST.price(read.answer_bytes)
        + pricing.INVOCATIONS.of(1)
        + pricing.READ_UNITS.of(read.read_units)
        + pricing.LOG_BYTES.of(len(costing.PLATFORM_LINES))
    )
    return usd * a_second * SECONDS


def price_functions(memory_mb: int) -> float:
    """Return the cost of an hour in which as many functions of this memory run as a region allows."""
    return pricing.GB_SECONDS.of(limits.LIMITS["concurrent functions"].most * memory_mb / 1024 * SECONDS)
