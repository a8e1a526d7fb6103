"""The prompt for questions in SQL, typed at: what goes on, what ends it, what is completed and what is remembered."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from ops import stages
from ops.cli.errors import OperatorError
from ops.maintenance import sql_prompt
from ops.maintenance.sql_asking import Column

pytestmark = pytest.mark.sample(1)

COLUMNS = [Column("events", "counter_id", "text"), Column("events", "amount", "bigint"), Column("daily", "day", "date")]

CTRL_C, CTRL_D = "\x03", "\x04"


@pytest.fixture
def at_prompt(tmp_path):
    """Types, and gives what was asked by then; what holds `wrong` is refused, and `stopped` stopped."""

    def type_in(typed):
        asked = []

        def answer(statement):
            asked.append(statement)
            if "wrong" in statement:
                raise OperatorError("It is wrong.")
            if "stopped" in statement:
                raise KeyboardInterrupt

        with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
            keys.send_text(typed)
            sql_prompt.run(answer, lambda: COLUMNS, tmp_path / "local" / "history")
        return asked

    return type_in


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        (f"SELECT 1;\r{CTRL_D}", ["SELECT 1"]),
        (f"SELECT\r1\r;\r{CTRL_D}", ["SELECT\n1"]),
        (f"SELECT ';\r';\r{CTRL_D}", ["SELECT ';\n'"]),
        (f"SELECT 1; SELECT 2;\r{CTRL_D}", ["SELECT 1", "SELECT 2"]),
        (f"SELECT 1; SELECT\r2;\r{CTRL_D}", ["SELECT 1", "SELECT\n2"]),
        (f"\r  \r;\r{CTRL_D}", []),
        (f"SELECT wrong;\rSELECT 2;\r{CTRL_D}", ["SELECT wrong", "SELECT 2"]),
        (f"SELECT wrong; SELECT 2;\rSELECT 3;\r{CTRL_D}", ["SELECT wrong", "SELECT 3"]),
        (f"SELECT stopped; SELECT 2;\rSELECT 3;\r{CTRL_D}", ["SELECT stopped", "SELECT 3"]),
        (f"SELECT half{CTRL_C}SELECT 1;\r{CTRL_D}", ["SELECT 1"]),
        (f"\\d\r\\d events;\r{CTRL_D}", ["\\d", "\\d events"]),
        ("SELECT 1;\rquit\rSELECT 2;\r", ["SELECT 1"]),
        ("exit;\r", []),
        ("\\q\r", []),
        (f"help\r{CTRL_D}", ["\\d"]),
    ],
)
def test_what_is_typed_is_asked_when_it_is_complete(at_prompt, typed, asked):
    assert at_prompt(typed) == asked


def test_an_error_is_one_line_and_help_says_how_to_end(at_prompt, capsys):
    at_prompt(f"wrong;\rhelp;\r{CTRL_D}")

    written = capsys.readouterr()
    assert written.err == "Error: It is wrong.\n"
    assert "Ctrl-D" in written.out


@pytest.mark.parametrize(
    ("begun", "offered"),
    [
        ("SELECT cou", ["counter_id"]),
        ("SELECT e.AMO", ["amount"]),
        ("SELECT day, d", ["daily", "day"]),
        ("x", []),
        ("SELECT ", []),
    ],
)
def test_names_of_tables_views_and_columns_are_completed(begun, offered):
    completer = sql_prompt.completer(COLUMNS)

    assert [one.text for one in completer.get_completions(Document(begun), CompleteEvent())] == offered


def test_all_names_are_offered_to_whom_asks_for_them():
    asked_for = CompleteEvent(completion_requested=True)

    offered = [one.text for one in sql_prompt.completer(COLUMNS).get_completions(Document(""), asked_for)]

    assert offered == ["amount", "counter_id", "daily", "day", "events"]


def test_what_was_typed_is_remembered_for_the_same_user_only(at_prompt, tmp_path):
    at_prompt(f"SELECT 'before';\r{CTRL_D}")

    up = "\x1b[A"
    assert at_prompt(f"{up}\r{CTRL_D}") == ["SELECT 'before'"]
    assert (tmp_path / "local" / "history").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_at_a_terminal_statements_are_answered_stopped_and_remembered(database, tmp_path):
    """In a process of its own, at a terminal of its own, as somebody would."""
    local = tmp_path / "local"
    local.mkdir()
    os.link(tmp_path / "read-model.sqlite", local / "counter.sqlite")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ops", "sql", "--stage", "local"],
        cwd=stages.PROJECT,
        env={**os.environ, "LOCAL_FOLDER": str(local), "TERM": "xterm", "COLUMNS": "100"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        seen = Screen(ours)
        seen.until("sql>")
        seen.type("SELECT 6 * 7\r")
        seen.type("AS answer;\r")
        seen.until("(1 row)")
        seen.until("sql>")
        seen.type("DELETE FROM events;\r")
        seen.until("Refused, for only reading is allowed here.")
        seen.until("sql>")
        endless = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r"
        seen.type(f"SELECT 'it ' || 'begins'; {endless};\r")
        seen.until("it begins")
        # From here on it is answering that is stopped, and not typing. SQLite does not tell when it is at work itself.
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        seen.until("Error: Stopped.")
        seen.until("sql>")
        seen.type("SELECT 'still ' || 'here';\r")
        seen.until("still here")
        seen.until("sql>")
        seen.type(CTRL_D)
        status = process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert status == 0
    assert "SELECT 6 * 7" in (local / "sql-history-local").read_text()


class Screen:
    """What a terminal got to show."""

    def __init__(self, terminal):
        self.written = b""
        self._terminal = terminal
        self._seen = 0

    def type(self, keys):
        os.write(self._terminal, keys.encode())

    def read(self):
        if select.select([self._terminal], [], [], 1)[0]:
            more = os.read(self._terminal, 65536)
            if b"\x1b[6n" in more:  # it asks where the cursor is
                self.type("\x1b[1;1R")
            self.written += more

    def until(self, text):
        deadline = time.monotonic() + 60
        while (at := self.written.find(text.encode(), self._seen)) < 0:
            assert time.monotonic() < deadline, self.written
            self.read()
        self._seen = at + len(text)
