"""Rebuild: repair the read model in place, from the log, while increments are counted and queries answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.extras.verification import comparison
from chalicelib.extras.verification import report as kinds
from chalicelib.extras.verification.comparison import Comparison
from chalicelib.extras.verification.repair import Repaired, repair_all
from ops.cli import progress
from ops.cli.result import Outcome
from ops.maintenance import lookups, parallel, verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chalicelib.settings import Settings

#: Later than every event: whatever is not counted is to be counted.
_NOTHING_IS_YOUNG = 1 << 62


def rebuild(settings: Settings, counter_ids: Sequence[str], *, dry_run: bool = False) -> Outcome:
    """
    Make the read model of these counters, or of all if there are none, what the log says.

    Each difference is corrected in place, by conditional writes; events that are not counted are counted, the oldest
    first. Cut off anywhere, the next call finishes it. With `dry_run`, nothing is written, and the outcome says what
    would be.

    Raises:
        LogUnavailableError, ReadModelUnavailableError: DynamoDB throttles or does not answer. Run it again.
    """
    readings = comparison.some(counter_ids) if counter_ids else comparison.everything(parallel.PARTS)
    about = None
    if not counter_ids:
        tables = (settings.event_log_table, settings.counters_table, settings.archive_table)
        about = sum(map(lookups.about_how_many, tables))
    with progress.bar("Comparing", about, "events and items") as advance, Comparison(advance) as found:
        found.read(readings)
        if dry_run:
            for key in found.parts():
                found.report_part(key, _NOTHING_IS_YOUNG)
            return verify.outcome(found.finish())
        return _repaired(found)


def _repaired(found: Comparison) -> Outcome:
    with progress.bar("Repairing", None, "events counted") as advance:
        repaired = repair_all(found, advance)
    for key in found.parts():
        found.report_part(key, _NOTHING_IS_YOUNG)
    report = found.finish()
    outcome = verify.outcome(report)
    facts = {**outcome.facts, "corrected": dict(repaired.corrected), "unsettled": sorted(repaired.unsettled)}
    lines = [*_summary(repaired), *(outcome.lines or [])]
    return Outcome(facts, lines, holds=report.holds and not repaired.unsettled)


def _summary(repaired: Repaired) -> Iterator[str]:
    if not repaired.corrected and not repaired.unsettled:
        yield "Nothing to correct."
    for kind, number in repaired.corrected.most_common():
        yield f"{number:,} events counted." if kind == kinds.UNCOUNTED else f"{number:,} corrected: {kind}."
    for counter_id in sorted(repaired.unsettled):
        yield f"Counter {counter_id} changed at every try. Run rebuild again."
