"""Describe requests and responses with JSON schemas."""

from typing import Any

from chalicelib.domain.events import COUNTER_ID, EVENT_ID, TYPES, Event
from chalicelib.domain.rules import Integer, Pattern, Rule, Text, Time
from chalicelib.extras.reports.definitions import REPORTS, Column, Kind, Report

JSON = dict[str, Any]

TEXT: JSON = {"type": "string"}
DATE_TIME: JSON = {"type": "string", "format": "date-time"}
CURSOR: JSON = {"type": ["string", "null"], "description": "The cursor of the next page; null on the last page."}

#: A time as the service renders it.
TIME: JSON = {**DATE_TIME, "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"}


def describe_object(**members: JSON) -> JSON:
    """Describe an object that has exactly these members."""
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


def describe_integer(lowest: int | None = None, highest: int | None = None) -> JSON:
    """Describe an integer within these inclusive bounds. Default: no bounds."""
    bounds = {"minimum": lowest, "maximum": highest}
    return {"type": "integer", **{name: bound for name, bound in bounds.items() if bound is not None}}


def describe_list(items: JSON) -> JSON:
    """Describe an array of these items."""
    return {"type": "array", "items": items}


def refer_to(kind: str, name: str) -> JSON:
    """Return a reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def describe_value(rule: Rule) -> JSON:
    """Describe a field of an event, as clients see it."""
    match rule:
        case Time():
            return TIME
        case Integer(lowest=lowest, highest=highest):
            return describe_integer(lowest, highest)
        case Pattern(expression=expression, format=name):
            return {"type": "string", **({"format": name} if name else {}), "pattern": f"^{expression.pattern}$"}
        case Text(longest=longest):
            return {"type": "string", "minLength": 1, "maxLength": longest}
    raise TypeError(f"describe_value has no case for {type(rule).__name__}")


def describe_fields(event_type: type[Event]) -> JSON:
    """Describe the public fields of an event type."""
    return {rule.name: describe_value(rule) for rule in event_type.rules.values() if rule.is_public}


def _describe_events(**more: JSON) -> JSON:
    """Describe an event of any type that projections count. Versions that look the same to clients share a schema."""
    schemas: list[JSON] = []
    for event_type in (each for each in TYPES.values() if each.is_projected):
        schema = describe_object(**describe_fields(event_type), type={"const": event_type.type_name}, **more)
        schemas += [schema] if schema not in schemas else []
    return {"anyOf": schemas}


#: The schema of each kind of column of a report.
_CELLS: dict[Kind, JSON] = {
    Kind.COUNTER_ID: describe_value(COUNTER_ID),
    Kind.EVENT_ID: describe_value(EVENT_ID),
    Kind.TEXT: TEXT,
    Kind.INTEGER: describe_integer(),
    Kind.TIME: TIME,
    Kind.DAY: {"type": "string", "format": "date"},
}


def _describe_cell(column: Column) -> JSON:
    schema = _CELLS[column.kind]
    return {"anyOf": [schema, {"type": "null"}]} if column.nullable else schema


def _describe_report(report: Report) -> JSON:
    """Describe a page of a report."""
    row = describe_object(**{column.name: _describe_cell(column) for column in report.columns})
    return describe_object(report={"const": report.name}, rows=describe_list(row), next_cursor=CURSOR)


#: The components of the document.
SCHEMAS: JSON = {
    "Counter": describe_object(
        counter_id=describe_value(COUNTER_ID),
        value=describe_integer() | {"description": "The sum of the events counted so far."},
        version=describe_integer(0) | {"description": "The number of events counted so far."},
        updated_at={"anyOf": [TIME, {"type": "null"}]},
    ),
    "PastCounter": describe_object(
        counter_id=describe_value(COUNTER_ID),
        value=describe_integer() | {"description": "The sum of the events recorded at or before `at`."},
        version=describe_integer(0) | {"description": "The number of these events."},
        at=TIME,
    ),
    "Event": _describe_events(),
    "EventAndStatus": _describe_events(status={"enum": ["pending", "counted"]}),
    "Report": {"oneOf": [_describe_report(report) for report in REPORTS.values()]},
    "Point": describe_object(
        start=TIME,
        increments=describe_integer(1) | {"description": "The number of events, including adjustments."},
        sum=describe_integer(),
    ),
    "Service": describe_object(
        service=TEXT, description=TEXT, version=TEXT, links={"type": "object", "additionalProperties": TEXT}
    ),
}

UUID_OF_ANY_CASE: JSON = describe_value(EVENT_ID) | {"pattern": "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"}
