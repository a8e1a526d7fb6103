"""
The reports on the relational read model, declared: what each is called, says, takes and is ordered by. No SQL here.

A report is a view of the same name, page by page. Its order is total, so that a place in it is the values of a few
columns of one row, and a page is what stands behind such a place, whatever has arrived since. Names of reports, columns
and parameters are a public interface. What runs them is in `queries`; the views are in `sql.schema`.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from chalicelib.domain.events import LATEST_MS
from chalicelib.extras.reports.errors import ReportNotFoundError

if TYPE_CHECKING:
    from decimal import Decimal


class Kind(enum.Enum):
    """What stands in a column: a `str`, an `int`, a `datetime` in UTC, or a `date`."""

    COUNTER_ID = enum.auto()
    EVENT_ID = enum.auto()
    TEXT = enum.auto()
    INTEGER = enum.auto()
    TIME = enum.auto()
    DAY = enum.auto()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a view, and so of its report; `nullable` is one in which there may be nothing."""

    name: str
    kind: Kind
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """A column by which a report is ordered: from the largest down, or from the smallest up."""

    column: Column
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """
    A view, page by page. Where `step_ms` is set, the report has a time, that of the first key, in steps of this length.

    `required` are the parameters that have to be given.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    order: tuple[Key, ...]
    step_ms: int | None = None
    required: frozenset[str] = field(default=frozenset())

    @property
    def parameters(self) -> tuple[str, ...]:
        """What may be asked for."""
        return ("limit", "cursor", "format", "counter_id", *(("from", "to") if self.step_ms is not None else ()))


#: A row, as its columns are declared; and its place: the values of the columns by which the report is ordered.
Row = tuple[Any, ...]
Place = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """
    A report, of one counter or of all, of the rows whose time is from `first` on and before `end`, behind a place.

    The times are of the kind of the report's first key.
    """

    report: Report
    limit: int
    counter_id: str | None = None
    first: date | None = None
    end: date | None = None
    after: Place | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """At most as many rows as were asked for, and the last one's place if there are more behind it."""

    rows: list[Row]
    last: Place | None


_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_WEEK_MS = 7 * _DAY_MS

#: 1970 began on a Thursday.
_A_MONDAY_MS = -3 * _DAY_MS

_COUNTER_ID = Column("counter_id", Kind.COUNTER_ID)
_EVENT_ID = Column("event_id", Kind.EVENT_ID)
_VALUE = Column("value", Kind.INTEGER)
_HOUR = Column("hour", Kind.TIME)
_DAY = Column("day", Kind.DAY)
_WEEK = Column("week", Kind.DAY)
_RECORDED_AT = Column("recorded_at", Kind.TIME)
_SUMS = (Column("events", Kind.INTEGER), Column("total", Kind.INTEGER))


def _by(step: Column) -> tuple[Key, ...]:
    return (Key(step, descending=True), Key(_COUNTER_ID))


_ALL = (
    Report(
        "top_counters",
        "Counters by value, the largest first; those of one value share a rank, and come by their ids.",
        (Column("rank", Kind.INTEGER), _COUNTER_ID, _VALUE, Column("version", Kind.INTEGER)),
        (Key(_VALUE, descending=True), Key(_COUNTER_ID)),
    ),
    Report(
        "daily",
        "For each day in UTC and each counter, the newest first: how many events there were, and their sum.",
        (_COUNTER_ID, _DAY, *_SUMS),
        _by(_DAY),
        _DAY_MS,
    ),
    Report(
        "hourly",
        "For each hour and each counter, the newest first: how many events there were, and their sum.",
        (_COUNTER_ID, _HOUR, *_SUMS),
        _by(_HOUR),
        _HOUR_MS,
    ),
    Report(
        "weekly",
        "For each week in UTC, from its Monday on, and each counter, the newest first: how many events there were, and "
        "their sum.",
        (_COUNTER_ID, _WEEK, *_SUMS),
        _by(_WEEK),
        _WEEK_MS,
    ),
    Report(
        "busiest_hour",
        "For each counter, by its id, the hour with most events, the first of several.",
        (_COUNTER_ID, _HOUR, *_SUMS),
        (Key(_COUNTER_ID),),
    ),
    Report(
        "weekly_growth",
        "For each week and each counter, the newest first: its events beside those of the week before, and the growth, "
        "also in per cent if there was anything before.",
        (
            _COUNTER_ID,
            _WEEK,
            *_SUMS,
            Column("events_before", Kind.INTEGER),
            Column("growth", Kind.INTEGER),
            Column("growth_percent", Kind.INTEGER, nullable=True),
        ),
        _by(_WEEK),
        _WEEK_MS,
    ),
    Report(
        "running_totals",
        "Every event of one counter, the newest first, with what the counter came to with it.",
        (
            _COUNTER_ID,
            _EVENT_ID,
            Column("type", Kind.TEXT),
            Column("amount", Kind.INTEGER),
            _RECORDED_AT,
            Column("reason", Kind.TEXT, nullable=True),
            Column("running_total", Kind.INTEGER),
        ),
        (Key(_RECORDED_AT, descending=True), Key(_EVENT_ID, descending=True)),
        1,
        required=frozenset({"counter_id"}),
    ),
)

#: All reports, by name.
REPORTS = {report.name: report for report in _ALL}


def named(name: str) -> Report:
    """
    The report of this name.

    Raises:
        ReportNotFoundError: there is none.
    """
    if name not in REPORTS:
        raise ReportNotFoundError(f"There is no report {name[:40]!a}; there are {', '.join(REPORTS)}.")
    return REPORTS[name]


def span(report: Report, start: Decimal | None, end: Decimal | None) -> tuple[date | None, date | None]:
    """
    The times, of the kind of the report's first key, from and before which it is asked, in seconds since 1970.

    Steps that lie partly in between belong to it: the start is rounded down to a step, and the end up. None is no
    limit, and so is what lies beyond all times that there can be.
    """
    step_ms, kind = report.step_ms or 1, report.order[0].column.kind
    # Weeks begin with Mondays; all other steps divide a day.
    offset_ms = _A_MONDAY_MS if step_ms == _WEEK_MS else 0

    def limit(ms: int) -> date | None:
        rounded_ms = (ms - offset_ms) // step_ms * step_ms + offset_ms
        return at(kind, rounded_ms) if rounded_ms <= LATEST_MS else None

    first = None if start is None else limit(min(max(math.floor(start * 1000), 0), LATEST_MS))
    return first, None if end is None else limit(max(math.ceil(end * 1000), 0) + step_ms - 1)


def place_of(report: Report, row: Row) -> Place:
    """Where this row stands in the report."""
    names = [column.name for column in report.columns]
    return tuple(row[names.index(key.column.name)] for key in report.order)


def at(kind: Kind, ms: int) -> date:
    """A time in milliseconds since 1970 as a column of this kind holds it."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    return moment.date() if kind is Kind.DAY else moment


def ms_of(moment: datetime) -> int:
    """A time as milliseconds since 1970."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
