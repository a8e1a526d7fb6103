"""
Spools on disk in which the log and a read model are held against each other, however large they are: one for buckets
and counters, one for rows.

SQLite keeps it in a temporary file that is gone with the connection, so memory stays flat; what differs is a question
in SQL each. Sums may be larger than its integers, of 64 bits: they are kept as text, and added up by us (`exact_sum`).
"""

from __future__ import annotations

import sqlite3
import threading
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from chalicelib.counting import BucketKey  # FIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from chalicelib.domain.events import Event
    from chalicelib.counting import Bucket  # FIX

_T = TypeVar("_T")

_ROWS_AT_ONCE = 1000
_BUCKETS_AT_ONCE = 50  # of up to a thousand ids each

_SCHEMA = """
CREATE TABLE logged (counter_id, shard, second, event_id, amount, recorded_at_ms,
    PRIMARY KEY (counter_id, shard, second, event_id)) WITHOUT ROWID;
CREATE TABLE counted (counter_id, shard, second, event_id,
    PRIMARY KEY (counter_id, shard, second, event_id)) WITHOUT ROWID;
CREATE TABLE bucket (counter_id, shard, second, sum, PRIMARY KEY (counter_id, shard, second)) WITHOUT ROWID;
CREATE TABLE counter (counter_id PRIMARY KEY, generation, value, version, moved) WITHOUT ROWID;
"""

_UNCOUNTED = """
SELECT counter_id, shard, second, event_id, amount, recorded_at_ms
FROM logged LEFT JOIN counted USING (counter_id, shard, second, event_id) WHERE counted.event_id IS NULL
"""

_UNLOGGED = """
SELECT counter_id, shard, second, event_id
FROM counted LEFT JOIN logged USING (counter_id, shard, second, event_id) WHERE logged.event_id IS NULL
"""

_WRONG_SUMS = """
SELECT counter_id, shard, second, sum, exact_sum(amount) AS expected
FROM bucket LEFT JOIN counted USING (counter_id, shard, second)
    LEFT JOIN logged USING (counter_id, shard, second, event_id)
GROUP BY counter_id, shard, second HAVING sum <> expected
"""

# A counter stands here twice: by the log, and by its buckets, each with a sum and a number of events.
_FOLDS = """
WITH folded AS (
    SELECT counter_id, exact_sum(amount) AS logged_value, count(*) AS logged_version, 0 AS value, 0 AS version
    FROM logged GROUP BY counter_id
    UNION ALL SELECT counter_id, 0, 0, exact_sum(sum), 0 FROM bucket GROUP BY counter_id
    UNION ALL SELECT counter_id, 0, 0, 0, count(*) FROM counted GROUP BY counter_id
    UNION ALL SELECT counter_id, 0, 0, 0, 0 FROM counter
)
SELECT counter_id, exact_sum(logged_value), sum(logged_version), exact_sum(folded.value), sum(folded.version),
    coalesce(max(counter.value), 0), coalesce(max(counter.version), 0),
    coalesce(max(moved), 0)
FROM folded LEFT JOIN counter USING (counter_id) GROUP BY counter_id
"""


_COLUMNS = "counter_id, event_id, type, amount, recorded_at_ms, reason"

_SCHEMA_OF_ROWS = f"""
CREATE TABLE logged ({_COLUMNS}, PRIMARY KEY (counter_id, event_id)) WITHOUT ROWID;
CREATE TABLE kept ({_COLUMNS}, PRIMARY KEY (counter_id, event_id)) WITHOUT ROWID;
CREATE TABLE unreadable (counter_id, event_id, reason, PRIMARY KEY (counter_id, event_id)) WITHOUT ROWID;
CREATE TABLE named (counter_id PRIMARY KEY) WITHOUT ROWID;
"""

_IS_KEPT = "SELECT EXISTS (SELECT 1 FROM kept WHERE (counter_id, event_id) = (?, ?))"

_MISSING = "SELECT logged.* FROM logged LEFT JOIN kept USING (counter_id, event_id) WHERE kept.event_id IS NULL"

_STRANGERS = """
SELECT kept.* FROM kept LEFT JOIN logged USING (counter_id, event_id) LEFT JOIN unreadable USING (counter_id, event_id)
WHERE logged.event_id IS NULL AND unreadable.event_id IS NULL
"""

_DIFFERING = """
SELECT logged.* FROM logged JOIN kept USING (counter_id, event_id)
WHERE (logged.type, logged.amount, logged.recorded_at_ms, logged.reason)
    IS NOT (kept.type, kept.amount, kept.recorded_at_ms, kept.reason)
"""

_NAMES = """
SELECT counter_id FROM logged UNION SELECT counter_id FROM kept UNION SELECT counter_id FROM named ORDER BY counter_id
"""


class Uncounted(NamedTuple):
    """An event of the log that its bucket lacks."""

    key: BucketKey
    event_id: str
    amount: int
    recorded_at_ms: int


class Fold(NamedTuple):
    """A counter's value and version by the log, by its buckets, and as its own item says; whether that changed."""

    counter_id: str
    by_log: tuple[int, int]
    by_buckets: tuple[int, int]
    itself: tuple[int, int]
    moved: bool


