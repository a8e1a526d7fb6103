"""Commands, and the decisions that turn them into events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib.domain.events import Adjusted, Event, Incremented, IncrementedByCaller, is_valid_adjustment

if TYPE_CHECKING:
    from chalicelib.domain.counter import Counter


class InvalidAdjustmentError(ValueError):
    """The amount of an adjustment is 0, or too large for an event. The message states the rule."""


@dataclass(frozen=True, slots=True)
class Command(ABC):
    """
    A client's command. Its event does not depend on the counter's state.

    All commands with the same `idempotency_key` on a counter are the same command. `at_version` makes the command a
    swap. `count_at_once` makes it an add-and-get, which returns the counter's new state. `who` is the authenticated
    caller, or None if callers are not authenticated.
    """

    counter_id: str
    by: int = 1
    idempotency_key: str | None = None
    at_version: int | None = None
    count_at_once: bool = False
    who: str | None = None

    @abstractmethod
    def decide(self, event_id: str, now_ms: int) -> Event:
        """Return the event of this command."""


@dataclass(frozen=True, slots=True)
class Increment(Command):
    """Add `by` to a counter."""

    def decide(self, event_id: str, now_ms: int) -> Incremented:
        """Return an `Incremented` event with this amount, and with the caller if there is one."""
        if self.who is None:
            return Incremented(self.counter_id, event_id, self.by, now_ms)
        return IncrementedByCaller(self.counter_id, event_id, self.by, now_ms, self.who)


@dataclass(frozen=True, slots=True)
class Adjust:
    """
    Add `by`, which may be negative, to a counter. With `to`, add the amount that brings the counter's value to `to`.

    All commands with the same `idempotency_key` are one adjustment of the counter. The log keeps `reason` and `who` for
    operators.
    """

    counter_id: str
    idempotency_key: str
    reason: str
    who: str
    by: int = 0
    to: int | None = None


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
    """
    Check whether the event recorded under the command's key is the command's result.

    If the command has `to`, ignore the amount.
    """
    same_amount = command.to is not None or event.by == command.by
    return isinstance(event, Adjusted) and event.reason == command.reason and same_amount
