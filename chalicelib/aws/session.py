"""
Create the SDK's session, with timeouts for each attempt, and a deadline for all requests of an invocation.

Lambda kills a function that exceeds its timeout, and the client gets the gateway's error. The SDK retries each request,
and a command or query may make many requests. Therefore, an attempt that might end after the function's timeout never
starts.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import botocore
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.session import Session

import chalicelib

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONNECT_S = 1
READ_S = 3
ATTEMPTS = 4

#: The SDK's longest wait before an attempt: 1 s before the second attempt, doubled each time.
LONGEST_PAUSE_S = 2 ** (ATTEMPTS - 2)

#: The time reserved for the longest last attempt, the wait before an attempt that never starts, and a second to
#: respond.
RESERVE_S = CONNECT_S + READ_S + LONGEST_PAUSE_S + 1

#: The user agent, as it appears in CloudTrail. Without it, the SDK would build a user agent for each request, which
#: takes a seventh of a command's time.
USER_AGENT = f"event-sourced-counter/{chalicelib.__version__} Botocore/{botocore.__version__}"

_time_left_ms: ContextVar[Callable[[], int] | None] = ContextVar("time_left_ms", default=None)


class OutOfTimeError(BotoCoreError):
    """An attempt at a request was not made, because it might have ended after the function's timeout."""

    fmt = "the function's time is nearly up"


@contextlib.contextmanager
def limit_time(received: Any) -> Iterator[None]:
    """
    Limit the requests to AWS in this block to the invocation's remaining time, minus a reserve for the response.

    `received` is the event that Chalice passes to middleware. Outside Lambda, only the timeouts of each attempt apply.
    """
    context = getattr(received, "lambda_context", None) or getattr(received, "context", None)
    outer = _time_left_ms.set(getattr(context, "get_remaining_time_in_millis", None))
    try:
        yield
    finally:
        _time_left_ms.reset(outer)


def create_session() -> Session:
    """
    Return an SDK session. Its clients have this module's timeouts, and raise `OutOfTimeError` after the deadline.

    Connections are kept for later requests; TCP keep-alive detects broken ones.
    """
    session = Session()
    session.set_default_client_config(
        Config(
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
            tcp_keepalive=True,
            user_agent=USER_AGENT,
        )
    )
    session.register("before-send.*.*", _refuse_if_late)
    return session


def remaining_s() -> float | None:
    """Return the seconds left before the deadline for new attempts: negative after it, None outside Lambda."""
    time_left_ms = _time_left_ms.get()
    return None if time_left_ms is None else time_left_ms() / 1000 - RESERVE_S


def _refuse_if_late(**_attempt: Any) -> None:
    time_left_s = remaining_s()
    if time_left_s is not None and time_left_s < 0:
        raise OutOfTimeError
