"""Turn an operator's options into an `Adjust` command, and the result of the command into an outcome."""

import shlex
import uuid
from typing import Any

import click

from chalicelib import command_handlers
from chalicelib.command_handlers import Accepted
from chalicelib.domain import commands as domain_commands
from chalicelib.domain import events as domain_events
from chalicelib.domain.commands import Adjust, InvalidAdjustmentError
from chalicelib.domain.counter import Counter
from chalicelib.domain.events import Event
from chalicelib.errors import KeyReusedError, UnavailableError
from chalicelib.read_model import queries
from ops.cli import errors
from ops.cli.errors import InputError, OperatorError, OutageError
from ops.cli.result import Outcome
from ops.maintenance import notes


def build_command(  # noqa: PLR0913  (one for each option)
    counter_id: str, *, by: int | None, to: int | None, reason: str, who: str | None, key: str | None
) -> Adjust:
    """Return the command for these options. The default of `key` is a random key."""
    if not domain_events.is_counter_id(counter_id):
        raise InputError(f"COUNTER_ID must be {domain_events.COUNTER_ID}, got {counter_id!r}.")
    if (by is None) == (to is None):
        raise InputError("Pass either --by, the amount to add, or --to, the new value.")
    if by is not None and not domain_events.is_valid_adjustment(by):
        raise InputError(f"--by must be an integer from -(2**53 - 1) to 2**53 - 1, but not 0, got {by}.")
    if to is not None and abs(to) > domain_events.LARGEST_AMOUNT:
        raise InputError(f"--to must be an integer from -(2**53 - 1) to 2**53 - 1, got {to}.")
    note = notes.build_note(reason, who, str(uuid.uuid4()) if key is None else key)
    return domain_commands.Adjust(counter_id, note.key, reason, note.who, by or 0, to)


def adjust(adjustment: Adjust, *, dry_run: bool, yes: bool) -> Outcome:
    """
    Record the adjustment after the operator confirms it. With `dry_run`, only describe it.

    If the adjustment is already recorded, or would change nothing, record nothing and do not ask for confirmation.
    Before recording, show the key. If this process then ends without a message, the operator can repeat the adjustment
    safely.

    Raises:
        OperatorError: the adjustment is refused, or its outcome is unknown. The message states the next step.
        KeyboardInterrupt: the outcome may be unknown. The message then states the next step.
        click.Abort: the operator did not confirm it. Nothing is changed.
    """
    try:
        before = command_handlers.find_adjustment(adjustment)
        counter = queries.get_counter(adjustment.counter_id)
        planned = before or domain_commands.decide_adjustment(adjustment, counter, event_id="", now_ms=0)
        if dry_run:
            return _describe_plan(adjustment, counter, planned, recorded_before=before is not None)
        if planned is not None and before is None and not yes:
            click.echo(_preview(counter, planned), err=True)
            click.confirm("Record this adjustment?", abort=True, err=True)
        return _record(adjustment)
    except KeyReusedError as error:
        raise OperatorError(
            f"{_quote_key(adjustment)} was already used for a different adjustment of {adjustment.counter_id}, "
            f"event {error.event_id}. Repeat that adjustment, or use a new key. Nothing was recorded."
        ) from error
    except InvalidAdjustmentError as error:
        raise InputError(f"{error} Nothing was recorded.") from error


def _record(adjustment: Adjust) -> Outcome:
    key = _quote_key(adjustment)
    advice = f"The adjustment may have been recorded. Run the command again with {key}: it is recorded only once."
    try:
        click.echo(f"Recording with {key}.", err=True)
        return _describe_result(adjustment, command_handlers.adjust(adjustment))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Interrupted. {advice}") from None
    except UnavailableError as error:
        raise OutageError(f"{errors.describe(error)}. {advice}") from error


def _quote_key(adjustment: Adjust) -> str:
    return f"--key {shlex.quote(adjustment.idempotency_key)}"


def _preview(counter: Counter, planned: Event) -> str:
    return (
        f"counter: {counter.counter_id}\nvalue now: {counter.value}\n"
        f"value after: {counter.value + planned.by} ({planned.by:+})"
    )


def _describe_plan(adjustment: Adjust, counter: Counter, planned: Event | None, *, recorded_before: bool) -> Outcome:
    facts = {"dry_run": True, **_facts(adjustment, planned, counter.value, recorded=False, before=recorded_before)}
    if recorded_before:
        return Outcome(facts, ["Already recorded. Nothing would be recorded."])
    if planned is None:
        return Outcome(facts, [f"{counter.counter_id} is already {counter.value}. Nothing would be recorded."])
    facts["value_after"] = counter.value + planned.by
    return Outcome(facts, [_preview(counter, planned), "Nothing was recorded: this was a dry run."])


def _describe_result(adjustment: Adjust, accepted: Accepted | None) -> Outcome:
    if accepted is None:
        facts = _facts(adjustment, None, adjustment.to, recorded=False, before=False)
        return Outcome(facts, [f"{adjustment.counter_id} is already {adjustment.to}. Nothing was recorded."])
    event, value = accepted.event, accepted.counter.value if accepted.counter else None
    facts = _facts(adjustment, event, value, recorded=not accepted.is_retry, before=accepted.is_retry)
    change = f"{event.by:+} to {event.counter_id}, event {event.event_id}, key {adjustment.idempotency_key}"
    if accepted.is_retry:
        return Outcome(facts, [f"Already recorded: {change}. Nothing new was recorded. The value is {value}."])
    return Outcome(facts, [f"Recorded: {change}. The value is {value}."])


def _facts(
    adjustment: Adjust, event: Event | None, value: int | None, *, recorded: bool, before: bool
) -> dict[str, Any]:
    return {
        "counter_id": adjustment.counter_id,
        "key": adjustment.idempotency_key,
        "event_id": event.event_id or None if event else None,
        "by": event.by if event else 0,
        "reason": adjustment.reason,
        "who": event.who if isinstance(event, domain_events.Adjusted) else adjustment.who,
        "value": value,
        "recorded": recorded,
        "recorded_before": before,
    }
