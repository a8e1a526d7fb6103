"""
Rules for the fields of events. A rule defines the valid values of a field, and how the field is used.

A class annotates each field with a rule: `by: Annotated[int, Integer(1, 1000)]`. Do not change or compare rules. Their
classes are not frozen and have no equality, because both would add 4 ms to each cold start.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

#: No control characters, line separators, direction marks or surrogates. `str.isprintable` depends on the Unicode
#: version of Python, but every version of this code must accept the same strings.
_PRINTABLE = re.compile("[^\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


@dataclass(eq=False, repr=False, kw_only=True)
class Rule:
    """
    A rule for a field. `str(rule)` completes "must be" in an error.

    `name` is the field's name in the log, in messages and in responses. Default: its name in Python. Responses contain
    only public fields. If two events with the same id differ in a compared field, they are different events.
    """

    name: str = ""
    is_public: bool = True
    is_compared: bool = True

    #: The type of valid values: `int` or `str`.
    value_type: ClassVar[type]

    def make_check(self) -> Callable[[Any], object]:
        """Return a function that checks a value of `value_type`. Its result is truthy if the value is valid."""
        raise NotImplementedError

    def accepts(self, value: object) -> bool:
        """Check whether a value, of any type, is valid. A boolean is not an integer."""
        return type(value) is self.value_type and bool(self.make_check()(value))


@dataclass(eq=False, repr=False)
class Integer(Rule):
    """An integer within inclusive bounds. With `nonzero`, 0 is invalid."""

    lowest: int
    highest: int
    nonzero: bool = False
    value_type = int

    def make_check(self) -> Callable[[Any], object]:
        """Return a function that checks the bounds. A lookup in a `range` is faster than two comparisons in Python."""
        valid = range(self.lowest, self.highest + 1)
        return (lambda value: value != 0 and value in valid) if self.nonzero else valid.__contains__

    def __str__(self) -> str:
        return f"an integer from {self.lowest} to {self.highest}{' and not 0' if self.nonzero else ''}"


@dataclass(eq=False, repr=False)
class Time(Integer):
    """A time in milliseconds since 1970 (UTC). Clients see it in the format of RFC 3339."""


@dataclass(eq=False, repr=False)
class Pattern(Rule):
    """A string that matches a regular expression. `words` describes it; `format` is its JSON Schema format."""

    expression: re.Pattern[str]
    words: str
    format: str | None = None
    value_type = str

    def make_check(self) -> Callable[[Any], object]:
        """Return a function that checks whether the whole string matches."""
        return self.expression.fullmatch

    def __str__(self) -> str:
        return self.words


@dataclass(eq=False, repr=False)
class Text(Rule):
    """A string of 1 to `longest` printable characters, not all of them blank."""

    longest: int
    value_type = str

    def make_check(self) -> Callable[[Any], object]:
        """Return a function that checks the length and the characters."""
        return lambda text: len(text) <= self.longest and _PRINTABLE.fullmatch(text) and not text.isspace()

    def __str__(self) -> str:
        return f"1 to {self.longest} printable characters, not all blank"


def read_rules(annotated: type[Any]) -> dict[str, Rule]:
    """Return the rules of the fields that this class declares, not its bases, keyed by the fields' names in Python."""
    annotations = inspect.get_annotations(annotated, eval_str=True)
    rules = {name: hint.__metadata__[0] for name, hint in annotations.items() if hasattr(hint, "__metadata__")}
    return {name: replace(rule, name=rule.name or name) for name, rule in rules.items()}
