"""Commands for access to a stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ops.cli.command import stage_command

if TYPE_CHECKING:
    from chalicelib.settings import Settings
    from ops.cli.result import Outcome


@stage_command
@click.argument("action", type=click.Choice(["list", "add", "remove"]), default="list")
@click.argument("name", required=False)
@click.option("--rate", type=click.IntRange(1, 10_000), metavar="N", help="Requests a second.")
@click.option("--burst", type=click.IntRange(1, 5_000), metavar="N", help="Requests at once (default: the rate).")
@click.option("--quota", type=click.IntRange(1, 2**31 - 1), metavar="N", help="Requests a period.")
@click.option("--period", type=click.Choice(["day", "week", "month"]), help="Period of the quota (default: day).")
def keys_command(settings: Settings, *, action: str, name: str | None, **limits: Any) -> Outcome:
    """
    List, add or remove API keys.

    ACTION is list (the default), add or remove. `add` creates the key NAME with its limits and shows its secret once.
    `remove` removes the key. API Gateway checks keys if WRITERS or READERS is api-key. Safe to repeat: `add` refuses a
    key that exists, and completes an interrupted one.

    \b
    Examples:
      python -m ops keys --stage prod
      python -m ops keys add shop --rate 10 --quota 100000 --period month --stage prod
      python -m ops keys remove shop --stage prod
    """
    from ops.deployment import keys

    if (name is None) != (action == "list"):
        raise click.UsageError("add and remove require NAME. list takes no NAME.")
    if action != "add" and {*limits.values()} != {None}:
        raise click.UsageError("--rate, --burst, --quota and --period require add.")
    for option, needed in (("burst", "rate"), ("period", "quota")):
        if limits[option] is not None and limits[needed] is None:
            raise click.UsageError(f"--{option} requires --{needed}.")
    if name is None:
        return keys.list_keys(settings)
    if action == "remove":
        return keys.remove(settings, name)
    if "api-key" not in (settings.writers, settings.readers):
        click.echo(
            f"Stage {settings.stage} does not check API keys: set WRITERS or READERS to api-key, and run deploy.",
            err=True,
        )
    return keys.add(settings, name, keys.Limits(**limits))
