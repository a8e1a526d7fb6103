"""Show a counter and its events, with the fields that clients cannot see."""

from typing import Any

from chalicelib import event_log, log_reader
from chalicelib.api import formats
from chalicelib.api.responses import describe_counter, describe_past
from chalicelib.domain.events import Event
from chalicelib.domain.history import EventPosition
from chalicelib.domain.rules import Time
from chalicelib.read_model import past, queries
from ops.cli.result import Outcome
from ops.maintenance import lookups

#: The id that sorts before all others in a list of events.
_LOWEST_ID = "00000000-0000-0000-0000-000000000000"


def show(counter_id: str, limit: int, at_ms: int | None = None) -> Outcome:
    """Show the counter's state and its latest `limit` counted events, newest first, now or at `at_ms`, inclusive."""
    lookups.check_counters((counter_id,))
    if at_ms is None:
        counter, before = describe_counter(queries.get_counter(counter_id)), None
        updated = f", updated at {counter['updated_at']}" if counter["updated_at"] else ""
        head = f"{counter_id} is {counter['value']} at version {counter['version']}{updated}."
    else:
        counter = describe_past(past.get_counter_at(counter_id, at_ms, None), at_ms)
        before = EventPosition(at_ms + 1, _LOWEST_ID)
        head = f"{counter_id} was {counter['value']} at version {counter['version']} at {counter['at']}."
    events = [_describe(event) for event in queries.list_events(counter_id, limit, before).events]
    return Outcome({**counter, "events": events}, [head, *map(_format, events)])


def show_event(counter_id: str, event_id: str) -> Outcome:
    """Show one event and whether it is counted, pending or purged."""
    event = event_log.get(counter_id, event_id)
    status = "counted" if queries.is_counted(event) else "purged" if log_reader.is_void(event) else "pending"
    facts = {**_describe(event), "status": status}
    return Outcome(facts, [f"{_format(facts)}: {facts['status']}"])


def _describe(event: Event) -> dict[str, Any]:
    """Return all fields of the event, with the names and formats that clients see, and its type and version."""
    fields = [(rule, getattr(event, name)) for name, rule in event.rules.items()]
    return {
        **{rule.name: formats.format_time(value) if isinstance(rule, Time) else value for rule, value in fields},
        "type": event.type_name,
        "version": event.type_version,
    }


def _format(event: dict[str, Any]) -> str:
    who = f" by {event['who']}" if "who" in event else ""
    reason = f" ({event['reason']})" if "reason" in event else ""
    return f"{event['recorded_at']} {event['event_id']} {event['type']} {event['by']:+}{who}{reason}"
