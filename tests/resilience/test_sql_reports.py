"""Test that reports on each database are complete, ordered, paged and read-only."""

import contextlib
import dataclasses
import json
import operator
import os
import signal
import socket
import sqlite3
import threading
import time
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import text

import app
from chalicelib import settings
from chalicelib.aws import session
from chalicelib.errors import BadCursorError
from chalicelib.extras.reports import definitions, queries
from chalicelib.extras.reports.definitions import REPORTS, Query
from chalicelib.extras.reports.errors import ReportUnavailableError
from chalicelib.extras.sql import read_model, read_only
from testkit.builders import an_adjustment, an_event, api_event
from tests import sql_faults

pytestmark = pytest.mark.sample(1)

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

#: A Monday, and midnight: 2024-01-01.
MONDAY_MS = 1_704_067_200_000


@pytest.fixture
def database(database):
    """Read the reports from this empty database."""
    queries.client.cache_clear()
    yield database
    queries.client().dispose()
    queries.client.cache_clear()


def build_query(name, **parts):
    """Return a query of the report, with 100 rows a page."""
    return Query(REPORTS[name], **{"limit": 100, **parts})


def read_pages(query, between=lambda: None):
    """Return all rows, read page by page, and call `between` after each page."""
    rows = []
    while True:
        page = queries.run(query)
        assert len(page.rows) <= query.limit
        rows += page.rows
        assert len(rows) < 1000, "the pages do not end"
        if page.last is None:
            return rows
        assert len(page.rows) == query.limit
        query = dataclasses.replace(query, after=page.last)
        between()


def name_columns(name, rows):
    return [dict(zip([column.name for column in REPORTS[name].columns], row, strict=True)) for row in rows]


def time_at(ms):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


@pytest.fixture
def events(database):
    """Count events of four counters in many hours of three weeks. Two counters have the same value."""
    events = [
        an_event(counter_id=counter_id, by=by, recorded_at_ms=MONDAY_MS + n * 62 * HOUR_MS)
        for counter_id, by in (("a", 2), ("b", 3), ("c", 2), ("-d", 1))
        for n in range(8)
    ]
    events += [
        an_event(counter_id="a", by=7, recorded_at_ms=MONDAY_MS),
        an_event(counter_id="c", by=7, recorded_at_ms=0),
    ]
    read_model.count(events)
    return events


def sort_rows(name, rows):
    """Sort the rows by the keys of the report, in Python."""
    result = list(rows)
    columns = [column.name for column in REPORTS[name].columns]
    for key in reversed(REPORTS[name].order):
        result.sort(key=operator.itemgetter(columns.index(key.column.name)), reverse=key.descending)
    return result


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("limit", [3, 100])
def test_report_with_any_page_size_has_all_rows_once_in_order(database, events, name, limit):
    counter_id = "a" if "counter_id" in REPORTS[name].required else None
    at = time_at(MONDAY_MS + 10**10) if "at" in REPORTS[name].required else None
    columns = ", ".join(column.name for column in REPORTS[name].columns)
    where = f" WHERE counter_id = '{counter_id}'" if counter_id else ""
    where += " WHERE until IS NULL" if at else ""
    with read_model.client().connect() as connection:
        count = connection.execute(text(f"SELECT count(*) FROM (SELECT {columns} FROM {name}{where}) AS rows")).scalar()

    rows = read_pages(build_query(name, limit=limit, counter_id=counter_id, at=at))

    assert count
    assert len(rows) == len(set(rows)) == count
    assert rows == sort_rows(name, rows)


def test_report_has_the_values_of_its_view(events):
    (growth, *_) = name_columns("weekly_growth", read_pages(build_query("weekly_growth", counter_id="b")))
    (oldest, *_) = reversed(name_columns("weekly_growth", read_pages(build_query("weekly_growth", counter_id="b"))))
    (busiest,) = name_columns("busiest_hour", read_pages(build_query("busiest_hour", counter_id="a")))

    assert growth == {
        "counter_id": "b",
        "week": date(2024, 1, 15),
        "events": 2,
        "total": 6,
        "events_before": 3,
        "growth": -1,
        "growth_percent": -33,
    }
    assert (oldest["events_before"], oldest["growth_percent"]) == (0, None)
    assert busiest == {"counter_id": "a", "hour": time_at(MONDAY_MS), "events": 2, "total": 9}


