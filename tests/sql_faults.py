"""Faults between the SQL read model and its database, below SQLAlchemy and above the driver."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import Engine, event

from testkit.faults import DiedError


@dataclass(frozen=True)
class Step:
    """A statement or a commit on a connection of the driver. `carry_out` runs it."""

    operation: str
    connection: Any
    carry_out: Callable[[], None]


Fault = Callable[[Step], None]


def no_fault(step: Step) -> None:
    """Run the step."""
    step.carry_out()


def die_before(step: Step) -> None:
    """End the function before the step."""
    raise DiedError(step.operation)


def die_after(step: Step) -> None:
    """End the function after the step."""
    step.carry_out()
    raise DiedError(step.operation)


def abort(step: Step) -> None:
    """Let the database abort the transaction because of a concurrent one."""
    raise conflict(step.connection, "40001")


def lose_connection(step: Step) -> None:
    """Break the connection before the step."""
    step.connection.close()
    raise psycopg.OperationalError("the connection is lost")


def lose_answer(step: Step) -> None:
    """Break the connection after the step."""
    step.carry_out()
    lose_connection(step)


def conflict(connection: Any, code: str) -> Exception:
    """Return the driver's error for a conflict with this code. SQLite has a single code."""
    if isinstance(connection, sqlite3.Connection):
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        return error
    failure = psycopg.OperationalError(f"change conflicts with another transaction ({code})")
    failure.sqlstate = code
    return failure


@contextlib.contextmanager
def inject(engine: Engine, fault: Callable[[int, Step], None]) -> Iterator[list[str]]:
    """Pass each step, numbered from 0, through the fault. Yield the list of steps."""
    steps: list[str] = []

    def run_step(operation: str, connection: Any, carry_out: Callable[[], None]) -> None:
        steps.append(operation)
        fault(len(steps) - 1, Step(operation, connection, carry_out))

    def execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        operation = " ".join(statement.split()[:3])
        run_step(operation, cursor.connection, lambda: dialect.do_execute(cursor, statement, parameters, context))
        return True

    def commit(connection: Any) -> None:
        # The pool wraps the driver's connection.
        raw = getattr(connection, "driver_connection", connection)
        run_step("COMMIT", raw, lambda: original_commit(connection))

    with engine.connect():
        pass  # keep the statements of a first connection out of the steps
    dialect: Any = engine.dialect
    original_commit = dialect.do_commit
    event.listen(engine, "do_execute", execute)
    dialect.do_commit = commit
    try:
        yield steps
    finally:
        del dialect.do_commit
        event.remove(engine, "do_execute", execute)
