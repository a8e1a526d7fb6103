"""Append one event to the log for each command. Swaps, add-and-gets and adjustments are also counted at once."""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib import clock, event_log, log_reader, retries, telemetry
from chalicelib.domain.commands import decide_adjustment, is_result_of
from chalicelib.domain.counter import add_up
from chalicelib.errors import (
    ContendedError,
    KeyReusedError,
    RecordedBeforeError,
    UnavailableError,
    VersionMismatchError,
)
from chalicelib.read_model import queries, store, writer

if TYPE_CHECKING:
    from chalicelib.domain.commands import Adjust, Command
    from chalicelib.domain.counter import Counter
    from chalicelib.domain.events import Event

#: The namespace of event ids derived from idempotency keys. If it changed, retries would be counted twice.
_KEYED_EVENTS = uuid.UUID("3f0a1c1e-6b0e-5d0f-9a5b-8c6a2c6f4b11")

#: The namespace of event ids derived from the keys of adjustments. No client's key can collide with these ids.
_KEYED_ADJUSTMENTS = uuid.UUID("b7c0a3de-52c4-5a3e-8d0f-0b8f6f0e9a27")

_SWAP_ATTEMPTS = 8
_ADJUST_ATTEMPTS = 12


@dataclass(frozen=True, slots=True)
class Accepted:
    """
    A command's event and, if it was counted at once, the counter's state.

    `is_retry`: an earlier attempt recorded the event.
    """

    event: Event
    counter: Counter | None
    is_retry: bool


def record(command: Command) -> Accepted:
    """
    Record the command's event in the log, once per idempotency key.

    A plain command takes one request; `publish` then sends its event to the projections. With `at_version`, one
    transaction records and counts the event. With `count_at_once`, the event is recorded first, then counted. If the
    function is interrupted in between, or counting fails, the projector counts the event later.

    Raises:
        KeyReusedError: the idempotency key was already used for a different command.
        VersionMismatchError: the counter is not at `at_version`; nothing is recorded.
        ContendedError: every attempt conflicted with a concurrent writer; this call recorded nothing.
        UnavailableError: the outcome is unknown; retry with the same idempotency key.
    """
    now_ms = clock.now_ms()
    event = command.decide(choose_event_id(command, now_ms), now_ms)
    telemetry.add_event_ids(event)
    if command.at_version is None:
        accepted = _append(command, event)
    else:
        accepted = _compare_and_swap(command, event, command.at_version)
    telemetry.log_accepted(counted=accepted.counter is not None, is_retry=accepted.is_retry)
    return accepted


def choose_event_id(command: Command, now_ms: int) -> str:
    """Return the id of the command's event: derived from the idempotency key, or random if the command has no key."""
    if command.idempotency_key is not None:
        # A counter id has no slash, so each pair of counter and key has a unique name.
        return str(uuid.uuid5(_KEYED_EVENTS, f"{command.counter_id}/{command.idempotency_key}"))
    return generate_event_id(now_ms)


def generate_event_id(now_ms: int) -> str:
    """Return a new UUID of version 7: milliseconds, then random bits (RFC 9562, section 5.7)."""
    random_bits = int.from_bytes(os.urandom(10), "big")
    high, low = random_bits >> 68, random_bits & (1 << 62) - 1
    return str(uuid.UUID(int=now_ms << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low))


def _append(command: Command, event: Event) -> Accepted:
    appended = event_log.append(event, likely_counted=command.count_at_once)
    counter = None
    if command.count_at_once:
        with contextlib.suppress(UnavailableError):  # the event is recorded: respond 202, and the projector counts it
            counter = (_count_recorded if appended.was_recorded else _count)(appended.event)
    # Without a key, the earlier attempt was boto3's, and the client did not retry.
    return Accepted(appended.event, counter, is_retry=appended.was_recorded and command.idempotency_key is not None)


