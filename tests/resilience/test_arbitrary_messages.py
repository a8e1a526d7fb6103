"""
Arbitrary input of `publish` and `project` is counted, or parked once with its reason and the original.

The tests have a second implementation of the stored format, written from its description, and compare both. Valid
events in the same batch are always counted, and nothing raises.
"""

import json
import re
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import app
from chalicelib.read_model import queries
from testkit.builders import a_counter_id, an_event, message_body, queue_record, stream_record

EXAMPLES = 150

MANY = hypothesis_settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large, HealthCheck.too_slow],
)

#: Texts of any code points, including unpaired surrogates and replacement characters.
TEXTS = st.text(
    st.characters(exclude_categories=()) | st.sampled_from("\ud800\udfff\ufffd\uffff\x00\x7f#"), max_size=40
)
NUMBERS = (
    st.sampled_from([0, -1, 1, 2**53 - 1, 2**53, 2**64, 10**40, -(10**40), 0.0, 1.0, 1.5, 1e308, -0.0]) | st.floats()
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
THINGS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
#: Depths far below or far above the limit of a JSON reader, wherever it is called.
DEPTHS = st.sampled_from([2, 40, 300, 2000, 100_000])


def deep(depth):
    return "[" * depth + "]" * depth


@st.composite
def entries(draw):
    """Draw an event in the form of a message, with at most one change."""
    event = an_event(counter_id=draw(COUNTERS), by=draw(st.integers(1, 1000)))
    entry = json.loads(message_body(event))["events"][0]
    match draw(st.sampled_from(["good", "good", "other", "without", "more", "newer", "caller", "junk"])):
        case "other":
            entry[draw(st.sampled_from(sorted(entry)))] = draw(THINGS | LIES)
        case "without":
            del entry[draw(st.sampled_from(sorted(entry)))]
        case "more":
            entry |= draw(st.dictionaries(TEXTS.map("later-".__add__), THINGS, max_size=2))
        case "newer":
            entry["version"] = draw(st.integers(3, 9))
        case "caller":
            entry |= {"version": 2, "who": draw(CALLERS)}
        case "junk":
            return draw(THINGS)
    return entry


COUNTERS = st.builds(a_counter_id)
CALLERS = st.sampled_from(["jwt ann", "x" * 300, "x" * 301, "", " ", "a\nb"])
#: Values that are almost the id of a counter or an event.
LIES = st.sampled_from(
    ["clicks#3", "clicks#", "#1", "a/b", "", "x" * 65, "clicks\n", "CLICKS ", "01890A5D-AC96-774B-BCCE-B302099A8057"]
) | st.uuids().map(lambda found: found.hex)


@st.composite
def messages(draw):
    """Draw the text of a message, valid or with any damage."""
    message = {"version": 1, "events": draw(st.lists(entries(), min_size=1, max_size=4))}
    match draw(st.sampled_from(["whole", "whole", "newer", "other version", "no list", "long"])):
        case "newer":
            message["version"] = draw(st.integers(2, 9))
        case "other version":
            message["version"] = draw(THINGS)
        case "no list":
            message["events"] = draw(THINGS)
        case "long":
            message["filler"] = draw(st.sampled_from("x\u00e9\ufffd\ud800\x01")) * draw(st.integers(0, 256 * 1024 // 6))
    text = json.dumps(message, ensure_ascii=draw(st.booleans()))
    encoded = text.encode("utf-8", "surrogatepass")
    match draw(st.sampled_from(["whole", "whole", "cut", "changed", "twice", "deep", "digits"])):
        case "cut":
            return encoded[: draw(st.integers(0, len(encoded)))].decode(errors="surrogateescape")
        case "changed":
            at = draw(st.integers(0, len(encoded) - 1))
            changed = encoded[:at] + bytes([draw(st.integers(0, 255))]) + encoded[at + 1 :]
            return changed.decode(errors=draw(st.sampled_from(["replace", "surrogateescape"])))
        case "twice":
            name = draw(st.sampled_from(["version", "events", "by", "event_id", "counter_id", "later"]))
            member = f'"{name}":{draw(st.sampled_from(["1", "[]", "null"]))}'
            where, instead = draw(st.sampled_from([("{", f"{{{member},"), ("}", f",{member}}}")]))
            return text.replace(where, instead, draw(st.integers(1, 3)))
        case "deep":
            return text.replace(draw(st.sampled_from(["1", '"Incremented"'])), deep(draw(DEPTHS)), 1)
        case "digits":
            return text.replace("1", "9" * draw(st.sampled_from([40, 4300, 4301, 5000])), 1)
    return text


QUEUE_RECORDS = st.one_of(
    (messages() | TEXTS | THINGS.map(json.dumps) | DEPTHS.map(deep)).map(queue_record),
    THINGS.map(queue_record),
    THINGS,
    st.just({"messageId": "1"}),
)


@st.composite
def stream_records(draw):
    """Draw a stream record, valid or with any damage."""
    event = an_event(counter_id=draw(COUNTERS), by=draw(st.integers(1, 1000)))
    record = stream_record(event)
    image = record["dynamodb"]["NewImage"]
    record["dynamodb"]["Keys"] = {name: image[name] for name in ("partition", "event_id")}
    changes = ["good", "good", "shard", "keys", "value", "without", "newer", "caller", "name", "junk", "deep"]
    match draw(st.sampled_from(changes)):
        case "shard":
            image["partition"] = {"S": event.counter_id + draw(st.sampled_from(SUFFIXES))}
            record["dynamodb"]["Keys"] = {name: image[name] for name in ("partition", "event_id")}
        case "keys":
            record["dynamodb"]["Keys"] = draw(
                THINGS | st.just({**record["dynamodb"]["Keys"], "partition": {"S": "another"}})
            )
        case "value":
            image[draw(st.sampled_from(sorted(image)))] = draw(VALUES | THINGS)
        case "without":
            del image[draw(st.sampled_from(sorted(image)))]
        case "newer":
            image["version"] = {"N": str(draw(st.integers(3, 9)))}
        case "caller":
            image |= {"version": {"N": "2"}, "who": {"S": draw(CALLERS)}}
        case "name":
            record["eventName"] = draw(st.sampled_from(["MODIFY", "REMOVE", "insert"]) | THINGS)
        case "junk":
            where = draw(st.sampled_from([None, "dynamodb", "NewImage"]))
            junk = draw(THINGS)
            if where is None:
                return junk
            (record if where == "dynamodb" else record["dynamodb"])[where] = junk
        case "deep":
            image["later"] = json.loads(deep(draw(st.sampled_from([2, 40, 300]))))
    return record


SUFFIXES = ["#0", "#3", "#63", "#64", "#-1", "#", "#x", "#01", "#1#2", "#\u0663", "# 1", "#99999999999999999999"]
VALUES = st.one_of(
    LIES.map(lambda text: {"S": text}),
    TEXTS.map(lambda text: {"S": text}),
    NUMBERS.map(lambda number: {"N": str(number)}),
    NUMBERS.map(lambda number: {"N": number}),
    st.sampled_from([{"N": "1e3"}, {"N": "01"}, {"N": "+1"}, {"N": "1" * 5000}, {"NULL": True}, {"BOOL": True}, {}]),
    st.just({"S": "1", "N": "1"}),
)


def no_twice(pairs):
    """Return the members of a JSON object, or a text if a member is repeated."""
    return dict(pairs) if len(dict(pairs)) == len(pairs) else "an object that contradicts itself"


def parsed(text):
    try:
        return json.loads(text, object_pairs_hook=no_twice)
    except (ValueError, RecursionError, TypeError):
        return None


def counted_for(entry, counter_id):
    """Return (counter, event, amount) if the entry is an event in the documented format, else None."""
    if not isinstance(entry, dict):
        return None
    kind, version, event_id = entry.get("type"), entry.get("version"), entry.get("event_id")
    is_event = (
        (kind, type(version)) == ("Incremented", int)
        and (version == 1 or (version == 2 and is_caller(entry.get("who"))))
        and is_from(1, 2**53 - 1, entry.get("by"))
        and is_from(0, 253_402_300_799_999, entry.get("recorded_at"))
        and isinstance(counter_id, str)
        and re.fullmatch("[-.~_0-9A-Za-z]{1,64}", counter_id, re.ASCII)
        and isinstance(event_id, str)
        and [len(part) for part in event_id.split("-")] == [8, 4, 4, 4, 12]
        and not set(event_id) - set("-0123456789abcdef")
    )
    return (counter_id, event_id, entry["by"]) if is_event else None


def is_caller(who):
    return isinstance(who, str) and re.fullmatch("[ -~]{1,300}", who) is not None and not who.isspace()


def is_from(lowest, highest, value):
    return type(value) is int and lowest <= value <= highest


def from_stream(record):
    """Return the same for a stream record."""
    try:
        name, change = record["eventName"], record["dynamodb"]
        image = change["NewImage"]
        keys = change.get("Keys", {})
        if name != "INSERT" or not isinstance(keys, dict) or any(keys[key] != image[key] for key in keys):
            return None
        entry: dict[str, Any] = {}
        for attribute, typed in image.items():
            ((kind, value),) = typed.items() if isinstance(typed, dict) and len(typed) == 1 else ((None, None),)
            if kind == "S" and isinstance(value, str):
                entry[attribute] = value
            elif kind == "N" and isinstance(value, str) and re.fullmatch("-?[0-9]{1,38}", value):
                entry[attribute] = int(value)
        owner, _, shard = entry["partition"].partition("#")
        if entry["partition"] != owner and shard not in {str(number) for number in range(64)}:
            return None
        return counted_for(entry, owner)
    except (LookupError, TypeError, AttributeError):
        return None


def from_queue(record):
    """Return the events in a queue record, and whether it contains nothing else."""
    body = record.get("body") if isinstance(record, dict) else None
    message = parsed(body) if isinstance(body, str) else None
    match message:
        case {"version": int(version), "events": list(found)} if (version, type(version)) == (1, int):
            read = [counted_for(entry, entry.get("counter_id") if isinstance(entry, dict) else None) for entry in found]
        case {"eventName": _}:
            read = [from_stream(message)]
        case _:
            return [], False
    return [event for event in read if event], None not in read


def as_lambda_hands_it_over(thing):
    """Return the value after a round trip through JSON, which joins surrogate pairs."""
    return json.loads(json.dumps(thing))


def same(one, other):
    """Compare two values, treating NaN as equal to itself."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


SQS_TAKES = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")


def check_parked(pipeline, originals):
    """Check that the dead-letter queue has exactly these originals, in order, each with a reason."""
    parked = pipeline.parked()
    assert len(parked) == len(originals)
    for message, original in zip(parked, originals, strict=True):
        if isinstance(original, str) and SQS_TAKES.fullmatch(original):
            assert message["Body"] == original
        else:
            assert SQS_TAKES.fullmatch(message["Body"])
            assert same(json.loads(message["Body"]), original)
        assert SQS_TAKES.fullmatch(message["MessageAttributes"]["reason"]["StringValue"])


def check_counted(events, before):
    """Check that exactly these events are counted, each once."""
    values: Counter[str] = Counter()
    versions: Counter[str] = Counter()
    for counter_id, _, by in {event[:2]: event for event in events}.values():
        values[counter_id] += by
        versions[counter_id] += 1
    for counter_id, was in before.items():
        now = queries.get_counter(counter_id)
        assert (now.value - was.value, now.version - was.version) == (values[counter_id], versions[counter_id])


@MANY
@given(st.lists(QUEUE_RECORDS, min_size=1, max_size=4))
def test_arbitrary_queue_records_are_counted_or_parked_once(new_pipeline, things):
    """The good events in the same batch are counted."""
    pipeline = new_pipeline(0)
    neighbours = [an_event(counter_id=pipeline.counter_id, by=by) for by in (1, 2)]
    records = as_lambda_hands_it_over(
        [queue_record(message_body(neighbours[0])), *things, queue_record(message_body(neighbours[1]))]
    )
    read = [from_queue(record) for record in records]
    events = [event for found, _ in read for event in found]
    before = {event[0]: queries.get_counter(event[0]) for event in events}
    originals = [
        record["body"] if isinstance(record, dict) and record.get("body") is not None else record
        for record, (_, is_all) in zip(records, read, strict=True)
        if not is_all
    ]

    app.project({"Records": records}, None)

    check_counted(events, before)
    assert pipeline.value == 3
    check_parked(pipeline, originals)


@MANY
@given(st.lists(stream_records(), min_size=1, max_size=4))
def test_arbitrary_stream_records_are_counted_or_parked_once(new_pipeline, things):
    """The good events in the same batch are counted."""
    pipeline = new_pipeline(0)
    neighbours = [an_event(counter_id=pipeline.counter_id, by=by) for by in (1, 2)]
    records = as_lambda_hands_it_over([stream_record(neighbours[0]), *things, stream_record(neighbours[1])])
    read = [from_stream(record) for record in records]
    events = [event for event in read if event]
    before = {event[0]: queries.get_counter(event[0]) for event in events}

    app.publish({"Records": records}, None)
    pipeline.project(pipeline.published())

    check_counted(events, before)
    assert pipeline.value == 3
    check_parked(pipeline, [record for record, event in zip(records, read, strict=True) if event is None])
