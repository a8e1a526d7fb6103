"""
Compute what a million increments cost from what one run of each function takes. Pure: figures in, USD out.

How increments become batches: the stream is read shard by shard, and `publish` runs once for all that a shard gathers
in a batching window: rate * window / shards events, at least 1 and at most the batch size. One counter's events are in
one shard. Many counters' are in four, because a new table starts with 4,000 write units a second, and a partition takes
1,000 (DynamoDB developer guide, "Warm throughput"); and no two events of a batch are of one counter, which is the most
expensive case. A batch is one message, and each message is projected alone, because a poller always waits for it.

What counting takes is the steady state of benchmarks/measure/steady_state.py, which runs the application's own rules.

How long a function is billed for: its CPU time, divided by the share of a CPU that Lambda gives it, memory / 1,769 MB
(Lambda developer guide, "Configure Lambda function memory"), and a wait for each request; rounded up to 1 ms. Counters
of a batch are counted in eight threads: then the function is billed for the longer one of CPU time and waits, where a
wait is for eight requests. Left out: cold starts, retries, free tiers, volume discounts, and the runtime's own time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from benchmarks.models import pricing

MILLION: Final = 1_000_000
RATES: Final = (1, 10, 100, 1000)

#: Assumed: the upper end of the single-digit milliseconds that AWS names for DynamoDB; also for SQS and transactions.
WAIT_MS: Final = 10

_MB_OF_A_CPU: Final = 1769
_SHARDS_OF_A_NEW_STREAM: Final = 4
_HOURS_A_MONTH: Final = 30 * 24

#: Lambda starts with five pollers on a queue (Lambda developer guide, "Using Lambda with Amazon SQS"), and a long poll
#: lasts 20 seconds at most: so many receives a second come back empty when nothing is there.
EMPTY_RECEIVES_A_SECOND: Final = 5 / 20

#: What an item takes in storage beyond its size (DynamoDB developer guide, "Item sizes and formats").
_BYTES_AROUND_AN_ITEM: Final = 100

_WRITES_OF_ONE_PARTITION_A_SECOND: Final = 1000

#: What the platform writes around each run of a function, and the gateway adds to each answer, as they usually look.
PLATFORM_LINES: Final = (
    "START RequestId: 00000000-0000-0000-0000-000000000000 Version: $LATEST\n"
    "END RequestId: 00000000-0000-0000-0000-000000000000\n"
    "REPORT RequestId: 00000000-0000-0000-0000-000000000000\tDuration: 12.34 ms\tBilled Duration: 13 ms\t"
    "Memory Size: 512 MB\tMax Memory Used: 100 MB\t\n"
)
GATEWAY_HEADERS: Final = (
    "HTTP/1.1 202 Accepted\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Length: 150\r\nConnection: keep-alive\r\n"
    "x-amzn-RequestId: 00000000-0000-0000-0000-000000000000\r\nx-amz-apigw-id: AAAAAAAAAAAAAAA=\r\n"
    "X-Amzn-Trace-Id: Root=1-00000000-000000000000000000000000\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Step:
    """
    One run of a function: requests to AWS, how many of them it makes at once, and their units; bytes of each message
    sent, of log lines and of the response; and CPU time on the machine of the measurement.
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
class Load:
    """Increments on one counter or on many, and how long the stream gathers them."""

    one_counter: bool
    window_s: int

    def batch(self, rate: int, most: int) -> int:
        """Return how many events are published together at so many a second."""
        shards = 1 if self.one_counter else _SHARDS_OF_A_NEW_STREAM
        return min(most, max(1, rate * self.window_s // shards))


@dataclass(frozen=True, slots=True)
class Setup:
    """What is deployed: batch sizes of the event sources, memory of the functions in MB; and how long AWS takes."""

    stream_batch: int
    queue_batch: int
    memory_mb: dict[str, int]
    wait_ms: int = WAIT_MS

    def billed_ms(self, function: str, step: Step) -> int:
        """Return how long Lambda bills one run of this function for."""
        cpu_ms = step.cpu_ms * max(1, _MB_OF_A_CPU / self.memory_mb[function])
        waits_ms = step.requests / step.at_once * self.wait_ms
        return math.ceil(max(cpu_ms, waits_ms) if step.at_once > 1 else cpu_ms + waits_ms)

    def alternative_batch(self, rate: int, window_s: int) -> int:
        """Return how many messages of one increment a worker gets at once, if its queue gathers as our stream does."""
        return min(self.queue_batch, max(1, rate * window_s))


@dataclass(frozen=True, slots=True)
class Batch:
    """So many events, on average, that are published together and projected together."""

    events: float
    publish: Step
    project: Step


@dataclass(frozen=True, slots=True)
class AlternativeBatch:
    """So many messages of one event each, of so many bytes, that an alternative's worker counts in one run."""

    events: int
    message_bytes: int
    work: Step


#: The parts of the table, in the order in which an increment meets them.
PARTS: Final = ("gateway", "functions", "event log", "stream", "queue", "counting", "logs and metrics")


def increments(setup: Setup, command: Step, batch: Batch, rate: int) -> dict[str, float]:
    """Return what a million increments at so many a second cost by part, in USD."""
    batches = MILLION / batch.events
    sent = batch.publish.message_bytes
    return {
        "gateway": MILLION * _gateway(command),
        "functions": MILLION * run(setup, "api_handler", command)
        + batches * run(setup, "publish", batch.publish)
        + batches * run(setup, "project", batch.project),
        "event log": MILLION * _database(command),
        "stream": pricing.STREAM_READS_BY_LAMBDA.of(batches),
        "queue": batches * sum(_sent(size) + _received_and_deleted(size) for size in sent) + _empty_receives(rate),
        "counting": batches * _database(batch.project),
        "logs and metrics": MILLION * _lines(command) + batches * (_lines(batch.publish) + _lines(batch.project)),
    }


def alternative_increments(setup: Setup, command: Step, batch: AlternativeBatch, rate: int) -> float:
    """
    Return what a million increments at so many a second cost with an alternative, in USD.

    In its favour: its front takes no more than our command, its queue gathers messages as our stream does and delivers
    them in full batches, and its worker logs nothing.
    """
    batches = MILLION / batch.events
    front = _gateway(command) + run(setup, "api_handler", command) + _lines(command)
    worker = run(setup, "project", batch.work) + _database(batch.work) + _lines(batch.work)
    received = _received_and_deleted(batch.events * batch.message_bytes)
    return MILLION * (front + _sent(batch.message_bytes)) + batches * (received + worker) + _empty_receives(rate)


def queries(setup: Setup, query: Step) -> float:
    """Return what a million queries cost in all parts, in USD."""
    return MILLION * (_gateway(query) + run(setup, "api_handler", query) + _database(query) + _lines(query))


def fits_one_item(units: float, rate: int) -> bool:
    """Check whether one item takes so many write units so many times a second."""
    return units * rate <= _WRITES_OF_ONE_PARTITION_A_SECOND


def idle_polling_a_month() -> float:
    """Return what Lambda's polling of an idle queue costs in 30 days, in USD."""
    return pricing.QUEUE_REQUESTS.of(EMPTY_RECEIVES_A_SECOND * _HOURS_A_MONTH * 3600)


def hourly_reads_a_month(read_units: float) -> float:
    """Return what reading so much each hour costs in 30 days, in USD."""
    return pricing.READ_UNITS.of(read_units * _HOURS_A_MONTH)


def keeping_a_million_a_month(item_bytes: int) -> float:
    """Return what storing a million items of this size costs, in USD a month."""
    return pricing.STORED_BYTE_MONTHS.of(MILLION * (item_bytes + _BYTES_AROUND_AN_ITEM))


def _gateway(step: Step) -> float:
    return pricing.REST_REQUESTS.of(1) + pricing.BYTES_OUT.of(step.answer_bytes + len(GATEWAY_HEADERS))


def run(setup: Setup, function: str, step: Step) -> float:
    """Return what one run of a function costs by itself, in USD."""
    gb_seconds = setup.memory_mb[function] / 1024 * setup.billed_ms(function, step) / 1000
    return pricing.INVOCATIONS.of(1) + pricing.GB_SECONDS.of(gb_seconds)


def _database(step: Step) -> float:
    return pricing.WRITE_UNITS.of(step.write_units) + pricing.READ_UNITS.of(step.read_units)


def _lines(step: Step) -> float:
    return pricing.LOG_BYTES.of(step.log_bytes + len(PLATFORM_LINES))


def _sent(message_bytes: int) -> float:
    return pricing.QUEUE_REQUESTS.of(_chunks(message_bytes))


def _received_and_deleted(message_bytes: int) -> float:
    return pricing.QUEUE_REQUESTS.of(_chunks(message_bytes) + 1)


def _chunks(message_bytes: int) -> int:
    return math.ceil(message_bytes / pricing.QUEUE_CHUNK_BYTES)


def _empty_receives(rate: int) -> float:
    """Of the receives that find nothing, those while a million increments come at this rate."""
    return pricing.QUEUE_REQUESTS.of(EMPTY_RECEIVES_A_SECOND * MILLION / rate)
