"""
Define the reports on the SQL read model: their names, descriptions, columns, order and parameters.

A report is a view of the same name, returned page by page. Its order is total, so the values of the ordering columns
identify a row's position. A page starts after a position, so rows that were added since the previous page do not shift
it. Names of reports, columns and parameters are a public interface. This module contains no SQL: `queries` runs
reports, and `sql.schema` has the views.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from chalicelib.api import formats
from chalicelib.domain.events import LATEST_MS
from chalicelib.extras.reports.errors import ReportNotFoundError

if TYPE_CHECKING:
    from decimal import Decimal


class Kind(enum.Enum):
    """The kind of a column's values. Ids and texts are `str`; the others are `int`, `datetime` in UTC and `date`."""

    COUNTER_ID = enum.auto()
    EVENT_ID = enum.auto()
    TEXT = enum.auto()
    INTEGER = enum.auto()
    TIME = enum.auto()
    DAY = enum.auto()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a view, and of its report."""

    name: str
    kind: Kind
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """A column by which a report is ordered."""

    column: Column
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """
    A view that is returned page by page. `required` parameters have no default.

    If `step_ms` is set, `from` and `to` limit the first key to a time range, rounded to steps of this length. If
    `has_moment`, the report has a parameter `at`, and its rows have `since` <= `at` < `until`. A null `until` means
    that the state is the current one.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    order: tuple[Key, ...]
    step_ms: int | None = None
    has_moment: bool = False
    required: frozenset[str] = field(default=frozenset())

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the report's parameters."""
        times = ("from", "to") if self.step_ms is not None else ("at",) if self.has_moment else ()
        return ("limit", "cursor", "format", "counter_id", *times)


#: A row: the values of its columns. Its position: the values of the columns that order the report.
Row = tuple[Any, ...]
Position = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """
    A request for a page of a report: rows of one or all counters, from time `first` up to `end`, after a position.

    `end` is exclusive. Both times have the kind of the report's first key. `at` is for reports that have a moment.
    """

    report: Report
    limit: int
    counter_id: str | None = None
    first: date | None = None
    end: date | None = None
    at: date | None = None
    after: Position | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of a page, and the position of the last one if more rows follow."""

    rows: list[Row]
    last: Position | None


_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_WEEK_MS = 7 * _DAY_MS

#: 1970 began on a Thursday.
_A_MONDAY_MS = -3 * _DAY_MS

_NAMES = {
    Kind.COUNTER_ID: "counter_id",
    Kind.EVENT_ID: "event_id",
    Kind.TEXT: "type reason",
    Kind.INTEGER: "rank value version amount running_total events total events_before growth growth_percent",
    Kind.TIME: "hour recorded_at since until",
    Kind.DAY: "day week",
}
_NULLABLE = {"reason", "growth_percent", "until"}

#: Columns by name. A name means the same in every report.
_COLUMNS = {name: Column(name, kind, name in _NULLABLE) for kind, names in _NAMES.items() for name in names.split()}


def _declare(name: str, description: str, columns: str, order: str, step_ms: int | None = None, **more: Any) -> Report:
    """Declare a report with these columns, ordered by these keys. A minus sign before a key means descending."""
    return Report(
        name,
        description,
        tuple(_COLUMNS[column] for column in columns.split()),
        tuple(Key(_COLUMNS[key.removeprefix("-")], key.startswith("-")) for key in order.split()),
        step_ms,
        **more,
    )


_ALL = (
    _declare(
        "top_counters",
        "Counters by value, largest first. Counters with the same value share a rank and are sorted by counter id.",
        "rank counter_id value version",
        "-value counter_id",
    ),
    _declare(
        "daily",
        "Number of events and sum of their amounts for each day (UTC) and counter, newest first.",
        "counter_id day events total",
        "-day counter_id",
        _DAY_MS,
    ),
    _declare(
        "hourly",
        "Number of events and sum of their amounts for each hour and counter, newest first.",
        "counter_id hour events total",
        "-hour counter_id",
        _HOUR_MS,
    ),
    _declare(
        "weekly",
        "Number of events and sum of their amounts for each week (UTC, from Monday) and counter, newest first.",
        "counter_id week events total",
        "-week counter_id",
        _WEEK_MS,
    ),
    _declare(
        "busiest_hour",
        "Each counter's hour with the most events, sorted by counter id. If several hours tie, the first is listed.",
        "counter_id hour events total",
        "counter_id",
    ),
    _declare(
        "weekly_growth",
        "Number of events for each week and counter, compared with the week before, newest first. The percentage is "
        "null if there were no events the week before.",
        "counter_id week events total events_before growth growth_percent",
        "-week counter_id",
        _WEEK_MS,
    ),
    _declare(
        "running_totals",
        "Every event of one counter, newest first, with the counter's value after it.",
        "counter_id event_id type amount recorded_at reason running_total",
        "-recorded_at -event_id",
        1,
        required=frozenset({"counter_id"}),
    ),
    _declare(
        "value_at",
        "Value and version of each counter at a given time, sorted by counter id. Only events recorded up to that time "
        "are included. `since` is the time of the last of these events, and `until` is the time of the next event, or "
        "null for the current state. Counters without such events are omitted.",
        "counter_id value version since until",
        "counter_id",
        has_moment=True,
        required=frozenset({"at"}),
    ),
)

#: All reports, by name.
REPORTS = {report.name: report for report in _ALL}


def get_report(name: str) -> Report:
    """
    Return the report with this name.

    Raises:
        ReportNotFoundError: there is no such report.
    """
    if name not in REPORTS:
        raise ReportNotFoundError(f"No such report: {name[:40]!a}. Reports: {', '.join(REPORTS)}.")
    return REPORTS[name]


def round_range(report: Report, start: Decimal | None, end: Decimal | None) -> tuple[date | None, date | None]:
    """
    Convert a time range in seconds since 1970 to the kind of the report's first key.

    The start is rounded down to a step, and the end is rounded up. None means no limit. An end after all valid times
    becomes None.
    """
    step_ms, kind = report.step_ms or 1, report.order[0].column.kind
    # Weeks start on Monday; the length of every other step divides a day.
    offset_ms = _A_MONDAY_MS if step_ms == _WEEK_MS else 0

    def limit(ms: int) -> date | None:
        rounded_ms = (ms - offset_ms) // step_ms * step_ms + offset_ms
        return from_ms(kind, rounded_ms) if rounded_ms <= LATEST_MS else None

    first = None if start is None else limit(min(max(math.floor(start * 1000), 0), LATEST_MS))
    return first, None if end is None else limit(max(math.ceil(end * 1000), 0) + step_ms - 1)


def round_moment(at: Decimal | None) -> date | None:
    """Convert a time in seconds since 1970 to the value of a time column, rounded down to a millisecond."""
    return None if at is None else from_ms(Kind.TIME, formats.floor_to_ms(at))


def get_position(report: Report, row: Row) -> Position:
    """Return the position of this row in the report."""
    names = [column.name for column in report.columns]
    return tuple(row[names.index(key.column.name)] for key in report.order)


def get_counter_id(report: Report, row: Row) -> str:
    """Return the counter's id in this row. Every report has that column."""
    counter_id: str = row[report.columns.index(_COLUMNS["counter_id"])]
    return counter_id


def from_ms(kind: Kind, ms: int) -> date:
    """Convert a time in ms since 1970 to the value of a column of this kind."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    return moment.date() if kind is Kind.DAY else moment


def to_ms(moment: datetime) -> int:
    """Convert a time to ms since 1970."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
