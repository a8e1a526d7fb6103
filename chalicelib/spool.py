"""
A spool on disk in which the log, the buckets and the counters are held against each other, however large they are.

SQLite keeps it in a temporary file that is gone with the connection, so memory stays flat; what differs is a question
in SQL each. Sums may be larger than its integers, of 64 bits: they are kept as text, and added up by us (`exact_sum`).
"""

from __future__ import annotations

import sqlite3
import threading
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from chalicelib.counting import BucketKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chalicelib.counting import Bucket, Event

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


class Spool:
    """What was read, of one generation of each counter. Several threads may add at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # An empty name stands for a temporary file (https://www.sqlite.org/inmemorydb.html).
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.create_aggregate("exact_sum", 1, _ExactSum)  # type: ignore[arg-type]
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """The file is gone."""
        self._database.close()

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
        with self._lock:
            row = self._database.execute(
                "SELECT (SELECT count(*) FROM logged), (SELECT count(*) FROM bucket)"
            ).fetchone()
        return int(row[0]), int(row[1])

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

    def _rows(self, question: str) -> Iterator[tuple]:  # type: ignore[type-arg]
        cursor = self._database.execute(question)
        while True:
            with self._lock:
                rows = cursor.fetchmany(_ROWS_AT_ONCE)
            if not rows:
                return
            yield from rows

    def _insert(self, into: str, rows: list[tuple]) -> None:  # type: ignore[type-arg]
        with self._lock:
            self._database.execute("BEGIN")
            self._database.executemany(f"INSERT OR IGNORE INTO {into}", rows)
            self._database.execute("COMMIT")


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
