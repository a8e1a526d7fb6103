"""The relational read model asked from the command line: by an argument, by standard input, or at a prompt."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from chalicelib.extras.sql import read_only
from ops import stages
from ops.cli.errors import InputError, OperatorError
from ops.maintenance import sql_prompt, sql_statements
from ops.maintenance.sql_asking import Answer, Questions

if TYPE_CHECKING:
    from chalicelib.settings import Settings

#: What puts an answer where it is wanted.
Writing = Callable[[Answer], None]

#: What lists tables and views, and the columns of one of them.
CATALOGUE = "\\d"


def run(settings: Settings, statement: str | None, write: Writing, timeout_s: int) -> None:
    """
    What is asked is answered: the statement; or else those on standard input, up to the first that is not; or, where
    somebody sits at a terminal, each as it is typed, with its history in the local folder.

    Raises:
        OperatorError: the stage has no relational read model, or there is no database yet; or a statement is refused.
        ReadModelUnavailableError: the database is out of reach.
    """
    questions = Questions(read_only.engine_at(_address(settings)), timeout_s)

    def answer(asked: str) -> None:
        _answer(questions, asked, write)

    if statement is not None:
        answer(statement)
    elif sys.stdin.isatty():
        sql_prompt.run(answer, questions.catalogue, stages.local_folder() / f"sql-history-{settings.stage}")
    else:
        _answer_all(answer, sys.stdin.read())


def _address(settings: Settings) -> str:
    if not settings.sql_reader_url:
        raise OperatorError(
            f"Stage {settings.stage} has no relational read model: set SQL_URL among its environment_variables in "
            ".chalice/config.json, then provision and deploy."
        )
    file = read_only.file_at(settings.sql_reader_url)
    if file and not file.exists():
        raise OperatorError(f"There is no database yet at {file}: `make up`, or `python -m ops provision`, makes it.")
    return settings.sql_reader_url


def _answer_all(answer: sql_prompt.Answering, text: str) -> None:
    ended, rest = sql_statements.split(text)
    asked = [*ended, rest] if rest else ended
    if not asked:
        raise InputError("There is no statement: give one as an argument or on standard input.")
    for number, statement in enumerate(asked):
        if number:
            click.echo()
        answer(statement)


def _answer(questions: Questions, asked: str, write: Writing) -> None:
    first, *names = asked.split()[:2] or [""]
    try:
        if first == CATALOGUE:
            write(_listed(questions, *names))
            return
        with questions.asked(asked) as answer:
            write(answer)
    except KeyboardInterrupt:
        raise OperatorError("Stopped.") from None


def _listed(questions: Questions, name: str = "") -> Answer:
    """Tables and views, each with its columns; or of one of them the columns, each with its type."""
    found = questions.catalogue()
    if name:
        its_own = [(column.name, column.type or None) for column in found if column.table == name]
        if not its_own:
            raise OperatorError(f"There is no table or view {name}; {CATALOGUE} lists those that there are.")
        return Answer(("column", "type"), iter(its_own))
    tables = dict.fromkeys(column.table for column in found)
    rows = [(one, ", ".join(column.name for column in found if column.table == one)) for one in tables]
    return Answer(("name", "columns"), iter(rows))
