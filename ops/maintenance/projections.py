"""The projections of a stage: select those that a command applies to, and verify and repair each of them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib.errors import ReadModelUnavailableError
from chalicelib.extras.verification import part_comparison, repair
from chalicelib.extras.verification.part_comparison import PartComparison
from chalicelib.settings import READ_MODEL, SQL
from ops import sql_url
from ops.cli.errors import OperatorError
from ops.cli.result import Outcome
from ops.maintenance import lookups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Engine

    from chalicelib.extras.verification.part_comparison import Scope
    from chalicelib.extras.verification.report import Repaired
    from chalicelib.extras.verification.staging_db import StagingDb
    from chalicelib.extras.verification.verifier import Comparison
    from chalicelib.settings import Receiver, Settings

    Repair = Callable[[Any, Callable[[int], None]], Repaired]

#: Segments of each table that are read concurrently.
_SEGMENTS = 4


@dataclass(frozen=True, slots=True)
class Maintenance:
    """
    The functions that verify a projection and, unless `repair` is None, rebuild it.

    In messages, `adjective` precedes "read model", and `queue_adjective` the names of the queues. `compare` opens a
    comparison, and `repair` corrects the differences.
    """

    adjective: str
    queue_adjective: str
    compare: Callable[[Settings, StagingDb, Sequence[str], Scope], AbstractContextManager[Comparison]]
    repair: Repair | None = None


def select(settings: Settings, name: str | None) -> tuple[str, ...]:
    """
    Return the names of all projections of the stage, or only this one.

    Raises:
        OperatorError: the stage does not have this projection.
    """
    names = tuple(receiver.projection for receiver in settings.receivers)
    if name is None:
        return names
    if name not in names:
        raise OperatorError(
            f"Stage {settings.stage} has no projection {name}. To add it, set SQL_URL in .chalice/config.json, then "
            "provision and deploy."
        )
    return (name,)


def list_receivers(settings: Settings, names: Sequence[str] = ()) -> list[Receiver]:
    """
    Return the receivers of these projections, or of all projections of the stage if there are no names.

    Raises:
        OperatorError: the stage does not have one of the projections.
    """
    for name in names:
        select(settings, name)
    return [receiver for receiver in settings.receivers if not names or receiver.projection in names]


def check_counters(settings: Settings, counter_ids: Sequence[str], names: Sequence[str]) -> None:
    """
    Check that each counter is in the log, or in the read model of one of these projections.

    Raises:
        OperatorError: no such counter.
    """
    if SQL not in names or not counter_ids:
        lookups.check_counters(counter_ids)
        return
    from chalicelib.extras.sql import rows  # noqa: PLC0415  (only loaded if SQL is on)

    with connect_sql(settings) as engine:
        lookups.check_counters(counter_ids, lambda counter_id: rows.has_counter(engine, counter_id))


def select_scope(counter_ids: Sequence[str]) -> Scope:
    """Return the scope of these counters, or of the whole stage if there are none."""
    if counter_ids:
        return part_comparison.select_counters(counter_ids)
    return part_comparison.select_all(_SEGMENTS)


@contextlib.contextmanager
def open_comparisons(
    settings: Settings, db: StagingDb, counter_ids: Sequence[str], scope: Scope, names: Sequence[str]
) -> Iterator[dict[str, Comparison]]:
    """
    Open a comparison of these counters, or of all if there are none, for each of these projections.

    Raises:
        OperatorError: a projection does not support it.
    """
    if unsupported := [name for name in names if name not in MAINTENANCE]:
        raise _unsupported("verify", unsupported)
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(MAINTENANCE[name].compare(settings, db, counter_ids, scope)) for name in names}


def get_repairs(names: Sequence[str]) -> dict[str, Repair]:
    """
    Return the repair of each of these projections.

    Raises:
        OperatorError: a projection does not support it.
    """
    repairs = {name: MAINTENANCE[name].repair for name in names if name in MAINTENANCE}
    if unsupported := [name for name in names if repairs.get(name) is None]:
        raise _unsupported("rebuild", unsupported)
    return repairs  # type: ignore[return-value]


def _unsupported(command: str, names: Sequence[str]) -> OperatorError:
    return OperatorError(
        f"Projection {', '.join(names)} does not support {command}: see MAINTENANCE in ops/maintenance/projections.py. "
        "To choose another projection, pass --projection."
    )


@contextlib.contextmanager
def connect_sql(settings: Settings) -> Iterator[Engine]:
    """
    Provide an engine for the SQL read model, connected as the operator's role.

    Raises:
        OperatorError: the database has no tables.
        ReadModelUnavailableError, ContendedError: the database refuses or does not answer.
    """
    from chalicelib.extras.sql import read_model  # noqa: PLC0415  (only loaded if SQL is on)

    with read_model.open_engine(sql_url.address(settings)) as engine:
        try:
            has_schema = read_model.has_schema(engine)
        except ReadModelUnavailableError as error:
            raise ReadModelUnavailableError(f"{error} (--projection {READ_MODEL} does without it)") from error
        if not has_schema:
            raise OperatorError(
                f"The SQL read model of stage {settings.stage} has no tables: run provision and deploy first."
            )
        yield engine


def describe_read_model(name: str) -> str:
    """Return the user-facing name of this projection's read model."""
    return f"{MAINTENANCE[name].adjective if name in MAINTENANCE else f'{name} '}read model"


def describe_queue(name: str) -> str:
    """Return the user-facing name of this projection's queue."""
    return f"{_queue_adjective(name)}projection queue"


def describe_dead_letter_queue(name: str) -> str:
    """Return the user-facing name of this projection's dead-letter queue."""
    return f"{_queue_adjective(name)}dead-letter queue"


def _queue_adjective(name: str) -> str:
    return MAINTENANCE[name].queue_adjective if name in MAINTENANCE else f"{name} "


def merge_facts(by_projection: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the facts of the DynamoDB read model, plus a member with the facts of each other projection."""
    optional = {name: dict(facts) for name, facts in by_projection.items() if name != READ_MODEL}
    return {**by_projection.get(READ_MODEL, {}), **optional}


def merge_outcomes(outcomes: Mapping[str, Outcome]) -> Outcome:
    """Return one outcome for all projections. It holds if each outcome holds."""
    lines: list[str] = []
    for name, outcome in outcomes.items():
        if name != READ_MODEL:
            title = describe_read_model(name)
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


MAINTENANCE = {
    READ_MODEL: Maintenance("", "", _compare_parts, repair.repair_all),
    SQL: Maintenance("SQL ", "SQL ", _compare_rows, _repair_rows),
}
