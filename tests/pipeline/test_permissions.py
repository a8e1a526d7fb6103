"""What the functions and the operators' commands ask of AWS is all that their policies allow, and no more."""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import Any

import boto3
import pytest

from chalicelib import checker, event_log, generations, settings
from tests import aws
from tests.building import an_adjustment, an_event, message_body, queue_batch, stream_record
from tests.permissions import BY_LAMBDA, NEEDED, QUEUES, SQL_QUEUES, TABLES, arn, needed

#: A transaction is no action of IAM's: each of its members is one.
MEMBERS = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}

#: And what is asked for several messages at once is allowed as it is for one.
SINGLY = {"ChangeMessageVisibilityBatch": "ChangeMessageVisibility"}

RESOURCES = {
    arn(one, "pipeline").rpartition(":")[2].removeprefix("table/"): one for one in (*TABLES, *QUEUES, *SQL_QUEUES)
}


class Asked:
    """The actions that were asked for, by resource."""

    def __init__(self) -> None:
        self.of: dict[str, set[str]] = {}

    def note(self, operation: str, parameters: dict[str, Any]) -> None:
        match parameters:
            case {"TransactItems": members}:
                for kind, member in (pair for one in members for pair in one.items()):
                    self._add(member["TableName"], MEMBERS[kind])
            case {"RequestItems": tables}:
                for table in tables:
                    self._add(table, operation)
            case {"TableName": table}:
                self._add(table, operation)
            case {"QueueUrl": url}:
                queue = url.rpartition("/")[2]
                self._add(queue, SINGLY.get(operation, operation))
                self._add(queue, "GetQueueUrl")  # once in the life of a process, and so perhaps not here

    def _add(self, name: str, action: str) -> None:
        self.of.setdefault(RESOURCES[name], set()).add(action)


@contextlib.contextmanager
def asked():
    """What is asked for inside: by the application's clients, and by those that are made inside."""
    found = Asked()

    def note(params, model, **_):
        found.note(model.name, params)

    boto3.setup_default_session()
    session: Any = boto3.DEFAULT_SESSION
    session.events.register("before-parameter-build.*.*", note)
    with aws.requests() as requests:
        yield found
    for operation, parameters in requests.made:
        found.note(operation, parameters)
    boto3.setup_default_session()


def all_that_the_api_does(pipeline):
    with asked() as found:
        event_id = pipeline.increment(Idempotency_Key="once").body["event_id"]
        pipeline.increment(Idempotency_Key="once")
        pipeline.increment(If_Match='"0"')
        pipeline.increment(Prefer="return=representation")
        pipeline.counter()
        pipeline.event(event_id)
        pipeline.events()
        pipeline.history()
        pipeline.send("GET", "/counters")
    return found


def all_that_publish_does(pipeline):
    with asked() as found:
        pipeline.publish([stream_record(an_event()), "what nobody understands"])
    return found


def all_that_project_does(pipeline):
    generations.begin(pipeline.counter_id)  # which it learns when it writes
    with asked() as found:
        pipeline.project([message_body(an_event(counter_id=pipeline.counter_id)), "what nobody understands"])
    return found


def all_that_check_does(pipeline):
    a_counter_with_all_that_may_be_wrong(pipeline)
    with asked() as found:
        for turn in range(settings.current().check_parts):
            checker.check(turn * settings.CHECK_EVERY_S)
    return found


def a_counter_with_all_that_may_be_wrong(pipeline):
    """An event that is not counted, and one that is counted and not in the log."""
    pipeline.count(an_event(counter_id=pipeline.counter_id))
    event_log.append(an_event(counter_id=pipeline.counter_id))


def all_that_operators_do(pipeline, folder):
    from ops import adjust, rebuild, redrive, replay, verify

    current, counter_id = settings.current(), pipeline.counter_id
    a_counter_with_all_that_may_be_wrong(pipeline)
    pipeline.project(["what nobody understands"])
    event_log.append(an_adjustment(counter_id=counter_id, recorded_at_ms=time.time_ns() // 1_000_000))
    with asked() as found:
        verify.verify(current, (), 0, waits=False)
        verify.verify(current, (counter_id,), 0, waits=False)
        for selection in (replay.Selection(), replay.Selection(counter_id)):
            replay.replay(current, selection, 10_000, folder / uuid.uuid4().hex, dry_run=False)
        rebuild.rebuild(current, ())
        rebuild.rebuild(current, (counter_id,))
        rebuild.back((counter_id,))
        rebuild.drop(())
        redrive.redrive(current, (), "", dry_run=True)
        redrive.redrive(current, (), "", dry_run=False)
        command = adjust.command(counter_id, by=1, to=None, reason="a test", who="a test", key="a key")
        adjust.adjust(command, dry_run=False, yes=True)
        adjust.adjust(command, dry_run=False, yes=True)
    pipeline.published()
    return found


FUNCTIONS = {
    "api": all_that_the_api_does,
    "publish": all_that_publish_does,
    "project": all_that_project_does,
    "check": all_that_check_does,
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_asks_for_all_that_it_may_and_for_nothing_else(pipeline, function):
    found = FUNCTIONS[function](pipeline)

    for resource, actions in BY_LAMBDA.get(function, {}).items():
        found.of.setdefault(resource, set()).update(actions)
    assert found.of == NEEDED[function]


def test_operators_ask_for_all_that_they_may_and_for_nothing_else(pipeline, tmp_path):
    found = all_that_operators_do(pipeline, tmp_path)

    assert found.of == NEEDED["operator"]


def test_where_sql_is_on_they_ask_for_what_they_may_then_and_for_nothing_else(pipeline, second, tmp_path):
    from chalicelib import sql_projector
    from ops import sql_rebuild

    sql_projector.project(queue_batch(["what nobody understands"])["Records"])

    found = all_that_operators_do(pipeline, tmp_path)
    with asked() as besides:
        sql_rebuild.rebuild(settings.current(), (pipeline.counter_id,))

    assert found.of == needed("operator", with_sql=True)
    assert all(actions <= found.of[resource] for resource, actions in besides.of.items())
