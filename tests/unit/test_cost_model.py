"""The cost of a million increments, by figures that can be computed by hand."""

import dataclasses
import re
from statistics import median

import pytest

from benchmarks import store
from benchmarks.measure import scope
from benchmarks.models import abuse, costing, deployed, fronts, pricing, steps, viewers
from benchmarks.models.costing import Costs, Load, Setup
from benchmarks.models.deployed import ONE
from benchmarks.models.steps import FunctionSteps, Step
from benchmarks.report import cost_page
from tests.doc_pages import PAGES, README

SETUP = Setup(stream_batch=1000, queue_batch=10, memory_mb={"api_handler": 1769, "publish": 1769, "project": 1769})
NOTHING = Step()


def costs_of(command=NOTHING, query=NOTHING, front=fronts.REST):
    """Return costs with these steps, and messages of 100 bytes of an alternative."""
    return Costs(FunctionSteps(0, 100, {"increment": command, "counter": query}), SETUP, front)


def test_readme_states_the_totals_of_the_tables():
    by_front = deployed.read_fronts()
    assert by_front["rest"] == deployed.read_costs()
    (alone, busy), (url_alone, url_busy) = (
        [by_front[name].price_total(ONE, rate) for rate in (1, 1000)] for name in ("rest", "url")
    )

    text = " ".join(README.split())
    assert f"cost about {alone:.0f} USD at one per second and {busy:.0f} USD at a thousand per second" in text
    assert f"they cost {url_alone:.0f} and {url_busy:.2f} USD ([cost]" in text


def test_units_of_counting_match_the_measured_figures():
    """The model runs the rules of the application in memory; the figures count the application's requests."""
    for row in store.read()["request_costs"]["raw"]["orders"]:
        if row["order"] == scope.IN_ORDER:
            units = costing.counting_units(row["events"], 1000)
            assert units.write == pytest.approx(row["write_units"], abs=0.002)
            assert units.requests == pytest.approx(row["requests"], abs=0.002)
            assert units.read == pytest.approx(row["read_units"], abs=0.002)


def test_run_that_counts_counters_in_parallel_waits_in_few_rounds():
    apart = dataclasses.replace(NOTHING, requests=80, cpu_ms=20.0, at_once=8)

    setup = dataclasses.replace(SETUP, memory_mb={"small": 128, "whole": 1769}, wait_ms=10)

    # 20 ms of a CPU are 276.4 ms at 128 MB; ten rounds of waits are 100 ms.
    assert [setup.billed_ms(name, apart) for name in setup.memory_mb] == [277, 100]


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
def test_batch_has_the_events_of_a_window_up_to_its_maximum(load, rate, events):
    assert load.batch(rate, most=1000) == events


def test_run_is_billed_for_its_share_of_a_cpu_and_its_waits():
    step = dataclasses.replace(NOTHING, requests=2, cpu_ms=3.1)

    setup = dataclasses.replace(SETUP, memory_mb={"small": 512, "whole": 1769, "large": 3538}, wait_ms=10)

    # 3.1 ms of a CPU are 10.7 ms at 512 MB, which has 29 % of one.
    assert [setup.billed_ms(name, step) for name in setup.memory_mb] == [31, 24, 24]


def test_part_is_charged_once_for_an_increment_or_for_its_batch():
    command = dataclasses.replace(NOTHING, write_units=1, answer_bytes=1000 - len(fronts.REST.headers))
    publish = dataclasses.replace(NOTHING, message_bytes=(65_537,), log_bytes=1000)
    project = dataclasses.replace(NOTHING, write_units=50, read_units=8)

    parts = costs_of(command).price_increments(1000, publish, project, rate=1000)

    assert tuple(parts) == costing.PARTS
    assert parts["gateway"] == pytest.approx(3.50 + 0.09)
    assert parts["functions"] == pytest.approx(0.20 * 1.002)
    assert parts["event log"] == pytest.approx(0.625)
    # Two chunks sent, two received, one message deleted. In addition, one receive every four seconds finds nothing.
    assert parts["queue"] == pytest.approx((5 * 1000 + 250) * 0.40e-6)
    assert parts["counting"] == pytest.approx((50 * 0.625 + 8 * 0.125) / 1000)
    platform = len(costing.PLATFORM_LINES)
    assert parts["logs and metrics"] == pytest.approx((1_000_000 * platform + 1000 * (1000 + 2 * platform)) * 0.5e-9)


@pytest.mark.parametrize(("name", "usd"), [("rest", 3.50), ("http", 1.00), ("url", 0)])
def test_front_charges_requests_and_aws_their_transfer(name, usd):
    front = fronts.FRONTS[name]
    command = dataclasses.replace(NOTHING, answer_bytes=1000 - len(front.headers))
    costs = costs_of(command, front=front)

    parts = costs.price_increments(1000, NOTHING, NOTHING, rate=1000)
    queries = costs.price_requests(command)

    assert parts["gateway"] == pytest.approx(usd + 0.09)
    assert queries == pytest.approx(usd + 0.09 + 0.20 + len(costing.PLATFORM_LINES) * 0.5e-3)


