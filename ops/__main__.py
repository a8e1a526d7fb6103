"""The operators' command-line program: python -m ops COMMAND --stage STAGE."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chalicelib.settings import PROJECTIONS, READ_MODEL, SQL
from ops import stages
from ops.cli import errors
from ops.cli.params import COUNTER_ID, TIME
from ops.cli.result import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from chalicelib.settings import Settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """
    Operate the counter, on the embedded AWS (stage local) or on the account that your AWS credentials belong to.

    \b
    Exit status:
      0  what was asked holds
      1  it does not: it is refused, or something differs; the message says what to do
      2  what was asked is not understood
      3  AWS or the database is out of reach, or AWS refuses for reasons of its own: all that is known is in the message

    \b
    Examples:
      python -m ops provision --stage local
      python -m ops deploy --stage local --json
    """  # noqa: D301  (\\b is click's own mark)


def _command(
    work: Callable[..., Outcome], prepare: Callable[..., None] | None = None, *, reads_log: bool = False
) -> Callable[..., None]:
    """
    A command that does `work` on a stage, once it is prepared, and prints its outcome, as lines or as JSON.

    One that reads the log, or writes to it, does so only where it lies as the settings say.

    What a command needs is imported when it runs: the tables' names are read once, from the stage's environment. The
    command is called as `work` is, without the underscore that tells the two apart from the room of that name.
    """

    @main.command(work.__name__.strip("_"), help=inspect.getdoc(work))
    @click.option("--stage", required=True, help="A stage in .chalice/config.json; provision takes a new one, too.")
    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    @functools.wraps(work)
    def run(stage: str, as_json: bool, **options: Any) -> None:
        with _clear_errors():
            if prepare:
                prepare(stage, **options)
            settings = stages.enter(stage)
            if reads_log:
                from ops.deployment import provision

                provision.check_log(settings)
            outcome = work(settings, **options)
        click.echo(json.dumps(outcome.facts, indent=2) if as_json else outcome.text)
        if not outcome.holds:
            raise click.exceptions.Exit(1)

    return run


_command_on_the_log = functools.partial(_command, reads_log=True)


def _make_known(stage: str, *, yes: bool) -> None:
    if not stages.is_known(stage):
        _confirm(
            f"Stage {stage} is new: add it to .chalice/config.json?",
            yes=yes,
            otherwise=f"{stages.unknown(stage)} Add --yes to make it.",
        )
        stages.add(stage)


@functools.partial(_command, prepare=_make_known)
@click.option("--yes", is_flag=True, help="Do not ask whether a new stage is to be added to .chalice/config.json.")
def _provision(settings: Settings, *, yes: bool) -> Outcome:  # noqa: ARG001  (asked for before)
    """
    Make the stage's tables, queues, buckets and alarms, or bring them up to the template. Safe to repeat.

    A stage that is not in .chalice/config.json is added to it. The policies of its functions are written beside that
    file, where Chalice looks for them.
    """
    from ops import target
    from ops.deployment import policies, provision

    outputs = provision.provision(settings)
    policies.write(settings, stages.PROJECT / ".chalice")
    return Outcome({"Where": target.place(), **outputs})


@_command
def _deploy(settings: Settings) -> Outcome:
    """Deploy this checkout's application on the provisioned stage. Safe to repeat."""
    from ops import target
    from ops.deployment import deploy

    deployed = deploy.deploy(settings, stages.local_folder())
    return Outcome({"Where": target.place(), "ApiId": deployed.api_id, "Url": deployed.url})


@_command
@click.option("--api", "api_url", metavar="URL", help="The API's address, if not the one that deploy gave it.")
@click.option("--dry-run", is_flag=True, help="Change nothing, and tell what would be put and removed.")
def _site(settings: Settings, api_url: str | None, dry_run: bool) -> Outcome:
    """
    Put the page into its bucket, with the API's address. What has not changed is not sent again.

    New files first, the page that refers to them after them, and what is outdated is removed last; the version before
    stays. Cut off, the same command finishes it.

    \b
    Examples:
      python -m ops site --stage prod
      python -m ops site --stage prod --api https://api.counter.example
    """  # noqa: D301
    from ops.deployment import site

    return site.publish(settings, stages.PROJECT / "web", api_url or site.api_url_of(settings.stage), dry_run=dry_run)


