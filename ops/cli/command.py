"""The parts that all commands share: --stage, --json and confirmation."""

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

    The name and docstring of `work` become the command's name, without `_command`, and its help. `prepare` is called
    first, with the stage's name, and may return options that replace those of the command line. With `check_log`, the
    command refuses to start if the log and the settings have different values of SHARDS. `option` names the stage.

    `work` must import its modules in its body, because some modules read the stage's environment on import.
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
        except KeyboardInterrupt:  # the default message would advise the operator to run it again
            raise KeyboardInterrupt("Interrupted while printing the result. The work is complete.") from None
        if not outcome.holds:
            raise click.exceptions.Exit(1)

    return run


#: A command that refuses to start if the log and the settings have different values of SHARDS.
log_command = functools.partial(stage_command, check_log=True)


def _check_target(stage: str) -> None:
    """Refuse settings with several targets. In a terminal, print an embedded AWS's address, which may be unexpected."""
    from ops import target

    if stage != stages.LOCAL_STAGE and (address := target.find_embedded_aws()) and sys.stderr.isatty():
        click.echo(f"Stage {stage} is on the embedded AWS at {address}, as AWS_ENDPOINT_URL says.", err=True)


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
