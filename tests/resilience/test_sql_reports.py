"""Reports on each database: complete, in order, page by page, read-only."""

from __future__ import annotations

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
from tests import sql_faults
from tests.builders import an_adjustment, an_event, api_event

pytestmark = pytest.mark.sample(1)

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

#: A Monday, and midnight: 2024-01-01.
MONDAY_MS = 1_704_067_200_000


@pytest.fixture
def database(database):
    """Empty, and read by who reads reports."""
    queries.client.cache_clear()
    yield database
    queries.client().dispose()
    queries.client.cache_clear()


def some_of(name, **parts):
    """A question."""
    return Query(REPORTS[name], **{"limit": 100, **parts})


def pages(question, between=lambda: None):
    """All rows, page by page; between two pages something happens."""
    rows = []
    while True:
        page = queries.run(question)
        assert len(page.rows) <= question.limit
        rows += page.rows
        assert len(rows) < 1000, "it does not end"
        if page.last is None:
            return rows
        assert len(page.rows) == question.limit
        question = dataclasses.replace(question, after=page.last)
        between()


def dicts(name, rows):
    return [dict(zip([column.name for column in REPORTS[name].columns], row, strict=True)) for row in rows]


def at(ms):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


@pytest.fixture
def events(database):
    """Four counters, of which two have one value, with events in many hours of three weeks."""
    made = [
        an_event(counter_id=counter_id, by=by, recorded_at_ms=MONDAY_MS + place * 62 * HOUR_MS)
        for counter_id, by in (("a", 2), ("b", 3), ("c", 2), ("-d", 1))
        for place in range(8)
    ]
    made += [an_event(counter_id="a", by=7, recorded_at_ms=MONDAY_MS), an_event(counter_id="c", by=7, recorded_at_ms=0)]
    read_model.count(made)
    return made


def in_order(name, rows):
    """The rows as the report's order has them, which is made of the values anew."""
    found = list(rows)
    places = [column.name for column in REPORTS[name].columns]
    for key in reversed(REPORTS[name].order):
        found.sort(key=operator.itemgetter(places.index(key.column.name)), reverse=key.descending)
    return found


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("limit", [3, 100])
def test_all_rows_of_the_view_come_once_and_in_order_whatever_the_pages(database, events, name, limit):
    counter_id = "a" if "counter_id" in REPORTS[name].required else None
    columns = ", ".join(column.name for column in REPORTS[name].columns)
    where = f" WHERE counter_id = '{counter_id}'" if counter_id else ""
    with read_model.client().connect() as connection:
        count = connection.execute(text(f"SELECT count(*) FROM (SELECT {columns} FROM {name}{where}) AS rows")).scalar()

    found = pages(some_of(name, limit=limit, counter_id=counter_id))

    assert count
    assert len(found) == len(set(found)) == count
    assert found == in_order(name, found)


def test_a_report_shows_what_its_view_does(events):
    (growth, *_) = dicts("weekly_growth", pages(some_of("weekly_growth", counter_id="b")))
    (oldest, *_) = reversed(dicts("weekly_growth", pages(some_of("weekly_growth", counter_id="b"))))
    (busiest,) = dicts("busiest_hour", pages(some_of("busiest_hour", counter_id="a")))

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
    assert busiest == {"counter_id": "a", "hour": at(MONDAY_MS), "events": 2, "total": 9}


def test_counters_of_one_value_share_a_rank_and_come_by_their_ids(events):
    found = dicts("top_counters", pages(some_of("top_counters", limit=1)))

    assert [(row["rank"], row["counter_id"], row["value"], row["version"]) for row in found] == [
        (1, "b", 24, 8),
        (2, "a", 23, 9),
        (2, "c", 23, 9),
        (4, "-d", 8, 8),
    ]


def test_a_counters_rank_is_that_among_all(events):
    (found,) = pages(some_of("top_counters", counter_id="c"))

    assert found == (2, "c", 23, 9)


def test_events_of_one_millisecond_come_by_their_ids(database):
    made = [an_event(counter_id="a", recorded_at_ms=MONDAY_MS) for _ in range(7)]
    read_model.count(made)

    found = dicts("running_totals", pages(some_of("running_totals", limit=2, counter_id="a")))

    assert [row["event_id"] for row in found] == sorted((event.event_id for event in made), reverse=True)
    assert [row["running_total"] for row in found] == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("name", ["daily", "hourly", "weekly", "weekly_growth", "running_totals"])
