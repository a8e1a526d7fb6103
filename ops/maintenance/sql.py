"""
Run read-only queries on the SQL read model.

Each query uses a separate connection, and a transaction in which the database refuses writes
(`chalicelib/extras/sql/read_only.py`). A database server receives a single statement, and describes it before running
it. If the statement has no result columns, as with `COPY` to a file, `DO` or `COMMIT`, the server does not run it.
"""

import contextlib
import re
import shlex
import sqlite3
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import generators, pq
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.types.string import TextLoader

from chalicelib.errors import ReadModelUnavailableError
from chalicelib.extras.sql import read_only
from chalicelib.settings import Settings
from ops.cli.errors import InputError, OperatorError

_NOT_A_QUERY = (
    "Only statements that return rows are run: SELECT, WITH, VALUES, TABLE, EXPLAIN, SHOW. Nothing was changed."
)

_INTERRUPTED = "Interrupted."

#: A time in SQLite, which has no type for times: text, with milliseconds and three zeros that the driver adds.
_SQLITE_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d\.\d{3})000")


@dataclass(frozen=True, slots=True)
class Result:
    """Column names and rows. The rows can be read once, while the query is open."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


def reader_url(settings: Settings) -> str:
    """Return the URL for reading the stage's SQL read model."""
    if not settings.sql_reader_url:
        raise OperatorError(
            f"Stage {settings.stage} has no SQL read model: set SQL_URL in its environment_variables in "
            ".chalice/config.json, then provision and deploy."
        )
    file = read_only.file_at(settings.sql_reader_url)
    if file and not file.exists():
        raise OperatorError(f"No such database: {file}. Create it with `make up` or `python -m ops provision`.")
    return settings.sql_reader_url


def connection_lines(url: str) -> list[str]:
    """Return shell commands that open this database in other programs."""
    if file := read_only.file_at(url):
        path = shlex.quote(str(file))
        return ["Connect read-only with one of:", f"  sqlite3 -readonly {path}", f"  datasette {path}"]
    scheme, _, location = url.partition("://")
    address = shlex.quote(f"postgresql://{location}")
    lines = ["Connect with one of:", f"  psql {address}", f"  pgcli {address}"]
    if scheme.startswith("auroradsql"):
        host = urlsplit(url)
        region = (host.hostname or "").split(".")[2:3]
        token = "generate-db-connect-admin-auth-token" if host.username == "admin" else "generate-db-connect-auth-token"
        export = f'export PGSSLMODE=require PGPASSWORD="$(aws dsql {token} --hostname {host.hostname}'
        lines = ["Get a token, valid for 15 minutes:", f'  {export} --region {"".join(region)})"', *lines]
    else:
        lines.append("The password is read from PGPASSWORD.")
    return [*lines, "These programs can write if the database role may: use a role with SELECT only (SQL_READER_URL)."]


@contextlib.contextmanager
def query(url: str, statement: str, timeout_s: int) -> Iterator[Result]:
    """
    Run one statement and yield its result. Values have Python types; times are RFC 3339 text in UTC.

    Raises, even while rows are read:
        InputError: the statement is not valid UTF-8 or contains NUL.
        KeyboardInterrupt: the command was interrupted, for example by Ctrl-C. The statement is stopped.
        OperatorError: the statement is refused, invalid or cancelled, or takes longer than `timeout_s`.
        ReadModelUnavailableError: the database is unavailable.
    """
    if re.search(r"[\0\ud800-\udfff]", statement):  # bytes that are not UTF-8 were read as surrogates
        raise InputError("The statement is not valid UTF-8 or contains NUL.")
    engine = read_only.engine_at(url)
    started = time.monotonic()
    try:
        with read_only.open_snapshot(engine, timeout_s) as connection:
            raw_connection: Any = connection.connection.driver_connection
            run = _run_on_sqlite if engine.dialect.name == "sqlite" else _run_on_server
            with run(raw_connection, statement) as result:
                yield result
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_INTERRUPTED) from None
    except (sqlite3.Error, sqlite3.Warning, psycopg.Error) as error:
        timed_out = time.monotonic() - started >= timeout_s
        raise _translate(error, statement, timeout_s if timed_out else None) from error
    finally:
        engine.dispose()


