"""
Query one page of a report, in a read-only transaction, within the function's remaining time.

All parameters are bound to the statement and never part of its text. Errors of SQLAlchemy and its drivers are raised as
the project's errors.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, or_, select

from chalicelib import settings
from chalicelib.aws import session
from chalicelib.errors import BadCursorError, UnavailableError
from chalicelib.extras.reports import definitions
from chalicelib.extras.reports.definitions import Page
from chalicelib.extras.reports.errors import ReportUnavailableError
from chalicelib.extras.sql import read_model, read_only
from chalicelib.extras.sql.schema import views

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import ColumnElement, Connection, Engine, FromClause, Select

    from chalicelib.extras.reports.definitions import Position, Query, Report

#: The maximum time for a report. The function's remaining time may be shorter.
LONGEST_S = 10

#: Conflicts are rare, because nothing is written.
_TRIES = 3

_VIEWS = {view.table.name: view.table for view in views}


def run(query: Query) -> Page:
    """
    Return a page of a report, from one snapshot.

    Raises:
        BadCursorError: the position has a number that the database cannot represent.
        ReportUnavailableError: the database refuses the request, is busy, does not respond, or takes too long.
    """
    left_s = session.remaining_s()
    deadline = time.monotonic() + (LONGEST_S if left_s is None else min(LONGEST_S, left_s))

    def begin() -> AbstractContextManager[Connection]:
        if (left_s := deadline - time.monotonic()) <= 0:
            raise ReportUnavailableError("no time was left for the report")
        return read_only.open_snapshot(client(), left_s)

    try:
        return read_model.run_in_transaction(begin, functools.partial(_read_page, query), _TRIES)
    except UnavailableError as error:
        # SQLite's integers have 64 bits, so no valid cursor has a larger number.
        if isinstance(error.__cause__, OverflowError):
            raise BadCursorError from error
        raise ReportUnavailableError(str(error)) from error


@functools.cache
def client() -> Engine:
    """Return the process's engine for reports. It connects on first use."""
    return read_only.engine_at(settings.current().sql_reader_url)


def build_statement(query: Query) -> Select[Any]:
    """Return the statement for a page plus one row, which shows whether another page follows."""
    report, view = query.report, _VIEWS[query.report.name]
    time_column = view.c[report.order[0].column.name]
    conditions: list[ColumnElement[bool]] = []
    if query.counter_id is not None:
        conditions.append(view.c.counter_id == query.counter_id)
    if query.first is not None:
        conditions.append(time_column >= query.first)
    if query.end is not None:
        conditions.append(time_column < query.end)
    if query.at is not None:
        conditions += [view.c.since <= query.at, or_(view.c.until.is_(None), view.c.until > query.at)]
    if query.after is not None:
        conditions.append(_is_after(report, view, query.after))
    by = [(view.c[key.column.name], key.descending) for key in report.order]
    return (
        select(*(view.c[column.name] for column in report.columns))
        .where(*conditions)
        .order_by(*(column.desc() if descending else column for column, descending in by))
        .limit(query.limit + 1)
    )


def _is_after(report: Report, view: FromClause, position: Position) -> ColumnElement[bool]:
    """Return the condition for rows after a position: the first key that differs decides."""
    alternatives: list[ColumnElement[bool]] = []
    same: list[ColumnElement[bool]] = []
    for key, value in zip(report.order, position, strict=True):
        column = view.c[key.column.name]
        alternatives.append(and_(*same, column < value if key.descending else column > value))
        same.append(column == value)
    return or_(*alternatives)


def _read_page(query: Query, connection: Connection) -> Page:
    rows = [tuple(row) for row in connection.execute(build_statement(query))]
    if len(rows) <= query.limit:
        return Page(rows, None)
    rows.pop()
    return Page(rows, definitions.get_position(query.report, rows[-1]))
