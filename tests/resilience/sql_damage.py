"""Every kind of damage to one counter in the SQL read model."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib import event_log
from chalicelib.extras.sql import read_model
from chalicelib.extras.verification import report as kinds
from tests.builders import A_TIME_MS, an_adjustment, an_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.domain.events import Event
    from tests.databases import Database

AMOUNTS = (1, 2, 4, 8)


def logged(counter_id: str, recorded_at_ms: int = A_TIME_MS) -> list[Event]:
    """Increments by 1, 2, 4 and 8, and an adjustment by -1, which are in the log."""
    events: list[Event] = [an_event(counter_id=counter_id, by=by, recorded_at_ms=recorded_at_ms) for by in AMOUNTS]
    events.append(an_adjustment(counter_id=counter_id, by=-1, recorded_at_ms=recorded_at_ms))
    for event in events:
        event_log.append(event)
    return events


def counted(counter_id: str) -> list[Event]:
    """The same, and counted."""
    events = logged(counter_id)
    read_model.count(events)
    return events


@dataclass(frozen=True)
class Damage:
    """What is done to the database where events of a counter are counted, and the differences that it makes."""

    does: Callable[[Database, list[Event]], object]
    kinds: dict[str, int]


def _row(event: Event) -> str:
    return f"counter_id = '{event.counter_id}' AND event_id = '{event.event_id}'"


def _of(events: list[Event]) -> str:
    return f"counter_id = '{events[0].counter_id}'"


def _loses_a_row(database: Database, events: list[Event]) -> None:
    database.ask(f"DELETE FROM events WHERE {_row(events[1])}")
    database.ask(f"UPDATE counters SET value = value - 2, version = version - 1 WHERE {_of(events)}")


def gets_a_row(database: Database, events: list[Event], event_id: str = "") -> None:
    database.ask(
        "INSERT INTO events (counter_id, event_id, type, amount, recorded_at) VALUES "
        f"('{events[0].counter_id}', '{event_id or uuid.uuid4()}', 'Incremented', 7, '2026-01-31 12:00:00.000000')"
    )
    database.ask(f"UPDATE counters SET value = value + 7, version = version + 1 WHERE {_of(events)}")


def _has_another_amount(database: Database, events: list[Event]) -> None:
    database.ask(f"UPDATE events SET amount = 500 WHERE {_row(events[3])}")
    database.ask(f"UPDATE counters SET value = value + 492 WHERE {_of(events)}")


#: By what a person would call it.
DAMAGES = {
    "an event is missing": Damage(_loses_a_row, {kinds.UNCOUNTED: 1}),
    "a row has no event": Damage(gets_a_row, {kinds.UNKNOWN_ROW: 1}),
    "an amount is another": Damage(_has_another_amount, {kinds.DIFFERENT_ROW: 1}),
    "a time is another": Damage(
        lambda database, events: database.ask(
            f"UPDATE events SET recorded_at = '2026-01-31 12:00:00.000500' WHERE {_row(events[0])}"
        ),
        {kinds.DIFFERENT_ROW: 1},
    ),
    "a type is another": Damage(
        lambda database, events: database.ask(f"UPDATE events SET type = 'Squared' WHERE {_row(events[0])}"),
        {kinds.DIFFERENT_ROW: 1},
    ),
    "a reason is another": Damage(
        lambda database, events: database.ask(f"UPDATE events SET reason = 'none' WHERE {_row(events[4])}"),
        {kinds.DIFFERENT_ROW: 1},
    ),
    "a reason is gone": Damage(
        lambda database, events: database.ask(f"UPDATE events SET reason = NULL WHERE {_row(events[4])}"),
        {kinds.DIFFERENT_ROW: 1},
    ),
    "a value is too high": Damage(
        lambda database, events: database.ask(f"UPDATE counters SET value = value + 1 WHERE {_of(events)}"),
        {kinds.TOO_HIGH: 1},
    ),
    "a value is too low": Damage(
        lambda database, events: database.ask(f"UPDATE counters SET value = value - 1 WHERE {_of(events)}"),
        {kinds.TOO_LOW: 1},
    ),
    "a version is wrong": Damage(
        lambda database, events: database.ask(f"UPDATE counters SET version = version + 1 WHERE {_of(events)}"),
        {kinds.WRONG_VERSION: 1},
    ),
    "the totals are gone": Damage(
        lambda database, events: database.ask(f"DELETE FROM counters WHERE {_of(events)}"), {kinds.TOO_LOW: 1}
    ),
    "the rows are gone": Damage(
        lambda database, events: database.ask(f"DELETE FROM events WHERE {_of(events)}"),
        {kinds.UNCOUNTED: 5, kinds.EMPTY: 1},
    ),
    "all is gone": Damage(
        lambda database, events: (
            database.ask(f"DELETE FROM events WHERE {_of(events)}"),
            database.ask(f"DELETE FROM counters WHERE {_of(events)}"),
        ),
        {kinds.UNCOUNTED: 5},
    ),
}


def disagreeing(database: Database) -> set[str]:
    """The counters whose totals are not those of their rows, at one moment, as whoever asks sees it."""
    seen = database.ask(
        "SELECT 'totals', counter_id, value, version FROM counters UNION ALL "
        "SELECT 'rows', counter_id, sum(amount), count(*) FROM events GROUP BY counter_id"
    )
    by_source: dict[str, dict[str, tuple[int, int]]] = {"totals": {}, "rows": {}}
    for source, name, value, version in seen:
        by_source[source][name] = (int(value), version)
    totals, rows = by_source["totals"], by_source["rows"]
    return {name for name in totals.keys() | rows.keys() if totals.get(name) != rows.get(name)}
