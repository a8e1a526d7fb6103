"""Run commands: prepare the standard streams, report errors and set the exit status."""

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from ops.cli import errors


class Program(click.Group):
    """A group of commands that prints an expected error as one line. docs/maintenance.md lists the exit codes."""

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None, *_: Any, **_options: Any
    ) -> NoReturn:
        """Run the command that the arguments name, and exit."""
        _prepare_streams()
        status = 0
        try:
            with self.make_context(prog_name, [*(sys.argv[1:] if args is None else args)]) as context:
                self.invoke(context)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (a failure must not look like a difference)
            status = errors.exit_status(error)
            with contextlib.suppress(OSError):
                _report(error)
        _drop_unwritten_output()
        sys.exit(status)


def _prepare_streams() -> None:
    """
    Open the standard streams that are closed, and escape characters that their encodings lack.

    Otherwise, the next opened file would get a closed stream's descriptor, and with it the stream's output. A closed
    input becomes empty, closed error output is dropped, and a write to closed output still fails.
    """
    for name, flags, mode in (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, flags)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _report(error: BaseException) -> None:
    """Print the error on standard error: in one line if it is expected, else with its traceback."""
    if isinstance(error, click.exceptions.Exit | BrokenPipeError):
        return
    if isinstance(error, click.ClickException):
        error.show()
    elif isinstance(error, errors.EXPECTED) or errors.is_malformed_aws_setting(error):
        click.echo(f"Error: {errors.describe(error)}", err=True)
    else:
        traceback.print_exception(error)


def _drop_unwritten_output() -> None:
    """Drop output that cannot be written. Python would try again on exit, and change the exit status."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