class _TemporaryFile:
    def __init__(self, schema: str) -> None:
        self._lock = threading.Lock()
        # An empty name stands for a temporary file (https://www.sqlite.org/inmemorydb.html).
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.create_aggregate("exact_sum", 1, _ExactSum)  # type: ignore[arg-type]
        self._database.executescript(schema)

    def close(self) -> None:
        """The file is gone."""
        self._database.close()

    def _numbers(self, question: str) -> tuple[int, ...]:
        with self._lock:
            return tuple(self._database.execute(question).fetchone())

    def _rows(self, question: str) -> Iterator[tuple]:  # type: ignore[type-arg]
        cursor = self._database.execute(question)
        while True:
            with self._lock:
                rows = cursor.fetchmany(_ROWS_AT_ONCE)
            if not rows:
                return
            yield from rows

    def _insert(self, into: str, rows: Sequence[tuple[object, ...]], otherwise: str = "IGNORE") -> None:
        with self._lock:
            self._database.execute("BEGIN")
            self._database.executemany(f"INSERT OR {otherwise} INTO {into}", rows)
            self._database.execute("COMMIT")


class Spool(_TemporaryFile):
    """What was read, of one generation of each counter. Several threads may add at once."""

    def __init__(self) -> None:
        super().__init__(_SCHEMA)

    def add_counter(self, counter_id: str, generation: int, value: int, version: int, *, moved: bool = False) -> None:
        """The counter's item says so of this generation, and said something else before if it `moved`."""
        with self._lock:
            self._database.execute(
                "INSERT OR REPLACE INTO counter VALUES (?, ?, ?, ?, ?)",
                (counter_id, generation, str(value), str(version), moved),
            )

    def counter(self, counter_id: str) -> tuple[int, int, int] | None:
        """What the counter's item said: generation, value and version."""
        with self._lock:
            row = self._database.execute(
                "SELECT generation, value, version FROM counter WHERE counter_id = ?", [counter_id]
            ).fetchone()
        return None if row is None else (int(row[0]), int(row[1]), int(row[2]))

    def generations(self) -> Iterator[tuple[str, int]]:
        """Each counter that was added, with its generation."""
        yield from self._rows("SELECT counter_id, generation FROM counter")

    def forget_buckets(self, counter_id: str) -> None:
        """The counter's buckets are to be read again."""
        with self._lock:
            self._database.execute("DELETE FROM counted WHERE counter_id = ?", [counter_id])
            self._database.execute("DELETE FROM bucket WHERE counter_id = ?", [counter_id])

    def generation_of(self, counter_id: str) -> int | None:
        """The generation that was named for this counter, if it was."""
        with self._lock:
            found = self._database.execute("SELECT generation FROM counter WHERE counter_id = ?", [counter_id])
            row = found.fetchone()
        return None if row is None else int(row[0])

    def add_events(self, events: Iterable[tuple[BucketKey, Event]]) -> None:
        """The log holds these events, which belong into these buckets."""
        for some in some_at_a_time(events, _ROWS_AT_ONCE):
            rows = [(*_columns(key), event.event_id, event.amount, event.recorded_at_ms) for key, event in some]
            self._insert("logged VALUES (?, ?, ?, ?, ?, ?)", rows)

    def add_buckets(self, buckets: Iterable[Bucket]) -> None:
        """The read model holds these buckets."""
        for some in some_at_a_time(buckets, _BUCKETS_AT_ONCE):
            self._insert("bucket VALUES (?, ?, ?, ?)", [(*_columns(bucket.key), str(bucket.sum)) for bucket in some])
            ids = [(*_columns(bucket.key), event_id) for bucket in some for event_id in bucket.event_ids]
            self._insert("counted VALUES (?, ?, ?, ?)", ids)

    def count(self, uncounted: Uncounted) -> None:
        """The event has been seen in its bucket after all, which has grown by it."""
        columns = _columns(uncounted.key)
        self._insert("counted VALUES (?, ?, ?, ?)", [(*columns, uncounted.event_id)])
        with self._lock:
            self._database.execute(
                "INSERT OR REPLACE INTO bucket SELECT ?1, ?2, ?3, exact_sum(sum) FROM "
                "(SELECT ?4 AS sum UNION ALL SELECT sum FROM bucket WHERE (counter_id, shard, second) = (?1, ?2, ?3))",
                (*columns, uncounted.amount),
            )

    def forget(self, uncounted: Uncounted) -> None:
        """The event is left out of account."""
        with self._lock:
            self._database.execute(
                "DELETE FROM logged WHERE (counter_id, shard, second, event_id) = (?, ?, ?, ?)",
                (*_columns(uncounted.key), uncounted.event_id),
            )

    def sizes(self) -> tuple[int, int]:
        """How many events and buckets there are in it."""
        events, buckets = self._numbers("SELECT (SELECT count(*) FROM logged), (SELECT count(*) FROM bucket)")
        return events, buckets

    def uncounted(self) -> Iterator[Uncounted]:
        """The events that the log holds and their buckets lack."""
        for *key, event_id, amount, recorded_at_ms in self._rows(_UNCOUNTED):
            yield Uncounted(BucketKey(*key), event_id, amount, recorded_at_ms)

    def lagging(self) -> list[str]:
        """The counters that have such events."""
        return sorted({event.key.counter_id for event in self.uncounted()})

    def unlogged(self) -> Iterator[tuple[BucketKey, str]]:
        """The ids that buckets hold and the log lacks."""
        for *key, event_id in self._rows(_UNLOGGED):
            yield BucketKey(*key), event_id

    def wrong_sums(self) -> Iterator[tuple[BucketKey, int, int]]:
        """The buckets whose sum is not that of their events, with both: what it is, and what it should be."""
        for *key, found, expected in self._rows(_WRONG_SUMS):
            yield BucketKey(*key), int(found), int(expected)

    def folds(self) -> Iterator[Fold]:
        """Each counter that was read of anywhere."""
        for counter_id, *sums, moved in self._rows(_FOLDS):
            log, buckets, itself = (
                (int(value), int(version)) for value, version in zip(sums[::2], sums[1::2], strict=True)
            )
            yield Fold(counter_id, log, buckets, itself, bool(moved))


