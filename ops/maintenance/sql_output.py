"""Write results of SQL queries to standard output: as a table for people, or as CSV or JSON for programs."""

import csv
import io
import itertools
import json
import math
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Literal, TextIO

import click
from rich.box import SQUARE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops.cli.errors import InputError
from ops.maintenance.sql import Result

Format = Literal["table", "csv", "json"]

#: The default maximum number of rows in a table.
TABLE_ROWS = 1000

#: Wider than any table, so that only the terminal wraps lines.
_WIDTH = 1_000_000


def write(result: Result, output: Format, limit: int | None) -> None:
    """
    Write at most `limit` rows to standard output. Default: 1,000 rows for a table, else all rows.

    Write nothing until the last row has arrived: if the statement fails or is stopped, the output is empty, not
    truncated. A table is collected in memory, CSV and JSON in a temporary file. CSV and JSON are UTF-8, regardless of
    the encoding of standard output. If there are more rows, a note says so: below a table, else on standard error.
    """
    if output == "table":
        limit = limit or TABLE_ROWS
        rows = [*itertools.islice(result.rows, limit)]
        has_more = _has_more(result, limit)
        _write_table(result.columns, rows)
        number = f"{len(rows):,} row{'' if len(rows) == 1 else 's'}"
        click.echo(f"({number}; there are more: see --limit)" if has_more else f"({number})")
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    write_rows = _write_csv if output == "csv" else _write_json
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as collected:
        write_rows(collected, result.columns, itertools.islice(result.rows, limit))
        has_more = _has_more(result, limit)
        collected.seek(0)
        shutil.copyfileobj(collected, sys.stdout)
        sys.stdout.flush()
    if has_more:
        click.echo(f"Limited to {limit:,} rows; there are more: see --limit", err=True)


def _has_more(result: Result, limit: int | None) -> bool:
    return limit is not None and next(result.rows, None) is not None


def _write_csv(file: TextIO, columns: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([None if value is None else to_text(value) for value in row] for row in rows)


def _write_json(file: TextIO, columns: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
    if repeated := [name for name, number in Counter(columns).items() if number > 1]:
        raise InputError(f"Several columns are named {repeated[0]}: rename them, as in SELECT 1 AS a, 2 AS b.")
    names = [_to_json(name) for name in columns]
    separator = "[\n"
    for row in rows:
        members = (f"{name}: {_to_json(value)}" for name, value in zip(names, row, strict=True))
        file.write(f"{separator}{{{', '.join(members)}}}")
        separator = ",\n"
    file.write("[]\n" if separator == "[\n" else "\n]\n")


def _to_json(value: Any) -> str:
    """Encode a value as JSON. Decimals keep all digits; the `json` module cannot encode them."""
    match value:
        case None | bool() | int():
            return json.dumps(value)
        case Decimal() if value.is_finite():
            return format(value, "f")
        case float() if math.isfinite(value):
            return repr(value)
        case list():
            return f"[{', '.join(map(_to_json, value))}]"
        case dict():
            return f"{{{', '.join(f'{_to_json(key)}: {_to_json(member)}' for key, member in value.items())}}}"
        case _:
            return json.dumps(to_text(value), ensure_ascii=False)


def to_text(value: Any) -> str:
    """Convert a value other than NULL to text, exactly."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case Decimal() if value.is_finite():
            return format(value, "f")
        case bytes():
            return f"\\x{value.hex()}"
        case list() | dict():
            return _to_json(value)
        case _:
            return str(value)


def _write_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    table = Table(box=SQUARE, show_edge=False, pad_edge=False)
    for number, name in enumerate(columns):
        values = [row[number] for row in rows if row[number] is not None]
        is_numeric = bool(values) and all(isinstance(value, int | float | Decimal) for value in values)
        table.add_column(Text(_escape(name)), justify="right" if is_numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(_cell, row))
    # Without a height, rich ignores the width if TERM is dumb. Without a capture, it exits if the pipe is closed.
    colors: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    console = Console(highlight=False, width=_WIDTH, height=1, color_system=colors)
    with console.capture() as capture:
        console.print(table)
    click.echo(capture.get(), nl=False)


def _cell(value: Any) -> Text:
    """Render NULL dimmed, and the text NULL in quotes."""
    if value is None:
        return Text("NULL", style="dim")
    text = _escape(to_text(value))
    return Text("'NULL'" if text == "NULL" else text)


def _escape(text: str) -> str:
    """Escape characters that would move the cursor or control the terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