def test_pages_stay_right_while_others_arrive(database, events, name):
    question = some_of(name, limit=2, counter_id="a")
    keys = {key.column.name for key in REPORTS[name].order}
    before = [{key: row[key] for key in keys} for row in dicts(name, pages(question))]
    later = iter(range(1, 100))

    def arrive():
        # One newer than all, which belongs to a page that is past, and another counter's.
        newer = MONDAY_MS + next(later) * 400 * DAY_MS
        read_model.count([an_event(counter_id=counter_id, recorded_at_ms=newer) for counter_id in ("a", "z")])

    found = [{key: row[key] for key in keys} for row in dicts(name, pages(question, arrive))]

    assert len(before) > 2
    assert found == before


def test_what_arrives_behind_the_place_is_on_the_next_page(database):
    read_model.count([an_event(counter_id=name, by=by) for name, by in (("a", 9), ("b", 7), ("c", 5))])

    found = dicts(
        "top_counters",
        pages(
            some_of("top_counters", limit=1), lambda: read_model.count([an_event(counter_id="bb", by=7, event_id=ID)])
        ),
    )

    assert [row["counter_id"] for row in found] == ["a", "b", "bb", "c"]


ID = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.mark.parametrize("name", REPORTS)
def test_where_nothing_was_counted_there_are_no_rows(database, name):
    assert queries.run(some_of(name, counter_id="a")) == definitions.Page([], None)


@pytest.mark.parametrize(
    ("name", "first", "end", "found"),
    [
        ("daily", at(MONDAY_MS + DAY_MS).date(), at(MONDAY_MS + 3 * DAY_MS).date(), [2, 1]),
        ("daily", at(MONDAY_MS + 2 * DAY_MS).date(), None, [3, 2]),
        ("hourly", at(MONDAY_MS + 1 * DAY_MS), at(MONDAY_MS + 3 * DAY_MS), [2, 1]),
        ("hourly", None, at(MONDAY_MS + 1 * DAY_MS), [0]),
        ("weekly", at(MONDAY_MS).date(), at(MONDAY_MS + 7 * DAY_MS).date(), [0]),
        ("running_totals", at(MONDAY_MS + DAY_MS), at(MONDAY_MS + 2 * DAY_MS + 1), [2, 1]),
        ("running_totals", at(MONDAY_MS + DAY_MS), at(MONDAY_MS + 2 * DAY_MS), [1]),
    ],
)
def test_rows_are_those_from_the_first_on_and_before_the_end(database, name, first, end, found):
    read_model.count([an_event(counter_id="a", recorded_at_ms=MONDAY_MS + days * DAY_MS) for days in range(4)])

    rows = dicts(name, pages(some_of(name, counter_id="a", first=first, end=end)))

    moment = REPORTS[name].order[0].column.name
    if name == "weekly":
        assert [row[moment] for row in rows] == [at(MONDAY_MS).date()]
    else:
        ms = [at(MONDAY_MS + days * DAY_MS) for days in found]
        assert [row[moment] for row in rows] == [m if isinstance(rows[0][moment], datetime) else m.date() for m in ms]


def test_running_total_includes_events_before_the_first_row(database):
    read_model.count([an_event(counter_id="a", by=5, recorded_at_ms=MONDAY_MS + days * DAY_MS) for days in range(4)])
    read_model.count([an_adjustment(counter_id="a", by=-3, recorded_at_ms=MONDAY_MS + 9 * DAY_MS, reason="=1+1")])

    rows = dicts("running_totals", pages(some_of("running_totals", counter_id="a", first=at(MONDAY_MS + 3 * DAY_MS))))

    assert [(row["type"], row["amount"], row["reason"], row["running_total"]) for row in rows] == [
        ("Adjusted", -3, "=1+1", 17),
        ("Incremented", 5, None, 20),
    ]


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_sums_are_exact_to_38_digits_in_the_cursor_too(database):
    largest = 10**38 - 1
    database.ask(f"INSERT INTO counters VALUES ('a', {largest}, 1), ('b', {largest - 1}, 1), ('c', {-largest}, 1)")

    found = dicts("top_counters", pages(some_of("top_counters", limit=1)))

    assert [row["value"] for row in found] == [largest, largest - 1, -largest]
    assert all(type(row["value"]) is int for row in found)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_place_beyond_the_databases_integers_was_never_given_out(database):
    with pytest.raises(BadCursorError):
        queries.run(some_of("top_counters", after=(10**37, "a")))


HOSTILE = ["' OR 1=1 --", "a'; DROP TABLE events; --", 'a" OR ""="', "%", "_", "a\\", "$1", ":counter_id", "%(x)s", "?"]