def test_steps_of_a_front_have_its_bytes_and_its_share_of_cpu_time():
    step = Step(1, 1, 0, (), 600, 500, 2.0)
    measured = FunctionSteps(120, 94, {"increment": step, "counter": step, "publish 1": step})
    answers = {"http": 400, "url": 401, "refused": 300}
    raw = {
        "bytes": {
            name: {front: {"log_bytes": 7, "answer_bytes": size} for front, size in answers.items()}
            for name in ("increment", "counter")
        },
        "cpu": {
            "increment": {"http": [1.5, 9, 1], "url": [1.1] * 3, "refused": [0.01] * 3},
            "counter": {"http": [1.0] * 3, "url": [2.0] * 3},
        },
    }

    http, url = measured.adapt(raw, "http"), measured.adapt(raw, "url")

    assert http.steps["increment"] == Step(1, 1, 0, (), 7, 400, 3.0)
    assert url.steps["counter"] == Step(1, 1, 0, (), 7, 401, 4.0)
    assert url.steps["publish 1"] == step
    refused = url.steps["refused"]
    assert refused == Step(0, 0, 0, (), 7, 300, 0.02)
    assert SETUP.billed_ms("api_handler", refused) == 1


def test_function_url_admits_ten_requests_a_second_for_each_function():
    by_front = deployed.read_fronts()
    rows = cost_page.price_fronts(by_front)

    (counted, refused), (reserved, reserved_refused) = (
        abuse.price_url(by_front["url"], functions) for functions in (1000, 10)
    )

    usd = rows["increments spread over many counters, 1,000 a second"]["url"]
    refused_usd = rows["commands refused without the secret"]["url"]
    assert usd
    assert refused_usd
    assert (counted, refused) == pytest.approx((36 * usd, 36 * refused_usd))
    assert reserved_refused == pytest.approx(refused / 100)
    assert reserved > counted / 100  # smaller batches


def test_page_of_fronts_states_the_measured_figures():
    raw = store.read()["fronts"]["raw"]
    refused_usd = cost_page.price_fronts(deployed.read_fronts())["commands refused without the secret"]
    http, url = (steps.cpu_ratio(raw, "increment", name) for name in ("http", "url"))

    text = " ".join((PAGES["docs/fronts.md"] + PAGES["docs/cdn.md"]).split())
    assert f"cold start takes {median(raw['starts']):.2f} times the CPU time of a cold start of `app.app`" in text
    assert f"takes {http:.2f} times the CPU time with `http`, and {url:.2f} times with `url`" in text
    assert f"cost {refused_usd['url']:.2f} USD with `url`, and {refused_usd['http']:.2f} USD with `http`" in text


def test_alternative_sends_each_increment_and_receives_batches():
    command = dataclasses.replace(NOTHING, requests=1)
    by_one, by_ten = (costs_of(command).price_alternative(events, NOTHING, rate=10) for events in (1, 10))

    # Per batch: a receive, a deletion, an invocation and the platform's lines.
    a_batch = 2 * 0.40e-6 + 0.20e-6 + len(costing.PLATFORM_LINES) * 0.5e-9
    assert by_one - by_ten == pytest.approx(900_000 * a_batch)


def test_item_accepts_a_thousand_write_units_a_second():
    assert costing.fits_one_item(1, 1000)
    assert costing.fits_one_item(2, 500)
    assert not costing.fits_one_item(2, 501)


def test_hour_of_reads_costs_requests_units_transfer_and_lines():
    read = Step(read_units=80, answer_bytes=10_000 - len(fronts.REST.headers))

    usd = abuse.price_reads(read, a_second=10)

    a_read = 3.50e-6 + 10_000 * 0.09e-9 + 0.20e-6 + 80 * 0.125e-6 + len(costing.PLATFORM_LINES) * 0.5e-9
    assert usd == pytest.approx(36_000 * a_read)


def test_hour_of_1000_busy_functions_costs_their_memory():
    assert abuse.price_functions(512) == pytest.approx(1000 * 0.5 * 3600 * 0.0000133334)


@pytest.mark.parametrize(
    ("seconds", "idle", "active"),
    [(4, 0, 0), (5, 1, 1), (12, 1, 2), (13, 2, 2), (24, 3, 4), (3600, 64, 720)],
)
def test_viewer_polls_an_idle_counter_less_and_less_often(seconds, idle, active):
    """The pauses are 5, 7.5, 11.25, 16.875, 25.3, 38.0, 57.0 and then 60 seconds."""
    assert (viewers.FIRST_S, viewers.GROWTH, viewers.LONGEST_S) == (5, 1.5, 60)
    assert viewers.count_polls(seconds, is_active=False) == idle
    assert viewers.count_polls(seconds, is_active=True) == active


def test_viewers_behind_a_cdn_share_a_read_a_second_in_each_location():
    query = dataclasses.replace(NOTHING, answer_bytes=1000 - len(fronts.REST.headers))
    costs = costs_of(query=query)
    read_usd = costs.price_requests(query) / 1_000_000

    alone, many, cloudfront, cloudflare, few = (
        viewers.price(costs, number, 100, is_active=True, cdn=cdn)
        for number, cdn in [
            (1, None),
            (10_000, None),
            (10_000, viewers.price_cloudfront),
            (10_000, viewers.price_cloudflare),
            (10, viewers.price_cloudflare),
        ]
    )

    assert alone == pytest.approx(21 * read_usd)
    assert many == pytest.approx(210_000 * read_usd)
    assert cloudflare == pytest.approx((10_000 + 10 * 100) * read_usd)
    assert cloudfront - cloudflare == pytest.approx(210_000 * (1e-6 + 1000 * 0.085e-9))
    assert few == pytest.approx(210 * read_usd)


def test_price_states_its_publication_and_its_source():
    for price in vars(pricing).values():
        if isinstance(price, pricing.Price):
            assert price.published.startswith("https://aws.amazon.com/")
            assert re.fullmatch(r"https://\S+, (20\d\d(-\d\d-\d\d)?|undated)", price.read_in)
