"""What an operator is told when something cannot be done: one line, with the way out."""

from __future__ import annotations


class OperatorError(Exception):
    """The message is for a person's eyes and says what to do."""
