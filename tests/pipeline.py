"""The application's functions in this process. The tests move the messages between them."""

import json
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import boto3

import app
from chalicelib import codec, event_log, settings
from chalicelib.api import formats
from chalicelib.domain.events import Event
from testkit.builders import a_counter_id, api_event, log_items, queue_batch, received_record, stream_batch


@dataclass
class Answer:
    """A response to a client."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass
class Pipeline:
    """
    Command, publish and project. The test moves the messages between them.

    `deliver` is hostile: at both hops every message arrives one to four times, shuffled, in batches of any size.
    `context` is Lambda's context of the running function.
    """

    queue_url: str
    dead_letter_url: str
    stream_arn: str
    chance: random.Random
    counter_id: str = field(default_factory=a_counter_id)
    client: Any = boto3.client
    context: Any = None

    def __post_init__(self) -> None:
        self._sqs = self.client("sqs")
        self._streams = self.client("dynamodbstreams")
        self._iterator = self._end_of_stream()
        self.drain(self.queue_url)
        self.drain(self.dead_letter_url)

    def send(self, method: str, resource: str, **parts: Any) -> Answer:
        """Send one request as the gateway's event, and return the response."""
        path = {"counter_id": self.counter_id, **parts.pop("path", {})}
        answer = app.app(api_event(method, resource, path=path, **parts), self.context)
        body = answer["body"]
        is_json = "json" in answer["headers"].get("Content-Type", "application/json")
        return Answer(answer["statusCode"], answer["headers"], json.loads(body) if is_json and body else body)

    def increment(self, body: Any = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send("POST", "/counters/{counter_id}/increments", body=body, headers=sent)

    def counter(self, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send("GET", "/counters/{counter_id}", headers=sent)

    def cached_counter(self, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send("GET", "/counters/{counter_id}/cached", headers=sent)

    def counter_at(self, at: Any, **headers: str) -> Answer:
        """Get the counter's past state. `at` is its time, as text or as milliseconds since 1970."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        text = formats.format_time(at) if isinstance(at, int) else at
        return self.send("GET", "/counters/{counter_id}", query=_query({"at": text}), headers=sent)

    def badge(self, **query: Any) -> Answer:
        return self.send("GET", "/counters/{counter_id}/badge.svg", query=_query(query))

    def event(self, event_id: str) -> Answer:
        return self.send("GET", "/counters/{counter_id}/events/{event_id}", path={"event_id": event_id})

    def events(self, **query: Any) -> Answer:
        return self.send("GET", "/counters/{counter_id}/events", query=_query(query))

    def history(self, **query: Any) -> Answer:
        return self.send("GET", "/counters/{counter_id}/history", query=_query(query))

    def event_pages(self, limit: int, between: Callable[[], object] = lambda: None) -> Iterator[list[str]]:
        """Get the ids on each page of the events, and call `between` after each page but the last."""
        for page in self._pages("/counters/{counter_id}/events", "events", limit, between):
            yield [event["event_id"] for event in page]

    def list_counters(self, limit: int) -> dict[str, int]:
        """Get all pages of counters, and return the versions by id. Check that no counter is listed twice."""
        counters = [each for page in self._pages("/counters", "counters", limit) for each in page]
        versions = {counter["counter_id"]: counter["version"] for counter in counters}
        assert len(versions) == len(counters)
        return versions

    def _pages(
        self, resource: str, member: str, limit: int, between: Callable[[], object] = lambda: None
    ) -> Iterator[Any]:
        cursor = None
        for _ in range(1_000):
            answer = self.send("GET", resource, query=_query({"limit": limit, "cursor": cursor}))
            assert answer.status == 200
            assert len(answer.body[member]) <= limit
            yield answer.body[member]
            cursor = answer.body["next_cursor"]
            if cursor is None:
                return
            between()
        raise AssertionError("the pages do not end")

    @property
    def value(self) -> int:
        return int(self.counter().body["value"])

    @property
    def version(self) -> int:
        return int(self.counter().body["version"])

    def new_records(self) -> list[dict[str, Any]]:
        """Return the log's new stream records, as `publish` would receive them."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self._streams.get_records(ShardIterator=self._iterator)
            self._iterator = answer["NextShardIterator"]
            if not answer["Records"]:
                return found
            found += [{**record, "eventSourceARN": self.stream_arn} for record in answer["Records"]]

    def publish(self, records: list[Any]) -> None:
        app.publish(stream_batch(records), self.context)

    def project(self, bodies: list[Any], received: int = 1) -> list[Any]:
        """Deliver these bodies for the `received`-th time, and return those that the queue would deliver again."""
        batch = queue_batch(bodies, received)
        answer = app.project(batch, self.context)
        again = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        return [record["body"] for record in batch["Records"] if record["messageId"] in again]

    def project_messages(self, messages: list[dict[str, Any]]) -> None:
        """Deliver these messages of the projection queue, with their attributes, for the first time."""
        app.project({"Records": [received_record(message) for message in messages]}, self.context)

    def published(self) -> list[str]:
        """Take all messages from the projection queue and return their bodies."""
        return [message["Body"] for message in self.drain(self.queue_url)]

    def parked(self) -> list[dict[str, Any]]:
        """Take all messages from the dead-letter queue."""
        return self.drain(self.dead_letter_url)

    def deliver(self) -> None:
        """Publish and project the events recorded since the last call, with hostile delivery."""
        for records in self._hostile(self.new_records()):
            self.publish(records)
        for messages in self._hostile(self.drain(self.queue_url)):
            self.project_messages(messages)

    def count(self, *events: Event) -> None:
        """Deliver these events to `project` in one batch."""
        self.project(list(codec.encode_bodies(events)))

    def record(self, *events: Event) -> None:
        """Append these events to the log and count them."""
        for event in events:
            event_log.append(event)
        self.count(*events)

    def log(self, events: Sequence[Event]) -> None:
        """Put these events into the log, as commands leave them, in few requests. The stream delivers them later."""
        puts = [{"PutRequest": {"Item": item}} for item in log_items(events)]
        for start in range(0, len(puts), 25):
            request = {settings.current().event_log_table: puts[start : start + 25]}
            assert not self.client("dynamodb").batch_write_item(RequestItems=request)["UnprocessedItems"]

    def drain(self, queue_url: str) -> list[dict[str, Any]]:
        found: list[Any] = []
        while messages := self._sqs.receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            for message in messages:
                self._sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            found += messages
        return found

    def _hostile(self, things: list[Any]) -> Iterator[list[Any]]:
        copies = [thing for thing in things for _ in range(self.chance.randint(1, 4))]
        self.chance.shuffle(copies)
        while copies:
            size = self.chance.randint(1, len(copies))
            batch, copies = copies[:size], copies[size:]
            yield batch

    def _end_of_stream(self) -> str:
        (shard,) = self._streams.describe_stream(StreamArn=self.stream_arn)["StreamDescription"]["Shards"]
        answer = self._streams.get_shard_iterator(
            StreamArn=self.stream_arn, ShardId=shard["ShardId"], ShardIteratorType="LATEST"
        )
        return str(answer["ShardIterator"])


def _query(parameters: dict[str, Any]) -> dict[str, list[str]] | None:
    """Return query parameters. `from_` means `from`; a parameter of None is omitted."""
    return {name.rstrip("_"): [str(value)] for name, value in parameters.items() if value is not None} or None


def newest_first(events: Iterable[Event]) -> list[str]:
    """Return the ids in the order of a list of events."""
    return [event.event_id for event in sorted(events, key=lambda e: (e.recorded_at_ms, e.event_id), reverse=True)]


def run_concurrently(workers, work):
    """Call `work` in this number of threads at the same time, and return the results."""
    together = threading.Barrier(workers)

    def begin(number):
        together.wait()
        return work(number)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(begin, range(workers)))
