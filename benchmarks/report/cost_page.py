"""Numbers of docs/cost.md, from the stored function steps and list prices."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from benchmarks import alternatives
from benchmarks.models import abuse, costing, deployed, fronts, limits, pricing, viewers
from benchmarks.models.costing import RATES, FunctionSteps
from benchmarks.report.markdown import Goal, format_list, format_usd
from chalicelib import settings, telemetry
from chalicelib.api.requests import MAX_LIMIT, MAX_STEPS
from chalicelib.extras import openapi
from chalicelib.projections import READ_MODEL, SQL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.models.costing import Load, Setup, Step

#: Assumed for comparison: the time of a request to a slow AWS.
_SLOW_MS: Final = 20

#: The metrics that the hourly check always writes, and its maximum of read units.
METRICS_OF_THE_CHECK: Final = 5
_READ_UNITS_OF_THE_CHECK: Final = 3000

#: An example of the setting WAF, in requests of an address in five minutes.
_WAF: Final = 2000
_WINDOWS_AN_HOUR: Final = 12

_HOURS_A_MONTH: Final = 30 * 24

#: The longest line that `authorize` logs for a token that it refuses, and the traceback that Lambda logs after it.
_REFUSAL_BYTES: Final = 1300

#: A consistent read of this size takes one unit (DynamoDB developer guide, "Read consistency and pricing").
_BYTES_OF_A_UNIT: Final = 4096

#: The size of a history's point with five digits for the number and eight for the sum.
_BYTES_OF_A_POINT: Final = len('{"start":"2026-11-24T12:00:00.000Z","increments":10000,"sum":10000000},')


#: The goals for a million increments, in USD: the fronts, whether the increments are on one counter, and the maximum.
_GOALS: Final = (("url", True, 1.50), ("url", False, 2.30), ("http", True, 2.50))

#: An example of the setting RESERVED_API.
_RESERVED_API: Final = 10


def view(section: Mapping[str, Any], of_fronts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context of the page, from the sections `function_steps` and `fronts`."""
    measured, setup = FunctionSteps.load(section["raw"]), deployed.read_setup()
    by_front = fronts.adapt_steps(measured, of_fronts["raw"])
    one, many, gathered = deployed.default_loads()
    slow = replace(setup, wait_ms=_SLOW_MS)
    command, query = measured.steps["increment"], measured.steps["counter"]
    parts = [costing.load_parts(measured, setup, one, rate) for rate in RATES]
    return {
        "pricing": pricing,
        "measured_on": section["measured_on"],
        "fronts": list_front_costs(by_front, setup),
        "front_goals": list_front_goals(by_front, setup),
        "fronts_measured_on": of_fronts["measured_on"],
        "url_ratio": fronts.cpu_ratio(of_fronts["raw"], "increment", "url"),
        "url_parts": list_url_parts(by_front["url"], setup),
        "refused_ms": setup.billed_ms("api_handler", by_front["url"].steps[fronts.REFUSED]),
        "cloudfront_usd": pricing.CLOUDFRONT_REQUESTS.of(costing.MILLION),
        "url_abuses": list_url_abuses(by_front["url"], setup),
        "reserved_api": _RESERVED_API,
        "rates": RATES,
        "parts": {part: [usd[part] for usd in parts] for part in costing.PARTS},
        "totals": [total_usd(measured, setup, one, rate) for rate in RATES],
        "query": [costing.price_queries(setup, query)] * len(RATES),
        "gathered": [total_usd(measured, setup, gathered, rate) for rate in RATES],
        "spread": [total_usd(measured, setup, many, rate) for rate in RATES],
        "alternatives": {
            each.name: ([price_alternative(measured, setup, each, rate) for rate in RATES], each.lacks)
            for each in alternatives.PRICED
        },
        "monthly": _price_month(measured),
        "viewers": list_viewers(setup, query),
        "polling": viewers.read_polling(),
        "locations": viewers.LOCATIONS,
        "viewers_of_all_details": math.floor(
            settings.read({"STAGE": "dev"}).expensive_reads_per_s * viewers.read_polling().first_s
        ),
        "viewers_that_stay": math.floor(
            settings.read({"STAGE": "dev"}).expensive_reads_per_s * viewers.read_longest_pause_of_details()
        ),
        "longest_pause_of_details_s": viewers.read_longest_pause_of_details(),
        "viewers_of_active": math.floor(
            settings.read({"STAGE": "dev"}).requests_per_s * viewers.read_polling().first_s
        ),
        "abuses": list_abuses(measured, setup),
        "strangers": list_strangers(measured, setup),
        "waf": _WAF,
        "waf_requests_an_hour": _WAF * _WINDOWS_AN_HOUR,
        "waf_addresses": math.ceil(
            settings.read({"STAGE": "dev"}).requests_per_s * abuse.SECONDS / _WAF / _WINDOWS_AN_HOUR
        ),
        "inspected_usd": pricing.INSPECTED_REQUESTS.of(costing.MILLION),
        "stored_usd": costing.price_storage(measured.event_bytes),
        "swap_usd": pricing.WRITE_UNITS.of(2) * costing.MILLION,
        "batches": [
            format_list([f"{load.batch(rate, setup.stream_batch):,}" for rate in RATES]) for load in (one, many)
        ],
        "lone_units": costing.counting_units(1, 1000).write,
        "full_units": costing.counting_units(100, 1000).write,
        "command_cpu_ms": command.cpu_ms,
        "wait_ms": costing.WAIT_MS,
        "slow_ms": _SLOW_MS,
        "command_ms": setup.billed_ms("api_handler", command),
        "query_ms": setup.billed_ms("api_handler", query),
        "slower": [total_usd(measured, slow, one, rate) - total_usd(measured, setup, one, rate) for rate in (1, 1000)],
        "gateway_shares": [usd["gateway"] / sum(usd.values()) for usd in (parts[0], parts[-1])],
        "window_s": gathered.window_s,
        "ten_markers_usd": pricing.WRITE_UNITS.of((2 + 2) - (2 + 2 / 10)) * costing.MILLION,
    }


