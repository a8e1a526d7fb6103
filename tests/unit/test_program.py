"""Standard streams, one-line errors and exit statuses of the command lines."""

import io
import json
import os
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import boto3
import click
import pytest
from botocore.exceptions import NoRegionError
from click.testing import CliRunner

from chalicelib import settings
from chalicelib.errors import LogUnavailableError, SettingsError
from ops import stages
from ops.cli import progress
from ops.cli.command import confirm, stage_command
from ops.cli.errors import InputError, OperatorError, OutageError
from ops.cli.program import Program
from ops.cli.result import Outcome

PROJECT = Path(__file__).parent.parent.parent

#: A program with one command, which executes its argument.
PROGRAM = """
import sys, click
from ops.cli.program import Program
source = click.Argument(["source"])
main = Program(commands=[click.Command("run", params=[source], callback=lambda source: exec(source))])
main(prog_name="program")
"""


def run(source, redirections="", **environment):
    """Run the program's command in a shell with these redirections."""
    command = shlex.join([sys.executable, "-c", PROGRAM, "run", source])
    return subprocess.run(
        ["sh", "-c", f"exec {command} {redirections}"],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def invoke(work, **options):
    """Run a program in this process whose command does this work."""
    program = Program(commands=[click.Command("run", callback=work)])
    return CliRunner().invoke(program, ["run"], **options)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (OperatorError("no"), 1, "Error: no\n"),
        (InputError("no"), 2, "Error: no\n"),
        (OutageError("no"), 3, "Error: no\n"),
        (SettingsError("no\nnever"), 1, "Error: no never\n"),
        (LogUnavailableError("no"), 3, "Error: no\n"),
        (NoRegionError(), 3, "Error: No AWS region: set AWS_DEFAULT_REGION, for example to eu-central-1. ("),
        (sqlite3.OperationalError("disk full"), 3, "Error: The temporary file failed: disk full. Set SQLITE_TMPDIR"),
        (PermissionError(13, "Permission denied", "/a"), 3, "Error: Permission denied: /a. Check paths, permissions"),
        (NotADirectoryError(20, "Not a directory", "/a"), 3, "Error: Not a directory: /a. Check paths, permissions"),
        (OSError("no certificates"), 3, "Error: no certificates. Check paths, permissions and free space.\n"),
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
        (KeyboardInterrupt(), 130, "Error: Interrupted. Completed work is kept; run the command again to finish.\n"),
        (KeyboardInterrupt("Stopped."), 130, "Error: Stopped.\n"),
        (click.ClickException("no"), 1, "Error: no\n"),
        (click.exceptions.Exit(1), 1, ""),
    ],
)
def test_expected_error_prints_one_line_and_has_its_exit_status(error, status, line):
    def work():
        raise error

    result = invoke(work)

    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (status, "", bool(line))
    assert result.stderr.startswith(line)


def test_bug_prints_a_traceback_and_has_a_separate_status():
    result = invoke(lambda: int("many"))

    assert result.exit_code == 70
    assert result.stderr.startswith("Traceback")
    assert result.stderr.endswith("ValueError: invalid literal for int() with base 10: 'many'\n")


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_ENDPOINT_URL", "here"), ("AWS_MAX_ATTEMPTS", "many"), ("AWS_DEFAULT_REGION", "a b")]
)
def test_malformed_aws_setting_prints_one_line(monkeypatch, name, value):
    monkeypatch.setenv(name, value)

    result = invoke(lambda: boto3.Session().client("sqs"))

    assert (result.exit_code, result.stderr.count("\n")) == (3, 1)
    assert value in result.stderr


@pytest.mark.parametrize(("terminal", "is_shown"), [("dumb", False), ("xterm", True)])
def test_progress_is_shown_only_where_the_cursor_can_move(capsys, monkeypatch, terminal, is_shown):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", terminal)

    with progress.bar("Reading", 2) as advance, progress.status("Waiting"):
        advance(2)

    assert bool(capsys.readouterr().err) is is_shown


def test_usage_error_exits_with_2():
    result = CliRunner().invoke(Program(commands=[click.Command("run")]), ["run", "--no"])

    assert (result.exit_code, result.stdout) == (2, "")
    assert "No such option" in result.stderr


