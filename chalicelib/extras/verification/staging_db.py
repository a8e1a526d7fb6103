"""Stage the log and the parts of counters in a temporary database, and query the database for differences."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from chalicelib.aws import partitions
from chalicelib.domain.counter import NOTHING_ARCHIVED, PartKey
from chalicelib.domain.entries import Entry, id_bytes, id_text
from chalicelib.domain.events import Purged, choose_part, is_event_id
from chalicelib.errors import DamagedReadModelError
from chalicelib.extras.temporary_db import TemporaryDatabase
from chalicelib.extras.verification.report import DIFFERENT, MISPLACED, PURGED, REPEATED, UNKNOWN, Totals
from chalicelib.log_reader import Unreadable
from chalicelib.read_model import items

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from chalicelib.aws.dynamodb import RawItem
    from chalicelib.domain.events import Event

#: Values of `page` that are not the end of a page. RECENT: in the counter's item. SEEN: counted, in an unknown place.
RECENT, SEEN = -1, -2

#: `recorded` has the events of the log, and `logged` the events that no purge voids. `judged` has the entries and, for
#: each entry without a matching event, the reason. An unreadable event matches any entry with its id.
_SCHEMA = f"""
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
CREATE VIEW judged AS SELECT c.*, CASE
    WHEN EXISTS (SELECT 1 FROM unreadable AS u WHERE (u.counter_id, u.part, u.id) = (c.counter_id, c.part, c.id))
        THEN NULL
    WHEN r.id IS NULL THEN '{UNKNOWN}'
    WHEN NOT EXISTS (SELECT 1 FROM logged AS l WHERE (l.counter_id, l.part, l.id) = (c.counter_id, c.part, c.id))
        THEN '{PURGED}'
    WHEN (r.recorded_at_ms, r.amount) <> (c.recorded_at_ms, c.amount) THEN '{DIFFERENT}' END AS kind
FROM counted AS c LEFT JOIN recorded AS r USING (counter_id, part, id);
"""  # noqa: S608

_PARTS = " UNION ".join(f"SELECT counter_id, part FROM {table}" for table in ("logged", "item", "page"))  # noqa: S608

_MISSING = """
SELECT recorded_at_ms, id, amount FROM logged AS l WHERE (counter_id, part) = (?, ?) AND NOT EXISTS (
    SELECT 1 FROM counted AS c WHERE (c.counter_id, c.part, c.id) = (l.counter_id, l.part, l.id)
    AND (c.recorded_at_ms, c.amount) = (l.recorded_at_ms, l.amount)) ORDER BY recorded_at_ms, id
"""

#: A page covers the times after the end of the previous page, so if an entry has several copies, only the copy in the
#: earliest page can be right. `LIMIT -1` keeps SQLite from flattening the subquery, so it evaluates each reason once
#: per entry.
_WRONG = f"""
SELECT * FROM (SELECT recorded_at_ms, id, amount, page, coalesce(kind, CASE
    WHEN page <> {SEEN} AND EXISTS (SELECT 1 FROM judged AS o WHERE (o.counter_id, o.part, o.id) = (?1, ?2, c.id)
        AND o.kind IS NULL AND o.page <> {SEEN} AND (o.page = {RECENT}, o.page, o.recorded_at_ms, o.amount)
            < (c.page = {RECENT}, c.page, c.recorded_at_ms, c.amount)) THEN '{REPEATED}'
    WHEN EXISTS (SELECT 1 FROM page AS p WHERE (p.counter_id, p.part) = (?1, ?2)
        AND p.end_ms < c.page AND p.end_ms >= c.recorded_at_ms) THEN '{MISPLACED}' END) AS reason
FROM judged AS c WHERE (counter_id, part) = (?1, ?2) LIMIT -1) WHERE reason IS NOT NULL
"""  # noqa: S608

_PAGES = f"""
SELECT lag(end_ms, 1, {NOTHING_ARCHIVED}) OVER (ORDER BY end_ms), start_ms, end_ms, revision, damage
FROM page WHERE (counter_id, part) = (?, ?) ORDER BY end_ms
"""  # noqa: S608

_SUM = f"""
SELECT coalesce(exact_sum(amount), 0), count(*) FROM counted WHERE (counter_id, part) = (?, ?) AND page <> {SEEN}
"""  # noqa: S608

_HAS_LOGGED = """
SELECT EXISTS (SELECT 1 FROM logged WHERE (counter_id, part) = (?1, ?2))
    OR EXISTS (SELECT 1 FROM unreadable WHERE (counter_id, part) = (?1, ?2))
