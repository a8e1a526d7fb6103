"""Run two projections of the same events. Each counts all events, and a failure of one does not affect the other."""

import json

import pytest

from chalicelib import projector, settings
from chalicelib.domain.events import LARGEST_AMOUNT
from chalicelib.errors import PartlyCountedError, QueueUnavailableError, UnavailableError
from chalicelib.extras.sql import read_model
from chalicelib.projections import READ_MODEL, SQL
from testkit import faults
from testkit.builders import an_event, message_body, queue_batch, stream_record
from tests import sql_faults
from tests.resilience.invariant import Watcher
from tests.resilience.test_sql_crash_points import fold


class Both:
    """A pipeline whose events go to both projections. The test takes the messages from each queue."""

    def __init__(self, pipeline, outputs):
        self.pipeline = pipeline
        self._queue, self._dead_letters = outputs["SqlProjectionQueueUrl"], outputs["SqlDeadLetterQueueUrl"]
        self.published()
        self.parked()

    def published(self):
        return [message["Body"] for message in self.pipeline.drain(self._queue)]

    def parked(self):
        return self.pipeline.drain(self._dead_letters)

    def project(self, bodies):
        """Deliver the bodies and return those to be redelivered."""
        batch = queue_batch(bodies)
        answer = projector.project(SQL, read_model.count, batch)
        failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        return [record["body"] for record in batch["Records"] if record["messageId"] in failed]


@pytest.fixture
def both(database, engine, new_pipeline):
    """Create a pipeline with SQL on."""
    return Both(new_pipeline(7), engine.outputs)


def inject_into_queue(engine, queue, fault):
    """Inject the fault into sends to the queue whose name has this ending."""

    def gate(attempt):
        is_due = attempt.operation == "SendMessage" and json.loads(attempt.request.body)["QueueUrl"].endswith(queue)
        return fault(attempt) if is_due else attempt.carry_out()

    engine.gate = gate


def test_both_projections_count_each_event_once(both, database):
    """Repeat the deliveries to both, in several orders."""
    for number in range(6):
        both.pipeline.increment({"by": number + 1})
    records = both.pipeline.new_records()

    for _ in range(2):
        both.pipeline.publish(records[::-1])
    first, second = both.pipeline.published(), both.published()
    both.pipeline.project(first)
    for bodies in (second, second[::-1], second[:1]):
        both.project(bodies)

    assert sorted(first) == sorted(second)
    assert (both.pipeline.value, both.pipeline.version) == (21, 6)
    assert database.counters() == {both.pipeline.counter_id: (21, 6)}
    Watcher(both.pipeline.client, both.pipeline.counter_id).check_in_the_end()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("fault", [faults.drop_request, faults.lose_answer, faults.throttle])
@pytest.mark.parametrize("failing", ["-sql-projection", "pipeline-projection"])
def test_outage_of_one_queue_does_not_affect_the_other(both, database, engine, failing, fault):
    event = an_event(counter_id=both.pipeline.counter_id)
    inject_into_queue(engine, failing, fault)

    with pytest.raises(QueueUnavailableError):
        both.pipeline.publish([stream_record(event)])
    engine.gate = faults.no_fault
    delivered = both.pipeline.published() if "sql" in failing else both.published()
    both.pipeline.publish([stream_record(event)])
    both.pipeline.project([*delivered, *both.pipeline.published()])
    both.project([*delivered, *both.published()])

    assert delivered == [message_body(event)]
    assert (both.pipeline.value, both.pipeline.version) == (1, 1)
    assert database.counters() == fold([event])


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_database_outage_does_not_delay_the_other_projection(both, database):
    both.pipeline.increment({"by": 3})
    both.pipeline.publish(both.pipeline.new_records())
    waiting = both.published()

    with (
        sql_faults.inject(read_model.client(), lambda _, step: step.connection.execute("no such statement")),
        pytest.raises(UnavailableError),
    ):
        both.project(waiting)
    both.pipeline.project(both.pipeline.published())
    value_meanwhile, counted_meanwhile = both.pipeline.value, database.counters()
    both.project(waiting)

    assert (value_meanwhile, counted_meanwhile) == (3, {})
    assert database.counters() == {both.pipeline.counter_id: (3, 1)}
    assert (both.pipeline.parked(), both.parked()) == ([], [])


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_broken_message_is_parked_on_its_projections_dead_letter_queue(both, database):
    event = an_event(counter_id="good")

    both.project(["broken", message_body(event)])

    (parked,) = both.parked()
    attributes = {name: value["StringValue"] for name, value in parked["MessageAttributes"].items()}
    assert (parked["Body"], attributes["source"]) == ("broken", "SQL projection queue")
    assert attributes["reason"].startswith("the body is not JSON")
    assert both.pipeline.parked() == []
    assert database.counters() == fold([event])


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_broken_stream_record_is_parked_for_each_projection(both):
    record = stream_record(an_event())
    record["dynamodb"]["NewImage"]["version"] = {"N": "2"}

    both.pipeline.publish([record])

    bodies = [[json.loads(message["Body"]) for message in parked] for parked in (both.pipeline.parked(), both.parked())]
    assert bodies == [[record], [record]]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_broken_message_is_redelivered_if_parking_fails(both, database, engine):
    """Count the good messages of the batch before the function raises."""
    event = an_event(counter_id="good")
    inject_into_queue(engine, "-sql-projection-dead-letter", faults.drop_request)

    with pytest.raises(QueueUnavailableError):
        both.project(["broken", message_body(event)])
    engine.gate = faults.no_fault
    counted_meanwhile = database.counters()
    both.project(["broken", message_body(event)])

    assert counted_meanwhile == database.counters() == fold([event])
    assert [message["Body"] for message in both.parked()] == ["broken"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_only_messages_of_the_uncounted_counter_are_redelivered(both, database, answers_by_message):
    large = [an_event(counter_id="large", by=LARGEST_AMOUNT) for _ in range(1025)]
    read_model.count(large[:-1])
    bodies = [message_body(large[-1]), message_body(an_event(counter_id="small"))]

    redelivered = both.project(bodies)

    assert redelivered == bodies[:1]
    assert database.counters()["small"] == (1, 1)
    with pytest.raises(PartlyCountedError):
        both.project(redelivered)


def test_event_is_sent_to_one_queue_without_sql(new_pipeline, engine):
    operations = []

    def gate(attempt):
        operations.append(attempt.operation)
        return attempt.carry_out()

    pipeline = new_pipeline(0)
    pipeline.publish([stream_record(an_event())])  # the first send looks up the queue URL
    engine.gate = gate

    pipeline.publish([stream_record(an_event())])

    engine.gate = faults.no_fault
    assert operations == ["SendMessage"]
    assert settings.current().projections == (READ_MODEL,)
