"""Queries on the SQL read model: read-only in every database, exact, stopped in time, clear in their errors."""

import contextlib
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import Pool

from chalicelib.errors import ReadModelUnavailableError
from chalicelib.extras.sql import read_model, read_only
from ops import stages
from ops.__main__ import main
from ops.cli.errors import InputError, OperatorError
from ops.maintenance import sql
from testkit.builders import an_adjustment, an_event
from tests.e2e.conftest import eventually

pytestmark = pytest.mark.sample(1)

PROJECT = stages.PROJECT

#: A statement that runs until it is stopped.
ENDLESS = {
    "sqlite": "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r",
    "postgresql": "SELECT pg_sleep(600)",
    "auroradsql": "SELECT pg_sleep(600)",
}

#: Statements that write to the database, or to a file in the folder FOLDER.
WRITES = {
    "sqlite": [
        "INSERT INTO counters VALUES ('x', 1, 1)",
        "INSERT INTO counters VALUES ('x', 1, 1) RETURNING value",
        "REPLACE INTO counters VALUES ('a', 1, 1)",
        "UPDATE counters SET value = 99",
        "DELETE FROM events",
        "WITH gone AS (SELECT 1) DELETE FROM events RETURNING amount",
        "DROP TABLE events",
        "DROP VIEW daily",
        "ALTER TABLE events RENAME TO gone",
        "CREATE TABLE made (a)",
        "CREATE TEMP TABLE made (a)",
        "CREATE TABLE made AS SELECT * FROM events",
        "CREATE INDEX made ON events (amount)",
        "CREATE TEMP TRIGGER made AFTER INSERT ON events BEGIN SELECT 1; END",
        "ATTACH 'FOLDER/attached' AS attached",
        "ATTACH 'file:FOLDER/attached?mode=rwc' AS attached",
        "VACUUM",
        "VACUUM INTO 'FOLDER/vacuumed'",
        "PRAGMA user_version = 7",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA query_only = 0",
        "PRAGMA writable_schema = 1",
        "UPDATE sqlite_schema SET sql = ''",
        "SELECT 1; DELETE FROM events",
        "BEGIN IMMEDIATE",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT a",
        "ANALYZE",
        "SELECT load_extension('FOLDER/extension')",
        "EXPLAIN DELETE FROM events",
    ],
    "postgresql": [
        "INSERT INTO counters VALUES ('x', 1, 1)",
        "INSERT INTO counters VALUES ('x', 1, 1) RETURNING value",
        "UPDATE counters SET value = 99",
        "DELETE FROM events",
        "MERGE INTO counters USING events ON counters.counter_id = events.counter_id WHEN MATCHED THEN DELETE",
        "TRUNCATE events",
        "DROP TABLE events CASCADE",
        "ALTER TABLE events RENAME TO gone",
        "CREATE TABLE made (a int)",
        "CREATE TEMP TABLE made (a int)",
        "CREATE TABLE made AS SELECT * FROM events",
        "SELECT * INTO made FROM events",
        "SELECT * INTO TEMP made FROM events",
        "WITH gone AS (DELETE FROM events RETURNING *) SELECT * FROM gone",
        "EXPLAIN ANALYZE DELETE FROM events",
        "COPY events TO '/FOLDER/copied'",
        "COPY (SELECT 1) TO PROGRAM 'touch /FOLDER/copied'",
        "COPY events TO STDOUT",
        "COPY events FROM STDIN",
        "SELECT 1; DELETE FROM events",
        "COMMIT; DELETE FROM events",
        "SET TRANSACTION READ WRITE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "COMMIT",
        "ROLLBACK AND CHAIN",
        "BEGIN",
        "PREPARE TRANSACTION 'a'",
        "DO $$ BEGIN DELETE FROM events; END $$",
        "DO $$ BEGIN SET TRANSACTION READ WRITE; DELETE FROM events; END $$",
        "CALL removing()",
        "SELECT removing_all()",
        "SELECT nextval('numbers')",
        "SELECT setval('numbers', 7)",
        "SELECT * FROM events FOR UPDATE",
        "LOCK TABLE events",
        "VACUUM",
        "NOTIFY all_of_you",
        "GRANT ALL ON events TO public",
        "ALTER SYSTEM SET work_mem = '5MB'",
        "CREATE ROLE made",
        "PREPARE gone AS DELETE FROM events",
    ],
}
WRITES["auroradsql"] = WRITES["postgresql"]

