"""Verify: whether the stage's read model is what its log says."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from chalicelib import verifier
from ops import known, progress
from ops.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chalicelib.settings import Settings
    from chalicelib.verifier import Difference, Report

_PARTS = 4


def verify(settings: Settings, counter_ids: Sequence[str], lag_s: float, *, waits: bool) -> Outcome:
    """The read model of these counters, or of all if there are none, has been compared with the log."""
    about = (
        None
        if counter_ids
        else known.about_how_many(settings.event_log_table) + known.about_how_many(settings.buckets_table)
    )
    readings = verifier.some(counter_ids) if counter_ids else verifier.everything(_PARTS)
    with progress.shown("Verifying", about, "events and buckets") as advance:
        report = verifier.verify(readings, lag_s=lag_s, waits=waits, advance=advance)
    return outcome(report)


def outcome(report: Report) -> Outcome:
    """What to tell of a report."""
    summary = (
        f"{report.counters:,} counters, {report.events:,} events, {report.buckets:,} buckets: "
        f"{'all is as the log says' if report.holds else f'{report.numbers.total():,} differences'}"
        f"{f', {report.pending:,} events pending' if report.pending else ''}."
    )
    numbers = [f"  {number:>8,}  {kind}" for kind, number in report.numbers.most_common()]
    told = [_line(difference) for difference in report.differences]
    untold = report.numbers.total() - len(told)
    facts = {
        "holds": report.holds,
        "counters": report.counters,
        "events": report.events,
        "buckets": report.buckets,
        "pending": report.pending,
        "numbers": dict(report.numbers),
        "differences": [asdict(difference) for difference in report.differences],
    }
    return Outcome(facts, [summary, *numbers, *told, *([f"... and {untold:,} more"] if untold else [])], report.holds)


def _line(difference: Difference) -> str:
    event = f", event {difference.event_id}" if difference.event_id else ""
    second = (
        "" if difference.second is None else f", {datetime.fromtimestamp(difference.second, UTC):%Y-%m-%dT%H:%M:%SZ}"
    )
    return f"{difference.counter_id}{second}{event}: {difference.kind}: {difference.detail}"
