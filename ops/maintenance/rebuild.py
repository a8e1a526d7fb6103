"""Repair read models in place, from the log, while workers count events and clients query."""

from collections.abc import Iterator, Sequence

import click

from chalicelib.extras.verification import report as kinds
from chalicelib.extras.verification import verifier
from chalicelib.extras.verification.report import Repaired
from chalicelib.extras.verification.verifier import Comparison
from chalicelib.projections import Projection
from chalicelib.settings import Settings
from ops.cli import progress
from ops.cli.result import Outcome, count
from ops.maintenance import projections, verify
from ops.maintenance.projections import Repair


def rebuild(
    settings: Settings, counter_ids: Sequence[str], selected: Sequence[Projection] = (), *, dry_run: bool = False
) -> Outcome:
    """
    Repair these counters from the log, in these projections. Default: all counters, and all projections.

    Projections are repaired one after the other. If the call is interrupted at any point, the next call completes the
    repair. With `dry_run`, only report the differences.
    """
    selected = selected or settings.projections
    repairs = projections.get_repairs(selected)
    if dry_run:
        return verify.verify(settings, counter_ids, 0, waits=False, selected=selected)
    outcomes = {}
    try:
        for projection in selected:  # in sequence: if the second fails, the first stays repaired
            name = projection.name
            with verify.stage(settings, counter_ids, [projection]) as comparisons:
                outcomes[name] = _repair(projection, repairs[name], comparisons[name])
    except BaseException:
        for outcome in outcomes.values():
            click.echo(outcome.text, err=True)
        raise
    return projections.merge_outcomes(outcomes)


def _repair(projection: Projection, repair: Repair, comparison: Comparison) -> Outcome:
    with progress.bar(f"Repairing the {projection.describe('read model')}", None, "events counted") as advance:
        repaired = repair(comparison, advance)
    (report,) = verifier.report([comparison], lag_s=0, waits=False)
    outcome = verify.to_outcome(report)
    facts = {**outcome.facts, "corrected": dict(repaired.corrected), "failed": repaired.failed}
    return Outcome(facts, [*_summarize(repaired), *(outcome.lines or [])], report.holds and not repaired.failed)


def _summarize(repaired: Repaired) -> Iterator[str]:
    if not repaired.corrected and not repaired.failed:
        yield "Nothing to correct."
    for kind, number in repaired.corrected.most_common():
        yield f"{count(number, 'event')} counted." if kind == kinds.UNCOUNTED else f"{number:,} corrected: {kind}."
    for counter_id, reason in sorted(repaired.failed.items()):
        yield f"Counter {counter_id}: {reason}."
