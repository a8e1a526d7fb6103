"""Commands for access to a stage."""

from typing import Any

import click

from chalicelib.settings import Settings
from ops.cli.command import confirm, log_command, stage_command
from ops.cli.errors import InputError, OperatorError
from ops.cli.params import COUNTER_PATTERN
from ops.cli.result import Outcome


@stage_command
@click.argument("action", type=click.Choice(["list", "add", "remove"]), default="list")
@click.argument("name", required=False)
@click.option("--rate", type=click.IntRange(1, 10_000), metavar="N", help="Maximum requests per second.")
@click.option(
    "--burst", type=click.IntRange(1, 5_000), metavar="N", help="Maximum burst of requests (default: --rate)."
)
@click.option("--quota", type=click.IntRange(1, 2**31 - 1), metavar="N", help="Maximum requests per --period.")
@click.option("--period", type=click.Choice(["day", "week", "month"]), help="Period of --quota (default: day).")
def keys_command(settings: Settings, *, action: str, name: str | None, **limits: Any) -> Outcome:
    """
    List, add or remove API keys.

    ACTION is list (the default), add or remove. `add` creates the key NAME with its limits and shows its secret once.
    `remove` removes the key and its limits. API Gateway checks keys if WRITERS or READERS is api-key.

    Each action is safe to repeat: `add` refuses a key that exists, and replaces a key whose creation was interrupted.

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
    return keys.add(settings, name, **limits)


@log_command
@click.argument(
    "action", type=click.Choice(["list", "add", "close", "reopen", "hide", "show", "purge"]), default="list"
)
@click.argument("names", type=COUNTER_PATTERN, nargs=-1, metavar="[NAME]...")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Maximum number of counters that list shows.",
)
@click.option("--start", type=int, metavar="N", help="Start value of an added counter, recorded as an adjustment.")
@click.option("--reason", metavar="TEXT", help="Reason for --start or purge, 1 to 200 characters.")
@click.option(
    "--who",
    metavar="NAME",
    help="Operator of the start value or purge (default: your AWS identity, or else your user name).",
)
@click.option("--key", default="start", show_default=True, metavar="TEXT", help="Idempotency key for the start value.")
@click.option("--dry-run", is_flag=True, help="Show how many counters and events purge would delete.")
@click.option("--yes", is_flag=True, help="Purge without asking.")
@click.option("--confirm", "confirmed", metavar="STAGE", help="Stage name, to confirm a purge of all counters.")
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
    **purging: Any,
) -> Outcome:
    """
    List counters, choose which counters clients may use, or purge counters.

    ACTION is list (the default) or one of the following. NAME is a counter or a pattern, in which * matches any text.

    \b
      add            add a counter to those that COUNTERS allows
      close, reopen  refuse increments, but still allow reads; accept increments again
      hide, show     hide a counter from clients; show it again
      purge          delete junk counters permanently: their events become void

    No action requires a deployment. `add`, `close`, `reopen`, `hide` and `show` take effect within a minute. Increments
    that were recorded before `close` or `hide` are still counted. Safe to repeat: a start value is recorded once per
    counter and --key. The exit status of `reopen` and `show` is 1 if a pattern still closes or hides one of the
    counters. The exit status of `add` is 1 if one of the counters is hidden.

    `purge` requires --reason. The counters must have refused increments for at least a minute. If `purge` is
    interrupted, run it again. The exit status is 1 if a counter cannot be purged.

    \b
    Examples:
      python -m ops counters --stage prod
      python -m ops counters add visits --start 51200 --reason "taken over from the old site" --stage prod
      python -m ops counters close 'likes-2025-*' visits --stage prod
      python -m ops counters purge 'spam-*' --reason "a script's counters" --dry-run --stage prod
    """
    from ops.maintenance import counters

    if action == "purge":
        return _purge(settings, names, start, reason, who, **purging)
    if any(purging.values()):
        raise click.UsageError("--dry-run, --yes and --confirm require purge.")
    if start is None and (reason or who):
        raise click.UsageError("--reason and --who require --start or purge.")
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


def _purge(
    settings: Settings,
    names: tuple[str, ...],
    start: int | None,
    reason: str | None,
    who: str | None,
    *,
    dry_run: bool,
    yes: bool,
    confirmed: str | None,
) -> Outcome:
    from chalicelib.access.names import Verdict
    from ops.maintenance import counters, notes, purge

    if not names or not reason or start is not None:
        raise click.UsageError("purge requires at least one NAME and --reason, and takes no --start.")
    if confirmed is not None and confirmed != settings.stage:
        raise InputError(f"--confirm must be {settings.stage}, got {confirmed}. Nothing was changed.")
    if confirmed is None and not dry_run and any(not name.strip("*") for name in names):
        raise OperatorError(f"NAME selects all counters of stage {settings.stage}: add --confirm {settings.stage}.")
    return purge.purge(
        settings,
        names,
        notes.build_note(reason, who),
        is_open=counters.read_verdicts(settings, Verdict.OPEN),
        confirm=lambda question: confirm(question, yes=yes),
        dry_run=dry_run,
    )
