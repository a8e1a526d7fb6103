"""Show the progress of long operations on standard error, if it is a terminal that can move its cursor."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class _Rate(ProgressColumn):
    """The number of completed units, in total and per second."""

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed or 0
        return Text(f"{task.completed:,.0f} {task.fields['unit']}, {rate:,.0f}/s")


@contextlib.contextmanager
def bar(label: str, total: int | None, unit: str = "events") -> Iterator[Callable[[int], None]]:
    """
    Show a progress bar while the block runs.

    Yield a thread-safe function that adds a number of completed units. `total` may be approximate. Without `total`, the
    bar shows no remaining time.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_interactive) as progress:
        task = progress.add_task(label, total=total or None, unit=unit)
        yield lambda completed: progress.advance(task, completed)


def status(text: str) -> AbstractContextManager[object]:
    """Show a status line while the block runs."""
    console = Console(stderr=True)
    return console.status(text) if console.is_interactive else contextlib.nullcontext()