@_command
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def _package(settings: Settings, folder: Path) -> Outcome:
    """
    Leave in FOLDER what deploy would apply, for a pipeline that applies it. Needs no AWS account.

    It is deployment.zip, the code; sam.json, the template; and overlay.json, what the template has beyond what
    `chalice package` writes by itself. Prints the commands that apply it to a provisioned stage; these are AWS's
    command line, `aws`, which is not part of the project.

    \b
    Examples:
      python -m ops package --stage prod build
    """  # noqa: D301
    from ops.deployment import pipeline

    return pipeline.package(settings, folder)


@_command
@click.option("--data", is_flag=True, help="The data, too: every event, counter, bucket and message. For good.")
@click.option("--confirm", metavar="STAGE", help="With --data: the name of the stage, once more.")
@click.option("--dry-run", is_flag=True, help="Remove nothing, and list what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask before the application is removed.")
def _destroy(settings: Settings, *, data: bool, confirm: str | None, dry_run: bool, yes: bool) -> Outcome:
    """
    Take the application of the stage down: API, functions, event sources. Its data stays. Safe to repeat.

    With --data, the data is removed as well, the event log last; that has to be said twice.

    \b
    Examples:
      python -m ops destroy --stage dev
      python -m ops destroy --stage dev --data --confirm dev
    """  # noqa: D301
    from ops import target
    from ops.deployment import destroy

    if confirm and not data:
        raise click.UsageError("--confirm is for --data: without it, the data stays.")
    if dry_run:
        return destroy.listed(settings, data=data)
    if destroy.is_there(settings, data=data):
        if data:
            _confirm_loss(settings.stage, target.place(), confirm)
        else:
            what = f"The application of stage {settings.stage} in {target.place()} is removed; its data stays."
            _confirm(f"{what} Go on?", yes=yes)
    return destroy.destroy(settings, data=data)


def _confirm_loss(stage: str, place: str, confirm: str | None) -> None:
    """
    Somebody wants to lose all data of this stage, and has said so twice.

    Raises:
        OperatorError: nobody is there to ask.
        InputError: they named another stage.
    """
    if confirm is None:
        if not sys.stdin.isatty():
            raise errors.OperatorError(
                f"All data of stage {stage} in {place} would go, for good: say so again, with --confirm {stage}."
            )
        what = f"All data of stage {stage} in {place} goes, for good."
        confirm = click.prompt(f"{what} Type the stage's name", err=True)
    if confirm != stage:
        raise errors.InputError(f"{confirm} is another name than {stage}. Nothing was removed.")


_projection = click.option(
    "--projection",
    type=click.Choice(PROJECTIONS),
    default=None,
    help="Only this one: the read model, or the relational one. By default, all that the stage has.",
)

_some_counters = click.option(
    "--counter", "counter_ids", type=COUNTER_ID, multiple=True, help="Only this counter. May be given again."
)


@_command_on_the_log
@_some_counters
@click.option(
    "--lag",
    "lag_s",
    type=click.IntRange(0),
    default=30,
    show_default=True,
    help="Seconds that an event may be pending.",
)
@click.option("--no-wait", "waits", default=True, flag_value=False, help="Do not wait for what is pending.")
@_projection
def _verify(
    settings: Settings, counter_ids: tuple[str, ...], lag_s: int, waits: bool, projection: str | None
) -> Outcome:
    """
    Compare the read model with the log, event by event, and the relational one, too; exit with 1 if they differ.

    Safe to run under traffic. An event that is not counted yet is pending until it is as old as the lag allows; verify
    waits for it. The log is read once. Memory stays flat; a temporary file takes some 250 bytes for each event and
    projection.

    \b
    Examples:
      python -m ops verify --stage prod
      python -m ops verify --stage prod --counter clicks --json
    """  # noqa: D301
    from ops.maintenance import projections, verify

    names = projections.chosen(settings, projection)
    _check_counters(settings, counter_ids, names)
    return verify.verify(settings, counter_ids, lag_s, waits=waits, names=names)


