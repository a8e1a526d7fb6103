"""Test everything that derives from the declaration of an event type."""

import json
import os
import subprocess
import sys
from dataclasses import make_dataclass
from pathlib import Path
from typing import Annotated

import pytest

from chalicelib import codec
from chalicelib.domain import events
from chalicelib.domain.events import TYPES, Event, Incremented
from chalicelib.domain.rules import Text
from chalicelib.extras.sql import schema

PROJECT = Path(__file__).parent.parent.parent

#: A program that declares another type before other modules load, and prints what they derive from it.
PROGRAM = """
import json
from dataclasses import dataclass
from typing import Annotated

from chalicelib.domain.events import Event, register
from chalicelib.domain.rules import Integer, Text, Time

@register("Moved")
@dataclass(frozen=True, slots=True)
class MovedWithoutFloor(Event):
    by: Annotated[int, Integer(-5, 5, nonzero=True)]
    seen_at_ms: Annotated[int, Time(0, 9_000, name="seen_at")]
    place: Annotated[str, Text(7)]

    def upcast(self):
        return Moved(self.counter_id, self.event_id, self.by, self.recorded_at_ms, self.seen_at_ms, self.place, 4)

@register("Moved", version=2)
@dataclass(frozen=True, slots=True)
class Moved(Event):
    by: Annotated[int, Integer(-5, 5, nonzero=True)]
    seen_at_ms: Annotated[int, Time(0, 9_000, name="seen_at")]
    place: Annotated[str, Text(7)]
    floor: Annotated[int, Integer(0, 9, name="level", is_public=False, is_compared=False)]

@register("Moved", version=3)
@dataclass(frozen=True, slots=True)
class Narrower(Moved):
    by: Annotated[int, Integer(1, 5)]

from hypothesis import Phase, find, settings
from jsonschema import Draft202012Validator

from chalicelib import codec
from chalicelib.api import responses
from chalicelib.aws.tables import EventItem
from chalicelib.domain.events import have_same_content
from chalicelib.errors import NotUnderstoodError
from chalicelib.extras.sql.read_model import make_row
from ops.openapi import document
from testkit.builders import stream_record
from tests.strategies import events

moved = Moved("clicks", "01890a5d-ac96-774b-bcce-b302099a8057", -3, 1_700_000_000_123, 8_007, "hall", 4)
(message,) = codec.encode_messages([moved])
decoded = [codec.decode_stream_record(stream_record(moved)), *codec.decode_message(message.body)[0]]
older = MovedWithoutFloor("clicks", moved.event_id, -3, 1_700_000_000_123, 8_007, "hall")
line = codec.encode_line(older)
upcast = [
    codec.decode_stream_record(stream_record(older)),
    *codec.decode_message(f'{{"version":1,"events":[{line}]}}')[0],
    codec.decode_line(line.encode()),
]
item = EventItem(partition="clicks", **codec.encode_event(moved)).to_dynamodb_dict()
refused = []
for change in ({"by": 0}, {"seen_at": 9_001}, {"place": " "}, {"level": None}):
    try:
        codec.decode_event("clicks", {**codec.encode_event(moved), **change})
    except NotUnderstoodError as error:
        refused.append(error.reason)
schemas = document.generate()["components"]["schemas"]
find(
    events(),
    lambda event: isinstance(event, Moved) and event.floor == 9,
    settings=settings(database=None, phases=[Phase.generate], max_examples=10_000),  # shrinking takes half a minute
)
print(json.dumps({
    "is_decoded": decoded == [moved, moved],
    "is_upcast": upcast == [moved, moved, moved],
    "item": item,
    "refused": refused,
    "body": responses.render_event(moved, counted=True).body,
    "schema": schemas["Event"]["anyOf"][-2],
    "is_valid": Draft202012Validator(schemas["EventAndStatus"]).is_valid(
        responses.render_event(Moved("clicks", moved.event_id, 3, 5, 6, "hall", 4), counted=True).body
    ),
    "reason": make_row(moved).reason,
    "is_same": have_same_content(moved, Moved("clicks", moved.event_id, -3, 5, 8_007, "hall", 0)),
    "is_other": have_same_content(moved, Moved("clicks", moved.event_id, -3, 5, 8_006, "hall", 4)),
}))
"""


