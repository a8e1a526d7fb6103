"""Commands that compare, repair and correct a stage's data."""

from typing import Any

import click

from chalicelib.settings import Settings
from ops import stages
from ops.cli.command import confirm, log_command
from ops.cli.params import AGE, COUNTER_ID, EVENT_ID, PAST, counters_option, from_option, projection_option, to_option
from ops.cli.result import Outcome


@log_command
@counters_option
@click.option(
    "--lag",
    "lag_s",
    type=click.IntRange(0),
    default=30,
    show_default=True,
    help="Seconds for which an event may be pending.",
)
@click.option("--no-wait", "waits", default=True, flag_value=False, help="Do not wait for pending events.")
@projection_option
def verify_command(
    settings: Settings, counter_ids: tuple[str, ...], lag_s: int, waits: bool, names: tuple[str, ...]
) -> Outcome:
    """
    Compare read models with the event log. The exit status is 1 if they differ.

    Safe under traffic. The command waits until pending events are counted or older than --lag: at most --lag seconds.
    It reads the log once, in constant memory. A temporary file needs about 250 bytes per event and projection.

    \b
    Examples:
      python -m ops verify --stage prod
      python -m ops verify --stage prod --counter clicks --json
    """
    from ops.maintenance import projections, verify

    selected = projections.select(settings, names)
    projections.check_counters(settings, counter_ids, selected)
    return verify.verify(settings, counter_ids, lag_s, waits=waits, selected=selected)


@log_command
@click.option("--counter", "counter_ids", type=COUNTER_ID, multiple=True, help="Only this counter.")
@from_option
@to_option
@click.option(
    "--rate", type=click.IntRange(1), default=5000, show_default=True, help="Maximum events per second and queue."
)
@click.option("--dry-run", is_flag=True, help="Report the number of events without sending them.")
@click.option("--from-start", is_flag=True, help="Ignore the checkpoint of an interrupted run.")
@projection_option
def replay_command(
    settings: Settings,
    counter_ids: tuple[str, ...],
    from_ms: int | None,
    to_ms: int | None,
    rate: int,
    dry_run: bool,
    from_start: bool,
    names: tuple[str, ...],
) -> Outcome:
    """
    Send logged events to the projection queues again.

    Events that are already counted are not counted again. After an interruption, the same command resumes where it
    stopped. If a day has passed or the stage's tables were replaced, the command starts over.

    \b
    Examples:
      python -m ops replay --stage prod --counter clicks
      python -m ops replay --stage prod --projection sql
      python -m ops replay --stage prod --from 2026-01-31T12:00:00Z --to 2026-01-31T13:00:00Z --rate 500
    """
    from ops.maintenance import lookups, projections, replay

    if len(counter_ids) > 1:
        raise click.UsageError("--counter must be given at most once. Run replay once per counter.")
    if to_ms is not None and (from_ms or 0) >= to_ms:
        raise click.UsageError("--from must be before --to.")
    selected = projections.select(settings, names)
    lookups.check_counters(counter_ids)
    selection = replay.Selection(counter_ids, from_ms or 0, to_ms, [projection.name for projection in selected])
    checkpoint_file = replay.locate_checkpoint(stages.local_folder(), settings.stage, selection)
    if from_start and not dry_run:
        checkpoint_file.unlink(missing_ok=True)
    return replay.replay(settings, selection, rate, checkpoint_file, dry_run=dry_run)


@log_command
@counters_option
@click.option("--dry-run", is_flag=True, help="Report differences without correcting them.")
@projection_option
def rebuild_command(settings: Settings, counter_ids: tuple[str, ...], dry_run: bool, names: tuple[str, ...]) -> Outcome:
    """
    Repair read models from the event log, in place.

    Meanwhile, the stage serves queries and counts increments. Corrections are conditional writes, and totals are
    corrected last, so a repair never shows queries a new wrong value. The command also fills a lost read model, oldest
    events first, and a SQL projection that was just switched on. If the command is interrupted, run it again.

    \b
    Examples:
      python -m ops rebuild --stage prod
      python -m ops rebuild --stage prod --counter clicks
      python -m ops rebuild --stage prod --dry-run
      python -m ops rebuild --stage prod --projection sql
    """
    from ops.maintenance import projections, rebuild

    selected = projections.select(settings, names)
    projections.check_counters(settings, counter_ids, selected)
    return rebuild.rebuild(settings, counter_ids, selected, dry_run=dry_run)


