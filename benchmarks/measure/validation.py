"""
Compare the model in benchmarks/models/simulation.py with the embedded AWS, at loads that both handle. Linux only.

The model is set up like the embedded AWS, which has no batching window and reads a stream as soon as it is written. The
embedded AWS runs up to five batches of a queue at a time. The time of a run is taken from lone increments, and its
growth with the batch size from the measured function steps. Because everything runs on one machine, each run takes
longer if all processors are busy: by the factor 1 / (1 - load ** processors). The load of an increment is also taken
from lone increments. The model does not use measurements of the compared loads.
"""

import os
import statistics
from collections.abc import Callable
from typing import Any, Final

from benchmarks.measure import latency, load_driver
from benchmarks.models import capacity, deployed
from benchmarks.models.simulation import System, simulate
from benchmarks.models.steps import Step
from testkit import process_environment

_RATES: Final = (5, 20, 50)
_LONE: Final = 20
_LONE_EACH_S: Final = 0.5
_IDLE_S: Final = 5


def measure(*, quick: bool) -> dict[str, Any]:
    """Compare the embedded AWS with the model at each rate."""
    publish, project = capacity.interpolate_steps(capacity.Case(100, 1), deployed.read_costs().measured)
    processors = os.cpu_count() or 1
    with load_driver.deploy_system(process_environment.local_place()) as api:
        load_driver.send(api, 4, 5)  # warms up the functions
        idle_load = load_driver.count_busy_processors(_IDLE_S)
        lone = load_driver.send(api, 1 / _LONE_EACH_S, _LONE * _LONE_EACH_S)
        work_s = max(0.0, lone.busy_s - idle_load * lone.took_s) / len(lone.recorded_s)
        parts = latency.divide_lags(lone.recorded_s, load_driver.read_lines(lone))
        publish_s = statistics.median(part.stream + part.publish for part in parts)
        project_s = statistics.median(part.queue + part.project for part in parts)
        rows = []
        for rate in _RATES:
            sent = load_driver.send(api, rate, 2 if quick else 20)
            lines = load_driver.read_lines(sent)
            load = idle_load + work_s * sent.rate
            stretch = 1 / max(0.02, 1 - (load / processors) ** processors)
            system = System(
                rate=sent.rate,
                shards=1,
                one_counter=True,
                window_s=0,
                stream_batch=1000,
                queue_batch=10,
                publish_s=_stretch(stretch, publish_s, publish),
                project_s=_stretch(stretch, project_s, project),
                request_s=stretch * project_s / 3,
                poll_s=0,
                pollers_more_a_minute=0,
            )
            model = simulate(system, warm_up_s=1, measured_s=60)
            batch = statistics.mean(line["events"] for line in lines.published)
            oldest_s = [line["lag_s"] for line in lines.projected if line["lag_s"] is not None]
            rows.append(
                {
                    "rate": round(sent.rate, 1),
                    "load": round(load / processors, 2),
                    "measured": _summarize(batch, oldest_s),
                    "model": _summarize(model.batch, model.oldest_s),
                }
            )
    learnt = {"publish_s": publish_s, "project_s": project_s, "work_s": work_s}
    return {**{name: round(value, 4) for name, value in learnt.items()}, "rows": rows}


def _stretch(times: float, lone_s: float, steps: Callable[[int], Step]) -> Callable[[int], float]:
    return lambda events: times * (lone_s + (steps(events).cpu_ms - steps(1).cpu_ms) / 1000)


def _summarize(batch: float, oldest_s: list[float]) -> dict[str, float]:
    return {
        "batch": round(batch, 2),
        "oldest_p50_s": round(statistics.median(oldest_s), 3),
        "oldest_p90_s": round(latency.quantile(oldest_s, 0.9), 3),
    }
