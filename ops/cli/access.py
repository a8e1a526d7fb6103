"""Commands for access to a stage."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from ops.cli.command import stage_command
from ops.cli.params import COUNTER_PATTERN

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


@functools.partial(stage_command, check_log=True)
@click.argument("action", type=click.Choice(["list", "add", "close", "reopen", "hide", "show"]), default="list")
@click.argument("names", type=COUNTER_PATTERN, nargs=-1, metavar="[NAME]...")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Maximum counters of list.")
@click.option("--start", type=int, metavar="N", help="Value to start from, recorded as an adjustment. Requires add.")
@click.option("--reason", metavar="TEXT", help="Reason of --start, 1 to 200 characters. Clients can read it.")
@click.option("--who", metavar="NAME", help="Operator of --start (default: your AWS identity).")
@click.option("--key", default="start", show_default=True, metavar="TEXT", help="Idempotency key of --start.")
def counters_command(
    settings: Settings,
    *,
    action: str,
    names: tuple[str, ...],
    limit: int,
    start: int | None,
    reason: str | None,
    who: str | None,
    key: str,
) -> Outcome:
    """
    List counters, or change which of them exist and count.

    ACTION is list (the default), add, close, reopen, hide or show. NAME is a counter or a pattern, in which * is any
    text. `add` makes counters exist that COUNTERS does not name. A closed counter can be read, but not incremented.
    A hidden counter does not exist for clients. Increments that are already recorded are still counted.

    Changes need no deployment, and take effect within a minute. Safe to repeat: --start is recorded once per key. Exits
    with 1 if another entry still closes or hides a counter.

    \b
    Examples:
      python -m ops counters --stage prod
      python -m ops counters add visits --start 51200 --reason "taken over from the old site" --stage prod
      python -m ops counters close 'likes-2025-*' visits --stage prod
    """
    from ops.maintenance import counters

    if start is None and (reason or who):
        raise click.UsageError("--reason and --who require --start.")
    if start is not None and (action != "add" or len(names) != 1 or not reason):
        raise click.UsageError("--start requires add, one NAME and --reason.")
    if action == "list":
        return counters.list_counters(settings, names, limit)
    if not names:
        raise click.UsageError(f"{action} requires at least one NAME.")
    if action == "add":
        adjustment = None if start is None else counters.build_start(names[0], start, str(reason), who, key)
        return counters.add(names, adjustment)
    return counters.change(action, names)