@log_command
@click.option(
    "--message", "ids", multiple=True, metavar="ID", help="Only the message whose id starts with ID. Repeatable."
)
@click.option("--reason", default="", metavar="TEXT", help="Only messages whose reason contains TEXT.")
@click.option(
    "--older-than", "min_age_s", type=AGE, help="Only messages of at least this age, such as 30min, 12h or 7d."
)
@click.option("--dry-run", is_flag=True, help="List messages without changing anything.")
@click.option(
    "--discard", is_flag=True, help="Delete messages instead of sending them back, after copying them to a local file."
)
@click.option("--yes", is_flag=True, help="Discard without asking.")
@projection_option
def redrive_command(
    settings: Settings,
    *,
    ids: tuple[str, ...],
    reason: str,
    min_age_s: int | None,
    dry_run: bool,
    discard: bool,
    yes: bool,
    names: tuple[str, ...],
) -> Outcome:
    """
    List messages in the dead-letter queues, and send them back or discard them.

    Safe to repeat: an event is counted once. Messages from a projection's queue return to that queue. Events that were
    not published go to the queues of all projections, even with --projection. The exit status is 1 if selected messages
    may remain. Possible causes: a message is too large, the run reached its maximum of 5,000, or another consumer has
    received messages.

    \b
    Examples:
      python -m ops redrive --stage prod --dry-run
      python -m ops redrive --stage prod --reason "unknown event type"
      python -m ops redrive --stage prod --projection sql
      python -m ops redrive --stage prod --discard --reason "not JSON" --older-than 7d
    """
    from ops.maintenance import dead_letters, projections, redrive

    if discard and not (ids or reason or min_age_s is not None):
        raise click.UsageError("--discard requires --message, --reason or --older-than.")
    if yes and not discard:
        raise click.UsageError("--yes requires --discard.")
    selected = projections.select(settings, names)
    selection = dead_letters.Selection(ids, reason, min_age_s or 0, selected)
    if not discard:
        return redrive.redrive(settings, selection, dry_run=dry_run)
    return redrive.discard(
        settings, selection, stages.local_folder(), dry_run=dry_run, confirm=lambda text: confirm(text, yes=yes)
    )


@log_command
@click.argument("counter_id")
@click.option("--by", type=int, metavar="N", help="Amount to add (non-zero).")
@click.option("--to", type=int, metavar="VALUE", help="Value to reach.")
@click.option("--reason", required=True, metavar="TEXT", help="Reason, 1 to 200 characters. Clients can read it.")
@click.option(
    "--who",
    metavar="NAME",
    help="Operator (default: your AWS identity, or else your user name). Clients cannot read it.",
)
@click.option("--key", metavar="TEXT", help="Idempotency key (default: a random one, which is shown).")
@click.option("--dry-run", is_flag=True, help="Show the adjustment without recording it.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def adjust_command(_settings: Settings, counter_id: str, *, dry_run: bool, yes: bool, **options: Any) -> Outcome:
    """
    Correct a counter by recording an adjustment.

    The command appends an event with a reason; recorded events never change. With --to, increments that are still
    pending are added on top. If the command is interrupted, repeat it with the --key that it showed: the adjustment is
    recorded once.

    \b
    Examples:
      python -m ops adjust clicks --by -3 --reason "a test's clicks" --stage local
      python -m ops adjust visits --to 51200 --reason "taken over from the old site" --key takeover --stage local
      python -m ops adjust clicks --to 0 --reason "a new season" --dry-run --stage local
    """
    from ops.maintenance import adjust

    return adjust.adjust(adjust.build_command(counter_id, **options), dry_run=dry_run, yes=yes)


@log_command
@click.argument("counter_id", type=COUNTER_ID)
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True, help="Maximum number of events.")
@click.option(
    "--event", "event_id", type=EVENT_ID, help="Show only this event, and whether it is counted, pending or purged."
)
@click.option(
    "--at",
    "at_ms",
    type=PAST,
    help="Show the state and the latest events at TIME (RFC 3339, or a day in UTC), inclusive.",
)
def show_command(_settings: Settings, counter_id: str, limit: int, event_id: str | None, at_ms: int | None) -> Outcome:
    """
    Show a counter and its latest events, now or in the past, with the events' callers and operators.

    Clients can read events, but neither the caller of an increment (its API key, IAM principal or JWT subject) nor the
    operator of an adjustment.

    \b
    Examples:
      python -m ops show clicks --stage prod
      python -m ops show clicks --at 2026-01-31T12:00:00Z --stage prod
      python -m ops show clicks --event 01890a5d-ac96-774b-bcce-b302099a8057 --stage prod --json
    """
    from ops.maintenance import show

    if event_id and at_ms is not None:
        raise click.UsageError("--event and --at are mutually exclusive.")
    if event_id:
        return show.show_event(counter_id, event_id)
    return show.show(counter_id, limit, at_ms)
