"""Read the measured work of one run of each function from docs/figures.json."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final, Self

#: The name of the step of a command that the API's function refuses because it has no secret.
REFUSED: Final = "refused"


@dataclass(frozen=True, slots=True)
class Step:
    """
    The requests of one run and their units, and the bytes of each message sent, of log lines and of the response.

    CPU time depends on the measuring machine. `at_once` is the number of concurrent requests.
    """

    requests: float = 0
    write_units: float = 0
    read_units: float = 0
    message_bytes: tuple[int, ...] = ()
    log_bytes: int = 0
    answer_bytes: int = 0
    cpu_ms: float = 0.0
    at_once: int = 1


@dataclass(frozen=True, slots=True)
class FunctionSteps:
    """Every measured step by its name, and the sizes of an event and of an alternative's message."""

    event_bytes: int
    alternative_message_bytes: int
    steps: Mapping[str, Step]

    @classmethod
    def load(cls, raw: Mapping[str, Any]) -> Self:
        """Return the steps of the section `function_steps`."""
        steps = {
            name: Step(**{**step, "message_bytes": tuple(step["message_bytes"])}) for name, step in raw["steps"].items()
        }
        return cls(**{**raw, "steps": steps})

    def adapt(self, raw: Mapping[str, Any], front: str) -> Self:
        """
        Return these steps, with the steps of the API's function behind a front, from the section `fronts`.

        The result includes the step `REFUSED`: a refused command, which makes no request to AWS.
        """

        def adapt_step(name: str, front: str) -> Step:
            step = self.steps[name]
            return replace(step, cpu_ms=step.cpu_ms * cpu_ratio(raw, name, front), **raw["bytes"][name][front])

        refused = replace(adapt_step("increment", REFUSED), requests=0, write_units=0)
        adapted = {name: adapt_step(name, front) for name in raw["bytes"]}
        return replace(self, steps={**self.steps, **adapted, REFUSED: refused})


def cpu_ratio(raw: Mapping[str, Any], name: str, front: str) -> float:
    """Return the CPU time of a step behind this front, relative to a REST API: the median of the rounds."""
    return float(median(raw["cpu"][name][front]))