@pytest.mark.parametrize("name", ["daily", "top_counters"])
def test_what_is_asked_for_is_compared_and_never_run(database, name):
    """None of these can come through HTTP: they are refused there, and harmless here all the same."""
    read_model.count([an_event(counter_id="a")])

    found = [queries.run(some_of(name, counter_id=hostile)).rows for hostile in HOSTILE]

    assert found == [[]] * len(HOSTILE)
    assert database.counters() == {"a": (1, 1)}


def test_what_a_place_says_is_compared_and_never_run(database):
    read_model.count([an_event(counter_id="a")])

    found = [queries.run(some_of("top_counters", after=(0, hostile))).rows for hostile in HOSTILE]

    assert found == [[]] * len(HOSTILE)
    assert database.counters() == {"a": (1, 1)}


def test_no_value_is_part_of_a_statements_text(database):
    place = (date(2024, 1, 1), "marker-b")
    question = some_of("daily", counter_id="marker-a", first=date(2024, 1, 2), end=date(2024, 1, 3), after=place)

    said = str(queries.build_statement(question).compile(dialect=queries.client().dialect))

    assert "marker" not in said
    assert "2024" not in said
    assert "100" not in said


def written_by_a_report():
    """Tries to write on the connection of a report."""
    with read_only.open_snapshot(queries.client(), 60) as connection:
        connection.execute(text("DELETE FROM counters"))
        connection.commit()


def test_whoever_reads_reports_cannot_write_with_the_right_to_do_so(database):
    read_model.count([an_event(counter_id="a")])

    with pytest.raises(Exception, match=r"read-only|not authorized"):
        written_by_a_report()

    assert database.counters() == {"a": (1, 1)}


