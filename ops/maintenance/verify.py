"""Compare the stage's read models with its log."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from chalicelib.extras.verification import verifier
from chalicelib.extras.verification.report import Difference, Report
from chalicelib.extras.verification.verifier import Comparison
from chalicelib.projections import Projection
from chalicelib.settings import Settings
from ops.cli import progress
from ops.cli.result import Outcome, count
from ops.maintenance import lookups, projections

_SINGULAR = {"entries": "entry", "rows": "row"}


def verify(
    settings: Settings, counter_ids: Sequence[str], lag_s: float, *, waits: bool, selected: Sequence[Projection] = ()
) -> Outcome:
    """Compare these counters with the log, in these projections. Default: all counters, and all projections."""
    with stage(settings, counter_ids, selected or settings.projections) as comparisons:

        def announce(pending: int) -> None:
            click.echo(f"Waiting for {count(pending, 'pending event')}, at most {lag_s:,.0f} s.", err=True)

        reports = verifier.report(list(comparisons.values()), lag_s=lag_s, waits=waits, announce=announce)
    return projections.merge_outcomes(dict(zip(comparisons, map(to_outcome, reports), strict=True)))


@contextlib.contextmanager
def stage(
    settings: Settings, counter_ids: Sequence[str], selected: Sequence[Projection]
) -> Iterator[dict[str, Comparison]]:
    """Provide the comparisons of these projections with the log, by the projection's name."""
    tables = (settings.event_log_table, settings.counters_table, settings.archive_table)
    total = None if counter_ids else lookups.approximate_item_count(*tables)
    with contextlib.ExitStack() as stack:
        with progress.bar("Comparing", total, "events and items") as advance:
            staged = projections.stage_comparisons(settings, counter_ids, selected, advance)
            _, comparisons = stack.enter_context(staged)
        yield comparisons


def to_outcome(report: Report) -> Outcome:
    """Return the outcome of a comparison."""
    numbers = report.numbers
    result = "the read model matches the log" if report.holds else count(numbers.total(), "difference")
    pending = f", {count(report.pending, 'event')} pending" if report.pending else ""
    entries = count(report.entries, _SINGULAR[report.unit], report.unit)
    summary = f"{count(report.counters, 'counter')}, {count(report.events, 'event')}, {entries}: {result}{pending}."
    lines = [
        summary,
        *(f"  {number:>8,}  {kind}" for kind, number in numbers.most_common()),
        *map(_describe, report.differences),
    ]
    if unlisted := numbers.total() - len(report.differences):
        lines.append(f"... and {unlisted:,} more")
    facts = {
        "holds": report.holds,
        "counters": report.counters,
        "events": report.events,
        report.unit: report.entries,
        "pending": report.pending,
        "numbers": dict(numbers),
        "differences": [asdict(difference) for difference in report.differences],
    }
    return Outcome(facts, lines, report.holds)


def _describe(difference: Difference) -> str:
    event = f", event {difference.event_id}" if difference.event_id else ""
    return f"{difference.counter_id}{event}: {difference.kind}: {difference.detail}"
