"""
Run the application's own code in simulated time: only its pauses take time.

One thread runs at a time. When it waits, the clock advances to the earliest end of a wait, and the thread whose wait
ends then runs. A run takes the same simulated time on any machine, and makes the same requests in the same order each
time.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from chalicelib import clock as real_clock
from chalicelib import retries
from chalicelib.read_model import writer


class Clock:
    """A clock, in seconds since 1970, that advances only while every thread waits."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s
        self._order = itertools.count()
        self._sleeping: list[tuple[float, int, threading.Event]] = []

    def sleep(self, seconds: float) -> None:
        """Pause the calling thread."""
        self._wait(self._alarm(seconds))

    def run(self, works: Sequence[Callable[[], None]]) -> None:
        """Run each function in a separate thread, and return when all functions have finished."""
        running = len(works)
        is_done = threading.Event()

        def run(work: Callable[[], None], begins: threading.Event) -> None:
            nonlocal running
            begins.wait()
            try:
                work()
            finally:
                running -= 1
                if running:
                    self._wake_next()
                else:
                    is_done.set()

        for work in works:
            threading.Thread(target=run, args=(work, self._alarm(0)), daemon=True).start()
        if works:
            self._wait(is_done)

    def time_ns(self) -> int:
        """Return the time in nanoseconds since 1970, rounded to a millisecond."""
        return round(self.now_s * 1000) * 1_000_000

    def _alarm(self, seconds: float) -> threading.Event:
        alarm = threading.Event()
        heapq.heappush(self._sleeping, (self.now_s + seconds, next(self._order), alarm))
        return alarm

    def _wait(self, alarm: threading.Event) -> None:
        self._wake_next()
        alarm.wait()

    def _wake_next(self) -> None:
        at_s, _, alarm = heapq.heappop(self._sleeping)
        self.now_s = max(self.now_s, at_s)
        alarm.set()


@dataclass
class _Task:
    """A submitted function. The pool runs all its functions when the first result is read or its `with` block ends."""

    pool: _Pool
    function: Callable[[], Any]
    value: Any = None
    error: BaseException | None = None

    def run(self) -> None:
        try:
            self.value = self.function()
        except BaseException as error:  # noqa: BLE001  (the caller gets it)
            self.error = error

    def result(self) -> Any:
        self.pool.finish()
        if self.error:
            raise self.error
        return self.value


class _Pool(contextlib.AbstractContextManager["_Pool", None]):
    """A replacement for `ThreadPoolExecutor` in simulated time, with the methods that the writer uses."""

    def __init__(self, clock: Clock, workers: int) -> None:
        self._clock = clock
        self._workers = workers
        self._submitted: list[_Task] = []

    def __exit__(self, *_: object) -> None:
        self.finish()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> _Task:
        self._submitted.append(_Task(self, functools.partial(function, *arguments)))
        return self._submitted[-1]

    def finish(self) -> None:
        submitted, self._submitted = self._submitted, []
        tasks = iter(submitted)

        def work() -> None:
            for task in tasks:
                task.run()

        self._clock.run([work] * min(self._workers, len(submitted)))


@contextlib.contextmanager
def simulate(now_s: float, seed: int = 1) -> Iterator[Clock]:
    """Run the commands and the counting in this block on a new clock. The seed determines the pauses before retries."""
    clock = Clock(now_s)
    replacements: list[tuple[Any, str, Any]] = [
        (real_clock, "time", clock),
        (writer, "ThreadPoolExecutor", lambda workers: _Pool(clock, workers)),
        (retries, "time", clock),
        (retries, "random", SimpleNamespace(uniform=random.Random(seed).uniform)),
    ]
    with contextlib.ExitStack() as stack:
        for module, name, value in replacements:
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        yield clock
