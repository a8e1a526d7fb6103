"""The requests and units of an increment, from the command to the counter."""

import dataclasses
import json

import pytest

from benchmarks import store
from benchmarks.measure import environment, function_steps
from benchmarks.models import deployed
from benchmarks.models.steps import FunctionSteps
from benchmarks.report import cost_page
from chalicelib import event_log, publisher
from testkit import aws_requests
from testkit.builders import a_scheduled_turn, an_event, message_body, stream_batch, stream_record
from tests.pipeline import Pipeline

A_SECOND_MS = 1_700_000_000_000


@pytest.fixture
def reader():
    """Read items to price writes. These reads are not recorded."""
    return aws_requests.reader()


def test_an_append_is_one_request_and_one_unit(pipeline, reader):
    with aws_requests.record(reader=reader) as requests:
        pipeline.increment({"by": 1000}, Idempotency_Key="x" * 255)

    assert requests.operations == ["PutItem"]
    assert requests.write_units() == 1


@pytest.mark.parametrize("query", [Pipeline.counter, Pipeline.cached_counter])
@pytest.mark.parametrize("counted", [0, 1, 36, 500])
def test_a_query_is_one_request_and_one_unit(pipeline, counted, query):
    pipeline.count(*[an_event(counter_id=pipeline.counter_id) for _ in range(counted)])

    with aws_requests.record() as requests:
        answer = query(pipeline)

    assert answer.body["value"] == counted
    assert requests.operations == ["Query"]
    assert requests.read_units() == 1


def test_a_query_of_parts_is_one_request(pipeline, four_shards):
    pipeline.count(*[an_event(counter_id=pipeline.counter_id) for _ in range(100)])

    with aws_requests.record() as requests:
        answer = pipeline.counter()

    assert answer.body["value"] == 100
    assert requests.operations == ["Query"]
    assert requests.read_units() <= four_shards / 4


def test_a_badge_is_one_request_and_one_unit(pipeline):
    pipeline.increment(If_Match='"0"')

    with aws_requests.record() as requests:
        answer = pipeline.badge()

    assert "<title>" in answer.body
    assert requests.operations == ["Query"]
    assert requests.read_units() == 1


@pytest.mark.parametrize("counted", [True, False])
def test_the_status_of_a_recent_event_is_two_reads(pipeline, counted):
    event = an_event(counter_id=pipeline.counter_id)
    event_log.append(event)
    pipeline.count(*[event] * counted)

    with aws_requests.record() as requests:
        answer = pipeline.event(event.event_id)

    assert answer.body["status"] == ("counted" if counted else "pending")
    assert requests.operations == ["GetItem", "GetItem"]
    assert requests.read_units() == 2


@pytest.mark.parametrize("counted", [True, False])
def test_status_of_an_archived_or_late_event_takes_one_more_read(pipeline, counted):
    event = an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_SECOND_MS)
    event_log.append(event)
    others = [an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_SECOND_MS + n) for n in range(1, 100)]
    pipeline.count(*others, *[event] * counted)

    with aws_requests.record() as requests:
        answer = pipeline.event(event.event_id)

    assert answer.body["status"] == ("counted" if counted else "pending")
    assert requests.operations == ["GetItem", "GetItem", "Query"]
    assert requests.read_units() == 3


def test_a_lone_increment_costs_two_write_units_from_command_to_counter(pipeline, reader):
    """tests/resilience/test_steady_cost.py adds the increment's share of an archive page."""
    with aws_requests.record(reader=reader) as requests:
        pipeline.increment()
        pipeline.publish(pipeline.new_records())
        pipeline.project(pipeline.published())

    assert requests.operations == ["PutItem", "SendMessage", "UpdateItem"]
    assert requests.write_units() == 2
    assert pipeline.value == 1


def test_a_lone_late_increment_costs_a_refusal_and_a_transaction(pipeline, reader):
    pipeline.count(*[an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_SECOND_MS + n) for n in range(100)])

    with aws_requests.record(reader=reader) as requests:
        pipeline.count(an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_SECOND_MS))

    assert requests.operations == ["UpdateItem", "Query", "TransactWriteItems"]
    assert requests.write_units() <= 1 + 2 * 3 + 2


@pytest.mark.parametrize(
    ("size", "operations", "units"),
    [(10, ["UpdateItem"], 1), (36, ["UpdateItem"], 1), (100, ["GetItem", "TransactWriteItems"], 6)],
)
def test_a_batch_of_a_new_counter_is_one_write(pipeline, reader, size, operations, units):
    events = [an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_SECOND_MS + n) for n in range(size)]

    with aws_requests.record(reader=reader) as requests:
        pipeline.project([message_body(event) for event in events])

    assert requests.operations == operations
    assert requests.write_units() == units
    assert pipeline.value == size


def test_a_redelivered_event_costs_no_write(pipeline, reader):
    body = message_body(an_event(counter_id=pipeline.counter_id))
    pipeline.project([body])

    with aws_requests.record(reader=reader) as requests:
        pipeline.project([body], received=2)

    assert requests.operations == ["GetItem"]
    assert requests.write_units() == 0


