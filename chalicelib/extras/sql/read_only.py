"""
Reading the relational read model: transactions in which its database refuses every write, for whoever asks there.

SQLite opens the file for reading only, and is told besides to refuse whatever is not a read, for a connection like that
may still make other files, as `ATTACH` and `VACUUM INTO` do. The servers open a READ ONLY transaction, which nothing in
it can turn into another once it has read. What they let through all the same acts outside of the data, as
`pg_terminate_backend` does, or `COPY` to a file of the server's: that is for the role to have no right to.
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

#: How much later we hang up than the database was to give up by itself.
_GRACE_S = 1

#: How much later a server that goes on is told again to stop.
_STOP_AGAIN_S = 0.2

#: How long SQLite waits for a lock.
_WAIT_S = 2

#: What a statement that only reads asks SQLite for.
_READS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})

#: What only tells of the schema. Others change the connection, or the file.
_PRAGMAS = frozenset({"table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"})

#: After so many of SQLite's own instructions it is looked whether the time is up: some thousand times a second.
_INSTRUCTIONS = 20_000


def engine_at(url: str) -> Engine:
    """An engine for `reading` from the database at this address. It connects when it is first used."""
    if file := file_at(url):
        address = URL.create("sqlite", database=file.as_uri(), query={"mode": "ro", "uri": "true"})
        return create_engine(address, connect_args={"timeout": _WAIT_S})
    of_server = read_model.engine_at(url)
    # Before SQLAlchemy's own, which asks the server things; and again for a connection that somebody made before.
    event.listen(of_server, "connect", _watch, insert=True)
    event.listen(of_server, "checkout", lambda of_the_driver, record, _: _watch(of_the_driver, record))
    engine = of_server.execution_options(postgresql_readonly=True)
    if engine.dialect.name == "auroradsql":  # where each transaction sees a snapshot, and no other level is known
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ")


def file_at(url: str) -> Path | None:
    """The file, in full, that the database at this address is; None, if it is on a server."""
    address = make_url(url)
    return Path(address.database or "").absolute() if address.get_backend_name() == "sqlite" else None


@contextlib.contextmanager
def reading(engine: Engine, timeout_s: float) -> Iterator[Connection]:
    """
    A transaction in which all sees one moment, nothing can be written, and no statement takes longer than this. It has
    a connection of its own, closed behind it: nothing is left for the next, and of many processes none keeps one.

    That includes the time in which it is connected. SQLite and PostgreSQL themselves stop a statement then. Aurora DSQL
    knows no such setting: it is asked to stop the statement that runs, and ends a transaction after 5 minutes anyway.
    On a server that says nothing is hung up a second later, whatever it was asked.

    Raises:
        ReadModelUnavailableError: the database does not answer, or refuses to be read.
    """
    deadline = time.monotonic() + timeout_s
    with _patience(timeout_s + _GRACE_S):
        try:
            connection = engine.connect()
        except DBAPIError as error:
            raise ReadModelUnavailableError(str(error.orig)) from error.orig
        with connection:
            try:
                with _begun(connection, deadline):
                    yield connection
            finally:
                connection.invalidate()  # or the pool would keep it


class _Patience:
    """With the servers of some connections: when it is over, these are broken, so that who waits hears of it."""

    def __init__(self, seconds: float) -> None:
        self.timer = threading.Timer(seconds, self._end)
        self.timer.daemon = True
        self._watched: list[socket.socket] = []
        self._lock = threading.Lock()
        self._is_over = False

    def watch(self, descriptor: int) -> None:
        with self._lock:
            self._watched.append(socket.socket(fileno=os.dup(descriptor)))
        if self._is_over:
            self._end()

    def close(self) -> None:
        self.timer.cancel()
        with self._lock:
            for watched in self._watched:
                watched.close()

    def _end(self) -> None:
        self._is_over = True
        with self._lock:
            for watched in self._watched:
                with contextlib.suppress(OSError):  # the other side was quicker
                    watched.shutdown(socket.SHUT_RDWR)


_patient: ContextVar[_Patience | None] = ContextVar("patient", default=None)


@contextlib.contextmanager
def _patience(seconds: float) -> Iterator[None]:
    patience = _Patience(seconds)
    patience.timer.start()
    outer = _patient.set(patience)
    try:
        yield
    finally:
        _patient.reset(outer)
        patience.close()


def _watch(of_the_driver: Any, _record: object) -> None:
    if patience := _patient.get():
        patience.watch(of_the_driver.fileno())


@contextlib.contextmanager
def _begun(connection: Connection, deadline: float) -> Iterator[None]:
    transaction = connection.begin()
    of_the_driver: Any = connection.connection.driver_connection
    try:
        with _BEGINNINGS[connection.dialect.name](connection, of_the_driver, deadline):
            yield
    finally:
        with contextlib.suppress(DBAPIError):  # of a connection that broke nothing is left to be undone
            transaction.rollback()


@contextlib.contextmanager
def _on_sqlite(connection: Connection, of_the_driver: sqlite3.Connection, deadline: float) -> Iterator[None]:
    _ask(connection, "BEGIN")
    of_the_driver.set_progress_handler(lambda: time.monotonic() > deadline, _INSTRUCTIONS)
    of_the_driver.set_authorizer(_is_read)
    try:
        yield
    finally:
        of_the_driver.set_authorizer(None)
        of_the_driver.set_progress_handler(None, 0)


def _is_read(action: int, what: str | None, *_: str | None) -> int:
    # The last is asked for what is computed, such as `json_each`, too; the table itself SQLite never changes that way.
    is_read = (
        action in _READS
        or (action == sqlite3.SQLITE_PRAGMA and what in _PRAGMAS)
        or (action == sqlite3.SQLITE_UPDATE and what == "sqlite_master")
    )
    return sqlite3.SQLITE_OK if is_read else sqlite3.SQLITE_DENY


@contextlib.contextmanager
def _on_postgresql(connection: Connection, _of_the_driver: Any, deadline: float) -> Iterator[None]:
    # Read by a query, so that no later statement can make the transaction another: only before its first could one.
    _ask(
        connection,
        "SELECT set_config('statement_timeout', :ms, true), set_config('timezone', 'UTC', true)",
        ms=str(max(round((deadline - time.monotonic()) * 1000), 1)),  # 0 would be no limit
    )
    yield


@contextlib.contextmanager
def _on_dsql(connection: Connection, of_the_driver: Any, deadline: float) -> Iterator[None]:
    _ask(connection, "SELECT 1")
    ended = threading.Event()

    def stop() -> None:
        pause_s = max(deadline - time.monotonic(), 0)
        # Again and again, for a server that has yet to be told to execute a statement has nothing to stop.
        while not ended.wait(pause_s):
            with contextlib.suppress(connection.dialect.loaded_dbapi.Error):  # then it ends by itself
                of_the_driver.cancel_safe()
            pause_s = _STOP_AGAIN_S

    threading.Thread(target=stop, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


_BEGINNINGS: dict[str, Any] = {"sqlite": _on_sqlite, "postgresql": _on_postgresql, "auroradsql": _on_dsql}


def _ask(connection: Connection, statement: str, **values: str) -> None:
    try:
        connection.execute(text(statement), values)
    except DBAPIError as error:
        raise ReadModelUnavailableError(str(error.orig)) from error.orig
