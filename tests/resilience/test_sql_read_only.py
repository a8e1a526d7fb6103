"""Whoever reads the relational read model cannot write there, whatever they say, in any of its databases."""

from __future__ import annotations

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
from ops.maintenance.sql_asking import Questions
from tests.builders import an_adjustment, an_event

pytestmark = pytest.mark.sample(1)

PROJECT = stages.PROJECT

#: Without end, for as long as nobody stops it.
ENDLESS = {
    "sqlite": "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r",
    "postgresql": "SELECT pg_sleep(600)",
    "auroradsql": "SELECT pg_sleep(600)",
}

#: What each database is asked to write, to itself or to a file in the folder FOLDER.
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

#: What servers do not count as writing, and what is undone at the end all the same.
UNDONE = ["SELECT lo_create(4242)", "SELECT pg_notify('a', 'b')", "SELECT pg_advisory_lock(4242)"]


@pytest.fixture
def written(database, tmp_path):
    """A database with something in it, and a way to see all that it is."""
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

    def everything():
        found = [database.ask(f"SELECT * FROM {name} ORDER BY 1, 2") for name in ("counters", "events")]
        if database.name == "sqlite":
            things: Any = database.ask("SELECT * FROM sqlite_schema"), database.ask("PRAGMA user_version")
        else:
            things = (
                database.ask("SELECT relname, relkind, relacl FROM pg_class WHERE relnamespace = 2200 ORDER BY 1"),
                database.ask("SELECT last_value, is_called FROM numbers"),
                database.ask("SELECT rolname FROM pg_roles ORDER BY 1"),
                database.ask("SELECT * FROM pg_largeobject_metadata"),
                database.ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"),
            )
        return found, things, [*folder.iterdir()]

    database.folder = folder
    return everything


@pytest.fixture
def questions(database):
    """To the database, as operators put them."""
    return Questions(read_only.engine_at(database.url), 60)


def answered(questions, statement):
    with questions.asked(statement) as answer:
        return answer.columns, [*answer.rows]


@pytest.fixture
def asks(database, tmp_path, monkeypatch):
    """The command on a stage whose relational read model is this database; gives status, output and errors."""
    monkeypatch.setattr(stages, "PROJECT", tmp_path)
    (tmp_path / ".chalice").mkdir()

    def ask(*arguments, said=None, **environment):
        variables = {"STAGE": "asked", "SQL_URL": database.url, **environment}
        configuration = {"stages": {"asked": {"environment_variables": {k: v for k, v in variables.items() if v}}}}
        (tmp_path / ".chalice" / "config.json").write_text(json.dumps(configuration))
        done = CliRunner().invoke(main, ["sql", "--stage", "asked", *arguments], input=said)
        return done.exit_code, done.stdout, done.stderr

    return ask


def test_whatever_would_write_is_refused_in_one_line_and_changes_nothing(database, written, asks):
    before = written()

    for statement in WRITES[database.name]:
        status, said, error = asks(statement.replace("/FOLDER", "FOLDER").replace("FOLDER", str(database.folder)))

        assert (status, said, error.count("\n"), error[:7]) == (1, "", 1, "Error: "), statement
        assert written() == before, statement


def test_what_was_refused_is_refused_also_after_others_at_one_prompt(database, written, questions):
    before = written()

    for statement in WRITES[database.name] * 2:
        with pytest.raises(OperatorError):
            answered(questions, statement.replace("/FOLDER", "FOLDER").replace("FOLDER", str(database.folder)))

    assert written() == before
    assert answered(questions, "SELECT count(*) AS n FROM events") == (("n",), [(3,)])


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
@pytest.mark.parametrize("statement", UNDONE)
def test_what_a_server_does_not_call_writing_is_undone_or_let_go_at_the_end(database, written, questions, statement):
    before = written()

    answered(questions, statement)

    assert written() == before


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
def test_the_database_itself_refuses_within_a_transaction_for_reading(database, written, statement):
    before = written()
    engine = read_only.engine_at(database.url)

    with read_only.reading(engine, 60) as connection:
        of_the_driver: Any = connection.connection.driver_connection
        with pytest.raises((sqlite3.Error, psycopg.Error), match=r"not authorized|read-only"):
            of_the_driver.execute(statement)

    assert written() == before
    engine.dispose()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_sqlites_file_itself_is_open_for_reading_only(database, written):
    engine = read_only.engine_at(database.url)

    with engine.connect() as connection, pytest.raises(DBAPIError, match="readonly database"):
        connection.execute(text("DELETE FROM events"))

    engine.dispose()


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_a_transaction_for_reading_cannot_be_made_another(database, written):
    engine = read_only.engine_at(database.url)

    with read_only.reading(engine, 60) as connection, pytest.raises(DBAPIError, match="must be set before any query"):
        connection.execute(text("SET TRANSACTION READ WRITE"))
    with read_only.reading(engine, 60) as connection:
        assert connection.execute(text("SHOW transaction_read_only")).scalar_one() == "on"

    engine.dispose()