def _check_counters(settings: Settings, counter_ids: tuple[str, ...], names: tuple[str, ...]) -> None:
    """
    Each of these counters is in the log, or in what one of these projections made of it.

    Raises:
        OperatorError: one is not.
    """
    from ops.maintenance import lookups

    if SQL not in names or not counter_ids:
        lookups.check_counters(counter_ids)
        return
    from chalicelib.extras.sql import repair
    from ops.maintenance import sql_verify

    with sql_verify.connected(settings) as engine:
        lookups.check_counters(counter_ids, lambda counter_id: repair.has(engine, counter_id))


@_command_on_the_log
@click.option("--counter", "counter_ids", type=COUNTER_ID, multiple=True, help="Only this counter.")
@click.option("--from", "from_ms", type=TIME, default=None, help="Only what was recorded from then on.")
@click.option("--to", "to_ms", type=TIME, help="Only what was recorded before then.")
@click.option(
    "--rate",
    type=click.IntRange(1),
    default=5000,
    show_default=True,
    help="The most events to send in a second, to each queue.",
)
@click.option("--dry-run", is_flag=True, help="Send nothing, and tell how much it would be.")
@click.option(
    "--from-start", is_flag=True, help="Begin from the start, even if an earlier run of the same was cut off."
)
@_projection
def _replay(
    settings: Settings,
    counter_ids: tuple[str, ...],
    from_ms: int | None,
    to_ms: int | None,
    rate: int,
    dry_run: bool,
    from_start: bool,
    projection: str | None,
) -> Outcome:
    """
    Send events of the log to the projection queue again, and to that of the relational read model, where there is one.

    What is counted stays counted once. Cut off, the same command goes on where it stopped.

    \b
    Examples:
      python -m ops replay --stage prod --counter clicks
      python -m ops replay --stage prod --projection sql
      python -m ops replay --stage prod --from 2026-01-31T12:00:00Z --to 2026-01-31T13:00:00Z --rate 500
    """  # noqa: D301
    from ops.maintenance import lookups, projections, replay

    if len(counter_ids) > 1:
        raise click.UsageError("One counter at a time, or all: replay each of them by itself.")
    if to_ms is not None and (from_ms or 0) >= to_ms:
        raise click.UsageError("--from has to be before --to.")
    names = projections.chosen(settings, projection)
    lookups.check_counters(counter_ids)
    selection = replay.Selection(next(iter(counter_ids), None), from_ms or 0, to_ms, names)
    memory = replay.memory_in(stages.local_folder(), settings.stage, selection)
    if from_start:
        memory.unlink(missing_ok=True)
    return replay.replay(settings, selection, rate, memory, dry_run=dry_run)


@_command_on_the_log
@_some_counters
@click.option("--dry-run", is_flag=True, help="Report the differences, and correct none.")
@_projection
def _rebuild(settings: Settings, counter_ids: tuple[str, ...], dry_run: bool, projection: str | None) -> Outcome:
    """
    Repair the read model from the log, in place, while queries are answered and increments counted.

    Each difference is corrected by conditional writes, and totals last: no query sees a wrong number that was not
    there before. A lost read model is filled, oldest events first. If it is cut off, run it again.

    The relational read model is repaired in place, too: missing events are counted, and rows that differ from the log
    are replaced or removed. The same command fills it after SQL is switched on.

    \b
    Examples:
      python -m ops rebuild --stage prod
      python -m ops rebuild --stage prod --counter clicks
      python -m ops rebuild --stage prod --dry-run
      python -m ops rebuild --stage prod --projection sql
    """  # noqa: D301
    from ops.maintenance import projections, rebuild

    names = projections.chosen(settings, projection)
    _check_counters(settings, counter_ids, names)
    outcomes = {}
    if READ_MODEL in names:
        outcomes[READ_MODEL] = rebuild.rebuild(settings, counter_ids, dry_run=dry_run)
    if SQL in names:
        from ops.maintenance import sql_rebuild

        with _told_at_least(outcomes):
            work = sql_rebuild.concerned if dry_run else sql_rebuild.rebuild
            outcomes[SQL] = work(settings, counter_ids)
    return projections.together(outcomes)


@contextlib.contextmanager
def _told_at_least(outcomes: Mapping[str, Outcome]) -> Iterator[None]:
    """What has come of the work so far is told, should what comes now fail."""
    try:
        yield
    except BaseException:
        for outcome in outcomes.values():
            click.echo(outcome.text, err=True)
        raise


