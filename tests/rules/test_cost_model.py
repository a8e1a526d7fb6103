"""What a million increments cost: by figures that can be computed by hand, and in docs/cost.md."""

from __future__ import annotations

import dataclasses
import re

import pytest

from bench import alternatives, cost, costing, measurements, prices, scope
from bench.costing import AlternativeBatch, Batch, Load, Setup, Step
from tests.documents import PAGES, PROJECT, README

COST = PAGES["docs/cost.md"]
TEXT = " ".join(COST.split())

SETUP = Setup(stream_batch=1000, queue_batch=10, memory_mb={"api_handler": 1769, "publish": 1769, "project": 1769})
NOTHING = Step(0, 0, 0, (), 0, 0, 0.0)


def test_tables_in_docs_follow_from_stored_figures_and_prices():
    for table in cost.tables(cost.read(), cost.setup()):
        assert f"\n{table}\n" in COST


def test_readme_states_the_totals_of_the_tables():
    one, _, _ = cost.loads()
    alone, busy = (sum(cost.by_part(cost.read(), cost.setup(), one, rate).values()) for rate in (1, 1000))

    assert f"cost some {alone:.0f} USD at one a second and {busy:.0f} at a thousand" in " ".join(README.split())


def test_totals_of_a_million_increments_meet_the_goals():
    """USD for all of AWS, spread over many counters at 1,000 a second and on one counter at 1 a second."""
    one, many, _ = cost.loads()
    spread, alone = (
        sum(cost.by_part(cost.read(), cost.setup(), load, rate).values()) for load, rate in ((many, 1000), (one, 1))
    )

    assert spread <= 5.70
    assert alone <= 8.30


def test_units_of_counting_are_those_that_the_engine_measured():
    """The model runs the rules of the application in memory; the figures count the application's requests."""
    orders = measurements.read(PROJECT / "docs")["spending"]["raw"]["orders"]
    for row in orders:
        if row["order"] == scope.IN_ORDER:
            units = cost.counting_units(row["events"], 1000)
            assert units.write == pytest.approx(row["write_units"], abs=0.002)
            assert units.requests == pytest.approx(row["requests"], abs=0.002)
            assert units.read == pytest.approx(row["read_units"], abs=0.002)


def test_run_that_counts_counters_at_once_waits_for_a_few_of_them():
    apart = dataclasses.replace(NOTHING, requests=80, cpu_ms=20.0, at_once=8)

    setup = dataclasses.replace(SETUP, memory_mb={"small": 128, "whole": 1769}, wait_ms=10)

    # 20 ms of a CPU are 276.4 ms at 128 MB; ten rounds of waits are 100 ms.
    assert [setup.billed_ms(name, apart) for name in setup.memory_mb] == [277, 100]


def test_docs_state_the_dates_of_prices_and_measurements():
    figures = cost.read()

    assert f"list prices of {prices.REGION}, read on {prices.READ_ON}" in TEXT
    assert f"measured on {figures.measured_on}" in TEXT
    assert f"{costing.WAIT_MS} ms for each request" in TEXT


def test_savings_of_other_front_ends_follow_from_the_prices():
    saved = prices.REST_REQUESTS.of(costing.MILLION) - prices.HTTP_REQUESTS.of(costing.MILLION)

    assert f"An HTTP API would save {saved:.2f} of it, a function URL all {prices.REST_REQUESTS.usd:.2f}" in TEXT


def test_times_of_functions_in_docs_are_the_stored_ones():
    steps, deployed = cost.read().steps, cost.setup()
    command_ms, query_ms = (deployed.billed_ms("api_handler", steps[name]) for name in ("increment", "counter"))

    assert f"{steps['increment'].cpu_ms} ms of CPU time for a command" in TEXT
    assert f"a command is billed for {command_ms} ms and a query for {query_ms} ms" in TEXT


def test_cost_with_a_slower_aws_in_docs_is_that_of_the_model():
    one, _, _ = cost.loads()
    as_assumed, slower = (dataclasses.replace(cost.setup(), wait_ms=wait_ms) for wait_ms in (costing.WAIT_MS, 20))
    alone, among_many = (
        sum(cost.by_part(cost.read(), slower, one, rate).values())
        - sum(cost.by_part(cost.read(), as_assumed, one, rate).values())
        for rate in (1, 1000)
    )

    assert f"With 20 ms, a million lone increments would cost {alone:.2f} more, and busy ones {among_many:.2f}" in TEXT


def test_batches_in_docs_are_those_of_the_model():
    one, many, _ = cost.loads()
    ours, theirs = ([load.batch(rate, SETUP.stream_batch) for rate in costing.RATES] for load in (one, many))

    assert f"batches of {_listed(ours)} events on one counter, and of {_listed(theirs)} spread over many" in TEXT


def test_share_of_the_gateway_in_docs_is_that_of_the_tables():
    one, _, _ = cost.loads()
    alone, among_many = (cost.by_part(cost.read(), cost.setup(), one, rate) for rate in (1, 1000))
    shares = [100 * parts["gateway"] / sum(parts.values()) for parts in (alone, among_many)]

    assert f"{shares[0]:.0f} % at one increment a second, {shares[1]:.0f} % at a thousand" in TEXT


