"""Derive part keys and partition keys from the setting SHARDS, the number of parts of each counter."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chalicelib import settings
from chalicelib.domain.counter import PartKey
from chalicelib.domain.events import choose_part, is_counter_id

if TYPE_CHECKING:
    from chalicelib.domain.events import Event


def count_parts() -> int:
    """Return the number of parts of each counter: the setting SHARDS."""
    return settings.current().shards


def part_key(event: Event) -> PartKey:
    """Return the key of the part that counts this event."""
    return PartKey(event.counter_id, choose_part(event.event_id, count_parts()))


def part_keys(counter_id: str) -> list[PartKey]:
    """Return the keys of all parts of this counter."""
    return [PartKey(counter_id, part) for part in range(count_parts())]


def format_partition(key: PartKey) -> str:
    """
    Return the partition key of this part's events in the log, and of its pages in the archive.

    `parse_partition` is the inverse. `codec.extract_counter_id` returns only the counter id.
    """
    return key.counter_id if count_parts() == 1 else f"{key.counter_id}#{key.part}"


def event_partition(counter_id: str, event_id: str) -> str:
    """Return the partition of the log that contains this event."""
    parts = count_parts()
    return counter_id if parts == 1 else f"{counter_id}#{choose_part(event_id, parts)}"


def parse_partition(partition: str) -> PartKey | None:
    """Return the key of the part that this partition belongs to, or None if this stage has no such part."""
    counter_id, _, part = partition.partition("#")
    key = PartKey(counter_id, int(part) if re.fullmatch("[0-9]{1,2}", part) else 0)
    is_part = key.part < count_parts() and format_partition(key) == partition
    return key if is_part and is_counter_id(counter_id) else None
