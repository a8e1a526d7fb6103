"""
A deterministic scheduler of workers in threads: one worker at a time makes one request to AWS.

Between two requests, a worker changes nothing that another worker can see, so the order of requests determines the
interleaving. A schedule is a list of choices. Each choice is the index of a worker among those that wait. Running a
schedule again repeats its interleaving.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.awsrequest import AWSResponse

from testkit.engine import Engine
from testkit.faults import Attempt

#: A function from the number of waiting workers to the index of the worker that continues.
Choose = Callable[[int], int]


@dataclass
class Run:
    """The result of a run: choices with their numbers of alternatives, requests, and each worker's result or error."""

    choices: list[tuple[int, int]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def schedule(self) -> str:
        return " ".join(str(choice) for choice, _ in self.choices)


class _Worker:
    def __init__(self, name: str) -> None:
        self.name = name
        self.waits_for: str | None = None
        self.is_done = False
        self.may_go = threading.Event()


def run(engine: Engine, workers: dict[str, Callable[[], Any]], choose: Choose) -> Run:
    """Run the workers to completion. Before each request, `choose` chooses the worker that makes it."""
    ran = Run()
    changed = threading.Condition()
    states = [_Worker(name) for name in workers]
    mine = threading.local()

    def gate(attempt: Attempt) -> AWSResponse:
        worker: _Worker = mine.worker
        with changed:
            worker.waits_for = attempt.operation
            changed.notify()
        worker.may_go.wait()
        worker.may_go.clear()
        return attempt.carry_out()

    def work(worker: _Worker) -> None:
        mine.worker = worker
        try:
            ran.results[worker.name] = workers[worker.name]()
        except Exception as error:  # noqa: BLE001  (the test examines the error)
            ran.results[worker.name] = error
        with changed:
            worker.is_done = True
            changed.notify()

    before, engine.gate = engine.gate, gate
    threads = [threading.Thread(target=work, args=(state,), daemon=True) for state in states]
    try:
        for thread in threads:
            thread.start()
        while True:
            with changed:
                changed.wait_for(lambda: all(state.is_done or state.waits_for for state in states))
                waiting = [state for state in states if not state.is_done]
                if not waiting:
                    return ran
                choice = choose(len(waiting)) if len(waiting) > 1 else 0
                if len(waiting) > 1:
                    ran.choices.append((choice, len(waiting)))
                chosen = waiting[choice]
                ran.requests.append(f"{chosen.name}: {chosen.waits_for}")
                chosen.waits_for = None
            chosen.may_go.set()
    finally:
        engine.gate = before


def all_schedules(run_with: Callable[[Choose], Run], at_most: int) -> int:
    """
    Run every schedule once, and return the number of schedules.

    Raises:
        AssertionError: there are more than `at_most` schedules.
    """
    prefix: list[int] = []
    count = 0
    while True:
        count += 1
        assert count <= at_most, f"more than {at_most} schedules"
        remaining = iter(prefix)
        ran = run_with(lambda _, remaining=remaining: next(remaining, 0))  # type: ignore[misc]
        choices = list(ran.choices)
        while choices and choices[-1][0] + 1 == choices[-1][1]:
            choices.pop()
        if not choices:
            return count
        prefix = [choice for choice, _ in choices[:-1]] + [choices[-1][0] + 1]
