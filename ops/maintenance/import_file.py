"""
Append those events of files that a stage's log lacks.

A CSV file contains start values of counters that move here from another service. The start values are recorded as
adjustments.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import chain

from chalicelib import clock
from chalicelib.command_handlers import derive_adjustment_id
from chalicelib.domain.events import COUNTER_ID, Adjusted, have_same_content, is_counter_id, is_valid_adjustment
from chalicelib.settings import Settings
from ops.cli.errors import OperatorError
from ops.cli.result import Outcome
from ops.maintenance import event_file, missing_events
from ops.maintenance.missing_events import Candidate, Problem
from ops.maintenance.notes import Note

#: The required columns of a CSV file. Other columns are ignored.
_COLUMNS = ("counter_id", "value")

_INTEGER = re.compile(r"[+-]?[0-9]{1,17}")


def is_csv(name: str) -> bool:
    """Check whether a file with this name contains start values of counters."""
    return name.removesuffix(".gz").endswith(".csv")


def import_files(settings: Settings, names: Sequence[str], note: Note | None, rate: int, *, dry_run: bool) -> Outcome:
    """
    Append those events of these files that the log lacks: see `append_missing`.

    Problems are invalid lines, files with a malformed manifest, and files that differ from their manifest. `note` is
    required if one of the files is CSV.

    Raises:
        InputError: a file does not exist. Nothing is changed.
    """
    for name in names:
        event_file.check_exists(name)
    records = chain.from_iterable(_read(name, note) for name in names)
    return missing_events.append_missing(settings, records, rate, dry_run=dry_run)


def _read(name: str, note: Note | None) -> Iterator[Candidate | Problem]:
    """Yield the events in a file, and the problems with it."""
    if note and is_csv(name):
        yield from _read_start_values(name, note)
        return
    try:
        if name != event_file.STANDARD:
            event_file.check_manifest(name)
    except OperatorError as error:
        yield Problem(name, 0, str(error))
    else:
        yield from event_file.read_events(name)


def _read_start_values(name: str, note: Note) -> Iterator[Candidate | Problem]:
    """
    Yield an adjustment or a problem for each row. Skip rows with the value 0.

    The id of an adjustment depends only on the counter and the key, as with `counters add --start`.
    """
    now_ms = clock.now_ms()
    columns: list[str] | None = None
    for number, line in event_file.read_lines(name):
        if isinstance(line, str):
            yield Problem(name, number, line)
            continue
        try:
            row: list[str] = next(csv.reader([line.decode("utf-8-sig")], strict=True), [])
        except ValueError:
            yield Problem(name, number, "the line is not in UTF-8")
            continue
        except csv.Error:  # the next line may continue a field with a line break, although it looks like a row
            yield Problem(
                name, number, "the line is not CSV, or a field has a line break. The remaining lines are not read"
            )
            return
        if columns is None:
            columns = row
            if any(columns.count(column) != 1 for column in _COLUMNS):
                yield Problem(name, number, f"the header must have the columns {' and '.join(_COLUMNS)}, each once")
                return
            continue
        if not row:
            continue  # an empty line
        fields = dict(zip(columns, row, strict=False))
        counter_id, value = (fields.get(column, "") for column in _COLUMNS)
        if not is_counter_id(counter_id):
            yield Problem(name, number, f"counter_id must be {COUNTER_ID}, got {counter_id[:80]!r}")
        elif not _INTEGER.fullmatch(value) or not (is_valid_adjustment(int(value)) or int(value) == 0):
            yield Problem(name, number, f"value must be an integer from -(2**53 - 1) to 2**53 - 1, got {value[:80]!r}")
        elif by := int(value):
            event_id = derive_adjustment_id(counter_id, note.key)
            event = Adjusted(counter_id, event_id, by, now_ms, note.reason, note.who)
            yield Candidate(event, name, number, have_same_content)