"""


class Wrong(NamedTuple):
    """A wrong entry, its place (the end of its page, or `RECENT`), and the kind of difference."""

    entry: Entry
    page: int
    kind: str


class StagedItem(NamedTuple):
    """The item of a part. `damage` is the reason why it cannot be decoded, or None."""

    value: int | None = None
    version: int | None = None
    archived_until_ms: int = NOTHING_ARCHIVED
    damage: str | None = None


class StagedPage(NamedTuple):
    """An archive page, and the end of the previous one. `damage` is the reason why it cannot be decoded, or None."""

    before_ms: int
    start_ms: int
    end_ms: int
    revision: int | None
    damage: str | None

    @property
    def is_linked(self) -> bool:
        """Whether the page, as far as it can be decoded, starts where the previous page ends."""
        return self.damage is not None or self.start_ms == self.before_ms


def find_end(pages: Sequence[StagedPage]) -> int:
    """Return the end of the last of these pages, or `NOTHING_ARCHIVED`."""
    return pages[-1].end_ms if pages else NOTHING_ARCHIVED


class StagingDb(TemporaryDatabase):
    """The staged log, and the staged parts of counters. A method that takes a `key` reads or changes only that part."""

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
        """Stage a purge: it voids the part's events that were recorded at or before `until_ms`."""
        self.insert("purged VALUES (?, ?, ?)", [(*_row(key), until_ms)])

    def _add_unreadable(self, event: Unreadable) -> None:
        counter_id, _, part = event.partition.partition("#")
        event_id = id_bytes(event.event_id) if is_event_id(event.event_id) else bytes(16)
        number = int(part) if re.fullmatch("[0-9]{1,2}", part) else 0
        self.insert("unreadable VALUES (?, ?, ?, ?)", [(counter_id, number, event_id, event.reason)])

    def add_item(self, key: PartKey, item: RawItem) -> None:
        """Stage a part's item, or one of its archive pages. If it cannot be decoded, stage the reason."""
        entries: Iterable[Entry] = ()
        damage = None
        if "partition" in item:
            table, place = "page", int(item["end"]["N"])
            columns: tuple[object, ...] = (place, None, None)
        else:
            table, place, columns = "item", RECENT, (None, None, NOTHING_ARCHIVED)
        try:
            if table == "page":
                page = items.decode_page(item)
                columns, entries = (place, page.start_ms, page.revision), page.entries
            else:
                part = items.decode_part(item)
                columns, entries = (str(part.value), str(part.version), part.archived_until_ms), part.recent
        except DamagedReadModelError as error:
            damage = error.detail
        self.insert(f"{table} VALUES (?, ?, ?, ?, ?, ?)", [(*_row(key), *columns, damage)], "REPLACE")
        self.add_counted(key, entries, place)

    def add_counted(self, key: PartKey, entries: Iterable[Entry], page: int) -> None:
        """Stage these entries as counted. `page` is the end of their page, `RECENT` or `SEEN`."""
        rows = [(*_row(key), page, entry.id, entry.recorded_at_ms, entry.amount) for entry in entries]
        self.insert("counted VALUES (?, ?, ?, ?, ?, ?)", rows)

    def forget_part(self, key: PartKey, after_ms: int) -> None:
        """Remove a part's item, and its pages that end after `after_ms`, so that they can be read again."""
        values = (*_row(key), after_ms)
        self.execute("DELETE FROM item WHERE (counter_id, part) = (?, ?)", _row(key))
        self.execute("DELETE FROM page WHERE (counter_id, part) = (?, ?) AND end_ms > ?", values)
        self.execute("DELETE FROM counted WHERE (counter_id, part) = (?, ?) AND (page > ? OR page < 0)", values)

    def parts(self) -> list[PartKey]:
        """Return every part that has staged data, in order."""
        return [PartKey(*row) for row in self.rows(f"{_PARTS} ORDER BY 1, 2")]

    def sizes(self) -> tuple[int, int]:
        """Return the number of the log's events that are not void, and the number of the read model's entries."""
        events, entries = self.row("SELECT (SELECT count(*) FROM logged), (SELECT count(*) FROM counted)") or (0, 0)
        return events, entries

    def unreadable(self) -> Iterator[tuple[str, str, str]]:
        """Yield the unreadable events, as (counter id, event id, reason)."""
        for counter_id, event_id, reason in self.rows("SELECT counter_id, id, reason FROM unreadable"):
            yield counter_id, id_text(event_id), reason

    def has_logged(self, key: PartKey) -> bool:
        """Check whether the log has an event of this part that is not purged, or that is unreadable."""
        return self.row(_HAS_LOGGED, _row(key)) == (1,)

    def missing(self, key: PartKey) -> Iterator[Entry]:
        """Yield the log's events that the read model has not counted, in chronological order."""
        return (Entry(*row) for row in self.rows(_MISSING, _row(key)))

    def wrong(self, key: PartKey) -> Iterator[Wrong]:
        """Yield the entries that have no matching event, are in the wrong page, or are redundant copies."""
        return (Wrong(Entry(*entry), page, kind) for *entry, page, kind in self.rows(_WRONG, _row(key)))

    def item(self, key: PartKey) -> StagedItem:
        """Return the part's item."""
        query = "SELECT value, version, archived_until_ms, damage FROM item WHERE (counter_id, part) = (?, ?)"
        return StagedItem(*self.row(query, _row(key)) or ())

    def pages(self, key: PartKey) -> list[StagedPage]:
        """Return the part's archive pages in ascending order."""
        return [StagedPage(*row) for row in self.rows(_PAGES, _row(key))]

    def totals(self, key: PartKey) -> Totals:
        """Return the part's stored totals, and the totals of its entries."""
        value, version, *_ = self.item(key)
        total, number = self.row(_SUM, _row(key)) or (0, 0)
        return Totals(value and int(value), version and int(version), int(total), number)


def _row(key: PartKey) -> tuple[str, int]:
    return key.counter_id, key.part
