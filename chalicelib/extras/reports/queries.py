"""
Reports: one page of a view, from a transaction that can only read, within the time that the function has.

All that is asked for is bound to the statement and never part of its text. SQLAlchemy and the drivers below it stop
here.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError
from sqlalchemy import and_, or_, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from chalicelib import retries, settings
from chalicelib.aws import session
from chalicelib.errors import BadCursorError, ReadModelUnavailableError
from chalicelib.extras.reports import definitions
from chalicelib.extras.reports.definitions import Page
from chalicelib.extras.reports.errors import ReportUnavailableError
from chalicelib.extras.sql import read_model, read_only
from chalicelib.extras.sql.schema import views

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Engine, FromClause, Select

    from chalicelib.extras.reports.definitions import Place, Question, Report

#: How long a report may take, if the function has so much time.
LONGEST_S = 10

#: Of those that met a conflict, which is rare where nothing is written.
_TRIES = 3

_VIEWS = {view.table.name: view.table for view in views}


def run(question: Question) -> Page:
    """
    A page of a report, as it is at one moment.

    Raises:
        BadCursorError: the place has a number that the database does not know.
        ReportUnavailableError: the database refuses, does not answer, or not in time.
    """
    left_s = session.remaining_s()
    deadline = time.monotonic() + (LONGEST_S if left_s is None else min(LONGEST_S, left_s))
    met: object = "there was no time for it"
    for _ in retries.attempts(_TRIES):
        if time.monotonic() >= deadline:
            break
        # The driver's error is kept as the cause, and not SQLAlchemy's, which would put the statement into the log.
        try:
            with read_only.reading(client(), max(deadline - time.monotonic(), 0.001)) as connection:
                return _page(question, connection)
        except OverflowError as error:
            # SQLite's integers have 64 bits; nobody was given a cursor with a larger one.
            raise BadCursorError from error
        except DBAPIError as error:
            if not (error.connection_invalidated or read_model.is_conflict(error.orig)):
                raise ReportUnavailableError(str(error.orig)) from error.orig
            met = error.orig
        except (SQLAlchemyError, BotoCoreError, ReadModelUnavailableError) as error:
            raise ReportUnavailableError(str(error)) from error
    raise ReportUnavailableError(f"not answered in {LONGEST_S} s or {_TRIES} tries: {met}")


@functools.cache
def client() -> Engine:
    """The one engine of this process for reports. It connects when it is used."""
    return read_only.engine_at(settings.current().sql_reader_url)


def statement(question: Question) -> Select[Any]:
    """What is asked of the database: a row more than the page has, which tells whether there is another page."""
    report, view = question.report, _VIEWS[question.report.name]
    moment = view.c[report.order[0].column.name]
    conditions: list[ColumnElement[bool]] = []
    if question.counter_id is not None:
        conditions.append(view.c.counter_id == question.counter_id)
    if question.first is not None:
        conditions.append(moment >= question.first)
    if question.end is not None:
        conditions.append(moment < question.end)
    if question.after is not None:
        conditions.append(_is_behind(report, view, question.after))
    by = [(view.c[key.column.name], key.descending) for key in report.order]
    return (
        select(*(view.c[column.name] for column in report.columns))
        .where(*conditions)
        .order_by(*(column.desc() if descending else column for column, descending in by))
        .limit(question.limit + 1)
    )


def _is_behind(report: Report, view: FromClause, place: Place) -> ColumnElement[bool]:
    """The first key that is not the place's decides."""
    ways: list[ColumnElement[bool]] = []
    same: list[ColumnElement[bool]] = []
    for key, value in zip(report.order, place, strict=True):
        column = view.c[key.column.name]
        ways.append(and_(*same, column < value if key.descending else column > value))
        same.append(column == value)
    return or_(*ways)


def _page(question: Question, connection: Connection) -> Page:
    found = [tuple(row) for row in connection.execute(statement(question))]
    rows = found[: question.limit]
    return Page(rows, definitions.place_of(question.report, rows[-1]) if len(found) > question.limit else None)
