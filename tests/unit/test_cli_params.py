"""The values of the commands' options: times, ages and ids."""

import click
import pytest

from ops.cli.params import AGE, BOUND, EVENT_ID, PAST


@pytest.mark.parametrize(
    ("text", "start"), [("2026-01-31", "2026-01-31T00:00:00Z"), ("2024-02-29", "2024-02-29T00:00:00Z")]
)
def test_day_is_its_start_in_utc(text, start):
    assert BOUND.convert(text, None, None) == BOUND.convert(start, None, None)


@pytest.mark.parametrize(
    "text", ["2026-02-30", "2026-1-31", "20260131", "2026-01", "2026-W05-6", "٢٠٢٦-01-31", "today"]
)
def test_other_dates_are_refused(text):
    with pytest.raises(
        click.BadParameter,
        match="must be an RFC 3339 time such as 2026-01-31T12:00:00Z, or a day such as 2026-01-31, got",
    ):
        BOUND.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "past_ms", "bound_ms"),
    [
        ("2023-11-14t22:13:20.5z", 1_700_000_000_500, 1_700_000_000_500),
        ("2023-11-14T23:13:20.1234567890+01:00", 1_700_000_000_123, 1_700_000_000_124),
        ("2023-11-14T22:13:20.0006Z", 1_700_000_000_000, 1_700_000_000_001),
        ("2023-11-14T23:59:60Z", 1_700_006_400_000, 1_700_006_400_000),
        ("1969-12-31T00:00:00Z", -1, -86_400_000),
    ],
)
def test_time_may_have_every_form_that_the_api_accepts(text, past_ms, bound_ms):
    """An event in between is after the past state, and before the start and the end of a range."""
    assert (PAST.convert(text, None, None), BOUND.convert(text, None, None)) == (past_ms, bound_ms)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("59s", 59), ("30min", 1_800), ("12h", 43_200), ("7d", 604_800), ("7 d", 604_800)]
)
def test_age_is_read_as_redrive_shows_it(text, seconds):
    assert AGE.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5d", "7 days", "7D", "٣d", "7d ", "9" * 5_000 + "d"])
def test_malformed_age_is_refused_with_examples(text):
    with pytest.raises(click.BadParameter, match="such as 30min, 12h or 7d"):
        AGE.convert(text, None, None)


def test_event_id_may_be_in_upper_case():
    assert (
        EVENT_ID.convert("01890A5D-AC96-774B-BCCE-B302099A8057", None, None) == "01890a5d-ac96-774b-bcce-b302099a8057"
    )


@pytest.mark.parametrize("text", ["", "7", "01890a5dac96774bbcceb302099a8057"])
def test_malformed_event_id_is_refused(text):
    with pytest.raises(click.BadParameter, match="must be a UUID, got"):
        EVENT_ID.convert(text, None, None)
