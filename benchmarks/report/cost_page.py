"""Compute the numbers in docs/cost.md from the stored function steps and list prices."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from benchmarks import alternatives
from benchmarks.models import abuse, costing, deployed, limits, pricing, steps, viewers
from benchmarks.models.costing import Costs
from benchmarks.models.deployed import MANY, ONE
from benchmarks.report.goals import Goal
from benchmarks.report.markdown import format_usd
from chalicelib import telemetry
from chalicelib.api.requests import MAX_LIMIT, MAX_STEPS
from chalicelib.projections import READ_MODEL, SQL
from chalicelib.read_model import past, queries

#: Assumed for comparison: the time of a request to a slow AWS.
_SLOW_MS: Final = 20

#: The number of metrics that the hourly check always writes, and the maximum number of read units that it uses.
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
    costs, fronts_usd = by_front["rest"], price_fronts(by_front)
    modules = (abuse, costing, deployed, limits, past, pricing, queries, steps, viewers)
    return {
        **{module.__name__.rpartition(".")[2]: module for module in modules},
        "function_steps": figures["function_steps"],
        "fronts": figures["fronts"],
        "costs": costs,
        "setup": costs.setup,
        "command": costs.measured.steps["increment"],
        "query": costs.measured.steps["counter"],
        "url": by_front["url"],
        "slow": replace(costs, setup=replace(costs.setup, wait_ms=_SLOW_MS)),
        "fronts_usd": fronts_usd,
        "front_goals": list_front_goals(fronts_usd),
        "alternatives": {
            each: [price_alternative(costs, each, rate) for rate in costing.RATES] for each in alternatives.PRICED
        },
        "viewers_usd": [
            (number, is_active, _price_viewers(costs, number, is_active=is_active))
            for number in (1, 100, 10_000)
            for is_active in (False, True)
        ],
        "max_limit": MAX_LIMIT,
        "max_steps": MAX_STEPS,
        "metrics": METRICS_OF_THE_CHECK,
        "other_metrics": len(telemetry.list_metrics([READ_MODEL, SQL])) - METRICS_OF_THE_CHECK,
        "units_of_the_check": _READ_UNITS_OF_THE_CHECK,
        "hours_a_month": _HOURS_A_MONTH,
    }


def price_fronts(by_front: Mapping[str, Costs]) -> dict[str, dict[str, float | None]]:
    """
    Return the costs of a million requests of each kind, by front.

    A REST API does not check the CDN's secret, so the cost of commands that lack the secret is None.
    """

    def price(costs: Costs, name: str) -> float | None:
        step = costs.measured.steps.get(name)
        return costs.price_requests(step) if step else None

    usd: dict[str, dict[str, float | None]] = {
        f"increments {kind}, {rate:,} a second": {
            name: costs.price_total(load, rate) for name, costs in by_front.items()
        }
        for kind, load in (("on one counter", ONE), ("spread over many counters", MANY))
        for rate in (1000, 1)
    }
    for kind, step in (("queries", "counter"), ("commands refused without the secret", steps.REFUSED)):
        usd[kind] = {name: price(costs, step) for name, costs in by_front.items()}
    return usd


def list_front_goals(fronts_usd: Mapping[str, Mapping[str, float | None]]) -> list[Goal]:
    """Return the goals of the fronts and their results."""
    goals = []
    for front, kind, most in _GOALS:
        usd = fronts_usd[kind][front]
        assert usd is not None
        goals.append(Goal(f"`{front}`: {kind}, at most {most:.2f}", format_usd(usd), usd <= most))
    return goals


def price_alternative(costs: Costs, alternative: alternatives.Alternative, rate: int) -> float | None:
    """Return the cost of a million increments at this rate, or None if the counter's item cannot support the rate."""
    if not costing.fits_one_item(alternative.counter_units, rate):
        return None
    events = costs.setup.alternative_batch(rate, ONE.window_s)
    return costs.price_alternative(events, costs.measured.steps[f"{alternative.name}: {events}"], rate)


def _price_viewers(costs: Costs, number: int, *, is_active: bool) -> list[float]:
    """Return the cost for an hour and a month: without a CDN, behind CloudFront, and behind Cloudflare."""
    return [
        viewers.price(costs, number, seconds, is_active=is_active, cdn=cdn)
        for seconds in (abuse.SECONDS, _HOURS_A_MONTH * abuse.SECONDS)
        for cdn in (None, viewers.price_cloudfront, viewers.price_cloudflare)
    ]
