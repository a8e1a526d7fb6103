"""
Run the whole system on this machine: an embedded AWS, the stage `local` deployed on it, and the page.

All local servers listen on 127.0.0.1 only. AWS_PORT and PAGE_PORT change the ports of the embedded AWS and the page
(default: 4566 and 8080). State is stored in `.local` and survives a clean shutdown.
"""

import os

import click

from ops import stages
from ops.cli.errors import OperatorError
from ops.cli.program import Program
from ops.local import stack
from ops.local.stack import LocalSystem


@click.group(cls=Program, help=__doc__)
def main() -> None:
    pass


@main.command()
def run() -> None:
    """Run in the foreground, until Ctrl-C."""
    stack.run(_system())


@main.command()
def up() -> None:
    """Start in the background; return when ready."""
    stack.up(_system())


@main.command()
def down() -> None:
    """Stop the running system."""
    stack.down(_system())


@main.command()
@click.option("--port", default="8000", metavar="PORT", show_default=True, help="Port on 127.0.0.1.")
def local(port: str) -> None:
    """Run `chalice local` on the running system's data, and reload it when the code changes."""
    stack.run_chalice_local(_system(), _parse_port("PORT", port))


def _system() -> LocalSystem:
    system = LocalSystem(stages.local_folder(), _port("AWS_PORT", 4566), _port("PAGE_PORT", 8080))
    if system.aws_port == system.page_port:
        raise OperatorError(f"AWS_PORT and PAGE_PORT must differ, got {system.aws_port} for both.")
    return system


def _port(name: str, default: int) -> int:
    return _parse_port(name, os.environ.get(name, str(default)))


def _parse_port(name: str, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise OperatorError(f"{name} must be a port number from 1 to 65535, got {text!r}.")
    return int(text)


if __name__ == "__main__":
    main(prog_name="python -m ops.local")
