"""Exactly-once counting in the deployed system, with concurrent clients and repeated deliveries."""

import itertools
import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest

from testkit.builders import message_body, stream_batch, stream_record
from tests import warm_up
from tests.e2e.conftest import eventually


def with_clients(new_client, count, work):
    """Call `work` for this number of clients at the same time, and return the results."""
    clients = [new_client() for _ in range(count)]
    # Otherwise, the test's requests would wait while this many processes start at once.
    warm_up.start_processes(f"{clients[0].http.base_url}".rstrip("/"), count)
    together = threading.Barrier(count)

    def begin(number):
        together.wait()
        return work(clients[number], number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def logged(counter_id):
    """Return the counter's events as the log stores them, in DynamoDB's JSON."""
    pages = boto3.client("dynamodb").get_paginator("query")
    found = pages.paginate(
        TableName="counter-local-event-log",
        KeyConditionExpression="#p = :c",
        ExpressionAttributeNames={"#p": "partition"},
        ExpressionAttributeValues={":c": {"S": counter_id}},
        ConsistentRead=True,
    )
    return [item for page in found for item in page["Items"]]


@pytest.mark.exhaustive
@pytest.mark.parametrize("counters", [1, 50])
def test_four_clients_with_250_increments_each_make_exact_totals(new_client, client, counter_id, counters):
    names = [f"{counter_id}.{n}" for n in range(counters)]

    def work(one, number):
        chance = random.Random(number)
        sent = [(chance.choice(names), chance.randint(1, 9)) for _ in range(250)]
        assert {one.increment(name, by).status_code for name, by in sent} == {202}
        return sent

    sent = list(itertools.chain.from_iterable(with_clients(new_client, 4, work)))

    totals = {name: sum(by for to, by in sent if to == name) for name in names}
    numbers = {name: sum(1 for to, _ in sent if to == name) for name in names}
    eventually(lambda: sum(client.counter(name)["version"] for name in names) >= 1000)
    assert {name: client.counter(name)["value"] for name in names} == totals
    assert {name: client.counter(name)["version"] for name in names} == numbers


@pytest.mark.exhaustive
def test_one_key_sent_fifty_times_by_ten_clients_is_one_event(new_client, client, counter_id):
    answers = with_clients(
        new_client, 10, lambda one, _: [one.increment(counter_id, 3, Idempotency_Key="click 1") for _ in range(5)]
    )

    flat = list(itertools.chain.from_iterable(answers))
    assert {answer.status_code for answer in flat} == {202}
    assert len({answer.text for answer in flat}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in flat) == 1
    eventually(lambda: client.counter(counter_id)["version"] > 0)
    assert client.increment(counter_id, 4, Idempotency_Key="click 1").status_code == 422
    assert len(logged(counter_id)) == 1
    assert (client.counter(counter_id)["value"], client.counter(counter_id)["version"]) == (3, 1)


@pytest.mark.exhaustive
def test_one_of_twenty_clients_swapping_from_one_version_wins(new_client, client, counter_id):
    client.increment(counter_id, 5, If_Match='"0"')

    answers = with_clients(new_client, 20, lambda one, n: one.increment(counter_id, n + 1, If_Match='"1"'))

    winners = [answer for answer in answers if answer.status_code == 200]
    assert len(winners) == 1
    assert {answer.status_code for answer in answers} == {200, 412}
    assert client.counter(counter_id) == winners[0].json()
    assert client.counter(counter_id)["version"] == 2
    assert len(logged(counter_id)) == 2


def test_concurrent_swaps_and_plain_increments_add_up(new_client, client, counter_id):
    def work(one, number):
        if number % 2:
            return [one.increment(counter_id, 1).status_code for _ in range(20)]
        return [one.increment(counter_id, 1, Prefer="return=representation").status_code for _ in range(20)]

    codes = list(itertools.chain.from_iterable(with_clients(new_client, 4, work)))

    assert set(codes) <= {200, 202}
    eventually(lambda: client.counter(counter_id)["version"] >= 80)
    assert (client.counter(counter_id)["value"], client.counter(counter_id)["version"]) == (80, 80)


def test_messages_and_stream_batches_delivered_again_change_nothing(client, operator, counter_id):
    for by in range(1, 21):
        client.increment(counter_id, by)
    eventually(lambda: client.counter(counter_id)["version"] == 20)
    before = client.counter(counter_id)
    records = [{"eventName": "INSERT", "dynamodb": {"NewImage": item}} for item in logged(counter_id)]

    for part in (records[:7], records[5:], records[::-1], records[3:4]):
        operator.invoke_publish(json.dumps(stream_batch(part)))
    last = client.increment(counter_id, 1).json()["event_id"]
    eventually(lambda: client.counter(counter_id)["version"] == 21)

    assert client.counter(counter_id)["value"] == before["value"] + 1
    assert client.http.get(f"/counters/{counter_id}/events/{last}").json()["status"] == "counted"


def test_broken_message_is_parked_and_the_good_ones_are_counted(client, operator, counter_id, an_event_of):
    good = [an_event_of(counter_id, by) for by in (1, 2, 4)]
    broken = f'{{"version":1,"events":[{{"type":"Vanished","counter_id":"{counter_id}"}}]}}'

    operator.send(message_body(good[0]), broken, message_body(good[1], good[1]), message_body(*good))

    def found():
        return [message for message in operator.parked() if message["Body"] == broken]

    eventually(lambda: client.counter(counter_id)["version"] == 3 and len(found()) == 1)
    assert client.counter(counter_id)["value"] == 7
    assert found()[0]["MessageAttributes"]["reason"]["StringValue"] == (
        "unknown event type or version: 'Vanished' None"
    )


def test_broken_stream_record_does_not_block_others(client, operator, counter_id, an_event_of):
    good = an_event_of(counter_id, 2)

    operator.invoke_publish(json.dumps(stream_batch([{"eventName": "REMOVE", "of": counter_id}, stream_record(good)])))

    eventually(lambda: client.counter(counter_id)["value"] == 2)
    assert [counter_id in message["Body"] for message in operator.parked()].count(True) == 1
