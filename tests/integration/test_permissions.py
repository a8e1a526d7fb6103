"""Functions and operators' commands use exactly the permissions that their policies grant."""

import contextlib
import time
import uuid
from typing import Any

import boto3
import pytest

from chalicelib import event_log, projector, settings
from chalicelib.access import catalog
from chalicelib.domain.archive import RECENT_MAX
from chalicelib.extras.sql import read_model
from chalicelib.extras.verification import scheduled_check
from chalicelib.projections import SQL
from chalicelib.read_model import writer
from ops.maintenance import (
    adjust,
    counters,
    dead_letters,
    event_file,
    export,
    import_file,
    other_log,
    rebuild,
    redrive,
    replay,
    show,
    verify,
)
from ops.maintenance.event_selection import EventSelection
from testkit import aws_requests
from testkit.builders import an_adjustment, an_event, message_body, queue_batch, stream_record
from tests.environments import environment
from tests.permissions import BY_LAMBDA, NEEDED, QUEUES, SQL_QUEUES, TABLES, arn, needed

pytestmark = pytest.mark.exhaustive

#: IAM has no action for a transaction: it checks the action of each member.
MEMBERS = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}

#: IAM checks a batch of messages as it checks one message.
SINGLY = {"ChangeMessageVisibilityBatch": "ChangeMessageVisibility"}

#: When old events were recorded: long enough ago to be archived at once.
OLD_MS = 1_700_000_000_000

RESOURCES = {
    arn(one, "pipeline").rpartition(":")[2].removeprefix("table/"): one
    for one in (*TABLES, "restored log", *QUEUES, *SQL_QUEUES)
}


class Asked:
    """The requested actions, by resource."""

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
                self._add(queue, "GetQueueUrl")  # once per process, so possibly not in this test

    def _add(self, name: str, action: str) -> None:
        self.of.setdefault(RESOURCES[name], set()).add(action)


@contextlib.contextmanager
def asked():
    """Record the actions that are requested in the block, by the application's clients and by new ones."""
    found = Asked()

    def note(params, model, **_):
        found.note(model.name, params)

    boto3.setup_default_session()
    session: Any = boto3.DEFAULT_SESSION
    session.events.register("before-parameter-build.*.*", note)
    with aws_requests.record() as requests:
        yield found
    for operation, parameters in requests.made:
        found.note(operation, parameters)
    boto3.setup_default_session()


def use_api(pipeline, monkeypatch):
    counter_id = pipeline.counter_id
    count_old_events(counter_id)
    monkeypatch.setattr(catalog, "_copy", catalog.Copy())
    with asked() as found:
        event_id = pipeline.increment(Idempotency_Key="once").body["event_id"]
        pipeline.increment(Idempotency_Key="once")
        pipeline.increment(Idempotency_Key="once", Prefer="return=representation")
        pipeline.increment(If_Match=f'"{pipeline.version}"')
        pipeline.increment(Prefer="return=representation")
        for _ in range(RECENT_MAX):  # so that one of them archives
            pipeline.increment(Prefer="return=representation")
        pipeline.event(event_id)
        pipeline.events()
        pipeline.history()
        pipeline.send("GET", "/counters")
        with environment(SHARDS="4"):
            pipeline.counter_id = f"{counter_id}.parts"
            pipeline.increment(If_Match='"0"')
    return found


def use_publish(pipeline, _monkeypatch):
    with asked() as found:
        pipeline.publish([stream_record(an_event()), "unknown"])
    return found


def use_project(pipeline, _monkeypatch):
    counter_id = pipeline.counter_id
    count_old_events(counter_id)
    late = an_event(counter_id=counter_id, recorded_at_ms=OLD_MS)
    with asked() as found:
        pipeline.project([message_body(an_event(counter_id=counter_id)), message_body(late), "unknown"])
        pipeline.project([message_body(late)], received=2)
    return found


def use_check(pipeline, _monkeypatch):
    damage_counter(pipeline)
    with environment(CHECK_EVENTS="1000000"), asked() as found:
        for _ in range(2):
            scheduled_check.check(int(time.time()))
    return found


def count_old_events(counter_id):
    """Append old events and count them: enough for archive pages."""
    events = [an_event(counter_id=counter_id, recorded_at_ms=OLD_MS + n) for n in range(2 * RECENT_MAX)]
    for event in events:
        event_log.append(event)
    writer.count(events)


