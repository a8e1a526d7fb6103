"""
Check a section of the log and a section of the read model in each run, and count missed events.

Two walks continue from run to run, so that every event and counter is checked in turn, even if a counter is large:

    the log           each event must be counted; the check counts missed events
    the read model    each counter must match the log; the check reports differences, which `rebuild` corrects

The walk over the log finds counters that have no item yet. If a part of a counter has more events than a run may read,
only its totals are compared with its entries, over several runs. `verify` compares the part completely.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from chalicelib import log_reader, settings, telemetry
from chalicelib.aws import partitions, sqs
from chalicelib.domain.counter import NOTHING_ARCHIVED, PartKey
from chalicelib.domain.entries import make_entry
from chalicelib.domain.events import Purged
from chalicelib.errors import DamagedReadModelError
from chalicelib.extras.chunks import split_into_chunks
from chalicelib.extras.verification import checkpoint, verifier
from chalicelib.extras.verification import report as kinds
from chalicelib.extras.verification.part_comparison import PartComparison, describe_stray, select_parts
from chalicelib.extras.verification.purges import PurgeTracker
from chalicelib.extras.verification.report import Difference, Report, Totals
from chalicelib.extras.verification.staging_db import SEEN, StagingDb
from chalicelib.log_reader import NEVER_PURGED, LogPosition, Unreadable
from chalicelib.projections import READ_MODEL
from chalicelib.read_model import items, queries, store, writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chalicelib.aws.dynamodb import RawItem
    from chalicelib.domain.archive import Page
    from chalicelib.domain.entries import Entry
    from chalicelib.domain.events import Event

#: An event that is not counted after 15 minutes is a missed event. By then, `project` has usually tried 5 times.
_LAG_S = 900

#: Events of the log in one batch.
_EVENTS_AT_ONCE = 1000

#: Reading this many events of the log takes about one read unit, the same as reading a counter's item or an archive
#: page.
_EVENTS_PER_UNIT = 20

#: Archive pages per request, for a counter that is too large for one run.
_PAGES_AT_ONCE = 50

_JOB = "check"

#: The version of the checkpoint's format. A checkpoint of another version is ignored.
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Checked:
    """
    The result of a run.

    `repaired` is the number of missed events that the run counted; `drift` is the number of other differences.
    `age_s` is the time since the start of the last completed walk over the log. The oldest event that the run found
    uncounted was recorded `oldest_s` seconds ago. `parked` is the number of messages on the dead-letter queue.
    """

    events: int
    counters: int
    repaired: int
    drift: int
    parked: int
    oldest_s: float
    age_s: float


@dataclass(slots=True)
class _Walks:
    """The progress of both walks. `log` and `counter` are the keys after which to continue, or empty at the start."""

    log: dict[str, str] = field(default_factory=dict)
    counter: dict[str, Any] = field(default_factory=dict)
    large: dict[str, Any] = field(default_factory=dict)
    started_s: int = 0
    finished_s: int = 0


def check(now_s: int) -> Checked:
    """
    Check the next section of the log and the next section of the read model, and count missed events.

    The reads cost about as much as reading `CHECK_EVENTS` events of the log; each walk gets half of them. The check is
    safe to run concurrently or to interrupt: the next run continues from the last saved checkpoint.

    Raises:
        LogUnavailableError, ReadModelUnavailableError, QueueUnavailableError, ContendedError: AWS throttles or refuses
            a request or does not respond, or every attempt to count conflicted. Nothing is lost.
    """
    current = settings.current()
    walks = _resume(now_s)
    report = Report()
    repaired = _walk_log(walks, current.check_events // 2, now_s, report)
    _save(walks)
    repaired += _walk_counters(walks, current.check_events // 2, now_s, report)
    _save(walks)
    checked = Checked(
        events=report.events,
        counters=report.counters,
        repaired=repaired,
        drift=report.numbers.total(),
        parked=sqs.approximate_length(READ_MODEL.dead_letter_queue(current.stage)),
        oldest_s=report.lag_s,
        age_s=max(0, now_s - walks.finished_s),
    )
    for difference in report.differences:
        telemetry.log_drift(difference.counter_id, difference.kind, difference.detail, difference.event_id)
    metrics = {
        "Repaired": checked.repaired,
        "Drift": checked.drift,
        "OnDeadLetterQueue": checked.parked,
        "OldestUncounted": checked.oldest_s,
        "CheckAge": checked.age_s,
    }
    telemetry.log_check(checked.counters, checked.events, metrics)
    return checked


def _resume(now_s: int) -> _Walks:
    saved = checkpoint.load(_JOB)
    try:
        walks = _Walks(**saved["walks"]) if saved.get("format") == _FORMAT else _Walks()
    except (KeyError, TypeError):
        walks = _Walks()
    walks.started_s = walks.started_s or now_s
    walks.finished_s = walks.finished_s or now_s
    return walks


def _save(walks: _Walks) -> None:
    checkpoint.save(_JOB, {"format": _FORMAT, "walks": asdict(walks)})


def _walk_log(walks: _Walks, budget: int, now_s: int, report: Report) -> int:
    """Count missed events in the next section of the log. Return the number of newly counted events."""
    repaired = 0
    after = LogPosition(**walks.log) if walks.log else None
    purges = PurgeTracker(after)
    at_once = min(_EVENTS_AT_ONCE, budget)

    def spend(units: int) -> None:
        nonlocal budget
        budget -= _EVENTS_PER_UNIT * units

    for batch in split_into_chunks(log_reader.scan(after=after, at_once=at_once), at_once):
        report.events += len(batch)
        budget -= len(batch)
        for key, entries in _group_by_part(batch, purges, (now_s - _LAG_S) * 1000).items():
            try:
                counted = _count_missed(key, queries.find_uncounted(key, entries, spend))
            except DamagedReadModelError as error:
                report.add(Difference(kinds.DAMAGED, key.counter_id, error.detail))
                continue
            repaired += len(counted)
            report.lag_s = max([report.lag_s, *(now_s - entry.recorded_at_ms / 1000 for entry in counted)])
        walks.log = asdict(log_reader.locate(batch[-1]))
        if budget <= 0:
            return repaired
    walks.log, walks.finished_s, walks.started_s = {}, walks.started_s, 0
    return repaired


def _walk_counters(walks: _Walks, budget: int, now_s: int, report: Report) -> int:
    """
    Compare the next counters with the log, and count their missed events.

    Return the number of newly counted events.
    """
    capacity = budget
    small: dict[PartKey, int] = {}
    at_once = capacity // (2 * _EVENTS_PER_UNIT) + 1
    for item in chain.from_iterable(store.scan_parts(after=walks.counter or None, at_once=at_once)):
        if (key := items.parse_part_key(item)) is None:
            report.add(describe_stray(item))
        elif (size := _estimate_cost(item)) <= capacity:
            if size > budget:
                break
            budget -= size
            small[key] = size
        else:
            budget = _add_up(walks, key, budget, report)
            if walks.large:
                break
        walks.counter = {"counter_id": item["counter_id"], "part": item["part"]}
        if budget <= 0:
            break
    else:
        walks.counter = {}
    return _compare(small, capacity, (now_s - _LAG_S) * 1000, report)


def _estimate_cost(item: RawItem) -> int:
    """Return the cost of comparing this part, in events: the reads of its log, item and archive."""
    try:
        return max(0, items.decode_totals(item).version) + 2 * _EVENTS_PER_UNIT
    except DamagedReadModelError:
        return 2 * _EVENTS_PER_UNIT


def _compare(sizes: dict[PartKey, int], at_most: int, young_from_ms: int, report: Report) -> int:
    """
    Compare these parts with the log, and count their missed events. Return the number of newly counted events.

    `sizes` gives the estimated cost of each part, in events. Read up to `at_most` events of each part.
    """
    repaired = 0
    scope = select_parts(sizes)
    log = [partial(_read_first, partitions.format_partition(key), size, at_most) for key, size in sizes.items()]
    with StagingDb() as db:
        comparison = PartComparison(db, scope, report)
        verifier.stage(db, [comparison], log)
        comparison.count_pending(0, young_from_ms)
        for key in db.parts():
            old = frozenset(entry for entry in db.missing(key) if entry.recorded_at_ms < young_from_ms)
            with contextlib.suppress(DamagedReadModelError):  # `report_part` reports the damage
                repaired += len(_count_missed(key, old))
                db.add_counted(key, old, SEEN)
            comparison.report_part(key, young_from_ms)
        report.counters += len({key.counter_id for key in sizes})
    return repaired


def _read_first(partition: str, size: int, at_most: int) -> Iterator[Event | Unreadable]:
    """
    Read at most `at_most` events of a partition. `size` is the estimated number of its events.

    If the part's version is too low, the partition has more than `size` events. The walk over the log covers events
    beyond the limit. If the part was purged, read only `size` events, because void events cost as much as others.
    Entries whose events were not read are looked up by their ids.
    """
    for number, event in enumerate(log_reader.scan_partition(partition, at_once=min(size, _EVENTS_AT_ONCE))):
        if isinstance(event, Purged):
            at_most = size
        if number >= at_most:
            return
        yield event


def _add_up(walks: _Walks, key: PartKey, budget: int, report: Report) -> int:
    """
    Compare a large part's totals with its entries, as far as the budget allows. Return the remaining budget.

    `walks.large` keeps the intermediate sum for the next run, and is empty once all entries are added up. If a page
    that was already added up is amended, the sum is discarded, and the next walk starts over.
    """
    name = [key.counter_id, key.part]
    try:
        part = store.read_part(key)
        if walks.large.get("part") != name:
            walks.large = {"part": name, "end": NOTHING_ARCHIVED, "sum": 0, "number": 0, "amended": part.amended}
        state = walks.large
        while state["end"] < part.archived_until_ms:
            if budget <= 0:
                return budget
            at_once = min(_PAGES_AT_ONCE, -(-budget // _EVENTS_PER_UNIT))
            pages = store.read_pages(key, state["end"] + 1, at_once)
            budget -= _EVENTS_PER_UNIT * max(1, len(pages))
            if not _is_chain(pages, state["end"]):
                # If the page exists but is not visible yet, the next walk finds it.
                detail = f"no page follows the page that ends at {state['end']}"
                report.add(Difference(kinds.PAGE_MISSING, key.counter_id, detail))
                break
            state["end"] = pages[-1].end_ms
            state["sum"] += sum(entry.amount for page in pages for entry in page.entries)
            state["number"] += sum(len(page.entries) for page in pages)
            part = store.read_part(key)
    except DamagedReadModelError as error:
        report.add(Difference(kinds.DAMAGED, key.counter_id, error.detail))
    else:
        if (part.amended, part.archived_until_ms) == (state["amended"], state["end"]):
            total = state["sum"] + sum(entry.amount for entry in part.recent)
            totals = Totals(part.value, part.version, total, state["number"] + len(part.recent))
            report.add(totals.compare(key.counter_id))
    report.counters += 1
    walks.large = {}
    return budget - _EVENTS_PER_UNIT


def _is_chain(pages: list[Page], end_ms: int) -> bool:
    """Check whether the first page starts at `end_ms`, and every other page starts where the previous page ends."""
    ends = [end_ms, *(page.end_ms for page in pages)]
    return bool(pages) and all(page.start_ms == end for page, end in zip(pages, ends, strict=False))


def _count_missed(key: PartKey, missed: frozenset[Entry]) -> frozenset[Entry]:
    """
    Count missed events of a part, and return the newly counted entries.

    First, look for a purge again: a purge that was recorded since the events were read voids them.
    """
    until_ms = log_reader.read_purge(partitions.format_partition(key)) if missed else NEVER_PURGED
    entries = [entry for entry in missed if entry.recorded_at_ms > until_ms]
    return writer.count_entries(key, entries) if entries else frozenset()


def _group_by_part(
    events: Iterable[Event | Unreadable], purges: PurgeTracker, before_ms: int
) -> dict[PartKey, frozenset[Entry]]:
    """Return the entries of events that were recorded before a time, without void events, grouped by part."""
    by_part: dict[PartKey, set[Entry]] = defaultdict(set)
    for event in log_reader.skip_unreadable(events):
        if not purges.is_void(event) and event.recorded_at_ms < before_ms:
            by_part[partitions.part_key(event)].add(make_entry(event))
    return {key: frozenset(entries) for key, entries in by_part.items()}