def test_new_type_is_supported_everywhere():
    """Codec, log attributes, public body, OpenAPI schema, SQL row and strategy derive from the type's declaration."""
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=PROJECT,
        env={**os.environ, "STAGE": "dev"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    derived = json.loads(finished.stdout)
    assert (derived["is_decoded"], derived["is_upcast"]) == (True, True)
    assert derived["item"] == {
        "partition": {"S": "clicks"},
        "type": {"S": "Moved"},
        "version": {"N": "2"},
        "event_id": {"S": "01890a5d-ac96-774b-bcce-b302099a8057"},
        "by": {"N": "-3"},
        "recorded_at": {"N": "1700000000123"},
        "seen_at": {"N": "8007"},
        "place": {"S": "hall"},
        "level": {"N": "4"},
    }
    assert derived["refused"] == [
        "by must be an integer from -5 to 5 and not 0, got 0",
        "seen_at must be an integer from 0 to 9000, got 9001",
        "place must be 1 to 7 printable characters, not all blank, got ' '",
        "level must be an integer from 0 to 9, got None",
    ]
    assert derived["body"] == {
        "counter_id": "clicks",
        "event_id": "01890a5d-ac96-774b-bcce-b302099a8057",
        "by": -3,
        "recorded_at": "2023-11-14T22:13:20.123Z",
        "seen_at": "1970-01-01T00:00:08.007Z",
        "place": "hall",
        "type": "Moved",
        "status": "counted",
    }
    properties = derived["schema"]["properties"]
    assert set(properties) == set(derived["body"]) - {"status"}
    assert (properties["type"], properties["by"]) == (
        {"const": "Moved"},
        {"type": "integer", "minimum": -5, "maximum": 5},
    )
    assert properties["place"] == {"type": "string", "minLength": 1, "maxLength": 7}
    assert properties["seen_at"] == properties["recorded_at"]
    assert derived["is_valid"], "a value of two versions of a type must be valid"
    assert derived["reason"] is None
    assert (derived["is_same"], derived["is_other"]) == (True, False)


def test_type_registered_twice_is_refused():
    with pytest.raises(ValueError, match="the event type Incremented already has a version 1"):
        events.register("Incremented")(type("Other", (Incremented,), {}))

    assert TYPES["Incremented", 1] is Incremented


@pytest.mark.parametrize(
    ("annotation", "error"),
    [
        (str, "each field of the event type Odd needs a rule"),
        (Annotated[str, Text(9, name="by")], "have the same name"),
    ],
)
def test_type_whose_fields_could_not_be_stored_is_refused(monkeypatch, annotation, error):
    monkeypatch.setattr(events, "TYPES", {})
    odd = make_dataclass("Odd", [("note", annotation)], bases=(Event,), frozen=True, slots=True)

    with pytest.raises((TypeError, ValueError), match=error):
        events.register("Odd")(odd)


def test_types_agree_on_the_fields_that_they_share():
    """Fields with the same name have the same type in the log, and no field hides an attribute of every event."""
    kinds = {(rule.name, rule.value_type) for event_type in TYPES.values() for rule in event_type.rules.values()}

    assert len(kinds) == len(dict(kinds))
    assert not dict(kinds).keys() & {"partition", "type", "version", "likely_counted", "status"}


@pytest.mark.parametrize("event_type", TYPES.values())
def test_type_fits_into_a_message_and_the_sql_read_model(event_type):
    """A message that is not full has space for another event of any type. A character takes up to 12 bytes in JSON."""
    texts = [rule.longest for rule in event_type.rules.values() if isinstance(rule, Text)]

    assert 12 * sum(texts) + 1024 < 192 * 1024 - codec.MESSAGE_BYTES
    assert len(event_type.type_name) <= schema.events.c.type.type.length  # type: ignore[attr-defined]