def test_counters_of_equal_value_share_a_rank_in_order_of_id(events):
    rows = name_columns("top_counters", read_pages(build_query("top_counters", limit=1)))

    assert [(row["rank"], row["counter_id"], row["value"], row["version"]) for row in rows] == [
        (1, "b", 24, 8),
        (2, "a", 23, 9),
        (2, "c", 23, 9),
        (4, "-d", 8, 8),
    ]


@pytest.mark.parametrize(
    ("ms", "states"),
    [
        (-1, {"c": (7, 1)}),
        (0, {"-d": (1, 1), "a": (9, 2), "b": (3, 1), "c": (9, 2)}),
        (62 * HOUR_MS - 1, {"-d": (1, 1), "a": (9, 2), "b": (3, 1), "c": (9, 2)}),
        (62 * HOUR_MS, {"-d": (2, 2), "a": (11, 3), "b": (6, 2), "c": (11, 3)}),
        (10**10, {"-d": (8, 8), "a": (23, 9), "b": (24, 8), "c": (23, 9)}),
    ],
)
def test_value_at_a_time_is_the_fold_of_its_events(events, ms, states):
    """Read page by page. Counters without events at that time are omitted."""
    rows = name_columns("value_at", read_pages(build_query("value_at", limit=2, at=time_at(MONDAY_MS + ms))))

    assert {row["counter_id"]: (row["value"], row["version"]) for row in rows} == states


def test_rank_of_one_counter_is_its_rank_among_all(events):
    (row,) = read_pages(build_query("top_counters", counter_id="c"))

    assert row == (2, "c", 23, 9)


def test_events_of_one_millisecond_are_sorted_by_id(database):
    events = [an_event(counter_id="a", recorded_at_ms=MONDAY_MS) for _ in range(7)]
    read_model.count(events)

    rows = name_columns("running_totals", read_pages(build_query("running_totals", limit=2, counter_id="a")))

    assert [row["event_id"] for row in rows] == sorted((event.event_id for event in events), reverse=True)
    assert [row["running_total"] for row in rows] == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("name", ["daily", "hourly", "weekly", "weekly_growth", "running_totals"])
def test_pages_stay_correct_while_newer_rows_arrive(database, events, name):
    query = build_query(name, limit=2, counter_id="a")
    keys = {key.column.name for key in REPORTS[name].order}
    before = [{key: row[key] for key in keys} for row in name_columns(name, read_pages(query))]
    steps = iter(range(1, 100))

    def count_newer_events():
        # An event newer than all, which belongs to a page already read, and an event of another counter.
        newer = MONDAY_MS + next(steps) * 400 * DAY_MS
        read_model.count([an_event(counter_id=counter_id, recorded_at_ms=newer) for counter_id in ("a", "z")])

    after = [{key: row[key] for key in keys} for row in name_columns(name, read_pages(query, count_newer_events))]

    assert len(before) > 2
    assert after == before


def test_row_that_arrives_after_the_cursor_is_on_a_later_page(database):
    read_model.count([an_event(counter_id=name, by=by) for name, by in (("a", 9), ("b", 7), ("c", 5))])

    rows = name_columns(
        "top_counters",
        read_pages(
            build_query("top_counters", limit=1),
            lambda: read_model.count([an_event(counter_id="bb", by=7, event_id=ID)]),
        ),
    )

    assert [row["counter_id"] for row in rows] == ["a", "b", "bb", "c"]


ID = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.mark.parametrize("name", REPORTS)
def test_report_without_counted_events_has_no_rows(database, name):
    assert queries.run(build_query(name, counter_id="a")) == definitions.Page([], None)


