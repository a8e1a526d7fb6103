"""Provide an engine in this process or an embedded AWS in another process for measurements, and a progress bar."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import track

from testkit import process_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

T = TypeVar("T")


def measure_section(name: str, quick: bool) -> Any:
    """Measure a section in the environment of the tests."""
    process_environment.enter()
    with contextlib.redirect_stdout(sys.stderr):
        return importlib.import_module(f"benchmarks.measure.{name}").measure(quick=quick)


def render_pages(figures: Mapping[str, Any]) -> dict[str, str]:
    """Render pages and plots in the environment of the tests."""
    process_environment.enter()
    from benchmarks.report import render  # noqa: PLC0415  (reads the stage's settings)

    return render.render_pages(figures)


def run_in_process(function: Callable[..., T], *arguments: Any) -> T:
    """Call this function in a new process, and return its result."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def show_progress(items: Sequence[T], label: str) -> Iterable[T]:
    """Iterate over these items with a progress bar on standard error."""
    return track(items, label, console=Console(stderr=True))


def new_engine() -> Any:
    """Return an embedded AWS in this process."""
    from testkit import warm_process  # noqa: PLC0415  (reads the stage's settings)
    from testkit.engine import Engine  # noqa: PLC0415

    warm_process.enter()
    return Engine()


@contextlib.contextmanager
def embedded_aws() -> Iterator[None]:
    """Run an embedded AWS in another process, with the stage's tables and queues."""
    from chalicelib import settings  # noqa: PLC0415  (reads the environment)
    from ops.deployment import provision  # noqa: PLC0415
    from ops.local import stack  # noqa: PLC0415
    from testkit import warm_process  # noqa: PLC0415

    warm_process.enter()
    with stack.run_aws(process_environment.local_place()):
        provision.provision(settings.current())
        yield
