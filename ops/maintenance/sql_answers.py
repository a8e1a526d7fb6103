"""Answers of the relational read model, on standard output: as a table for people, as CSV or JSON for programs."""

from __future__ import annotations

import csv
import itertools
import json
import math
import sys
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import click
from rich.box import SQUARE
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops.cli.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from ops.maintenance.sql_asking import Answer

Form = Literal["table", "csv", "json"]

#: How many rows a table has, unless more are asked for.
ROWS_OF_A_TABLE = 1000

#: A column that is no wider is never broken, so that times and ids stay whole; a wider one keeps at least so much.
_WHOLE, _LEAST = 40, 20

_BETWEEN = 3


def write(answer: Answer, form: Form, most: int | None) -> None:
    """
    The answer is on standard output, and of its rows at most this many: of a table by default the first 1,000.

    CSV and JSON are written while rows come in, so that memory stays flat; a table is kept until it is complete. That
    there are more rows is said below a table, and otherwise on standard error.

    Raises:
        InputError: two columns have one name, of which JSON would lose one. Nothing is written.
    """
    if form == "table":
        most = most or ROWS_OF_A_TABLE
        rows = [*itertools.islice(answer.rows, most)]
        has_more = _has_more(answer, most)
        _write_table(answer.columns, rows)
        number = f"{len(rows):,} row{'' if len(rows) == 1 else 's'}"
        click.echo(f"({number}; there are more: see --limit)" if has_more else f"({number})")
        return
    rows_of_it = itertools.islice(answer.rows, most)
    stream = sys.stdout
    if form == "csv":
        _write_csv(answer.columns, rows_of_it, stream)
    else:
        _write_json(answer.columns, rows_of_it, stream)
    stream.flush()
    if _has_more(answer, most):
        click.echo(f"These are the first {most:,} rows; there are more: see --limit", err=True)


def _has_more(answer: Answer, most: int | None) -> bool:
    return most is not None and next(answer.rows, None) is not None


def _write_csv(columns: Sequence[str], rows: Iterator[Sequence[Any]], stream: TextIO) -> None:
    first = [*itertools.islice(rows, 1)]  # an error shows before anything is written
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(map(_for_csv, itertools.chain(first, rows)))


def _for_csv(row: Sequence[Any]) -> list[str | None]:
    return [None if value is None else text(value) for value in row]


def _write_json(columns: Sequence[str], rows: Iterator[Sequence[Any]], stream: TextIO) -> None:
    if twice := [name for name, number in Counter(columns).items() if number > 1]:
        raise InputError(f"Several columns are called {twice[0]}: tell them apart, as in SELECT 1 AS one, 2 AS two.")
    names = [json.dumps(name, ensure_ascii=False) for name in columns]
    before = "[\n"
    for row in rows:
        members = (f"{name}: {_json(value)}" for name, value in zip(names, row, strict=True))
        stream.write(f"{before}{{{', '.join(members)}}}")
        before = ",\n"
    stream.write("[]\n" if before == "[\n" else "\n]\n")


def _json(value: Any) -> str:
    """Numbers as they are, with all their digits, which `json` would turn into floats where they are decimals."""
    match value:
        case None | bool() | int():
            return json.dumps(value)
        case Decimal() if value.is_finite():
            return format(value, "f")
        case float() if math.isfinite(value):
            return repr(value)
        case list():
            return f"[{', '.join(map(_json, value))}]"
        case dict():
            return (
                f"{{{', '.join(f'{json.dumps(key, ensure_ascii=False)}: {_json(one)}' for key, one in value.items())}}}"
            )
        case _:
            return json.dumps(text(value), ensure_ascii=False)


def text(value: Any) -> str:
    """A value that is not NULL, as text, exactly."""
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
            return _json(value)
        case _:
            return str(value)


def _write_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    heads = [_visible(name) for name in columns]
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(cell_len, [head, *(cell.plain for cell in column)])) for head, *column in _columns(heads, cells)]
    all_of_it = sum(widths) + _BETWEEN * (len(widths) - 1)
    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(all_of_it, 1))  # nothing is broken for who does not look
    least = sum(width if width <= _WHOLE else _LEAST for width in widths) + _BETWEEN * (len(widths) - 1)
    if least > console.width:
        _write_records(console, heads, cells)
        return
    table = Table(box=SQUARE, show_edge=False, pad_edge=False)
    for number, (head, width) in enumerate(zip(heads, widths, strict=True)):
        values = [row[number] for row in rows if row[number] is not None]
        are_numbers = bool(values) and all(isinstance(value, int | float | Decimal) for value in values)
        table.add_column(
            Text(head),
            justify="right" if are_numbers else "left",
            no_wrap=width <= _WHOLE,
            min_width=width if width <= _WHOLE else _LEAST,
            overflow="fold",
        )
    for row_of_cells in cells:
        table.add_row(*row_of_cells)
    console.print(table)


def _write_records(console: Console, heads: Sequence[str], cells: Sequence[Sequence[Text]]) -> None:
    """One column below the other, where there is no room for all beside each other."""
    width = max(map(cell_len, heads))
    for number, row in enumerate(cells, start=1):
        console.rule(f"{number}", align="left")
        for head, cell in zip(heads, row, strict=True):
            console.print(Text(head.ljust(width), style="bold"), cell, sep="  ", soft_wrap=True)


def _columns(heads: Sequence[str], cells: Sequence[Sequence[Text]]) -> Iterator[tuple[Any, ...]]:
    return zip(heads, *cells, strict=True)


def _cell(value: Any) -> Text:
    """NULL is not the text of that name, which gets quotes."""
    if value is None:
        return Text("NULL", style="dim")
    found = _visible(text(value))
    return Text("'NULL'" if found == "NULL" else found)


def _visible(found: str) -> str:
    """Without what would move the cursor, or say something else to a terminal."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in found)
