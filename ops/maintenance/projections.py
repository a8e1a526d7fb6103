"""Which of a stage's projections a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.settings import READ_MODEL, SQL
from ops.cli.errors import OperatorError
from ops.cli.result import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chalicelib.settings import Receiver, Settings

#: What each is called before the words "read model", "projection queue" and "dead-letter queue".
_ADJECTIVES = {READ_MODEL: ("", ""), SQL: ("relational ", "SQL ")}


def chosen(settings: Settings, name: str | None) -> tuple[str, ...]:
    """
    The names of all projections that the stage has, or of the one that is asked for.

    Raises:
        OperatorError: the stage does not have it.
    """
    there = tuple(receiver.projection for receiver in settings.receivers)
    if name is None:
        return there
    if name not in there:
        raise OperatorError(
            f"Stage {settings.stage} has no projection {name}: set SQL_URL for it in .chalice/config.json, then "
            "provision and deploy."
        )
    return (name,)


def receivers(settings: Settings, names: Sequence[str]) -> list[Receiver]:
    """Who receives what these projections are sent."""
    return [receiver for receiver in settings.receivers if receiver.projection in names]


def read_model_of(name: str) -> str:
    """What this projection makes, in words."""
    return f"{_ADJECTIVES[name][0]}read model"


def queue_of(name: str) -> str:
    """The queue of this projection, in words."""
    return f"{_ADJECTIVES[name][1]}projection queue"


def dead_letter_queue_of(name: str) -> str:
    """Where this projection's dead letters are, in words."""
    return f"{_ADJECTIVES[name][1]}dead-letter queue"


def facts(by_projection: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """
    What is told of each projection, in one: that of the read model as it is, and that of any other under its name.

    So what reads the first finds it where it was before there was a second.
    """
    first = by_projection.get(READ_MODEL, {})
    return {**first, **{name: dict(told) for name, told in by_projection.items() if name != READ_MODEL}}


def together(outcomes: Mapping[str, Outcome]) -> Outcome:
    """
    What a command comes to that did the same for each of these projections.

    It holds if each does. What is told of the read model stands first and as it is, and of any other below its name.
    """
    lines: list[str] = []
    for name, outcome in outcomes.items():
        if name != READ_MODEL:
            lines.append(f"{read_model_of(name).capitalize()}:")
        lines += outcome.text.splitlines()
    told = facts({name: outcome.facts for name, outcome in outcomes.items()})
    return Outcome(told, lines, all(outcome.holds for outcome in outcomes.values()))
