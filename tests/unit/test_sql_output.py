"""Results of SQL queries as tables, CSV and JSON."""

import csv
import io
import json
import re
import uuid
from decimal import Decimal

import pytest

from ops.cli.errors import InputError, OperatorError
from ops.maintenance import sql_output
from ops.maintenance.sql import Result

VALUES = [
    None,
    "",
    "NULL",
    True,
    -5,
    10**38 - 1,
    Decimal(10**38 - 1),
    Decimal("2.50"),
    Decimal("5E+2"),
    Decimal("NaN"),
    0.1,
    float("inf"),
    b"\x00\xff",
    uuid.UUID(int=7),
    [1, None, "a"],
    {"a": Decimal("1.5"), "b": [True]},
    'quo"ted, \x1b[31m\nnext \U0001f4a5',
]


def result_of(*rows, columns=("a", "b")):
    return Result(tuple(columns), iter(rows))


def test_csv_is_exact_and_null_is_empty(capsys):
    sql_output.write(result_of(*((number, value) for number, value in enumerate(VALUES))), "csv", None)

    head, *rows = csv.reader(io.StringIO(capsys.readouterr().out, newline=""))
    assert head == ["a", "b"]
    assert [value for _, value in rows] == [
        "",
        "",
        "NULL",
        "true",
        "-5",
        "9" * 38,
        "9" * 38,
        "2.50",
        "500",
        "NaN",
        "0.1",
        "inf",
        "\\x00ff",
        "00000000-0000-0000-0000-000000000007",
        '[1, null, "a"]',
        '{"a": 1.5, "b": [true]}',
        VALUES[-1],
    ]


def test_json_keeps_all_digits_and_null(capsys):
    sql_output.write(result_of(*((number, value) for number, value in enumerate(VALUES))), "json", None)

    rows = json.loads(capsys.readouterr().out, parse_float=Decimal)
    assert [row["b"] for row in rows] == [
        None,
        "",
        "NULL",
        True,
        -5,
        10**38 - 1,
        10**38 - 1,
        Decimal("2.50"),
        500,
        "NaN",
        Decimal("0.1"),
        "inf",
        "\\x00ff",
        "00000000-0000-0000-0000-000000000007",
        [1, None, "a"],
        {"a": Decimal("1.5"), "b": [True]},
        VALUES[-1],
    ]


def test_json_without_rows_is_an_empty_array(capsys):
    sql_output.write(result_of(), "json", None)

    assert json.loads(capsys.readouterr().out) == []


def test_json_with_repeated_column_names_is_refused(capsys):
    with pytest.raises(InputError, match="named a: rename them"):
        sql_output.write(result_of((1, 2), columns=("a", "a")), "json", None)

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("output", ["table", "csv", "json"])
@pytest.mark.parametrize("error", [OperatorError, KeyboardInterrupt])
@pytest.mark.parametrize("number", [0, 1, 20_000])
def test_statement_that_is_stopped_leaves_no_output(output, error, number, capsys):
    """A timeout may stop a statement after any number of rows."""

    def rows():
        yield from ((n, "x" * 10) for n in range(number))
        raise error

    with pytest.raises(error):
        sql_output.write(Result(("a", "b"), rows()), output, 30_000)

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("output", ["table", "csv", "json"])
def test_limit_stops_reading_and_reports_more_rows(output, capsys):
    rows = iter([(number, "x") for number in range(10)])

    sql_output.write(Result(("a", "b"), rows), output, 3)

    written = capsys.readouterr()
    assert "there are more" in (written.out if output == "table" else written.err)
    assert written.out.count("x") == 3
    assert next(rows) == (4, "x")


def test_limit_not_reached_is_not_reported(capsys):
    sql_output.write(result_of((1, "x"), (2, "x")), "csv", 2)

    assert capsys.readouterr().err == ""


def test_table_is_limited_to_1000_rows_by_default(capsys):
    for most in (None, 1001):
        sql_output.write(Result(("a",), iter([(number,) for number in range(1001)])), "table", most)

    written = capsys.readouterr().out
    assert "(1,000 rows; there are more: see --limit)\n" in written
    assert written.endswith("(1,001 rows)\n")


def test_table_quotes_text_null_and_escapes_control_characters(capsys):
    sql_output.write(result_of((None, "NULL"), (12345, "\x1b[31mred\n")), "table", None)

    assert lines_of(capsys) == [
        "    a │ b",
        "──────┼──────────────",
        " NULL │ 'NULL'",
        "12345 │ \\x1b[31mred\\n",
        "(2 rows)",
    ]


def test_table_does_not_wrap_long_text(capsys):
    sql_output.write(result_of((1, "x" * 500)), "table", None)

    assert "x" * 500 in capsys.readouterr().out


@pytest.mark.parametrize("terminal", [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}])
def test_table_on_plain_terminal_is_complete_and_has_no_styles(capsys, monkeypatch, terminal):
    for name, value in {"FORCE_COLOR": "1", **terminal}.items():
        monkeypatch.setenv(name, value)

    sql_output.write(result_of((None, "x" * 500)), "table", None)

    written = capsys.readouterr().out
    assert "x" * 500 in written
    assert "\x1b" not in written


@pytest.mark.parametrize("output", ["csv", "json"])
def test_csv_and_json_are_utf_8_in_every_locale(output, monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", stdout)

    sql_output.write(result_of((1, "│ é")), output, None)

    assert "│ é" in stdout.buffer.getvalue().decode()


def lines_of(capsys):
    """Return the lines on standard output without styles and trailing spaces."""
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in capsys.readouterr().out.splitlines()]
