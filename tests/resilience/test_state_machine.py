"""A state machine of clients, platform and operators, whose model is a dict."""

import json
import random
import re
import uuid
from typing import Any

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

from chalicelib import codec
from chalicelib import settings as application_settings
from chalicelib.domain.archive import RECENT_MAX
from testkit import faults
from testkit.builders import A_TIME_MS, an_event, stream_record
from testkit.engine import Engine
from tests.resilience.conftest import make_pipeline
from tests.resilience.invariant import Watcher

RUNS = 60
STEPS = 25

amounts = st.integers(1, 1000)
keys = st.sampled_from(["a", "b", "c"])
crashes = st.sampled_from([faults.die_before, faults.die_after])

#: A version of our event that only newer code reads.
NEWER = ("Incremented", 3)
_IS_NEWER = re.compile(r'"version": ?(3|\{"N": ?"3"\})')


class Machine(RuleBasedStateMachine):
    """
    The model: `log` maps event ids to amounts, and `keyed` maps keys to event ids. The lists have messages.

    Newer code may use the same log, and may be deployed here or rolled back at any time.
    """

    engine: Engine

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed):
        self.pipeline = make_pipeline(self.engine, seed)
        self.watcher = Watcher(self.engine.client, self.pipeline.counter_id)
        self.chance = random.Random(seed)
        self.log: dict[str, int] = {}
        self.keyed: dict[str, str] = {}
        self.on_stream: list[Any] = []
        self.on_queue: list[str] = []
        self.parked: list[str] = []
        self.poison = 0
        self.deploy(newer=False)

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

    @rule(size=st.sampled_from([5, RECENT_MAX, RECENT_MAX + 9]), spread_ms=st.sampled_from([1, 100, 100_000]))
    def many_were_recorded_a_while_ago(self, size, spread_ms):
        """Record enough events for archive pages, and for late events in these pages."""
        events = [
            an_event(
                counter_id=self.pipeline.counter_id,
                event_id=str(uuid.UUID(int=self.chance.getrandbits(128))),
                by=self.chance.randint(1, 1000),
                recorded_at_ms=A_TIME_MS + self.chance.randrange(spread_ms),
            )
            for _ in range(size)
        ]
        self.pipeline.log(events)
        self.log |= {event.event_id: event.by for event in events}
        self.on_stream += self.pipeline.new_records()

    @rule(by=amounts)
    def newer_code_records(self, by):
        event_id = self.put_newer(by)

        (record,) = self.pipeline.new_records()
        assert record["dynamodb"]["Keys"]["event_id"]["S"] == event_id
        self.on_stream.append(record)

    @precondition(lambda self: self.log)
    @rule(data=st.data(), by=amounts)
    def newer_code_sends_a_message_that_is_good_in_part(self, data, by):
        newer = self.put_newer(by)
        self.on_stream += self.pipeline.new_records()
        entries = [self.as_in_a_message(image) for image in self.events()]
        others = [entry for entry in entries if entry["event_id"] != newer]
        some = [
            *data.draw(st.lists(st.sampled_from(others), max_size=3)),
            *(entry for entry in entries if entry["event_id"] == newer),
        ]
        self.chance.shuffle(some)
        body = json.dumps({"version": 1, "events": some})

        self.project([body])
        self.on_queue.append(body)

    @rule(newer=st.booleans())
    def deploy(self, newer):
        if newer:
            codec._DECODERS[NEWER] = codec._DECODERS["Incremented", 1]
        else:
            codec._DECODERS.pop(NEWER, None)

    @precondition(lambda self: self.on_stream)
    @rule(data=st.data())
    def publish_a_part(self, data):
        part = data.draw(st.lists(st.sampled_from(range(len(self.on_stream))), min_size=1, max_size=6))
        self.publish([self.on_stream[index] for index in part])

    @precondition(lambda self: self.on_queue)
    @rule(data=st.data(), times=st.integers(1, 3))
    def deliver_some(self, data, times):
        some = data.draw(st.lists(st.sampled_from(self.on_queue), min_size=1, max_size=4))
        for _ in range(times):
            self.project(some)
            self.chance.shuffle(some)

    @precondition(lambda self: self.on_queue)
    @rule(crash=crashes, operation=st.sampled_from(["UpdateItem", "GetItem", "TransactWriteItems"]))
    def crash_while_projecting(self, crash, operation):
        self.with_crash(crash, operation, lambda: self.pipeline.project(self.on_queue[-3:]))

    @precondition(lambda self: self.on_stream)
    @rule(crash=crashes)
    def crash_while_publishing(self, crash):
        self.with_crash(crash, "SendMessage", lambda: self.pipeline.publish(self.on_stream[-3:]))

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
            self.publish([{"eventName": "REMOVE", "poison": self.poison}, *self.on_stream[-1:]])
        else:
            self.project([f"poison {self.poison}", *self.on_queue[-1:]])

    @rule(crash=crashes, where=st.sampled_from(["stream", "queue"]))
    def crash_while_parking_and_deliver_it_again(self, crash, where):
        self.poison += 1
        neighbours: list[Any] = self.on_stream[-2:] if where == "stream" else self.on_queue[-2:]
        if where == "stream":
            batch: list[Any] = [{"eventName": "REMOVE", "poison": self.poison}, *neighbours]
            # Events that their own commands count are sent in a separate message.
            understood = [record for record in neighbours if self.is_understood(json.dumps(record, default=repr))]
            sent = len({codec.is_likely_counted(record) for record in understood})
        else:
            batch, sent = [f"poison {self.poison}", *neighbours], 0
        work: Any = self.pipeline.publish if where == "stream" else self.pipeline.project
        on_queue = len(self.on_queue)
        known = self.understood_in(batch) if where == "queue" else set()

        self.with_crash(crash, "SendMessage", lambda: work(batch), of="dead-letter")

        # The good records or messages were published or counted first.
        assert self.watcher.counted() >= known
        assert len(self.on_queue) == on_queue + sent
        if where == "stream":
            self.publish(batch)
        else:
            self.project(batch)

    @precondition(lambda self: self.parked)
    @rule(data=st.data())
    def redrive(self, data):
        body = self.parked.pop(data.draw(st.integers(0, len(self.parked) - 1)))

        self.project([body])

    @precondition(lambda self: any("poison" not in body for body in self.parked))
    @rule()
    def mend_and_redrive(self):
        mended = [body for body in self.parked if "poison" not in body]
        self.parked = [body for body in self.parked if "poison" in body]
        self.deploy(newer=True)

        for body in mended:
            self.project([body])

        assert self.watcher.counted() >= self.understood_in(mended)

    @precondition(lambda self: self.log)
    @rule()
    def replay(self):
        images = self.events()
        self.publish([{"eventName": "INSERT", "dynamodb": {"NewImage": image}} for image in images])

    @invariant()
    def nothing_is_ever_too_much(self):
        if hasattr(self, "watcher"):
            self.watcher.check_between_requests()

    def teardown(self):
        try:
            if hasattr(self, "watcher"):
                self.deliver_everything()
        finally:
            self.deploy(newer=False)

    def deliver_everything(self):
        self.deploy(newer=True)
        self.publish(self.on_stream)
        redriven, self.parked = self.parked, []
        self.project(redriven)
        self.project(self.on_queue)
        self.pipeline.deliver()

        self.watcher.check_in_the_end()
        assert {event["event_id"]["S"]: int(event["by"]["N"]) for event in self.watcher.events()} == self.log
        assert self.pipeline.value == sum(self.log.values())
        assert all("poison" in body for body in self.parked)

    def publish(self, records):
        """Publish the records, without an error. Good records are on the queue, and the others are parked once."""
        self.pipeline.publish(records)
        texts = [json.dumps(record, default=repr) for record in records]
        assert self.collect() == [text for text in texts if not self.is_understood(text)]

    def project(self, bodies):
        """Project the messages, without an error. Good events are counted, and invalid messages are parked once."""
        before = self.watcher.counted()
        self.pipeline.project(bodies)
        assert self.collect() == [body for body in bodies if not self.is_understood(body)]
        assert self.watcher.counted() == before | self.understood_in(bodies)

    def collect(self):
        """Take what the functions have sent and return what they have parked."""
        parked = self.pipeline.parked()
        assert all(message["MessageAttributes"]["reason"]["StringValue"] for message in parked)
        bodies = [message["Body"] for message in parked]
        self.parked += bodies
        self.on_queue += self.pipeline.published()
        return bodies

    def is_understood(self, text):
        """Check whether the deployed code understands the whole record or message."""
        return "poison" not in text and (NEWER in codec._DECODERS or not _IS_NEWER.search(text))

    def understood_in(self, bodies):
        """Return the ids of the events in these messages that the deployed code understands."""
        found = [json.loads(body) for body in bodies if "poison" not in body]
        entries = [entry for message in found for entry in message.get("events", [])]
        entries += [self.as_in_a_message(record["dynamodb"]["NewImage"]) for record in found if "eventName" in record]
        return {entry["event_id"] for entry in entries if self.is_understood(json.dumps(entry))}

    def events(self):
        """Return the log in the order of the model, because ids differ in each run."""
        order = list(self.log)
        return sorted(self.watcher.events(), key=lambda image: order.index(image["event_id"]["S"]))

    def as_in_a_message(self, image):
        integers = {name: int(typed["N"]) for name, typed in image.items() if "N" in typed}
        texts = {name: typed["S"] for name, typed in image.items() if "S" in typed}
        return {"counter_id": texts.pop("partition"), **texts, **integers}

    def put_newer(self, by):
        """Put an event into the log as newer code writes it."""
        event_id = str(uuid.UUID(int=self.chance.getrandbits(128)))
        self.engine.client("dynamodb").put_item(
            TableName=application_settings.current().event_log_table,
            Item={
                "partition": {"S": self.pipeline.counter_id},
                "event_id": {"S": event_id},
                "type": {"S": NEWER[0]},
                "version": {"N": str(NEWER[1])},
                "by": {"N": str(by)},
                "recorded_at": {"N": str(A_TIME_MS)},
            },
        )
        self.log[event_id] = by
        return event_id

    def with_crash(self, crash, operation, work, of=""):
        """Let the function die at its first request of this kind. Messages that it sent before remain on the queues."""

        def gate(attempt):
            is_meant = attempt.operation == operation and of.encode() in attempt.request.body
            return crash(attempt) if is_meant else attempt.carry_out()

        self.engine.gate = gate
        try:
            work()
        except faults.DiedError:
            pass
        finally:
            self.engine.gate = faults.no_fault
        self.collect()


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
@pytest.mark.parametrize("runs", [5, pytest.param(RUNS, marks=pytest.mark.exhaustive)])
def test_model_and_tables_agree_after_any_steps(engine, runs):
    Machine.engine = engine

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=runs, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_stream_record_of_the_builder_equals_a_real_one(pipeline):
    pipeline.increment({"by": 7})
    (record,) = pipeline.new_records()

    built = stream_record(codec.decode_stream_record(record))

    assert json.dumps(built["dynamodb"]["NewImage"], sort_keys=True) == json.dumps(
        record["dynamodb"]["NewImage"], sort_keys=True
    )
