"""Import: append the events of files that a stage's log lacks."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from ops.cli.errors import OperatorError
from ops.maintenance import event_file, missing_events, start_values
from ops.maintenance.missing_events import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chalicelib.settings import Settings
    from ops.cli.result import Outcome
    from ops.maintenance.adjust import Note
    from ops.maintenance.missing_events import Candidate


def import_files(settings: Settings, names: Sequence[str], note: Note | None, rate: int, *, dry_run: bool) -> Outcome:
    """
    Append the events of these files that the log lacks, as `append_missing` does.

    An invalid line is a problem, and so is a file that differs from its manifest. `note` is required if one of the
    files is CSV.

    Raises:
        InputError: a file does not exist. Nothing is changed.
    """
    for name in names:
        event_file.check_exists(name)
    records = chain.from_iterable(_read(name, note) for name in names)
    return missing_events.append_missing(settings, records, rate, dry_run=dry_run)


def _read(name: str, note: Note | None) -> Iterator[Candidate | Problem]:
    """Yield the events and the problems of a file."""
    if note and start_values.is_csv(name):
        yield from start_values.read_start_values(name, note)
        return
    try:
        if name != event_file.STANDARD:
            event_file.check_manifest(name)
    except OperatorError as error:
        yield Problem(name, 0, str(error))
    else:
        yield from event_file.read_events(name)
