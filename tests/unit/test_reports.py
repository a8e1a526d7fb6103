"""Reports: parameters are parsed or refused by name; JSON and CSV have the same rows."""

import base64
import csv
import io
import json
from datetime import UTC, date, datetime
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import settings
from chalicelib.api import formats, problems
from chalicelib.domain.events import COUNTER_ID, EVENT_ID, LATEST_MS
from chalicelib.errors import BadCursorError, InvalidRequestError
from chalicelib.extras.reports import api, definitions
from chalicelib.extras.reports.definitions import REPORTS, Kind, Page
from chalicelib.extras.reports.errors import ReportNotFoundError, ReportsOffError, ReportUnavailableError
from chalicelib.extras.sql import schema
from tests.strategies import values
from tests.unit.test_requests import request

ON = settings.read({"STAGE": "dev", "SQL_URL": "sqlite:///file"})
OFF = settings.read({"STAGE": "dev"})

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=20)
CELLS = {
    Kind.COUNTER_ID: values(COUNTER_ID),
    Kind.EVENT_ID: values(EVENT_ID),
    Kind.TEXT: TEXTS,
    Kind.INTEGER: st.integers(-(10**38) + 1, 10**38 - 1),
    Kind.TIME: st.integers(0, LATEST_MS).map(lambda ms: definitions.from_ms(Kind.TIME, ms)),
    Kind.DAY: st.dates(date(1969, 12, 29)),
}


def asked(name, **query):
    """Parse a request for this report. `from_` means `from`; a list stands for a repeated parameter."""
    given_ = {key.rstrip("_"): value if isinstance(value, list) else [str(value)] for key, value in query.items()}
    return api.parse_request(ON, name, request(query=given_))


def needed(name):
    """Return the parameters that this report requires."""
    return {each: {"counter_id": "clicks", "at": "2026-11-27"}[each] for each in REPORTS[name].required}


@st.composite
def a_row(draw, name):
    cells = [(CELLS[column.kind], column.nullable) for column in REPORTS[name].columns]
    return tuple(draw(cell | st.none() if nullable else cell) for cell, nullable in cells)


def a_page(name, *rows, more=False):
    return Page(list(rows), definitions.get_position(REPORTS[name], rows[-1]) if more else None)


A_ROW = {
    "top_counters": (1, "clicks", 10**37, 3),
    "daily": ("clicks", date(2026, 11, 27), 3, 5),
    "hourly": ("clicks", datetime(2026, 11, 27, 13, tzinfo=UTC), 3, 5),
    "weekly": ("clicks", date(2026, 11, 23), 3, 5),
    "busiest_hour": ("clicks", datetime(2026, 11, 27, 13, tzinfo=UTC), 3, 5),
    "weekly_growth": ("clicks", date(2026, 11, 23), 3, 5, 0, 3, None),
    "running_totals": (
        "clicks",
        "2f1c7c0e-93a7-5a53-8b43-6d2f2a1f9c10",
        "Adjusted",
        -3,
        datetime(2026, 11, 27, 13, 5, 7, 89_000, tzinfo=UTC),
        "counted twice",
        21,
    ),
    "value_at": ("clicks", 21, 16, datetime(2026, 11, 27, 13, 5, 7, 89_000, tzinfo=UTC), None),
}


def test_omitted_parameters_have_defaults():
    found = asked("daily")

    assert found.query == definitions.Query(REPORTS["daily"], 50)
    assert not found.as_csv


def test_parameters_are_parsed():
    question = asked("hourly", limit=7, counter_id="-a.b~", from_="2026-11-27", to="2026-11-28T01:00:00+01:00").query

    assert (question.limit, question.counter_id) == (7, "-a.b~")
    assert (question.first, question.end) == (
        datetime(2026, 11, 27, tzinfo=UTC),
        datetime(2026, 11, 28, tzinfo=UTC),
    )
    assert asked("running_totals", counter_id="a", format="csv").as_csv


