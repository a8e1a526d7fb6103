"""
Throttling, outages and lost responses lead to a correct status, and to a correct total in the end.

Outages that affect one counter of a batch are in tests/resilience/test_failure_isolation.py.
"""

import pytest

from chalicelib.aws import dynamodb
from chalicelib.aws.dynamodb import UnwritableItemError
from chalicelib.aws.tables import CounterItem
from chalicelib.errors import ReadModelUnavailableError
from testkit import faults

pytestmark = pytest.mark.sample(1)


@pytest.mark.parametrize("fault", [faults.drop_request, faults.throttle])
def test_unreachable_log_is_503_and_a_keyed_retry_counts_once(pipeline, fault):
    with faults.inject("PutItem", fault, faults.ALWAYS):
        refused = pipeline.increment({"by": 3}, Idempotency_Key="k")

    accepted = pipeline.increment({"by": 3}, Idempotency_Key="k")
    pipeline.deliver()

    assert (refused.status, refused.headers["Content-Type"]) == (503, "application/problem+json")
    assert int(refused.headers["Retry-After"]) >= 1
    assert (accepted.status, pipeline.value, pipeline.version) == (202, 3, 1)


@pytest.mark.parametrize("headers", [{}, {"Idempotency_Key": "k"}])
def test_append_whose_response_is_lost_is_retried_and_accepted(pipeline, headers):
    with faults.inject("PutItem", faults.lose_answer):
        accepted = pipeline.increment({"by": 3}, **headers)

    pipeline.deliver()

    assert (accepted.status, pipeline.value, pipeline.version) == (202, 3, 1)


@pytest.mark.parametrize(
    ("operation", "wish"),
    [("TransactWriteItems", {"If_Match": '"0"'}), ("UpdateItem", {"Prefer": "return=representation"})],
)
def test_immediate_count_whose_response_is_lost_happens_once(pipeline, operation, wish):
    with faults.inject(operation, faults.lose_answer):
        answer = pipeline.increment({"by": 3}, **wish)

    pipeline.deliver()

    assert (answer.status, answer.body["value"], pipeline.value, pipeline.version) == (200, 3, 3, 1)


def test_append_that_conflicts_with_a_transaction_is_retried(pipeline):
    with faults.inject("PutItem", faults.conflict, times=3):
        accepted = pipeline.increment()

    pipeline.deliver()

    assert (accepted.status, pipeline.value) == (202, 1)


def test_increments_are_accepted_during_an_outage_of_the_read_model(pipeline):
    """Queries, swaps and add-and-gets are 503."""
    with faults.inject("Query", faults.throttle, faults.ALWAYS):
        unread = pipeline.counter()
        accepted = pipeline.increment()

    assert (unread.status, accepted.status) == (503, 202)
    assert "ThrottlingException" not in str(unread.body)


def test_swap_that_conflicts_at_every_attempt_is_503_and_not_recorded(pipeline):
    with faults.inject("TransactWriteItems", faults.cancel, faults.ALWAYS):
        swap = pipeline.increment(If_Match='"0"')

    assert swap.status == 503
    assert (pipeline.new_records(), pipeline.value) == ([], 0)


def test_add_and_get_that_conflicts_at_every_attempt_is_accepted(pipeline):
    """The preference is not honored; the stream delivers the event."""
    with faults.inject("UpdateItem", faults.conflict, faults.ALWAYS):
        accepted = pipeline.increment({"by": 2}, Prefer="return=representation")
    pipeline.deliver()

    assert (accepted.status, "Preference-Applied" in accepted.headers) == (202, False)
    assert (pipeline.value, pipeline.version) == (2, 1)


TOO_LARGE = {"Code": "ValidationError", "Message": "Item size to update has exceeded the maximum allowed size"}


@pytest.mark.parametrize(
    ("fault", "error", "cause"),
    [
        (faults.throttle, ReadModelUnavailableError, r"ThrottlingException: .*not now"),
        (faults.exceed_throughput, ReadModelUnavailableError, r"TransactionCanceledException: .*not now"),
        (faults.drop_request, ReadModelUnavailableError, r"ConnectTimeoutError: .*Connect timeout"),
        (faults.refuse("ExpiredTokenException"), ReadModelUnavailableError, r"ExpiredTokenException: .*not now"),
        (
            faults.refuse("TransactionCanceledException", CancellationReasons=[TOO_LARGE]),
            UnwritableItemError,
            "Item size to update has exceeded",
        ),
    ],
)
@pytest.mark.sample(5)
def test_failed_transaction_states_its_cause(pipeline, fault, error, cause):
    def commit():
        with dynamodb.transact(ReadModelUnavailableError) as transaction:
            for part in (0, 1):
                absent = CounterItem.counter_id.does_not_exist()
                transaction.condition_check(CounterItem, pipeline.counter_id, part, condition=absent)

    with faults.inject("TransactWriteItems", fault, faults.ALWAYS), pytest.raises(error, match=cause):
        commit()


def test_append_that_conflicts_with_transactions_each_time_is_503(pipeline):
    with faults.inject("PutItem", faults.conflict, faults.ALWAYS):
        answer = pipeline.increment()

    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
