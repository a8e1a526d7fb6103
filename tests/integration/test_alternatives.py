"""Test that each design of the cost table counts, and lacks the protection that the table states."""

import uuid
from types import SimpleNamespace

import boto3
import pytest

from benchmarks import alternatives
from testkit import aws_requests
from testkit.builders import a_counter_id, queue_batch


@pytest.fixture
def database(stage):
    client = boto3.client("dynamodb")
    alternatives.provision(client)
    return client


def a_run(time_left_ms=30_000):
    """Return Lambda's context of an invocation with this much time left."""
    return SimpleNamespace(aws_request_id=str(uuid.uuid4()), get_remaining_time_in_millis=lambda: time_left_ms)


@pytest.mark.parametrize(
    ("alternative", "operations", "units"),
    [
        (alternatives.UNPROTECTED, ["UpdateItem"], 1),
        (alternatives.REMEMBERING, ["PutItem", "UpdateItem", "UpdateItem"], 3),
        (alternatives.MARKING, ["TransactWriteItems"], 4),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_alternative_counts_each_message_with_its_own_writes(database, alternative, operations, units):
    counter_id = a_counter_id()
    bodies = [alternatives.message(counter_id, str(uuid.uuid4()), by) for by in (1, 2)]

    with aws_requests.record(database, reader=aws_requests.reader()) as requests:
        alternative.worker(database)(queue_batch(bodies), a_run())

    assert alternatives.value(database, counter_id) == 3
    assert requests.operations == 2 * operations
    assert requests.write_units() == 2 * units


@pytest.mark.parametrize(
    ("alternative", "counted"),
    [(alternatives.UNPROTECTED, 2), (alternatives.REMEMBERING, 1), (alternatives.MARKING, 1)],
    ids=lambda value: getattr(value, "name", None),
)
def test_redelivery_counts_twice_only_without_protection(database, alternative, counted):
    counter_id = a_counter_id()
    batch = queue_batch([alternatives.message(counter_id, str(uuid.uuid4()))])
    work = alternative.worker(database)

    work(batch, a_run())
    work(batch, a_run())

    assert alternatives.value(database, counter_id) == counted


def test_idempotency_table_counts_twice_if_its_worker_dies(database):
    counter_id = a_counter_id()
    batch = queue_batch([alternatives.message(counter_id, str(uuid.uuid4()))])
    work = alternatives.REMEMBERING.worker(database)
    dies = _Dies()
    database.meta.events.register("before-parameter-build.dynamodb.UpdateItem", dies.before_it_is_completed)

    with pytest.raises(_Died):
        work(batch, a_run(time_left_ms=-1))
    dies.again = False
    work(batch, a_run())

    assert alternatives.value(database, counter_id) == 2


class _Died(BaseException):
    pass


class _Dies:
    again = True

    def before_it_is_completed(self, params, **_):
        if self.again and params["TableName"] == alternatives.MARKERS:
            raise _Died
