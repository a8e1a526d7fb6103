"""Commands that write a stage's events to files, and append events from files, restored tables and other stages."""

import functools
from typing import TYPE_CHECKING, Any

import click

from chalicelib.settings import Settings
from ops import stages
from ops.cli.command import log_command
from ops.cli.params import counters_option, from_option, to_option
from ops.cli.result import Outcome

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@log_command
@click.argument("name", metavar="FILE")
@counters_option
@from_option
@to_option
@click.option("--from-start", is_flag=True, help="Ignore the position of an interrupted run.")
def export_command(
    settings: Settings,
    name: str,
    *,
    counter_ids: tuple[str, ...],
    from_ms: int | None,
    to_ms: int | None,
    from_start: bool,
) -> Outcome:
    """
    Write the event log to FILE as JSON Lines, ordered by time.

    FILE is compressed if its name ends in .gz. Use - for standard output, or s3://BUCKET/KEY for S3. FILE appears when
    it is complete, with the manifest FILE.manifest.json. After an interruption, the same command resumes, up to six
    hours after the start; an export to standard output starts over. The exit status is 1 if an event cannot be read.

    \b
    Examples:
      python -m ops export events.jsonl.gz --stage prod
      python -m ops export s3://backups/events.jsonl.gz --stage prod
      python -m ops export --counter clicks --from 2026-01-31 --to 2026-02-01 - --stage prod
    """
    from ops.maintenance import event_file, export, lookups
    from ops.maintenance.event_selection import EventSelection

    if to_ms is not None and (from_ms or 0) >= to_ms:
        raise click.UsageError("--from must be before --to.")
    target = event_file.resolve_target(name)
    lookups.check_counters(counter_ids)
    return export.export(settings, EventSelection(counter_ids, from_ms or 0, to_ms), target, from_start=from_start)


_rate_option = click.option(
    "--rate", type=click.IntRange(1), default=1000, show_default=True, help="Maximum events per second."
)


@log_command
@click.argument("names", nargs=-1, required=True, metavar="FILE...")
@_rate_option
@click.option("--dry-run", is_flag=True, help="Check the files and report what would be appended.")
@click.option("--reason", metavar="TEXT", help="Reason for start values, 1 to 200 characters. Clients can read it.")
@click.option(
    "--who", metavar="NAME", help="Operator of start values (default: your AWS identity, or else your user name)."
)
@click.option("--key", metavar="TEXT", help="Idempotency key of start values (default: start).")
def import_command(
    settings: Settings, names: tuple[str, ...], *, rate: int, dry_run: bool, reason: str | None, **texts: str | None
) -> Outcome:
    """
    Append those events of FILE... that the log lacks.

    FILE is an export: JSON Lines, compressed if its name ends in .gz. Use - for standard input, or s3://BUCKET/KEY for
    S3. Events keep their ids, times and types. Events that the log already has are skipped. The exit status is 1 if an
    event, a line or a file is refused; everything else is imported. Safe to repeat: if the command is interrupted, run
    it again.

    A FILE whose name ends in .csv or .csv.gz contains start values of counters, in the columns counter_id and value.
    The start values are recorded as adjustments, once per counter and --key, and require --reason.

    \b
    Examples:
      python -m ops import events.jsonl.gz --stage copy
      python -m ops import visits.csv --reason "taken over from the old site" --stage prod
    """
    from ops.maintenance import import_file, notes

    has_csv = any(map(import_file.is_csv, names))
    if has_csv and reason is None:
        raise click.UsageError("A CSV file requires --reason.")
    if not has_csv and {reason, *texts.values()} != {None}:
        raise click.UsageError("--reason, --who and --key require a file whose name ends in .csv or .csv.gz.")
    note = notes.build_note(reason, **texts) if reason is not None else None
    return import_file.import_files(settings, names, note, rate, dry_run=dry_run)


@log_command
@click.option("--from-table", "table", required=True, metavar="NAME", help="The table that AWS restored.")
@_rate_option
@click.option("--dry-run", is_flag=True, help="Read both tables and report what would be appended.")
def restore_command(settings: Settings, table: str, rate: int, *, dry_run: bool) -> Outcome:
    """
    Append the events that a restored table has and the log lacks.

    Use this command after events were deleted from the log. First, have AWS restore a backup or a point in time to
    another table. Then run this command, and rebuild. Events that only the log has are kept. The exit status is 1 if an
    event differs from the recorded one, or cannot be read. Safe to repeat: if the command is interrupted, run it again.

    \b
    Examples:
      python -m ops restore --stage prod --from-table counter-prod-event-log-restored --dry-run
      python -m ops restore --stage prod --from-table counter-prod-event-log-restored
    """
    from ops.maintenance import other_log

    return other_log.restore(settings, table, rate, dry_run=dry_run)


def _connect_source(
    stage: str, *, source: str, profile: str | None, region: str | None, **_options: object
) -> dict[str, Any]:
    """Read the settings of the source, and connect to it, before the process enters the target stage."""
    from ops import target

    if source == stage and not profile and not region:
        raise click.UsageError("--from and --to must differ, unless --from-profile or --from-region is given.")
    return {"source": stages.read_settings(source), "client": target.connect(source, profile, region)}


@functools.partial(log_command, prepare=_connect_source, option="--to")
@click.option("--from", "source", required=True, metavar="STAGE", help="Stage whose events are copied.")
@click.option("--from-profile", "profile", metavar="NAME", help="AWS profile of --from (default: the profile of --to).")
@click.option("--from-region", "region", metavar="REGION", help="AWS region of --from (default: the region of --to).")
@_rate_option
@click.option("--dry-run", is_flag=True, help="Read both logs and report what would be appended.")
def copy_command(
    settings: Settings, *, source: Settings, client: "DynamoDBClient", rate: int, dry_run: bool, **_place: str | None
) -> Outcome:
    """
    Append the events that the log of --from has and the log of --to lacks.

    Use this command to move to another region, account or number of SHARDS, or to fill a standby stage. Both stages may
    be in use. Events keep their ids, so an increment that a client retries in the other stage, with the same
    idempotency key, counts once. AWS_PROFILE and AWS_DEFAULT_REGION set the account and region of --to. The exit status
    is 1 if an event differs from the recorded one, or cannot be read. Safe to repeat: each run appends the missing
    events. If the command is interrupted, run it again.

    \b
    Examples:
      python -m ops copy --from prod --to wide
      AWS_DEFAULT_REGION=eu-west-1 python -m ops copy --from prod --from-region eu-central-1 --to standby
    """
    from ops.maintenance import other_log

    return other_log.copy(settings, source, client, rate, dry_run=dry_run)
