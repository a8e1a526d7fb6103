"""Commands, and the decisions that turn them into events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib.domain.events import Adjusted, Event, Incremented, is_valid_adjustment

if TYPE_CHECKING:
    from chalicelib.domain.counter import Counter


class InvalidAdjustmentError(ValueError):
    """The amount of an adjustment is 0, or too large for an event. The message states the rule."""


@dataclass(frozen=True, slots=True)
class Increment:
    """
    Add `by` to a counter.

    All commands with the same `idempotency_key` are one increment. `at_version` makes it a compare-and-swap. With
    `wants_counter`, the client asks for the counter's state in the response.
    """

    counter_id: str
    by: int = 1
    idempotency_key: str | None = None
    at_version: int | None = None
    wants_counter: bool = False


@dataclass(frozen=True, slots=True)
class Adjust:
    """
    Add `by`, of either sign, to a counter; or, with `to`, the difference between its value and `to`.

    All commands with the same `key` are one adjustment of the counter. Operators read `reason` and `who` in the log.
    """

    counter_id: str
    key: str
    reason: str
    who: str
    by: int = 0
    to: int | None = None


def decide_increment(command: Increment, event_id: str, now_ms: int) -> Incremented:
    """Return the event of this command."""
    return Incremented(command.counter_id, event_id, command.by, now_ms)


def decide_adjustment(command: Adjust, counter: Counter, event_id: str, now_ms: int) -> Adjusted | None:
    """
    Return the event of this command for this state of the counter, or None if the counter's value is already `to`.

    Raises:
        InvalidAdjustmentError: the amount would be 0, or too large for an event.
    """
    by = command.by if command.to is None else command.to - counter.value
    if by == 0 and command.to is not None:
        return None
    if not is_valid_adjustment(by):
        raise InvalidAdjustmentError(f"An adjustment must be from -(2**53 - 1) to 2**53 - 1 and not 0, got {by}.")
    return Adjusted(command.counter_id, event_id, by, now_ms, command.reason, command.who)


def is_result_of(command: Adjust, event: Event) -> bool:
    """Check whether an event with the command's id is the result of the same command."""
    same_amount = command.to is not None or event.by == command.by
    return isinstance(event, Adjusted) and event.reason == command.reason and same_amount
