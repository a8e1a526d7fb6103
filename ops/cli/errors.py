"""Define the errors of commands, their exit statuses, and one-line messages that state the fix."""

import sqlite3
import traceback

import click
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import CounterError, UnavailableError


class OperatorError(Exception):
    """
    A command is refused. The message states the reason and the fix. Exit status 1.

    Any function of `ops` may raise this error, an error of an AWS request, or an error of the application. The program
    prints one line and exits. Docstrings name an error only if a caller handles it, or must know what was done before
    the error.
    """


class InputError(OperatorError):
    """An argument is invalid. Exit status 2."""


class OutageError(OperatorError):
    """
    AWS is unavailable, refuses an upload, or has not finished an operation in time. Exit status 3.

    The operation may still have taken effect. The message states the next step.
    """


#: Errors with a cause outside the program. Their exit status is 3, or 1 if the stage is not provisioned.
_SURROUNDINGS = (UnavailableError, OutageError, BotoCoreError, ClientError, sqlite3.Error, OSError)

#: Expected errors. They are printed as one line, without a traceback.
EXPECTED = (OperatorError, CounterError, *_SURROUNDINGS, KeyboardInterrupt, click.Abort)

_NOT_PROVISIONED = "The stage is not provisioned here. Run provision, or check the region."

#: Hints, by a text that the error's message contains.
_HINTS = {
    "Unable to locate credentials": "No AWS credentials: set AWS_PROFILE, or sign in, for example with aws sso login.",
    "You must specify a region": "No AWS region: set AWS_DEFAULT_REGION, for example to eu-central-1.",
    "AccessDenied": "Your credentials lack a permission: use other credentials (AWS_PROFILE=name), or ask your "
    "administrator for the permission.",
    **dict.fromkeys(
        ("ExpiredToken", "RequestExpired", "TokenRefreshRequired", "InvalidToken"),
        "Your credentials have expired: sign in again, for example with aws sso login.",
    ),
    # S3's responses to HEAD have no error code.
    **dict.fromkeys(
        ("(403) when calling", "(400) when calling the Head"),
        "Your credentials have expired or lack a permission: sign in again, for example with aws sso login, or use "
        "other credentials (AWS_PROFILE=name).",
    ),
    **dict.fromkeys(
        ("RequestTimeTooSkewed", "SignatureDoesNotMatch", "InvalidSignature"),
        "AWS does not accept the signature: check your credentials and the clock of this machine.",
    ),
    "InvalidAccessKeyId": "AWS does not recognize these credentials: use other credentials (AWS_PROFILE=name).",
    "InvalidClientTokenId": "AWS does not recognize these credentials: use other credentials (AWS_PROFILE=name).",
    "UnrecognizedClient": "AWS does not recognize these credentials: use other credentials (AWS_PROFILE=name).",
    "ResourceNotFound": _NOT_PROVISIONED,
    "NonExistentQueue": _NOT_PROVISIONED,
    "QueueDoesNotExist": _NOT_PROVISIONED,
    "permission denied for": "The database role lacks a privilege: connect as a role that has it, with SQL_OWNER_URL.",
}


def exit_status(error: BaseException) -> int:
    """Return the exit status of an error. docs/maintenance.md lists all exit statuses."""
    if isinstance(error, click.exceptions.Exit | click.ClickException):
        return error.exit_code
    if isinstance(error, InputError):
        return 2
    if _is_interruption(error):
        return 130
    if isinstance(error, BrokenPipeError):
        return 141
    if isinstance(error, _SURROUNDINGS) or is_malformed_aws_setting(error):
        return 1 if _hint(error) == _NOT_PROVISIONED else 3
    return 1 if isinstance(error, EXPECTED) else 70


def describe(error: BaseException) -> str:
    """Describe an expected error in one line: the fix, if known, and the error's own message."""
    if isinstance(error, sqlite3.Error):
        return f"The temporary file failed: {error}. Set SQLITE_TMPDIR to a folder with enough space."
    if is_malformed_aws_setting(error):
        return f"An AWS setting is malformed: {_one_line(error)}. Check the AWS_* variables and ~/.aws/config."
    if isinstance(error, OSError):
        what = f"{error.strerror}: {error.filename or 'an open file or stream'}" if error.strerror else error
        return _one_line(f"{what}. Check paths, permissions and free space.")
    if _is_interruption(error):
        return str(error) or "Interrupted. Completed work is kept; run the command again to finish."
    if isinstance(error, click.Abort):
        return "Not confirmed. Nothing was changed."
    hint = _hint(error)
    return f"{hint} ({_one_line(error)})" if hint else _one_line(error)


def is_malformed_aws_setting(error: BaseException) -> bool:
    """Check whether the error is a plain ValueError that the AWS SDK raised for a setting such as AWS_ENDPOINT_URL."""
    frames = traceback.walk_tb(error.__traceback__ if isinstance(error, ValueError) else None)
    return any(frame.f_globals.get("__name__", "").startswith("botocore.") for frame, _ in frames)


def _is_interruption(error: BaseException) -> bool:
    """Check whether the command was interrupted. At a prompt, click raises `Abort` for an interruption, too."""
    return isinstance(error.__context__ if isinstance(error, click.Abort) else error, KeyboardInterrupt)


def _hint(error: BaseException) -> str | None:
    if isinstance(error, OperatorError):
        return None
    return next((hint for part, hint in _HINTS.items() if part in _one_line(error)), None)


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
