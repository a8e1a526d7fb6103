"""
Test a damaged read model: each kind of damage raises a named error, and affects only its own counter.

The tests of `verify` and `rebuild` show that damage is reported and repaired.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from chalicelib import settings
from chalicelib.domain.entries import encode_entry, encode_page, make_entry
from chalicelib.errors import DamagedReadModelError, PartlyCountedError
from testkit.builders import an_event, message_body

pytestmark = pytest.mark.sample(2)

A_TIME_MS = 1_700_000_000_000

#: The state that is damaged: 150 events, some of them archived, some recent.
EVENTS = 150


@pytest.fixture
def counted(pipeline):
    """Append events and count them, and return them, oldest first. An archive page covers all but the newest events."""
    events = [an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS + n) for n in range(EVENTS)]
    pipeline.log(events)
    pipeline.count(*events[:-10])
    pipeline.count(*events[-10:])
    pipeline.new_records()
    return events


@dataclass
class Stored:
    """One item, to be changed behind the application's back."""

    client: Any
    table: str
    key: dict[str, Any]

    @property
    def item(self):
        found = self.client.get_item(TableName=self.table, Key=serialized(self.key), ConsistentRead=True)["Item"]
        return {name: TypeDeserializer().deserialize(value) for name, value in found.items()}

    def change(self, **attributes):
        """Set attributes, and remove those that are None."""
        changed = {name: value for name, value in (self.item | attributes).items() if value is not None}
        self.remove()
        self.client.put_item(TableName=self.table, Item=serialized(changed))
        self.key = {name: changed[name] for name in self.key}

    def remove(self):
        self.client.delete_item(TableName=self.table, Key=serialized(self.key))


def serialized(item):
    return {name: TypeSerializer().serialize(value) for name, value in item.items()}


@pytest.fixture
def counter_item(engine, pipeline, counted):
    """Return the counter's item."""
    key = {"counter_id": pipeline.counter_id, "part": 0}
    stored = Stored(engine.client("dynamodb"), settings.current().counters_table, key)
    yield stored
    stored.remove()  # or the list of counters would be unavailable to the next test


@pytest.fixture
def page(engine, counted):
    """Return the archive's only page."""
    key = {"partition": counted[0].counter_id, "end": counted[-11].recorded_at_ms}
    return Stored(engine.client("dynamodb"), settings.current().archive_table, key)


def damage_page(page, damage):
    """Remove the page, or change it."""
    attributes = IN_PAGE[damage]()
    if attributes:
        page.change(**attributes)
    else:
        page.remove()


#: The changes that damage an item: attributes that are set, or removed if they are None.
Damage = Callable[[], dict[str, Any]]

#: Two event ids in ascending order.
IDS = ["10000000-0000-7000-8000-000000000000", "20000000-0000-7000-8000-000000000000"]


def an_entry(**parts):
    return encode_entry(make_entry(an_event(recorded_at_ms=A_TIME_MS + 10**6, **parts)))


#: The counter's item with damage in `recent` only: its totals can be read.
IN_RECENT: dict[str, Damage] = {
    "an entry that cannot be decoded": lambda: {"recent": {an_entry()[:-1] + b"\x00"}},
    "an entry that is too short": lambda: {"recent": {b"short"}},
    "an entry that is too long": lambda: {"recent": {an_entry() + bytes(range(1, 9))}},
    "an entry in the archive's time": lambda: {
        "recent": {encode_entry(make_entry(an_event(recorded_at_ms=A_TIME_MS)))}
    },
    "a list": lambda: {"recent": [1, 2]},
    "a text": lambda: {"recent": "entries"},
    "texts": lambda: {"recent": {"one", "two"}},
    "archived_until is a text": lambda: {"archived_until": "yesterday"},
    "no revision": lambda: {"revision": None},
    "revision is a text": lambda: {"revision": "seven"},
    "revision beyond 64 bits": lambda: {"revision": 10**30},
    "amended below zero": lambda: {"amended": -1},
}

