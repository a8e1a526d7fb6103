"""The command that queries the SQL read model."""

import sys
from typing import BinaryIO

import click

from ops import stages
from ops.cli.errors import InputError


@click.command
@click.argument("statement", required=False)
@click.option("--stage", required=True, help="Stage with SQL_URL.")
@click.option("--file", type=click.File("rb"), help="Read the statement from a file, in UTF-8.")
@click.option("--json", "as_json", is_flag=True, help="Output JSON, one object per row.")
@click.option("--csv", "as_csv", is_flag=True, help="Output CSV with a header.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="ROWS",
    help="Maximum rows (default: 1,000, or all with --csv or --json).",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.IntRange(1, 86_400),
    default=60,
    show_default=True,
    help="Seconds until the statement is stopped.",
)
def sql_command(
    statement: str | None,
    stage: str,
    *,
    file: BinaryIO | None,
    as_json: bool,
    as_csv: bool,
    limit: int | None,
    timeout_s: int,
) -> None:
    """
    Query the SQL read model in SQL, read-only.

    The command runs STATEMENT, or the statement in --file or on standard input. On a terminal without a statement, it
    prints how to connect with psql, sqlite3, pgcli or Datasette. It needs no AWS credentials unless the database
    requires them.

    \b
    Examples:
      python -m ops sql --stage prod "SELECT * FROM top_counters LIMIT 10"
      python -m ops sql --stage prod --csv "SELECT * FROM events" > events.csv
      python -m ops sql --stage prod --file report.sql
    """
    from ops.maintenance import sql, sql_output

    if as_json and as_csv:
        raise click.UsageError("--json and --csv are mutually exclusive.")
    if statement and file:
        raise click.UsageError("STATEMENT and --file are mutually exclusive.")
    url = sql.reader_url(stages.read_settings(stage))
    if statement is None and file is None and sys.stdin.isatty():
        click.echo("\n".join(sql.connection_lines(url)))
        return
    if statement is None:
        # The query refuses text that is not UTF-8.
        statement = (file or sys.stdin.buffer).read().decode(errors="surrogateescape")
    text = statement.removeprefix("\ufeff")  # a byte order mark
    if not text.strip():
        raise InputError("The statement is empty: pass one as an argument, with --file or on standard input.")
    with sql.query(url, text, timeout_s) as result:
        sql_output.write(result, "json" if as_json else "csv" if as_csv else "table", limit)
