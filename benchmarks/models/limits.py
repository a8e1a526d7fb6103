"""
What AWS lets one account and one part do: limits as published, each with its page and whether it can be raised.

Read in stored copies of these pages in November 2026. Quotas are the defaults of large regions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Limit:
    """So much of a unit and no more, unless AWS raises it on request."""

    most: float
    unit: str
    on_request: bool
    published: str


GATEWAY_REQUESTS: Final = Limit(
    10_000,
    "requests a second, all APIs of a region",
    True,
    "API Gateway developer guide, Throttle requests to your REST APIs",
)
CONCURRENCY: Final = Limit(
    1_000, "functions running at once in a region", True, "Lambda developer guide, Lambda quotas"
)
TABLE_UNITS: Final = Limit(
    40_000, "write units a second of one table", True, "DynamoDB developer guide, Quotas in Amazon DynamoDB"
)
PARTITION_UNITS: Final = Limit(
    1_000, "write units a second of one partition", False, "DynamoDB developer guide, Warm throughput"
)
POLLERS: Final = Limit(
    1_000,
    "batches of one queue at once",
    False,
    "Lambda developer guide, Configuring scaling behavior for SQS event source mappings",
)

#: A new table takes this much at once, and afterwards twice its peak of the last half hour (DynamoDB developer guide,
#: "Initial throughput and scaling properties").
UNITS_OF_A_NEW_TABLE: Final = 4_000
DOUBLES_IN_S: Final = 1800

#: With how many batches at once a queue is read at first, and by how many more after a minute (page of POLLERS).
FIRST_POLLERS: Final = 5
POLLERS_MORE_A_MINUTE: Final = 300

#: A shard of a stream that brought nothing is asked again so soon (Lambda developer guide, "Polling and batching
#: streams").
STREAM_POLL_S: Final = 0.25

#: A queue's message that was not counted is delivered again after the queue's visibility timeout (our template).
VISIBILITY_TIMEOUT_S: Final = 180
