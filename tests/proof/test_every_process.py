"""
What every process has to agree on, today's and those of years to come, with nothing but the event to go by.

Functions start, forget and end as the platform likes, so whatever tells two deliveries or two requests for the same
must not come from a process: no memory, no seed, no clock. What follows from an event is therefore written down here.
"""

from __future__ import annotations

import pytest

from chalicelib import counting
from tests.building import an_event


@pytest.mark.parametrize(
    ("counter_id", "key", "event_id"),
    [
        ("clicks", "k", "1277cdcd-2100-5b2e-90bc-59f3d29ec62a"),
        ("clicks", "K", "fc1c8547-8672-5011-8a4d-7cdd2397d92d"),
        ("visits", "k", "f40e02dc-7103-5695-b431-1047dfebfa1f"),
    ],
)
def test_a_key_names_the_same_event_for_ever(new_pipeline, counter_id, key, event_id):
    pipeline = new_pipeline(0)
    pipeline.counter_id = counter_id

    assert pipeline.increment(Idempotency_Key=key).body["event_id"] == event_id


def test_an_event_stays_in_the_shard_and_the_bucket_that_it_was_put_in():
    names = [f"01890a5d-ac96-774b-bcce-b302099a80{last}" for last in ("57", "58", "7f", "80", "ff")]

    buckets = [
        counting.bucket_of(an_event(event_id=name, recorded_at_ms=1_700_000_000_999), shards=64) for name in names
    ]

    assert [(bucket.shard, bucket.second) for bucket in buckets] == [
        (23, 1_700_000_000),
        (24, 1_700_000_000),
        (63, 1_700_000_000),
        (0, 1_700_000_000),
        (63, 1_700_000_000),
    ]
