"""Build the note that the log keeps about an operator's change: the reason and the operator."""

import getpass
from dataclasses import dataclass

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.domain import events as domain_events
from ops.cli.errors import InputError, OperatorError


@dataclass(frozen=True, slots=True)
class Note:
    """The reason for a change and its operator, which the log records, and the idempotency key of the change."""

    reason: str
    who: str
    key: str = "start"


def build_note(reason: str, who: str | None, key: str | None = None) -> Note:
    """Return the note with these texts. Default of `who`: `get_caller()`. Default of `key`: "start"."""
    for name, text in {"--reason": reason, "--who": who, "--key": key}.items():
        if text is not None and not domain_events.is_valid_text(text):
            raise InputError(f"{name} must be {domain_events.Adjusted.rules['reason']}, got {text!r}.")
    return Note(reason, who or get_caller(), key or "start")


def get_caller() -> str:
    """Return the operator's ARN in AWS, or else the user name on this machine."""
    try:
        # The name only annotates the change: do not wait long for it.
        config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 2})
        name = boto3.client("sts", config=config).get_caller_identity()["Arn"]
    except (BotoCoreError, ClientError):
        try:
            name = getpass.getuser()
        except (OSError, KeyError, ImportError):  # the error differs between versions of Python
            name = ""
    if not domain_events.is_valid_text(name):
        raise OperatorError("Cannot determine the current user; pass --who.")
    return str(name)