def total_usd(measured: FunctionSteps, setup: Setup, load: Load, rate: int, front: fronts.Front = fronts.REST) -> float:
    """Return the cost of a million increments of this load, in USD."""
    return sum(costing.load_parts(measured, setup, load, rate, front).values())


def list_front_costs(steps: Mapping[str, FunctionSteps], setup: Setup) -> dict[str, list[float | None]]:
    """Return the costs of a million requests of each kind in USD, by front. A REST API does not check the secret."""
    one, many, _ = deployed.default_loads()
    loads = {
        "increments on one counter, 1,000 a second": (one, 1000),
        "increments on one counter, 1 a second": (one, 1),
        "increments spread over many counters, 1,000 a second": (many, 1000),
        "increments spread over many counters, 1 a second": (many, 1),
    }
    return {
        **{
            kind: [total_usd(steps[name], setup, load, rate, front) for name, front in fronts.FRONTS.items()]
            for kind, (load, rate) in loads.items()
        },
        "queries": [
            costing.price_queries(setup, steps[name].steps["counter"], front) for name, front in fronts.FRONTS.items()
        ],
        "commands refused without the secret": [
            costing.price_queries(setup, steps[name].steps[fronts.REFUSED], front)
            if fronts.REFUSED in steps[name].steps
            else None
            for name, front in fronts.FRONTS.items()
        ],
    }


def list_front_goals(steps: Mapping[str, FunctionSteps], setup: Setup) -> list[Goal]:
    """Return the goals of the fronts, at 1,000 increments a second, and the results."""
    one, many, _ = deployed.default_loads()
    goals = []
    for name, one_counter, most in _GOALS:
        usd = total_usd(steps[name], setup, one if one_counter else many, 1000, fronts.FRONTS[name])
        kind = "increments on one counter" if one_counter else "increments spread over many counters"
        goals.append(Goal(f"`{name}`: {kind}, 1,000 a second, at most {most:.2f}", format_usd(usd), usd <= most))
    return goals


def list_url_parts(steps: FunctionSteps, setup: Setup) -> str:
    """Return the parts of the cost behind a function URL at 1,000 increments a second on one counter, largest first."""
    parts = costing.load_parts(steps, setup, deployed.default_loads()[0], 1000, fronts.URL)
    largest = sorted(parts.items(), key=lambda part: -part[1])
    names = {"gateway": "transfer"}
    return format_list([f"{names.get(part, part)} {usd:.2f}" for part, usd in largest if usd >= 0.005])


