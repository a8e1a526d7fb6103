"""
Compute what a million increments cost, in USD, from the work of one run of each function. Pure: no I/O.

**Batches.** `publish` runs once for the events that a shard of the stream gathers in a batching window: rate * window /
shards, at least 1 and at most the batch size. One counter has one shard. Many counters have four, as a new table starts
with 4,000 write units a second and a partition takes 1,000 (DynamoDB developer guide, "Warm throughput"). No two events
of a batch are then of one counter, the most expensive case. A batch is one message, which `project` gets alone.

**Counting** takes the units of the steady state (benchmarks/models/steady_state.py).

**Billed time** is CPU time, divided by the function's share of a CPU, memory / 1,769 MB (Lambda developer guide,
"Configure Lambda function memory"), plus a wait for each request. Eight counters are counted at a time: then the longer
one of CPU time and waits counts. Left out: cold starts, retries, free tiers, volume discounts, the runtime's own time.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

from benchmarks.models import fronts, pricing, steady_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.models.fronts import Front

MILLION: Final = 1_000_000
RATES: Final = (1, 10, 100, 1000)

#: Assumed for each request: the upper end of the single-digit milliseconds that AWS states for DynamoDB.
WAIT_MS: Final = 10

_MB_OF_A_CPU: Final = 1769
_SHARDS_OF_A_NEW_STREAM: Final = 4
_HOURS_A_MONTH: Final = 30 * 24
_WRITES_A_SECOND_OF_AN_ITEM: Final = 1000

#: Empty receives a second of an idle queue: five pollers (Lambda developer guide, "Using Lambda with Amazon SQS") with
#: long polls of 20 seconds.
EMPTY_RECEIVES_A_SECOND: Final = 5 / 20

#: Stored bytes of an item in addition to its size (DynamoDB developer guide, "Item sizes and formats").
_BYTES_AROUND_AN_ITEM: Final = 100

#: Typical log lines of the platform for each run.
PLATFORM_LINES: Final = (
    "START RequestId: 00000000-0000-0000-0000-000000000000 Version: $LATEST\n"
    "END RequestId: 00000000-0000-0000-0000-000000000000\n"
    "REPORT RequestId: 00000000-0000-0000-0000-000000000000\tDuration: 12.34 ms\tBilled Duration: 13 ms\t"
    "Memory Size: 512 MB\tMax Memory Used: 100 MB\t\n"
)


@dataclass(frozen=True, slots=True)
class Step:
    """
    The work of one run of a function.

    It has the requests to AWS and their units, the bytes of each message sent, of log lines and of the response, the
    CPU time on the measuring machine, and the number of concurrent requests.
    """

    requests: float
    write_units: float
    read_units: float
    message_bytes: tuple[int, ...]
    log_bytes: int
    answer_bytes: int
    cpu_ms: float
    at_once: int = 1


@dataclass(frozen=True, slots=True)
class FunctionSteps:
    """Every measured step by its name, and the sizes of an event and of an alternative's message."""

    event_bytes: int
    alternative_message_bytes: int
    steps: Mapping[str, Step]

    @classmethod
    def load(cls, raw: Mapping[str, Any]) -> Self:
        """Return the steps that docs/figures.json stores."""
        steps = {
            name: Step(**{**step, "message_bytes": tuple(step["message_bytes"])}) for name, step in raw["steps"].items()
        }
        return cls(raw["event_bytes"], raw["alternative_message_bytes"], steps)