@pytest.mark.parametrize(
    ("name", "first", "end", "days"),
    [
        ("daily", time_at(MONDAY_MS + DAY_MS).date(), time_at(MONDAY_MS + 3 * DAY_MS).date(), [2, 1]),
        ("daily", time_at(MONDAY_MS + 2 * DAY_MS).date(), None, [3, 2]),
        ("hourly", time_at(MONDAY_MS + 1 * DAY_MS), time_at(MONDAY_MS + 3 * DAY_MS), [2, 1]),
        ("hourly", None, time_at(MONDAY_MS + 1 * DAY_MS), [0]),
        ("weekly", time_at(MONDAY_MS).date(), time_at(MONDAY_MS + 7 * DAY_MS).date(), [0]),
        ("running_totals", time_at(MONDAY_MS + DAY_MS), time_at(MONDAY_MS + 2 * DAY_MS + 1), [2, 1]),
        ("running_totals", time_at(MONDAY_MS + DAY_MS), time_at(MONDAY_MS + 2 * DAY_MS), [1]),
    ],
)
def test_report_has_rows_from_first_up_to_but_not_including_end(database, name, first, end, days):
    read_model.count([an_event(counter_id="a", recorded_at_ms=MONDAY_MS + day * DAY_MS) for day in range(4)])

    rows = name_columns(name, read_pages(build_query(name, counter_id="a", first=first, end=end)))

    column = REPORTS[name].order[0].column.name
    if name == "weekly":
        assert [row[column] for row in rows] == [time_at(MONDAY_MS).date()]
    else:
        times = [time_at(MONDAY_MS + day * DAY_MS) for day in days]
        assert [row[column] for row in rows] == [
            moment if isinstance(rows[0][column], datetime) else moment.date() for moment in times
        ]


def test_running_total_includes_events_before_the_first_row(database):
    read_model.count([an_event(counter_id="a", by=5, recorded_at_ms=MONDAY_MS + days * DAY_MS) for days in range(4)])
    read_model.count([an_adjustment(counter_id="a", by=-3, recorded_at_ms=MONDAY_MS + 9 * DAY_MS, reason="=1+1")])

    rows = name_columns(
        "running_totals",
        read_pages(build_query("running_totals", counter_id="a", first=time_at(MONDAY_MS + 3 * DAY_MS))),
    )

    assert [(row["type"], row["amount"], row["reason"], row["running_total"]) for row in rows] == [
        ("Adjusted", -3, "=1+1", 17),
        ("Incremented", 5, None, 20),
    ]


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_sums_are_exact_to_38_digits_across_pages(database):
    largest = 10**38 - 1
    database.ask(f"INSERT INTO counters VALUES ('a', {largest}, 1), ('b', {largest - 1}, 1), ('c', {-largest}, 1)")

    rows = name_columns("top_counters", read_pages(build_query("top_counters", limit=1)))

    assert [row["value"] for row in rows] == [largest, largest - 1, -largest]
    assert all(type(row["value"]) is int for row in rows)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_cursor_beyond_the_integers_of_sqlite_is_refused(database):
    with pytest.raises(BadCursorError):
        queries.run(build_query("top_counters", after=(10**37, "a")))


HOSTILE = ["' OR 1=1 --", "a'; DROP TABLE events; --", 'a" OR ""="', "%", "_", "a\\", "$1", ":counter_id", "%(x)s", "?"]


@pytest.mark.parametrize(
    ("name", "parts_of"),
    [
        ("daily", lambda hostile: {"counter_id": hostile}),
        ("top_counters", lambda hostile: {"counter_id": hostile}),
        ("top_counters", lambda hostile: {"after": (0, hostile)}),
    ],
    ids=["counter id of daily", "counter id of top_counters", "cursor"],
)
def test_sql_in_a_parameter_is_compared_and_not_run(database, name, parts_of):
    """The HTTP edge also refuses each hostile counter id."""
    read_model.count([an_event(counter_id="a")])

    answers = [queries.run(build_query(name, **parts_of(hostile))).rows for hostile in HOSTILE]

    assert answers == [[]] * len(HOSTILE)
    assert database.counters() == {"a": (1, 1)}


def test_statement_text_contains_no_value(database):
    cursor = (date(2024, 1, 1), "marker-b")
    query = build_query("daily", counter_id="marker-a", first=date(2024, 1, 2), end=date(2024, 1, 3), after=cursor)

    statement = str(queries.build_statement(query).compile(dialect=queries.client().dialect))

    assert "marker" not in statement
    assert "2024" not in statement
    assert "100" not in statement


def write_as_a_report():
    """Delete the counters on the connection of a report."""
    with read_only.open_snapshot(queries.client(), 60) as connection:
        connection.execute(text("DELETE FROM counters"))
        connection.commit()


