"""Answers of the relational read model as they are written, and where statements end."""

from __future__ import annotations

import csv
import io
import json
import re
import uuid
from decimal import Decimal

import pytest

from ops.cli.errors import InputError
from ops.maintenance import sql_answers, sql_statements
from ops.maintenance.sql_asking import Answer

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


def answer_of(*rows, columns=("a", "b")):
    return Answer(tuple(columns), iter(rows))


def test_csv_is_exact_and_null_is_nothing(capsys):
    sql_answers.write(answer_of(*((number, value) for number, value in enumerate(VALUES))), "csv", None)

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


def test_json_has_each_digit_and_null(capsys):
    sql_answers.write(answer_of(*((number, value) for number, value in enumerate(VALUES))), "json", None)

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
    sql_answers.write(answer_of(), "json", None)

    assert json.loads(capsys.readouterr().out) == []


def test_json_that_would_lose_a_column_is_refused_before_anything_is_written(capsys):
    with pytest.raises(InputError, match="called a: tell them apart"):
        sql_answers.write(answer_of((1, 2), columns=("a", "a")), "json", None)

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("form", ["csv", "json"])
def test_rows_are_written_while_others_come_in(form, capsys):
    seen = 0

    def rows():
        for number in range(20_000):
            nonlocal seen
            seen = max(seen, len(capsys.readouterr().out))
            yield number, "x" * 10

    sql_answers.write(Answer(("a", "b"), rows()), form, None)

    assert 0 < seen < 100


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_no_more_rows_are_read_than_asked_for_and_that_there_are_more_is_said(form, capsys):
    rows = iter([(number, "x") for number in range(10)])

    sql_answers.write(Answer(("a", "b"), rows), form, 3)

    written = capsys.readouterr()
    assert "there are more" in (written.out if form == "table" else written.err)
    assert written.out.count("x") == 3
    assert next(rows) == (4, "x")


def test_a_limit_that_all_rows_keep_is_not_mentioned(capsys):
    sql_answers.write(answer_of((1, "x"), (2, "x")), "csv", 2)

    assert capsys.readouterr().err == ""


def test_a_table_has_a_thousand_rows_unless_more_are_asked_for(capsys):
    for most in (None, 1001):
        sql_answers.write(Answer(("a",), iter([(number,) for number in range(1001)])), "table", most)

    written = capsys.readouterr().out
    assert "(1,000 rows; there are more: see --limit)\n" in written
    assert written.endswith("(1,001 rows)\n")


def test_a_table_tells_null_from_text_and_lets_nothing_through_to_the_terminal(capsys):
    sql_answers.write(answer_of((None, "NULL"), (12345, "\x1b[31mred\n")), "table", None)

    assert lines_of(capsys) == [
        "    a │ b",
        "──────┼──────────────",
        " NULL │ 'NULL'",
        "12345 │ \\x1b[31mred\\n",
        "(2 rows)",
    ]


def test_a_table_for_no_terminal_breaks_nothing(capsys):
    sql_answers.write(answer_of((1, "x" * 500)), "table", None)

    assert "x" * 500 in capsys.readouterr().out


def lines_of(capsys):
    """What was written, line by line, without what makes it bold or dim and without space at the end."""
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of that many columns, as rich believes."""

    def of(columns):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("COLUMNS", str(columns))

    return of


def test_on_a_terminal_only_wide_text_is_folded_and_none_of_it_is_lost(terminal, capsys):
    terminal(60)
    words = " ".join(f"word{number}" for number in range(30))

    sql_answers.write(answer_of(("2026-01-31T12:00:00.123Z", words)), "table", None)

    lines = lines_of(capsys)
    assert max(map(len, lines)) <= 60
    assert sum("2026-01-31T12:00:00.123Z" in line for line in lines) == 1
    assert [word for line in lines for word in line.split() if word.startswith("word")] == words.split()


def test_where_there_is_no_room_for_all_columns_they_stand_below_each_other(terminal, capsys):
    terminal(40)
    names = [f"column{number}" for number in range(9)]

    sql_answers.write(answer_of(tuple(range(9)), tuple(range(100, 109)), columns=names), "table", None)

    lines = lines_of(capsys)
    assert [line for line in lines if line.startswith("column8")] == ["column8  8", "column8  108"]
    assert lines[-1] == "(2 rows)"


@pytest.mark.parametrize(
    ("text", "ended", "rest"),
    [
        ("SELECT 1", [], "SELECT 1"),
        ("SELECT 1;", ["SELECT 1"], ""),
        (" SELECT 1 ;\n\nSELECT\n2; ", ["SELECT 1", "SELECT\n2"], ""),
        ("SELECT ';', \";\"; SELECT 2", ["SELECT ';', \";\""], "SELECT 2"),
        ("SELECT 'it''s;'; x", ["SELECT 'it''s;'"], "x"),
        ("SELECT 1 -- no; end\n; SELECT 2", ["SELECT 1 -- no; end"], "SELECT 2"),
        ("SELECT /* ; /* ; */ */ 1; x", ["SELECT /* ; /* ; */ */ 1"], "x"),
        ("SELECT $$a;b$$; SELECT $x$;$$;$x$;", ["SELECT $$a;b$$", "SELECT $x$;$$;$x$"], ""),
        ("SELECT 'open;", [], "SELECT 'open;"),
        (";;  ; -- nothing;\n", [], ""),
        ("", [], ""),
        ("\\d events;", ["\\d events"], ""),
    ],
)
def test_where_statements_end(text, ended, rest):
    assert sql_statements.split(text) == (ended, rest)
