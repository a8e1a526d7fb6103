"""Parse requests for reports into queries, and render pages of reports as JSON or CSV."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from chalice.app import Response

from chalicelib.api import formats, requests
from chalicelib.domain.events import LATEST_MS, is_counter_id, is_event_id
from chalicelib.errors import BadCursorError, InvalidRequestError
from chalicelib.extras.reports import definitions
from chalicelib.extras.reports.definitions import REPORTS, Kind, Query
from chalicelib.extras.reports.errors import ReportsOffError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from chalicelib.extras.reports.definitions import Page, Position, Report
    from chalicelib.settings import Settings

JSON_FORMAT, CSV_FORMAT = FORMATS = ("json", "csv")
CSV = "text/csv; charset=utf-8"

#: Seconds for which caches may keep a report. Reports lag behind the log anyway.
MAX_AGE_S = 5

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INTEGER = re.compile(r"-?[0-9]{1,38}")
_TIME_MS = re.compile(r"[0-9]{1,15}")

#: Text that a spreadsheet program treats as a formula. The last four characters are full-width forms.
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """A query, the format of the response, and the client's parameters except the cursor."""

    query: Query
    as_csv: bool
    parameters: Mapping[str, str]


def list_reports(settings: Settings) -> Response:
    """
    Return 200 with all reports and their parameters.

    Raises:
        ReportsOffError: the stage has no SQL read model.
    """
    _check_on(settings)
    reports = [
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
    return Response({"reports": reports}, headers={"Cache-Control": "public, max-age=60"})


def parse_request(settings: Settings, name: str, request: requests.Request) -> ReportRequest:
    """
    Parse a request for a page of the report with this name.

    Raises:
        ReportsOffError: the stage has no SQL read model.
        ReportNotFoundError: there is no such report.
        InvalidRequestError: a parameter is malformed, missing or unknown, or the cursor belongs to another report or
            to other parameters.
    """
    _check_on(settings)
    report = definitions.get_report(name)
    given = requests.parse_parameters(request, report.parameters)
    if missing := report.required - given.keys():
        raise InvalidRequestError(f"Report {name} requires {', '.join(sorted(missing))}.")
    response_format = given.get("format", JSON_FORMAT)
    if response_format not in FORMATS:
        raise InvalidRequestError(f"format must be json or csv, got {formats.quote(response_format)}. Default: json.")
    counter_id = given.get("counter_id")
    start, end = _parse_time(given, "from"), _parse_time(given, "to")
    if start is not None and end is not None and start >= end:
        raise InvalidRequestError("`from` must be earlier than `to`.")
    query = Query(
        report,
        requests.parse_limit(request),
        None if counter_id is None else requests.parse_counter_id(counter_id),
        *definitions.round_range(report, start, end),
        at=definitions.round_moment(_parse_time(given, "at")),
    )
    after = _parse_cursor(query, requests.parse_cursor(request))
    parameters = {name: text for name, text in given.items() if name != "cursor"}
    return ReportRequest(replace(query, after=after), response_format == CSV_FORMAT, parameters)


def to_response(request: ReportRequest, page: Page) -> Response:
    """Return 200 with a page of a report and, if more rows follow, a link to the next page."""
    report = request.query.report
    cursor = None if page.last is None else formats.encode_cursor(_build_cursor(request.query, page.last))
    headers: dict[str, str | list[str]] = {"Cache-Control": f"public, max-age={MAX_AGE_S}"}
    if cursor is not None:
        # Relative to the request's URL, so that it works behind any stage, domain or proxy.
        headers["Link"] = f'<?{urlencode({**request.parameters, "cursor": cursor})}>; rel="next"'
    rows = [[_to_json(value) for value in row] for row in page.rows]
    names = [column.name for column in report.columns]
    if request.as_csv:
        headers |= {
            "Content-Type": CSV,
            "Content-Disposition": f'attachment; filename="{report.name}.csv"',
            "X-Content-Type-Options": "nosniff",
        }
        return Response(_to_csv(report, rows), headers=headers)
    members = [dict(zip(names, row, strict=True)) for row in rows]
    return Response({"report": report.name, "rows": members, "next_cursor": cursor}, headers=headers)


def _check_on(settings: Settings) -> None:
    if not settings.sql_url:
        raise ReportsOffError


def _parse_time(given: Mapping[str, str], name: str) -> Decimal | None:
    """Return the time in a parameter, in seconds since 1970. A day means its start in UTC."""
    text = given.get(name)
    if text is None:
        return None
    try:
        return formats.parse_time(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
    except ValueError as error:
        raise InvalidRequestError(
            f"{name} must be a day, such as 2023-11-14, or a time in RFC 3339, such as 2023-11-14T22:13:20Z or "
            f"2023-11-14T23:13:20.5+01:00, got {formats.quote(text)}. In a URL, write + as %2B."
        ) from error


def _build_cursor(query: Query, position: Position) -> str:
    keys = zip(query.report.order, position, strict=True)
    return " ".join([_hash(query), *(_to_text(key.column.kind, value) for key, value in keys)])


def _parse_cursor(query: Query, cursor: str | None) -> Position | None:
    """Return the position in a cursor. The cursor must belong to this report and these parameters."""
    if cursor is None:
        return None
    digest, *texts = cursor.split(" ")
    kinds = [key.column.kind for key in query.report.order]
    if digest != _hash(query) or len(texts) != len(kinds):
        raise BadCursorError(" A cursor is only valid with the same report, counter_id, from, to and at.")
    try:
        return tuple(_from_text(kind, text) for kind, text in zip(kinds, texts, strict=True))
    except ValueError as error:
        raise BadCursorError from error


def _hash(query: Query) -> str:
    """Return a digest of the report and of the parameters that all of its pages share."""
    shared = (query.report.name, query.counter_id, query.first, query.end, *([query.at] if query.at else []))
    return hashlib.sha256(" ".join(map(repr, shared)).encode()).hexdigest()[:16]


def _to_text(kind: Kind, value: Any) -> str:
    return str(definitions.to_ms(value)) if kind is Kind.TIME else str(value)


def _from_text(kind: Kind, text: str) -> Any:
    if kind is Kind.INTEGER and _INTEGER.fullmatch(text):
        return int(text)
    if kind is Kind.TIME and _TIME_MS.fullmatch(text) and int(text) <= LATEST_MS:
        return definitions.from_ms(kind, int(text))
    if kind is Kind.DAY and _DAY.fullmatch(text):
        return date.fromisoformat(text)
    if (kind is Kind.COUNTER_ID and is_counter_id(text)) or (kind is Kind.EVENT_ID and is_event_id(text)):
        return text
    raise ValueError(text)


def _to_json(value: Any) -> Any:
    match value:
        case datetime():
            return formats.format_time(definitions.to_ms(value))
        case date():
            return value.isoformat()
        case _:
            return value


def _to_csv(report: Report, rows: list[list[Any]]) -> str:
    """Return CSV (RFC 4180) with a header line. Null is an empty field."""
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(column.name for column in report.columns)
    kinds = [column.kind for column in report.columns]
    lines.writerows([_escape(kind, value) for kind, value in zip(kinds, row, strict=True)] for row in rows)
    return text.getvalue()


def _escape(kind: Kind, value: Any) -> Any:
    """Escape free text that a spreadsheet would run as a formula. Counter ids are safe and stay unchanged."""
    return f"'{value}" if kind is Kind.TEXT and value is not None and _FORMULA.match(value) else value