def test_time_of_many_digits_is_rounded_down():
    """Use a time just before the next millisecond, with more digits than Decimal's default precision."""
    query = asked("value_at", at=f"2026-01-01T00:00:00.000{'9' * 30}Z").query

    assert query.at == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "query", "message"),
    [
        ("daily", {"limit": 0}, "limit must be an integer from 1 to 100"),
        ("daily", {"limit": 101}, "limit must be an integer from 1 to 100"),
        ("daily", {"limit": "1.5"}, "limit must be an integer from 1 to 100"),
        ("daily", {"limit": ["1", "2"]}, "limit must be given at most once"),
        ("daily", {"counter_id": ""}, "counter_id must be 1 to 64 characters"),
        ("daily", {"counter_id": "' OR 1=1 --"}, "counter_id must be 1 to 64 characters"),
        ("daily", {"counter_id": "x" * 65}, "counter_id must be 1 to 64 characters"),
        ("daily", {"format": "xml"}, "format must be json or csv"),
        ("daily", {"format": ""}, "format must be json or csv"),
        ("daily", {"from_": "yesterday"}, "from must be a day, such as"),
        ("daily", {"from_": "2026-02-30"}, "from must be a day, such as"),
        ("daily", {"to": "2026-11-27T00:00:00"}, "to must be a day, such as"),
        ("daily", {"to": "2026-11-27 01:00"}, "to must be a day, such as"),
        ("daily", {"from_": "2026-11-27", "to": "2026-11-27"}, "`from` must be earlier than `to`"),
        ("daily", {"from_": "2026-11-28", "to": "2026-11-27T23:59:59Z"}, "`from` must be earlier than `to`"),
        ("daily", {"order": "total; DROP TABLE events"}, "Unknown parameter 'order'"),
        ("daily", {"Limit": 1}, "Use limit, cursor, format, counter_id, from, to"),
        ("top_counters", {"from_": "2026-11-27"}, "Unknown parameter 'from'. Use limit, cursor, format, counter"),
        ("busiest_hour", {"to": "2026-11-27"}, "Unknown parameter 'to'"),
        ("running_totals", {}, "Report running_totals requires counter_id"),
        ("value_at", {}, "Report value_at requires at"),
        ("value_at", {"at": "noon"}, "at must be a day, such as"),
        (
            "value_at",
            {"at": "2026-11-27", "from_": "2026-11-26"},
            "Unknown parameter 'from'. Use limit, cursor, format",
        ),
        ("daily", {"at": "2026-11-27"}, "Unknown parameter 'at'"),
    ],
)
def test_malformed_or_unknown_parameters_are_refused_with_the_rule(name, query, message):
    with pytest.raises(InvalidRequestError, match=message):
        asked(name, **query)


@pytest.mark.parametrize("name", ["yearly", "Daily", "events", "daily; DROP VIEW daily", "", "__class__"])
def test_unknown_report_is_refused_with_the_known_ones(name):
    with pytest.raises(ReportNotFoundError) as refused:
        asked(name)

    assert "top_counters, daily, hourly, weekly, busiest_hour, weekly_growth, running_totals" in refused.value.detail
    assert problems.render_problem(refused.value).status_code == 404


@pytest.mark.parametrize("name", ["daily", "yearly"])
def test_reports_without_sql_explain_how_to_enable_sql(name):
    with pytest.raises(ReportsOffError) as refused:
        api.parse_request(OFF, name, request(query={"limit": ["many"]}))
    with pytest.raises(ReportsOffError):
        api.list_reports(OFF)

    answered = problems.render_problem(refused.value)
    assert answered.status_code == 404
    assert "SQL_URL" in answered.body["detail"]


def test_unavailable_report_does_not_reveal_the_cause():
    answered = problems.render_problem(ReportUnavailableError("FATAL: password authentication failed for user counter"))

    assert answered.status_code == 503
    assert int(str(answered.headers["Retry-After"])) >= 1
    assert "password" not in str(answered.body)
    assert "Idempotency-Key" not in str(answered.body)


def test_report_list_has_parameters_required_parameters_and_columns():
    found = {report["name"]: report for report in api.list_reports(ON).body["reports"]}

    assert list(found) == list(REPORTS)
    assert found["top_counters"] | {"description": ""} == {
        "name": "top_counters",
        "description": "",
        "parameters": ["limit", "cursor", "format", "counter_id"],
        "required": [],
        "columns": ["rank", "counter_id", "value", "version"],
        "path": "/reports/top_counters",
    }
    assert found["daily"]["parameters"] == ["limit", "cursor", "format", "counter_id", "from", "to"]
    assert found["running_totals"]["required"] == ["counter_id"]
    assert all(report["description"].endswith(".") for report in found.values())


def test_reports_have_the_names_and_columns_of_the_views():
    views = {view.table.name: [column.name for column in view.table.columns] for view in schema.views}

    assert {name: [column.name for column in report.columns] for name, report in REPORTS.items()} == views


