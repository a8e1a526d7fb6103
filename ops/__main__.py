"""The operators' command-line program: python -m ops COMMAND --stage STAGE."""

from __future__ import annotations

import contextlib
import functools
import json
from typing import TYPE_CHECKING, Any

import click

from ops import errors, stages
from ops.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chalicelib.settings import Settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """
    Operate the counter, on the embedded AWS (stage local) or on the account that your AWS credentials belong to.

    The exit status is 0 only if what was asked holds, and 2 if what was asked is not understood.

    \b
    Examples:
      python -m ops provision --stage local
      python -m ops deploy --stage local --json
    """  # noqa: D301  (\\b is click's own mark)


def _command(work: Callable[..., Outcome]) -> Callable[..., None]:
    """
    A command that does `work` on a stage and prints its outcome, as lines or as JSON.

    What a command needs is imported when it runs: the tables' names are read once, from the stage's environment.
    """

    @main.command(work.__name__.strip("_"), help=work.__doc__)
    @click.option("--stage", required=True, help="One of the stages in .chalice/config.json.")
    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and progress not at all.")
    @functools.wraps(work)
    def run(stage: str, as_json: bool, **options: Any) -> None:
        with _clear_errors():
            outcome = work(stages.enter(stage), **options)
        click.echo(json.dumps(outcome.facts, indent=2) if as_json else outcome.text)
        if not outcome.holds:
            raise click.exceptions.Exit(1)

    return run


@_command
def _provision(settings: Settings) -> Outcome:
    """Make the stage's tables and queues, or bring them up to the template. Safe to repeat."""
    from ops import provision

    return Outcome(dict(provision.provision(settings)))


@_command
def _deploy(settings: Settings) -> Outcome:
    """Deploy this checkout's application on the provisioned stage. Safe to repeat."""
    from ops import deploy

    deployed = deploy.deploy(settings, stages.local_folder())
    return Outcome({"ApiId": deployed.api_id, "Url": deployed.url})


@_command
@click.option(
    "--message", "ids", multiple=True, metavar="ID", help="Only this one; the start of its id will do. Repeatable."
)
@click.option("--reason", default="", metavar="TEXT", help="Only those that have this in their reason.")
@click.option("--dry-run", is_flag=True, help="List them, and send nothing.")
def _redrive(settings: Settings, ids: tuple[str, ...], reason: str, dry_run: bool) -> Outcome:
    """List what lies on the dead-letter queue, and send it back to be counted. Always safe: it counts once."""
    from ops import redrive

    return redrive.redrive(settings, ids, reason, dry_run=dry_run)


@contextlib.contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise click.ClickException("Stopped. What is done is done; run it again to finish.") from None
    except errors.FORESEEN as error:
        raise click.ClickException(errors.in_one_line(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m ops")
