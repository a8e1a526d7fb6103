"""
How long AWS is waited for: at each attempt, and altogether, so that a function answers before its own time is up.

A function whose time is up is ended in the middle of what it does, and its client hears of it from the gateway. One
request to AWS is tried several times, and a command or a query may make many; none of them knows of the others.
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

#: Before an attempt, the SDK waits at most for so long: a second, and twice as long each time.
LONGEST_PAUSE_S = 2 ** (ATTEMPTS - 2)

#: What a last attempt may take, with the pause before the one that is not made any more, and a second for the answer.
RESERVE_S = CONNECT_S + READ_S + LONGEST_PAUSE_S + 1

#: How requests name their sender to AWS, and to who reads CloudTrail. For a client that has no name the SDK puts one
#: together at each request, character by character, which takes a seventh of the time of a command.
USER_AGENT = f"event-sourced-counter/{chalicelib.__version__} Botocore/{botocore.__version__}"

_time_left_ms: ContextVar[Callable[[], int] | None] = ContextVar("time_left_ms", default=None)


class OutOfTimeError(BotoCoreError):
    """The attempt was not made, for the function would not be there any more when it ends."""

    fmt = "the function's time is nearly up"


@contextlib.contextmanager
def limit_time(received: Any) -> Iterator[None]:
    """
    What is asked of AWS inside is given up in time for the function that received this to answer.

    Outside of Lambda nobody says how much time there is, and there is no limit but that of each request.
    """
    function = getattr(received, "lambda_context", None) or getattr(received, "context", None)
    outer = _time_left_ms.set(getattr(function, "get_remaining_time_in_millis", None))
    try:
        yield
    finally:
        _time_left_ms.reset(outer)


def create_session() -> Session:
    """
    A session of the SDK whose clients wait for so long, and begin no attempt that might outlive the function.

    In place of that attempt there is an `OutOfTimeError`. Connections are kept for later requests, and TCP sees to it
    that one that broke meanwhile is known.
    """
    made = Session()
    made.set_default_client_config(
        Config(
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
            tcp_keepalive=True,
            user_agent=USER_AGENT,
        )
    )
    made.register("before-send.*.*", _refuse_if_late)
    return made


def remaining_s() -> float | None:
    """How long an attempt may take that begins now, 0 or less if none may; None where there is no limit."""
    time_left_ms = _time_left_ms.get()
    return None if time_left_ms is None else time_left_ms() / 1000 - RESERVE_S


def _refuse_if_late(**_attempt: Any) -> None:
    time_left_s = remaining_s()
    if time_left_s is not None and time_left_s < 0:
        raise OutOfTimeError
