"""
The relational read model, declared: events as rows, counters, and views for what people ask first.

For SQLite, PostgreSQL and Aurora DSQL alike; what may be done with it is in `read_model`. No foreign keys and no
sequences. Numbers are integers and never floats; times are to the millisecond, and days and weeks are those of UTC,
weeks from Monday on. Names of tables, views and columns are a public interface, for people's questions use them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Index,
    MetaData,
    Numeric,
    String,
    Table,
    Uuid,
    func,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.ddl import CreateView, DropView
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from sqlalchemy import Dialect, Select
    from sqlalchemy.schema import ExecutableDDLElement
    from sqlalchemy.sql.compiler import SQLCompiler
    from sqlalchemy.types import TypeEngine


class Time(TypeDecorator[datetime]):
    """A moment, in UTC. SQLite keeps it as the text that its own functions of time read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """A moment in whatever zone is stored as the same moment in UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """What has no zone was stored in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Total(TypeDecorator[int]):
    """
    An exact integer of up to 38 digits, as many as DynamoDB's numbers have.

    SQLite's have 64 bits, and it would take more than that for a float: there, the table refuses it.
    """

    impl = Numeric(38, 0)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """SQLite is to keep an integer as one."""
        return dialect.type_descriptor(BigInteger() if dialect.name == "sqlite" else Numeric(38, 0))

    def process_result_value(self, value: Decimal | int | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """A driver's decimal is the integer that it holds."""
        return None if value is None else int(value)


class _Hour(FunctionElement[datetime]):
    """The hour in which a moment lies, by its start."""

    type = Time()
    inherit_cache = True


class _Day(FunctionElement[Any]):
    type = Date()
    inherit_cache = True


class _Week(FunctionElement[Any]):
    """The week in which a moment lies, by its Monday."""

    type = Date()
    inherit_cache = True


class _WeekAfter(FunctionElement[Any]):
    type = Date()
    inherit_cache = True


#: How each is said to PostgreSQL, and to SQLite. What a moment is in UTC does not depend on the session's zone.
_SAID: dict[type[FunctionElement[Any]], tuple[str, str]] = {
    _Hour: (
        "(date_trunc('hour', {0} AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')",
        "strftime('%Y-%m-%d %H:00:00.000000', {0})",
    ),
    _Day: ("CAST({0} AT TIME ZONE 'UTC' AS DATE)", "date({0})"),
    _Week: ("CAST(date_trunc('week', {0} AT TIME ZONE 'UTC') AS DATE)", "date({0}, '-6 days', 'weekday 1')"),
    _WeekAfter: ("({0} + 7)", "date({0}, '+7 days')"),
}


@compiles(_Hour)
@compiles(_Day)
@compiles(_Week)
@compiles(_WeekAfter)
def _said(element: FunctionElement[Any], compiler: SQLCompiler, **how: Any) -> str:
    to_postgresql, to_sqlite = _SAID[type(element)]
    said = to_sqlite if compiler.dialect.name == "sqlite" else to_postgresql
    return said.format(compiler.process(element.clauses, **how))


metadata = MetaData()

#: One row for each event. `reason` is that of an adjustment; by whom it was is in the log alone.
events = Table(
    "events",
    metadata,
    Column("counter_id", String(64), primary_key=True),
    Column("event_id", Uuid(as_uuid=False).with_variant(String(36), "sqlite"), primary_key=True),
    Column("type", String(32), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("recorded_at", Time, nullable=False),
    Column("reason", String(200)),
)

Index("events_by_time", events.c.counter_id, events.c.recorded_at)

#: One row for each counter that has an event: their sum, and their number.
counters = Table(
    "counters",
    metadata,
    Column("counter_id", String(64), primary_key=True),
    Column("value", Total, nullable=False),
    Column("version", BigInteger, nullable=False),
    CheckConstraint("typeof(value) = 'integer'", name="value_is_exact").ddl_if(dialect="sqlite"),
)


def _by(name: str, step: type[FunctionElement[Any]]) -> Select[Any]:
    start = step(events.c.recorded_at)
    return select(
        events.c.counter_id,
        start.label(name),
        func.count().label("events"),
        func.sum(events.c.amount, type_=Total).label("total"),
    ).group_by(events.c.counter_id, start)


def _ranked() -> Select[Any]:
    rank = func.rank().over(order_by=counters.c.value.desc())
    return select(rank.label("rank"), counters.c.counter_id, counters.c.value, counters.c.version)


def _busiest() -> Select[Any]:
    hours = _by("hour", _Hour).subquery("hours")
    place = func.row_number().over(partition_by=hours.c.counter_id, order_by=(hours.c.events.desc(), hours.c.hour))
    placed = select(hours, place.label("place")).subquery("placed")
    columns = (placed.c.counter_id, placed.c.hour, placed.c.events, placed.c.total)
    return select(*columns).where(placed.c.place == 1)


def _growth() -> Select[Any]:
    week, before = _by("week", _Week).subquery("this_week"), _by("week", _Week).subquery("week_before")
    events_before = func.coalesce(before.c.events, 0)
    is_before = (before.c.counter_id == week.c.counter_id) & (_WeekAfter(before.c.week) == week.c.week)
    return select(
        week.c.counter_id,
        week.c.week,
        week.c.events,
        week.c.total,
        events_before.label("events_before"),
        (week.c.events - events_before).label("growth"),
        # Of integers, so whole: cut off towards 0, and NULL where there was nothing before.
        (100 * (week.c.events - before.c.events)).op("/")(before.c.events).label("growth_percent"),
    ).select_from(week.outerjoin(before, is_before))


def _running() -> Select[Any]:
    in_order = func.sum(events.c.amount, type_=Total).over(
        partition_by=events.c.counter_id, order_by=(events.c.recorded_at, events.c.event_id), rows=(None, 0)
    )
    return select(events, in_order.label("running_total"))


tables = (counters, events)

#: What each view says: counters by value, the largest with `rank` 1; events and their sum for each counter and day,
#: hour or week that has any; for each counter the hour with most events, of several the first; weeks beside the
#: calendar week before each; and every event with what its counter came to with it, by time and, within a millisecond,
#: by id.
views = tuple(
    CreateView(selected, name)
    for name, selected in (
        ("top_counters", _ranked()),
        ("daily", _by("day", _Day)),
        ("hourly", _by("hour", _Hour)),
        ("weekly", _by("week", _Week)),
        ("busiest_hour", _busiest()),
        ("weekly_growth", _growth()),
        ("running_totals", _running()),
    )
)


def statements(dialect: str) -> Iterator[ExecutableDDLElement]:
    """What makes all of this where there is nothing or an older version of it, each to be run by itself, in order."""
    for table in tables:
        yield CreateTable(table, if_not_exists=True)
        for index in table.indexes:
            yield CreateIndex(index, if_not_exists=True)
    for view in views:
        if dialect == "sqlite":
            yield DropView(view.table, if_exists=True)
        yield CreateView(view.selectable, view.table.name, or_replace=dialect != "sqlite")
