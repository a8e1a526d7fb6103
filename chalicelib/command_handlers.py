"""Handle commands: each becomes one event in the log. A swap or an add-and-get is also counted at once."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib import event_log, retries, telemetry
from chalicelib.domain.commands import InvalidAdjustmentError, decide_adjustment, decide_increment, is_result_of
from chalicelib.errors import (
    ContendedError,
    InvalidRequestError,
    KeyReusedError,
    RecordedBeforeError,
    UnavailableError,
    VersionMismatchError,
)
from chalicelib.read_model import store, writer

if TYPE_CHECKING:
    from chalicelib.domain.commands import Adjust, Increment
    from chalicelib.domain.counter import Counter
    from chalicelib.domain.events import Event

#: The namespace of event ids that are derived from idempotency keys. Changing it would double what is sent again.
_KEYED_EVENTS = uuid.UUID("3f0a1c1e-6b0e-5d0f-9a5b-8c6a2c6f4b11")

#: The namespace of event ids that are derived from adjustments' keys: another, so that no client's key is one of them.
_KEYED_ADJUSTMENTS = uuid.UUID("b7c0a3de-52c4-5a3e-8d0f-0b8f6f0e9a27")

_TRIES_TO_SWAP = 8
_TRIES_TO_ADJUST = 12


@dataclass(frozen=True, slots=True)
class Accepted:
    """The event of a command, and the counter's state if it was counted at once. `is_retry`: it was recorded before."""

    event: Event
    counter: Counter | None
    is_retry: bool


def increment(command: Increment) -> Accepted:
    """
    Record the increment in the log, once for each idempotency key.

    A plain increment is one request; the stream delivers the event to the projections. With `at_version`, the event is
    recorded and counted in one transaction. With `wants_counter`, it is recorded first, then counted at once. If the
    function dies in between, or counting fails, the stream counts it.

    Raises:
        KeyReusedError: the idempotency key was already used with a different amount.
        VersionMismatchError: the counter is not at `at_version`; nothing is recorded.
        ContendedError: concurrent writers changed the counter at every try at a swap; nothing is recorded.
        UnavailableError: the outcome is unknown; retry with the same idempotency key.
    """
    now_ms = _now_ms()
    event = decide_increment(command, choose_event_id(command, now_ms), now_ms)
    telemetry.add_event_keys(event)
    accepted = _execute(command, event)
    telemetry.log_accepted(counted=accepted.counter is not None, replayed=accepted.is_retry)
    return accepted


def _execute(command: Increment, event: Event) -> Accepted:
    if command.at_version is not None:
        return _compare_and_swap(command, event, command.at_version)
    if command.wants_counter:
        return _add_and_get(command, event)
    return _append(command, event)


def adjust(command: Adjust) -> Accepted | None:
    """
    Record and count the adjustment, once for its key; return None if the counter's value already is `to`.

    The amount is decided from the counter's state, and recorded only if that is still its state; else it is decided
    again. Events that are in the log and not counted yet at that moment are counted on top of `to` later.

    Raises:
        KeyReusedError: the key was already used for a different adjustment of this counter.
        InvalidRequestError: the amount is 0 or too large.
        ContendedError: concurrent writers changed the counter at every try; nothing is recorded.
        UnavailableError: the outcome is unknown; retry with the same key.
    """
    for _ in retries.attempts(_TRIES_TO_ADJUST):
        if before := find_adjustment(command):
            return Accepted(before, writer.count_and_get(before), is_retry=True)
        parts = store.read_parts(command.counter_id)
        counter = store.add_up(command.counter_id, parts)
        try:
            event = decide_adjustment(command, counter, _adjustment_id(command), _now_ms())
        except InvalidAdjustmentError as error:
            raise InvalidRequestError(str(error)) from error
        if event is None:
            return None
        try:
            return Accepted(event, writer.append_and_count(event, parts), is_retry=False)
        except (RecordedBeforeError, ContendedError):
            continue
    raise ContendedError(f"counter {command.counter_id} is written by concurrent workers")


def find_adjustment(command: Adjust) -> Event | None:
    """
    Return the event that this adjustment led to when it was sent before with its key, or None. One read.

    Raises:
        KeyReusedError: the key was already used for a different adjustment of this counter.
        LogUnavailableError: DynamoDB throttles or does not answer.
    """
    found = event_log.find(command.counter_id, _adjustment_id(command))
    if found is not None and not is_result_of(command, found):
        raise KeyReusedError(found.counter_id, found.event_id)
    return found


def _adjustment_id(command: Adjust) -> str:
    return str(uuid.uuid5(_KEYED_ADJUSTMENTS, f"{command.counter_id}/{command.key}"))


def _append(command: Increment, event: Event) -> Accepted:
    appended = event_log.append(event, counted_at_once=command.wants_counter)
    return Accepted(appended.event, None, is_retry=appended.is_retry and command.idempotency_key is not None)


def _compare_and_swap(command: Increment, event: Event, at_version: int) -> Accepted:
    for _ in retries.attempts(_TRIES_TO_SWAP):
        parts = store.read_parts(command.counter_id)
        counter = store.add_up(command.counter_id, parts)
        if counter.version != at_version:
            if command.idempotency_key is not None and _is_recorded(event):
                return _recorded_before(command, event)
            raise VersionMismatchError(at_version, counter)
        try:
            return Accepted(event, writer.append_and_count(event, parts), is_retry=False)
        except RecordedBeforeError:
            return _recorded_before(command, event)
        except ContendedError:
            continue
    raise ContendedError(f"counter {command.counter_id} is written by concurrent workers")


def _is_recorded(event: Event) -> bool:
    """
    Check whether the log has this event's id.

    A transaction is committed item by item: the counter may already show a swap whose event is not visible yet. So an
    event that is not found is looked for again after a pause.
    """
    if event_log.find(event.counter_id, event.event_id) is not None:
        return True
    retries.pause()
    return event_log.find(event.counter_id, event.event_id) is not None


def _add_and_get(command: Increment, event: Event) -> Accepted:
    accepted = _append(command, event)
    try:
        return Accepted(accepted.event, writer.count_and_get(accepted.event), accepted.is_retry)
    except UnavailableError:
        return accepted  # the event is recorded, so the client gets 202 and the stream counts it


def _recorded_before(command: Increment, event: Event) -> Accepted:
    """Count the event that is in the log, if it is not counted yet, so that the counter's state includes it."""
    recorded = event_log.get_recorded(event)
    return Accepted(recorded, writer.count_and_get(recorded), is_retry=command.idempotency_key is not None)


def choose_event_id(command: Increment, now_ms: int) -> str:
    """The id of the event that this command leads to: with an idempotency key always the same, else a fresh one."""
    if command.idempotency_key is not None:
        # No counter id holds a slash, so no two pairs of counter and key make the same name.
        return str(uuid.uuid5(_KEYED_EVENTS, f"{command.counter_id}/{command.idempotency_key}"))
    return generate_event_id(now_ms)


def generate_event_id(now_ms: int) -> str:
    """A fresh UUID of version 7: milliseconds, then random bits (RFC 9562, section 5.7)."""
    random_bits = int.from_bytes(os.urandom(10), "big")
    high, low = random_bits >> 68, random_bits & (1 << 62) - 1
    return str(uuid.UUID(int=now_ms << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