#: Side effects that a read-only transaction allows, undone when it ends.
UNDONE = ["SELECT lo_create(4242)", "SELECT pg_notify('a', 'b')", "SELECT pg_advisory_lock(4242)"]


@pytest.fixture
def read_contents(database, tmp_path):
    """Fill the database; return a function that reads all its contents and the files that it wrote."""
    read_model.count([an_event(counter_id="a", by=n) for n in (1, 2)] + [an_adjustment(counter_id="b", by=-7)])
    if database.name != "sqlite":
        database.ask("DROP SEQUENCE IF EXISTS numbers")
        database.ask("CREATE SEQUENCE numbers")
        database.ask("CREATE OR REPLACE PROCEDURE removing() LANGUAGE sql AS 'DELETE FROM events'")
        database.ask(
            "CREATE OR REPLACE FUNCTION removing_all() RETURNS int LANGUAGE sql AS 'DELETE FROM events; SELECT 1'"
        )
    folder = tmp_path / "written by the database"
    folder.mkdir()
    folder.chmod(0o777)
    tmp_path.chmod(0o755)

    def read():
        contents = [database.ask(f"SELECT * FROM {name} ORDER BY 1, 2") for name in ("counters", "events")]
        if database.name == "sqlite":
            schema: Any = database.ask("SELECT * FROM sqlite_schema"), database.ask("PRAGMA user_version")
        else:
            schema = (
                database.ask("SELECT relname, relkind, relacl FROM pg_class WHERE relnamespace = 2200 ORDER BY 1"),
                database.ask("SELECT last_value, is_called FROM numbers"),
                database.ask("SELECT rolname FROM pg_roles ORDER BY 1"),
                database.ask("SELECT * FROM pg_largeobject_metadata"),
                database.ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"),
            )
        return contents, schema, [*folder.iterdir()]

    database.folder = folder
    return read


@pytest.fixture
def query(database):
    """Run a statement; return its columns and rows."""

    def run(statement):
        with sql.query(database.url, statement, 60) as result:
            return result.columns, [*result.rows]

    return run


@pytest.fixture
def run_sql(database, tmp_path, monkeypatch):
    """Run the command on a stage with this database; return status, output and errors."""
    monkeypatch.setattr(stages, "PROJECT", tmp_path)
    (tmp_path / ".chalice").mkdir()

    def run(*arguments, stdin=None, **environment):
        variables = {"STAGE": "asked", "SQL_URL": database.url, **environment}
        configuration = {"stages": {"asked": {"environment_variables": {k: v for k, v in variables.items() if v}}}}
        (tmp_path / ".chalice" / "config.json").write_text(json.dumps(configuration))
        done = CliRunner().invoke(main, ["sql", "--stage", "asked", *arguments], input=stdin)
        return done.exit_code, done.stdout, done.stderr

    return run


