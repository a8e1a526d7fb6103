"""
Append the events that a stage's log lacks. The events come from files or from another log table.

DynamoDB charges as much for a refused write as for a successful one. Therefore, look up a chunk of events before
appending it, unless the log had no event of the last completed chunk. A repeated run costs only reads, and continues
where an interrupted run stopped.
"""

import contextvars
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

from chalicelib import log_reader
from chalicelib.access.names import Verdict
from chalicelib.aws import partitions, tables
from chalicelib.domain.events import FIRST_ID_AFTER_PURGES, Event, Purged, have_same_content
from chalicelib.extras.chunks import split_into_chunks
from chalicelib.log_reader import LogPosition, Unreadable
from chalicelib.settings import Settings
from ops.cli import progress
from ops.cli.result import Outcome, count
from ops.maintenance import bulk_append, counters, purge, throttling

_THREADS = 8

#: DynamoDB's limit for a batch of reads, and for a transaction.
_AT_ONCE = bulk_append.MOST_AT_ONCE

#: The maximum number of problems, and of counters that clients cannot read, that the outcome lists.
_LISTED = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """A line, counted from 1, that cannot be used, and the reason. Line 0 means the whole file, or a table."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line:,}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An event, its file and its line. `is_same` decides whether the log's event with this id is the same."""

    event: Event
    file: str
    line: int
    is_same: Callable[[Event, Event], bool]

    def refuse(self, recorded: Event | Unreadable) -> Problem:
        """Return the problem that a different event is already recorded with this id."""
        what = (
            f"an event that this version cannot read ({recorded.reason})"
            if isinstance(recorded, Unreadable)
            else f"{recorded.type_name} {recorded.by:+} with different content"
        )
        where = f"event {self.event.event_id} of counter {self.event.counter_id}"
        return Problem(self.file, self.line, f"{where} is already recorded as {what}")


@dataclass(slots=True)
class _Result:
    """
    The result so far: appended events by type, events already in the log, and problems.

    `listed` contains only the first problems.
    """

    appended: Counter[str] = field(default_factory=Counter)
    present: int = 0
    problems: int = 0
    listed: list[Problem] = field(default_factory=list)
    unknown_counters: set[str] = field(default_factory=set)
    has_purges: bool = False

    def add_problem(self, problem: Problem) -> None:
        """Count a problem, and list it if it is one of the first problems."""
        self.problems += 1
        if len(self.listed) < _LISTED:
            self.listed.append(problem)

    def add(self, other: Self) -> None:
        """Add the result of a chunk of events."""
        self.appended += other.appended
        self.present += other.present
        self.problems += other.problems
        self.listed += other.listed[: _LISTED - len(self.listed)]


def append_missing(  # noqa: PLR0913  (decisions of the caller)
    settings: Settings,
    records: Iterable[Candidate | Problem],
    rate: int,
    *,
    total: int | None = None,
    present: int = 0,
    following: str = "",
    dry_run: bool,
) -> Outcome:
    """
    Append the events among these records that the log lacks, at most `rate` per second.

    An event that the log already has is skipped, and reported as a problem if it differs from the recorded one. A purge
    is appended to the partition of each part that the counter has in this stage. If the call is interrupted at any
    point, the next call with the same records appends the missing events. With `dry_run`, read and report only. Memory
    use does not grow with the number of records, which is `total`, if known.

    `present` is the number of further events that the log already has. `following` is the command to run next, which
    the outcome names. Default: none if no event was appended, `rebuild` if the records include a purge, else `verify`.
    """
    result = _Result(present=present)
    is_unknown = counters.read_verdicts(settings, Verdict.UNKNOWN)
    pause, started, submitted, reads_first = threading.Event(), time.monotonic(), 0, True
    in_flight: deque[tuple[int, Future[_Result]]] = deque()
    with (
        progress.bar("Comparing" if dry_run else "Appending", total) as advance,
        ThreadPoolExecutor(_THREADS) as pool,
        throttling.retry_throttled(tables.client()),
    ):

        def collect() -> None:
            nonlocal reads_first
            size, future = in_flight.popleft()
            part = future.result()
            result.add(part)
            reads_first = part.appended.total() < size
            advance(size)

        for chunk in split_into_chunks(_prepare(records, result), min(_AT_ONCE, rate)):
            if len(in_flight) == _THREADS:
                collect()
            if not dry_run:
                pause.wait(max(0.0, started + submitted / rate - time.monotonic()))
            append = partial(_append, chunk, reads_first=reads_first, dry_run=dry_run)
            in_flight.append((len(chunk), pool.submit(contextvars.copy_context().run, append)))
            submitted += len(chunk)
            _note_unknown(chunk, is_unknown, result)
        while in_flight:
            collect()
    return _to_outcome(settings, result, following, dry_run=dry_run)