def _count(event: Event) -> Counter:
    """
    Count the event, once, and return the counter's state after it.

    If the counter has one part, the call usually takes one request.
    """
    return writer.count_one(event) or queries.get_counter(event.counter_id)


def _count_recorded(event: Event) -> Counter:
    """
    Count an event that was recorded earlier, unless it is already counted or void. Return the counter's state.

    Raises:
        UnavailableError: DynamoDB throttles or refuses the request or does not respond, or every attempt conflicted.
    """
    if log_reader.is_void(event):
        return queries.get_counter(event.counter_id)
    return _count(event)


def _compare_and_swap(command: Command, event: Event, at_version: int) -> Accepted:
    for _ in retries.with_backoff(_SWAP_ATTEMPTS):
        parts = store.read_parts(command.counter_id)
        counter = add_up(command.counter_id, parts)
        if counter.version == at_version:
            try:
                return Accepted(event, writer.append_and_count(event, parts), is_retry=False)
            except ContendedError:
                continue
            except RecordedBeforeError:
                pass
        elif command.idempotency_key is None or not _is_recorded(event):
            raise VersionMismatchError(at_version, counter)
        recorded = event_log.get_recorded(event)
        return Accepted(recorded, _count_recorded(recorded), is_retry=command.idempotency_key is not None)
    raise ContendedError(f"concurrent writers changed counter {command.counter_id} at every attempt")


def _is_recorded(event: Event) -> bool:
    """
    Check whether this event's id is in the log. If it is not, check again after a pause.

    DynamoDB commits a transaction item by item: the counter may already show a swap whose event is not visible yet.
    """
    if event_log.find(event.counter_id, event.event_id) is not None:
        return True
    retries.pause()
    return event_log.find(event.counter_id, event.event_id) is not None


def adjust(command: Adjust) -> Accepted | None:
    """
    Record and count the adjustment, once per key. Return None if the counter's value is already `to`.

    The amount depends on the counter's state. If a concurrent writer changes the state, the amount is computed again.
    Events that are pending when the adjustment is recorded are counted later, on top of `to`.

    Raises:
        KeyReusedError: the key was already used for a different adjustment of this counter.
        InvalidAdjustmentError: the amount would be 0 or too large.
        ContendedError: concurrent writers changed the counter at every attempt; this call recorded nothing.
        UnavailableError: the outcome is unknown; retry with the same key.
    """
    for _ in retries.with_backoff(_ADJUST_ATTEMPTS):
        if recorded := find_adjustment(command):
            return Accepted(recorded, _count_recorded(recorded), is_retry=True)
        parts = store.read_parts(command.counter_id)
        counter = add_up(command.counter_id, parts)
        event_id = derive_adjustment_id(command.counter_id, command.idempotency_key)
        event = decide_adjustment(command, counter, event_id, clock.now_ms())
        if event is None:
            return None
        try:
            return Accepted(event, writer.append_and_count(event, parts), is_retry=False)
        except (RecordedBeforeError, ContendedError):
            continue
    raise ContendedError(f"concurrent writers changed counter {command.counter_id} at every attempt")


def find_adjustment(command: Adjust) -> Event | None:
    """
    Return the event that an earlier attempt recorded under this adjustment's key, or None.

    The call takes one read.

    Raises:
        KeyReusedError: the key was already used for a different adjustment of this counter.
        LogUnavailableError: DynamoDB throttles or refuses the request, or does not respond.
    """
    event_id = derive_adjustment_id(command.counter_id, command.idempotency_key)
    event = event_log.find(command.counter_id, event_id)
    if event is not None and not is_result_of(command, event):
        raise KeyReusedError(event.counter_id, event.event_id)
    return event


def derive_adjustment_id(counter_id: str, key: str) -> str:
    """Return the id of the event that an adjustment of this counter with this key records."""
    return str(uuid.uuid5(_KEYED_ADJUSTMENTS, f"{counter_id}/{key}"))