def _confirm(question: str, *, yes: bool, otherwise: str = "This has to be confirmed: add --yes.") -> None:
    """
    Somebody wants this.

    Raises:
        OperatorError: nobody is there to ask, which is told in the words of `otherwise`.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise errors.OperatorError(otherwise)
    click.confirm(question, abort=True, err=True)


@_command_on_the_log
@click.option(
    "--message", "ids", multiple=True, metavar="ID", help="Only this one; the start of its id will do. Repeatable."
)
@click.option("--reason", default="", metavar="TEXT", help="Only those that have this in their reason.")
@click.option("--dry-run", is_flag=True, help="List them, and send nothing.")
@_projection
def _redrive(settings: Settings, ids: tuple[str, ...], reason: str, dry_run: bool, projection: str | None) -> Outcome:
    """
    List what lies on the dead-letter queues, and send it back to be counted. Always safe: it counts once.

    What a projection did not understand, or failed to count, goes back to its own queue. What was not published goes to
    the queues of all projections, whichever is chosen.

    \b
    Examples:
      python -m ops redrive --stage prod --dry-run
      python -m ops redrive --stage prod --reason "too new"
      python -m ops redrive --stage prod --projection sql
    """  # noqa: D301
    from ops.maintenance import projections, redrive

    names = projections.chosen(settings, projection)
    return redrive.redrive(settings, ids, reason, dry_run=dry_run, names=names)


@_command_on_the_log
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
    from ops.maintenance import adjust

    return adjust.adjust(adjust.command(counter_id, **asked), dry_run=dry_run, yes=yes)


@main.command("sql")
@click.argument("statement", required=False)
@click.option("--stage", required=True, help="A stage in .chalice/config.json that has SQL_URL.")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects, one for each row.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values, after the names of the columns.")
@click.option(
    "--limit", "most", type=click.IntRange(1), metavar="ROWS", help="The most rows. Of a table 1,000, otherwise all."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.IntRange(1, 86_400),
    default=60,
    show_default=True,
    help="Seconds until the last row is read, after which the database stops.",
)
def _sql(statement: str | None, stage: str, *, as_json: bool, as_csv: bool, most: int | None, timeout_s: int) -> None:
    """
    Ask the relational read model, in SQL. The database refuses to write.

    Without STATEMENT, those on standard input are answered, up to the first that is refused; at a terminal, a prompt
    takes them. \\d lists tables and views with their columns. Needs no AWS, where the database does not.

    \b
    Examples:
      python -m ops sql --stage prod "SELECT * FROM top_counters LIMIT 10"
      python -m ops sql --stage prod --csv "SELECT * FROM events" > events.csv
      python -m ops sql --stage prod
    """  # noqa: D301
    with _clear_errors():
        from ops.maintenance import sql, sql_answers

        if as_json and as_csv:
            raise click.UsageError("--json and --csv are two forms: choose one.")
        form: sql_answers.Form = "json" if as_json else "csv" if as_csv else "table"
        write = functools.partial(sql_answers.write, form=form, most=most)
        sql.run(stages.settings_of(stage), statement, write, timeout_s)


@_command
def _policy(settings: Settings) -> Outcome:
    """
    Print the IAM policy that suffices to verify, replay, rebuild, redrive and adjust on this stage, and for sql.

    Where SQL is on, it covers both projections. For Aurora DSQL it allows to connect as the database role of SQL_URL,
    or of SQL_OWNER_URL, if that is in the environment, as it should be then for the commands, too; and for sql as that
    of SQL_READER_URL.

    \b
    Example:
      python -m ops policy --stage prod > operator.json
    """  # noqa: D301
    from ops import sql_url
    from ops.deployment import policies

    policy = policies.of_operator(
        settings.stage, sql_url=sql_url.address(settings), sql_reader_url=settings.sql_reader_url
    )
    return Outcome(policy, [json.dumps(policy, indent=2)])


@contextlib.contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise click.ClickException("Stopped. What is done is done; run it again to finish.") from None
    except errors.FORESEEN as error:
        click.echo(f"Error: {errors.in_one_line(error)}", err=True)
        raise click.exceptions.Exit(errors.exit_status(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m ops")
