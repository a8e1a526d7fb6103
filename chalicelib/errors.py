"""
Define the errors that entry points and operators' commands handle, as one tree. Some errors have fields for handlers.

    CounterError
    ├── RequestError                 the client must change the request
    │   ├── InvalidRequestError          a part of the request is malformed
    │   │   └── BadCursorError
    │   ├── BodyTooLargeError
    │   ├── UnsupportedMediaTypeError
    │   ├── RangeTooLongError            a history exceeds what one request may read
    │   ├── TooFarBackError              a past state exceeds what one request may read
    │   ├── CounterNotFoundError         a read names a counter that does not exist, or is hidden
    │   ├── CounterNotAllowedError       an increment names a counter that does not exist, or is hidden
    │   ├── CounterClosedError           an increment names a counter that an operator closed
    │   ├── SecretMissingError           the request lacks the secret of the stage's CDN
    │   ├── PathNotFoundError
    │   ├── EventNotFoundError
    │   ├── FeatureNotFoundError         the deployment lacks an optional feature
    │   ├── KeyReusedError               an idempotency key was already used with a different body
    │   └── VersionMismatchError         the counter is not at the version of `If-Match`
    ├── NotUnderstoodError           not an event, of an unknown version, or corrupt: park it
    ├── RecordedBeforeError          the event id is already in the log
    ├── UnavailableError             the work is not done, or its outcome is unknown; a retry is safe
    │   ├── CatalogUnavailableError      it is unknown which counters exist
    │   ├── LogUnavailableError
    │   ├── ReadModelUnavailableError
    │   │   ├── DamagedReadModelError        an item of the read model cannot be decoded: rebuild it
    │   │   │   └── ArchiveGapError              an archive page is missing, or not visible yet
    │   │   └── DoesNotFitError              a value is too large for the database
    │   ├── QueueUnavailableError
    │   ├── ContendedError               conflicts with concurrent writers used up all retries
    │   └── PartlyCountedError           events of some counters are not counted
    └── SettingsError                the environment is invalid: nothing can run

Three other modules add errors to the tree: `extras.reports.errors`, `access.tokens` and `aws.dynamodb`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chalicelib.domain.counter import Counter


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A problem type (RFC 9457). If `status` is None, API Gateway chooses the status."""

    status: int | None
    name: str
    title: str


class CounterError(Exception):
    """
    Root of the errors that entry points and operators' commands handle.

    Clients receive `problem` and `public_detail`, never the message.
    """

    problem = ProblemType(500, "internal-error", "Internal error")
    public_detail = "An unexpected error occurred and was logged. Your request was not the cause."


