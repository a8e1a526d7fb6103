"""The temporary database in which the log is compared with read models, and the queries on parts of counters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from chalicelib.aws import partitions
from chalicelib.domain.counter import NOTHING_ARCHIVED, PartKey
from chalicelib.domain.entries import Entry, id_bytes, id_text
from chalicelib.domain.events import Purged, choose_part, is_event_id
from chalicelib.event_log import Unreadable
from chalicelib.extras.temporary_db import TemporaryDatabase
from chalicelib.extras.verification.report import Totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chalicelib.domain.archive import Page
    from chalicelib.domain.counter import Part
    from chalicelib.domain.events import Event

#: Values of `page` that are not the end of a page. RECENT: in the counter's item. SEEN: counted, in an unknown place.
RECENT, SEEN = -1, -2

#: `recorded` has the events of the log; `logged` those of them that no purge voids.
_SCHEMA = """
CREATE TABLE recorded (counter_id, part, id, recorded_at_ms, amount, type, reason, PRIMARY KEY (counter_id, part, id))
    WITHOUT ROWID;
CREATE TABLE purged (counter_id, part, until_ms, PRIMARY KEY (counter_id, part, until_ms)) WITHOUT ROWID;
CREATE VIEW logged AS SELECT * FROM recorded AS r WHERE NOT EXISTS (
    SELECT 1 FROM purged AS p WHERE (p.counter_id, p.part) = (r.counter_id, r.part) AND p.until_ms >= r.recorded_at_ms);
CREATE TABLE unreadable (counter_id, part, id, reason, PRIMARY KEY (counter_id, part, id)) WITHOUT ROWID;
CREATE TABLE item (counter_id, part, value, version, archived_until_ms, damage, PRIMARY KEY (counter_id, part))
    WITHOUT ROWID;
CREATE TABLE page (counter_id, part, end_ms, start_ms, revision, damage, PRIMARY KEY (counter_id, part, end_ms))
    WITHOUT ROWID;
CREATE TABLE counted (counter_id, part, page, id, recorded_at_ms, amount,
    PRIMARY KEY (counter_id, part, page, id, recorded_at_ms, amount)) WITHOUT ROWID;
CREATE INDEX counted_by_id ON counted (counter_id, part, id);
"""

_PARTS = " UNION ".join(f"SELECT counter_id, part FROM {table}" for table in ("logged", "item", "page"))  # noqa: S608

_MISSING = """
SELECT recorded_at_ms, id, amount FROM logged AS l WHERE (counter_id, part) = (?, ?) AND NOT EXISTS (
    SELECT 1 FROM counted AS c WHERE (c.counter_id, c.part, c.id) = (l.counter_id, l.part, l.id)
    AND (c.recorded_at_ms, c.amount) = (l.recorded_at_ms, l.amount)) ORDER BY recorded_at_ms, id
"""

#: Whether the log has the entry's event with the same content, or cannot decode that event.
_HAS_EVENT = """
(EXISTS (SELECT 1 FROM logged AS l WHERE (l.counter_id, l.part, l.id) = (c.counter_id, c.part, c.id)
    AND (l.recorded_at_ms, l.amount) = (c.recorded_at_ms, c.amount))
OR EXISTS (SELECT 1 FROM unreadable AS u WHERE (u.counter_id, u.part, u.id) = (c.counter_id, c.part, c.id)))
"""

_UNKNOWN = f"""
SELECT recorded_at_ms, id, amount, page FROM counted AS c WHERE (counter_id, part) = (?, ?) AND NOT {_HAS_EVENT}
"""  # noqa: S608

#: The entries whose ids are not in the staged log.
_UNRECORDED = """
SELECT recorded_at_ms, id, amount, page FROM counted AS c WHERE (counter_id, part) = (?, ?)
AND NOT EXISTS (SELECT 1 FROM recorded AS r WHERE (r.counter_id, r.part, r.id) = (c.counter_id, c.part, c.id))
AND NOT EXISTS (SELECT 1 FROM unreadable AS u WHERE (u.counter_id, u.part, u.id) = (c.counter_id, c.part, c.id))
"""

_PAGES = f"""
SELECT lag(end_ms, 1, {NOTHING_ARCHIVED}) OVER (ORDER BY end_ms), start_ms, end_ms, damage
FROM page WHERE (counter_id, part) = (?, ?) ORDER BY end_ms
"""  # noqa: S608

#: A page covers the times after the end of the previous page. If an entry is also in the right page, it is repeated
#: instead.
_MISPLACED = f"""
WITH span AS (SELECT end_ms, lag(end_ms, 1, -1) OVER (ORDER BY end_ms) AS before_ms FROM page
    WHERE (counter_id, part) = (?1, ?2))
