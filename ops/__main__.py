"""The operators' command-line program: python -m ops COMMAND --stage STAGE."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from ops import deploy, provision, stages
from ops.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chalicelib.settings import Settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    r"""
    Operate the counter, on the embedded AWS (stage local) or on the account that your AWS credentials belong to.

    \b
    Examples:
      python -m ops provision --stage local
      python -m ops deploy --stage local --json
    """


def _command(work: Callable[[Settings], dict[str, Any]]) -> Callable[[str, bool], None]:
    """A command that does `work` on a stage and prints what it gives, as lines or as JSON."""

    @main.command(work.__name__.strip("_"), help=work.__doc__)
    @click.option("--stage", required=True, help="One of the stages in .chalice/config.json.")
    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    def run(stage: str, as_json: bool) -> None:
        with _clear_errors():
            settings = stages.settings_of(stage)
            if stage == stages.LOCAL_STAGE:
                os.environ.update(stages.addresses(stages.local_folder()))
            result = work(settings)
        lines = "\n".join(f"{name}: {value}" for name, value in result.items())
        click.echo(json.dumps(result, indent=2) if as_json else lines)

    return run


@_command
def _provision(settings: Settings) -> dict[str, Any]:
    """Make the stage's tables and queues, or bring them up to the template. Safe to repeat."""
    return dict(provision.provision(settings))


@_command
def _deploy(settings: Settings) -> dict[str, Any]:
    """Deploy this checkout's application on the provisioned stage. Safe to repeat."""
    deployed = deploy.deploy(settings, stages.local_folder())
    return {"ApiId": deployed.api_id, "Url": deployed.url}


@contextlib.contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except (OperatorError, BotoCoreError, ClientError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m ops")