def test_report_connection_cannot_write_even_with_the_right_to(database):
    read_model.count([an_event(counter_id="a")])

    with pytest.raises(Exception, match=r"read-only|not authorized"):
        write_as_a_report()

    assert database.counters() == {"a": (1, 1)}


@pytest.fixture
def short_time_limits():
    """Give a query 0.3 seconds, until the patch is undone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queries, "LONGEST_S", 0.3)
        patch.setattr(read_only, "_GRACE_S", 0.3)
        patch.setattr(read_only, "_WAIT_S", 0.1)
        yield patch


#: A view whose query never ends.
ENDLESS = """
CREATE VIEW busiest_hour AS
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT 1 - i FROM n)
SELECT 'a' AS counter_id, CURRENT_TIMESTAMP AS hour, count(*) AS events, sum(i) AS total FROM n
"""


@pytest.fixture
def endless(database):
    """Replace a view by one whose query never ends."""
    database.ask("DROP VIEW busiest_hour")
    database.ask(ENDLESS)
    yield database
    if database.name != "sqlite":
        # The server may still run the query of a closed connection. Aurora DSQL does so for 5 minutes at most.
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        database.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    database.ask("DROP VIEW busiest_hour")
    read_model.make_schema(database.url)


def test_query_over_the_time_limit_is_stopped_in_the_database(endless, short_time_limits):
    with pytest.raises(ReportUnavailableError):
        queries.run(build_query("busiest_hour"))
    short_time_limits.undo()

    read_model.count([an_event(counter_id="a")])
    assert queries.run(build_query("top_counters")).rows == [(1, "a", 1, 1)]
    if endless.name == "postgresql":
        active = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%FROM busiest_hour%'"
        deadline = time.monotonic() + 30  # the client may have closed the connection before the server's own limit
        while endless.ask(f"{active} AND pid <> pg_backend_pid()"):
            assert time.monotonic() < deadline


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_server_that_stops_answering_makes_reports_unavailable(database, short_time_limits):
    stopped_processes = []

    def stop_server(_, step):
        if step.operation.startswith("SELECT running_totals"):
            stopped_processes.append(step.connection.info.backend_pid)
            os.kill(stopped_processes[-1], signal.SIGSTOP)
        step.carry_out()

    try:
        with sql_faults.inject(queries.client(), stop_server):
            for longest_s in (0.3, 1, 3, 10):  # a slow machine needs a longer limit to reach the statement
                short_time_limits.setattr(queries, "LONGEST_S", longest_s)
                with pytest.raises(ReportUnavailableError):
                    queries.run(build_query("running_totals", counter_id="a"))
                if stopped_processes:
                    break
    finally:
        for process in stopped_processes:
            os.kill(process, signal.SIGCONT)

    assert len(stopped_processes) == 1


@contextlib.contextmanager
def start_failing_proxy(address, after):
    """Start a proxy of the PostgreSQL server at this address that drops all its messages after this number."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def forward(source, target, most=None):
            forwarded = 0
            with contextlib.suppress(OSError):
                while (data := source.recv(65_536)) and (most is None or forwarded < most):
                    forwarded += 1
                    target.sendall(data)

        def accept_clients():
            with contextlib.suppress(OSError):
                while True:
                    client = stack.enter_context(listener.accept()[0])
                    server = stack.enter_context(socket.socket(socket.AF_UNIX))
                    server.connect(address)
                    threading.Thread(target=forward, args=(client, server), daemon=True).start()
                    threading.Thread(target=forward, args=(server, client, after), daemon=True).start()

        threading.Thread(target=accept_clients, daemon=True).start()
        yield listener.getsockname()[1]


@pytest.mark.usefixtures("short_time_limits")
@pytest.mark.parametrize("after", range(1, 14))
def test_server_that_stops_after_any_message_is_given_up_in_time(postgresql, a_postgresql_database, read_from, after):
    with start_failing_proxy(f"{postgresql.folder}/.s.PGSQL.5432", after) as port:
        read_from(f"postgresql+psycopg://postgres@127.0.0.1:{port}/counter?sslmode=disable&gssencmode=disable")
        start_s = time.monotonic()

        with contextlib.suppress(ReportUnavailableError):  # the server may stop after its last message
            queries.run(build_query("daily"))

        assert time.monotonic() - start_s < 60  # without its limits, the query would not end