def list_url_abuses(steps: FunctionSteps, setup: Setup) -> list[tuple[float, float]]:
    """
    Return the cost of an hour of increments sent to a function URL, in USD: counted, and refused without the secret.

    The first pair is for as many functions as a region runs at once, and the second for RESERVED_API.
    """
    _, many, _ = deployed.default_loads()
    refused_usd = costing.price_queries(setup, steps.steps[fronts.REFUSED], fronts.URL)
    abuses = []
    for functions in (limits.LIMITS["concurrent functions"].most, _RESERVED_API):
        a_second = abuse.REQUESTS_OF_A_FUNCTION * int(functions)
        counted_usd = total_usd(steps, setup, many, min(a_second, max(RATES)), fronts.URL)
        millions = a_second * abuse.SECONDS / costing.MILLION
        abuses.append((counted_usd * millions, refused_usd * millions))
    return abuses


def price_alternative(
    measured: FunctionSteps, setup: Setup, alternative: alternatives.Alternative, rate: int
) -> float | None:
    """Return the cost of a million increments, in USD, or None if the counter's item cannot support the rate."""
    if not costing.fits_one_item(alternative.counter_units, rate):
        return None
    size = setup.alternative_batch(rate, deployed.default_loads()[0].window_s)
    work = measured.steps[f"{alternative.name}: {size}"]
    batch = costing.AlternativeBatch(size, measured.alternative_message_bytes, work)
    return costing.price_alternative(setup, measured.steps["increment"], batch, rate)


def list_abuses(measured: FunctionSteps, setup: Setup) -> dict[str, tuple[float, list[str]]]:
    """Return the cost of an hour of each kind of abuse, in USD, and the limits that bound it, with default settings."""
    stage = settings.read({"STAGE": "dev"})
    _, many, _ = deployed.default_loads()
    query = measured.steps["counter"]
    millions = stage.requests_per_s * abuse.SECONDS / costing.MILLION
    every = f"`REQUESTS_PER_S` = {stage.requests_per_s:,}"
    expensive = f"`EXPENSIVE_READS_PER_S` = {stage.expensive_reads_per_s:,}"
    rows = f"`limit` of {MAX_LIMIT}"
    history_bytes, page_bytes = deployed.read_history_limits()
    past_bytes = sum(deployed.read_past_limits())
    # Rounded up, so that small changes of the document leave the page as it is.
    document_bytes = math.ceil(len(openapi.render_document(stage)) / 50_000) * 50_000
    row_bytes = {"event": measured.steps["increment"].answer_bytes, "other": query.answer_bytes}
    reads = {
        "histories": (
            abuse.Read(1 + (history_bytes + page_bytes) / _BYTES_OF_A_UNIT, MAX_STEPS * _BYTES_OF_A_POINT),
            [expensive, f"{MAX_STEPS:,} points", f"{history_bytes // 2**20} MB of archive pages"],
        ),
        "pages of events": (abuse.Read(2 + MAX_LIMIT / 2, MAX_LIMIT * row_bytes["event"]), [expensive, rows]),
        "pages of counters": (abuse.Read(MAX_LIMIT / 8, MAX_LIMIT * row_bytes["other"]), [expensive, rows]),
        "reports, without the database": (abuse.Read(0, MAX_LIMIT * row_bytes["other"]), [expensive, rows]),
        "OpenAPI documents": (abuse.Read(0, document_bytes), [expensive, f"{document_bytes // 1000} KB"]),
    }
    functions = limits.LIMITS["concurrent functions"]
    return {
        "increments": (total_usd(measured, setup, many, stage.requests_per_s) * millions, [every]),
        "queries of a counter": (costing.price_queries(setup, query) * millions, [every]),
        "states of a counter at a time": (
            # Read twice if the counter has counted late events. Clients cannot cause the events of a third reading.
            abuse.price_reads(
                abuse.Read(2 * (1 + past_bytes / _BYTES_OF_A_UNIT), query.answer_bytes), stage.requests_per_s
            ),
            [every, f"{deployed.read_past_limits()[0] // 1024} KB of archive pages"],
        ),
        **{
            name: (abuse.price_reads(read, stage.expensive_reads_per_s), bounds)
            for name, (read, bounds) in reads.items()
        },
        "functions of all these reads": (
            abuse.price_functions(setup.memory_mb["api_handler"]),
            [f"{functions.most:,} {functions.unit}"],
        ),
    }


