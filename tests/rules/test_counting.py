"""The rules of counting: given events and what is counted, what is still to be written."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import counting
from chalicelib.domain.commands import Adjust, Increment
from chalicelib.domain.counter import Counter
from chalicelib.domain.events import Adjusted, Incremented, LARGEST_AMOUNT
from chalicelib.counting import BucketKey  # FIX
from chalicelib.errors import InvalidRequestError
from tests.building import an_adjustment, an_event

ids = st.uuids().map(str)
what_all_have = {
    "counter_id": st.sampled_from(["clicks", "visits"]),
    "event_id": ids,
    "recorded_at_ms": st.integers(0, 5_000),
}
events = st.builds(Incremented, **what_all_have, by=st.integers(1, 1000)) | st.builds(
    Adjusted, **what_all_have, by=st.integers(-1000, 1000).filter(bool), reason=st.just("a test"), who=st.just("ann")
)


GENERATIONS = counting.Generations()


def still_to_count(batch, counted=None, *, shards=1, most_buckets=99, generations=GENERATIONS):
    """The updates for all counters of a batch, when its buckets hold these ids."""
    return [
        update
        for counter_id, buckets in counting.in_buckets(batch, shards).items()
        for update in counting.updates(counter_id, buckets, counted or {}, generations, most_buckets)
    ]


def test_an_increment_leads_to_an_event_that_says_the_same():
    command = Increment("clicks", by=3)

    event = domain_commands.decide_increment(command, event_id="11111111-2222-3333-4444-555555555555", now_ms=1_234)

    assert event == Incremented("clicks", "11111111-2222-3333-4444-555555555555", 3, 1_234)


def test_a_batch_adds_up_what_is_new_and_how_many_events_that_is():
    batch = [an_event(by=2), an_event(by=3), an_event(by=5)]

    (update,) = still_to_count(batch)

    assert (update.counter_id, update.total(1), update.events(1)) == ("clicks", 10, 3)


def test_an_event_that_is_twice_in_a_batch_is_added_once():
    event = an_event(by=7)

    (update,) = still_to_count([event, event, event])

    assert (update.total(1), update.events(1)) == (7, 1)


def test_what_is_in_its_bucket_is_not_added_again():
    known, new = an_event(by=2), an_event(by=3)
    counted = {counting.bucket_of(known, 1): {known.event_id}}

    (update,) = still_to_count([known, new], counted)

    assert (update.total(1), update.events(1), update.buckets[0].size_before) == (3, 1, 1)


def test_nothing_is_written_when_all_is_counted():
    event = an_event()
    counted = {counting.bucket_of(event, 1): {event.event_id}}

    assert still_to_count([event, event], counted) == []


def test_an_event_belongs_to_the_second_in_which_it_was_recorded():
    last, first = an_event(recorded_at_ms=1_999), an_event(recorded_at_ms=2_000)

    assert counting.bucket_of(last, 1) == BucketKey("clicks", 0, 1)
    assert counting.bucket_of(first, 1) == BucketKey("clicks", 0, 2)


def test_counters_are_written_apart():
    batch = [an_event(counter_id="a", by=1), an_event(counter_id="b", by=2), an_event(counter_id="a", by=4)]

    totals = {update.counter_id: update.total(1) for update in still_to_count(batch)}

    assert totals == {"a": 5, "b": 2}


def test_more_buckets_than_a_transaction_takes_are_written_in_several_each_complete():
    batch = [an_event(recorded_at_ms=second * 1000) for second in range(7)]

    found = still_to_count(batch, most_buckets=3)

    assert [len(update.buckets) for update in found] == [3, 3, 1]
    assert [update.total(1) for update in found] == [3, 3, 1]


def test_the_state_after_an_event_is_one_version_on():
    after = Counter("clicks", value=10, version=4, updated_at_ms=1).after(an_event(by=5), now_ms=9)

    assert after == Counter("clicks", value=15, version=5, updated_at_ms=9)


def test_two_attempts_at_one_increment_say_the_same_whenever_they_were():
    event = an_event()
    later = an_event(event_id=event.event_id, recorded_at_ms=event.recorded_at_ms + 1)
    other = an_event(event_id=event.event_id, by=event.by + 1)

    assert domain_events.same_content(event, later)
    assert not domain_events.same_content(event, other)


def an_adjust(**parts):
    return Adjust(**{"counter_id": "clicks", "key": "k", "reason": "a test", "who": "ann", **parts})


@pytest.mark.parametrize(
    ("asked", "value", "by"),
    [
        ({"by": -3}, 10, -3),
        ({"by": 3}, 0, 3),
        ({"by": -3}, 0, -3),
        ({"to": 51_200}, 0, 51_200),
        ({"to": 0}, 7, -7),
        ({"to": -5}, 7, -12),
        ({"to": 7}, -7, 14),
    ],
)
def test_an_adjustment_adds_what_is_said_or_what_is_lacking(asked, value, by):
    event = domain_commands.decide_adjustment(an_adjust(**asked), Counter("clicks", value, 1, 0), "id", 5)

    assert event == Adjusted("clicks", "id", by, 5, "a test", "ann")


def test_a_counter_that_stands_where_it_should_needs_no_event():
    assert domain_commands.decide_adjustment(an_adjust(to=7), Counter("clicks", 7, 1, 0), "id", 5) is None


@pytest.mark.parametrize(
    ("asked", "value"),
    [
        ({"by": 0}, 1),
        ({"by": LARGEST_AMOUNT + 1}, 1),
        ({"by": -LARGEST_AMOUNT - 1}, 1),
        ({"to": -LARGEST_AMOUNT}, 1),
    ],
)
def test_an_amount_that_no_event_can_hold_is_refused(asked, value):
    with pytest.raises(InvalidRequestError, match=r"2\*\*53 - 1"):
        domain_commands.decide_adjustment(an_adjust(**asked), Counter("clicks", value, 1, 0), "id", 5)


def test_two_attempts_at_one_adjustment_say_the_same_whoever_made_them():
    event = an_adjustment()
    same = an_adjustment(event_id=event.event_id, who="ben", recorded_at_ms=5)
    others = [an_adjustment(event_id=event.event_id, **other) for other in ({"by": 7}, {"reason": "other"})]

    assert domain_events.same_content(event, same)
    assert not any(domain_events.same_content(event, other) for other in others)
    assert not domain_events.same_content(event, an_event(event_id=event.event_id, by=event.by))


def test_an_adjustment_sent_again_is_known_by_amount_and_reason_or_where_it_sets_a_value_by_reason():
    event = an_adjustment(by=-3, reason="a test")

    assert domain_commands.is_result_of(an_adjust(by=-3, who="ben"), event)
    assert domain_commands.is_result_of(an_adjust(to=99), event)
    assert not domain_commands.is_result_of(an_adjust(by=-4), event)
    assert not domain_commands.is_result_of(an_adjust(by=-3, reason="other"), event)
    assert not domain_commands.is_result_of(an_adjust(to=99, reason="other"), event)
    assert not domain_commands.is_result_of(an_adjust(by=3), an_event(by=3))


def test_a_remark_is_1_to_200_printable_characters_and_not_blank():
    good = ["x", "x" * 200, "naïve, 二 😀", "a  b"]
    bad = [
        "",
        " ",
        "\u00a0",
        "x" * 201,
        "a\nb",
        "a\tb",
        "\x7f",
        "\x85",
        "\u2028",
        "\u202e",
        "\u2066",
        "\ud800",
        None,
        7,
    ]

    assert [text for text in good if not domain_events.is_valid_text(text)] == []
    assert [text for text in bad if domain_events.is_valid_text(text)] == []


@given(ids, st.integers(1, 64))
def test_a_shard_is_one_of_those_there_are_and_follows_from_the_id(event_id, shards):
    shard = domain_events.part_of(event_id, shards)

    assert 0 <= shard < shards
    assert shard == domain_events.part_of(event_id, shards)


@given(st.lists(events, max_size=30), st.randoms(use_true_random=False), st.integers(1, 4), st.integers(1, 5))
def test_any_deliveries_of_any_batches_end_at_the_sum_over_distinct_events(log, chance, shards, most_buckets):
    log = list({event.event_id: event for event in log}.values())
    deliveries = [event for event in log for _ in range(chance.randint(1, 4))]
    chance.shuffle(deliveries)
    counted: dict[BucketKey, set[str]] = {}
    totals: dict[str, int] = {}

    while deliveries:
        size = chance.randint(1, len(deliveries))
        batch, deliveries = deliveries[:size], deliveries[size:]
        for update in still_to_count(batch, counted, shards=shards, most_buckets=most_buckets):
            for bucket in update.buckets:
                assert bucket.size_before == len(counted.get(bucket.key, ()))
                counted.setdefault(bucket.key, set()).update(bucket.event_ids)
            totals[update.counter_id] = totals.get(update.counter_id, 0) + update.total(1)

    expected: dict[str, int] = {}
    for event in log:
        expected[event.counter_id] = expected.get(event.counter_id, 0) + event.by
    assert totals == expected


@given(st.lists(events, max_size=20))
def test_order_makes_no_difference_to_what_is_written(batch):
    batch = list({event.event_id: event for event in batch}.values())
    shuffled = random.Random(1).sample(batch, len(batch))

    def by_counter(updates):
        return {update.counter_id: update.buckets for update in updates}

    assert by_counter(still_to_count(batch)) == by_counter(still_to_count(shuffled))


def test_the_oldest_of_a_batch_is_the_oldest_that_was_not_counted():
    old, middle, young = (an_event(recorded_at_ms=ms) for ms in (1_000, 2_500, 2_700))
    buckets = counting.in_buckets([old], shards=1)["clicks"]

    written = still_to_count([young, old, middle], {key: set(events) for key, events in buckets.items()})

    assert domain_events.oldest_ms([young, old, middle], counting.newly_counted(written)) == 2_500
    assert domain_events.oldest_ms([young, old, middle], counting.newly_counted([])) is None


def test_counter_ids_are_the_unreserved_characters_of_uris_and_at_most_64():
    good = ["a", "A-z.0_9~", "x" * 64, "."]
    bad = ["", "x" * 65, "a/b", "a b", "ä", "a#1", "a%20", "a\n", None, 7]

    assert [text for text in good if not domain_events.is_counter_id(text)] == []
    assert [text for text in bad if domain_events.is_counter_id(text)] == []


def grouped(most_items, refusals=None, **seconds):
    """How counters of which so many seconds are to be counted are written together."""
    batch = counting.in_buckets(
        [an_event(counter_id=name, recorded_at_ms=n * 1000) for name, number in seconds.items() for n in range(number)],
        1,
    )
    return sorted(counting.groups(batch, dict.fromkeys(batch, 0) | (refusals or {}), most_items))


def test_counters_are_written_together_as_far_as_a_transaction_has_room():
    assert grouped(5, a=1, b=1, c=1) == [["a", "b"], ["c"]]
    assert grouped(5, a=3, b=1, c=1) == [["a"], ["b", "c"]]
    assert grouped(5) == []


def test_workers_with_the_same_counters_divide_them_alike():
    assert grouped(5, c=1, a=1, b=1) == grouped(5, b=1, c=1, a=1)


def test_a_counter_with_too_much_to_be_written_with_others_is_by_itself():
    assert grouped(50, a=1, b=59, c=1, d=1) == [["a"], ["b"], ["c", "d"]]


def test_those_refused_as_often_are_together_and_half_as_many_with_each_refusal():
    refusals = {"a": 1, "b": 1, "c": 1, "d": 2, "e": 2}
    names = dict.fromkeys("abcdefghi", 1)

    assert grouped(8, refusals, **names) == [["a", "b"], ["c"], ["d"], ["e"], ["f", "g", "h", "i"]]


def test_who_is_not_to_be_counted_any_more_is_in_no_group():
    batch = counting.in_buckets([an_event(counter_id=name) for name in ("a", "b")], 1)

    assert counting.groups(batch, {"b": 3}, 50) == [["b"]]


def test_batches_with_the_same_counters_begin_at_different_ones_and_each_always_at_its_own():
    names = [f"counter-{n:02}" for n in range(20)]
    one, other = (counting.in_buckets([an_event(counter_id=name) for name in names], 1) for _ in range(2))
    never = dict.fromkeys(names, 0)

    orders = [counting.groups(batch, never, 2) for batch in (one, other)]

    assert orders[0] != orders[1]
    assert orders[0] == counting.groups(one, never, 2)
    assert [sorted(order) for order in orders] == [[[name] for name in names]] * 2