class Row(NamedTuple):
    """
    What an event is as a row, in the log's words: all that the relational read model keeps of it.

    From a database that takes anything anywhere, as SQLite does, a row may hold what no event has: `recorded_at_ms`
    is a number for any moment, and what stands there for anything else.
    """

    counter_id: str
    event_id: str
    type: str
    amount: int
    recorded_at_ms: float | str | None
    reason: str | None


class RowSpool(_TemporaryFile):
    """The events of the log as rows, and the rows of the relational read model. Several threads may add at once."""

    def __init__(self) -> None:
        super().__init__(_SCHEMA_OF_ROWS)

    def add_logged(self, rows: Iterable[Row]) -> None:
        """The log holds these events."""
        for some in some_at_a_time(rows, _ROWS_AT_ONCE):
            self._insert("logged VALUES (?, ?, ?, ?, ?, ?)", some)

    def add_unreadable(self, counter_id: str, event_id: str, reason: str) -> None:
        """The log holds this event, which cannot be read, and why."""
        self._insert("unreadable VALUES (?, ?, ?)", [(counter_id, event_id, reason)])

    def add_kept(self, rows: Iterable[Row]) -> None:
        """The read model holds these rows, whatever was there before."""
        for some in some_at_a_time(rows, _ROWS_AT_ONCE):
            self._insert("kept VALUES (?, ?, ?, ?, ?, ?)", some, "REPLACE")

    def add_counters(self, counter_ids: Iterable[str]) -> None:
        """These counters are to be looked at, whether anything else is known of them or not."""
        for some in some_at_a_time(counter_ids, _ROWS_AT_ONCE):
            self._insert("named VALUES (?)", [(one,) for one in some])

    def forget_kept(self, row: Row) -> None:
        """The row is not there any more."""
        with self._lock:
            self._database.execute("DELETE FROM kept WHERE (counter_id, event_id) = (?, ?)", row[:2])

    def sizes(self) -> tuple[int, int]:
        """How many events of the log, and how many rows there are in it."""
        events, rows = self._numbers("SELECT (SELECT count(*) FROM logged), (SELECT count(*) FROM kept)")
        return events, rows

    def is_kept(self, counter_id: str, event_id: str) -> bool:
        """Whether such a row was there."""
        with self._lock:
            return bool(self._database.execute(_IS_KEPT, [counter_id, event_id]).fetchone()[0])

    def unreadable(self) -> Iterator[tuple[str, str, str]]:
        """The events that cannot be read: whose, its id, and why."""
        yield from self._rows("SELECT counter_id, event_id, reason FROM unreadable")

    def missing(self) -> Iterator[Row]:
        """The events that the log holds and the read model lacks."""
        return map(Row._make, self._rows(_MISSING))

    def strangers(self) -> Iterator[Row]:
        """The rows that the read model holds and the log lacks."""
        return map(Row._make, self._rows(_STRANGERS))

    def differing(self) -> Iterator[Row]:
        """The events whose rows say something else, as the log has them."""
        return map(Row._make, self._rows(_DIFFERING))

    def counter_ids(self) -> Iterator[str]:
        """Each counter that was read of anywhere, in order."""
        return (name for (name,) in self._rows(_NAMES))


class _ExactSum:
    """SQL's sum(), exact however large it gets, as text; 0 of nothing."""

    def __init__(self) -> None:
        self._total = 0

    def step(self, number: str | int | None) -> None:
        self._total += int(number or 0)

    def finalize(self) -> str:
        return str(self._total)


def some_at_a_time(things: Iterable[_T], most: int) -> Iterator[list[_T]]:
    """The same things, in order, up to `most` at a time."""
    remaining = iter(things)
    while some := list(islice(remaining, most)):
        yield some


def _columns(key: BucketKey) -> tuple[str, int, int]:
    return (key.counter_id, key.shard, key.second)