@pytest.fixture
def impatience():
    """What takes longer than a moment is given up, until this is undone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queries, "LONGEST_S", 0.3)
        patch.setattr(read_only, "_GRACE_S", 0.3)
        patch.setattr(read_only, "_WAIT_S", 0.1)
        yield patch


#: A view that never comes to an end.
ENDLESS = """
CREATE VIEW busiest_hour AS
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT 1 - i FROM n)
SELECT 'a' AS counter_id, CURRENT_TIMESTAMP AS hour, count(*) AS events, sum(i) AS total FROM n
"""


@pytest.fixture
def endless(database):
    """The database with a report that takes for ever."""
    database.ask("DROP VIEW busiest_hour")
    database.ask(ENDLESS)
    yield database
    if database.name != "sqlite":  # it may be at work for somebody who is gone, as Aurora DSQL may for 5 minutes
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        database.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    database.ask("DROP VIEW busiest_hour")
    read_model.make_schema(database.url)


def test_what_takes_too_long_is_given_up_by_the_database_too(endless, impatience):
    with pytest.raises(ReportUnavailableError):
        queries.run(some_of("busiest_hour"))
    impatience.undo()

    read_model.count([an_event(counter_id="a")])
    assert queries.run(some_of("top_counters")).rows == [(1, "a", 1, 1)]
    if endless.name == "postgresql":
        running = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%FROM busiest_hour%'"
        patience = time.monotonic() + 30  # it may have been cut off a moment before its own limit
        while endless.ask(f"{running} AND pid <> pg_backend_pid()"):
            assert time.monotonic() < patience


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_a_server_that_falls_silent_is_given_up(database, impatience):
    stopped = []

    def falls_silent(_, step):
        if step.operation.startswith("SELECT running_totals"):
            stopped.append(step.connection.info.backend_pid)
            os.kill(stopped[-1], signal.SIGSTOP)
        step.carry_out()

    try:
        with sql_faults.inject(queries.client(), falls_silent):
            for longest_s in (0.3, 1, 3, 10):  # until it is long enough for this machine to get there
                impatience.setattr(queries, "LONGEST_S", longest_s)
                with pytest.raises(ReportUnavailableError):
                    queries.run(some_of("running_totals", counter_id="a"))
                if stopped:
                    break
    finally:
        for process in stopped:
            os.kill(process, signal.SIGCONT)

    assert len(stopped) == 1


@contextlib.contextmanager
def falling_silent(address, after):
    """A door to the PostgreSQL at this address, through which so many of its messages pass, and then none."""
    with contextlib.ExitStack() as stack:
        door = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def pass_on(source, target, most=None):
            passed = 0
            with contextlib.suppress(OSError):
                while (data := source.recv(65_536)) and (most is None or passed < most):
                    passed += 1
                    target.sendall(data)

        def open_up():
            with contextlib.suppress(OSError):
                while True:
                    client = stack.enter_context(door.accept()[0])
                    server = stack.enter_context(socket.socket(socket.AF_UNIX))
                    server.connect(address)
                    threading.Thread(target=pass_on, args=(client, server), daemon=True).start()
                    threading.Thread(target=pass_on, args=(server, client, after), daemon=True).start()

        threading.Thread(target=open_up, daemon=True).start()
        yield door.getsockname()[1]


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("after", range(1, 14))
def test_a_server_that_falls_silent_anywhere_is_given_up(postgresql, a_postgresql_database, read_from, after):
    with falling_silent(f"{postgresql.folder}/.s.PGSQL.5432", after) as port:
        read_from(f"postgresql+psycopg://postgres@127.0.0.1:{port}/counter?sslmode=disable&gssencmode=disable")
        began = time.monotonic()

        with contextlib.suppress(ReportUnavailableError):  # who has said all may fall silent
            queries.run(some_of("daily"))

        assert time.monotonic() - began < 10  # and not until the test is given up


@contextlib.contextmanager
def locked(database):
    """Somebody holds all of it."""
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
def test_a_locked_database_is_a_passing_failure(database, impatience):
    read_model.count([an_event(counter_id="a")])
    read_model.client().dispose()

    with locked(database), pytest.raises(ReportUnavailableError):
        queries.run(some_of("top_counters"))
    impatience.undo()

    assert queries.run(some_of("top_counters")).rows == [(1, "a", 1, 1)]


@pytest.fixture
def read_from():
    """Reports are read from this address."""
    with pytest.MonkeyPatch.context() as patch:

        def at_address(url, **more):
            for name, value in {"SQL_URL": url, **more}.items():
                patch.setenv(name, value)
            settings.current.cache_clear()
            queries.client.cache_clear()

        yield at_address
    settings.current.cache_clear()
    queries.client.cache_clear()


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/file", "postgresql+psycopg://postgres@/counter?host=/no"])
def test_a_database_out_of_reach_is_a_passing_failure(read_from, url):
    read_from(url)

    with pytest.raises(ReportUnavailableError):
        queries.run(some_of("daily"))


def test_credentials_that_make_no_token_are_a_passing_failure(read_from):
    nobody = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SHARED_CREDENTIALS_FILE"), "")
    read_from(
        "auroradsql+psycopg://reader@abc.dsql.us-east-1.on.aws/postgres", AWS_EC2_METADATA_DISABLED="true", **nobody
    )

    with pytest.raises(ReportUnavailableError, match="credentials"):
        queries.run(some_of("daily"))


def test_a_file_that_is_not_there_is_not_made(read_from, tmp_path):
    read_from(f"sqlite:///{tmp_path / 'none.sqlite'}")

    with pytest.raises(ReportUnavailableError):
        queries.run(some_of("daily"))

    assert list(tmp_path.iterdir()) == []


def test_a_file_is_found_whatever_its_name(read_from, tmp_path):
    url = f"sqlite:///{tmp_path / 'a%41 #b.sqlite'}"
    read_model.make_schema(url)
    read_from(url)

    assert queries.run(some_of("daily")).rows == []


def test_server_that_never_answers_is_a_temporary_failure(read_from):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        read_from(f"postgresql+psycopg://counter@127.0.0.1:{silent.getsockname()[1]}/counter")

        with pytest.raises(ReportUnavailableError):
            queries.run(some_of("daily"))


def test_a_schema_that_is_not_there_is_a_passing_failure(read_from, tmp_path):
    (tmp_path / "empty.sqlite").touch()
    read_from(f"sqlite:///{tmp_path / 'empty.sqlite'}")

    with pytest.raises(ReportUnavailableError, match="no such table"):
        queries.run(some_of("daily"))


class NearlyUp:
    """What Lambda says of a function that has been at work for long."""

    def __init__(self, left_s):
        self.lambda_context = self
        self.left_ms = int(left_s * 1000)

    def get_remaining_time_in_millis(self):
        return self.left_ms


def test_no_report_is_begun_in_a_functions_last_seconds(database):
    with (
        sql_faults.inject(queries.client(), lambda _, step: step.carry_out()) as steps,
        session.limit_time(NearlyUp(session.RESERVE_S)),
        pytest.raises(ReportUnavailableError),
    ):
        queries.run(some_of("daily"))

    with session.limit_time(NearlyUp(25)):
        assert queries.run(some_of("daily")).rows == []
    assert steps == []


def test_a_report_that_meets_a_conflict_is_asked_again(database):
    read_model.count([an_event(counter_id="a")])

    met: list[object] = []

    def conflicts_once(_, step):
        if "top_counters" in step.operation and not met:
            met.append(step)
            raise sql_faults.conflict(step.connection, "OC001")
        step.carry_out()

    with sql_faults.inject(queries.client(), conflicts_once):
        found = queries.run(some_of("top_counters"))

    assert found.rows == [(1, "a", 1, 1)]


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_a_report_whose_connections_are_lost_is_a_passing_failure(database):
    with (
        sql_faults.inject(queries.client(), lambda _, step: sql_faults.lose_connection(step)),
        pytest.raises(ReportUnavailableError),
    ):
        queries.run(some_of("top_counters"))


@pytest.mark.parametrize("database", ["postgresql", "auroradsql"], indirect=True)
def test_no_connection_is_kept(database):
    here = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    before = {*database.ask(here)}  # others' tests may have left some

    for name in ("daily", "hourly", "top_counters"):
        queries.run(some_of(name))

    until_it_holds(lambda: {*database.ask(here)} <= before)


def until_it_holds(condition):
    """A server takes a moment to notice that somebody hung up."""
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it does not hold")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_role_that_may_only_select_from_the_views_can_read_all_reports(database, read_from):
    database.ask("DROP ROLE IF EXISTS reader")
    database.ask("CREATE ROLE reader LOGIN")
    database.ask(f"GRANT SELECT ON {', '.join(REPORTS)} TO reader")
    read_model.count([an_event(counter_id="a")])
    read_from(database.url, SQL_READER_URL=database.url.replace("postgres@", "reader@", 1))

    found = {name: len(queries.run(some_of(name, counter_id="a")).rows) for name in REPORTS}
    with pytest.raises(Exception, match="permission denied"), queries.client().begin() as connection:
        connection.execute(text("SELECT * FROM events"))

    queries.client().dispose()
    database.ask("DROP OWNED BY reader")
    database.ask("DROP ROLE reader")
    assert found == dict.fromkeys(REPORTS, 1)


@pytest.mark.parametrize("database", ["auroradsql"], indirect=True)
def test_nothing_is_set_that_aurora_dsql_refuses_to_be_told(database, guard):
    guard.statements.clear()

    queries.run(some_of("daily"))

    assert {said.split()[0] for said in guard.statements} == {"SELECT"}
    assert not [said for said in guard.statements if "set_config" in said]


@pytest.fixture
def get(database, monkeypatch):
    """Asks the API's function, in this process, of a stage that has the database."""
    monkeypatch.setattr(app, "_settings", settings.current())

    def ask(name, context=None, **query):
        asked = {key: [value] for key, value in query.items()}
        answer = app.app(api_event("GET", "/reports/{name}", path={"name": name}, query=asked), context)
        return answer["statusCode"], answer["headers"], json.loads(answer["body"])

    return ask


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_a_report_is_answered_over_http(get):
    read_model.count([an_event(counter_id=name, by=3, recorded_at_ms=MONDAY_MS) for name in "ab"])

    status, headers, body = get("daily", limit="1")
    _, _, behind = get("daily", cursor=body["next_cursor"])

    assert status == 200
    assert body["rows"] == [{"counter_id": "a", "day": "2024-01-01", "events": 1, "total": 3}]
    assert headers["Link"] == f'<?limit=1&cursor={body["next_cursor"]}>; rel="next"'
    assert behind["rows"] == [{"counter_id": "b", "day": "2024-01-01", "events": 1, "total": 3}]


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_unavailable_report_is_503_without_internals(endless, get):
    status, headers, problem = get("busiest_hour")

    assert (status, headers["Content-Type"]) == (503, "application/problem+json")
    assert int(headers["Retry-After"]) >= 1
    assert problem["type"] == "urn:counter:problem:unavailable"
    assert not {"interrupt", "statement", "psycopg", "sqlite", "busiest_hour"} & {*problem["detail"].lower().split()}


def test_a_stage_without_sql_has_no_reports():
    answers = [
        app.app(api_event("GET", "/reports"), None),
        app.app(api_event("GET", "/reports/{name}", path={"name": "daily"}), None),
    ]

    assert [answer["statusCode"] for answer in answers] == [404, 404]
    assert [json.loads(answer["body"])["type"] for answer in answers] == ["urn:counter:problem:reports-off"] * 2
