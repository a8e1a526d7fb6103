"""
Simulated time: the application's own code runs, and what it waits for takes no time of this machine.

One thread runs at a time. When it waits, the clock moves on to the thread that has to wait the least, so that a run
takes the same simulated time on any machine, and makes the same requests in the same order each time.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

from chalicelib import command_handlers, retries
from chalicelib.read_model import writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Clock:
    """A time in seconds since 1970 that passes only while every thread waits."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s
        self._order = itertools.count()
        self._sleeping: list[tuple[float, int, threading.Event]] = []

    def sleep(self, seconds: float) -> None:
        """Let so much time pass for the calling thread."""
        self._wait(self._alarm(seconds))

    def run(self, works: Sequence[Callable[[], None]]) -> None:
        """Run each of these in a thread of its own, and return when all of them are done."""
        to_come = len(works)
        is_done = threading.Event()

        def run(work: Callable[[], None], begins: threading.Event) -> None:
            nonlocal to_come
            begins.wait()
            try:
                work()
            finally:
                to_come -= 1
                if to_come:
                    self._wake_next()
                else:
                    is_done.set()

        for work in works:
            threading.Thread(target=run, args=(work, self._alarm(0)), daemon=True).start()
        if works:
            self._wait(is_done)

    def time_ns(self) -> int:
        """Return the time as `time.time_ns` does."""
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


class _Pool:
    """As much of a `ThreadPoolExecutor` as the writer needs, in simulated time."""

    def __init__(self, clock: Clock, workers: int) -> None:
        self._clock = clock
        self._workers = workers
        self._to_do: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> _Task:
        task = _Task(self._finish)

        def work() -> None:
            try:
                task.set_result(function(*arguments))
            except BaseException as error:  # noqa: BLE001  (the caller gets it)
                task.set_exception(error)

        self._to_do.append(work)
        return task

    def _finish(self) -> None:
        to_do, self._to_do = self._to_do, []
        tasks = iter(to_do)

        def work() -> None:
            for task in tasks:
                task()

        self._clock.run([work] * min(self._workers, len(to_do)))


class _Task(Future[Any]):
    """The result of a function that the pool runs once the first result is asked for."""

    def __init__(self, finish: Callable[[], None]) -> None:
        super().__init__()
        self._finish = finish

    def result(self, timeout: float | None = None) -> Any:
        self._finish()
        return super().result(timeout)


@contextlib.contextmanager
def kept(clock: Clock, seed: int = 1) -> Iterator[None]:
    """Make commands, counting, its threads and its pauses keep this clock's time. Pauses are drawn by the seed."""
    names: list[tuple[Any, str, Any]] = [
        (command_handlers, "time", clock),
        (writer, "time", clock),
        (writer, "ThreadPoolExecutor", lambda workers: _Pool(clock, workers)),
        (retries, "time", clock),
        (retries, "random", SimpleNamespace(uniform=random.Random(seed).uniform)),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in names]
    for module, name, value in names:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
