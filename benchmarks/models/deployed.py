"""Read the deployment that the models price from app.py, .chalice/config.json and the stored function steps."""

import json
from collections.abc import Mapping
from typing import Any, Final

import app
from benchmarks import store
from benchmarks.models import fronts
from benchmarks.models.costing import Costs, Load, Setup
from benchmarks.models.steps import FunctionSteps
from chalicelib import settings

#: The default settings of a stage.
STAGE: Final = settings.read({"STAGE": "dev"})

#: One counter and many, with the default batching window, and one counter with a window of ten seconds.
ONE: Final = Load(True, STAGE.batching_window_s)
MANY: Final = Load(False, STAGE.batching_window_s)
GATHERED: Final = Load(True, 10)


def read_setup() -> Setup:
    """Return the batch sizes and the memory of the functions."""
    batch = {source.name: getattr(source, "batch_size", 0) for source in app.app.event_sources}
    config = json.loads((store.PROJECT / ".chalice" / "config.json").read_text(encoding="utf-8"))
    memory_mb = {name: function["lambda_memory_size"] for name, function in config["lambda_functions"].items()}
    return Setup(batch["publish"], batch["project"], memory_mb)


def read_costs(figures: Mapping[str, Any] | None = None) -> Costs:
    """Return the costs that follow from the stored function steps."""
    return Costs(FunctionSteps.load((figures or store.read())["function_steps"]["raw"]), read_setup())


def read_fronts(figures: Mapping[str, Any] | None = None) -> dict[str, Costs]:
    """Return the costs behind each front, by its name."""
    figures = figures or store.read()
    rest, raw = read_costs(figures), figures["fronts"]["raw"]
    return {
        name: rest if name == "rest" else Costs(rest.measured.adapt(raw, name), rest.setup, front)
        for name, front in fronts.FRONTS.items()
    }