def test_write_is_refused_in_one_line_and_changes_nothing(database, read_contents, run_sql):
    before = read_contents()

    for statement in WRITES[database.name]:
        status, output, error = run_sql(statement.replace("/FOLDER", "FOLDER").replace("FOLDER", str(database.folder)))

        assert (status, output, error.count("\n"), error[:7]) == (1, "", 1, "Error: "), statement
        assert read_contents() == before, statement


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
@pytest.mark.parametrize("statement", UNDONE)
def test_side_effect_that_the_server_allows_is_undone(database, read_contents, query, statement):
    before = read_contents()

    query(statement)

    # The server releases a lock of the session a moment after the connection ends.
    eventually(lambda: read_contents() == before)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO counters VALUES ('x', 1, 1)",
        "UPDATE counters SET value = 1",
        "DELETE FROM events",
        "CREATE TABLE made (a int)",
        "DROP TABLE events",
    ],
)
def test_database_refuses_write_in_read_only_transaction(database, read_contents, statement):
    before = read_contents()
    engine = read_only.engine_at(database.url)

    with read_only.open_snapshot(engine, 60) as connection:
        driver_connection: Any = connection.connection.driver_connection
        with pytest.raises((sqlite3.Error, psycopg.Error), match=r"not authorized|read-only"):
            driver_connection.execute(statement)

    assert read_contents() == before
    engine.dispose()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_sqlite_file_is_opened_read_only(database, read_contents):
    engine = read_only.engine_at(database.url)

    with engine.connect() as connection, pytest.raises(DBAPIError, match="readonly database"):
        connection.execute(text("DELETE FROM events"))

    engine.dispose()


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_read_only_transaction_cannot_become_writable(database, read_contents):
    engine = read_only.engine_at(database.url)

    with (
        read_only.open_snapshot(engine, 60) as connection,
        pytest.raises(DBAPIError, match="must be set before any query"),
    ):
        connection.execute(text("SET TRANSACTION READ WRITE"))
    with read_only.open_snapshot(engine, 60) as connection:
        assert connection.execute(text("SHOW transaction_read_only")).scalar_one() == "on"

    engine.dispose()


