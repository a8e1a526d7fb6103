"""What an operator is told when something cannot be done: one line, with the way out."""

from __future__ import annotations

import sqlite3

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from chalicelib.errors import CounterError, UnavailableError


class OperatorError(Exception):
    """The message is for a person's eyes and says what to do."""


class InputError(OperatorError):
    """What was asked is not understood, or cannot be asked: the exit status is 2."""


class OutageError(OperatorError):
    """AWS does not answer, or not as foreseen, so that what was asked is neither done nor refused: status 3."""


#: What can go wrong outside this program, and is told in one line.
FORESEEN = (OperatorError, CounterError, BotoCoreError, ClientError, sqlite3.Error)

_NOT_PROVISIONED = "The stage is not provisioned here: run provision first, or look at your region."

_WAYS_OUT = {
    "AccessDenied": "Your credentials lack a permission. Use others, as in AWS_PROFILE=name, or have it granted.",
    "ExpiredToken": "Your credentials have expired: sign in again, as in aws sso login.",
    "InvalidClientTokenId": "Your credentials are not known to AWS. Use others, as in AWS_PROFILE=name.",
    "UnrecognizedClient": "Your credentials are not known to AWS. Use others, as in AWS_PROFILE=name.",
    "ResourceNotFound": _NOT_PROVISIONED,
    "NonExistentQueue": _NOT_PROVISIONED,
    "QueueDoesNotExist": _NOT_PROVISIONED,
    "permission denied for": "The database role lacks a right: connect as one that has it, by SQL_OWNER_URL.",
}


def exit_status(error: Exception) -> int:
    """What the program ends with at a foreseen error: 1 where it is refused, 2 if not understood, 3 for an outage."""
    if isinstance(error, InputError):
        return 2
    if isinstance(error, OutageError):
        return 3
    if isinstance(error, UnavailableError) or not isinstance(error, OperatorError | CounterError):
        return 1 if _way_out(error) == _NOT_PROVISIONED else 3
    return 1


def in_one_line(error: Exception) -> str:
    """What to tell of a foreseen error: the way out, where one is known, and what was said."""
    if isinstance(error, NoCredentialsError):
        return "There are no AWS credentials: set AWS_PROFILE, or sign in, as in aws sso login."
    if isinstance(error, NoRegionError):
        return "There is no AWS region: set AWS_DEFAULT_REGION, as in AWS_DEFAULT_REGION=eu-central-1."
    if isinstance(error, sqlite3.Error):
        return f"The temporary file failed: {error}. Point SQLITE_TMPDIR to a folder with room."
    found = _way_out(error)
    return f"{found} ({_said(error)})" if found else _said(error)


def _way_out(error: Exception) -> str | None:
    if isinstance(error, OperatorError):
        return None
    return next((way_out for name, way_out in _WAYS_OUT.items() if name in _said(error)), None)


def _said(error: Exception) -> str:
    return " ".join(str(error).split())