def list_viewers(setup: Setup, query: Step) -> list[tuple[int, str, list[float]]]:
    """
    Return the cost of viewers of one counter, in USD: their number, what the counter does, and the costs.

    The costs are those of an hour, and then of a month: without a CDN, behind CloudFront, and behind Cloudflare.
    """
    spans = (abuse.SECONDS, _HOURS_A_MONTH * abuse.SECONDS)
    cdns = (None, viewers.CLOUDFRONT, viewers.CLOUDFLARE)
    return [
        (
            number,
            "active" if is_active else "idle",
            [
                viewers.price_viewers(setup, query, viewers.Viewers(number, seconds, is_active), cdn)
                for seconds in spans
                for cdn in cdns
            ],
        )
        for number in (1, 100, 10_000)
        for is_active in (False, True)
    ]


def list_strangers(measured: FunctionSteps, setup: Setup) -> list[tuple[str, str, float, str]]:
    """
    Return what an hour of increments by a stranger does, with default limits and under settings that restrict access.

    Each row has the settings, what happens to the requests, the cost in USD, and what stays.
    """
    stage = settings.read({"STAGE": "dev"})
    requests = stage.requests_per_s * abuse.SECONDS
    all_usd = list_abuses(measured, setup)["increments"][0]
    refused = replace(measured.steps["counter"], requests=0, read_units=0)
    refused_usd = costing.price_queries(setup, refused) * requests / costing.MILLION
    authorized_usd = (
        costing.price_run(setup, "api_handler", refused)
        + pricing.LOG_BYTES.of(len(costing.PLATFORM_LINES) + _REFUSAL_BYTES)
    ) * requests
    admitted = _WAF * _WINDOWS_AN_HOUR
    waf_usd = all_usd * admitted / requests + pricing.INSPECTED_REQUESTS.of(requests)
    counted = f"{requests:,} counted"
    month = f"{costing.price_storage(measured.event_bytes) * requests / costing.MILLION:.2f} USD a month"
    return [
        (
            "`COUNTERS` is `*`",
            f"{counted}, on as many new counters",
            all_usd,
            f"{requests:,} events, {month}; counters",
        ),
        (
            "`COUNTERS` has names",
            f"{counted}, on these counters",
            all_usd,
            f"{requests:,} events, {month}; wrong values",
        ),
        ("", f"{requests:,} on other counters refused by the function", refused_usd, "nothing"),
        ("`WRITERS` is `api-key` or `iam`", "refused by the gateway", 0.0, "nothing"),
        (
            "`WRITERS` is `jwt`",
            "refused by the authorizer, which each invalid token invokes",
            authorized_usd,
            "nothing",
        ),
        (
            f"`WAF` is {_WAF:,}; one address",
            f"{admitted:,} counted; the others refused by the firewall",
            waf_usd,
            f"{admitted:,} events",
        ),
    ]


def _price_month(measured: FunctionSteps) -> dict[str, float]:
    others = len(telemetry.list_metrics([READ_MODEL, SQL])) - METRICS_OF_THE_CHECK
    return {
        "Lambda's polling of an idle projection queue": costing.price_idle_month(),
        f"the {METRICS_OF_THE_CHECK} metrics that the hourly check always writes": pricing.METRIC_MONTHS.of(
            METRICS_OF_THE_CHECK
        ),
        f"the other {others} metrics, if each is written all the time": pricing.METRIC_MONTHS.of(others),
        f"the hourly check, if each reads {_READ_UNITS_OF_THE_CHECK:,} units": costing.price_hourly_reads(
            _READ_UNITS_OF_THE_CHECK
        ),
        "storage of a million events in the log": costing.price_storage(measured.event_bytes),
        "the web ACL and its rule, with `WAF`": pricing.WEB_ACL_MONTHS.of(1) + pricing.WEB_ACL_RULE_MONTHS.of(1),
    }
