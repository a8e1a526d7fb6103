"""
Questions to the relational read model, in SQL: rows come back, one by one, and nothing is written.

A server is asked what a statement is before it runs anything of it: it gets one statement only, and tells the columns
of its answer. What has none, such as `COPY` to a file, `DO` or `COMMIT`, is no question and is not run. What has some
runs in a transaction that refuses to write (`chalicelib/extras/sql/read_only.py`), on a connection of its own, so
that no
lock outlives it.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import generators, pq
from psycopg.adapt import Loader
from psycopg.types.string import TextLoader

from chalicelib.errors import ReadModelUnavailableError
from chalicelib.extras.sql import read_only
from ops.cli.errors import InputError, OperatorError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from psycopg.abc import Buffer
    from sqlalchemy import Engine

_NO_QUESTION = (
    "Not run, for it answers with no rows. Only questions are: SELECT, WITH, VALUES, TABLE, EXPLAIN, SHOW. "
    "Nothing was changed."
)

#: As our times are kept in SQLite, which has no type for them: to the millisecond, with the digits of the driver.
_TIME_IN_SQLITE = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d\.\d{3})000")

#: Tables and views with their columns, in order, as those see them who ask.
_CATALOGUES = {
    "sqlite": """
        SELECT found.name, columns.name, lower(columns.type)
        FROM sqlite_schema AS found, pragma_table_info(found.name) AS columns
        WHERE found.type IN ('table', 'view') AND found.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
        ORDER BY found.name, columns.cid
    """,
    "postgresql": """
        SELECT table_name, column_name, data_type
        FROM information_schema.columns
        WHERE table_schema = current_schema()
        ORDER BY table_name, ordinal_position
    """,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The names of the columns, and the rows, to be read once and while the question is open."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table or a view, and of the database's own type, which SQLite does not know of what is computed."""

    table: str
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Questions:
    """To the database of an engine for reading, each of which may take so long until its last row is read."""

    engine: Engine
    timeout_s: int

    @contextlib.contextmanager
    def asked(self, statement: str) -> Iterator[Answer]:
        """
        The answer to one statement. Values are Python's; times are text as RFC 3339 writes it, in UTC.

        Raises, also while rows are read:
            OperatorError: it is refused, is wrong or has taken too long.
            ReadModelUnavailableError: the database is out of reach.
            KeyboardInterrupt: somebody stopped it, and the database has stopped it.
        """
        if "\0" in statement or not _is_unicode(statement):
            raise InputError("The statement holds what is no character of UTF-8, or the one of number 0.")
        began = time.monotonic()
        try:
            with read_only.reading(self.engine, self.timeout_s) as connection:
                of_the_driver: Any = connection.connection.driver_connection
                ask = _of_sqlite if self.engine.dialect.name == "sqlite" else _of_server
                with ask(of_the_driver, statement) as answer:
                    yield answer
        except (sqlite3.Error, sqlite3.Warning, psycopg.Error) as error:
            raise self._told(error, statement, time.monotonic() - began) from error

    def catalogue(self) -> list[Column]:
        """All tables and views that may be asked, with their columns."""
        with self.asked(_CATALOGUES["sqlite" if self.engine.dialect.name == "sqlite" else "postgresql"]) as answer:
            return [Column(*row) for row in answer.rows]

    def _told(self, error: Exception, statement: str, took_s: float) -> BaseException:
        if _was_stopped(error):
            if took_s >= self.timeout_s:
                return OperatorError(
                    f"Stopped after {self.timeout_s} seconds. Ask for less, or give it more time with --timeout."
                )
            return KeyboardInterrupt() if isinstance(error, sqlite3.Error) else OperatorError(f"Stopped: {error}")
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_AUTH:
            return OperatorError("Refused, for only reading is allowed here. Nothing was changed.")
        if isinstance(error, psycopg.Error):
            if isinstance(error, psycopg.OperationalError):
                return ReadModelUnavailableError(str(error))
            return OperatorError(_of_diagnosis(error.diag, statement))
        return OperatorError(str(error))


def _is_unicode(statement: str) -> bool:
    try:
        statement.encode()
    except UnicodeEncodeError:
        return False
    return True


def _was_stopped(error: Exception) -> bool:
    return isinstance(error, psycopg.errors.QueryCanceled) or (
        getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
    )


def _of_diagnosis(diagnosis: psycopg.errors.Diagnostic, statement: str) -> str:
    """What a server says of a statement, with the place and what it proposes, in one line."""
    said = str(diagnosis.message_primary)
    if diagnosis.statement_position:
        at = int(diagnosis.statement_position) - 1
        line, rest = statement.count("\n", 0, at) + 1, statement[at:].partition("\n")[0]
        said += f", in line {line} at: {rest}" if rest else f", in line {line}, at its end"
    more = (diagnosis.message_detail, diagnosis.message_hint)
    return " ".join([said, *(f"({one})" for one in more if one)])


@contextlib.contextmanager
def _of_sqlite(connection: sqlite3.Connection, statement: str) -> Iterator[Answer]:
    with contextlib.closing(connection.execute(statement)) as cursor:
        if cursor.description is None:
            raise OperatorError(_NO_QUESTION)
        rows = (tuple(map(_from_sqlite, row)) for row in cursor)
        yield Answer(tuple(name for name, *_ in cursor.description), rows)


def _from_sqlite(value: Any) -> Any:
    if isinstance(value, str) and (found := _TIME_IN_SQLITE.fullmatch(value)):
        return f"{found[1]}T{found[2]}Z"
    return value


@contextlib.contextmanager
def _of_server(connection: psycopg.Connection, statement: str) -> Iterator[Answer]:
    described = _described(connection, statement)
    if not described.nfields:
        raise OperatorError(_NO_QUESTION)
    names = [described.fname(number) or b"" for number in range(described.nfields)]
    with connection.cursor() as cursor:
        cursor.adapters.register_loader("timestamptz", _MomentLoader)
        for name in ("timestamp", "date", "time", "timetz", "interval"):
            cursor.adapters.register_loader(name, TextLoader)
        # Row by row, and by the protocol that takes one statement only.
        rows: Generator[tuple[Any, ...]] = cursor.stream(statement.encode())  # type: ignore[assignment]
        with contextlib.closing(rows):
            yield Answer(tuple(name.decode() for name in names), rows)


def _described(connection: psycopg.Connection, statement: str) -> pq.abc.PGresult:
    """What the server says that the statement will answer with. None of it has run."""
    raw = connection.pgconn
    raw.send_prepare(b"", statement.encode())
    _result(connection)
    raw.send_describe_prepared(b"")
    return _result(connection)


def _result(connection: psycopg.Connection) -> pq.abc.PGresult:
    result: pq.abc.PGresult = connection.wait(generators.execute(connection.pgconn))[-1]
    if result.status == pq.ExecStatus.FATAL_ERROR:
        raise psycopg.errors.error_from_result(result)
    return result


class _MomentLoader(Loader):
    """A moment as RFC 3339 writes it, in UTC and to the millisecond; what is none there, as the server writes it."""

    def load(self, data: Buffer) -> str:
        written = bytes(data).decode()
        try:
            moment = datetime.fromisoformat(written).astimezone(UTC)
        except (ValueError, OverflowError):  # infinity, and years that have other than four digits
            return written
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
