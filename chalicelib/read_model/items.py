"""
Convert the read model's items between DynamoDB's JSON and the classes of `domain`, such as `Part` and `Page`.

Decoding a damaged item raises a `DamagedReadModelError`, never another error. `verify` reports the item, and `rebuild`
repairs it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chalicelib.aws import partitions
from chalicelib.aws.tables import PageItem
from chalicelib.domain import entries
from chalicelib.domain.archive import Page
from chalicelib.domain.counter import NOTHING_ARCHIVED, Counter, Part, PartKey
from chalicelib.domain.entries import DamagedError
from chalicelib.domain.events import LATEST_MS, MAX_PARTS, is_counter_id
from chalicelib.errors import DamagedReadModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chalicelib.aws.dynamodb import RawItem
    from chalicelib.domain.archive import PageWrite
    from chalicelib.domain.entries import Entry

#: DynamoDB stores numbers of up to 38 digits; SQLite stores integers of 64 bits.
_INTEGER = re.compile("-?[0-9]{1,38}")
_LARGEST_TOTAL = 10**37
_LARGEST_COUNT = 2**63 - 1

#: The size of an entry of an archive page: at least 18 bytes, usually one or two more.
_ENTRY_BYTES = 20


def parse_part_key(item: RawItem) -> PartKey | None:
    """Return the part key of a counter's item, or None if the item's key is invalid."""
    counter_id, part = item["counter_id"]["S"], item["part"]["N"]
    is_part = part.isdecimal() and int(part) < partitions.count_parts()
    return PartKey(counter_id, int(part)) if is_counter_id(counter_id) and is_part else None


def parse_page_key(item: RawItem) -> PartKey | None:
    """Return the key of the part that an archive page belongs to, or None if the page's key is invalid."""
    end = item["end"]["N"]
    is_end = re.fullmatch("[0-9]{1,15}", end) and int(end) <= LATEST_MS
    return partitions.parse_partition(item["partition"]["S"]) if is_end else None


def decode_part(item: RawItem, key: PartKey | None = None) -> Part:
    """
    Decode a counter's item. An empty item means that nothing has been counted in the part yet; it requires `key`.

    Raises:
        DamagedReadModelError: the item cannot be decoded.
    """
    if not item and key is not None:
        return Part(key)
    totals = decode_totals(item)
    try:
        recent = frozenset(map(entries.decode_entry, item.get("recent", {"BS": []})["BS"]))
    except (DamagedError, KeyError, TypeError) as error:
        raise _damaged(item, f"recent: {error}") from error
    archived_until_ms = NOTHING_ARCHIVED
    if "archived_until" in item:
        archived_until_ms = _read_integer(item, "archived_until", NOTHING_ARCHIVED, LATEST_MS)
    if any(entry.recorded_at_ms <= archived_until_ms for entry in recent):
        raise _damaged(item, "a recent entry is not later than archived_until")
    return Part(
        key=key or PartKey(totals.counter_id, _read_integer(item, "part", 0, MAX_PARTS)),
        value=totals.value,
        version=totals.version,
        recent=recent,
        archived_until_ms=archived_until_ms,
        revision=_read_integer(item, "revision", 1, _LARGEST_COUNT),
        amended=_read_integer(item, "amended", 0, _LARGEST_COUNT) if "amended" in item else 0,
        updated_at_ms=totals.updated_at_ms,
    )


def decode_totals(item: RawItem) -> Counter:
    """
    Decode only the totals of a counter's item.

    Raises:
        DamagedReadModelError: the totals cannot be decoded.
    """
    return Counter(
        item["counter_id"]["S"],
        _read_integer(item, "value", -_LARGEST_TOTAL, _LARGEST_TOTAL),
        _read_integer(item, "version", 0, _LARGEST_COUNT),
        _read_integer(item, "updated_at", 0, LATEST_MS) if "updated_at" in item else None,
    )


def decode_page(item: RawItem) -> Page:
    """
    Decode an archive page.

    Raises:
        DamagedReadModelError: the page cannot be decoded.
    """
    end_ms = _read_integer(item, "end", 0, LATEST_MS)
    start_ms = _read_integer(item, "start", NOTHING_ARCHIVED, end_ms - 1)
    revision = _read_integer(item, "revision", 1, _LARGEST_COUNT)
    try:
        archived = entries.decode_page(item["entries"]["B"])
    except (DamagedError, KeyError, TypeError) as error:
        raise _damaged(item, f"entries: {error}") from error
    if archived and archived[-1].recorded_at_ms > end_ms:
        raise _damaged(item, "an entry is later than the page's end")
    return Page(start_ms, end_ms, revision, archived)


def estimate_size(page: Page) -> int:
    """Estimate the size of a page in bytes, as DynamoDB measures it ("Item sizes and formats"), usually too high."""
    return _ENTRY_BYTES * len(page.entries) + 180


def encode_recent(recent: Iterable[Entry]) -> set[bytes]:
    """Return the elements of an item's set `recent` that encode these entries."""
    return {entries.encode_entry(entry) for entry in recent}


def encode_page(key: PartKey, page: PageWrite) -> PageItem:
    """Return the item of an archive page."""
    return PageItem(
        partitions.format_partition(key),
        page.end_ms,
        start=page.start_ms,
        entries=entries.encode_page(page.entries),
        revision=(page.revision_before or 0) + 1,
    )


def _read_integer(item: RawItem, name: str, lowest: int, highest: int) -> int:
    text = item.get(name, {}).get("N")
    if not isinstance(text, str) or not _INTEGER.fullmatch(text) or not lowest <= int(text) <= highest:
        raise _damaged(item, f"{name} must be an integer from {lowest} to {highest}, got {text!r}")
    return int(text)


def _damaged(item: RawItem, detail: str) -> DamagedReadModelError:
    if "partition" in item:
        counter_id, _, _ = item["partition"]["S"].partition("#")
        return DamagedReadModelError(counter_id, f"archive page {item['end']['N']}: {detail}")
    return DamagedReadModelError(item["counter_id"]["S"], detail)
