"""Select the projections that a command applies to, and verify and repair their read models."""

import contextlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib.errors import DamagedReadModelError, ReadModelUnavailableError
from chalicelib.extras.verification import part_comparison, repair, verifier
from chalicelib.extras.verification.part_comparison import PartComparison, Scope
from chalicelib.extras.verification.report import Repaired
from chalicelib.extras.verification.staging_db import StagingDb
from chalicelib.extras.verification.verifier import Comparison
from chalicelib.projections import PROJECTIONS, READ_MODEL, SQL, Projection
from chalicelib.settings import Settings
from ops import stages
from ops.cli.errors import OperatorError
from ops.cli.result import Outcome
from ops.maintenance import lookups

if TYPE_CHECKING:
    from sqlalchemy import Engine

Repair = Callable[[Any, Callable[[int], None]], Repaired]

#: The number of segments of each table that are read concurrently.
_SEGMENTS = 4


@dataclass(frozen=True, slots=True)
class Maintenance:
    """
    The functions that verify a projection and, unless `repair` is None, rebuild it.

    `compare` opens a comparison, and `repair` corrects the differences. `count_events` returns the number of counted
    events, or None if the read model is damaged.
    """

    compare: Callable[[Settings, StagingDb, Sequence[str], Scope], AbstractContextManager[Comparison]]
    repair: Repair | None = None
    count_events: Callable[[], int | None] = lambda: None


def select(settings: Settings, names: Sequence[str] = ()) -> tuple[Projection, ...]:
    """Return the projections of the stage: those with these names, or all if there are no names."""
    available = {projection.name: projection for projection in settings.projections}
    for name in names:
        if name not in available:
            setting = _BY_NAME[name].setting
            raise OperatorError(
                f"Stage {settings.stage} has no projection {name}. To add it, set {setting} in .chalice/config.json, "
                "then provision and deploy."
            )
    return tuple(projection for name, projection in available.items() if not names or name in names)


def check_counters(settings: Settings, counter_ids: Sequence[str], selected: Sequence[Projection]) -> None:
    """Check that each counter is in the log, the DynamoDB read model or, if SQL is selected, the SQL read model."""
    if SQL not in selected or not counter_ids:
        lookups.check_counters(counter_ids)
        return
    from chalicelib.extras.sql import rows  # noqa: PLC0415  (only loaded if SQL is on)

    with connect_sql(settings) as engine:
        lookups.check_counters(counter_ids, lambda counter_id: rows.has_counter(engine, counter_id))


@contextlib.contextmanager
def stage_comparisons(
    settings: Settings,
    counter_ids: Sequence[str],
    selected: Sequence[Projection],
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[StagingDb, dict[str, Comparison]]]:
    """
    Read the log and these projections' read models into a temporary database. Without `counter_ids`, read all counters.

    Yield the database and the comparisons by projection.
    """
    _check_support("verify", selected, MAINTENANCE)
    scope = part_comparison.select_counters(counter_ids) if counter_ids else part_comparison.select_all(_SEGMENTS)
    with contextlib.ExitStack() as stack:
        db, names = stack.enter_context(StagingDb()), [projection.name for projection in selected]
        opened = {name: MAINTENANCE[name].compare(settings, db, counter_ids, scope) for name in names}
        comparisons = {name: stack.enter_context(comparison) for name, comparison in opened.items()}
        verifier.stage(db, list(comparisons.values()), scope.log, advance)
        yield db, comparisons


def get_repairs(selected: Sequence[Projection]) -> dict[str, Repair]:
    """Return the function that repairs each of these projections, by the projection's name."""
    known = {name: maintenance.repair for name, maintenance in MAINTENANCE.items() if maintenance.repair}
    _check_support("rebuild", selected, known)
    return {projection.name: known[projection.name] for projection in selected}


def count_events(projection: Projection) -> int | None:
    """Return the number of events that this projection has counted, or None if it is unknown."""
    maintenance = MAINTENANCE.get(projection.name)
    return maintenance.count_events() if maintenance else None


