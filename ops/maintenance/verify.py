"""Verify: whether the stage's read models are what its log says."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from chalicelib.extras.verification import comparison
from chalicelib.settings import PROJECTIONS, READ_MODEL, SQL
from ops.cli import progress
from ops.cli.result import Outcome
from ops.maintenance import lookups, parallel, projections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chalicelib.extras.verification.comparison import Readings
    from chalicelib.extras.verification.report import Difference, Report
    from chalicelib.settings import Settings


def verify(
    settings: Settings,
    counter_ids: Sequence[str],
    lag_s: float,
    *,
    waits: bool,
    names: Sequence[str] = PROJECTIONS,
) -> Outcome:
    """
    What these projections, of those that the stage has, made of these counters, or of all if there are none, has been
    compared with the log, which is read once for all.

    Raises:
        OperatorError: the relational read model has no tables.
        LogUnavailableError, ReadModelUnavailableError, ContendedError: nothing is known.
    """
    chosen = [receiver.projection for receiver in projections.receivers(settings, names)]
    readings = comparison.some(counter_ids) if counter_ids else comparison.everything(parallel.PARTS)

    def read_model(readings: Readings) -> Outcome:
        about = (
            None
            if counter_ids
            else sum(
                map(lookups.about_how_many, (settings.event_log_table, settings.counters_table, settings.archive_table))
            )
        )
        with progress.bar("Verifying", about, "events and items") as advance:
            report = comparison.verify(readings, lag_s=lag_s, waits=waits, advance=advance)
        return outcome(report)

    if SQL not in chosen:
        return read_model(readings)
    from ops.maintenance import sql_verify  # noqa: PLC0415  (nothing of it is loaded where SQL is off)

    first = read_model if READ_MODEL in chosen else None
    return projections.together(
        sql_verify.verify(settings, counter_ids, readings, lag_s=lag_s, waits=waits, first=first)
    )


def outcome(report: Report, kept_in: str = "entries") -> Outcome:
    """Return what to print of a report. `kept_in` names what it read of the read model: `entries` or `rows`."""
    kept = getattr(report, kept_in)
    summary = (
        f"{report.counters:,} counters, {report.events:,} events, {kept:,} {kept_in}: "
        f"{'the read model is what the log says' if report.holds else f'{report.numbers.total():,} differences'}"
        f"{f', {report.pending:,} events pending' if report.pending else ''}."
    )
    numbers = [f"  {number:>8,}  {kind}" for kind, number in report.numbers.most_common()]
    told = [_line(difference) for difference in report.differences]
    untold = report.numbers.total() - len(told)
    facts = {
        "holds": report.holds,
        "counters": report.counters,
        "events": report.events,
        kept_in: kept,
        "pending": report.pending,
        "numbers": dict(report.numbers),
        "differences": [asdict(difference) for difference in report.differences],
    }
    return Outcome(facts, [summary, *numbers, *told, *([f"... and {untold:,} more"] if untold else [])], report.holds)


def _line(difference: Difference) -> str:
    event = f", event {difference.event_id}" if difference.event_id else ""
    return f"{difference.counter_id}{event}: {difference.kind}: {difference.detail}"
