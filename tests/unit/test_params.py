"""Options of the operators' commands."""

from __future__ import annotations

import click
import pytest

from ops.cli.params import AGE


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("59s", 59), ("30min", 1_800), ("12h", 43_200), ("7d", 604_800), ("7 d", 604_800)]
)
def test_age_is_read_as_redrive_shows_it(text, seconds):
    assert AGE.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5d", "7 days", "7D", "٣d", "7d ", "9" * 5_000 + "d"])
def test_malformed_age_is_refused_with_examples(text):
    with pytest.raises(click.BadParameter, match="such as 30min, 12h or 7d"):
        AGE.convert(text, None, None)
