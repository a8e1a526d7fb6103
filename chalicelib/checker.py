"""
The scheduled check: a part of the counters verified at each run, within a budget, and repaired where a replay can.

Which part follows from the time alone, so nothing has to be remembered between runs, and a run that fails is made up
for when its part's turn comes again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib import event_log, queues, read_model, settings, telemetry, verifier
from chalicelib.spool import some_at_a_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chalicelib.verifier import Report

#: An event that is not counted after so long is not on its way any more: `project` has had 5 turns at it.
_LAG_S = 900

_EVENTS_AT_ONCE = 1000

#: What a counter costs at least, in events: a read unit for its state, its log and its buckets each.
_LEAST = 20


@dataclass(frozen=True, slots=True)
class Checked:
    """
    What a run found. `drift` is what is wrong still, after events that were not counted were counted (`repaired`).

    `left_out` counters have more events than the run's budget had left: `python -m ops verify` has no budget. `parked`
    messages are on the dead-letter queue. The oldest event that was not counted was recorded `oldest_s` seconds ago.
    """

    counters: int
    events: int
    left_out: int
    repaired: int
    drift: int
    oldest_s: float
    parked: int


def check(now_s: int) -> Checked:
    """
    The counters whose turn it is at this time are verified, and what a replay of their events can repair is repaired.

    Reads at most as many events as the settings' budget, and their buckets: about a read unit for each 20 events.

    Raises:
        LogUnavailableError, ReadModelUnavailableError, QueueUnavailableError: a passing failure. Nothing is lost.
    """
    current = settings.current()
    turn = now_s // settings.CHECK_EVERY_S % current.check_parts
    chosen, left_out = _within_budget(turn, current.check_parts, current.check_events)
    report = first = _verify(chosen)
    repaired = 0
    if first.lacking:
        repaired = sum(map(_count_again, first.lacking))
        report = _verify(chosen)
    checked = Checked(
        counters=len(chosen),
        events=first.events,
        left_out=left_out,
        repaired=repaired,
        drift=report.numbers.total(),
        oldest_s=first.lag_s,
        parked=queues.length(current.dead_letter_queue),
    )
    for one in report.differences:
        telemetry.drifted(one.counter_id, one.kind, one.detail, one.event_id)
    found = {
        "Repaired": checked.repaired,
        "Drift": checked.drift,
        "LeftOut": checked.left_out,
        "OnDeadLetterQueue": checked.parked,
        "OldestUncounted": checked.oldest_s,
    }
    telemetry.checked(checked.counters, checked.events, found)
    return checked


def _within_budget(part: int, parts: int, events: int) -> tuple[list[str], int]:
    """The counters of this part that so many events suffice for, and how many others there are."""
    chosen, left_out = [], 0
    for counter in read_model.scan_counters(part, parts):
        cost = max(counter.version, _LEAST)
        if cost <= events:
            events -= cost
            chosen.append(counter.counter_id)
        else:
            left_out += 1
    return chosen, left_out


def _verify(counter_ids: Iterable[str]) -> Report:
    return verifier.verify(verifier.some(counter_ids), lag_s=_LAG_S, waits=False)


def _count_again(counter_id: str) -> int:
    events = event_log.readable(event_log.of_counter(counter_id))
    return sum(update.new for some in some_at_a_time(events, _EVENTS_AT_ONCE) for update in read_model.count(some))