def _to_outcome(settings: Settings, result: _Result, following: str, *, dry_run: bool) -> Outcome:
    appended = result.appended.total()
    unknown = sorted(result.unknown_counters)[:_LISTED]
    facts: dict[str, Any] = {
        "stage": settings.stage,
        "appended": appended,
        "types": dict(sorted(result.appended.items())),
        "present": result.present,
        "problems": result.problems,
        "listed": [str(each) for each in sorted(result.listed, key=lambda each: (each.file, each.line))],
        "unknown_counters": unknown,
        "dry_run": dry_run,
    }
    types = ", ".join(f"{number:,} {name}" for name, number in facts["types"].items())
    verb = "would be appended" if dry_run else "appended"
    lines = [
        f"{count(appended, 'event')} {verb}{types and f' ({types})'}, {result.present:,} already in the log, "
        f"{count(result.problems, 'problem')}."
    ]
    lines += facts["listed"]
    if unlisted := result.problems - len(result.listed):
        lines.append(f"... and {unlisted:,} more")
    if unknown:
        more = " and others" if len(result.unknown_counters) > len(unknown) else ""
        lines.append(
            f"Clients cannot read these counters: {', '.join(unknown)}{more}. Run `python -m ops counters add`, or "
            "`show` for hidden counters, or set COUNTERS."
        )
    if appended and not following:
        following = "rebuild" if result.has_purges else "verify"
    if following and not dry_run:
        counted = "Workers count the appended events. " if appended else ""
        lines.append(f"{counted}Next: python -m ops {following} --stage {settings.stage}")
    return Outcome(facts, lines, holds=not result.problems)


def _prepare(records: Iterable[Candidate | Problem], result: _Result) -> Iterator[Candidate]:
    """
    Yield the events whose ids are valid for their types. Add a problem to the result for each other event.

    Also add the problems among the records. The purge may come from a stage with a different number of parts.
    Therefore, after each purge, yield its copies for the parts of this stage.
    """
    parts = partitions.count_parts()
    for each in records:
        if isinstance(each, Problem):
            result.add_problem(each)
            continue
        event = each.event
        is_purge = isinstance(event, Purged)
        if is_purge is not (event.event_id < FIRST_ID_AFTER_PURGES):
            rule = f"{'lower' if is_purge else 'not lower'} than {FIRST_ID_AFTER_PURGES} in an event of this type"
            result.add_problem(Problem(each.file, each.line, f"event_id must be {rule}, got {event.event_id}"))
            continue
        yield each
        if isinstance(event, Purged):
            result.has_purges = True
            ids = [purge.make_purge_id(event.until_ms, part, parts) for part in range(parts)]
            yield from (replace(each, event=replace(event, event_id=id_)) for id_ in ids if id_ != event.event_id)


def _drop_repeated(chunk: Sequence[Candidate], result: _Result) -> list[Candidate]:
    """Return the first event with each id, and compare repeated events with it. A batch must not have a key twice."""
    first: dict[LogPosition, Candidate] = {}
    for each in chunk:
        known = first.setdefault(log_reader.locate(each.event), each)
        if known is not each:
            _compare(each, known.event, result)
    return [*first.values()]


def _append(chunk: Sequence[Candidate], *, reads_first: bool, dry_run: bool) -> _Result:
    """Append those events of the chunk that the log lacks. With `dry_run`, only find them."""
    result = _Result()
    candidates = _drop_repeated(chunk, result)
    recorded: dict[LogPosition, Event | Unreadable] = {}
    if reads_first or dry_run or not bulk_append.append_all([each.event for each in candidates]):
        recorded = log_reader.find_recorded([each.event for each in candidates])
        missing = [each.event for each in candidates if log_reader.locate(each.event) not in recorded]
        if missing and not dry_run:
            recorded |= log_reader.find_recorded(bulk_append.append_many(missing))
    for each in candidates:
        known = recorded.get(log_reader.locate(each.event))
        if known is None:
            result.appended[each.event.type_name] += 1
        else:
            _compare(each, known, result)
    return result


def _compare(candidate: Candidate, recorded: Event | Unreadable, result: _Result) -> None:
    if not isinstance(recorded, Unreadable) and (
        candidate.is_same(recorded, candidate.event)
        # If a purge was interrupted and repeated, the times of its events differ between parts.
        or (isinstance(recorded, Purged) and have_same_content(recorded, candidate.event))
    ):
        result.present += 1
    else:
        result.add_problem(candidate.refuse(recorded))


def _note_unknown(chunk: Sequence[Candidate], is_unknown: Callable[[str], bool], result: _Result) -> None:
    """Remember counters that clients cannot read, at most one more than the outcome lists."""
    for counter_id in {each.event.counter_id for each in chunk} - result.unknown_counters:
        if len(result.unknown_counters) <= _LISTED and is_unknown(counter_id):
            result.unknown_counters.add(counter_id)
