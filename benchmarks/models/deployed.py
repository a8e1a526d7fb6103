"""The deployment that the models price: what app.py and .chalice/config.json declare, and the stored function steps."""

from __future__ import annotations

import json

from benchmarks import store
from benchmarks.models.costing import FunctionSteps, Load, Setup
from chalicelib import settings


def read_setup() -> Setup:
    """Return batch sizes and memory of the functions."""
    import app  # noqa: PLC0415  (reads the stage's settings)

    batch = {source.name: getattr(source, "batch_size", 0) for source in app.app.event_sources}
    config = json.loads((store.PROJECT / ".chalice" / "config.json").read_text(encoding="utf-8"))
    memory_mb = {name: function["lambda_memory_size"] for name, function in config["lambda_functions"].items()}
    return Setup(batch["publish"], batch["project"], memory_mb)


def read_steps() -> FunctionSteps:
    """Return the stored steps."""
    return FunctionSteps.load(store.read()["function_steps"]["raw"])


def read_history_limits() -> tuple[int, int]:
    """Return the maximum bytes of archive pages that a history reads, and the excess that its last request may read."""
    from chalicelib.read_model import queries  # noqa: PLC0415  (reads the stage's settings)

    return queries.HISTORY_BYTES, queries.PAGES_AT_ONCE * 4096


def read_past_limits() -> tuple[int, int]:
    """Return the same for the state of a counter at a time."""
    from chalicelib.read_model import past  # noqa: PLC0415  (reads the stage's settings)

    return past.PAST_BYTES, past.PAGES_AT_ONCE * 4096


def default_loads() -> tuple[Load, Load, Load]:
    """Return one counter and many, with the default batching window, and one counter with a window of ten seconds."""
    window_s = settings.read({"STAGE": "dev"}).batching_window_s
    return Load(True, window_s), Load(False, window_s), Load(True, 10)
