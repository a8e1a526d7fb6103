"""Make commands with the options --stage and --json, and ask for confirmation."""

import functools
import json
import sys
from collections.abc import Callable
from typing import Any

import click

from ops import stages
from ops.cli import errors
from ops.cli.result import Outcome


def stage_command(
    work: Callable[..., Outcome],
    *,
    prepare: Callable[..., dict[str, Any] | None] | None = None,
    check_log: bool = False,
    option: str = "--stage",
) -> click.Command:
    """
    Make a click command that enters a stage, calls `work(settings, **options)` and prints the outcome.

    The name of `work`, without `_command`, becomes the command's name, and its docstring becomes the help. `prepare` is
    called first, with the stage's name and the options. It may return options, which are added to those of the command
    line or replace them. With `check_log`, the command refuses to start if SHARDS differs from its value in the data
    stack. `option` is the option for the stage's name.

    `work` must import the modules of `ops` in its body, because some of them read the stage's environment on import.
    """

    @click.command
    @click.option(option, "stage", required=True, help="Stage in .chalice/config.json.")
    @click.option("--json", "as_json", is_flag=True, help="Output JSON.")
    @functools.wraps(work)
    def run(stage: str, as_json: bool, **options: Any) -> None:
        if prepare:
            options |= prepare(stage, **options) or {}
        settings = stages.enter(stage)
        _check_target(stage)
        if check_log:
            from ops.deployment import provision

            provision.check_log(settings)
        outcome = work(settings, **options)
        try:
            click.echo(json.dumps(outcome.facts, indent=2) if as_json else outcome.text, err=outcome.is_on_stderr)
        except KeyboardInterrupt:  # the default message would advise the operator to run the command again
            raise KeyboardInterrupt("Interrupted while printing the result. The work is complete.") from None
        if not outcome.holds:
            raise click.exceptions.Exit(1)

    return run


#: `stage_command` for commands that use the event log: they refuse to start if SHARDS differs from the log's.
log_command = functools.partial(stage_command, check_log=True)


def _check_target(stage: str) -> None:
    """
    Refuse AWS settings that send requests to more than one place.

    In a terminal, report that a stage other than local is on the embedded AWS, which the operator may not expect.
    """
    from ops import target

    if stage != stages.LOCAL_STAGE and (address := target.find_embedded_aws()) and sys.stderr.isatty():
        click.echo(
            f"Stage {stage} is on the embedded AWS at {address}, according to AWS_ENDPOINT_URL or your AWS profile.",
            err=True,
        )


def confirm(question: str, *, yes: bool, refusal: str = "Confirmation required: add --yes.") -> None:
    """
    Ask the operator to confirm, unless `yes` is given.

    Raises:
        OperatorError: standard input is not a terminal. The message is `refusal`.
        click.Abort: the operator declines.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise errors.OperatorError(refusal)
    click.confirm(question, abort=True, err=True)
