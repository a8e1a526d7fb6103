"""Run the operators' command line: python -m ops COMMAND --stage STAGE."""

import click

from ops.cli import access, data, interrupts, sql, stage, transfer
from ops.cli.program import Program


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """
    Operate a counter stage on AWS, or on the embedded AWS (stage "local").

    \b
    Exit codes:
      0    success
      1    refused, incomplete, or differences found
      2    usage error
      3    AWS, database, disk or output unavailable
      70   bug in this program
      130  interrupted by Ctrl-C, SIGTERM or SIGHUP
      141  output closed by its reader

    \b
    Examples:
      python -m ops provision --stage local
      python -m ops deploy --stage local --json
    """  # noqa: D301  (\\b keeps click from wrapping the lines)


for module in (stage, access, data, transfer, sql):
    for command in vars(module).values():
        if isinstance(command, click.Command):
            main.add_command(command)

if __name__ == "__main__":
    interrupts.handle_signals()
    main(prog_name="python -m ops")
