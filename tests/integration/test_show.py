"""`ops show`: a counter's state and events, with callers and operators."""

import pytest

from chalicelib import event_log
from chalicelib.errors import EventNotFoundError
from ops.cli.errors import OperatorError
from ops.cli.params import PAST
from ops.maintenance import show
from testkit.builders import an_adjustment, an_event, an_event_by_caller

IDS = [f"01890a5d-ac96-774b-bcce-b302099a805{number}" for number in range(4)]


@pytest.fixture
def events(pipeline):
    """Count an event of each kind, and record one that stays pending."""
    at = {"counter_id": pipeline.counter_id}
    pipeline.record(
        an_event(**at, event_id=IDS[0], by=2, recorded_at_ms=1_700_000_000_001),
        an_event_by_caller(**at, event_id=IDS[1], by=3, recorded_at_ms=1_700_000_000_002, who="jwt ann"),
        an_adjustment(**at, event_id=IDS[2], by=-1, recorded_at_ms=1_700_000_000_003, reason="a test", who="ben"),
    )
    event_log.append(an_event_by_caller(**at, event_id=IDS[3], recorded_at_ms=1_700_000_000_004, who="api-key 8x2k1"))


def test_counter_is_shown_with_the_callers_of_its_events(pipeline, events):
    outcome = show.show(pipeline.counter_id, 10)

    assert outcome.text.splitlines() == [
        f"{pipeline.counter_id} is 4 at version 3, updated at {outcome.facts['updated_at']}.",
        f"2023-11-14T22:13:20.003Z {IDS[2]} Adjusted -1 by ben (a test)",
        f"2023-11-14T22:13:20.002Z {IDS[1]} Incremented +3 by jwt ann",
        f"2023-11-14T22:13:20.001Z {IDS[0]} Incremented +2",
    ]
    assert (outcome.facts["value"], outcome.facts["version"]) == (4, 3)
    assert outcome.facts["events"][1] == {
        "counter_id": pipeline.counter_id,
        "event_id": IDS[1],
        "by": 3,
        "recorded_at": "2023-11-14T22:13:20.002Z",
        "who": "jwt ann",
        "type": "Incremented",
        "version": 2,
    }


def test_past_state_is_shown_with_its_latest_events(pipeline, events):
    outcome = show.show(pipeline.counter_id, 1, 1_700_000_000_002)

    assert outcome.lines == [
        f"{pipeline.counter_id} was 5 at version 2 at 2023-11-14T22:13:20.002Z.",
        f"2023-11-14T22:13:20.002Z {IDS[1]} Incremented +3 by jwt ann",
    ]
    assert {name: outcome.facts[name] for name in ("counter_id", "value", "version", "at")} == {
        "counter_id": pipeline.counter_id,
        "value": 5,
        "version": 2,
        "at": "2023-11-14T22:13:20.002Z",
    }


@pytest.mark.parametrize(
    ("at", "text"),
    [("2023-11-14T22:13:20Z", "2023-11-14T22:13:20.000Z"), ("1938-04-24", "1969-12-31T23:59:59.999Z")],
)
def test_past_before_the_first_event_is_0_without_events(pipeline, events, at, text):
    assert show.show(pipeline.counter_id, 10, PAST.convert(at, None, None)).lines == [
        f"{pipeline.counter_id} was 0 at version 0 at {text}."
    ]


def test_past_beyond_all_times_is_the_current_state(pipeline, events):
    text = show.show(pipeline.counter_id, 1, PAST.convert("9999-12-31T23:59:59.9999Z", None, None)).text

    assert text.startswith(f"{pipeline.counter_id} was 4 at version 3 at 9999-12-31T23:59:59.999Z.")


def test_limit_shows_the_newest_events(pipeline, events):
    assert [event["event_id"] for event in show.show(pipeline.counter_id, 1).facts["events"]] == [IDS[2]]


@pytest.mark.parametrize(
    ("event_id", "line"),
    [
        (IDS[1], f"2023-11-14T22:13:20.002Z {IDS[1]} Incremented +3 by jwt ann: counted"),
        (IDS[3], f"2023-11-14T22:13:20.004Z {IDS[3]} Incremented +1 by api-key 8x2k1: pending"),
    ],
)
def test_event_is_shown_with_its_caller_and_status(pipeline, events, event_id, line):
    assert show.show_event(pipeline.counter_id, event_id).lines == [line]


def test_counter_whose_events_are_all_pending_is_shown(pipeline):
    pipeline.increment()

    assert show.show(pipeline.counter_id, 10).lines == [f"{pipeline.counter_id} is 0 at version 0."]


def test_unknown_counter_or_event_is_refused(pipeline, events):
    with pytest.raises(OperatorError, match="No such counter: unknown"):
        show.show("unknown", 10)
    with pytest.raises(EventNotFoundError, match=f"has no event {IDS[0]}"):
        show.show_event("unknown", IDS[0])
