"""
Test rules on which all processes must agree, now and in years, given only the event.

Lambda starts and ends processes at any time. The identity of a redelivery or a retry must not depend on a process: no
memory, no seed, no clock. These tests assert the values that depend on an event alone.
"""

import pytest

from chalicelib.domain.entries import encode_entry, make_entry
from chalicelib.domain.events import choose_part
from testkit.builders import an_event


@pytest.mark.parametrize(
    ("counter_id", "key", "event_id"),
    [
        ("clicks", "k", "1277cdcd-2100-5b2e-90bc-59f3d29ec62a"),
        ("clicks", "K", "fc1c8547-8672-5011-8a4d-7cdd2397d92d"),
        ("visits", "k", "f40e02dc-7103-5695-b431-1047dfebfa1f"),
    ],
)
def test_key_names_the_same_event_in_every_process(pipeline, counter_id, key, event_id):
    pipeline.counter_id = counter_id

    assert pipeline.increment(Idempotency_Key=key).body["event_id"] == event_id


def test_an_event_belongs_to_the_same_part_in_every_process():
    names = [f"01890a5d-ac96-774b-bcce-b302099a80{last}" for last in ("57", "58", "7f", "80", "ff")]

    assert [choose_part(name, 64) for name in names] == [23, 24, 63, 0, 63]


def test_an_event_has_the_same_entry_in_every_process():
    """The entry shows that the event is counted, so every worker must write the same bytes."""
    event = an_event(event_id="01890a5d-ac96-774b-bcce-b302099a8057", by=7, recorded_at_ms=1_700_000_000_999)

    assert encode_entry(make_entry(event)).hex() == "018bcfe56be701890a5dac96774bbcceb302099a80570e"
