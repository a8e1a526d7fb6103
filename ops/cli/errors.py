"""Expected errors: their one-line messages, which say what to do, and their exit status."""

from __future__ import annotations

import sqlite3

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from chalicelib.errors import CounterError, UnavailableError


class OperatorError(Exception):
    """A command is refused. The message states the reason and the fix. Exit status 1."""


class InputError(OperatorError):
    """An argument is invalid. Exit status 2."""


class OutageError(OperatorError):
    """AWS does not answer in time. The outcome is unknown. Exit status 3."""


#: Expected errors. They are printed as one line, without a traceback.
EXPECTED = (OperatorError, CounterError, BotoCoreError, ClientError, sqlite3.Error)

_NOT_PROVISIONED = "The stage is not provisioned here. Run provision, or check the region."

#: Hints by a part of the error's message.
_HINTS = {
    "AccessDenied": "Your credentials lack a permission: use others (AWS_PROFILE=name), or have it granted.",
    **dict.fromkeys(
        ("ExpiredToken", "RequestExpired", "TokenRefreshRequired", "InvalidToken"),
        "Your credentials have expired: sign in again, for example with aws sso login.",
    ),
    # S3's answers to HEAD have no error code.
    **dict.fromkeys(
        ("(403) when calling", "(400) when calling the Head"),
        "Your credentials have expired or lack a permission: sign in again, for example with aws sso login, or use "
        "others (AWS_PROFILE=name).",
    ),
    **dict.fromkeys(
        ("RequestTimeTooSkewed", "SignatureDoesNotMatch", "InvalidSignature"),
        "AWS does not accept the signature: check your credentials and the clock of this machine.",
    ),
    "InvalidAccessKeyId": "AWS does not know your credentials: use others (AWS_PROFILE=name).",
    "InvalidClientTokenId": "AWS does not know your credentials: use others (AWS_PROFILE=name).",
    "UnrecognizedClient": "AWS does not know your credentials: use others (AWS_PROFILE=name).",
    "ResourceNotFound": _NOT_PROVISIONED,
    "NonExistentQueue": _NOT_PROVISIONED,
    "QueueDoesNotExist": _NOT_PROVISIONED,
    "permission denied for": "The database role lacks a right: connect as a role that has it, with SQL_OWNER_URL.",
}


def exit_status(error: Exception) -> int:
    """Return the exit status of an expected error: 1 refused, 2 usage error, 3 AWS or database unavailable."""
    if isinstance(error, InputError):
        return 2
    if isinstance(error, OutageError):
        return 3
    if isinstance(error, UnavailableError) or not isinstance(error, OperatorError | CounterError):
        return 1 if _hint(error) == _NOT_PROVISIONED else 3
    return 1


def describe(error: Exception) -> str:
    """Describe an expected error in one line: the fix, if known, and the error's own message."""
    if isinstance(error, NoCredentialsError):
        return "No AWS credentials: set AWS_PROFILE, or sign in, for example with aws sso login."
    if isinstance(error, NoRegionError):
        return "No AWS region: set AWS_DEFAULT_REGION, for example to eu-central-1."
    if isinstance(error, sqlite3.Error):
        return f"The temporary file failed: {error}. Set SQLITE_TMPDIR to a folder with enough space."
    hint = _hint(error)
    return f"{hint} ({_one_line(error)})" if hint else _one_line(error)


def _hint(error: Exception) -> str | None:
    if isinstance(error, OperatorError):
        return None
    return next((hint for part, hint in _HINTS.items() if part in _one_line(error)), None)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