@dataclass(frozen=True, slots=True)
class Load:
    """Increments on one counter or on many, and the batching window of the stream."""

    one_counter: bool
    window_s: int

    def batch(self, rate: int, most: int) -> int:
        """Return the number of events that are published together at this rate a second."""
        shards = 1 if self.one_counter else _SHARDS_OF_A_NEW_STREAM
        return min(most, max(1, rate * self.window_s // shards))

    def project_step(self, size: int) -> str:
        """Return the name of the step that counts a batch of this size."""
        return f"project {size} of {'one counter' if self.one_counter else 'many counters'}"


@dataclass(frozen=True, slots=True)
class Setup:
    """The deployment: batch sizes of the event sources, memory of the functions in MB, and the time of a request."""

    stream_batch: int
    queue_batch: int
    memory_mb: dict[str, int]
    wait_ms: int = WAIT_MS

    def billed_ms(self, function: str, step: Step) -> int:
        """Return the time for which Lambda bills one run of this function."""
        cpu_ms = step.cpu_ms * max(1, _MB_OF_A_CPU / self.memory_mb[function])
        waits_ms = step.requests / step.at_once * self.wait_ms
        return math.ceil(max(cpu_ms, waits_ms) if step.at_once > 1 else cpu_ms + waits_ms)

    def alternative_batch(self, rate: int, window_s: int) -> int:
        """Return the number of messages in a batch of an alternative, if its queue batches like our stream."""
        return min(self.queue_batch, max(1, rate * window_s))


@dataclass(frozen=True, slots=True)
class Batch:
    """An average number of events that are published together and projected together."""

    events: float
    publish: Step
    project: Step


@dataclass(frozen=True, slots=True)
class AlternativeBatch:
    """Messages of one event each, and of this size, that an alternative's worker counts in one run."""

    events: int
    message_bytes: int
    work: Step


#: The parts of the cost, in the order in which an increment meets them.
PARTS: Final = ("gateway", "functions", "event log", "stream", "queue", "counting", "logs and metrics")


def load_parts(
    measured: FunctionSteps, setup: Setup, load: Load, rate: int, front: Front = fronts.REST
) -> dict[str, float]:
    """Return the cost of a million increments of this load by part, in USD."""
    size = load.batch(rate, setup.stream_batch)
    batch = Batch(size, measured.steps[f"publish {size}"], counting_step(measured, load, rate, size))
    return price_increments(setup, measured.steps["increment"], batch, rate, front)


def counting_step(measured: FunctionSteps, load: Load, rate: int, size: int) -> Step:
    """
    Return a run of `project` with a message of this size, in the steady state.

    CPU time is that of the measured run, whose counters were new, in proportion to the requests.
    """
    step = measured.steps[load.project_step(size)]
    span_ms = max(1000, size * 1000 // rate) if load.one_counter else 1000
    units = counting_units(size if load.one_counter else 1, span_ms)
    requests = units.requests * size
    return replace(
        step,
        requests=requests,
        write_units=units.write * size,
        read_units=units.read * size,
        cpu_ms=step.cpu_ms * requests / step.requests,
    )


@functools.cache
def counting_units(events: int, span_ms: int) -> steady_state.Units:
    """Return the units of counting an event, if each message has this number of a counter's events from this span."""
    return steady_state.measure(steady_state.in_order(events, span_ms))


def price_increments(
    setup: Setup, command: Step, batch: Batch, rate: int, front: Front = fronts.REST
) -> dict[str, float]:
    """Return the cost of a million increments at this rate a second by part, in USD."""
    batches = MILLION / batch.events
    messages = batch.publish.message_bytes
    return {
        "gateway": MILLION * front.price(command.answer_bytes),
        "functions": MILLION * price_run(setup, "api_handler", command)
        + batches * price_run(setup, "publish", batch.publish)
        + batches * price_run(setup, "project", batch.project),
        "event log": MILLION * _price_units(command),
        "stream": pricing.STREAM_READS_BY_LAMBDA.of(batches),
        "queue": batches * sum(_price_message(size) for size in messages) + _price_empty_receives(rate),
        "counting": batches * _price_units(batch.project),
        "logs and metrics": MILLION * _price_logs(command)
        + batches * (_price_logs(batch.publish) + _price_logs(batch.project)),
    }


def price_alternative(setup: Setup, command: Step, batch: AlternativeBatch, rate: int) -> float:
    """
    Return the cost of a million increments with an alternative, in USD.

    In its favour: its front costs as much as our command without the event log, its batches are full, and its worker
    logs nothing.
    """
    batches = MILLION / batch.events
    front = fronts.REST.price(command.answer_bytes) + price_run(setup, "api_handler", command) + _price_logs(command)
    worker = price_run(setup, "project", batch.work) + _price_units(batch.work) + _price_logs(batch.work)
    sent = pricing.QUEUE_REQUESTS.of(_chunks(batch.message_bytes))
    received = pricing.QUEUE_REQUESTS.of(_chunks(batch.events * batch.message_bytes) + 1)
    return MILLION * (front + sent) + batches * (received + worker) + _price_empty_receives(rate)


def price_queries(setup: Setup, query: Step, front: Front = fronts.REST) -> float:
    """Return the cost of a million queries, or of other requests that no stream or queue passes on, in USD."""
    run = price_run(setup, "api_handler", query)
    return MILLION * (front.price(query.answer_bytes) + run + _price_units(query) + _price_logs(query))


def price_run(setup: Setup, function: str, step: Step) -> float:
    """Return the cost of one run of a function without its requests, in USD."""
    gb_seconds = setup.memory_mb[function] / 1024 * setup.billed_ms(function, step) / 1000
    return pricing.INVOCATIONS.of(1) + pricing.GB_SECONDS.of(gb_seconds)


def fits_one_item(units: float, rate: int) -> bool:
    """Check whether one item supports these write units at this rate a second."""
    return units * rate <= _WRITES_A_SECOND_OF_AN_ITEM


def price_idle_month() -> float:
    """Return the cost of polling an idle queue for 30 days, in USD."""
    return pricing.QUEUE_REQUESTS.of(EMPTY_RECEIVES_A_SECOND * _HOURS_A_MONTH * 3600)


def price_hourly_reads(read_units: float) -> float:
    """Return the cost of reading this much each hour for 30 days, in USD."""
    return pricing.READ_UNITS.of(read_units * _HOURS_A_MONTH)


def price_storage(item_bytes: int) -> float:
    """Return the cost of storing a million items of this size, in USD a month."""
    return pricing.STORED_BYTE_MONTHS.of(MILLION * (item_bytes + _BYTES_AROUND_AN_ITEM))


def _price_units(step: Step) -> float:
    return pricing.WRITE_UNITS.of(step.write_units) + pricing.READ_UNITS.of(step.read_units)


def _price_logs(step: Step) -> float:
    return pricing.LOG_BYTES.of(step.log_bytes + len(PLATFORM_LINES))


def _price_message(message_bytes: int) -> float:
    """Return the cost of sending, receiving and deleting a message, in USD."""
    return pricing.QUEUE_REQUESTS.of(2 * _chunks(message_bytes) + 1)


def _chunks(message_bytes: int) -> int:
    return math.ceil(message_bytes / pricing.QUEUE_CHUNK_BYTES)


def _price_empty_receives(rate: int) -> float:
    """Return the cost of the empty receives during a million increments at this rate, in USD."""
    return pricing.QUEUE_REQUESTS.of(EMPTY_RECEIVES_A_SECOND * MILLION / rate)
