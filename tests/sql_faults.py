"""Faults between the SQL read model and its database, below SQLAlchemy and above the driver."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import event

from tests.faults import DiedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


@dataclass(frozen=True)
class Step:
    """A statement or the end of a transaction on a connection of the driver. `carry_out` runs it."""

    what: str
    connection: Any
    carry_out: Callable[[], None]


Fault = Callable[[Step], None]


def no_fault(step: Step) -> None:
    """Run the step."""
    step.carry_out()


def die_before(step: Step) -> None:
    """End the function before the step."""
    raise DiedError(step.what)


def die_after(step: Step) -> None:
    """End the function after the step."""
    step.carry_out()
    raise DiedError(step.what)


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
    """Return the driver's error for a conflict with this code. SQLite has only one."""
    if isinstance(connection, sqlite3.Connection):
        locked = sqlite3.OperationalError("database is locked")
        locked.sqlite_errorcode = sqlite3.SQLITE_BUSY
        return locked
    found = psycopg.OperationalError(f"change conflicts with another transaction ({code})")
    found.sqlstate = code
    return found


@contextlib.contextmanager
def met(engine: Engine, fault: Callable[[int, Step], None]) -> Iterator[list[str]]:
    """Pass each step, from 0, through the fault; yield the steps."""
    steps: list[str] = []

    def take(what: str, connection: Any, carry_out: Callable[[], None]) -> None:
        steps.append(what)
        fault(len(steps) - 1, Step(what, connection, carry_out))

    def execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        what = " ".join(statement.split()[:3])
        take(what, cursor.connection, lambda: dialect.do_execute(cursor, statement, parameters, context))
        return True

    def commit(connection: Any) -> None:
        # What the pool hands out stands for the driver's own.
        raw = getattr(connection, "driver_connection", connection)
        take("COMMIT", raw, lambda: usual_commit(connection))

    with engine.connect():
        pass  # or what a first connection asks for would be among the steps
    dialect: Any = engine.dialect
    usual_commit = dialect.do_commit
    event.listen(engine, "do_execute", execute)
    dialect.do_commit = commit
    try:
        yield steps
    finally:
        del dialect.do_commit
        event.remove(engine, "do_execute", execute)
