"""
Define the schema of the SQL read model: a row per event, a row per counter, and views for common questions.

The schema works in SQLite, PostgreSQL and Aurora DSQL; `read_model` writes to it. There are no foreign keys and no
sequences. Numbers are integers, never floats. Times have millisecond precision; days and weeks are in UTC, and weeks
start on Monday. Names of tables, views and columns are a public interface: users' SQL depends on them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

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

    from sqlalchemy import ColumnElement, Dialect, Select
    from sqlalchemy.schema import ExecutableDDLElement
    from sqlalchemy.sql.compiler import SQLCompiler
    from sqlalchemy.types import TypeEngine


class Row(NamedTuple):
    """
    An event as a row, with its time in ms since 1970.

    SQLite stores any value in any column. If a row was edited manually, `recorded_at_ms` may have a fraction, or be
    text that is not a time.
    """

    counter_id: str
    event_id: str
    type: str
    amount: int
    recorded_at_ms: Any
    reason: str | None


class Time(TypeDecorator[datetime]):
    """A time in UTC. SQLite stores it as text, in the format of SQLite's date functions."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Convert a time in any zone to UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the time in UTC. A time without a zone was stored in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Total(TypeDecorator[int]):
    """
    An exact integer: up to 38 digits, as many as DynamoDB's numbers have, or up to 64 bits in SQLite.

    SQLite's integers have 64 bits, and SQLite would turn a larger integer into a float. A constraint on the column
    prevents that conversion.
    """

    impl = Numeric(38, 0)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Use an integer in SQLite, and a decimal elsewhere."""
        return dialect.type_descriptor(BigInteger() if dialect.name == "sqlite" else Numeric(38, 0))

    def process_result_value(self, value: Decimal | int | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Convert the driver's value, a decimal or an integer, to an integer."""
        return None if value is None else int(value)


class _Step(FunctionElement[Any]):
    """A function whose SQL differs between SQLite and PostgreSQL. It does not depend on the session's time zone."""

    inherit_cache = True
    postgresql = sqlite = ""


class _Hour(_Step):
    """The start of the hour that contains a time."""

    type = Time()
    postgresql = "(date_trunc('hour', {0} AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')"
    sqlite = "strftime('%Y-%m-%d %H:00:00.000000', {0})"


class _Day(_Step):
    type = Date()
    postgresql = "CAST({0} AT TIME ZONE 'UTC' AS DATE)"
    sqlite = "date({0})"


class _Week(_Step):
    """The Monday of the week that contains a time."""

    type = Date()
    postgresql = "CAST(date_trunc('week', {0} AT TIME ZONE 'UTC') AS DATE)"
    sqlite = "date({0}, '-6 days', 'weekday 1')"


class _WeekAfter(_Step):
    type = Date()
    postgresql = "({0} + 7)"
    sqlite = "date({0}, '+7 days')"


@compiles(_Step)
def _compile(step: _Step, compiler: SQLCompiler, **options: Any) -> str:
    template = step.sqlite if compiler.dialect.name == "sqlite" else step.postgresql
    return template.format(compiler.process(step.clauses, **options))


metadata = MetaData()

#: One row for each event. `reason` is NULL for event types without a reason. Only the log stores the operator's name.
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

#: One row for each counter that has an event: the sum of its events' amounts, and their number.
counters = Table(
    "counters",
    metadata,
    Column("counter_id", String(64), primary_key=True),
    Column("value", Total, nullable=False),
    Column("version", BigInteger, nullable=False),
    CheckConstraint("typeof(value) = 'integer'", name="value_is_exact").ddl_if(dialect="sqlite"),
)


def _group_by(name: str, start: ColumnElement[Any]) -> Select[Any]:
    return select(
        events.c.counter_id,
        start.label(name),
        func.count().label("events"),
        func.sum(events.c.amount, type_=Total).label("total"),
    ).group_by(events.c.counter_id, start)


def _select_ranked() -> Select[Any]:
    rank = func.rank().over(order_by=counters.c.value.desc())
    return select(rank.label("rank"), counters.c.counter_id, counters.c.value, counters.c.version)


def _select_busiest() -> Select[Any]:
    hours = _group_by("hour", _Hour(events.c.recorded_at)).subquery("hours")
    place = func.row_number().over(partition_by=hours.c.counter_id, order_by=(hours.c.events.desc(), hours.c.hour))
    placed = select(hours, place.label("place")).subquery("placed")
    columns = (placed.c.counter_id, placed.c.hour, placed.c.events, placed.c.total)
    return select(*columns).where(placed.c.place == 1)


def _select_growth() -> Select[Any]:
    weeks = _group_by("week", _Week(events.c.recorded_at))
    week, before = weeks.subquery("this_week"), weeks.subquery("week_before")
    events_before = func.coalesce(before.c.events, 0)
    is_before = (before.c.counter_id == week.c.counter_id) & (_WeekAfter(before.c.week) == week.c.week)
    return select(
        week.c.counter_id,
        week.c.week,
        week.c.events,
        week.c.total,
        events_before.label("events_before"),
        (week.c.events - events_before).label("growth"),
        # Integer division rounds towards 0. The result is NULL if there was no event the week before.
        (100 * (week.c.events - before.c.events)).op("/")(before.c.events).label("growth_percent"),
    ).select_from(week.outerjoin(before, is_before))


def _select_running() -> Select[Any]:
    in_order = func.sum(events.c.amount, type_=Total).over(
        partition_by=events.c.counter_id, order_by=(events.c.recorded_at, events.c.event_id), rows=(None, 0)
    )
    return select(events, in_order.label("running_total"))


def _select_states() -> Select[Any]:
    steps = _group_by("since", events.c.recorded_at).subquery("steps")
    in_order: dict[str, Any] = {"partition_by": steps.c.counter_id, "order_by": steps.c.since}
    return select(
        steps.c.counter_id,
        func.sum(steps.c.total, type_=Total).over(**in_order, rows=(None, 0)).label("value"),
        func.sum(steps.c.events, type_=Total).over(**in_order, rows=(None, 0)).label("version"),
        steps.c.since,
        func.lead(steps.c.since, type_=Time).over(**in_order).label("until"),
    )


tables = (counters, events)

#: In order: counters by value, where rank 1 is the largest; the number and sum of events by counter and day, hour or
#: week, without empty ones; each counter's hour with the most events, or the first such hour; each week compared with
#: the week before; every event with the counter's value after it, ordered by time, then by id; and each state of a
#: counter with the time of its last event, inclusive, and the time of the next event, exclusive, or NULL.
views = (
    CreateView(_select_ranked(), "top_counters"),
    CreateView(_group_by("day", _Day(events.c.recorded_at)), "daily"),
    CreateView(_group_by("hour", _Hour(events.c.recorded_at)), "hourly"),
    CreateView(_group_by("week", _Week(events.c.recorded_at)), "weekly"),
    CreateView(_select_busiest(), "busiest_hour"),
    CreateView(_select_growth(), "weekly_growth"),
    CreateView(_select_running(), "running_totals"),
    CreateView(_select_states(), "value_at"),
)


def list_statements(dialect: str) -> Iterator[ExecutableDDLElement]:
    """Yield the statements that create or update the schema. Run each statement in a separate transaction, in order."""
    for table in tables:
        yield CreateTable(table, if_not_exists=True)
        for index in table.indexes:
            yield CreateIndex(index, if_not_exists=True)
    for view in views:
        if dialect == "sqlite":
            yield DropView(view.table, if_exists=True)
        yield CreateView(view.selectable, view.table.name, or_replace=dialect != "sqlite")