@pytest.mark.parametrize(
    ("name", "start", "end", "span"),
    [
        ("daily", "2026-11-27T12:00:00Z", "2026-11-28T00:00:01Z", (date(2026, 11, 27), date(2026, 11, 29))),
        ("daily", "2026-11-27", "2026-11-28", (date(2026, 11, 27), date(2026, 11, 28))),
        ("daily", "2026-11-27T00:30:00+01:00", "2026-11-27T01:00:00+01:00", (date(2026, 11, 26), date(2026, 11, 27))),
        ("weekly", "2026-11-29T23:59:59.999Z", "2026-11-30T00:00:00Z", (date(2026, 11, 23), date(2026, 11, 30))),
        ("weekly", "2026-11-30", "2026-12-01", (date(2026, 11, 30), date(2026, 12, 7))),
        ("weekly", "1970-01-01", "1970-01-02", (date(1969, 12, 29), date(1970, 1, 5))),
        (
            "hourly",
            "2026-11-27T12:59:59.9Z",
            "2026-11-27T13:00:00.0001Z",
            (datetime(2026, 11, 27, 12, tzinfo=UTC), datetime(2026, 11, 27, 14, tzinfo=UTC)),
        ),
        (
            "running_totals",
            "2026-11-27T12:00:00.0019Z",
            "2026-11-27T12:00:00.0021Z",
            (
                datetime(2026, 11, 27, 12, 0, 0, 1000, tzinfo=UTC),
                datetime(2026, 11, 27, 12, 0, 0, 3000, tzinfo=UTC),
            ),
        ),
        ("daily", "0001-01-01", "0001-01-02", (date(1970, 1, 1), date(1970, 1, 1))),
        ("daily", "9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.9-23:59", (date(9999, 12, 31), None)),
        (
            "running_totals",
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59.999999999Z",
            (definitions.from_ms(Kind.TIME, 0), None),
        ),
        ("weekly", None, None, (None, None)),
    ],
)
def test_steps_that_are_partly_in_the_range_are_complete(name, start, end, span):
    query = {key: value for key, value in {"from_": start, "to": end}.items() if value is not None}

    question = asked(name, **needed(name), **query).query

    assert (question.first, question.end) == span


@pytest.mark.parametrize("name", REPORTS)
def test_page_in_json_has_the_columns_of_its_report(name):
    found = api.to_response(asked(name, **needed(name)), a_page(name, A_ROW[name]))

    assert (found.status_code, found.headers["Cache-Control"]) == (200, "public, max-age=5")
    assert found.body["report"] == name
    assert found.body["next_cursor"] is None
    assert list(found.body["rows"][0]) == [column.name for column in REPORTS[name].columns]
    assert "Link" not in found.headers
    json.dumps(found.body)


def test_integers_are_exact_and_times_have_the_common_format():
    (top,) = api.to_response(asked("top_counters"), a_page("top_counters", A_ROW["top_counters"])).body["rows"]
    (hour,) = api.to_response(asked("hourly"), a_page("hourly", A_ROW["hourly"])).body["rows"]
    (event,) = api.to_response(
        asked("running_totals", counter_id="clicks"), a_page("running_totals", A_ROW["running_totals"])
    ).body["rows"]

    assert json.dumps(top) == f'{{"rank": 1, "counter_id": "clicks", "value": 1{"0" * 37}, "version": 3}}'
    assert hour == {"counter_id": "clicks", "hour": "2026-11-27T13:00:00.000Z", "events": 3, "total": 5}
    assert event["recorded_at"] == "2026-11-27T13:05:07.089Z"


@given(st.data(), st.sampled_from(sorted(REPORTS)))
def test_csv_has_the_same_rows_as_json(data, name):
    rows = data.draw(st.lists(a_row(name), min_size=1, max_size=3))
    page = a_page(name, *rows)

    shown = api.to_response(asked(name, **needed(name)), page).body["rows"]
    answered = api.to_response(asked(name, format="csv", **needed(name)), page)

    head, *read = csv.reader(io.StringIO(answered.body, newline=""), strict=True)
    assert answered.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert head == [column.name for column in REPORTS[name].columns]
    assert answered.body.count("\r\n") == len(rows) + 1
    texts = [column.name for column in REPORTS[name].columns if column.kind is Kind.TEXT]
    for row, cells in zip(shown, read, strict=True):
        for column, cell in zip(head, cells, strict=True):
            written = "" if row[column] is None else str(row[column])
            assert cell in ((written, f"'{written}") if column in texts else (written,))


@pytest.mark.parametrize(
    ("reason", "cell"),
    [
        ("counted twice", "counted twice"),
        ("two, or 3", '"two, or 3"'),
        ('said "no"', '"said ""no"""'),
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1+1|cmd", "'-1+1|cmd"),
        ("@sum", "'@sum"),
        (" =1", "' =1"),
        ("\uff1d1", "'\uff1d1"),
        ("1=1", "1=1"),
        (None, ""),
    ],
)
def test_reason_is_escaped_in_csv_and_unchanged_in_json(reason, cell):
    row = (*A_ROW["running_totals"][:5], reason, 21)
    page = a_page("running_totals", row)

    in_csv = api.to_response(asked("running_totals", counter_id="clicks", format="csv"), page).body
    in_json = api.to_response(asked("running_totals", counter_id="clicks"), page).body

    assert in_csv.endswith(f",{cell},21\r\n")
    assert in_json["rows"][0]["reason"] == reason