def test_difference_to_the_model_of_windows_is_that_in_docs():
    one, _, _ = cost.loads()
    here = sum(cost.by_part(cost.read(), cost.setup(), one, 1).values())
    rows = measurements.read(PROJECT / "docs")["windows"]["raw"]
    (there,) = [row["usd"] for row in rows if (row["rate"], row["window_s"]) == (1, one.window_s)]

    assert 1 - there / here == pytest.approx(0.25, abs=0.05)
    assert "one a second by about a quarter" in TEXT


def test_number_of_priced_alternatives_is_that_in_docs():
    assert (len(alternatives.PRICED), len(alternatives.ALL)) == (3, 6)
    assert "three of the six designs" in TEXT


def test_saving_of_ten_markers_at_a_time_follows_from_their_units():
    one_by_one, together = 2 + 2, 2 + 2 / 10

    saved = prices.WRITE_UNITS.of((one_by_one - together) * costing.MILLION)

    assert f"would save {saved + 0.0001:.2f} of a marker per event" in TEXT


@pytest.mark.parametrize(
    ("load", "rate", "events"),
    [
        (Load(one_counter=True, window_s=1), 1, 1),
        (Load(one_counter=True, window_s=1), 100, 100),
        (Load(one_counter=True, window_s=10), 100, 1000),
        (Load(one_counter=True, window_s=10), 1000, 1000),
        (Load(one_counter=True, window_s=0), 100, 1),
        (Load(one_counter=False, window_s=1), 1, 1),
        (Load(one_counter=False, window_s=1), 10, 2),
    ],
)
def test_batch_is_what_a_shard_gathers_in_a_window_and_fits(load, rate, events):
    assert load.batch(rate, most=1000) == events


def test_run_is_billed_for_its_share_of_a_cpu_and_its_waits():
    step = dataclasses.replace(NOTHING, requests=2, cpu_ms=3.1)

    setup = dataclasses.replace(SETUP, memory_mb={"small": 512, "whole": 1769, "large": 3538}, wait_ms=10)

    # 3.1 ms of a CPU are 10.7 ms at 512 MB, which has 29 % of one.
    assert [setup.billed_ms(name, step) for name in setup.memory_mb] == [31, 24, 24]


def test_part_is_charged_once_for_an_increment_or_for_its_batch():
    command = dataclasses.replace(NOTHING, write_units=1, answer_bytes=1000 - len(costing.GATEWAY_HEADERS))
    publish = dataclasses.replace(NOTHING, message_bytes=(65_537,), log_bytes=1000)
    project = dataclasses.replace(NOTHING, write_units=50, read_units=8)

    parts = costing.increments(SETUP, command, Batch(1000, publish, project), rate=1000)

    assert tuple(parts) == costing.PARTS
    assert parts["gateway"] == pytest.approx(3.50 + 0.09)
    assert parts["functions"] == pytest.approx(0.20 * 1.002)
    assert parts["event log"] == pytest.approx(0.625)
    # Two chunks sent, two received, one message deleted; and a quarter of a receive each second finds nothing.
    assert parts["queue"] == pytest.approx((5 * 1000 + 250) * 0.40e-6)
    assert parts["counting"] == pytest.approx((50 * 0.625 + 8 * 0.125) / 1000)
    platform = len(costing.PLATFORM_LINES)
    assert parts["logs and metrics"] == pytest.approx((1_000_000 * platform + 1000 * (1000 + 2 * platform)) * 0.5e-9)


def test_alternative_sends_each_increment_and_receives_batches():
    command = dataclasses.replace(NOTHING, requests=1)
    by_one, by_ten = (
        costing.alternative_increments(SETUP, command, AlternativeBatch(events, 100, NOTHING), rate=10)
        for events in (1, 10)
    )

    # Per batch: a receive, a deletion, an invocation and the platform's lines.
    a_batch = 2 * 0.40e-6 + 0.20e-6 + len(costing.PLATFORM_LINES) * 0.5e-9
    assert by_one - by_ten == pytest.approx(900_000 * a_batch)


def test_item_takes_a_thousand_write_units_a_second():
    assert costing.fits_one_item(1, 1000)
    assert costing.fits_one_item(2, 500)
    assert not costing.fits_one_item(2, 501)


def test_price_states_where_it_is_published_and_was_read():
    found = [price for price in vars(prices).values() if isinstance(price, prices.Price)]

    dates = [price.read_in.rpartition(", ")[2] for price in found]
    assert f"the oldest of {min(dates)} and some {max(dates)}" in TEXT
    for price in found:
        assert price.published.startswith("https://aws.amazon.com/")
        assert re.fullmatch(r"https://\S+, (20\d\d(-\d\d-\d\d)?|undated)", price.read_in)


def test_alternative_is_in_docs_with_what_it_lacks():
    for alternative in alternatives.PRICED:
        assert f"| {alternative.name} |" in COST
        assert f"| {alternative.lacks} |" in COST


def _listed(numbers):
    return f"{', '.join(f'{number:,}' for number in numbers[:-1])} and {numbers[-1]:,}"