def test_read_only_transaction_sees_one_snapshot(database):
    engine = read_only.engine_at(database.url)
    number = text("SELECT count(*) FROM events")

    with read_only.open_snapshot(engine, 60) as connection:
        before = connection.execute(number).scalar_one()
        read_model.count([an_event()])
        meanwhile = connection.execute(number).scalar_one()

    assert (before, meanwhile) == (0, 0)
    assert database.counters()
    engine.dispose()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_role_with_select_only_cannot_act_on_the_server(database, read_contents, run_sql):
    database.ask("CREATE ROLE reader LOGIN")
    database.ask("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    reader = database.url.replace("postgres@", "reader@", 1)

    seen = run_sql("--csv", "SELECT current_user AS me, count(*) AS n FROM events", SQL_READER_URL=reader)
    refused = [
        run_sql(f"SELECT {what}", SQL_READER_URL=reader)
        for what in (
            "pg_reload_conf()",
            "pg_switch_wal()",
            "pg_create_physical_replication_slot('a', true)",
            "lo_export(1, '/tmp/exported')",
            "pg_read_file('PG_VERSION')",
            "count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'postgres'",
        )
    ]

    database.ask("DROP OWNED BY reader")
    database.ask("DROP ROLE reader")
    assert seen == (0, "me,n\nreader,3\n", "")
    assert {status for status, _, _ in refused} == {1}
    assert [error for _, _, error in refused if "permission denied" not in error and "must be " not in error] == []


def test_query_values_are_exact_and_times_are_utc(database, run_sql):
    event = an_event(counter_id="a", by=2**53 - 1, recorded_at_ms=1_700_000_000_009)
    adjustment = an_adjustment(counter_id="a", by=-1, recorded_at_ms=1_700_000_000_010, reason='"Why", he said;\n…')
    read_model.count([event, adjustment])

    status, output, error = run_sql("--json", "SELECT * FROM events ORDER BY recorded_at")
    hours = run_sql("--csv", "SELECT * FROM hourly")
    days = run_sql("--csv", "SELECT * FROM daily")
    latest = run_sql("--csv", "SELECT max(recorded_at) AS latest, NULL AS missing FROM events")

    assert (status, error) == (0, "")
    assert [list(row.values()) for row in json.loads(output)] == [
        ["a", event.event_id, "Incremented", 2**53 - 1, "2023-11-14T22:13:20.009Z", None],
        ["a", adjustment.event_id, "Adjusted", -1, "2023-11-14T22:13:20.010Z", '"Why", he said;\n…'],
    ]
    assert hours[1] == f"counter_id,hour,events,total\na,2023-11-14T22:00:00.000Z,2,{2**53 - 2}\n"
    assert days[1] == f"counter_id,day,events,total\na,2023-11-14,2,{2**53 - 2}\n"
    assert latest[1] == "latest,missing\n2023-11-14T22:13:20.010Z,\n"


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_query_on_server_returns_all_types_exactly(database, query):
    database.ask(f"INSERT INTO counters VALUES ('large', {10**38 - 1}, 1)")
    database.ask("ALTER ROLE postgres SET timezone = 'Asia/Kolkata'")

    large = query("SELECT value, avg(version) FROM counters GROUP BY value")[1]
    values = query(
        """SELECT timestamptz '2026-01-31 12:00:00.123456+01', timestamptz 'infinity',
        timestamptz '0044-03-15 12:00Z BC',
        timestamp '2026-01-31 12:00', date '2026-01-31', date 'infinity', time '12:00', interval '1 month 2 days',
        array[timestamptz '2026-01-31 12:00Z'], jsonb '{"a": [1, null]}', true, 0.5::float8""",
    )[1]

    database.ask("ALTER ROLE postgres RESET timezone")
    assert [(int(value), average) for value, average in large] == [(10**38 - 1, Decimal(1))]
    ((moment, infinite, before_christ, *rest),) = values
    assert (moment, infinite) == ("2026-01-31T11:00:00.123Z", "infinity")
    assert before_christ.startswith("0044-03-15")
    assert rest[:5] == ["2026-01-31 12:00:00", "2026-01-31", "infinity", "12:00:00", "1 mon 2 days"]
    assert rest[5:] == [["2026-01-31T12:00:00.000Z"], {"a": [1, None]}, True, 0.5]


def test_query_error_prints_one_line_with_message_and_position(database, run_sql):
    wrong_column = run_sql("SELECT\n  valu FROM counters")
    no_sql = run_sql("SELEC 1")
    incomplete = run_sql("SELECT 1 +")
    comment = run_sql("/* nothing */")

    if database.name == "sqlite":
        assert wrong_column[2] == "Error: no such column: valu\n"
        assert no_sql[2] == 'Error: near "SELEC": syntax error\n'
    else:
        message = 'column "valu" does not exist, in line 2 at: valu FROM counters'
        assert wrong_column[2] == f'Error: {message} (Perhaps you meant to reference the column "counters.value".)\n'
        assert no_sql[2] == 'Error: syntax error at or near "SELEC", in line 1 at: SELEC 1\n'
        assert incomplete[2] == "Error: syntax error at end of input, at the end of line 1\n"
    assert comment[2].startswith("Error: Only statements that return rows are run")
    assert [(status, error.count("\n")) for status, _, error in (wrong_column, no_sql, incomplete, comment)] == [
        (1, 1)
    ] * 4


def test_query_over_timeout_is_stopped_by_the_database(database, run_sql, monkeypatch):
    # A slow connection must not be closed before the database itself stops the statement.
    monkeypatch.setattr(read_only, "_GRACE_S", 60)

    status, output, error = run_sql("--timeout", "1", ENDLESS[database.name])

    assert (status, output) == (1, "")
    assert error == "Error: Stopped after 1 seconds: narrow the query or raise --timeout.\n"
    if database.name != "sqlite":
        assert database.ask("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'") == [(0,)]


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_query_is_stopped_when_connecting_took_the_whole_timeout(database, run_sql, monkeypatch):
    def delay_connecting(*_):
        time.sleep(6)

    # As above, the database itself must stop the statement.
    monkeypatch.setattr(read_only, "_GRACE_S", 60)
    event.listen(Pool, "connect", delay_connecting)
    try:
        status, _, error = run_sql("--timeout", "6", ENDLESS[database.name])
    finally:
        event.remove(Pool, "connect", delay_connecting)

    assert (status, error[:24]) == (1, "Error: Stopped after 6 s")
    assert database.ask("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'") == [(0,)]


@contextlib.contextmanager
def act_during_endless_query(database, act):
    """
    Call `act` with the id of the server process, once the process runs the endless statement.

    An active process may have prepared the statement without executing it yet. It would ignore a cancellation.
    """
    is_done = threading.Event()

    def watch():
        while not is_done.is_set():
            if processes := database.ask("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
                act(processes[0][0])
                break

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        is_done.set()
        watching.join()


@pytest.fixture
def query_running(monkeypatch):
    """Return an event that is set once SQLite runs a statement: when SQLite reads the clock for the second time."""
    is_running, readings = threading.Event(), itertools.count()

    def read_clock():
        if next(readings):
            is_running.set()
        return time.monotonic()

    monkeypatch.setattr(read_only, "time", SimpleNamespace(monotonic=read_clock))
    return is_running


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_interrupted_query_is_stopped(run_sql, query_running):
    def interrupt():
        query_running.wait()
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    result = run_sql(ENDLESS["sqlite"])
    interrupting.join()

    assert result == (130, "", "Error: Interrupted.\n")


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_interrupted_query_is_stopped_on_the_server(database, run_sql):
    with act_during_endless_query(database, lambda _: os.kill(os.getpid(), signal.SIGINT)):
        result = run_sql(ENDLESS[database.name])

    assert result == (130, "", "Error: Interrupted.\n")
    assert database.ask("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'") == [(0,)]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_query_cancelled_by_an_administrator_is_reported(database, query):
    with (
        act_during_endless_query(database, lambda process: database.ask(f"SELECT pg_cancel_backend({process})")),
        pytest.raises(OperatorError, match="Interrupted: canceling statement due to user request"),
    ):
        query(ENDLESS["postgresql"])


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_lost_connection_exits_with_3(database, run_sql):
    with act_during_endless_query(database, lambda process: database.ask(f"SELECT pg_terminate_backend({process})")):
        status, _, error = run_sql(ENDLESS["postgresql"])

    assert (status, error.count("\n")) == (3, 1)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("url", "status", "message"),
    [
        (None, 1, "Stage asked has no SQL read model: set SQL_URL in its environment_variables"),
        ("sqlite:////no/such/file", 1, "No such database: /no/such/file. Create it with `make up`"),
        ("postgresql+psycopg://postgres@/counter?host=/no", 3, "connection to server on socket"),
        ("sqlite:////dev", 3, "disk I/O error"),
        ("postgresql+psycopg://postgres@host/counter?port=a", 1, "address is malformed: Received non-integer port"),
        ("postgresql+psycopg://postgres@127.0.0.1:99999/counter", 3, "invalid port number"),
        ("postgresql+psycopg://postgres@127.0.0.1/counter?no=1", 3, "invalid connection option"),
    ],
)
def test_sql_without_database_is_refused_with_the_way_out(run_sql, url, status, message):
    refused = run_sql("SELECT 1", SQL_URL=url)

    assert (refused[0], refused[1], refused[2].count("\n")) == (status, "", 1)
    assert message in refused[2]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_sql_on_a_file_that_is_not_a_database_is_refused(tmp_path, run_sql):
    (tmp_path / "other").write_text("no database " * 1000)

    assert run_sql("SELECT * FROM events", SQL_URL=f"sqlite:///{tmp_path}/other")[::2] == (
        1,
        "Error: file is not a database\n",
    )


def test_statement_is_read_from_stdin_or_file(run_sql, tmp_path):
    (tmp_path / "statement.sql").write_text("SELECT 'é' AS a;\n", encoding="utf-8")

    assert run_sql("--csv", stdin="SELECT ';' AS a; -- one") == (0, "a\n;\n", "")
    assert run_sql("--csv", "--file", str(tmp_path / "statement.sql")) == (0, "a\né\n", "")
    assert run_sql(stdin=" \n") == (
        2,
        "",
        "Error: The statement is empty: pass one as an argument, with --file or on standard input.\n",
    )


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_byte_order_mark_before_a_statement_is_ignored(run_sql, tmp_path):
    marked = "\ufeffSELECT 1 AS a"
    (tmp_path / "statement.sql").write_text(marked, encoding="utf-8")

    assert run_sql("--csv", "--file", str(tmp_path / "statement.sql")) == (0, "a\n1\n", "")
    assert run_sql("--csv", stdin=marked.encode()) == (0, "a\n1\n", "")
    assert run_sql("--csv", marked) == (0, "a\n1\n", "")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_statement_in_another_encoding_is_refused(run_sql, tmp_path, encoding):
    statement = "SELECT 'é'".encode(encoding)
    (tmp_path / "statement.sql").write_bytes(statement)

    refused = (2, "", "Error: The statement is not valid UTF-8 or contains NUL.\n")
    assert run_sql("--file", str(tmp_path / "statement.sql")) == refused
    assert run_sql(stdin=statement) == refused


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_sql_on_terminal_without_statement_prints_connection_lines(run_sql, monkeypatch, tmp_path):
    monkeypatch.setattr("ops.cli.sql.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))

    status, output, error = run_sql()

    assert (status, error) == (0, "")
    assert f"  sqlite3 -readonly {tmp_path}/read-model.sqlite\n" in output


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("sqlite:////a b/c", "  sqlite3 -readonly '/a b/c'"),
        ("sqlite:////a/c", "  datasette /a/c"),
        ("postgresql+psycopg://reader@db.example/counter", "  psql postgresql://reader@db.example/counter"),
        ("postgresql+psycopg://reader@/c?host=/tmp", "  pgcli 'postgresql://reader@/c?host=/tmp'"),
        (
            "auroradsql+psycopg://reader@abc.dsql.eu-west-1.on.aws/postgres",
            '  export PGSSLMODE=require PGPASSWORD="$(aws dsql generate-db-connect-auth-token '
            '--hostname abc.dsql.eu-west-1.on.aws --region eu-west-1)"',
        ),
        (
            "auroradsql+psycopg://admin@abc.dsql.eu-west-1.on.aws/postgres",
            '  export PGSSLMODE=require PGPASSWORD="$(aws dsql generate-db-connect-admin-auth-token '
            '--hostname abc.dsql.eu-west-1.on.aws --region eu-west-1)"',
        ),
    ],
)
def test_connection_lines_open_each_kind_of_database(url, line):
    assert line in sql.connection_lines(url)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_statement_that_is_not_unicode_is_refused(query, run_sql):
    for statement in ("SELECT 1\0", "SELECT '\udcff'"):
        with pytest.raises(InputError, match="not valid UTF-8"):
            query(statement)
    assert run_sql("--json", "--csv", "SELECT 1")[0] == 2


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_query_streams_rows(database):
    endless = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT x FROM r"

    with sql.query(database.url, endless, 60) as result:
        assert [next(result.rows) for _ in range(3)] == [(1,), (2,), (3,)]


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_each_read_has_its_own_connection(database):
    engine = read_only.engine_at(database.url)

    def backend():
        with read_only.open_snapshot(engine, 60) as connection:
            return connection.execute(text("SELECT pg_backend_pid()")).scalar_one()

    assert backend() != backend()


def test_read_without_database_is_unavailable():
    with (
        pytest.raises(ReadModelUnavailableError),
        read_only.open_snapshot(read_only.engine_at("sqlite:////no/such/folder/file"), 60),
    ):
        pass


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("form", [["--csv"], ["--json"], []])
def test_closed_pipe_ends_output_without_an_error(database, tmp_path, form):
    (tmp_path / "counter.sqlite").hardlink_to(tmp_path / "read-model.sqlite")
    # 5 MB, more than any pipe holds.
    endless = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT printf('%01000d', x) FROM r"
    process = subprocess.Popen(
        [sys.executable, "-m", "ops", "sql", "--stage", "local", *form, "--limit", "5000", endless],
        cwd=PROJECT,
        env={**os.environ, "LOCAL_FOLDER": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr

    process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()

    assert (process.wait(), error) == (141, b"")