def test_a_transaction_for_reading_sees_one_moment(database):
    engine = read_only.engine_at(database.url)
    number = text("SELECT count(*) FROM events")

    with read_only.reading(engine, 60) as connection:
        before = connection.execute(number).scalar_one()
        read_model.count([an_event()])
        meanwhile = connection.execute(number).scalar_one()

    assert (before, meanwhile) == (0, 0)
    assert database.counters()
    engine.dispose()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_role_that_may_only_select_can_ask_and_may_do_nothing_to_the_server(database, written, asks):
    database.ask("CREATE ROLE reader LOGIN")
    database.ask("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    reader = database.url.replace("postgres@", "reader@", 1)

    seen = asks("--csv", "SELECT current_user AS me, count(*) AS n FROM events", SQL_READER_URL=reader)
    refused = [
        asks(f"SELECT {what}", SQL_READER_URL=reader)
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


def test_values_are_exact_and_times_are_in_utc(database, asks):
    event = an_event(counter_id="a", by=2**53 - 1, recorded_at_ms=1_700_000_000_009)
    adjustment = an_adjustment(counter_id="a", by=-1, recorded_at_ms=1_700_000_000_010, reason='"Why", he said;\n…')
    read_model.count([event, adjustment])

    status, said, error = asks("--json", "SELECT * FROM events ORDER BY recorded_at")
    hours = asks("--csv", "SELECT * FROM hourly")
    days = asks("--csv", "SELECT * FROM daily")
    latest = asks("--csv", "SELECT max(recorded_at) AS latest, NULL AS missing FROM events")

    assert (status, error) == (0, "")
    assert [list(row.values()) for row in json.loads(said)] == [
        ["a", event.event_id, "Incremented", 2**53 - 1, "2023-11-14T22:13:20.009Z", None],
        ["a", adjustment.event_id, "Adjusted", -1, "2023-11-14T22:13:20.010Z", '"Why", he said;\n…'],
    ]
    assert hours[1] == f"counter_id,hour,events,total\na,2023-11-14T22:00:00.000Z,2,{2**53 - 2}\n"
    assert days[1] == f"counter_id,day,events,total\na,2023-11-14,2,{2**53 - 2}\n"
    assert latest[1] == "latest,missing\n2023-11-14T22:13:20.010Z,\n"


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_what_else_a_server_can_answer_is_there_exactly(database, questions):
    database.ask(f"INSERT INTO counters VALUES ('large', {10**38 - 1}, 1)")
    database.ask("ALTER ROLE postgres SET timezone = 'Asia/Kolkata'")

    large = answered(questions, "SELECT value, avg(version) FROM counters GROUP BY value")[1]
    others = answered(
        questions,
        """SELECT timestamptz '2026-01-31 12:00:00.123456+01', timestamptz 'infinity',
        timestamptz '0044-03-15 12:00Z BC',
        timestamp '2026-01-31 12:00', date '2026-01-31', date 'infinity', time '12:00', interval '1 month 2 days',
        array[timestamptz '2026-01-31 12:00Z'], jsonb '{"a": [1, null]}', true, 0.5::float8""",
    )[1]

    database.ask("ALTER ROLE postgres RESET timezone")
    assert [(int(value), average) for value, average in large] == [(10**38 - 1, Decimal(1))]
    ((moment, never, ides, *rest),) = others
    assert (moment, never) == ("2026-01-31T11:00:00.123Z", "infinity")
    assert ides.startswith("0044-03-15")
    assert rest[:5] == ["2026-01-31 12:00:00", "2026-01-31", "infinity", "12:00:00", "1 mon 2 days"]
    assert rest[5:] == [["2026-01-31T12:00:00.000Z"], {"a": [1, None]}, True, 0.5]


def test_tables_and_views_are_listed_with_their_columns(database, asks):
    listed = asks("--csv", "\\d")[1].splitlines()
    its_own = asks("--csv", "\\d weekly")[1].splitlines()
    unknown = asks("\\d nowhere")

    assert len(listed) == 10
    assert 'events,"counter_id, event_id, type, amount, recorded_at, reason"' in listed
    assert [line.partition(",")[0] for line in its_own] == ["column", "counter_id", "week", "events", "total"]
    assert unknown == (1, "", "Error: There is no table or view nowhere; \\d lists those that there are.\n")


def test_a_mistake_is_one_line_with_what_the_database_says_and_where(database, asks):
    misspelt = asks("SELECT\n  valu FROM counters")
    no_sql = asks("SELEC 1")
    ends = asks("SELECT 1 +")
    nothing = asks("/* nothing */")

    if database.name == "sqlite":
        assert misspelt[2] == "Error: no such column: valu\n"
        assert no_sql[2] == 'Error: near "SELEC": syntax error\n'
    else:
        told = 'column "valu" does not exist, in line 2 at: valu FROM counters'
        assert misspelt[2] == f'Error: {told} (Perhaps you meant to reference the column "counters.value".)\n'
        assert no_sql[2] == 'Error: syntax error at or near "SELEC", in line 1 at: SELEC 1\n'
        assert ends[2] == "Error: syntax error at end of input, in line 1, at its end\n"
    assert nothing[2].startswith("Error: Not run, for it answers with no rows.")
    assert [(status, error.count("\n")) for status, _, error in (misspelt, no_sql, ends, nothing)] == [(1, 1)] * 4


def test_a_statement_that_takes_too_long_is_stopped_by_the_database(database, asks, monkeypatch):
    # Who takes long to connect is not to hang up before the database itself has stopped it.
    monkeypatch.setattr(read_only, "_GRACE_S", 60)

    status, said, error = asks("--timeout", "1", ENDLESS[database.name])

    assert (status, said) == (1, "")
    assert error == "Error: Stopped after 1 seconds. Ask for less, or give it more time with --timeout.\n"
    if database.name != "sqlite":
        assert database.ask("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'") == [(0,)]


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_a_statement_is_stopped_by_the_database_also_where_connecting_took_all_its_time(database, asks, monkeypatch):
    def takes_long(*_):
        time.sleep(6)

    monkeypatch.setattr(read_only, "_GRACE_S", 5)
    event.listen(Pool, "connect", takes_long)
    try:
        status, _, error = asks("--timeout", "6", ENDLESS[database.name])
    finally:
        event.remove(Pool, "connect", takes_long)

    assert (status, error[:24]) == (1, "Error: Stopped after 6 s")
    assert database.ask("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'") == [(0,)]


@contextlib.contextmanager
def once_it_is_endless(database, act):
    """
    While the block runs, and the server is at the endless statement, this is done once, with the server's process.

    One that is active may not have been told yet to execute what it was told to prepare, and ignores to be stopped.
    """
    ended = threading.Event()

    def watch():
        while not ended.is_set():
            if found := database.ask("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
                act(found[0][0])
                break

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()


@pytest.fixture
def at_work(monkeypatch):
    """Set once SQLite has been at a statement for a while: it looks at the clock, beyond a first time before."""
    is_at_work, looks = threading.Event(), itertools.count()

    def look():
        if next(looks):
            is_at_work.set()
        return time.monotonic()

    monkeypatch.setattr(read_only, "time", SimpleNamespace(monotonic=look))
    return is_at_work


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_statement_that_somebody_stops_has_stopped(asks, at_work):
    def interrupt():
        at_work.wait()
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    stopped = asks(ENDLESS["sqlite"])
    interrupting.join()

    assert stopped == (1, "", "Error: Stopped.\n")


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_a_statement_that_somebody_stops_has_stopped_in_the_database_too(database, asks):
    with once_it_is_endless(database, lambda _: os.kill(os.getpid(), signal.SIGINT)):
        stopped = asks(ENDLESS[database.name])

    assert stopped == (1, "", "Error: Stopped.\n")
    assert database.ask("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'") == [(0,)]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_statement_that_the_servers_keeper_stops_is_told_so(database, questions):
    with (
        once_it_is_endless(database, lambda process: database.ask(f"SELECT pg_cancel_backend({process})")),
        pytest.raises(OperatorError, match="Stopped: canceling statement due to user request"),
    ):
        answered(questions, ENDLESS["postgresql"])


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_server_that_goes_away_meanwhile_is_an_outage(database, asks):
    with once_it_is_endless(database, lambda process: database.ask(f"SELECT pg_terminate_backend({process})")):
        status, _, error = asks(ENDLESS["postgresql"])

    assert (status, error.count("\n")) == (3, 1)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("url", "status", "told"),
    [
        (None, 1, "Stage asked has no relational read model: set SQL_URL among its environment_variables"),
        ("sqlite:////no/such/file", 1, "There is no database yet at /no/such/file: `make up`"),
        ("postgresql+psycopg://postgres@/counter?host=/no", 3, "connection to server on socket"),
        ("sqlite:////dev", 3, "disk I/O error"),
    ],
)
def test_where_there_is_nothing_to_ask_it_is_said_what_to_do(asks, url, status, told):
    refused = asks("SELECT 1", SQL_URL=url)

    assert (refused[0], refused[1], refused[2].count("\n")) == (status, "", 1)
    assert told in refused[2]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_file_that_is_no_database_is_told_so(tmp_path, asks):
    (tmp_path / "other").write_text("no database " * 1000)

    assert asks("SELECT * FROM events", SQL_URL=f"sqlite:///{tmp_path}/other")[::2] == (
        1,
        "Error: file is not a database\n",
    )


def test_statements_on_standard_input_are_answered_up_to_the_first_that_is_refused(database, asks):
    all_of_them = asks("--csv", said="SELECT ';' AS a; -- two\nSELECT 2 AS b")
    until = asks("--csv", said="SELECT 1 AS a; SELECT nowhere; SELECT 3 AS c;")
    none = asks(said=" -- nothing\n")

    assert all_of_them == (0, "a\n;\n\nb\n2\n", "")
    assert (until[0], until[1]) == (1, "a\n1\n\n")
    assert none == (2, "", "Error: There is no statement: give one as an argument or on standard input.\n")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_is_no_text_is_refused(questions, asks):
    for statement in ("SELECT 1\0", "SELECT '\udcff'"):
        with pytest.raises(InputError, match="no character of UTF-8"):
            answered(questions, statement)
    assert asks("--json", "--csv", "SELECT 1")[0] == 2


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_rows_come_one_by_one(database, questions):
    endless = {
        "sqlite": "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT x FROM r",
        "postgresql": "SELECT generate_series(1, 100000000) AS x",
    }

    with questions.asked(endless["sqlite" if database.name == "sqlite" else "postgresql"]) as answer:
        assert [next(answer.rows) for _ in range(3)] == [(1,), (2,), (3,)]


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_each_reads_on_a_connection_of_its_own(database):
    engine = read_only.engine_at(database.url)

    def backend():
        with read_only.reading(engine, 60) as connection:
            return connection.execute(text("SELECT pg_backend_pid()")).scalar_one()

    assert backend() != backend()


def test_reading_needs_a_database_that_is_there():
    with (
        pytest.raises(ReadModelUnavailableError),
        read_only.reading(read_only.engine_at("sqlite:////no/such/folder/file"), 60),
    ):
        pass


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("form", ["--csv", "--json"])
def test_who_has_read_enough_ends_it_without_a_word(database, tmp_path, form):
    (tmp_path / "counter.sqlite").hardlink_to(tmp_path / "read-model.sqlite")
    endless = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT x FROM r"
    process = subprocess.Popen(
        [sys.executable, "-m", "ops", "sql", "--stage", "local", form, endless],
        cwd=PROJECT,
        env={**os.environ, "LOCAL_FOLDER": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr

    first = process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()

    assert process.wait() == 1
    assert (first, error) == ({"--csv": b"x\n", "--json": b"[\n"}[form], b"")
