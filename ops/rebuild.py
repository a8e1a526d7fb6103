"""Rebuild: the read model made anew from the log, beside the live one, while everything goes on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

from chalicelib import event_log, generations, read_model, verifier
from chalicelib.spool import some_at_a_time
from ops import known, parts, progress, verify
from ops.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from chalicelib.domain.counter import Counter
    from chalicelib.domain.events import Event
    from chalicelib.event_log import Unreadable
    from chalicelib.settings import Settings

_T = TypeVar("_T")

_WORKERS = 8
_EVENTS_AT_ONCE = 2000


def rebuild(settings: Settings, counter_ids: Sequence[str]) -> Outcome:
    """
    The read model of these counters, or of all if there are none, is what the log says, and queries see it.

    It is filled beside the live one, verified whole, and only then do queries switch, each counter's at once. The one
    before is kept current. Cut off, it is finished by the next call.
    """
    counter_ids = tuple(dict.fromkeys(counter_ids))
    about = None if counter_ids else known.about_how_many(settings.event_log_table)
    with progress.shown("Beginning", None, "counters") as advance:
        begun = _each(lambda counter: generations.begin(counter.counter_id), _counters(counter_ids), advance)
    with progress.shown("Filling", about) as advance:
        _fill(counter_ids, advance)
    readings = verifier.some(counter_ids) if counter_ids else verifier.everything(parts.PARTS)
    with progress.shown("Verifying", None, "events and buckets") as advance:
        switched = 0

        def switch(verified: Iterable[tuple[str, int]]) -> None:
            nonlocal switched
            with progress.shown("Switching", None, "counters") as advance:
                switched = _each(_switch_to, verified, advance)

        report = verifier.verify(readings, beside=True, advance=advance, if_it_holds=switch)
    found = verify.outcome(report)
    if not report.can_be_switched_to:
        advice = "Queries see what they saw before: look at the differences, then rebuild again, or rebuild --drop."
        return Outcome({**found.facts, "switched": 0}, [*(found.lines or []), advice], holds=False)
    lines = [
        *(found.lines or []),
        f"Queries see {switched:,} counters made anew. What they were before is kept current: "
        "rebuild --back returns to it, rebuild --drop removes it, and its cost.",
    ]
    if report.unreadable:
        lines.append(
            f"{len(report.unreadable):,} counters were left as they are, for their logs hold events that this version "
            "cannot read, and the one that counted them may: rebuild with the version that is deployed."
        )
    elif switched < begun:
        lines.append(f"{begun - switched:,} counters were not, for others changed them meanwhile: rebuild again.")
    return Outcome({**found.facts, "switched": switched}, lines, holds=switched >= begun)


def concerned(counter_ids: Sequence[str]) -> Outcome:
    """How many counters there are, and how many of them have what kind of read model beside the live one."""
    counters = begun = before = 0
    for counter in _counters(counter_ids):
        counters += 1
        begun += counter.unseen
        before += counter.generations.other is not None and not counter.unseen
    line = (
        f"{counters:,} counters; {before:,} of them with what was before the last rebuild kept current, "
        f"{begun:,} with one begun and not switched to."
    )
    return Outcome({"counters": counters, "before": before, "begun": begun}, [line])


def back(counter_ids: Sequence[str]) -> Outcome:
    """Queries see again what they saw before the last rebuild."""
    with progress.shown("Switching back", None, "counters") as advance:
        switched = _each(_switch_to_old, _counters(counter_ids), advance)
    return Outcome({"switched": switched}, [f"{switched:,} counters were switched back."])


def drop(counter_ids: Sequence[str]) -> Outcome:
    """What stands beside the live read model is gone: one that was begun, or the one before the last rebuild."""
    with progress.shown("Dropping", None, "counters") as advance:
        dropped = _each(_drop, _counters(counter_ids), advance)
    return Outcome(
        {"dropped": dropped}, [f"{dropped:,} counters had something beside the live read model, which is removed."]
    )


def _counters(counter_ids: Sequence[str]) -> Iterator[Counter]:
    if counter_ids:
        return (read_model.counter(counter_id) for counter_id in counter_ids)
    return read_model.scan_counters()


def _each(work: Callable[[_T], object], counters: Iterable[_T], advance: Callable[[int], None]) -> int:
    """How many counters there was something to do for; several at a time."""
    done = 0
    with ThreadPoolExecutor(_WORKERS) as pool:
        for some in some_at_a_time(counters, 100):
            done += sum(map(bool, pool.map(work, some)))
            advance(len(some))
    return done


def _switch_to(verified: tuple[str, int]) -> bool:
    counter_id, generation = verified
    return generations.switch(counter_id, generation).generations.live == generation


def _switch_to_old(counter: Counter) -> bool:
    live, other = counter.generations.live, counter.generations.other
    if other is None or counter.unseen or live != counter.newest:  # done before: to be repeated safely
        return False
    generations.switch(counter.counter_id, other)
    return True


def _drop(counter: Counter) -> bool:
    if counter.generations.other is None and counter.dropping is None:
        return False
    generations.drop(counter.counter_id)
    return True


def _fill(counter_ids: Sequence[str], advance: Callable[[int], None]) -> None:
    parts.each(log(counter_ids), _fill_from, advance)


def log(counter_ids: Sequence[str]) -> list[Iterator[Event | Unreadable]]:
    """The log of these counters, or all of it in parts if there are none."""
    if counter_ids:
        return [event_log.of_counter(counter_id) for counter_id in counter_ids]
    return [event_log.scan(part, parts.PARTS) for part in range(parts.PARTS)]


def _fill_from(events: Iterable[Event | Unreadable], advance: Callable[[int], None]) -> None:
    for counter_id, its_events in groupby(event_log.readable(events), key=lambda event: event.counter_id):
        counter = read_model.counter(counter_id)
        if counter.generations.other is None:
            # New, or lost by the read model. What was read of its log may be older than its generation is: read again.
            counter = generations.begin(counter_id)
            _fill_counter(counter, event_log.readable(event_log.of_counter(counter_id)), lambda _: None)
        _fill_counter(counter, its_events, advance)


def _fill_counter(counter: Counter, events: Iterable[Event], advance: Callable[[int], None]) -> None:
    for some in some_at_a_time(events, _EVENTS_AT_ONCE):
        read_model.fill(counter, some)
        advance(len(some))
