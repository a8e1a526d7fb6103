"""Requests for reports into questions, and their rows into JSON and CSV."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from chalice.app import Response

from chalicelib.api import formats, requests
from chalicelib.domain.events import LATEST_MS, is_counter_id, is_event_id
from chalicelib.errors import BadCursorError, InvalidRequestError
from chalicelib.extras.reports import definitions
from chalicelib.extras.reports.definitions import REPORTS, Kind, Question
from chalicelib.extras.reports.errors import ReportsOffError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from chalicelib.extras.reports.definitions import Page, Place, Report
    from chalicelib.settings import Settings

JSON_FORMAT, CSV_FORMAT = FORMATS = ("json", "csv")
CSV = "text/csv; charset=utf-8"

#: For how many seconds caches may show a report: it is late anyway, by as much as counting is.
KEPT_S = 5

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INTEGER = re.compile(r"-?[0-9]{1,38}")
_TIME_MS = re.compile(r"[0-9]{1,15}")

#: What spreadsheet programs take for the beginning of a formula, in full width, too.
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, in which format the answer is wanted, and with which other parameters a client asked."""

    question: Question
    as_csv: bool
    parameters: Mapping[str, str]


def listing(settings: Settings) -> Response:
    """
    200 with all reports, and what each takes.

    Raises:
        ReportsOffError: the stage has none.
    """
    _check_on(settings)
    shown = [
        {
            "name": report.name,
            "description": report.description,
            "parameters": list(report.parameters),
            "required": sorted(report.required),
            "columns": [column.name for column in report.columns],
            "path": f"/reports/{report.name}",
        }
        for report in REPORTS.values()
    ]
    return Response({"reports": shown}, headers={"Cache-Control": "public, max-age=60"})


def asked(settings: Settings, name: str, request: requests.Request) -> Asked:
    """
    What this request asks of the report of this name.

    Raises:
        ReportsOffError: the stage has none.
        ReportNotFoundError: there is none of this name.
        InvalidRequestError: a parameter is malformed or missing, is none of this report's, or the cursor is of another
            report or other parameters.
    """
    _check_on(settings)
    report = definitions.named(name)
    given = requests.parse_parameters(request, report.parameters)
    if missing := report.required - given.keys():
        raise InvalidRequestError(f"The report {name} needs {', '.join(sorted(missing))}.")
    chosen = given.get("format", JSON_FORMAT)
    if chosen not in FORMATS:
        raise InvalidRequestError("format is json or csv; left out, it is json.")
    counter_id = given.get("counter_id")
    start, end = _time(given, "from"), _time(given, "to")
    if start is not None and end is not None and start >= end:
        raise InvalidRequestError("from is a time before to.")
    question = Question(
        report,
        requests.parse_limit(request),
        None if counter_id is None else requests.parse_counter_id(counter_id),
        *definitions.span(report, start, end),
    )
    after = _place(question, requests.parse_cursor(request))
    others = {name: text for name, text in given.items() if name != "cursor"}
    return Asked(_behind(question, after), chosen == CSV_FORMAT, others)


def answer(asked: Asked, page: Page) -> Response:
    """200 with a page of a report, and where the next one is."""
    report = asked.question.report
    cursor = None if page.last is None else formats.encode_cursor(_cursor(asked.question, page.last))
    headers: dict[str, str | list[str]] = {"Cache-Control": f"public, max-age={KEPT_S}"}
    if cursor is not None:
        # Relative to the request's address, and so right behind any stage, domain or proxy.
        headers["Link"] = f'<?{urlencode({**asked.parameters, "cursor": cursor})}>; rel="next"'
    shown = [[_shown(value) for value in row] for row in page.rows]
    names = [column.name for column in report.columns]
    if asked.as_csv:
        headers |= {
            "Content-Type": CSV,
            "Content-Disposition": f'attachment; filename="{report.name}.csv"',
            "X-Content-Type-Options": "nosniff",
        }
        return Response(_csv(report, shown), headers=headers)
    rows = [dict(zip(names, row, strict=True)) for row in shown]
    return Response({"report": report.name, "rows": rows, "next_cursor": cursor}, headers=headers)


def _check_on(settings: Settings) -> None:
    if not settings.sql_url:
        raise ReportsOffError


def _time(given: Mapping[str, str], name: str) -> Decimal | None:
    """Seconds since 1970; a day is its first moment in UTC."""
    text = given.get(name)
    if text is None:
        return None
    try:
        return formats.parse_time(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
    except ValueError as error:
        raise InvalidRequestError(
            f"{name} is a day, such as 2023-11-14, or a time as RFC 3339 writes it, such as 2023-11-14T22:13:20Z or "
            "2023-11-14T23:13:20.5+01:00; in an address, + is written %2B."
        ) from error


def _behind(question: Question, after: Place | None) -> Question:
    return Question(question.report, question.limit, question.counter_id, question.first, question.end, after)


def _cursor(question: Question, place: Place) -> str:
    keys = zip(question.report.order, place, strict=True)
    return " ".join([_name(question), *(_written(key.column.kind, value) for key, value in keys)])


def _place(question: Question, cursor: str | None) -> Place | None:
    """The place that a cursor says, if it is of this report with these parameters."""
    if cursor is None:
        return None
    name, *texts = cursor.split(" ")
    kinds = [key.column.kind for key in question.report.order]
    if name != _name(question) or len(texts) != len(kinds):
        raise BadCursorError(" It goes with the same report, counter_id, from and to.")
    try:
        return tuple(_read(kind, text) for kind, text in zip(kinds, texts, strict=True))
    except ValueError as error:
        raise BadCursorError from error


def _name(question: Question) -> str:
    """The same for all pages of a report with these parameters, and for no others."""
    of = (question.report.name, question.counter_id, question.first, question.end)
    return hashlib.sha256(" ".join(map(repr, of)).encode()).hexdigest()[:16]


def _written(kind: Kind, value: Any) -> str:
    return str(definitions.ms_of(value)) if kind is Kind.TIME else str(value)


def _read(kind: Kind, text: str) -> Any:
    if kind is Kind.INTEGER and _INTEGER.fullmatch(text):
        return int(text)
    if kind is Kind.TIME and _TIME_MS.fullmatch(text) and int(text) <= LATEST_MS:
        return definitions.at(kind, int(text))
    if kind is Kind.DAY and _DAY.fullmatch(text):
        return date.fromisoformat(text)
    if (kind is Kind.COUNTER_ID and is_counter_id(text)) or (kind is Kind.EVENT_ID and is_event_id(text)):
        return text
    raise ValueError(text)


def _shown(value: Any) -> Any:
    match value:
        case datetime():
            return formats.format_time(definitions.ms_of(value))
        case date():
            return value.isoformat()
        case _:
            return value


def _csv(report: Report, rows: list[list[Any]]) -> str:
    """As RFC 4180 has it, with a line of names. What is nothing is empty."""
    written = io.StringIO()
    lines = csv.writer(written)
    lines.writerow(column.name for column in report.columns)
    kinds = [column.kind for column in report.columns]
    lines.writerows([_cell(kind, value) for kind, value in zip(kinds, row, strict=True)] for row in rows)
    return written.getvalue()


def _cell(kind: Kind, value: Any) -> Any:
    """Free text is nobody's formula. A counter's id is left as it is: it can call nothing, and is what one looks up."""
    return f"'{value}" if kind is Kind.TEXT and value is not None and _FORMULA.match(value) else value
