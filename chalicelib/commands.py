"""Commands: one in, an event in the log out; with a condition or a wish for the result, counted at once."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib import counting, event_log, read_model, retries, telemetry
from chalicelib.errors import ContendedError, KeyReusedError, RecordedBeforeError, VersionMismatchError

if TYPE_CHECKING:
    from chalicelib.counting import Adjust, Counter, Event, Increment

#: The namespace of event ids that are derived from idempotency keys. Changing it would double what is sent again.
_KEYED_EVENTS = uuid.UUID("3f0a1c1e-6b0e-5d0f-9a5b-8c6a2c6f4b11")

#: The namespace of event ids that are derived from adjustments' keys: another, so that no client's key is one of them.
_KEYED_ADJUSTMENTS = uuid.UUID("b7c0a3de-52c4-5a3e-8d0f-0b8f6f0e9a27")

_TRIES_TO_SWAP = 8
_TRIES_TO_ADD_AND_GET = 4
_TRIES_TO_ADJUST = 12


@dataclass(frozen=True, slots=True)
class Accepted:
    """The event that a command led to, the counter if it was counted at once, and whether it was recorded before."""

    event: Event
    counter: Counter | None
    again: bool


def increment(command: Increment) -> Accepted:
    """
    The increment is durably in the log, once for each idempotency key.

    Plainly, that is all: one request, and the stream does the rest. With `at_version` or `wants_counter` the event is
    recorded and counted in one transaction, and the counter's state right after it is part of the answer.
    With `wants_counter` alone, where others are quicker each time, it is recorded plainly.

    Raises:
        KeyReusedError: the idempotency key came with another amount before.
        VersionMismatchError: the counter is not at `at_version`; nothing is recorded.
        ContendedError: others wrote to the same counter at every try at a swap; nothing is recorded.
        UnavailableError: whether it is recorded is unknown; sending it again with the same idempotency key is safe.
    """
    now_ms = time.time_ns() // 1_000_000
    event = counting.decide(command, event_id(command, now_ms), now_ms)
    telemetry.about(event)
    accepted = _carry_out(command, event)
    telemetry.accepted(counted=accepted.counter is not None, replayed=accepted.again)
    return accepted


def _carry_out(command: Increment, event: Event) -> Accepted:
    if command.at_version is not None:
        return _compare_and_swap(command, event, command.at_version)
    if command.wants_counter:
        return _add_and_get(command, event)
    return _append(command, event)


def adjust(command: Adjust) -> Accepted | None:
    """
    The adjustment is in the log and counted, once for its key; or None, if the counter stands at `to` already.

    What `to` takes is decided from the counter's state and recorded if that is its state still, else decided again:
    when it is recorded, the counter stands there. What is in the log then and not counted yet is added afterwards.

    Raises:
        KeyReusedError: the key names another adjustment of this counter.
        InvalidRequestError: the amount is 0 or too large.
        ContendedError: others wrote to the counter at every try; nothing is recorded.
        UnavailableError: whether it is recorded is unknown; sending it again with the same key is safe.
    """
    for _ in retries.attempts(_TRIES_TO_ADJUST):
        if before := adjusted_before(command):
            read_model.count([before])
            return Accepted(before, read_model.counter(command.counter_id), again=True)
        counter = read_model.counter(command.counter_id)
        event = counting.decide_adjustment(command, counter, _adjustment_id(command), time.time_ns() // 1_000_000)
        if event is None:
            return None
        try:
            return Accepted(event, read_model.append_counted(event, counter), again=False)
        except (RecordedBeforeError, ContendedError):
            continue
    raise ContendedError(f"counter {command.counter_id} is being written by others")


def adjusted_before(command: Adjust) -> Event | None:
    """
    The event that this adjustment led to when it was sent before with its key, or None. One read.

    Raises:
        KeyReusedError: the key names another adjustment of this counter.
        LogUnavailableError: DynamoDB throttles or does not answer.
    """
    found = event_log.find(command.counter_id, _adjustment_id(command))
    if found is not None and not counting.is_adjustment_by(command, found):
        raise KeyReusedError(found.counter_id, found.event_id)
    return found


def _adjustment_id(command: Adjust) -> str:
    return str(uuid.uuid5(_KEYED_ADJUSTMENTS, f"{command.counter_id}/{command.key}"))


def _append(command: Increment, event: Event) -> Accepted:
    appended = event_log.append(event)
    return Accepted(appended.event, None, again=appended.again and command.idempotency_key is not None)


def _compare_and_swap(command: Increment, event: Event, at_version: int) -> Accepted:
    for _ in retries.attempts(_TRIES_TO_SWAP):
        counter = read_model.counter(command.counter_id)
        if counter.version != at_version:
            if command.idempotency_key is None or event_log.find(command.counter_id, event.event_id) is None:
                raise VersionMismatchError(at_version, counter)
            return _counted_before(command, event)
        try:
            return Accepted(event, read_model.append_counted(event, counter), again=False)
        except RecordedBeforeError:
            return _counted_before(command, event)
        except ContendedError:
            continue
    raise ContendedError(f"counter {command.counter_id} is being written by others")


def _add_and_get(command: Increment, event: Event) -> Accepted:
    for _ in retries.attempts(_TRIES_TO_ADD_AND_GET):
        try:
            counter = read_model.append_counted(event, read_model.counter(command.counter_id))
        except RecordedBeforeError:
            return _counted_before(command, event)
        except ContendedError:
            continue
        return Accepted(event, counter, again=False)
    return _append(command, event)


def _counted_before(command: Increment, event: Event) -> Accepted:
    """The event is in the log: see that it is counted, too, so that the counter's state now includes it."""
    recorded = event_log.recorded(event)
    read_model.count([recorded])
    return Accepted(recorded, read_model.counter(event.counter_id), again=command.idempotency_key is not None)


def event_id(command: Increment, now_ms: int) -> str:
    """The id of the event that this command leads to: with an idempotency key always the same, else a fresh one."""
    if command.idempotency_key is not None:
        # No counter id holds a slash, so no two pairs of counter and key make the same name.
        return str(uuid.uuid5(_KEYED_EVENTS, f"{command.counter_id}/{command.idempotency_key}"))
    return time_ordered_id(now_ms)


def time_ordered_id(now_ms: int) -> str:
    """A fresh UUID of version 7: milliseconds, then random bits (RFC 9562, section 5.7)."""
    random_bits = int.from_bytes(os.urandom(10), "big")
    high, low = random_bits >> 68, random_bits & (1 << 62) - 1
    return str(uuid.UUID(int=now_ms << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low))
