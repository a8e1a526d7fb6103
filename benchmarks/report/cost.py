"""The page on cost, docs/cost.md, from stored figures and list prices. Pure: no measuring, no I/O."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from benchmarks import alternatives, cost
from benchmarks.models import costing, pricing
from benchmarks.report.markdown import numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.cost import Figures
    from benchmarks.models.costing import Setup

#: Assumed: the time of a request to a slow AWS, for comparison.
_SLOW_MS: Final = 20


def document(figures: Figures, deployed: Setup) -> str:
    """Return the page."""
    one, many, gathered = cost.loads()
    at_one, at_1000 = (cost.by_part(figures, deployed, one, rate) for rate in (1, 1000))
    slow = replace(deployed, wait_ms=_SLOW_MS)
    slower = [
        sum(cost.by_part(figures, slow, one, rate).values()) - sum(parts.values())
        for rate, parts in ((1, at_one), (1000, at_1000))
    ]
    shares = [100 * parts["gateway"] / sum(parts.values()) for parts in (at_one, at_1000)]
    batches = [[load.batch(rate, deployed.stream_batch) for rate in costing.RATES] for load in (one, many)]
    units = [cost.counting_units(size, 1000).write for size in (1, 100)]
    command, query = (figures.steps[name] for name in ("increment", "counter"))
    command_ms, query_ms = (deployed.billed_ms("api_handler", step) for step in (command, query))
    http_usd = pricing.REST_REQUESTS.of(costing.MILLION) - pricing.HTTP_REQUESTS.of(costing.MILLION)
    ten_markers_usd = pricing.WRITE_UNITS.of((2 + 2) - (2 + 2 / 10)) * costing.MILLION
    ours, compared, standing = cost.tables(figures, deployed)
    return f"""\
# Cost

## A million increments

In USD, from the list prices of {pricing.REGION}, read on {pricing.READ_ON}, and from the requests, bytes and time that
each function takes (`benchmarks/measured.json`). `make cost` writes this page. Free tiers, volume discounts, cold
starts
and retries are left out.

The *gateway* takes the request of an increment, the *event log* its event, and the *stream* and the *queue* bring the
event to the function that counts it. *Counting* is write and read units. *Functions* are the runs of all three
functions, and *logs and metrics* their output. Increments come steadily, at so many a second:

{ours}

**Batches.** `publish` runs once for each shard of the stream and batching window. It sends the events that it gathers
in one message, which `project` gets alone. In the four columns, these are batches of {_listed(batches[0])} events on
one counter, and of {_listed(batches[1])} spread over many. Spread, a new table has four shards, and no two events of a
batch are of one counter, which is the most expensive case.

**Counting.** An update counts a batch of a few events, and a full counter's item is archived in a transaction. The
rules of the application, run in memory, give the units of the steady state: {units[0]:.2f} write units for a lone
event, however events are spread, and {units[1]:.2f} for each of 100 events that come together.

**Measured and assumed.** Requests and bytes are measured by running the functions, and tests measure them again. Time
has not been measured on Lambda. The {command.cpu_ms} ms of CPU time for a command, measured on {figures.measured_on} on
the machine of the [figures](figures.md), are divided by the share of a CPU that the memory buys, and
{costing.WAIT_MS} ms for each request are added, which is assumed. So a command is billed for {command_ms} ms, and a
query for {query_ms} ms. With {_SLOW_MS} ms, a million lone increments would cost {slower[0]:.2f} more, and busy ones
{slower[1]:.2f}. `make cost MEASURE=1` measures the functions again. AWS's pages fill in their prices by script, so
these were read in stored copies of pages that quote them, the oldest of {min(_dates())} and some {max(_dates())};
`benchmarks/models/pricing.py` names each page.

**Largest parts.** The gateway takes {shares[0]:.0f} % at one increment a second, and {shares[1]:.0f} % at a thousand.
An HTTP API would save {http_usd:.2f} of it, a function URL all {pricing.REST_REQUESTS.usd:.2f}. This project uses
neither, because Chalice deploys REST APIs, and only with these are the gateway's own errors problem documents, too. If
events come alone, the queue and the output of the functions are next. `LOG_LEVEL` = `WARNING` turns the log lines off,
and keeps the metrics.

**Batching window.** With `BATCHING_WINDOW_S` = {gathered.window_s}, an increment is visible up to ten seconds later
instead of one. This pays for counters of up to some ten increments a second. More windows, with their lags, are in
[figures](figures.md#batching-window), by a model in which the event that begins a window is one more in its batch, so
low rates are cheaper there.

**One counter at 1,000 a second** is the most that a partition of the event log takes. Beyond that, it needs `SHARDS`.

## Other designs

The same for three of the {_WORDS[len(alternatives.ALL)]} alternatives that [figures](figures.md) compare in units
and faults (`benchmarks/alternatives.py`): each increment is a message of its own, and a worker counts it. Assumptions
are in
their favour: their front takes no more than our command, their queue gathers messages as our stream does, their workers
log nothing, and no worker meets a conflict. None has an event log, so none has a history, `verify` or `rebuild`.

{compared}

A dash means that the counter's item cannot take the rate. At 1,000 a second, the first two alternatives are at the
limit of their counter's item, and have no shards to go beyond. Ten markers and one `ADD` in a transaction, *a
transaction per batch, with markers* in [figures](figures.md), would save {ten_markers_usd:.2f} of a marker per event,
except when one of the ten is a redelivery: then all ten are refused, and nine are written again. Spread over many
counters, the alternatives cost the same as here.

## By the month

{standing}

The alarms and the dashboard of a stage cost some $5 more, unless `Watching` is `off` (see
[runbook](runbook.md#cost-of-monitoring)). Point-in-time recovery of the event log, and the storage of the archive and
of log lines, are extra.
"""


_WORDS: Final = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight")


def _listed(sizes: Sequence[int]) -> str:
    texts = numbers(sizes)
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def _dates() -> list[str]:
    """Return the dates of the pages in which prices were read; a page may be undated."""
    return [price.read_in.rpartition(", ")[2] for price in vars(pricing).values() if isinstance(price, pricing.Price)]