def damage_counter(pipeline):
    """Damage a counter in each way: events that are not counted, entries without an event, and damaged items."""
    counter_id = pipeline.counter_id
    count_old_events(counter_id)
    for recorded_at_ms in (OLD_MS, OLD_MS + 100_000):
        event_log.append(an_event(counter_id=counter_id, recorded_at_ms=recorded_at_ms))
    pipeline.count(an_event(counter_id=counter_id), an_event(counter_id=counter_id, recorded_at_ms=OLD_MS))
    pipeline.record(an_event(counter_id=f"{counter_id}.damaged"))
    names = settings.current()
    client = boto3.client("dynamodb")
    for table, key in (
        (names.counters_table, {"counter_id": {"S": f"{counter_id}.damaged"}, "part": {"N": "0"}}),
        (names.archive_table, {"partition": {"S": f"{counter_id}.damaged"}, "end": {"N": "5"}}),
        (names.counters_table, {"counter_id": {"S": "not a counter"}, "part": {"N": "0"}}),
        (names.archive_table, {"partition": {"S": "not a counter"}, "end": {"N": "5"}}),
    ):
        client.put_item(TableName=table, Item={**key, "entries": {"S": "not entries"}})


def use_operator(pipeline, folder, restored_log):
    current, counter_id = settings.current(), pipeline.counter_id
    damage_counter(pipeline)
    pipeline.project(["unknown"])
    event_log.append(an_adjustment(counter_id=counter_id, recorded_at_ms=time.time_ns() // 1_000_000))
    with asked() as found:
        verify.verify(current, (), 0, waits=False)
        verify.verify(current, (counter_id,), 0, waits=False)
        for selection in (replay.Selection(), replay.Selection([counter_id])):
            replay.replay(current, selection, 10_000, folder / uuid.uuid4().hex, dry_run=False)
        rebuild.rebuild(current, (counter_id,))
        rebuild.rebuild(current, ())
        redrive.redrive(current, dead_letters.Selection(), dry_run=True)
        redrive.redrive(current, dead_letters.Selection(), dry_run=False)
        command = adjust.build_command(counter_id, by=1, to=None, reason="a test", who="a test", key="a key")
        adjust.adjust(command, dry_run=False, yes=True)
        adjust.adjust(command, dry_run=False, yes=True)
        show.show(counter_id, 100)
        for exported in (EventSelection(), EventSelection([counter_id])):
            export.export(current, exported, event_file.Target(folder / "events.jsonl"))
        import_file.import_files(current, [str(folder / "events.jsonl")], None, 10_000, dry_run=False)
        other_log.restore(current, restored_log, 10_000, dry_run=False)
        counters.list_counters(current, (), 10)
        for action in counters.CHANGES:
            counters.change(action, (f"{counter_id}.none",))
        with environment(SHARDS="4"):
            parts = adjust.build_command(
                f"{counter_id}.parts", by=1, to=None, reason="a test", who="a test", key="a key"
            )
            adjust.adjust(parts, dry_run=False, yes=True)
    pipeline.published()
    return found


@pytest.fixture
def restored_log(stage):
    """Restore the log to another table for the duration of a test."""
    client, log = boto3.client("dynamodb"), settings.current().event_log_table
    restored = f"{log}-restored"
    client.restore_table_to_point_in_time(SourceTableName=log, TargetTableName=restored, UseLatestRestorableTime=True)
    yield restored
    client.delete_table(TableName=restored)


FUNCTIONS = {
    "api": use_api,
    "publish": use_publish,
    "project": use_project,
    "check": use_check,
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_function_uses_exactly_its_permissions(pipeline, monkeypatch, function):
    found = FUNCTIONS[function](pipeline, monkeypatch)

    for resource, actions in BY_LAMBDA.get(function, {}).items():
        found.of.setdefault(resource, set()).update(actions)
    assert found.of == NEEDED[function]


def test_operator_uses_exactly_the_permissions(pipeline, tmp_path, restored_log):
    found = use_operator(pipeline, tmp_path, restored_log)

    assert found.of == NEEDED["operator"]


def test_operator_uses_exactly_the_permissions_with_sql(pipeline, second, tmp_path, restored_log):
    projector.project(SQL, read_model.count, queue_batch(["unknown"]))

    found = use_operator(pipeline, tmp_path, restored_log)
    with asked() as also:
        rebuild.rebuild(settings.current(), (pipeline.counter_id,), (SQL,))

    assert found.of == needed("operator", with_sql=True)
    assert all(actions <= found.of[resource] for resource, actions in also.of.items())