@contextlib.contextmanager
def lock_database(database):
    """Lock all tables against readers while the block runs."""
    if database.name == "sqlite":
        with contextlib.closing(sqlite3.connect(database.url.removeprefix("sqlite:///"), isolation_level=None)) as own:
            own.execute("PRAGMA journal_mode = DELETE")
            own.execute("BEGIN EXCLUSIVE")
            yield
    else:
        engine = read_model.engine_at(database.url)
        with engine.begin() as own:
            own.execute(text("LOCK TABLE events, counters IN ACCESS EXCLUSIVE MODE"))
            yield
        engine.dispose()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_locked_database_is_a_temporary_failure(database, short_time_limits):
    read_model.count([an_event(counter_id="a")])
    read_model.client().dispose()

    with lock_database(database), pytest.raises(ReportUnavailableError):
        queries.run(build_query("top_counters"))
    short_time_limits.undo()

    assert queries.run(build_query("top_counters")).rows == [(1, "a", 1, 1)]


@pytest.fixture
def read_from():
    """Return a function that sets the address of the database of the reports."""
    with pytest.MonkeyPatch.context() as patch:

        def set_address(url, **more):
            for name, value in {"SQL_URL": url, **more}.items():
                patch.setenv(name, value)
            settings.current.cache_clear()
            queries.client.cache_clear()

        yield set_address
    settings.current.cache_clear()
    queries.client.cache_clear()


NO_CREDENTIALS = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SHARED_CREDENTIALS_FILE"), "")


@pytest.mark.parametrize(
    ("url", "variables", "message"),
    [
        ("sqlite:////no/such/folder/file", {}, None),
        ("postgresql+psycopg://postgres@/counter?host=/no", {}, None),
        (
            "auroradsql+psycopg://reader@abc.dsql.us-east-1.on.aws/postgres",
            {"AWS_EC2_METADATA_DISABLED": "true", **NO_CREDENTIALS},
            "credentials",
        ),
    ],
    ids=["no file", "no server", "no credentials"],
)
def test_unreachable_database_is_a_temporary_failure_of_reports(read_from, url, variables, message):
    read_from(url, **variables)

    with pytest.raises(ReportUnavailableError, match=message):
        queries.run(build_query("daily"))


def test_missing_sqlite_file_is_not_created(read_from, tmp_path):
    read_from(f"sqlite:///{tmp_path / 'none.sqlite'}")

    with pytest.raises(ReportUnavailableError):
        queries.run(build_query("daily"))

    assert list(tmp_path.iterdir()) == []


def test_sqlite_file_with_special_characters_is_opened(read_from, tmp_path):
    url = f"sqlite:///{tmp_path / 'a%41 #b.sqlite'}"
    read_model.make_schema(url)
    read_from(url)

    assert queries.run(build_query("daily")).rows == []


def test_server_that_never_answers_is_a_temporary_failure(read_from):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        read_from(f"postgresql+psycopg://counter@127.0.0.1:{silent.getsockname()[1]}/counter")

        with pytest.raises(ReportUnavailableError):
            queries.run(build_query("daily"))


def test_missing_schema_is_a_temporary_failure_of_reports(read_from, tmp_path):
    (tmp_path / "empty.sqlite").touch()
    read_from(f"sqlite:///{tmp_path / 'empty.sqlite'}")

    with pytest.raises(ReportUnavailableError, match="no such table"):
        queries.run(build_query("daily"))


class LambdaContext:
    """A Lambda invocation with this remaining time."""

    def __init__(self, left_s):
        self.lambda_context = self
        self.left_ms = int(left_s * 1000)

    def get_remaining_time_in_millis(self):
        return self.left_ms


def test_report_in_the_last_seconds_of_a_function_is_not_started(database):
    with (
        sql_faults.inject(queries.client(), lambda _, step: step.carry_out()) as steps,
        session.limit_time(LambdaContext(session.RESERVE_S)),
        pytest.raises(ReportUnavailableError),
    ):
        queries.run(build_query("daily"))

    with session.limit_time(LambdaContext(25)):
        assert queries.run(build_query("daily")).rows == []
    assert steps == []


