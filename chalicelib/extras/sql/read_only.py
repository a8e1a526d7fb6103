"""
Read the SQL read model in transactions in which the database refuses every write.

SQLite opens the file read-only. Such a connection could still create other files, with `ATTACH` or `VACUUM INTO`, so an
authorizer also denies every action that is not a read. On a server, the transaction is READ ONLY; after its first
query, no statement can make it writable. Statements that affect more than the data, such as `pg_terminate_backend` or
`COPY` to a file on the server, are not blocked here. The role must lack the privileges for them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import threading
import time
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError

from chalicelib.errors import ReadModelUnavailableError
from chalicelib.extras.sql import read_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

#: The time from the database's own timeout until the connection is closed.
_GRACE_S = 1

#: The time between two requests to cancel the same statement.
_CANCEL_AGAIN_S = 0.2

#: SQLite's longest wait for a lock.
_WAIT_S = 2

#: SQLite's authorizer actions for statements that only read.
_READS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})

#: Pragmas that only describe the schema. Other pragmas change the connection or the file.
_PRAGMAS = frozenset({"table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"})

#: SQLite instructions between checks of the deadline: a few thousand checks per second.
_INSTRUCTIONS = 20_000


def engine_at(url: str) -> Engine:
    """Return an engine for `open_snapshot`. It connects on first use."""
    if file := file_at(url):
        address = URL.create("sqlite", database=file.as_uri(), query={"mode": "ro", "uri": "true"})
        return create_engine(address, connect_args={"timeout": _WAIT_S})
    server = read_model.engine_at(url)
    # Call `_watch` before SQLAlchemy's own listener, which queries the server. Also call it when a pooled connection is
    # checked out.
    event.listen(server, "connect", _watch, insert=True)
    event.listen(server, "checkout", lambda driver_connection, record, _: _watch(driver_connection, record))
    engine = server.execution_options(postgresql_readonly=True)
    if engine.dialect.name == "auroradsql":  # it has only snapshot isolation
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ")


def file_at(url: str) -> Path | None:
    """Return the absolute path of a SQLite database, or None if the database is on a server."""
    address = make_url(url)
    return Path(address.database or "").absolute() if address.get_backend_name() == "sqlite" else None


@contextlib.contextmanager
def open_snapshot(engine: Engine, timeout_s: float) -> Iterator[Connection]:
    """
    Provide a read-only transaction on one snapshot. The connection attempt and all statements end within `timeout_s`.

    The transaction uses a separate connection, which is closed at the end. SQLite and PostgreSQL enforce the timeout
    themselves. Aurora DSQL has no such setting, so a thread cancels the running statement. If a server does not react,
    the connection is closed a second later.

    Raises:
        ReadModelUnavailableError: the database does not respond, or refuses the connection.
    """
    deadline = time.monotonic() + timeout_s
    with _Deadline(timeout_s + _GRACE_S):
        with _translate_errors():
            connection = engine.connect()
        ended = threading.Event()
        with connection:
            try:
                _BEGIN[connection.dialect.name](connection, deadline, ended)
                yield connection
            finally:
                ended.set()
                with contextlib.suppress(DBAPIError):  # the connection may be broken, and SQLite's authorizer denies it
                    connection.rollback()
                connection.invalidate()  # otherwise, the pool would keep it


class _Deadline:
    """Shut down the database sockets of the block when the time is up, so that blocked calls fail."""

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._is_over = False

    def __enter__(self) -> None:
        self._timer.start()
        self._outer = _current.set(self)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._outer)
        self._timer.cancel()
        with self._lock:
            for watched_socket in self._sockets:
                watched_socket.close()

    def watch(self, descriptor: int) -> None:
        with self._lock:
            self._sockets.append(socket.socket(fileno=os.dup(descriptor)))
        if self._is_over:
            self._end()

    def _end(self) -> None:
        self._is_over = True
        with self._lock:
            for watched_socket in self._sockets:
                with contextlib.suppress(OSError):  # the server has closed it
                    watched_socket.shutdown(socket.SHUT_RDWR)


_current: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)


def _watch(driver_connection: Any, _record: object) -> None:
    if deadline := _current.get():
        deadline.watch(driver_connection.fileno())


def _begin_on_sqlite(connection: Connection, deadline: float, _ended: threading.Event) -> None:
    _execute(connection, "BEGIN")
    driver_connection: Any = connection.connection.driver_connection
    driver_connection.set_progress_handler(lambda: time.monotonic() > deadline, _INSTRUCTIONS)
    driver_connection.set_authorizer(_authorize)


def _authorize(action: int, name: str | None, *_: str | None) -> int:
    # SQLite reports an update of sqlite_master for table-valued functions such as `json_each`, which update nothing.
    is_read = (
        action in _READS
        or (action == sqlite3.SQLITE_PRAGMA and name in _PRAGMAS)
        or (action == sqlite3.SQLITE_UPDATE and name == "sqlite_master")
    )
    return sqlite3.SQLITE_OK if is_read else sqlite3.SQLITE_DENY


def _begin_on_postgresql(connection: Connection, deadline: float, _ended: threading.Event) -> None:
    # Use a query: after the first one, no statement can make the transaction writable.
    _execute(
        connection,
        "SELECT set_config('statement_timeout', :ms, true), set_config('timezone', 'UTC', true)",
        ms=str(max(round((deadline - time.monotonic()) * 1000), 1)),  # 0 would mean no limit
    )


def _begin_on_dsql(connection: Connection, deadline: float, ended: threading.Event) -> None:
    _execute(connection, "SELECT 1")
    driver_connection: Any = connection.connection.driver_connection

    def cancel() -> None:
        pause_s = max(deadline - time.monotonic(), 0)
        # Repeat the request: if the server has not received the statement yet, it has nothing to cancel.
        while not ended.wait(pause_s):
            with contextlib.suppress(connection.dialect.loaded_dbapi.Error):  # the statement ends anyway
                driver_connection.cancel_safe()
            pause_s = _CANCEL_AGAIN_S

    threading.Thread(target=cancel, daemon=True).start()


_BEGIN = {"sqlite": _begin_on_sqlite, "postgresql": _begin_on_postgresql, "auroradsql": _begin_on_dsql}


def _execute(connection: Connection, statement: str, **values: str) -> None:
    with _translate_errors():
        connection.execute(text(statement), values)


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise ReadModelUnavailableError(str(error.orig)) from error.orig
