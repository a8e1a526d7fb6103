"""
What must hold, everywhere, read from the tables themselves.

In the end, when everything that was delivered has been handled: each counter's value is the sum over the distinct
events in its log, its version is their number, each bucket holds exactly the ids of its second, and each increment that
was acknowledged is in the log once. Before that the value never exceeds the log's sum, and never goes down.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chalicelib import settings

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Watcher:
    """Watches one counter in the tables that `client` reads."""

    client: Callable[[str], Any]
    counter_id: str
    highest: int = 0
    acknowledged: list[str] = field(default_factory=list)

    def check_meanwhile(self) -> None:
        """At any moment."""
        value, version = self._counter()
        log = self._log()
        in_log = sum(int(event["by"]["N"]) for event in log)
        assert value <= in_log, f"{self.counter_id}: the value {value} exceeds the log's sum {in_log}"
        assert version <= len(log), f"{self.counter_id}: the version {version} exceeds the log's length {len(log)}"
        assert value >= self.highest, f"{self.counter_id}: the value went down from {self.highest} to {value}"
        self.highest = value

    def check_in_the_end(self) -> None:
        """When everything is handled."""
        self.check_meanwhile()
        log = self._log()
        ids = [event["event_id"]["S"] for event in log]
        by_second: dict[int, set[str]] = defaultdict(set)
        for event in log:
            by_second[int(event["recorded_at"]["N"]) // 1000].add(event["event_id"]["S"])
        found, right = self._counter(), (sum(int(event["by"]["N"]) for event in log), len(log))
        assert found == right, f"{self.counter_id}: value and version are {found}, and the log says {right}"
        assert self._buckets() == by_second, f"{self.counter_id}: the buckets hold other ids than the log"
        assert len(ids) == len(set(ids)), f"{self.counter_id}: an id is in the log twice"
        lost = set(self.acknowledged) - set(ids)
        assert not lost, f"{self.counter_id}: acknowledged, and not in the log: {', '.join(sorted(lost))}"

    def events(self) -> list[dict[str, Any]]:
        """The counter's events as the log holds them."""
        return self._log()

    def _counter(self) -> tuple[int, int]:
        key = {"counter_id": {"S": self.counter_id}}
        found = self.client("dynamodb").get_item(
            TableName=settings.current().counters_table, Key=key, ConsistentRead=True
        )
        item = found.get("Item")
        return (int(item["value"]["N"]), int(item["version"]["N"])) if item else (0, 0)

    def _log(self) -> list[dict[str, Any]]:
        return self._partition(settings.current().event_log_table)

    def _buckets(self) -> dict[int, set[str]]:
        return {
            int(item["second"]["N"]): {str(uuid.UUID(bytes=stored)) for stored in item["ids"]["BS"]}
            for item in self._partition(settings.current().buckets_table)
        }

    def _partition(self, table: str) -> list[dict[str, Any]]:
        pages = (
            self.client("dynamodb")
            .get_paginator("query")
            .paginate(
                TableName=table,
                KeyConditionExpression="#p = :p",
                ExpressionAttributeNames={"#p": "partition"},
                ExpressionAttributeValues={":p": {"S": self.counter_id}},
                ConsistentRead=True,
            )
        )
        return [item for page in pages for item in page["Items"]]
