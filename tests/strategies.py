"""Hypothesis strategies for events, derived from the rules of their fields."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from chalicelib.domain.events import TYPES, Event
from chalicelib.domain.rules import Integer, Pattern, Rule, Text


def values(rule: Rule) -> SearchStrategy[Any]:
    """Draw valid values of a field with this rule."""
    match rule:
        case Integer(lowest=lowest, highest=highest):
            return st.integers(lowest, highest).filter(rule.accepts)
        case Pattern(expression=expression):
            return st.from_regex(expression, fullmatch=True)
        case Text(longest=longest):
            return st.text(min_size=1, max_size=longest).filter(rule.accepts)
    raise TypeError(f"no strategy for {rule!r}")


def events() -> SearchStrategy[Event]:
    """Draw events of all types that are counted, as `upcast` returns them."""
    fields = {
        event_type: {name: values(rule) for name, rule in event_type.rules.items()}
        for event_type in TYPES.values()
        if event_type.is_projected
    }
    drawn_events = [st.builds(event_type, **drawn) for event_type, drawn in fields.items()]
    return st.one_of(drawn_events).map(lambda event: event.upcast())