def test_counter_id_is_unchanged_in_csv():
    found = api.to_response(asked("daily", format="csv"), a_page("daily", ("-1", date(2026, 11, 27), 3, 5)))

    assert found.body == "counter_id,day,events,total\r\n-1,2026-11-27,3,5\r\n"
    assert found.headers["Content-Disposition"] == 'attachment; filename="daily.csv"'
    assert found.headers["X-Content-Type-Options"] == "nosniff"


def test_empty_report_in_csv_has_only_a_header():
    assert api.to_response(asked("weekly", format="csv"), Page([], None)).body == "counter_id,week,events,total\r\n"


@given(st.data(), st.sampled_from(sorted(REPORTS)))
def test_cursor_leads_to_the_position_for_which_it_was_issued(data, name):
    row = data.draw(a_row(name))
    first = asked(name, **needed(name))

    cursor = api.to_response(first, a_page(name, row, more=True)).body["next_cursor"]

    assert asked(name, cursor=cursor, limit=3, format="csv", **needed(name)).query.after == definitions.get_position(
        REPORTS[name], row
    )


def cursor_of(name, **query):
    found = asked(name, **query | {"format": "json"})
    return api.to_response(found, a_page(name, A_ROW[name], more=True)).body["next_cursor"]


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("weekly", {}),
        ("weekly_growth", {"from_": "2026-01-01"}),
        ("daily", {"from_": "2026-01-01"}),
        ("daily", {"counter_id": "None", "from_": "2026-01-01"}),
        ("daily", {"counter_id": "clicks"}),
        ("daily", {"to": "2026-01-01"}),
        ("daily", {}),
    ],
)
def test_cursor_is_valid_only_for_its_report_and_parameters(name, query):
    of = {"from_": "2026-01-01", "counter_id": "a"} if query != {"from_": "2026-01-01"} else {"counter_id": "a"}

    with pytest.raises(BadCursorError, match="same report"):
        asked(name, cursor=cursor_of("daily", **of), **query)


def test_cursor_of_all_counters_is_invalid_for_a_counter_named_none():
    with pytest.raises(BadCursorError):
        asked("daily", cursor=cursor_of("daily"), counter_id="None")


def test_cursor_is_valid_for_other_formats_and_limits():
    cursor = cursor_of("daily", limit=1, from_="2026-01-01")

    found = asked("daily", cursor=cursor, limit=2, format="csv", from_="2026-01-01T01:00:00+01:00")

    assert found.query.after == (date(2026, 11, 27), "clicks")


def forged(name, *texts):
    known = base64.urlsafe_b64decode(cursor_of(name, **needed(name)) + "===").decode().split(" ")
    return formats.encode_cursor(" ".join([known[1], *texts]))


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("daily", []),
        ("daily", ["2026-11-27"]),
        ("daily", ["2026-11-27", "a", "b"]),
        ("daily", ["2026-11-31", "a"]),
        ("daily", ["20261127", "a"]),
        ("daily", ["2026-11-27", "'"]),
        ("daily", ["2026-11-27", ""]),
        ("top_counters", ["1e5", "a"]),
        ("top_counters", ["9" * 39, "a"]),
        ("top_counters", ["\u0661", "a"]),
        ("hourly", [str(LATEST_MS + 1), "a"]),
        ("hourly", ["-1", "a"]),
        ("hourly", ["2026-11-27", "a"]),
        ("running_totals", ["0", "a"]),
    ],
)
def test_cursor_that_was_never_issued_is_refused(name, texts):
    with pytest.raises(BadCursorError):
        asked(name, cursor=forged(name, *texts), **needed(name))


@pytest.mark.parametrize("cursor", ["nonsense", "", "MSBjbGlja3M", "é", "====", "MQ"])
def test_text_that_is_not_a_cursor_is_refused(cursor):
    with pytest.raises(BadCursorError):
        asked("daily", cursor=cursor)


@pytest.mark.parametrize("format", api.FORMATS)
def test_link_leads_to_the_next_page_with_the_same_parameters(format):
    query = {"from_": "2026-11-01T00:00:00+01:00", "counter_id": "-a", "limit": "3", "format": format}
    answered = api.to_response(asked("daily", **query), a_page("daily", A_ROW["daily"], more=True))

    address, _, relation = str(answered.headers["Link"]).partition("; ")

    assert relation == 'rel="next"'
    assert address[:2] == "<?"
    linked = {name: value for name, (value,) in parse_qs(address[2:-1]).items()}
    assert linked.pop("cursor") == cursor_of("daily", **query)
    assert linked == {name.rstrip("_"): value for name, value in query.items()}
