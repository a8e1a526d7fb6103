"""Reads after writes, on an engine that answers eventually consistent reads with nothing."""

import pytest

from chalicelib.aws.tables import CounterItem
from chalicelib.domain.archive import RECENT_MAX
from testkit import aws_requests
from testkit.builders import an_event, message_body


def test_counter_just_written_is_read_as_written(pipeline):
    written = pipeline.increment({"by": 4}, Prefer="return=representation")

    assert written.body["value"] == 4
    assert pipeline.counter().body == written.body
    assert pipeline.increment(If_Match='"1"').status == 200


def test_event_just_recorded_is_read_as_recorded(pipeline):
    recorded = pipeline.increment({"by": 4}, Idempotency_Key="k")
    again = pipeline.increment({"by": 4}, Idempotency_Key="k")

    assert (recorded.status, again.status, again.body) == (202, 202, recorded.body)
    assert pipeline.event(recorded.body["event_id"]).status == 200


def test_event_just_counted_has_status_counted(pipeline):
    recorded = pipeline.increment({"by": 4}, Prefer="return=representation")
    event_id = recorded.headers["Location"].rpartition("/")[2]

    assert pipeline.event(event_id).body["status"] == "counted"


def test_a_redelivery_of_counted_events_costs_one_read_and_no_write(pipeline):
    body = message_body(an_event(counter_id=pipeline.counter_id))
    pipeline.project([body])

    with aws_requests.record() as requests:
        pipeline.project([body], received=2)

    assert requests.operations == ["GetItem"]


def test_event_just_archived_has_status_counted(pipeline):
    events = [an_event(counter_id=pipeline.counter_id) for _ in range(RECENT_MAX + 1)]
    pipeline.record(*events)

    pipeline.project([message_body(*events[:3])], received=2)

    assert pipeline.event(events[0].event_id).body["status"] == "counted"
    assert (pipeline.value, pipeline.version) == (RECENT_MAX + 1, RECENT_MAX + 1)


def test_engine_answers_an_eventually_consistent_read_with_nothing(engine, new_pipeline):
    pipeline = new_pipeline(0)
    pipeline.count(an_event(counter_id=pipeline.counter_id))

    assert list(CounterItem.query(pipeline.counter_id)) == []
    assert [item.value for item in CounterItem.query(pipeline.counter_id, consistent_read=True)] == [1]
    assert CounterItem.get(pipeline.counter_id, 0, consistent_read=True).value == 1
    with pytest.raises(CounterItem.DoesNotExist):
        CounterItem.get(pipeline.counter_id, 0)
