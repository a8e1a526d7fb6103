"""
Compute what a million increments cost, in USD, from the work of one run of each function. Pure: no I/O.

**Batches.** `publish` runs once for the events that a stream shard gathers in a batching window. A run gets rate *
window / shards events, at least 1 and at most the batch size. The events of one counter come from one shard. The events
of many counters come from four shards. A new table accepts 4,000 write units a second, and a partition 1,000 (DynamoDB
developer guide, "Warm throughput"). Each event of such a batch belongs to a different counter, the most expensive case.
Each batch is sent as one message, and each run of `project` gets a single message.

**Billed time** is CPU time, divided by the function's share of a CPU, plus a wait for each request. The share is memory
/ 1,769 MB (Lambda developer guide, "Configure Lambda function memory"). Many counters are counted eight at a time. In
this case, the longer of CPU time and waits is billed. Not included: cold starts, retries, free tiers, volume discounts,
the runtime's own time.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import Final

from benchmarks.models import fronts, pricing, steady_state
from benchmarks.models.fronts import Front
from benchmarks.models.steps import FunctionSteps, Step

MILLION: Final = 1_000_000
RATES: Final = (1, 10, 100, 1000)

#: Assumed for each request: the upper end of the single-digit milliseconds that AWS states for DynamoDB.
WAIT_MS: Final = 10

#: Empty receives per second from an idle queue: five pollers (Lambda developer guide, "Using Lambda with Amazon SQS")
#: with long polls of 20 seconds.
EMPTY_RECEIVES_A_SECOND: Final = 5 / 20

_MB_OF_A_CPU: Final = 1769
_SHARDS_OF_A_NEW_STREAM: Final = 4
_WRITES_A_SECOND_OF_AN_ITEM: Final = 1000

#: Stored bytes of an item in addition to its size (DynamoDB developer guide, "Item sizes and formats").
_BYTES_AROUND_AN_ITEM: Final = 100

#: Typical log lines of the platform for each run.
PLATFORM_LINES: Final = (
    "START RequestId: 00000000-0000-0000-0000-000000000000 Version: $LATEST\n"
    "END RequestId: 00000000-0000-0000-0000-000000000000\n"
    "REPORT RequestId: 00000000-0000-0000-0000-000000000000\tDuration: 12.34 ms\tBilled Duration: 13 ms\t"
    "Memory Size: 512 MB\tMax Memory Used: 100 MB\t\n"
)

#: The items of the cost, in the order in which an increment reaches them.
PARTS: Final = ("gateway", "functions", "event log", "stream", "queue", "counting", "logs and metrics")


@dataclass(frozen=True, slots=True)
class Load:
    """Increments on one counter or on many, and the batching window of the stream."""

    one_counter: bool
    window_s: int

    def batch(self, rate: int, most: int) -> int:
        """Return the number of events that are published together at this rate per second."""
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

    def price_run(self, function: str, step: Step) -> float:
        """Return the cost of one run of this function without its requests, in USD."""
        gb_seconds = self.memory_mb[function] / 1024 * self.billed_ms(function, step) / 1000
        return pricing.INVOCATIONS.of(1) + pricing.GB_SECONDS.of(gb_seconds)

    def alternative_batch(self, rate: int, window_s: int) -> int:
        """Return an alternative's batch size, assuming that its queue batches like our stream."""
        return min(self.queue_batch, max(1, rate * window_s))


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs in USD of a deployment, with the measured work of its functions and a front."""

    measured: FunctionSteps
    setup: Setup
    front: Front = fronts.REST

    def price_load(self, load: Load, rate: int) -> dict[str, float]:
        """
        Return the cost of a million increments for each item of `PARTS`.

        The load arrives at `rate` increments per second.
        """
        size = load.batch(rate, self.setup.stream_batch)
        project = self._find_counting_step(load, rate, size)
        return self.price_increments(size, self.measured.steps[f"publish {size}"], project, rate)

    def price_total(self, load: Load, rate: int) -> float:
        """Return the total cost of a million increments, if the load arrives at `rate` increments per second."""
        return sum(self.price_load(load, rate).values())

    def price_increments(self, events: float, publish: Step, project: Step, rate: int) -> dict[str, float]:
        """
        Return the cost of a million increments for each item of `PARTS`, with this number of events in each run.

        The increments arrive at `rate` per second.
        """
        batches, command = MILLION / events, self.measured.steps["increment"]
        price_run = self.setup.price_run
        return {
            "gateway": MILLION * self.front.price(command.answer_bytes),
            "functions": MILLION * price_run("api_handler", command)
            + batches * (price_run("publish", publish) + price_run("project", project)),
            "event log": MILLION * _price_units(command),
            "stream": pricing.STREAM_READS_BY_LAMBDA.of(batches),
            "queue": batches * sum(map(_price_message, publish.message_bytes)) + _price_empty_receives(rate),
            "counting": batches * _price_units(project),
            "logs and metrics": MILLION * _price_logs(command)
            + batches * (_price_logs(publish) + _price_logs(project)),
        }

    def price_alternative(self, events: int, work: Step, rate: int) -> float:
        """
        Return the cost of a million increments with an alternative whose worker counts this number of events per run.

        Three assumptions favor the alternative. Its producer costs as much as our command without the event log, its
        batches are full, and its worker does not log.
        """
        command, message_bytes = self.measured.steps["increment"], self.measured.alternative_message_bytes
        sent = pricing.QUEUE_REQUESTS.of(_chunks(message_bytes))
        received = pricing.QUEUE_REQUESTS.of(_chunks(events * message_bytes) + 1)
        worker = self.setup.price_run("project", work) + _price_units(work) + _price_logs(work)
        return (
            self.price_requests(replace(command, write_units=0))
            + MILLION * (sent + (received + worker) / events)
            + _price_empty_receives(rate)
        )

    def price_requests(self, request: Step) -> float:
        """Return the cost of a million requests, without the stream, the queue and counting."""
        run = self.setup.price_run("api_handler", request)
        return MILLION * (self.front.price(request.answer_bytes) + run + _price_units(request) + _price_logs(request))

    def price_storage(self) -> float:
        """Return the cost of storing a million events in the log for a month."""
        return pricing.STORED_BYTE_MONTHS.of(MILLION * (self.measured.event_bytes + _BYTES_AROUND_AN_ITEM))

    def _find_counting_step(self, load: Load, rate: int, size: int) -> Step:
        """
        Return a run of `project` with a message of this size, in the steady state.

        CPU time is scaled from the measured run, whose counters were new, in proportion to the number of requests.
        """
        step = self.measured.steps[load.project_step(size)]
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
    """Return the units of counting one event, if each message has `events` events of a counter within `span_ms` ms."""
    return steady_state.measure(steady_state.in_order(events, span_ms))


def fits_one_item(units: float, rate: int) -> bool:
    """Check whether one item supports this number of write units per event at this rate of events per second."""
    return units * rate <= _WRITES_A_SECOND_OF_AN_ITEM


def _price_units(step: Step) -> float:
    return pricing.WRITE_UNITS.of(step.write_units) + pricing.READ_UNITS.of(step.read_units)


def _price_logs(step: Step) -> float:
    return pricing.LOG_BYTES.of(step.log_bytes + len(PLATFORM_LINES))


def _price_message(message_bytes: int) -> float:
    """Return the cost of sending, receiving and deleting a message."""
    return pricing.QUEUE_REQUESTS.of(2 * _chunks(message_bytes) + 1)


def _chunks(message_bytes: int) -> int:
    return math.ceil(message_bytes / pricing.QUEUE_CHUNK_BYTES)


def _price_empty_receives(rate: int) -> float:
    """Return the cost of the empty receives during a million increments at this rate per second."""
    return pricing.QUEUE_REQUESTS.of(EMPTY_RECEIVES_A_SECOND * MILLION / rate)
