"""Define the examples that the service renders for the document."""

from chalicelib.api import requests
from chalicelib.command_handlers import choose_event_id
from chalicelib.domain.commands import Command, Increment
from chalicelib.domain.counter import Counter
from chalicelib.domain.events import Adjusted, Event


def decide(command: Command) -> Event:
    """Return the event that the service would record for this command at `A_TIME_MS`."""
    return command.decide(choose_event_id(command, A_TIME_MS), A_TIME_MS)


A_TIME_MS = 1_700_000_000_123
A_COUNTER = Counter("clicks", value=21, version=16, updated_at_ms=A_TIME_MS)
AN_INCREMENT = Increment("clicks", by=5, idempotency_key="my first click", count_at_once=True)
INCREMENTED = decide(AN_INCREMENT)
ADJUSTED = Adjusted("clicks", "2f1c7c0e-93a7-5a53-8b43-6d2f2a1f9c10", -3, A_TIME_MS, "counted twice", "ann")

#: A request without headers or parameters.
A_REQUEST = requests.Request()
