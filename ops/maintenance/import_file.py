"""Import: append the events of files that a stage's log lacks."""

from __future__ import annotations

import operator
from itertools import chain
from typing import TYPE_CHECKING

from chalicelib.domain.events import have_same_content
from ops.cli.errors import OperatorError
from ops.maintenance import event_file, missing_events, start_values
from ops.maintenance.event_file import Problem
from ops.maintenance.missing_events import Candidate, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chalicelib.settings import Settings
    from ops.cli.result import Outcome
    from ops.maintenance.adjust import Note


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
    result = Result()
    candidates = chain.from_iterable(_read(name, note, result) for name in names)
    missing_events.append_missing(settings, candidates, result, rate, dry_run=dry_run)
    return missing_events.to_outcome(settings, result, dry_run=dry_run)


def _read(name: str, note: Note | None, result: Result) -> Iterator[Candidate]:
    """Yield the valid events of a file, and add its problems to the result."""
    is_csv = start_values.is_csv(name)
    try:
        if not is_csv and name != event_file.STANDARD:
            event_file.check_manifest(name)
    except OperatorError as error:
        result.add_problem(Problem(name, 0, str(error)))
        return
    records = start_values.read_start_values(name, note) if is_csv and note else event_file.read_events(name)
    is_same = have_same_content if is_csv else operator.eq
    for record in records:
        if isinstance(record, Problem):
            result.add_problem(record)
            continue
        number, event = record
        yield Candidate(event, name, number, is_same)
