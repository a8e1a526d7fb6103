"""Stored and sent formats: round trips, and the refusal of malformed data."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import codec
from chalicelib.domain.events import LARGEST_AMOUNT, LATEST_MS, Incremented
from chalicelib.errors import NotUnderstoodError
from testkit.builders import an_adjustment, an_event, an_event_by_caller, message_body, stream_record
from tests.strategies import events

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(events())
def test_event_from_the_log_is_decoded_as_it_was(event):
    assert codec.decode_event(event.counter_id, codec.encode_event(event)) == event


@given(events())
def test_event_from_the_stream_is_decoded_as_it_was(event):
    assert codec.decode_stream_record(stream_record(event)) == event


@given(st.lists(events(), max_size=50))
def test_events_from_messages_are_decoded_in_order_as_they_were(events):
    bodies = list(codec.encode_bodies(events))

    returned = [codec.decode_message(body) for body in bodies]

    assert [event for understood, _ in returned for event in understood] == events
    assert all(reasons == [] for _, reasons in returned)


@given(st.lists(events(), max_size=50))
def test_message_lists_the_ids_of_its_events(events):
    for message in codec.encode_messages(events):
        assert message.event_ids == [event.event_id for event in codec.decode_message(message.body)[0]]


def test_message_never_exceeds_the_size_limit_of_the_queue():
    events = [an_event(counter_id="x" * 64, by=LARGEST_AMOUNT, recorded_at_ms=LATEST_MS) for _ in range(3000)]

    bodies = list(codec.encode_bodies(events))

    assert len(bodies) > 1
    assert max(len(body.encode()) for body in bodies) <= 192 * 1024
    assert sum(len(codec.decode_message(body)[0]) for body in bodies) == 3000


def test_empty_list_of_events_gives_no_message():
    assert list(codec.encode_bodies([])) == []


def test_stored_names_of_an_increment_stay_the_same():
    event = Incremented("clicks", "01890a5d-ac96-774b-bcce-b302099a8057", 3, 1_700_000_000_123)

    assert codec.encode_event(event) == {
        "type": "Incremented",
        "version": 1,
        "event_id": "01890a5d-ac96-774b-bcce-b302099a8057",
        "by": 3,
        "recorded_at": 1_700_000_000_123,
    }
    assert list(codec.encode_bodies([event])) == [
        '{"version":1,"events":[{"counter_id":"clicks","type":"Incremented","version":1,'
        '"event_id":"01890a5d-ac96-774b-bcce-b302099a8057","by":3,"recorded_at":1700000000123}]}'
    ]


def test_stored_names_of_an_increment_by_a_caller_stay_the_same():
    event = an_event_by_caller(event_id="01890a5d-ac96-774b-bcce-b302099a8057", by=3, who="jwt ann")

    assert codec.encode_event(event) == {
        "type": "Incremented",
        "version": 2,
        "event_id": "01890a5d-ac96-774b-bcce-b302099a8057",
        "by": 3,
        "recorded_at": 1_700_000_000_123,
        "who": "jwt ann",
    }
    assert list(codec.encode_bodies([event])) == [
        '{"version":1,"events":[{"counter_id":"clicks","type":"Incremented","version":2,'
        '"event_id":"01890a5d-ac96-774b-bcce-b302099a8057","by":3,"recorded_at":1700000000123,"who":"jwt ann"}]}'
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("by", 0), ("by", -1), ("version", 3), *(("who", value) for value in (None, "", " ", "x" * 301, "a\nb", 7))],
)
def test_increment_by_a_caller_with_a_wrong_field_is_malformed(name, value):
    event = an_event_by_caller()

    with pytest.raises(NotUnderstoodError):
        codec.decode_event(event.counter_id, {**codec.encode_event(event), name: value})


def test_older_code_parks_an_increment_by_a_caller(monkeypatch):
    """After newer code is deployed, an operator sends the event back, and it is counted."""
    event = an_event_by_caller()
    monkeypatch.delitem(codec._DECODERS, ("Incremented", 2))

    assert codec.decode_message(message_body(event)) == ([], ["unknown event type or version: 'Incremented' 2"])


def test_stored_names_of_an_adjustment_stay_the_same():
    event = an_adjustment(event_id="01890a5d-ac96-774b-bcce-b302099a8057", by=-3, reason="a test", who="ann")

    assert codec.encode_event(event) == {
        "type": "Adjusted",
        "version": 1,
        "event_id": "01890a5d-ac96-774b-bcce-b302099a8057",
        "by": -3,
        "recorded_at": 1_700_000_000_123,
        "reason": "a test",
        "who": "ann",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("by", 0),
        ("by", LARGEST_AMOUNT + 1),
        ("by", -LARGEST_AMOUNT - 1),
        ("by", "1"),
        ("by", None),
        ("by", True),
        ("version", 2),
        *((name, value) for name in ("reason", "who") for value in (None, "", "  ", "x" * 201, "a\nb", "a\u202eb", 7)),
    ],
)
def test_adjustment_with_a_wrong_field_is_malformed(name, value):
    event = an_adjustment()

    with pytest.raises(NotUnderstoodError):
        codec.decode_event(event.counter_id, {**codec.encode_event(event), name: value})


def test_message_with_the_longest_texts_never_exceeds_the_size_limit():
    events = [an_adjustment(reason="\U0001f600" * 200, who="\U0001f600" * 200) for _ in range(100)]

    bodies = list(codec.encode_bodies(events))

    assert max(len(body.encode()) for body in bodies) <= 192 * 1024
    assert sum(len(codec.decode_message(body)[0]) for body in bodies) == 100


def test_event_of_a_part_is_decoded_with_the_id_of_its_counter():
    event = an_event()
    record = stream_record(event)
    record["dynamodb"]["NewImage"]["partition"] = {"S": "clicks#3"}

    assert codec.decode_stream_record(record) == event


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("type", {"S": "Reset"}),
        ("type", None),
        ("version", {"N": "2"}),
        ("version", {"N": "3"}),
        ("version", {"S": "1"}),
        ("event_id", {"S": "no-uuid"}),
        ("event_id", {"S": "01890A5D-AC96-774B-BCCE-B302099A8057"}),
        ("by", {"N": "0"}),
        ("by", {"N": "-1"}),
        ("by", {"N": "1.5"}),
        ("by", {"N": " 1"}),
        ("by", {"N": "1_0"}),
        ("by", {"N": "٣"}),
        ("by", {"N": str(LARGEST_AMOUNT + 1)}),
        ("by", {"S": "1"}),
        ("by", {"BOOL": True}),
        ("by", {"N": "1", "S": "1"}),
        ("recorded_at", {"N": "-1"}),
        ("recorded_at", None),
        ("partition", {"S": "a b"}),
        ("partition", {"N": "1"}),
        ("partition", None),
    ],
)
def test_stream_record_with_a_wrong_field_is_malformed(name, value):
    record = stream_record(an_event())
    image = record["dynamodb"]["NewImage"]
    if value is None:
        del image[name]
    else:
        image[name] = value

    with pytest.raises(NotUnderstoodError):
        codec.decode_stream_record(record)


@pytest.mark.parametrize("suffix", ["#", "#64", "#-1", "#01", "#x", "#1#2", "#\u0663", "# 1"])
def test_partition_with_an_unknown_suffix_belongs_to_no_counter(suffix):
    record = stream_record(an_event())
    record["dynamodb"]["NewImage"]["partition"] = {"S": f"clicks{suffix}"}

    with pytest.raises(NotUnderstoodError, match="counter_id must be 1 to 64 characters of"):
        codec.decode_stream_record(record)


@pytest.mark.parametrize(
    "keys", [{"partition": {"S": "visits"}}, {"no": {"S": "such"}}, {"no": None}, ["partition"], None]
)
def test_stream_record_whose_keys_differ_from_its_image_is_malformed(keys):
    record = stream_record(an_event())
    record["dynamodb"]["Keys"] = keys

    with pytest.raises(NotUnderstoodError, match="the record's keys differ from those of its image"):
        codec.decode_stream_record(record)


def test_deeply_nested_malformed_value_is_shown_shortened():
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]

    with pytest.raises(NotUnderstoodError) as raised:
        codec.decode_event("clicks", {"type": deep, "version": 1})

    assert raised.value.reason == "unknown event type or version: [[[[[[[...]]]]]]] 1"


@pytest.mark.parametrize("name", ["MODIFY", "REMOVE"])
def test_record_of_a_change_of_the_append_only_log_is_malformed(name):
    record = stream_record(an_event(), eventName=name)

    with pytest.raises(NotUnderstoodError, match=f"append-only, got {name}"):
        codec.decode_stream_record(record)


@given(any_json)
def test_arbitrary_stream_record_is_malformed(thing):
    for record in (thing, {"eventName": "INSERT", "dynamodb": thing}, stream_record(an_event(), dynamodb=thing)):
        with pytest.raises(NotUnderstoodError):
            codec.decode_stream_record(record)


@given(any_json)
def test_message_gives_its_good_events_and_reasons_for_the_others(thing):
    good = an_event()
    (body,) = codec.encode_bodies([good])
    message = json.loads(body)
    message["events"].insert(0, thing)

    events, reasons = codec.decode_message(json.dumps(message))

    assert events == [good]
    assert len(reasons) == 1


@pytest.mark.parametrize(
    "body",
    [
        None,
        7,
        "",
        "{",
        "null",
        "[]",
        "{}",
        '{"version":2,"events":[]}',
        '{"version":true,"events":[]}',
        '{"version":1}',
        '{"version":1,"events":{}}',
        "[" * 100_000,
        message_body(an_event())[:-1],
    ],
)
def test_body_that_is_not_a_message_gives_a_reason_and_no_events(body):
    events, reasons = codec.decode_message(body)

    assert events == []
    assert len(reasons) == 1


@pytest.mark.parametrize("again", ['"version":1', '"events":[]', '"later":1,"later":1'])
def test_message_with_a_duplicate_member_gives_no_events(again):
    events, reasons = codec.decode_message(message_body(an_event())[:-1] + f",{again}}}")

    assert events == []
    assert reasons[0].startswith("the body has a duplicate member")


def test_event_with_a_duplicate_member_is_malformed():
    """The other events of the message are read."""
    twice, good = an_event(), an_event()
    body = message_body(twice, good).replace('"by":1', '"by":1,"by":1000', 1)

    assert codec.decode_message(body) == ([good], ["an event has a duplicate member: 'by'"])


def test_field_that_a_later_version_added_is_ignored():
    event = an_event()

    assert codec.decode_event(event.counter_id, {**codec.encode_event(event), "colour": "blue"}) == event


def test_record_shows_whether_the_command_likely_counted_its_event():
    record = stream_record(an_event())
    at_once = stream_record(an_event())
    at_once["dynamodb"]["NewImage"]["likely_counted"] = {"BOOL": True}

    assert codec.decode_stream_record(at_once)
    assert [codec.is_likely_counted(each) for each in (at_once, record, {}, None)] == [True, False, False, False]
