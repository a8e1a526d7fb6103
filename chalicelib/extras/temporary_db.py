"""Provide a temporary SQLite database, so that large comparisons need little memory."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ROWS_AT_ONCE = 1000


class TemporaryDatabase:
    """A SQLite database in a temporary file, or in the given `file`. It is thread-safe."""

    def __init__(self, schema: str, file: str = "") -> None:
        self._lock = threading.Lock()
        # An empty name means a temporary file (https://www.sqlite.org/inmemorydb.html).
        self._database = sqlite3.connect(file, check_same_thread=False)
        self._database.create_aggregate("exact_sum", 1, _ExactSum)  # type: ignore[arg-type]
        self._database.executescript(schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the database, and remove its file if it is temporary."""
        self._database.close()

    def row(self, query: str, values: Sequence[object] = ()) -> tuple[Any, ...] | None:
        """Return the first row of the result, or None."""
        with self._lock:
            row: tuple[Any, ...] | None = self._database.execute(query, values).fetchone()
        return row

    def rows(self, query: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the result. Memory use does not grow with their number."""
        with self._lock:
            cursor = self._database.execute(query, values)
        while True:
            with self._lock:
                rows = cursor.fetchmany(_ROWS_AT_ONCE)
            if not rows:
                return
            yield from rows

    def execute(self, statement: str, values: Sequence[object] = ()) -> None:
        """Execute a statement without a result, in a separate transaction."""
        with self._lock, self._database:
            self._database.execute(statement, values)

    def insert(self, into: str, rows: Sequence[tuple[object, ...]], on_conflict: str = "IGNORE") -> None:
        """Insert rows in one transaction. `on_conflict`, IGNORE or REPLACE, applies to rows with existing keys."""
        with self._lock, self._database:
            self._database.executemany(f"INSERT OR {on_conflict} INTO {into}", rows)


class _ExactSum:
    """An exact sum of integers of any size, as text. The sum of no rows is 0."""

    def __init__(self) -> None:
        self._total = 0

    def step(self, number: str | int | None) -> None:
        self._total += int(number or 0)

    def finalize(self) -> str:
        return str(self._total)
