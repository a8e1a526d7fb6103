"""Define sets of names and patterns, and decide which counters exist. This module uses no I/O and no settings."""

from __future__ import annotations

import enum
import fnmatch
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Names:
    """A set of counter names and of patterns, in which `*` matches any text."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self.entries = frozenset(entries)
        patterns = sorted(entry for entry in self.entries if "*" in entry)
        self._match = re.compile("|".join(map(fnmatch.translate, patterns))).match if patterns else None

    def __contains__(self, counter_id: str) -> bool:
        """Check whether the counter's name, or a pattern that matches it, is in the set."""
        return counter_id in self.entries or (self._match is not None and self._match(counter_id) is not None)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The operators' changes: the counters that they added to COUNTERS, closed to increments, or hid."""

    added: Names = field(default_factory=Names)
    closed: Names = field(default_factory=Names)
    hidden: Names = field(default_factory=Names)


class Verdict(enum.Enum):
    """The permitted use of a counter: increments and reads, reads only, or none."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


def judge(counter_id: str, allowed: Names, catalog: Catalog) -> Verdict:
    """
    Decide how a counter may be used. `allowed` is the setting COUNTERS.

    A hidden counter is treated like one that is neither allowed nor added, even if it is also closed.
    """
    if counter_id in catalog.hidden or not (counter_id in allowed or counter_id in catalog.added):
        return Verdict.UNKNOWN
    return Verdict.CLOSED if counter_id in catalog.closed else Verdict.OPEN
