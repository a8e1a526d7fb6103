"""
Compute the maximum cost, in USD, that clients can cause in an hour within a stage's limits.

API Gateway does not charge for the requests that it refuses (API Gateway developer guide, "Pricing"). The function time
of expensive reads is not estimated for each kind, because a region's limit on concurrent invocations bounds it.
"""

import math
from dataclasses import replace
from typing import Final

from benchmarks.models import costing, fronts, limits, pricing
from benchmarks.models.costing import Costs
from benchmarks.models.deployed import MANY, STAGE
from benchmarks.models.steps import REFUSED, Step
from chalicelib.api.requests import MAX_LIMIT, MAX_STEPS
from chalicelib.extras import openapi
from chalicelib.read_model import past, queries

SECONDS: Final = 3600
REQUESTS: Final = STAGE.requests_per_s * SECONDS

#: Maximum requests per second per concurrent function (Lambda developer guide, "Creating and managing function URLs").
_REQUESTS_OF_A_FUNCTION: Final = 10

#: Example values of the settings WAF (requests of an address in five minutes) and RESERVED_API.
WAF: Final = 2000
WAF_REQUESTS: Final = WAF * 12
RESERVED_API: Final = 10

#: The longest line that `authorize` logs for a token that it refuses, and the traceback that Lambda logs after it.
_REFUSAL_BYTES: Final = 1300

#: A consistent read of this size consumes one unit (DynamoDB developer guide, "Read consistency and pricing").
_BYTES_OF_A_UNIT: Final = 4096

#: The size of a point in a history, with five digits for the number and eight for the sum.
_BYTES_OF_A_POINT: Final = len('{"start":"2026-11-24T12:00:00.000Z","increments":10000,"sum":10000000},')

#: Rounded up, so that small changes of the OpenAPI document do not change the page.
DOCUMENT_BYTES: Final = math.ceil(len(openapi.render_document(STAGE)) / 50_000) * 50_000


def price_kinds(costs: Costs) -> dict[str, float]:
    """Return the cost per hour of each kind of request, and of the functions. Reads return the largest response."""
    command, query = (costs.measured.steps[name] for name in ("increment", "counter"))
    history_units = 1 + queries.HISTORY_BYTES / _BYTES_OF_A_UNIT + queries.PAGES_AT_ONCE
    expensive = {
        "histories": Step(read_units=history_units, answer_bytes=MAX_STEPS * _BYTES_OF_A_POINT),
        "events": Step(read_units=2 + MAX_LIMIT / 2, answer_bytes=MAX_LIMIT * command.answer_bytes),
        "counters": Step(read_units=MAX_LIMIT / 8, answer_bytes=MAX_LIMIT * query.answer_bytes),
        "reports": Step(answer_bytes=MAX_LIMIT * query.answer_bytes),
        "documents": Step(answer_bytes=DOCUMENT_BYTES),
    }
    # The pages are read twice if the counter has counted late events. Clients cannot cause events that require a third
    # read.
    past_units = 2 * (1 + past.PAST_BYTES / _BYTES_OF_A_UNIT + past.PAGES_AT_ONCE)
    return {
        "increments": costs.price_total(MANY, STAGE.requests_per_s) * REQUESTS / costing.MILLION,
        "queries": costs.price_requests(query) * REQUESTS / costing.MILLION,
        "states": price_reads(replace(query, read_units=past_units), STAGE.requests_per_s),
        **{name: price_reads(read, STAGE.expensive_reads_per_s) for name, read in expensive.items()},
        "functions": price_functions(costs.setup.memory_mb["api_handler"]),
    }


def price_reads(read: Step, a_second: float) -> float:
    """Return the cost per hour of reads at this rate per second, without the functions' time."""
    usd = (
        fronts.REST.price(read.answer_bytes)
        + pricing.INVOCATIONS.of(1)
        + pricing.READ_UNITS.of(read.read_units)
        + pricing.LOG_BYTES.of(len(costing.PLATFORM_LINES))
    )
    return usd * a_second * SECONDS


def price_functions(memory_mb: int) -> float:
    """Return the cost per hour of a region's maximum number of functions, with this memory."""
    return pricing.GB_SECONDS.of(limits.FUNCTIONS.most * memory_mb / 1024 * SECONDS)


def price_increments_of_strangers(costs: Costs) -> dict[str, float]:
    """Return the cost per hour of increments: counted, refused by the function or authorizer, or limited by `WAF`."""
    counted_usd = price_kinds(costs)["increments"]
    refused = replace(costs.measured.steps["counter"], requests=0, read_units=0)
    authorizer_usd = costs.setup.price_run("api_handler", refused) + pricing.LOG_BYTES.of(
        len(costing.PLATFORM_LINES) + _REFUSAL_BYTES
    )
    return {
        "counted": counted_usd,
        "refused": costs.price_requests(refused) * REQUESTS / costing.MILLION,
        "authorizer": authorizer_usd * REQUESTS,
        "waf": counted_usd * WAF_REQUESTS / REQUESTS + pricing.INSPECTED_REQUESTS.of(REQUESTS),
    }


def price_url(costs: Costs, functions: int) -> tuple[float, float]:
    """Return the cost per hour of commands to a URL with this many concurrent invocations: counted, and refused."""
    a_second = _REQUESTS_OF_A_FUNCTION * functions
    millions = a_second * SECONDS / costing.MILLION
    counted_usd = costs.price_total(MANY, min(a_second, max(costing.RATES)))
    return counted_usd * millions, costs.price_requests(costs.measured.steps[REFUSED]) * millions
