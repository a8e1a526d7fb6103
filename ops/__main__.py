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
@click.argument("counter_id")
@click.option("--by", type=int, metavar="N", help="What is added: an integer of either sign, and not 0.")
@click.option("--to", type=int, metavar="VALUE", help="The value to be reached, whatever that takes.")
@click.option("--reason", required=True, metavar="TEXT", help="Why, in 1 to 200 characters. Clients can read it.")
@click.option("--who", metavar="NAME", help="Who wants it, by default you as AWS knows you. Clients cannot read it.")
@click.option("--key", metavar="TEXT", help="All adjustments of a counter with the same key are one.")
@click.option("--dry-run", is_flag=True, help="Show what would be recorded, and record nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def _adjust(_settings: Settings, counter_id: str, *, dry_run: bool, yes: bool, **asked: Any) -> Outcome:
    """
    Correct, reset or start a counter: record an adjustment, with a reason.

    What was recorded stays in the log; an adjustment adds an event to it. With --to, increments that are recorded and
    not counted yet are added to the value afterwards.

    \b
    Examples:
      python -m ops adjust clicks --by -3 --reason "a test's clicks" --stage local
      python -m ops adjust visits --to 51200 --reason "taken over from the old site" --key takeover --stage local
      python -m ops adjust clicks --to 0 --reason "a new season" --dry-run --stage local
    """  # noqa: D301  (\\b is click's own mark)
    from ops import adjust

    return adjust.adjust(adjust.command(counter_id, **asked), dry_run=dry_run, yes=yes)


class _MisunderstoodError(click.ClickException):
    """One line, and the exit status of click's own usage errors."""

    exit_code = 2


@contextlib.contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise click.ClickException("Stopped. What is done is done; run it again to finish.") from None
    except errors.FORESEEN as error:
        told = _MisunderstoodError if isinstance(error, errors.InputError) else click.ClickException
        raise told(errors.in_one_line(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m ops")
