"""A state machine whose model is a dict: whatever clients, the platform and operators do, in whatever order."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests import faults
from tests.building import stream_record
from tests.proof.conftest import pipeline_on
from tests.proof.invariant import Watcher

if TYPE_CHECKING:
    from tests.proof.engine import Engine

amounts = st.integers(1, 1000)
keys = st.sampled_from(["a", "b", "c"])
crashes = st.sampled_from([faults.dies_before, faults.dies_after])


class Machine(RuleBasedStateMachine):
    """The model: `log`, event id to amount; `keyed`, key to event id. The rest is what is on its way."""

    engine: Engine

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed):
        self.pipeline = pipeline_on(self.engine, seed)
        self.watcher = Watcher(self.engine.client, self.pipeline.counter_id)
        self.chance = random.Random(seed)
        self.log: dict[str, int] = {}
        self.keyed: dict[str, str] = {}
        self.on_stream: list[Any] = []
        self.on_queue: list[str] = []
        self.parked: list[str] = []
        self.poison = 0

    def note(self, answer, by):
        event_id = answer.headers["Location"].rpartition("/")[2]
        assert self.log.setdefault(event_id, by) == by
        self.watcher.acknowledged.append(event_id)
        self.on_stream += self.pipeline.new_records()
        return event_id

    @rule(by=amounts)
    def increment(self, by):
        answer = self.pipeline.increment({"by": by})

        assert answer.status == 202
        self.note(answer, by)

    @rule(key=keys, by=st.integers(1, 3), wish=st.booleans())
    def increment_with_a_key(self, key, by, wish):
        headers = {"Prefer": "return=representation"} if wish else {}
        answer = self.pipeline.increment({"by": by}, Idempotency_Key=key, **headers)

        if key in self.keyed and self.log[self.keyed[key]] != by:
            assert answer.status == 422
            return
        assert answer.status in (200, 202)
        assert (answer.headers.get("Idempotency-Replayed") == "true") is (key in self.keyed)
        assert self.keyed.setdefault(key, self.note(answer, by)) == self.note(answer, by)

    @rule(by=amounts, version=st.integers(0, 4))
    def swap(self, by, version):
        before = self.pipeline.version

        answer = self.pipeline.increment({"by": by}, If_Match=f'"{version}"')

        assert answer.status == (200 if version == before else 412)
        if answer.status == 200:
            self.note(answer, by)
            assert answer.headers["ETag"] == f'"{before + 1}"'

    @precondition(lambda self: self.on_stream)
    @rule(data=st.data())
    def publish_a_part(self, data):
        part = data.draw(st.lists(st.sampled_from(range(len(self.on_stream))), min_size=1, max_size=6))
        self.pipeline.publish([self.on_stream[index] for index in part])
        self.on_queue += self.pipeline.published()

    @precondition(lambda self: self.on_queue)
    @rule(data=st.data(), times=st.integers(1, 3))
    def deliver_some(self, data, times):
        some = data.draw(st.lists(st.sampled_from(self.on_queue), min_size=1, max_size=4))
        for _ in range(times):
            self.pipeline.project(some)
            self.chance.shuffle(some)

    @precondition(lambda self: self.on_queue)
    @rule(crash=crashes, operation=st.sampled_from(["BatchGetItem", "TransactWriteItems"]))
    def crash_while_projecting(self, crash, operation):
        self.with_crash(crash, operation, lambda: self.pipeline.project(self.on_queue[-3:]))

    @precondition(lambda self: self.on_stream)
    @rule(crash=crashes)
    def crash_while_publishing(self, crash):
        self.with_crash(crash, "SendMessage", lambda: self.pipeline.publish(self.on_stream[-3:]))
        self.on_queue += self.pipeline.published()

    @rule(crash=crashes, key=keys)
    def crash_in_a_command_and_send_it_again(self, crash, key):
        by = self.log[self.keyed[key]] if key in self.keyed else 2
        self.with_crash(crash, "PutItem", lambda: self.pipeline.increment({"by": by}, Idempotency_Key=key))
        answer = self.pipeline.increment({"by": by}, Idempotency_Key=key)

        assert answer.status == 202
        assert self.keyed.setdefault(key, self.note(answer, by)) == self.note(answer, by)

    @rule(where=st.sampled_from(["stream", "queue"]))
    def poison_arrives(self, where):
        self.poison += 1
        if where == "stream":
            self.pipeline.publish([{"eventName": "REMOVE", "number": self.poison}, *self.on_stream[-1:]])
            self.on_queue += self.pipeline.published()
        else:
            self.pipeline.project([f"poison {self.poison}", *self.on_queue[-1:]])
        (parked,) = self.pipeline.parked()
        assert parked["MessageAttributes"]["reason"]["StringValue"]
        self.parked.append(parked["Body"])

    @precondition(lambda self: self.parked)
    @rule()
    def redrive(self):
        self.pipeline.project([self.parked.pop()])
        (again,) = self.pipeline.parked()
        self.parked.append(again["Body"])

    @precondition(lambda self: self.log)
    @rule()
    def replay(self):
        images = self.watcher.events()
        self.pipeline.publish([{"eventName": "INSERT", "dynamodb": {"NewImage": image}} for image in images])
        self.on_queue += self.pipeline.published()

    @invariant()
    def nothing_is_ever_too_much(self):
        if hasattr(self, "watcher"):
            self.watcher.check_meanwhile()

    def teardown(self):
        if hasattr(self, "watcher"):
            self.pipeline.publish(self.on_stream)
            self.pipeline.deliver()
            self.watcher.check_in_the_end()
            assert {event["event_id"]["S"]: int(event["by"]["N"]) for event in self.watcher.events()} == self.log
            assert self.pipeline.value == sum(self.log.values())

    def with_crash(self, crash, operation, work):
        self.engine.gate = lambda attempt: crash(attempt) if attempt.operation == operation else attempt.carry_out()
        try:
            work()
        except faults.DiedError:
            pass
        finally:
            self.engine.gate = faults.carried_out


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_whatever_happens_the_model_and_the_tables_agree(engine):
    Machine.engine = engine

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_a_record_as_the_builder_makes_it_is_as_the_stream_brings_it(new_pipeline):
    from chalicelib import codec

    pipeline = new_pipeline(0)
    pipeline.increment({"by": 7})
    (record,) = pipeline.new_records()

    built = stream_record(codec.from_stream_record(record))

    assert json.dumps(built["dynamodb"]["NewImage"], sort_keys=True) == json.dumps(
        record["dynamodb"]["NewImage"], sort_keys=True
    )
