"""
What can go wrong, as one tree. Each error carries fields; nobody parses a message.

    CounterError
    ├── RequestError                 the caller has to change something
    │   ├── InvalidRequestError          a part of the request is malformed
    │   │   └── BadCursorError
    │   ├── BodyTooLargeError
    │   ├── UnsupportedMediaTypeError
    │   ├── RangeTooLongError            a history would take more than one request may cost
    │   ├── EventNotFoundError
    │   ├── ReportNotFoundError
    │   ├── ReportsOffError              the stage has no relational read model
    │   ├── KeyReusedError               an idempotency key came back with another body
    │   └── VersionMismatchError         the counter is not at the version asked for
    ├── NotUnderstoodError           not ours, of an unknown version, or corrupt: to be parked
    ├── RecordedBeforeError          the log holds this event id already
    ├── UnavailableError             a passing failure: nothing is known, try again
    │   ├── LogUnavailableError
    │   ├── ReadModelUnavailableError
    │   │   ├── DamagedReadModelError        an item of the read model cannot be decoded: rebuild it
    │   │   │   └── ArchiveGapError              no archive page covers a time that one should cover
    │   │   └── DoesNotFitError              the database cannot hold what it was given
    │   ├── QueueUnavailableError
    │   ├── ReportUnavailableError       the relational read model refuses, or is too slow
    │   ├── ContendedError               others were quicker each time
    │   └── PartlyCountedError           events of some counters are not counted
    └── SettingsError                the environment is wrong: nothing can run
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chalicelib.domain.counter import Counter


class CounterError(Exception):
    """Root of all errors that this application raises on purpose."""


class RequestError(CounterError):
    """The request cannot be carried out as it is; `detail` says what would be right."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidRequestError(RequestError):
    """A path segment, header, query parameter or body is malformed."""


class BadCursorError(InvalidRequestError):
    """The cursor was not given out by this service, or for another question; `more` is said of it besides."""

    def __init__(self, more: str = "") -> None:
        super().__init__(f"cursor is what an answer gave as next_cursor; leave it out for the first page.{more}")


class BodyTooLargeError(RequestError):
    """The body is longer than any command needs."""


class UnsupportedMediaTypeError(RequestError):
    """There is a body, and its media type is not JSON."""


class RangeTooLongError(RequestError):
    """A history would take more than one request may cost. One that ends at `end`, in seconds since 1970, would not."""

    def __init__(self, detail: str, end: int) -> None:
        super().__init__(detail)
        self.end = end


class EventNotFoundError(RequestError):
    """The log holds no such event for this counter."""

    def __init__(self, counter_id: str, event_id: str) -> None:
        super().__init__(f"The log of counter {counter_id} holds no event {event_id}.")
        self.counter_id = counter_id
        self.event_id = event_id


class ReportNotFoundError(RequestError):
    """There is no report of this name."""


class ReportsOffError(RequestError):
    """The stage has no relational read model, from which all reports are made."""

    def __init__(self) -> None:
        super().__init__(
            "Reports are made from the relational read model, which this stage does not have. Whoever operates it "
            "switches it on with the setting SQL_URL, and `provision` and `deploy` after that."
        )


class KeyReusedError(RequestError):
    """The idempotency key names an event that says something else."""

    def __init__(self, counter_id: str, event_id: str) -> None:
        super().__init__("This Idempotency-Key was sent before with another body. Repeat that body, or use a new key.")
        self.counter_id = counter_id
        self.event_id = event_id


class VersionMismatchError(RequestError):
    """The counter is at another version than `If-Match` asked for; nothing was recorded."""

    def __init__(self, asked: int, counter: Counter) -> None:
        super().__init__(
            f"The counter is at version {counter.version}, not {asked}. Nothing was recorded: "
            "look at `current`, and decide again with its version in If-Match."
        )
        self.asked = asked
        self.counter = counter


class NotUnderstoodError(CounterError):
    """`reason` says, for the operator, why this cannot be read as an event of ours."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RecordedBeforeError(CounterError):
    """The event id is taken in the log; nothing was written."""

    def __init__(self, counter_id: str, event_id: str) -> None:
        super().__init__(f"event {event_id} of counter {counter_id} is in the log already")
        self.counter_id = counter_id
        self.event_id = event_id


class UnavailableError(CounterError):
    """What was written is not promised, unless a function says so. Trying again with the same event ids is safe."""

    retry_after_s = 1


class LogUnavailableError(UnavailableError):
    """The event log throttles, refuses or does not answer."""


class ReadModelUnavailableError(UnavailableError):
    """The read model throttles, refuses or does not answer."""


class DamagedReadModelError(ReadModelUnavailableError):
    """An item of this counter's read model is not what this application writes. `rebuild` repairs it from the log."""

    def __init__(self, counter_id: str, detail: str) -> None:
        super().__init__(f"the read model of counter {counter_id} is damaged ({detail}): run rebuild")
        self.counter_id = counter_id
        self.detail = detail


class ArchiveGapError(DamagedReadModelError):
    """
    No archive page covers a time that one should cover.

    A page may be invisible for a moment, while the transaction that writes it is committed item by item: read again.
    """

    def __init__(self, counter_id: str, time_ms: int) -> None:
        super().__init__(counter_id, f"no archive page covers the time {time_ms}")


class DoesNotFitError(ReadModelUnavailableError):
    """The relational read model cannot hold such a row or total, whenever it is asked to. Nothing is changed."""


class QueueUnavailableError(UnavailableError):
    """A queue throttles, refuses or does not answer."""


class ReportUnavailableError(UnavailableError):
    """The relational read model refuses, does not answer, or takes longer than a request may. Nothing was changed."""

    retry_after_s = 5


class ContendedError(UnavailableError):
    """Others wrote to the same items at every try."""


class PartlyCountedError(UnavailableError):
    """
    Events of the counters `uncounted` may not be counted; all events of the others, if there are any, are.

    `new` are those, of either, that are known to be counted now and not before, each as its counter's id and its own.
    The `troubles` say of each of the `uncounted` what was in the way.
    """

    def __init__(self, new: frozenset[tuple[str, str]], troubles: Mapping[str, UnavailableError]) -> None:
        super().__init__(f"counters not counted: {len(troubles)}; the first: {next(iter(troubles.values()))}")
        self.new = new
        self.troubles = troubles
        self.uncounted = frozenset(troubles)


class SettingsError(CounterError):
    """An environment variable is missing or out of range; the message names it and says what would be right."""