def test_report_is_retried_after_a_conflict(database):
    read_model.count([an_event(counter_id="a")])

    conflicts: list[object] = []

    def fail_once(_, step):
        if "top_counters" in step.operation and not conflicts:
            conflicts.append(step)
            raise sql_faults.conflict(step.connection, "OC001")
        step.carry_out()

    with sql_faults.inject(queries.client(), fail_once):
        page = queries.run(build_query("top_counters"))

    assert page.rows == [(1, "a", 1, 1)]


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_lost_connection_is_a_temporary_failure_of_reports(database):
    with (
        sql_faults.inject(queries.client(), lambda _, step: sql_faults.lose_connection(step)),
        pytest.raises(ReportUnavailableError),
    ):
        queries.run(build_query("top_counters"))


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_report_keeps_no_connection_open(database):
    processes = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    before = {*database.ask(processes)}  # earlier tests may have left some

    for name in ("daily", "hourly", "top_counters"):
        queries.run(build_query(name))

    wait_until(lambda: {*database.ask(processes)} <= before)


def wait_until(condition):
    """Wait until the server has noticed that a client has closed its connection, 10 seconds at most."""
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("the condition did not hold in time")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_role_with_select_on_views_only_can_read_all_reports(database, read_from):
    database.ask("DROP ROLE IF EXISTS reader")
    database.ask("CREATE ROLE reader LOGIN")
    database.ask(f"GRANT SELECT ON {', '.join(REPORTS)} TO reader")
    read_model.count([an_event(counter_id="a")])
    read_from(database.url, SQL_READER_URL=database.url.replace("postgres@", "reader@", 1))

    numbers = {name: len(queries.run(build_query(name, counter_id="a")).rows) for name in REPORTS}
    with pytest.raises(Exception, match="permission denied"), queries.client().begin() as connection:
        connection.execute(text("SELECT * FROM events"))

    queries.client().dispose()
    database.ask("DROP OWNED BY reader")
    database.ask("DROP ROLE reader")
    assert numbers == dict.fromkeys(REPORTS, 1)


@pytest.mark.parametrize("database", ["auroradsql"], indirect=True)
def test_report_on_aurora_dsql_sets_no_refused_option(database, guard):
    guard.statements.clear()

    queries.run(build_query("daily"))

    assert {statement.split()[0] for statement in guard.statements} == {"SELECT"}
    assert not [statement for statement in guard.statements if "set_config" in statement]


@pytest.fixture
def get(database, monkeypatch):
    """Return a function that requests a report from the API of a stage with this database."""
    monkeypatch.setattr(app, "_settings", settings.current())

    def request(name, context=None, **query):
        parameters = {key: [value] for key, value in query.items()}
        answer = app.app(api_event("GET", "/reports/{name}", path={"name": name}, query=parameters), context)
        return answer["statusCode"], answer["headers"], json.loads(answer["body"])

    return request


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_report_over_http_has_rows_and_a_link_to_the_next_page(get):
    read_model.count([an_event(counter_id=name, by=3, recorded_at_ms=MONDAY_MS) for name in "ab"])

    status, headers, body = get("daily", limit="1")
    _, _, second = get("daily", cursor=body["next_cursor"])

    assert status == 200
    assert body["rows"] == [{"counter_id": "a", "day": "2024-01-01", "events": 1, "total": 3}]
    assert headers["Link"] == f'<?limit=1&cursor={body["next_cursor"]}>; rel="next"'
    assert second["rows"] == [{"counter_id": "b", "day": "2024-01-01", "events": 1, "total": 3}]


@pytest.mark.usefixtures("short_time_limits")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_unavailable_report_is_503_without_internals(endless, get):
    status, headers, problem = get("busiest_hour")

    assert (status, headers["Content-Type"]) == (503, "application/problem+json")
    assert int(headers["Retry-After"]) >= 1
    assert problem["type"] == "urn:counter:problem:unavailable"
    assert not {"interrupt", "statement", "psycopg", "sqlite", "busiest_hour"} & {*problem["detail"].lower().split()}


def test_stage_without_sql_answers_404_for_reports():
    answers = [
        app.app(api_event("GET", "/reports"), None),
        app.app(api_event("GET", "/reports/{name}", path={"name": "daily"}), None),
    ]

    assert [answer["statusCode"] for answer in answers] == [404, 404]
    assert [json.loads(answer["body"])["type"] for answer in answers] == ["urn:counter:problem:reports-off"] * 2
