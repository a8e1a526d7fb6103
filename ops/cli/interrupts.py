"""Interrupt commands by signals: Ctrl-C, SIGTERM, and SIGHUP, which a terminal sends when it closes."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any, NoReturn


def handle_signals() -> None:
    """
    Interrupt this process on SIGTERM and SIGHUP as on Ctrl-C, so that the command cleans up and says how to continue.

    Ignore later SIGTERM and SIGHUP signals, because a closing terminal sends several. Under nohup, keep ignoring
    SIGHUP.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def _interrupt(*_: object) -> NoReturn:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextlib.contextmanager
def defer() -> Iterator[None]:
    """
    Defer SIGINT, SIGTERM and SIGHUP until the block is complete. Use this only for short blocks in the main thread.

    If several signals arrive in the block, only the first takes effect.
    """
    received: list[tuple[Any, ...]] = []
    handlers: dict[int, Any] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda *arguments: received.append(arguments))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for arguments in received[:1]:
            handlers[arguments[0]](*arguments)