#: The counter's item with damage in its totals, which every query needs.
IN_TOTALS: dict[str, Damage] = {
    "value is a text": lambda: {"value": "many"},
    "no value": lambda: {"value": None},
    "version is a text": lambda: {"version": "many"},
    "version is no integer": lambda: {"version": "1.5"},
    "updated_at is a text": lambda: {"updated_at": "yesterday"},
    "updated_at is beyond the year 9999": lambda: {"updated_at": 10**17},
    "value of 38 digits": lambda: {"value": 10**37 + 1},
    "version below zero": lambda: {"version": -1},
}

#: The damaged page. It is removed if there are no changes.
IN_PAGE: dict[str, Damage] = {
    "missing": dict,
    "entries that cannot be decoded": lambda: {"entries": b"\x01\xff"},
    "of an unknown format": lambda: {"entries": b"\x09"},
    "entries are a text": lambda: {"entries": "entries"},
    "no entries": lambda: {"entries": None},
    "no revision": lambda: {"revision": None},
    "revision is a text": lambda: {"revision": "seven"},
    "revision beyond 64 bits": lambda: {"revision": 10**30},
    "no start": lambda: {"start": None},
    "start after its end": lambda: {"start": A_TIME_MS + 10**8},
    "an entry later than its end": lambda: {
        "entries": encode_page([make_entry(an_event(recorded_at_ms=A_TIME_MS + 10**7))])
    },
    "not sorted": lambda: {
        "entries": encode_page(
            [make_entry(an_event(recorded_at_ms=A_TIME_MS, event_id=event_id)) for event_id in reversed(IDS)]
        )
    },
}

#: The end of a page that the application cannot write: a number that is not a time.
HALF_A_MS = "1700000000139.5"


def assert_unavailable(*answers):
    """Check for a problem document that asks to retry and does not mention the read model."""
    for answer in answers:
        assert (answer.status, answer.headers["Content-Type"]) == (503, "application/problem+json")
        assert answer.headers["Retry-After"]
        assert "archive" not in str(answer.body)


def read_late(pipeline, counted):
    """Deliver an event that is counted in the archive's page, as SQS does when it delivers it again."""
    pipeline.project([message_body(counted[5])], received=2)


@pytest.mark.sample(3)
@pytest.mark.parametrize("damage", IN_RECENT | IN_TOTALS)
def test_damaged_counter_fails_only_its_own_messages(pipeline, counter_item, answers_by_message, damage):
    counter_item.change(**(IN_RECENT | IN_TOTALS)[damage]())
    other = an_event(counter_id=f"{pipeline.counter_id}.other")
    own = message_body(an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS + 5000))

    again = pipeline.project([own, message_body(other)], received=2)

    assert again == [own]
    pipeline.counter_id = other.counter_id
    assert (pipeline.value, pipeline.parked()) == (1, [])


@pytest.mark.parametrize("damage", IN_RECENT | IN_TOTALS)
def test_damaged_counter_is_named_in_the_error_when_read_first(pipeline, counter_item, damage):
    counter_item.change(**(IN_RECENT | IN_TOTALS)[damage]())
    body = message_body(an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS + 5000))

    with pytest.raises(DamagedReadModelError, match=f"counter {pipeline.counter_id} is damaged"):
        pipeline.project([body], received=2)


@pytest.mark.parametrize("damage", ["a list", "a text", "texts", "value is a text", "version is a text"])
def test_counter_with_attributes_of_other_types_is_not_changed(pipeline, counter_item, damage):
    """DynamoDB refuses to add to such attributes. This is damage and not an outage."""
    counter_item.change(**(IN_RECENT | IN_TOTALS)[damage]())
    before = counter_item.item

    with pytest.raises(DamagedReadModelError):
        pipeline.count(an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS + 5000))

    assert counter_item.item == before


def test_counter_item_over_400_kb_is_reported_as_damage(pipeline, counter_item):
    """An attribute that only an operator can have added leaves no room for another entry."""
    for size in range(400 * 1024, 0, -16):  # an entry has 23 bytes
        with contextlib.suppress(ClientError):
            item = serialized(counter_item.item | {"filler": "x" * size})
            counter_item.client.put_item(TableName=counter_item.table, Item=item)
            break
    before = counter_item.item

    with pytest.raises(DamagedReadModelError):
        pipeline.count(an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS + 5000))

    assert counter_item.item == before


