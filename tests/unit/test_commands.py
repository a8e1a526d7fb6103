"""Test the event that each command produces for a counter's state."""

import pytest

from chalicelib.domain import commands
from chalicelib.domain.commands import Adjust, Increment, InvalidAdjustmentError
from chalicelib.domain.counter import Counter
from chalicelib.domain.events import LARGEST_AMOUNT, Adjusted, Incremented, IncrementedByCaller
from testkit.builders import an_adjustment, an_event


def an_adjust(**parts):
    return Adjust(**{"counter_id": "clicks", "idempotency_key": "k", "reason": "a test", "who": "ann", **parts})


def test_increment_produces_an_event_with_its_amount():
    event = Increment("clicks", by=3).decide(event_id="an id", now_ms=1_234)

    assert event == Incremented("clicks", "an id", 3, 1_234)


def test_increment_by_a_caller_produces_an_event_with_the_caller():
    event = Increment("clicks", by=3, who="jwt ann").decide(event_id="an id", now_ms=1_234)

    assert event == IncrementedByCaller("clicks", "an id", 3, 1_234, "jwt ann")


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
def test_an_adjustment_adds_its_amount_or_the_difference(asked, value, by):
    event = commands.decide_adjustment(an_adjust(**asked), Counter("clicks", value, 1, 0), "id", 5)

    assert event == Adjusted("clicks", "id", by, 5, "a test", "ann")


def test_adjustment_to_the_current_value_produces_no_event():
    assert commands.decide_adjustment(an_adjust(to=7), Counter("clicks", 7, 1, 0), "id", 5) is None


@pytest.mark.parametrize(
    ("asked", "value"),
    [
        ({"by": 0}, 1),
        ({"by": LARGEST_AMOUNT + 1}, 1),
        ({"by": -LARGEST_AMOUNT - 1}, 1),
        ({"to": -LARGEST_AMOUNT}, 1),
    ],
)
def test_an_amount_that_no_event_can_have_is_refused(asked, value):
    with pytest.raises(InvalidAdjustmentError, match=r"2\*\*53 - 1"):
        commands.decide_adjustment(an_adjust(**asked), Counter("clicks", value, 1, 0), "id", 5)


@pytest.mark.parametrize("sent_again", [{"by": -3}, {"by": -3, "who": "ben"}, {"to": 99}])
def test_repeated_adjustment_recognizes_its_event(sent_again):
    """With `to`, the event may have a different amount, because the counter had a different value then."""
    assert commands.is_result_of(an_adjust(**sent_again), an_adjustment(by=-3, reason="a test"))


@pytest.mark.parametrize(
    ("command", "event"),
    [
        ({"by": -4}, an_adjustment(by=-3, reason="a test")),
        ({"by": -3, "reason": "other"}, an_adjustment(by=-3, reason="a test")),
        ({"to": 99, "reason": "other"}, an_adjustment(by=-3, reason="a test")),
        ({"by": 3}, an_event(by=3)),
    ],
)
def test_adjustment_does_not_recognize_the_event_of_another_command(command, event):
    assert not commands.is_result_of(an_adjust(**command), event)