class RequestError(CounterError):
    """The client must change the request. `detail` states the rule and how to follow it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = self.public_detail = detail


class InvalidRequestError(RequestError):
    """A path segment, header, query parameter or body is malformed."""

    problem = ProblemType(400, "invalid-request", "Invalid request")


class BadCursorError(InvalidRequestError):
    """The service did not issue this cursor, or issued it for another query. The detail ends with `hint`."""

    def __init__(self, hint: str = "") -> None:
        super().__init__(f"cursor must be the next_cursor of a response. Omit it for the first page.{hint}")


class BodyTooLargeError(RequestError):
    """The body is longer than any command needs."""

    problem = ProblemType(413, "body-too-large", "Body too large")


class UnsupportedMediaTypeError(RequestError):
    """The request has a body that is not declared as JSON in UTF-8."""

    problem = ProblemType(415, "unsupported-media-type", "Unsupported media type")


class RangeTooLongError(RequestError):
    """A history exceeds what one request may read. A range up to `end`, in seconds since 1970, would be accepted."""

    problem = ProblemType(400, "range-too-long", "Range too long")

    def __init__(self, detail: str, end: int) -> None:
        super().__init__(detail)
        self.end = end


class TooFarBackError(RequestError):
    """
    A past state exceeds what one request may read.

    Times at or after `earliest_ms` would be accepted, and also times up to `latest_ms`, unless it is negative.
    """

    problem = ProblemType(400, "too-far-back", "Too far back")

    def __init__(self, earliest_ms: int, latest_ms: int) -> None:
        super().__init__("Computing the state at that time takes more reads than one request may make.")
        self.earliest_ms = earliest_ms
        self.latest_ms = latest_ms


class CounterNotFoundError(RequestError):
    """A request reads a counter that does not exist: neither COUNTERS nor the catalog allows it, or it is hidden."""

    problem = ProblemType(404, "counter-not-found", "Counter not found")

    def __init__(self, counter_id: str) -> None:
        super().__init__(
            f"There is no counter {counter_id}. Names are case-sensitive. The operator decides which counters exist."
        )


class CounterNotAllowedError(RequestError):
    """A request increments a counter that does not exist. Nothing was recorded."""

    problem = ProblemType(403, "counter-not-allowed", "Counter not allowed")

    def __init__(self, counter_id: str) -> None:
        super().__init__(
            f"There is no counter {counter_id}, and clients cannot create it. Nothing was recorded. Names are "
            "case-sensitive. The operator decides which counters exist."
        )


class CounterClosedError(RequestError):
    """A request increments a closed counter, which can only be read. Nothing was recorded."""

    problem = ProblemType(403, "counter-closed", "Counter closed")

    def __init__(self, counter_id: str) -> None:
        super().__init__(
            f"Counter {counter_id} is closed: it can be read, but not incremented. Nothing was recorded. Only the "
            "operator can open it again."
        )


class SecretMissingError(RequestError):
    """
    The request lacks the secret that the stage's CDN adds. Nothing was read or recorded.

    After this refusal, a page keeps its clicks and retries, because the operator can correct the secret. After a
    refusal of the type `forbidden`, it does not.
    """

    problem = ProblemType(403, "secret-missing", "Secret missing")

    def __init__(self) -> None:
        super().__init__("This address accepts only requests from the service's CDN. Use the service's public address.")


class PathNotFoundError(RequestError):
    """No route matches the path of the request."""

    problem = ProblemType(404, "not-found", "Not found")

    def __init__(self) -> None:
        super().__init__("Unknown path. GET / lists all paths.")


class EventNotFoundError(RequestError):
    """The counter has no event with this id."""

    problem = ProblemType(404, "event-not-found", "Event not found")

    def __init__(self, counter_id: str, event_id: str) -> None:
        super().__init__(f"Counter {counter_id} has no event {event_id}.")
        self.counter_id = counter_id
        self.event_id = event_id


class FeatureNotFoundError(RequestError):
    """The deployment lacks an optional feature."""

    problem = ProblemType(404, "feature-not-found", "Feature not found")

    def __init__(self) -> None:
        super().__init__("This deployment lacks the optional feature that serves this path.")


class KeyReusedError(RequestError):
    """The idempotency key belongs to an event with different content."""

    problem = ProblemType(422, "key-reused", "Idempotency key reused")

    def __init__(self, counter_id: str, event_id: str) -> None:
        super().__init__(
            "This Idempotency-Key was already used with a different body. Send that body again, or use a new key."
        )
        self.counter_id = counter_id
        self.event_id = event_id


class VersionMismatchError(RequestError):
    """The counter is not at the version of `If-Match`. Nothing was recorded."""

    problem = ProblemType(412, "version-mismatch", "Version mismatch")

    def __init__(self, expected: int, counter: Counter) -> None:
        super().__init__(
            f"The counter is at version {counter.version}, not {expected}. Nothing was recorded. "
            "See `current`; to retry, send its version in If-Match."
        )
        self.expected = expected
        self.counter = counter


class NotUnderstoodError(CounterError):
    """The input cannot be decoded as an event. `reason` explains why, for the operator."""

    problem = ProblemType(500, "unreadable-event", "Unreadable event")
    public_detail = (
        "The log has an event that this version of the service cannot read. The event is safe, and will be counted "
        "once the service can read it."
    )

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RecordedBeforeError(CounterError):
    """The event id is already in the log. Nothing was written."""

    def __init__(self, counter_id: str, event_id: str) -> None:
        super().__init__(f"event {event_id} of counter {counter_id} is already in the log")
        self.counter_id = counter_id
        self.event_id = event_id


class UnavailableError(CounterError):
    """
    The work is not done, or the outcome of a write is unknown. A retry with the same event ids is safe.

    Most causes are temporary. Damage lasts until `rebuild` repairs it.
    """

    problem = ProblemType(503, "unavailable", "Service unavailable")
    public_detail = (
        "Retry later. An increment may or may not have been recorded. A retry with the same Idempotency-Key counts it "
        "once; without a key, a retry may count it twice."
    )
    retry_after_s = 1


class CatalogUnavailableError(UnavailableError):
    """The catalog cannot be read, so it is unknown which counters exist. Nothing was done."""

    public_detail = "Nothing was recorded. Retry later."


class LogUnavailableError(UnavailableError):
    """DynamoDB throttles or refuses a request to the event log, or does not respond, or an event is not visible yet."""


class ReadModelUnavailableError(UnavailableError):
    """The read model's database throttles or refuses a request, or does not respond, or an item is damaged."""


class DamagedReadModelError(ReadModelUnavailableError):
    """An item of this counter's read model cannot be decoded or updated. `rebuild` repairs it from the log."""

    def __init__(self, counter_id: str, detail: str) -> None:
        super().__init__(f"the read model of counter {counter_id} is damaged ({detail}): run rebuild")
        self.counter_id = counter_id
        self.detail = detail


class ArchiveGapError(DamagedReadModelError):
    """
    An archive page is missing, or not visible yet.

    DynamoDB commits a transaction item by item, so a new page may be invisible for a moment. Read the archive again.
    """

    def __init__(self, counter_id: str, time_ms: int) -> None:
        super().__init__(counter_id, f"no archive page covers the time {time_ms}")


class DoesNotFitError(ReadModelUnavailableError):
    """A row or total is too large for the SQL read model. Nothing is changed, and a retry fails again."""


class QueueUnavailableError(UnavailableError):
    """SQS throttles or refuses a request, or does not respond."""


class ContendedError(UnavailableError):
    """Every attempt conflicted with a concurrent writer or, in the SQL read model, lost its connection."""


class PartlyCountedError(UnavailableError):
    """
    Events of the counters `uncounted` may be missing from the read model. All events of the other counters are counted.

    `new` contains the (counter id, event id) of each event that is known to be newly counted. `failures` maps each
    counter in `uncounted` to its failure.
    """

    def __init__(self, new: frozenset[tuple[str, str]], failures: Mapping[str, UnavailableError]) -> None:
        super().__init__(
            f"counters with uncounted events: {len(failures)}; first failure: {next(iter(failures.values()))}"
        )
        self.new = new
        self.failures = failures
        self.uncounted = frozenset(failures)


class SettingsError(CounterError):
    """An environment variable is missing or invalid. The message gives its name and the rule."""
