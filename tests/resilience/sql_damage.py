"""Every kind of damage to one counter in the SQL read model."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from chalicelib import event_log
from chalicelib.domain.events import Event
from chalicelib.extras.sql import read_model
from chalicelib.extras.verification import report as kinds
from testkit.builders import A_TIME_MS, an_adjustment, an_event
from tests.databases import Database

AMOUNTS = (1, 2, 4, 8)


def log_events(counter_id: str, recorded_at_ms: int = A_TIME_MS) -> list[Event]:
    """Append increments by 1, 2, 4 and 8, and an adjustment by -1."""
    events: list[Event] = [an_event(counter_id=counter_id, by=by, recorded_at_ms=recorded_at_ms) for by in AMOUNTS]
    events.append(an_adjustment(counter_id=counter_id, by=-1, recorded_at_ms=recorded_at_ms))
    for event in events:
        event_log.append(event)
    return events


def count_events(counter_id: str) -> list[Event]:
    """Append the events of `log_events` and count them."""
    events = log_events(counter_id)
    read_model.count(events)
    return events


@dataclass(frozen=True)
class Damage:
    """A change of the rows of one counter, and the number of differences of each kind that verify reports."""

    apply: Callable[[Database, list[Event]], object]
    kinds: dict[str, int]


def _where_event(event: Event) -> str:
    return f"counter_id = '{event.counter_id}' AND event_id = '{event.event_id}'"


def _where_counter(events: list[Event]) -> str:
    return f"counter_id = '{events[0].counter_id}'"


def _delete_row(database: Database, events: list[Event]) -> None:
    database.ask(f"DELETE FROM events WHERE {_where_event(events[1])}")
    database.ask(f"UPDATE counters SET value = value - 2, version = version - 1 WHERE {_where_counter(events)}")


def add_stray_row(database: Database, events: list[Event], event_id: str = "") -> None:
    """Add a row without an event in the log, and count it in the totals. Default: a new id."""
    database.ask(
        "INSERT INTO events (counter_id, event_id, type, amount, recorded_at) VALUES "
        f"('{events[0].counter_id}', '{event_id or uuid.uuid4()}', 'Incremented', 7, '2026-01-31 12:00:00.000000')"
    )
    database.ask(f"UPDATE counters SET value = value + 7, version = version + 1 WHERE {_where_counter(events)}")


def _change_amount(database: Database, events: list[Event]) -> None:
    database.ask(f"UPDATE events SET amount = 500 WHERE {_where_event(events[3])}")
    database.ask(f"UPDATE counters SET value = value + 492 WHERE {_where_counter(events)}")


#: The damages by name.
DAMAGES = {
    "an event is missing": Damage(_delete_row, {kinds.UNCOUNTED: 1}),
    "a row has no event": Damage(add_stray_row, {kinds.UNKNOWN_ROW: 1}),
    "an amount is wrong": Damage(_change_amount, {kinds.DIFFERENT_ROW: 1}),
    "a time is wrong": Damage(
        lambda database, events: database.ask(
            f"UPDATE events SET recorded_at = '2026-01-31 12:00:00.000500' WHERE {_where_event(events[0])}"
        ),
        {kinds.DIFFERENT_ROW: 1},
    ),
    "a type is wrong": Damage(
        lambda database, events: database.ask(f"UPDATE events SET type = 'Squared' WHERE {_where_event(events[0])}"),
        {kinds.DIFFERENT_ROW: 1},
    ),
    "a reason is wrong": Damage(
        lambda database, events: database.ask(f"UPDATE events SET reason = 'none' WHERE {_where_event(events[4])}"),
        {kinds.DIFFERENT_ROW: 1},
    ),
    "a reason is gone": Damage(
        lambda database, events: database.ask(f"UPDATE events SET reason = NULL WHERE {_where_event(events[4])}"),
        {kinds.DIFFERENT_ROW: 1},
    ),
    "a value is too high": Damage(
        lambda database, events: database.ask(f"UPDATE counters SET value = value + 1 WHERE {_where_counter(events)}"),
        {kinds.TOO_HIGH: 1},
    ),
    "a value is too low": Damage(
        lambda database, events: database.ask(f"UPDATE counters SET value = value - 1 WHERE {_where_counter(events)}"),
        {kinds.TOO_LOW: 1},
    ),
    "a version is wrong": Damage(
        lambda database, events: database.ask(
            f"UPDATE counters SET version = version + 1 WHERE {_where_counter(events)}"
        ),
        {kinds.WRONG_VERSION: 1},
    ),
    "the totals are gone": Damage(
        lambda database, events: database.ask(f"DELETE FROM counters WHERE {_where_counter(events)}"),
        {kinds.TOO_LOW: 1},
    ),
    "the rows are gone": Damage(
        lambda database, events: database.ask(f"DELETE FROM events WHERE {_where_counter(events)}"),
        {kinds.UNCOUNTED: 5, kinds.EMPTY: 1},
    ),
    "rows and totals are gone": Damage(
        lambda database, events: (
            database.ask(f"DELETE FROM events WHERE {_where_counter(events)}"),
            database.ask(f"DELETE FROM counters WHERE {_where_counter(events)}"),
        ),
        {kinds.UNCOUNTED: 5},
    ),
}


def find_wrong_totals(database: Database) -> set[str]:
    """Return the counters whose totals differ from their rows. One statement reads both, so they are consistent."""
    result = database.ask(
        "SELECT 'totals', counter_id, value, version FROM counters UNION ALL "
        "SELECT 'rows', counter_id, sum(amount), count(*) FROM events GROUP BY counter_id"
    )
    by_source: dict[str, dict[str, tuple[int, int]]] = {"totals": {}, "rows": {}}
    for source, name, value, version in result:
        by_source[source][name] = (int(value), version)
    totals, rows = by_source["totals"], by_source["rows"]
    return {name for name in totals.keys() | rows.keys() if totals.get(name) != rows.get(name)}
