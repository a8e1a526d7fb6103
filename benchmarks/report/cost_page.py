"""Numbers of docs/cost.md, from the stored function steps and list prices."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from benchmarks import alternatives
from benchmarks.models import abuse, costing, deployed, limits, pricing, steps, viewers
from benchmarks.models.costing import MILLION, RATES, Costs
from benchmarks.models.deployed import GATHERED, MANY, ONE, STAGE
from benchmarks.report.goals import Goal
from benchmarks.report.markdown import format_list, format_usd
from chalicelib import telemetry
from chalicelib.api.requests import MAX_LIMIT, MAX_STEPS
from chalicelib.projections import READ_MODEL, SQL
from chalicelib.read_model import past, queries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.models.costing import Load

#: Assumed for comparison: the time of a request to a slow AWS.
_SLOW_MS: Final = 20

#: The metrics that the hourly check always writes, and its maximum of read units.
METRICS_OF_THE_CHECK: Final = 5
_READ_UNITS_OF_THE_CHECK: Final = 3000

_HOURS_A_MONTH: Final = 30 * 24

#: The goals for a million increments, in USD: the fronts, the increments, and the maximum.
_GOALS: Final = (
    ("url", "increments on one counter, 1,000 a second", 1.50),
    ("url", "increments spread over many counters, 1,000 a second", 2.30),
    ("http", "increments on one counter, 1,000 a second", 2.50),
)


def view(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context of the page, from the sections `function_steps` and `fronts`."""
    by_front = deployed.read_fronts(figures)
    costs, url = by_front["rest"], by_front["url"]
    setup, command, query = costs.setup, *(costs.measured.steps[name] for name in ("increment", "counter"))
    slow = replace(costs, setup=replace(setup, wait_ms=_SLOW_MS))
    parts = [costs.price_load(ONE, rate) for rate in RATES]
    fronts_usd = price_fronts(by_front)

    def list_totals(load: Load) -> list[float]:
        return [costs.total(load, rate) for rate in RATES]

    return {
        **{module.__name__.rpartition(".")[2]: module for module in (abuse, costing, past, pricing, queries, viewers)},
        **{"stage": STAGE, "rates": RATES, "million": MILLION, "max_limit": MAX_LIMIT, "max_steps": MAX_STEPS},
        "measured_on": figures["function_steps"]["measured_on"],
        "fronts": fronts_usd,
        "front_goals": list_front_goals(fronts_usd),
        "fronts_measured_on": figures["fronts"]["measured_on"],
        "url_ratio": steps.cpu_ratio(figures["fronts"]["raw"], "increment", "url"),
        "url_parts": _list_url_parts(url),
        "refused_ms": setup.billed_ms("api_handler", url.measured.steps[steps.REFUSED]),
        "functions": int(limits.LIMITS["concurrent functions"].most),
        "url": url,
        "parts": {part: [usd[part] for usd in parts] for part in costing.PARTS},
        "totals": list_totals(ONE),
        "query": [costs.price_requests(query)] * len(RATES),
        "gathered": list_totals(GATHERED),
        "spread": list_totals(MANY),
        "alternatives": {
            each.name: ([price_alternative(costs, each, rate) for rate in RATES], each.lacks)
            for each in alternatives.PRICED
        },
        "metrics": METRICS_OF_THE_CHECK,
        "other_metrics": len(telemetry.list_metrics([READ_MODEL, SQL])) - METRICS_OF_THE_CHECK,
        "units_of_the_check": _READ_UNITS_OF_THE_CHECK,
        "hours_a_month": _HOURS_A_MONTH,
        "viewers_usd": [
            (number, is_active, _price_viewers(costs, number, is_active=is_active))
            for number in (1, 100, 10_000)
            for is_active in (False, True)
        ],
        "polling": viewers.read_polling(),
        "longest_pause_of_details_s": viewers.read_longest_pause_of_details(),
        "abuses": abuse.price_kinds(costs),
        "strangers": abuse.price_increments_of_strangers(costs),
        "stored_usd": costs.price_storage(),
        "batches": [[f"{load.batch(rate, setup.stream_batch):,}" for rate in RATES] for load in (ONE, MANY)],
        "command_cpu_ms": command.cpu_ms,
        "slow_ms": _SLOW_MS,
        "command_ms": setup.billed_ms("api_handler", command),
        "query_ms": setup.billed_ms("api_handler", query),
        "slower": [slow.total(ONE, rate) - costs.total(ONE, rate) for rate in (1, 1000)],
        "gateway_shares": [usd["gateway"] / sum(usd.values()) for usd in (parts[0], parts[-1])],
        "window_s": GATHERED.window_s,
    }


def price_fronts(by_front: Mapping[str, Costs]) -> dict[str, dict[str, float | None]]:
    """Return the costs of a million requests of each kind, by front. A REST API does not check the secret."""

    def price(costs: Costs, name: str) -> float | None:
        step = costs.measured.steps.get(name)
        return costs.price_requests(step) if step else None

    usd: dict[str, dict[str, float | None]] = {
        f"increments {kind}, {rate:,} a second": {name: costs.total(load, rate) for name, costs in by_front.items()}
        for kind, load in (("on one counter", ONE), ("spread over many counters", MANY))
        for rate in (1000, 1)
    }
    for kind, step in (("queries", "counter"), ("commands refused without the secret", steps.REFUSED)):
        usd[kind] = {name: price(costs, step) for name, costs in by_front.items()}
    return usd


def list_front_goals(fronts_usd: Mapping[str, Mapping[str, float | None]]) -> list[Goal]:
    """Return the goals of the fronts and the results."""
    goals = []
    for front, kind, most in _GOALS:
        usd = fronts_usd[kind][front]
        assert usd is not None
        goals.append(Goal(f"`{front}`: {kind}, at most {most:.2f}", format_usd(usd), usd <= most))
    return goals


def _list_url_parts(costs: Costs) -> str:
    """Return the parts of the cost at 1,000 increments a second on one counter, largest first."""
    largest = sorted(costs.price_load(ONE, 1000).items(), key=lambda part: -part[1])
    names = {"gateway": "transfer"}
    return format_list([f"{names.get(part, part)} {usd:.2f}" for part, usd in largest if usd >= 0.005])


def price_alternative(costs: Costs, alternative: alternatives.Alternative, rate: int) -> float | None:
    """Return the cost of a million increments, or None if the counter's item cannot support the rate."""
    if not costing.fits_one_item(alternative.counter_units, rate):
        return None
    events = costs.setup.alternative_batch(rate, ONE.window_s)
    return costs.price_alternative(events, costs.measured.steps[f"{alternative.name}: {events}"], rate)


def _price_viewers(costs: Costs, number: int, *, is_active: bool) -> list[float]:
    """Return the cost for an hour and a month: without a CDN, behind CloudFront, and behind Cloudflare."""
    return [
        viewers.price(costs, number, seconds, is_active=is_active, cdn=cdn)
        for seconds in (abuse.SECONDS, _HOURS_A_MONTH * abuse.SECONDS)
        for cdn in (None, viewers.cloudfront, viewers.cloudflare)
    ]
