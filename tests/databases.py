"""
The databases of the SQL read model: SQLite files and a PostgreSQL server that the tests start.

Aurora DSQL runs only on AWS. Tests use a PostgreSQL server in its place, through AWS's own connector and dialect. The
server's transactions use snapshots, so that conflicts are real 40001 errors. A guard refuses the statements that Aurora
DSQL refuses.
"""

import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
import sqlite3
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from sqlalchemy import Engine, event

#: A host name that AWS's connector accepts as the name of a cluster.
_CLUSTER = "tests.dsql.us-east-1.on.aws"

#: Aurora DSQL user guide, "Cluster quotas and database limits".
MOST_ROWS = 3_000
MOST_BYTES = 10 * 1024 * 1024

#: The same guide, "Unsupported PostgreSQL features" and, on indexes, only CREATE INDEX ASYNC. Aurora DSQL has since
#: added foreign keys and sequences, with conditions. The read model uses neither.
_REFUSED = re.compile(
    r"\b(REFERENCES|FOREIGN KEY|SEQUENCE|SERIAL|IDENTITY|TEMP|TEMPORARY|TRUNCATE|SAVEPOINT|VACUUM|TRIGGER|EXTENSION"
    r"|TABLESPACE|PARTITION BY RANGE|MATERIALIZED|COLLATE|INHERITS|LOCK TABLE|ALTER SYSTEM|EXCLUDE)\b"
    r"|\bINDEX (?!ASYNC)",
    re.IGNORECASE,
)
_IS_DDL = re.compile(r"\s*(CREATE|DROP|ALTER|GRANT|REVOKE)\b", re.IGNORECASE)


@dataclass
class Database:
    """A database with an address and a connection that is not the application's."""

    name: str
    url: str
    ask: Callable[[str], list[tuple[Any, ...]]]

    def counters(self) -> dict[str, tuple[int, int]]:
        """Return the value and the version of each counter."""
        return {name: (int(value), version) for name, value, version in self.ask("SELECT * FROM counters")}

    def event_ids(self) -> set[tuple[str, str]]:
        """Return the counter id and the event id of each stored event."""
        return {(name, str(event_id)) for name, event_id in self.ask("SELECT counter_id, event_id FROM events")}


#: A script that runs a server until standard input ends, even if the tests are killed, and then removes the folder.
_STOP_WITH_PARENT = """
"$@" & server=$!
exec 3<&0
(cat <&3; kill -INT $server; while kill -0 $server; do sleep 0.1; done; rm -rf "$PWD") &
wait $server
"""


@dataclass
class PostgreSQL:
    """A server that listens only on a socket in its folder."""

    folder: Path
    binaries: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _connections: dict[str, psycopg.Connection[Any]] = field(default_factory=dict, init=False)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        data = self.folder / "data"
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody")  # PostgreSQL refuses to run as root
        initdb = self.binaries / "initdb"
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        self._run(initdb, "-D", data, *options).communicate()
        options = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", f"unix_socket_directories={self.folder}"]
        self._process = self._run("sh", "-c", _STOP_WITH_PARENT, "sh", self.binaries / "postgres", "-D", data, *options)
        while True:
            try:
                self.ask("postgres", "SELECT 1")
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                threading.Event().wait(0.05)
            else:
                return

    def stop(self) -> None:
        """Stop the server."""
        for connection in self._connections.values():
            connection.close()
        if self._process is not None:
            self._process.communicate()

    def ask(self, database: str, question: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query, on a connection that the application does not use."""
        if database not in self._connections:
            self._connections[database] = psycopg.connect(
                host=str(self.folder), user="postgres", dbname=database, autocommit=True
            )
        cursor = self._connections[database].execute(question.encode())
        return cursor.fetchall() if cursor.description else []

    def _run(self, *command: object) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(
                [str(part) for part in command],
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                user="nobody" if os.geteuid() == 0 else None,
            )


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs from Debian, the PATH or a wheel, or None if none is installed."""
    on_path = shutil.which("postgres")
    wheel = importlib.util.find_spec("pgserver")
    candidates = [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True),
        *([Path(on_path).parent] if on_path else []),
        *([Path(wheel.origin).parent / "pginstall" / "bin"] if wheel and wheel.origin else []),
    ]
    return next((path for path in candidates if (path / "initdb").exists() and (path / "postgres").exists()), None)


