"""A prompt for questions in SQL: names are completed, what was asked is remembered, and no error ends it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, WordCompleter
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import PostgresLexer

from ops.cli import errors
from ops.maintenance import sql_statements

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from prompt_toolkit.completion import CompleteEvent, Completion
    from prompt_toolkit.document import Document
    from prompt_toolkit.key_binding import KeyPressEvent

    from ops.maintenance.sql_asking import Column

Answering = Callable[[str], None]

_HELP = """\
A statement may span lines, and ends with a semicolon. Nothing can be written here.
  \\d          tables and views with their columns
  \\d NAME     the columns of one of them, with their types
  Tab         completes names
  Ctrl-C      cancels what is typed, or stops what runs
  Ctrl-D      ends"""

_WORD = re.compile(r"\w+")

_ENDS = frozenset({"\\q", "quit", "exit"})
_HELPS = frozenset({"help", "\\?", "\\h"})


def run(answer: Answering, catalogue: Callable[[], list[Column]], history: Path) -> None:
    """
    Each statement that is typed is answered, until somebody ends it. What cannot be answered is told in one line.

    Raises:
        ReadModelUnavailableError: the database is out of reach from the beginning.
    """
    columns = catalogue()
    history.parent.mkdir(parents=True, exist_ok=True)
    history.touch(mode=0o600)
    session: PromptSession[str] = PromptSession(
        history=FileHistory(str(history)),
        completer=completer(columns),
        lexer=PygmentsLexer(PostgresLexer),
        key_bindings=_keys(),
        multiline=True,
        prompt_continuation="   ...> ",
    )
    click.echo("Questions in SQL, each ended with a semicolon. \\d lists tables and views; help says more.")
    while True:
        try:
            typed = session.prompt("sql> ").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if _without_semicolon(typed) in _ENDS:
            return
        _answer_all(answer, typed)


def completer(columns: Iterable[Column]) -> Completer:
    """Completes the names of these, and of their tables and views, whatever their case, once one of them is begun."""
    names = {name for column in columns for name in (column.table, column.name)}
    return _OfBegun(WordCompleter(sorted(names), ignore_case=True, pattern=_WORD))


class _OfBegun(Completer):
    def __init__(self, words: Completer) -> None:
        self._words = words

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        if complete_event.completion_requested or document.get_word_before_cursor(pattern=_WORD):
            yield from self._words.get_completions(document, complete_event)


def _asked(typed: str) -> list[str]:
    """What is to be answered of what was typed, in order."""
    if typed.startswith("\\d"):
        return [_without_semicolon(typed)]
    if _without_semicolon(typed) in _HELPS:
        click.echo(_HELP)
        return ["\\d"]
    return sql_statements.split(typed)[0]


def _answer_all(answer: Answering, typed: str) -> None:
    """Up to the first that cannot be answered, which is told."""
    try:
        for asked in _asked(typed):
            answer(asked)
    except errors.FORESEEN as error:
        click.echo(f"Error: {errors.in_one_line(error)}", err=True)
    except KeyboardInterrupt:  # before it was asked, or after
        click.echo("Error: Stopped.", err=True)


def _without_semicolon(typed: str) -> str:
    return typed.rstrip("; \t\n")


def _is_complete(typed: str) -> bool:
    """Whether it is to be answered now, or goes on in another line."""
    line = typed.strip()
    if not line or line.startswith("\\") or _without_semicolon(line) in _ENDS | _HELPS:
        return True
    return not sql_statements.split(line)[1]


def _keys() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter", filter=has_focus(DEFAULT_BUFFER))
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if _is_complete(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.newline(copy_margin=False)

    return bindings
