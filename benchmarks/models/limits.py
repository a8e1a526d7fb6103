"""
Define AWS's published limits for an account and its resources, each with the page that states it.

The limits were read in stored copies of these pages in November 2026. Quotas are the defaults of large regions.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit and the page that states it. AWS raises it on request, unless `change` says how to stay below it."""

    most: float
    published: str
    change: str | None = None


_QUOTAS_OF_A_TABLE: Final = "DynamoDB developer guide, Quotas in Amazon DynamoDB"
_PARTITIONS: Final = "DynamoDB developer guide, Warm throughput"

#: Write units per second of one partition.
PARTITION_UNITS: Final = Limit(
    1_000,
    _PARTITIONS,
    "more `SHARDS` (at most 64); beyond that, sum up increments in the client (`by`) or use several counters",
)

#: Concurrent batches of one queue.
POLLERS: Final = Limit(
    1_000,
    "Lambda developer guide, Configuring scaling behavior for SQS event source mappings",
    "more memory for `project`, or fewer and fuller batches",
)

#: Concurrent functions of a region.
FUNCTIONS: Final = Limit(1_000, "Lambda developer guide, Lambda quotas")

#: The limits, by the names in docs/figures.json. The limits of tables and items are in write units per second.
LIMITS: Final = {
    "gateway requests": Limit(10_000, "API Gateway developer guide, Throttle requests to your REST APIs"),
    "concurrent invocations": FUNCTIONS,
    "log table": Limit(40_000, _QUOTAS_OF_A_TABLE),
    "counters table": Limit(40_000, _QUOTAS_OF_A_TABLE),
    "archive table": Limit(40_000, _QUOTAS_OF_A_TABLE),
    "concurrent queue batches": POLLERS,
    "`publish` per shard": Limit(
        1,
        "Lambda developer guide, Using Lambda to process DynamoDB stream records",
        "more memory for `publish`, or a `ParallelizationFactor` for its event source",
    ),
    "log partitions": PARTITION_UNITS,
    "counter item": Limit(1_000, _PARTITIONS, "a longer `BATCHING_WINDOW_S`, or more `SHARDS`"),
}

#: A new table supports this rate at first, and later twice the peak of the last half hour (DynamoDB developer guide,
#: "Initial throughput and scaling properties").
UNITS_OF_A_NEW_TABLE: Final = 4_000
DOUBLES_IN_S: Final = 1800

#: The initial number of pollers of a queue, and the number added each minute (see the page of `POLLERS`).
FIRST_POLLERS: Final = 5
POLLERS_MORE_A_MINUTE: Final = 300

#: The pause between polls of an idle shard (Lambda developer guide, "Polling and batching streams").
STREAM_POLL_S: Final = 0.25

#: The visibility timeout of the projection queue (infrastructure/template.yaml).
VISIBILITY_TIMEOUT_S: Final = 180
