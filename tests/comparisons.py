"""Compare a read model with the log, and repair it, without the operators' CLI."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from chalicelib import log_reader
from chalicelib.extras.sql.row_comparison import RowComparison
from chalicelib.extras.verification import verifier
from chalicelib.extras.verification.part_comparison import PartComparison, Scope
from chalicelib.extras.verification.report import Repaired, Report
from chalicelib.extras.verification.staging_db import StagingDb


def ignore(_: int) -> None:
    """Show no progress."""


@contextlib.contextmanager
def stage_parts(scope: Scope, advance: Callable[[int], None] = ignore) -> Iterator[PartComparison]:
    """Provide a comparison of counters' parts, with staged data."""
    with StagingDb() as db:
        comparison = PartComparison(db, scope)
        verifier.stage(db, [comparison], scope.log, advance)
        yield comparison


def verify_parts(
    scope: Scope, *, lag_s: float = 30, waits: bool = True, advance: Callable[[int], None] = ignore
) -> Report:
    """Compare counters' parts with the log."""
    with stage_parts(scope, advance) as comparison:
        return verifier.report([comparison], lag_s=lag_s, waits=waits)[0]


@contextlib.contextmanager
def stage_rows(
    logged: Sequence[str], counter_ids: Sequence[str], advance: Callable[[int], None] = ignore
) -> Iterator[RowComparison]:
    """
    Provide a comparison of rows with the log, with staged data.

    `counter_ids` are the counters whose rows are compared; if it is empty, all rows are. `logged` are the counters
    whose events are staged.
    """
    from chalicelib.extras.sql import read_model
    from chalicelib.extras.sql.row_comparison import RowComparison

    with StagingDb() as db:
        comparison = RowComparison(db, read_model.client(), counter_ids)
        verifier.stage(db, [comparison], [partial(log_reader.scan_counter, name) for name in logged], advance)
        yield comparison


def verify_rows(
    logged: Sequence[str],
    counter_ids: Sequence[str],
    *,
    lag_s: float = 0,
    waits: bool = False,
    advance: Callable[[int], None] = ignore,
) -> Report:
    """Compare rows with the log; see `stage_rows`."""
    with stage_rows(logged, counter_ids, advance) as comparison:
        return verifier.report([comparison], lag_s=lag_s, waits=waits)[0]


def repair_rows(*counter_ids: str) -> Repaired:
    """Repair the rows of these counters."""
    from chalicelib.extras.sql import repair

    with stage_rows(counter_ids, counter_ids) as comparison:
        return repair.repair_all(comparison)