def _check_support(command: str, selected: Sequence[Projection], known: Container[str]) -> None:
    if unsupported := [projection.name for projection in selected if projection.name not in known]:
        raise OperatorError(
            f"The projections must support {command}, got {', '.join(unsupported)}. To add support, see MAINTENANCE in "
            "ops/maintenance/projections.py. To choose other projections, pass --projection."
        )


@contextlib.contextmanager
def connect_sql(settings: Settings) -> "Iterator[Engine]":
    """Provide an engine for the SQL read model, connected with SQL_OWNER_URL if it is set, else with SQL_URL."""
    from chalicelib.extras.sql import read_model  # noqa: PLC0415  (only loaded if SQL is on)

    with read_model.open_engine(stages.find_sql_url(settings)) as engine:
        try:
            has_schema = read_model.has_schema(engine)
        except ReadModelUnavailableError as error:
            raise ReadModelUnavailableError(
                f"{error} (--projection {READ_MODEL.name} does not need the SQL database)"
            ) from error
        if not has_schema:
            raise OperatorError(
                f"The SQL read model of stage {settings.stage} has no tables: run provision and deploy first."
            )
        yield engine


def describe(name: str, thing: str) -> str:
    """Return the user-facing name of this projection's read model, projection queue or dead-letter queue."""
    return _BY_NAME[name].describe(thing)


def merge_facts(by_projection: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the facts of the DynamoDB read model, plus a member with the facts of each other projection."""
    optional = {name: dict(facts) for name, facts in by_projection.items() if name != READ_MODEL.name}
    return {**by_projection.get(READ_MODEL.name, {}), **optional}


def merge_outcomes(outcomes: Mapping[str, Outcome]) -> Outcome:
    """Return one outcome for all projections. Its `holds` is true if it is true in each outcome."""
    lines: list[str] = []
    for name, outcome in outcomes.items():
        if name != READ_MODEL.name:
            title = describe(name, "read model")
            lines.append(f"{title[0].upper()}{title[1:]}:")
        lines += outcome.text.splitlines()
    facts = merge_facts({name: outcome.facts for name, outcome in outcomes.items()})
    return Outcome(facts, lines, all(outcome.holds for outcome in outcomes.values()))


@contextlib.contextmanager
def _compare_parts(
    _settings: Settings, db: StagingDb, _counter_ids: Sequence[str], scope: Scope
) -> Iterator[PartComparison]:
    yield PartComparison(db, scope)


@contextlib.contextmanager
def _compare_rows(settings: Settings, db: StagingDb, counter_ids: Sequence[str], _scope: Scope) -> Iterator[Comparison]:
    from chalicelib.extras.sql.row_comparison import RowComparison  # noqa: PLC0415  (only loaded if SQL is on)

    with connect_sql(settings) as engine:
        yield RowComparison(db, engine, counter_ids)


def _repair_rows(comparison: Any, advance: Callable[[int], None]) -> Repaired:
    from chalicelib.extras.sql import repair as sql_repair  # noqa: PLC0415  (only loaded if SQL is on)

    return sql_repair.repair_all(comparison, advance)


def _count_rows() -> int:
    from chalicelib.extras.sql import read_model  # noqa: PLC0415  (only loaded if SQL is on)

    return read_model.get_size()


def _count_entries() -> int | None:
    # This module reads the stage's settings once, on import.
    from chalicelib.read_model import items, store  # noqa: PLC0415

    try:
        return sum(items.decode_totals(item).version for response in store.scan_parts() for item in response)
    except DamagedReadModelError:
        return None


_BY_NAME = {projection.name: projection for projection in PROJECTIONS}

#: The functions of each projection, by its name. `verify` and `rebuild` refuse a projection without an entry.
MAINTENANCE = {
    READ_MODEL.name: Maintenance(_compare_parts, repair.repair_all, _count_entries),
    SQL.name: Maintenance(_compare_rows, _repair_rows, _count_rows),
}
