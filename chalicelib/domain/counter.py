"""The state of a counter, which queries return, and the state of each of its parts, which workers change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chalicelib.domain.entries import Entry

#: `archived_until_ms` of a part without archive pages: earlier than any event's time.
NOTHING_ARCHIVED = -1


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter's state: the sum (`value`) and the number (`version`) of the events counted so far."""

    counter_id: str
    value: int = 0
    version: int = 0
    updated_at_ms: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class PartKey:
    """The key of one part of a counter. Part 0 is the only part unless `SHARDS` is greater than 1."""

    counter_id: str
    part: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """
    One part of a counter: its totals, its recent entries, and the end of its archive.

    `value` and `version` are the sum and number of all entries, recent and archived. Recent entries are later than
    `archived_until_ms`; archived entries are not. Each write raises `revision`; 0 means that nothing is stored yet. A
    write that changes an existing page also raises `amended`, so that a long scan can detect changes to older pages.
    """

    key: PartKey
    value: int = 0
    version: int = 0
    recent: frozenset[Entry] = frozenset()
    archived_until_ms: int = NOTHING_ARCHIVED
    revision: int = 0
    amended: int = 0
    updated_at_ms: int | None = None


def add_up(counter_id: str, parts: Iterable[Counter | Part]) -> Counter:
    """Return the state of the counter that consists of these parts."""
    value = version = 0
    updated_at_ms: int | None = None
    for part in parts:
        value += part.value
        version += part.version
        updated_at_ms = max(updated_at_ms or 0, part.updated_at_ms or 0) or None
    return Counter(counter_id, value, version, updated_at_ms)
