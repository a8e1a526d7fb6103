"""The environment of measurements: an engine in this process or an embedded AWS in another, and a progress bar."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import track

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ops.local.stack import LocalSystem

T = TypeVar("T")


def measure_section(name: str, quick: bool) -> Any:
    """Measure a section in the tests' environment."""
    from tests import conftest  # noqa: F401, PLC0415  (sets the environment of the application)

    logging.disable(logging.INFO)  # the engine logs each table
    with contextlib.redirect_stdout(sys.stderr):
        return importlib.import_module(f"benchmarks.measure.{name}").measure(quick=quick)


def render_pages(figures: Mapping[str, Any]) -> dict[str, str]:
    """Render pages and plots in the tests' environment."""
    from tests import conftest  # noqa: F401, I001, PLC0415  (sets the environment of the application)
    from benchmarks.report import render  # noqa: PLC0415

    return render.render_pages(figures)


def show_progress(items: Sequence[T], label: str) -> Iterable[T]:
    """Iterate over these items with a progress bar on standard error."""
    return track(items, label, console=Console(stderr=True))


def new_engine() -> Any:
    """Return an embedded AWS in this process."""
    from tests.resilience.engine import Engine  # noqa: PLC0415  (reads the stage's settings)

    return Engine()


def local_place() -> LocalSystem:
    """Return the folder and the ports that the environment names."""
    from ops.local import stack  # noqa: PLC0415

    return stack.LocalSystem(
        Path(os.environ["LOCAL_FOLDER"]), int(os.environ["AWS_PORT"]), int(os.environ["PAGE_PORT"])
    )


@contextlib.contextmanager
def embedded_aws() -> Iterator[None]:
    """Run an embedded AWS in another process, with the stage's tables and queues."""
    from chalicelib import settings  # noqa: PLC0415  (reads the environment)
    from ops.deployment import provision  # noqa: PLC0415
    from ops.local import stack  # noqa: PLC0415

    with stack.run_aws(local_place()):
        provision.provision(settings.current())
        yield
