"""
Check the invariants of counting in the tables, with a decoder that shares no code with the application.

Once every delivered message is handled: each event of the log has exactly one entry, among the recent ones or in the
page that covers its time, and no other entry exists. The counter's value is the sum of the log's events, and its
version is their number. Each acknowledged increment is in the log once. Before that, the value never exceeds the log's
sum and never decreases.
"""

import itertools
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chalicelib import settings

#: Time in ms, event id, amount.
Stored = tuple[int, str, int]


class Part(NamedTuple):
    """One part of a counter, as the tables store it: totals, recent entries, and pages by their ends."""

    value: int
    version: int
    recent: list[Stored]
    archived_until_ms: int
    pages: dict[int, list[Stored]]

    @property
    def entries(self) -> list[Stored]:
        """Return all entries, recent and archived."""
        return [*self.recent, *(entry for page in self.pages.values() for entry in page)]


@dataclass
class Watcher:
    """A watcher that checks one counter in the tables that `client` reads."""

    client: Callable[[str], Any]
    counter_id: str
    highest: int = 0
    acknowledged: list[str] = field(default_factory=list)

    def check_meanwhile(self) -> None:
        """Check the invariants that always hold, even during concurrent writes."""
        # Read in this order: each event that is counted is already in the log.
        parts = self.parts()
        self._check_totals(parts, self.events())

    def check_between_requests(self) -> None:
        """Check the invariants that always hold, if no write happens during the check."""
        parts, log = self.parts(), self.events()
        self._check_totals(parts, log)
        self._check_structure(parts)
        uncounted = _entries_of(parts) - Counter(map(_entry, log))
        assert not uncounted, f"{self.counter_id}: entries without an event: {sorted(uncounted)}"

    def check_in_the_end(self) -> None:
        """Check the invariants that hold once every message is handled."""
        parts, log = self.parts(), self.events()
        self._check_totals(parts, log)
        self._check_structure(parts)
        right = (sum(int(event["by"]["N"]) for event in log), len(log))
        totals = _totals(parts)
        assert totals == right, f"{self.counter_id}: value and version are {totals}, and the log says {right}"
        entries, logged = _entries_of(parts), Counter(map(_entry, log))
        assert entries == logged, (
            f"{self.counter_id}: entries without an event: {sorted(entries - logged)}, "
            f"events without an entry: {sorted(logged - entries)}"
        )
        ids = [event["event_id"]["S"] for event in log]
        assert len(ids) == len(set(ids)), f"{self.counter_id}: an id is in the log twice"
        lost = set(self.acknowledged) - set(ids)
        assert not lost, f"{self.counter_id}: acknowledged, and not in the log: {', '.join(sorted(lost))}"

    def _check_totals(self, parts: list[Part], log: list[dict[str, Any]]) -> None:
        value, version = _totals(parts)
        in_log = sum(int(event["by"]["N"]) for event in log)
        assert value <= in_log, f"{self.counter_id}: the value {value} exceeds the log's sum {in_log}"
        assert version <= len(log), f"{self.counter_id}: the version {version} exceeds the log's length {len(log)}"
        assert value >= self.highest, f"{self.counter_id}: the value went down from {self.highest} to {value}"
        self.highest = value

    def _check_structure(self, parts: list[Part]) -> None:
        for part in parts:
            entries = part.entries
            twice = [entry for entry, times in Counter(entries).items() if times > 1]
            assert not twice, f"{self.counter_id}: entries that are stored twice: {twice}"
            totals, sums = (part.value, part.version), (sum(amount for *_, amount in entries), len(entries))
            assert totals == sums, f"{self.counter_id}: the totals {totals} are not those of the entries, {sums}"
            early = [entry for entry in part.recent if entry[0] <= part.archived_until_ms]
            assert not early, f"{self.counter_id}: recent, and not later than archived_until: {early}"
            for before_ms, end_ms in itertools.pairwise([-1, *sorted(part.pages)]):
                stray = [entry for entry in part.pages[end_ms] if not before_ms < entry[0] <= end_ms]
                assert not stray, f"{self.counter_id}: in page {end_ms}, which does not cover them: {stray}"
            assert all(end_ms <= part.archived_until_ms for end_ms in part.pages), "a page ends after archived_until"

    def events(self) -> list[dict[str, Any]]:
        """Return the counter's events as the log stores them."""
        log = settings.current().event_log_table
        return [item for partition in self._partitions() for item in self._query(log, "partition", partition)]

    def counted(self) -> set[str]:
        """Return the ids of the counter's events that are counted."""
        return {event_id for part in self.parts() for _, event_id, _ in part.entries}

    def parts(self) -> list[Part]:
        """Return the counter's parts, each read before its pages."""
        partitions = self._partitions()
        archive = settings.current().archive_table
        return [
            Part(
                int(item["value"]["N"]),
                int(item["version"]["N"]),
                [_recent(stored) for stored in item.get("recent", {"BS": []})["BS"]],
                int(item.get("archived_until", {"N": "-1"})["N"]),
                {
                    int(page["end"]["N"]): list(_paged(page["entries"]["B"]))
                    for page in self._query(archive, "partition", partitions[int(item["part"]["N"])])
                },
            )
            for item in self._query(settings.current().counters_table, "counter_id", self.counter_id)
        ]

    def _partitions(self) -> list[str]:
        shards = settings.current().shards
        return [self.counter_id] if shards == 1 else [f"{self.counter_id}#{number}" for number in range(shards)]

    def _query(self, table: str, name: str, key: str) -> list[dict[str, Any]]:
        pages = (
            self.client("dynamodb")
            .get_paginator("query")
            .paginate(
                TableName=table,
                KeyConditionExpression="#k = :k",
                ExpressionAttributeNames={"#k": name},
                ExpressionAttributeValues={":k": {"S": key}},
                ConsistentRead=True,
            )
        )
        return [item for page in pages for item in page["Items"]]


def _totals(parts: list[Part]) -> tuple[int, int]:
    return sum(part.value for part in parts), sum(part.version for part in parts)


def _entries_of(parts: list[Part]) -> Counter[Stored]:
    return Counter(entry for part in parts for entry in part.entries)


def _entry(event: dict[str, Any]) -> Stored:
    return int(event["recorded_at"]["N"]), event["event_id"]["S"], int(event["by"]["N"])


def _recent(stored: bytes) -> Stored:
    """Decode a recent entry from the description of its format, without the application's code."""
    number = int.from_bytes(stored[22:], "big")
    return int.from_bytes(stored[:6], "big"), str(uuid.UUID(bytes=stored[6:22])), _amount(number)


def _paged(stored: bytes) -> Iterator[Stored]:
    """Decode a page from the description of its format, without the application's code."""
    assert stored[0] == 1
    at, time_ms = 1, 0
    while at < len(stored):
        passed_ms, at = _number(stored, at)
        time_ms += passed_ms
        event_id, at = str(uuid.UUID(bytes=stored[at : at + 16])), at + 16
        number, at = _number(stored, at)
        yield time_ms, event_id, _amount(number)


def _number(stored: bytes, at: int) -> tuple[int, int]:
    end = next(index for index in range(at, len(stored)) if stored[index] < 0x80) + 1
    return sum((byte & 0x7F) << 7 * index for index, byte in enumerate(stored[at:end])), end


def _amount(number: int) -> int:
    return -(number + 1) // 2 if number % 2 else number // 2