@contextlib.contextmanager
def run_postgresql(programs: Path) -> Iterator[PostgreSQL]:
    """Run a server while the block runs."""
    folder = tempfile.mkdtemp(prefix="pg-")
    server = PostgreSQL(Path(folder), programs)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def sqlite_database(file: Path) -> Database:
    """Return the database in this file."""

    def ask(question: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
            return connection.execute(question).fetchall()

    return Database("sqlite", f"sqlite:///{quote(str(file))}", ask)


def postgresql_database(server: PostgreSQL, name: str) -> Database:
    """Create an empty database on this server."""
    server.ask("postgres", f"CREATE DATABASE {name}")
    return Database(
        "postgresql",
        f"postgresql+psycopg://postgres@/{name}?host={server.folder}",
        lambda question: server.ask(name, question),
    )


class TlsProxy:
    """A proxy that makes a server look like Aurora DSQL: TLS from the first byte, and a cluster's name."""

    def __init__(self, server: PostgreSQL) -> None:
        self.certificate = server.folder / "certificate.pem"
        self._server = server
        key = server.folder / "key.pem"
        subject = ["-subj", "/CN=tests", "-addext", f"subjectAltName=DNS:{_CLUSTER}"]
        files = ["-keyout", str(key), "-out", str(self.certificate)]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files],
            check=True,
            capture_output=True,
        )
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(self.certificate, key)
        self._tls.set_alpn_protocols(["postgresql"])
        self._loop = asyncio.new_event_loop()
        listening = self._loop.run_until_complete(asyncio.start_server(self._relay, "127.0.0.1", 0, ssl=self._tls))
        self.port = listening.sockets[0].getsockname()[1]
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    async def _relay(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_unix_connection(str(self._server.folder / ".s.PGSQL.5432"))
        await asyncio.gather(_pump(client, to_server), _pump(server, to_client))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def dsql_database(server: PostgreSQL, proxy: TlsProxy, name: str) -> Database:
    """Create an empty database on this server. Clients connect to it as they connect to Aurora DSQL."""
    database = postgresql_database(server, name)
    server.ask("postgres", f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    options = f"hostaddr=127.0.0.1&port={proxy.port}&sslrootcert={proxy.certificate}"
    return Database("auroradsql", f"auroradsql+psycopg://postgres@{_CLUSTER}/{name}?{options}", database.ask)


def _count_rows(statement: str) -> int:
    """
    Return the number of rows that one row of this statement adds to a transaction.

    An index entry is also a row. Events have one index in addition to their key. An update deletes the old
    index entry and inserts a new one.
    """
    rows_of_events = {"INSERT INTO events ": 2, "DELETE FROM events ": 2, "UPDATE events ": 3}
    changes = statement.startswith(("INSERT", "UPDATE", "DELETE"))
    return next((rows for start, rows in rows_of_events.items() if statement.startswith(start)), int(changes))


class RefusedByDsqlError(AssertionError):
    """Aurora DSQL refuses this statement."""


class Guard:
    """Refuse the statements that Aurora DSQL refuses, while installed."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.most_rows = 0
        self._listeners: dict[str, Callable[..., Any]] = {
            "begin": self._begin,
            "before_cursor_execute": self._before,
            "after_cursor_execute": self._after,
        }

    @contextlib.contextmanager
    def install(self) -> "Iterator[Guard]":
        """Check the statements of all engines while the block runs."""
        for name, listener in self._listeners.items():
            event.listen(Engine, name, listener, retval=name == "before_cursor_execute")
        try:
            yield self
        finally:
            for name, listener in self._listeners.items():
                event.remove(Engine, name, listener)

    def _begin(self, connection: Any) -> None:
        if connection.dialect.name == "auroradsql":
            connection.info[self] = {"ddl": 0, "dml": 0, "rows": 0, "bytes": 0}

    def _before(
        self, connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _executemany: bool
    ) -> tuple[str, Any]:
        if connection.dialect.name != "auroradsql":
            return statement, parameters
        self.statements.append(statement)
        transaction = connection.info[self]
        transaction["ddl" if _IS_DDL.match(statement) else "dml"] += 1
        if refused := _REFUSED.search(statement):
            raise RefusedByDsqlError(f"{refused[0]!r} in: {statement}")
        if transaction["ddl"] > 1 or (transaction["ddl"] and transaction["dml"]):
            raise RefusedByDsqlError(f"a second statement next to DDL: {statement}")
        transaction["bytes"] += len(str(parameters).encode())
        return statement.replace(" INDEX ASYNC ", " INDEX "), parameters

    def _after(
        self, connection: Any, cursor: Any, statement: str, _parameters: Any, _context: Any, _executemany: bool
    ) -> None:
        if connection.dialect.name != "auroradsql" or _IS_DDL.match(statement):
            return
        transaction = connection.info[self]
        transaction["rows"] += max(cursor.rowcount, 0) * _count_rows(statement)
        self.most_rows = max(self.most_rows, transaction["rows"])
        if transaction["rows"] > MOST_ROWS or transaction["bytes"] > MOST_BYTES:
            raise RefusedByDsqlError(f"{transaction['rows']} rows, {transaction['bytes']} bytes in one transaction")