def test_duplicate_that_is_new_to_sqs_costs_one_refused_write(pipeline, reader):
    """If a redelivery of the stream sends a message again, it is a new message for SQS."""
    body = message_body(an_event(counter_id=pipeline.counter_id))
    pipeline.project([body])

    with aws_requests.record(reader=reader) as requests:
        pipeline.project([body])

    assert requests.operations == ["UpdateItem"]
    assert requests.write_units() == 1


def test_an_add_and_get_is_two_requests_and_two_units(pipeline, reader):
    with aws_requests.record(reader=reader) as requests:
        answer = pipeline.increment(Prefer="return=representation")

    assert answer.status == 200
    assert requests.operations == ["PutItem", "UpdateItem"]
    assert requests.write_units() == 2


def test_a_swap_is_a_read_and_a_transaction(pipeline, reader):
    with aws_requests.record(reader=reader) as requests:
        pipeline.increment(If_Match='"0"')

    assert requests.operations == ["Query", "TransactWriteItems"]
    assert requests.write_units() == 4


def test_a_swap_on_parts_checks_each_of_them_for_two_units(pipeline, reader, four_shards):
    with aws_requests.record(reader=reader) as requests:
        pipeline.increment(If_Match='"0"')

    assert requests.operations == ["Query", "TransactWriteItems"]
    assert requests.write_units() == 2 + 2 * four_shards


def test_a_refused_swap_costs_one_read(pipeline, reader):
    with aws_requests.record(reader=reader) as requests:
        pipeline.increment(If_Match='"3"')

    assert requests.operations == ["Query"]
    assert requests.write_units() == 0


def test_an_adjustment_is_two_reads_and_a_transaction(pipeline, reader):
    from chalicelib import command_handlers
    from chalicelib.domain.commands import Adjust

    with aws_requests.record(reader=reader) as requests:
        command_handlers.adjust(Adjust(pipeline.counter_id, "k", "a test", "ann", by=5))

    assert requests.operations == ["GetItem", "Query", "TransactWriteItems"]
    assert requests.write_units() == 4


def test_a_thousand_stream_records_are_one_message(pipeline):
    records = [stream_record(an_event(counter_id=pipeline.counter_id)) for _ in range(1000)]

    with aws_requests.record() as requests:
        publisher.publish(stream_batch(records))

    assert requests.operations == ["SendMessage"]


def test_a_history_of_a_day_with_an_event_every_minute_is_two_requests(pipeline):
    pipeline.count(
        *[an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_SECOND_MS + n * 60_000) for n in range(1440)]
    )

    with aws_requests.record() as requests:
        answer = pipeline.history(from_="2023-11-14T22:13:20Z", to="2023-11-15T22:13:20Z")

    assert len(answer.body["points"]) == 1440
    assert requests.operations == ["Query", "Query"]
    assert requests.read_units() <= 10


@pytest.mark.parametrize("each_ms", [1, 1000, 10**6])
def test_page_of_events_costs_little_even_if_they_are_spread_out(pipeline, each_ms):
    """The query reads the entries, and then the events with eventually consistent reads, at half a unit each."""
    pipeline.record(
        *[an_event(counter_id=pipeline.counter_id, recorded_at_ms=A_SECOND_MS + n * each_ms) for n in range(200)]
    )
    cursor = pipeline.events(limit=100).body["next_cursor"]

    with aws_requests.record() as requests:
        answer = pipeline.events(limit=50, cursor=cursor)

    assert len(answer.body["events"]) == 50
    assert requests.operations == ["Query", "Query", "BatchGetItem"]
    assert requests.read_units() <= 2 + 50 / 2


@pytest.mark.exhaustive
@pytest.mark.no_cover
def test_inputs_of_the_cost_table_equal_the_measurements(pipeline):
    stored = deployed.read_costs().measured

    now = FunctionSteps.load(function_steps.measure_steps(repeats=1))

    assert now.event_bytes == stored.event_bytes
    assert now.alternative_message_bytes == stored.alternative_message_bytes
    assert now.steps.keys() == stored.steps.keys()
    for name, step in now.steps.items():
        assert dataclasses.replace(step, cpu_ms=0) == dataclasses.replace(stored.steps[name], cpu_ms=0), name


@pytest.mark.exhaustive
@pytest.mark.no_cover
def test_stored_bytes_of_fronts_equal_the_measurements():
    """Measure in a separate process, because the application reads its fronts only once."""
    now = environment.run_in_process(environment.measure_section, "fronts", True)

    stored = store.read()["fronts"]["raw"]
    assert now["bytes"] == stored["bytes"]
    assert now["cpu"].keys() == stored["cpu"].keys()


@pytest.mark.exhaustive
@pytest.mark.no_cover
def test_hourly_check_writes_the_metrics_that_the_cost_table_states(pipeline, capsys):
    import app

    app.check(a_scheduled_turn(), None)

    (written,) = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" in line]
    (metrics,) = written["_aws"]["CloudWatchMetrics"]
    assert len(metrics["Metrics"]) == cost_page.METRICS_OF_THE_CHECK
