"""Events: their validity, the equality of their content, and their parts."""

import collections
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain import events
from chalicelib.domain.events import LARGEST_AMOUNT, LATEST_MS, MAX_PARTS
from testkit.builders import an_adjustment, an_event, an_event_by_caller


@pytest.mark.parametrize("text", ["a", "A-z.0_9~", "x" * 64, "."])
def test_a_counter_id_of_unreserved_characters_is_valid(text):
    assert events.is_counter_id(text)


@pytest.mark.parametrize("text", ["", "x" * 65, "a/b", "a b", "ä", "a#1", "a%20", "a\n", None, 7])
def test_any_other_counter_id_is_invalid(text):
    assert not events.is_counter_id(text)


@given(st.uuids().map(str))
def test_a_uuid_in_its_canonical_form_is_a_valid_event_id(event_id):
    assert events.is_event_id(event_id)
    assert not events.is_event_id(event_id.replace("-", ""))
    assert not events.is_event_id(f"{{{event_id}}}")
    assert not events.is_event_id(f"{event_id}\n")


@pytest.mark.parametrize("text", ["", "01890A5D-AC96-774B-BCCE-B302099A8057", None, 7])
def test_any_other_event_id_is_invalid(text):
    assert not events.is_event_id(text)


@pytest.mark.parametrize("text", ["x", "x" * 200, "naïve, 二 \U0001f600", "a  b"])
def test_a_reason_of_printable_characters_is_valid(text):
    assert events.is_valid_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\u00a0",
        "x" * 201,
        "a\nb",
        "a\tb",
        "\x7f",
        "\x85",
        "\u2028",
        "\u200e",
        "\u202e",
        "\u2066",
        "\ud800",
        None,
        7,
    ],
)
def test_any_other_reason_is_invalid(text):
    assert not events.is_valid_text(text)


@pytest.mark.parametrize(
    ("by", "is_valid"),
    [
        (0, False),
        (1, True),
        (-1, True),
        (LARGEST_AMOUNT, True),
        (-LARGEST_AMOUNT, True),
        (LARGEST_AMOUNT + 1, False),
        (-LARGEST_AMOUNT - 1, False),
    ],
)
def test_adjustment_may_have_any_exact_json_integer_except_zero(by, is_valid):
    assert events.is_valid_adjustment(by) is is_valid


def test_latest_time_is_the_last_time_that_rfc_3339_can_express():
    latest = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)

    assert latest.timestamp() * 1000 == LATEST_MS


def test_two_attempts_at_one_increment_have_the_same_content():
    event = an_event()
    later = an_event(event_id=event.event_id, recorded_at_ms=event.recorded_at_ms + 1)

    assert events.have_same_content(event, later)


@pytest.mark.parametrize("who", ["jwt ann", "api-key old"])
def test_increment_and_its_retry_by_any_caller_have_the_same_content(who):
    """The stage may have switched WRITERS, or the client its key, before the client sends its retry."""
    first, again = an_event(), an_event_by_caller(who="api-key new")
    retries = [an_event_by_caller(event_id=first.event_id, who=who), an_event(event_id=again.event_id)]

    assert events.have_same_content(first, retries[0])
    assert events.have_same_content(again, retries[1])
    assert events.have_same_content(again, an_event_by_caller(event_id=again.event_id, who=who))


@pytest.mark.parametrize("other", [an_event(by=2), an_event(), an_adjustment(by=1)])
def test_increment_by_a_caller_and_another_event_differ_in_content(other):
    event = an_event_by_caller(event_id=other.event_id if other.by == 2 or other.type_name == "Adjusted" else None)

    assert not events.have_same_content(event, other)
    assert not events.have_same_content(other, event)


def test_increments_of_other_amounts_or_counters_differ_in_content():
    event = an_event()

    assert not events.have_same_content(event, an_event(event_id=event.event_id, by=event.by + 1))
    assert not events.have_same_content(event, an_event(event_id=event.event_id, counter_id="visits"))
    assert not events.have_same_content(event, an_event())


def test_two_attempts_at_one_adjustment_have_the_same_content():
    event = an_adjustment()
    by_another_operator = an_adjustment(event_id=event.event_id, who="ben", recorded_at_ms=5)

    assert events.have_same_content(event, by_another_operator)


@pytest.mark.parametrize("other", [{"by": 7}, {"reason": "other"}])
def test_adjustments_of_other_amounts_or_reasons_differ_in_content(other):
    event = an_adjustment()

    assert not events.have_same_content(event, an_adjustment(event_id=event.event_id, **other))


def test_an_increment_and_an_adjustment_differ_in_content():
    event = an_adjustment(by=1)

    assert not events.have_same_content(event, an_event(event_id=event.event_id, by=1))


@given(st.uuids().map(str), st.integers(1, MAX_PARTS))
def test_part_exists_and_depends_only_on_the_event_id(event_id, parts):
    part = events.choose_part(event_id, parts)

    assert 0 <= part < parts
    assert part == events.choose_part(event_id, parts)


def test_parts_get_events_in_equal_shares():
    shares = collections.Counter(events.choose_part(str(uuid.uuid4()), 4) for _ in range(4_000))

    assert sorted(shares) == [0, 1, 2, 3]
    assert min(shares.values()) > 800


def test_a_part_of_a_given_event_never_changes():
    """Every later version must find the part in which an event was counted."""
    event_id = "01890a5d-ac96-774b-bcce-b302099a8057"

    assert [events.choose_part(event_id, parts) for parts in (1, 2, 3, 4, 64)] == [0, 1, 1, 3, 23]