SELECT recorded_at_ms, id, amount, page FROM counted AS c JOIN span ON page = end_ms
WHERE (counter_id, part) = (?1, ?2) AND recorded_at_ms <= before_ms AND {_HAS_EVENT} AND NOT EXISTS (
    SELECT 1 FROM counted AS o WHERE (o.counter_id, o.part, o.id) = (c.counter_id, c.part, c.id)
    AND (o.recorded_at_ms, o.amount) = (c.recorded_at_ms, c.amount) AND o.page BETWEEN 0 AND c.page - 1)
"""  # noqa: S608

#: The earliest page first: no other page can cover the entry's time.
_REPEATED = f"""
SELECT recorded_at_ms, id, amount, page FROM counted AS c WHERE (counter_id, part) = (?1, ?2) AND page <> {SEEN}
AND id IN (
    SELECT id FROM counted WHERE (counter_id, part) = (?1, ?2) AND page <> {SEEN} GROUP BY id HAVING count(*) > 1)
AND {_HAS_EVENT} ORDER BY id, page = {RECENT}, page
"""  # noqa: S608

_ARCHIVE_ENDS = f"""
SELECT coalesce((SELECT archived_until_ms FROM item WHERE (counter_id, part) = (?1, ?2)), {NOTHING_ARCHIVED}),
    coalesce((SELECT max(end_ms) FROM page WHERE (counter_id, part) = (?1, ?2)), {NOTHING_ARCHIVED})
"""  # noqa: S608

_TOTALS = "SELECT value, version FROM item WHERE (counter_id, part) = (?, ?)"

_SUM = f"""
SELECT coalesce(exact_sum(amount), 0), count(*) FROM counted WHERE (counter_id, part) = (?, ?) AND page <> {SEEN}
"""  # noqa: S608

_HAS_LOGGED = """
SELECT EXISTS (SELECT 1 FROM logged WHERE (counter_id, part) = (?1, ?2))
    OR EXISTS (SELECT 1 FROM unreadable WHERE (counter_id, part) = (?1, ?2))
