"""Adjust: what an operator writes, into the command; and what came of it, into lines and facts."""

from __future__ import annotations

import getpass
import uuid
from typing import TYPE_CHECKING, Any

import boto3
import click
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import command_handlers
from chalicelib.domain import commands as domain_commands
from chalicelib.domain import events as domain_events
from chalicelib.domain.commands import InvalidAdjustmentError
from chalicelib.errors import InvalidRequestError, KeyReusedError, UnavailableError
from chalicelib.read_model import queries
from ops.cli import errors
from ops.cli.errors import InputError, OperatorError, OutageError
from ops.cli.result import Outcome

if TYPE_CHECKING:
    from chalicelib.command_handlers import Accepted
    from chalicelib.domain.commands import Adjust
    from chalicelib.domain.counter import Counter
    from chalicelib.domain.events import Event


def command(  # noqa: PLR0913  (one for each option)
    counter_id: str, *, by: int | None, to: int | None, reason: str, who: str | None, key: str | None
) -> Adjust:
    """
    The command that these options ask for. Without a key it gets one of its own.

    Raises:
        InputError: one of them is malformed.
        OperatorError: it cannot be found out who asks.
    """
    if not domain_events.is_counter_id(counter_id):
        raise InputError(f"A counter id is 1 to 64 characters of A-Z a-z 0-9 . _ ~ -, and not {counter_id!r}.")
    if (by is None) == (to is None):
        raise InputError("Give either --by, what is to be added, or --to, the value to be reached.")
    if by is not None and not domain_events.is_valid_adjustment(by):
        raise InputError(f"--by is an integer from -(2**53 - 1) to 2**53 - 1 and not 0; this is {by}.")
    if to is not None and abs(to) > domain_events.LARGEST_AMOUNT:
        raise InputError(f"--to is an integer from -(2**53 - 1) to 2**53 - 1; this is {to}.")
    given = {"--reason": reason, "--who": who, "--key": key}
    for name, text in given.items():
        if text is not None and not domain_events.is_valid_text(text):
            raise InputError(f"{name} is 1 to 200 printable characters, not all of them blank.")
    return domain_commands.Adjust(counter_id, key or str(uuid.uuid4()), reason, who or caller(), by or 0, to)


def caller() -> str:
    """
    Who runs this program: the ARN that AWS knows them by, or else their name on this machine.

    Raises:
        OperatorError: neither can be had in 200 characters.
    """
    try:
        # Who it is only stands beside the adjustment: nobody should wait long for it.
        config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 2})
        found = boto3.client("sts", config=config).get_caller_identity()["Arn"]
    except (BotoCoreError, ClientError):
        try:
            found = getpass.getuser()
        except (OSError, KeyError, ImportError):  # differs between versions of Python
            found = ""
    if not domain_events.is_valid_text(found):
        raise OperatorError("It cannot be found out who you are: say it with --who.")
    return str(found)


def adjust(adjustment: Adjust, *, dry_run: bool, yes: bool) -> Outcome:
    """
    What is asked is recorded, once it is confirmed; or it was before, or there is nothing to record.

    Raises:
        OperatorError: it cannot be done, or whether it was done is not known; the message says how to go on.
        click.Abort: it was not confirmed, and nothing is changed.
    """
    try:
        before = command_handlers.find_adjustment(adjustment)
        counter = queries.get_counter(adjustment.counter_id)
        planned = before or domain_commands.decide_adjustment(adjustment, counter, event_id="", now_ms=0)
        if dry_run:
            return _dry(adjustment, counter, planned, recorded_before=before is not None)
        if planned is not None and before is None and not yes:
            click.echo(_preview(counter, planned), err=True)
            click.confirm("Record this?", abort=True, err=True)
        accepted = _record(adjustment)
    except KeyReusedError as error:
        raise OperatorError(
            f"--key {adjustment.key} was used before for another adjustment of {adjustment.counter_id}, event "
            f"{error.event_id}: repeat that, or use a new key. Nothing was recorded."
        ) from error
    except (InvalidAdjustmentError, InvalidRequestError) as error:
        raise InputError(f"{error} Nothing was recorded.") from error
    return _done(adjustment, accepted)


def _record(adjustment: Adjust) -> Accepted | None:
    try:
        return command_handlers.adjust(adjustment)
    except UnavailableError as error:
        raise OutageError(
            f"{errors.describe(error)}. Whether it was recorded is not known. "
            f"Run it again with --key {adjustment.key}: it is recorded once."
        ) from error


def _preview(counter: Counter, planned: Event) -> str:
    return (
        f"counter: {counter.counter_id}\nvalue now: {counter.value}\n"
        f"value after: {counter.value + planned.by} ({planned.by:+})"
    )


def _dry(adjustment: Adjust, counter: Counter, planned: Event | None, *, recorded_before: bool) -> Outcome:
    facts = {"dry_run": True, **_facts(adjustment, planned, counter.value, recorded=False, before=recorded_before)}
    if recorded_before:
        return Outcome(facts, ["This was recorded before, and would not be again."])
    if planned is None:
        return Outcome(facts, [f"{counter.counter_id} stands at {counter.value} already: nothing would be recorded."])
    facts["value_after"] = counter.value + planned.by
    return Outcome(facts, [_preview(counter, planned), "Nothing was recorded: this was a dry run."])


def _done(adjustment: Adjust, accepted: Accepted | None) -> Outcome:
    if accepted is None:
        facts = _facts(adjustment, None, adjustment.to, recorded=False, before=False)
        return Outcome(facts, [f"{adjustment.counter_id} stands at {adjustment.to} already: nothing was recorded."])
    event, value = accepted.event, accepted.counter.value if accepted.counter else None
    facts = _facts(adjustment, event, value, recorded=not accepted.is_retry, before=accepted.is_retry)
    said = f"{event.by:+} of {event.counter_id}, event {event.event_id}"
    if accepted.is_retry:
        return Outcome(facts, [f"Recorded before: {said}. Nothing was recorded now. It stands at {value}."])
    return Outcome(facts, [f"Recorded: {said}. It stands at {value}."])


def _facts(
    adjustment: Adjust, event: Event | None, value: int | None, *, recorded: bool, before: bool
) -> dict[str, Any]:
    return {
        "counter_id": adjustment.counter_id,
        "key": adjustment.key,
        "event_id": event.event_id or None if event else None,
        "by": event.by if event else 0,
        "reason": adjustment.reason,
        "who": event.who if isinstance(event, domain_events.Adjusted) else adjustment.who,
        "value": value,
        "recorded": recorded,
        "recorded_before": before,
    }