@pytest.mark.parametrize(("answer", "status"), [("n\n", 1), ("", 1), ("y\n", 0)])
def test_declined_confirmation_exits_with_1(answer, status):
    result = invoke(lambda: click.confirm("Really?", abort=True, err=True), input=answer)

    assert result.exit_code == status
    assert ("Error: Not confirmed. Nothing was changed.\n" in result.stderr) is bool(status)


def test_interrupted_confirmation_exits_with_130():
    class Interrupted(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, _):
            raise KeyboardInterrupt

    result = invoke(lambda: click.confirm("Really?", abort=True, err=True), input=io.BufferedReader(Interrupted()))

    assert result.exit_code == 130
    assert "Error: Interrupted." in result.stderr


def test_interruption_after_the_work_does_not_advise_a_second_run(monkeypatch):
    """Another run of `adjust` without its key would record a second adjustment."""

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "enter", lambda _: settings.current())

    def work_command(_settings):
        monkeypatch.setattr(json, "dumps", interrupt)
        return Outcome({})

    result = CliRunner().invoke(Program(commands=[stage_command(work_command)]), ["work", "--stage", "local", "--json"])

    assert result.exit_code == 130
    assert result.stderr == "Error: Interrupted while printing the result. The work is complete.\n"


def test_confirmation_without_a_terminal_is_refused():
    result = invoke(lambda: confirm("Really?", yes=False))

    assert (result.exit_code, result.stderr) == (1, "Error: Confirmation required: add --yes.\n")


@pytest.mark.parametrize(
    ("source", "redirections", "result"),
    [
        ("print(sys.stdin.read(), sys.stdin.isatty())", "<&-", (0, b" False\n", b"")),
        ("print('a')", "2>&-", (0, b"a\n", b"")),
        ("print('a', file=sys.stderr)", "2>&-", (0, b"", b"")),
        ("raise click.ClickException('no')", "2>&-", (1, b"", b"")),
        ("raise click.ClickException('no')", "2>/dev/full", (1, b"", b"")),
        ("sys.exit(5)", "<&- >&- 2>&-", (5, b"", b"")),
        ("open('/dev/null')", ">&-", (0, b"", b"")),
    ],
)
def test_closed_stream_changes_no_exit_status(source, redirections, result):
    done = run(f"import sys, click\n{source}", redirections)

    assert (done.returncode, done.stdout, done.stderr) == result


@pytest.mark.parametrize(
    ("redirections", "reason"), [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")]
)
@pytest.mark.parametrize("write", ["print('a', flush=True)", "import click; click.echo('a')"])
def test_output_that_cannot_be_written_exits_with_3(redirections, reason, write):
    done = run(write, redirections)

    line = f"Error: {reason}: an open file or stream. Check paths, permissions and free space.\n"
    assert (done.returncode, done.stderr.decode()) == (3, line)


@pytest.mark.parametrize("program", ["ops", "ops.local"])
def test_python_with_only_some_packages_names_the_environment(tmp_path, program):
    """`-S` leaves out the packages of the environment."""
    (tmp_path / "click.py").touch()

    refused = subprocess.run(
        [sys.executable, "-S", "-m", program, "--help"],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (refused.returncode, refused.stderr.count("\n")) == (3, 1)
    assert "Run `. .venv/bin/activate`" in refused.stderr


def test_file_does_not_take_the_place_of_a_closed_stream(tmp_path):
    source = f"import os, sys\nfile = open({str(tmp_path / 'data')!r}, 'w')\nos.write(2, b'error')\nfile.write('data')"

    done = run(source, "2>&-")

    assert (done.returncode, (tmp_path / "data").read_text()) == (0, "data")


def test_closed_pipe_exits_with_141_and_without_a_message():
    done = run("import click\nwhile True: click.echo('a' * 1000)", "| head -n 1")
    reader, writer = os.pipe()
    os.close(reader)
    closed = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--help"], cwd=PROJECT, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)

    assert (done.stdout, done.stderr) == (b"a" * 1000 + b"\n", b"")
    assert (closed.returncode, closed.stderr) == (141, b"")


def test_characters_that_the_output_lacks_are_escaped():
    done = run("import click; click.echo('│ é'); click.echo('│', err=True)", PYTHONIOENCODING="latin-1")

    assert (done.returncode, done.stdout, done.stderr) == (0, b"\\u2502 \xe9\n", b"\\u2502\n")


def test_ctrl_c_exits_with_130():
    done = run("import os, signal; os.kill(os.getpid(), signal.SIGINT); signal.pause()")

    assert (done.returncode, done.stderr.count(b"\n")) == (130, 1)