"""


class Counted(NamedTuple):
    """An entry of the read model and its place: the end of its page, or `RECENT`."""

    entry: Entry
    page: int


class StagingDb(TemporaryDatabase):
    """The staged log, and the staged parts of counters. Each query except `parts` is about one part."""

    def __init__(self) -> None:
        super().__init__(_SCHEMA)
        self.shards = partitions.count_parts()

    def add_events(self, events: Iterable[Event | Unreadable]) -> None:
        """Stage events of the log. A purge also applies to events that are staged later."""
        readable = []
        for event in events:
            if isinstance(event, Unreadable):
                self._add_unreadable(event)
                continue
            part = PartKey(event.counter_id, choose_part(event.event_id, self.shards))
            if isinstance(event, Purged):
                self.add_purge(part, event.until_ms)
                continue
            key = (*_row(part), id_bytes(event.event_id))
            readable.append((*key, event.recorded_at_ms, event.by, event.type_name, getattr(event, "reason", None)))
        self.insert("recorded VALUES (?, ?, ?, ?, ?, ?, ?)", readable)

    def add_purge(self, key: PartKey, until_ms: int) -> None:
        """Stage a purge: it voids the part's events that were recorded at or before a time."""
        self.insert("purged VALUES (?, ?, ?)", [(*_row(key), until_ms)])

    def _add_unreadable(self, event: Unreadable) -> None:
        counter_id, _, part = event.partition.partition("#")
        event_id = id_bytes(event.event_id) if is_event_id(event.event_id) else bytes(16)
        number = int(part) if re.fullmatch("[0-9]{1,2}", part) else 0
        self.insert("unreadable VALUES (?, ?, ?, ?)", [(counter_id, number, event_id, event.reason)])

    def add_part(self, part: Part) -> None:
        """Stage a part's item."""
        row = (*_row(part.key), str(part.value), str(part.version), part.archived_until_ms, None)
        self.insert("item VALUES (?, ?, ?, ?, ?, ?)", [row], "REPLACE")
        self.add_counted(part.key, part.recent, RECENT)

    def add_damaged_part(self, key: PartKey, damage: str) -> None:
        """Stage a part whose item cannot be decoded. `damage` is the reason."""
        self.insert("item VALUES (?, ?, ?, ?, ?, ?)", [(*_row(key), None, None, NOTHING_ARCHIVED, damage)], "REPLACE")

    def add_page(self, key: PartKey, page: Page) -> None:
        """Stage an archive page."""
        row = (*_row(key), page.end_ms, page.start_ms, page.revision, None)
        self.insert("page VALUES (?, ?, ?, ?, ?, ?)", [row], "REPLACE")
        self.add_counted(key, page.entries, page.end_ms)

    def add_damaged_page(self, key: PartKey, end_ms: int, damage: str) -> None:
        """Stage an archive page that cannot be decoded. `damage` is the reason."""
        self.insert("page VALUES (?, ?, ?, ?, ?, ?)", [(*_row(key), end_ms, None, None, damage)], "REPLACE")

    def add_counted(self, key: PartKey, entries: Iterable[Entry], page: int) -> None:
        """Stage these entries as counted in this page, `RECENT` or `SEEN`."""
        rows = [(*_row(key), page, entry.id, entry.recorded_at_ms, entry.amount) for entry in entries]
        self.insert("counted VALUES (?, ?, ?, ?, ?, ?)", rows)

    def forget_part(self, key: PartKey, after_ms: int) -> None:
        """Remove a part's item, and its pages that end after a time, so that they can be read again."""
        values = (*_row(key), after_ms)
        self.execute("DELETE FROM item WHERE (counter_id, part) = (?, ?)", _row(key))
        self.execute("DELETE FROM page WHERE (counter_id, part) = (?, ?) AND end_ms > ?", values)
        self.execute("DELETE FROM counted WHERE (counter_id, part) = (?, ?) AND (page > ? OR page < 0)", values)

    def parts(self) -> Iterator[PartKey]:
        """Yield every part that has staged data, in order."""
        return (PartKey(*row) for row in self.rows(f"{_PARTS} ORDER BY 1, 2"))

    def sizes(self) -> tuple[int, int]:
        """Return the numbers of the log's events, without purged ones, and of the read model's entries."""
        events, entries = self.row("SELECT (SELECT count(*) FROM logged), (SELECT count(*) FROM counted)") or (0, 0)
        return events, entries

    def unreadable(self) -> Iterator[tuple[str, str, str]]:
        """Yield the unreadable events, as (counter id, event id, reason)."""
        for counter_id, event_id, reason in self.rows("SELECT counter_id, id, reason FROM unreadable"):
            yield counter_id, id_text(event_id), reason

    def missing(self, key: PartKey) -> Iterator[Entry]:
        """Yield the log's events that the read model has not counted, by time."""
        return (Entry(*row) for row in self.rows(_MISSING, _row(key)))

    def unknown(self, key: PartKey) -> Iterator[Counted]:
        """Yield the entries without a matching event in the log, including those of purged events."""
        return _counted(self.rows(_UNKNOWN, _row(key)))

    def unrecorded(self, key: PartKey) -> Iterator[Counted]:
        """Yield the entries whose ids are not in the staged log."""
        return _counted(self.rows(_UNRECORDED, _row(key)))

    def misplaced(self, key: PartKey) -> Iterator[Counted]:
        """Yield the entries in pages that do not cover their times."""
        return _counted(self.rows(_MISPLACED, _row(key)))

    def repeated(self, key: PartKey) -> Iterator[Counted]:
        """Yield the entries whose id occurs more than once, grouped by id."""
        return _counted(self.rows(_REPEATED, _row(key)))

    def item_damage(self, key: PartKey) -> str | None:
        """Return the reason why the part's item cannot be decoded; None if it can be decoded or does not exist."""
        row = self.row("SELECT damage FROM item WHERE (counter_id, part) = (?, ?)", _row(key))
        return row[0] if row else None

    def damaged_pages(self, key: PartKey) -> list[tuple[int, int, str]]:
        """Return the pages that cannot be decoded, as (end of the previous page, end, reason)."""
        return [(before_ms, end_ms, damage) for before_ms, _, end_ms, damage in self._pages(key) if damage is not None]

    def broken_links(self, key: PartKey) -> Iterator[tuple[int, int, int]]:
        """Yield pages that do not start where the previous page ends, as (end of the previous page, start, end)."""
        for before_ms, start_ms, end_ms, damage in self._pages(key):
            if damage is None and start_ms != before_ms:
                yield before_ms, start_ms, end_ms

    def _pages(self, key: PartKey) -> Iterator[tuple[int, int, int, str | None]]:
        return self.rows(_PAGES, _row(key))

    def archive_ends(self, key: PartKey) -> tuple[int, int]:
        """Return `archived_until_ms` of the part's item, and the end of its last page."""
        until_ms, last_ms = self.row(_ARCHIVE_ENDS, _row(key)) or (NOTHING_ARCHIVED, NOTHING_ARCHIVED)
        return until_ms, last_ms

    def totals(self, key: PartKey) -> Totals:
        """Return the part's totals."""
        value, version = self.row(_TOTALS, _row(key)) or (None, None)
        total, number = self.row(_SUM, _row(key)) or (0, 0)
        return Totals(value and int(value), version and int(version), int(total), number)

    def pages(self, key: PartKey) -> list[tuple[int, int | None]]:
        """Return the part's pages, as (end, revision). The revision is None if a page cannot be decoded."""
        return list(self.rows("SELECT end_ms, revision FROM page WHERE (counter_id, part) = (?, ?)", _row(key)))

    def has_logged(self, key: PartKey) -> bool:
        """Check whether the log has any event of this part that is not purged."""
        return self.row(_HAS_LOGGED, _row(key)) == (1,)

    def has_logged_id(self, key: PartKey, event_id: bytes) -> bool:
        """Check whether the log has an event with this id that is not purged, regardless of its content."""
        query = "SELECT 1 FROM logged WHERE (counter_id, part, id) = (?, ?, ?)"
        return self.row(query, (*_row(key), event_id)) is not None

    def has_purged_id(self, key: PartKey, event_id: bytes) -> bool:
        """Check whether the log has a purged event with this id."""
        query = "SELECT 1 FROM recorded WHERE (counter_id, part, id) = (?, ?, ?)"
        return self.row(query, (*_row(key), event_id)) is not None and not self.has_logged_id(key, event_id)


def _counted(rows: Iterable[tuple[int, bytes, int, int]]) -> Iterator[Counted]:
    return (Counted(Entry(*row[:3]), row[3]) for row in rows)


def _row(key: PartKey) -> tuple[str, int]:
    return key.counter_id, key.part