@pytest.mark.parametrize("damage", IN_RECENT)
def test_a_counter_with_damaged_entries_still_has_its_value(pipeline, counter_item, damage):
    counter_item.change(**IN_RECENT[damage]())

    assert (pipeline.counter().status, pipeline.value, pipeline.badge().status) == (200, EVENTS, 200)


@pytest.mark.parametrize("damage", IN_RECENT)
def test_queries_of_damaged_entries_are_503(pipeline, counted, counter_item, damage):
    counter_item.change(**IN_RECENT[damage]())

    assert_unavailable(pipeline.events(), pipeline.history(), pipeline.event(counted[-1].event_id))


@pytest.mark.parametrize("damage", IN_TOTALS)
def test_queries_of_damaged_totals_are_503(pipeline, counter_item, damage):
    counter_item.change(**IN_TOTALS[damage]())

    assert_unavailable(pipeline.counter(), pipeline.badge(), pipeline.send("GET", "/counters"))


@pytest.mark.parametrize("damage", IN_RECENT | IN_TOTALS)
def test_commands_of_a_damaged_counter_are_recorded_or_503(pipeline, counter_item, damage):
    counter_item.change(**(IN_RECENT | IN_TOTALS)[damage]())

    plain, swap = pipeline.increment(), pipeline.increment(If_Match=f'"{EVENTS}"')

    assert plain.status == 202
    assert_unavailable(swap)
    assert len(pipeline.new_records()) == 1


@pytest.mark.parametrize("damage", IN_PAGE)
def test_damaged_page_fails_only_its_own_messages(pipeline, counted, page, answers_by_message, damage):
    damage_page(page, damage)
    other = an_event(counter_id=f"{pipeline.counter_id}.other")
    late = message_body(an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS))

    again = pipeline.project([late, message_body(other)])

    assert again == [late]
    assert pipeline.value == EVENTS
    pipeline.counter_id = other.counter_id
    assert pipeline.value == 1


@pytest.mark.parametrize("damage", IN_PAGE)
def test_damaged_page_is_named_in_the_error(pipeline, counted, page, damage):
    damage_page(page, damage)

    with pytest.raises(DamagedReadModelError, match="archive page"):
        read_late(pipeline, counted)


@pytest.mark.parametrize("damage", IN_PAGE)
def test_events_later_than_a_damaged_page_are_counted(pipeline, page, damage):
    damage_page(page, damage)

    pipeline.count(an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS + 5000))

    assert pipeline.value == EVENTS + 1


@pytest.mark.parametrize("damage", IN_PAGE)
def test_the_status_of_an_event_in_a_damaged_page_is_503(pipeline, counted, page, damage):
    damage_page(page, damage)

    assert_unavailable(pipeline.event(counted[5].event_id))
    assert pipeline.event(counted[-1].event_id).body["status"] == "counted"


@pytest.mark.parametrize("damage", [damage for damage in IN_PAGE if damage != "missing"])
def test_queries_that_read_a_damaged_page_are_503(pipeline, page, damage):
    damage_page(page, damage)
    around = {"from_": "2023-11-14T22:13:00Z", "to": "2023-11-14T22:14:00Z"}

    assert_unavailable(pipeline.events(limit=100), pipeline.history(**around))


def test_page_whose_end_is_not_a_time_is_damaged(pipeline, counted, page):
    page.change(end=Decimal(HALF_A_MS))

    with pytest.raises(DamagedReadModelError, match=f"archive page {HALF_A_MS}"):
        read_late(pipeline, counted)
    assert_unavailable(pipeline.events(limit=100))


def test_damaged_counter_of_a_batch_is_named_in_the_error(pipeline, counter_item):
    counter_item.change(recent={b"short"})
    own = an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_TIME_MS + 5000)
    other = an_event(counter_id=f"{pipeline.counter_id}.other")

    with pytest.raises(PartlyCountedError) as raised:
        pipeline.project([message_body(own), message_body(other)], received=2)

    assert raised.value.uncounted == {pipeline.counter_id}
    assert raised.value.new == {(other.counter_id, other.event_id)}