def _translate(error: Exception, statement: str, timed_out_after_s: int | None) -> BaseException:
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, psycopg.errors.QueryCanceled) or code == sqlite3.SQLITE_INTERRUPT:
        if timed_out_after_s is not None:
            return OperatorError(f"Stopped after {timed_out_after_s} seconds: narrow the query or raise --timeout.")
        # SQLite turns Ctrl-C into this error. On a server, an administrator cancelled the statement.
        return KeyboardInterrupt(_INTERRUPTED) if code else OperatorError(f"Interrupted: {error}.")
    if code == sqlite3.SQLITE_AUTH:
        return OperatorError("Refused: the database is read-only here. Nothing was changed.")
    if isinstance(error, psycopg.OperationalError):
        return ReadModelUnavailableError(str(error))
    if isinstance(error, psycopg.Error):
        return OperatorError(_describe(error.diag, statement))
    return OperatorError(str(error))


def _describe(diagnosis: psycopg.errors.Diagnostic, statement: str) -> str:
    """Describe a server's error in one line, with its position, details and hint."""
    message = str(diagnosis.message_primary)
    if diagnosis.statement_position:
        at = int(diagnosis.statement_position) - 1
        line, excerpt = statement.count("\n", 0, at) + 1, statement[at:].partition("\n")[0]
        message += f", in line {line} at: {excerpt}" if excerpt else f", at the end of line {line}"
    notes = (diagnosis.message_detail, diagnosis.message_hint)
    return " ".join([message, *(f"({note})" for note in notes if note)])


@contextlib.contextmanager
def _run_on_sqlite(connection: sqlite3.Connection, statement: str) -> Iterator[Result]:
    with contextlib.closing(connection.execute(statement)) as cursor:
        if cursor.description is None:
            raise OperatorError(_NOT_A_QUERY)
        rows = (tuple(map(_from_sqlite, row)) for row in cursor)
        yield Result(tuple(name for name, *_ in cursor.description), rows)


def _from_sqlite(value: Any) -> Any:
    if isinstance(value, str) and (match := _SQLITE_TIME.fullmatch(value)):
        return f"{match[1]}T{match[2]}Z"
    return value


@contextlib.contextmanager
def _run_on_server(connection: psycopg.Connection, statement: str) -> Iterator[Result]:
    description = _describe_statement(connection, statement)
    if not description.nfields:
        raise OperatorError(_NOT_A_QUERY)
    names = [description.fname(number) or b"" for number in range(description.nfields)]
    with connection.cursor() as cursor:
        cursor.adapters.register_loader("timestamptz", _TimestampLoader)
        for name in ("timestamp", "date", "time", "timetz", "interval"):
            cursor.adapters.register_loader(name, TextLoader)
        # Row by row, with the protocol that accepts only a single statement.
        rows: Generator[tuple[Any, ...]] = cursor.stream(statement.encode())  # type: ignore[assignment]
        with contextlib.closing(rows):
            yield Result(tuple(name.decode() for name in names), rows)


def _describe_statement(connection: psycopg.Connection, statement: str) -> pq.abc.PGresult:
    """Get the statement's result columns from the server, without running it."""
    raw = connection.pgconn
    raw.send_prepare(b"", statement.encode())
    _fetch(connection)
    raw.send_describe_prepared(b"")
    return _fetch(connection)


def _fetch(connection: psycopg.Connection) -> pq.abc.PGresult:
    result: pq.abc.PGresult = connection.wait(generators.execute(connection.pgconn))[-1]
    if result.status == pq.ExecStatus.FATAL_ERROR:
        raise psycopg.errors.error_from_result(result)
    return result


class _TimestampLoader(Loader):
    """Load a timestamp as RFC 3339 text in UTC with milliseconds, or as is if RFC 3339 cannot express it."""

    def load(self, data: Buffer) -> str:
        text = bytes(data).decode()
        try:
            moment = datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):  # infinity, and years that do not have four digits
            return text
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
