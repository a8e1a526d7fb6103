"""The whole system on its own embedded AWS, with faults, and its operator."""

import contextlib
import functools
import io
import json
from dataclasses import dataclass, field
from typing import Any

import boto3

from chalicelib import settings
from ops import stages
from ops.deployment import provision, stacks
from ops.local import stack
from tests.e2e.conftest import eventually
from tests.resilience.chaos import Chaos
from tests.resilience.invariant import Watcher

#: These settings differ from the template, so that redeliveries take seconds instead of minutes.
VISIBLE_AGAIN_AFTER_S = 5
DELIVERIES = 3


@functools.cache
def client(service: str) -> Any:
    """Return a client of the operator, whose requests meet no faults."""
    return boto3.client(service)  # type: ignore[call-overload]


@dataclass
class System:
    """The system, the number of its starts, and the dead letters that its operator received."""

    place: stack.LocalSystem
    chaos: Chaos
    api_url: str = ""
    starts: int = 0
    sent_back: int = 0
    parked: list[str] = field(default_factory=list)
    watchers: dict[str, Watcher] = field(default_factory=dict)
    _queue: str = ""
    _dead_letters: str = ""

    def start(self) -> None:
        """Start the system, check that no value went down, and begin to inject faults."""
        with contextlib.redirect_stdout(io.StringIO()):
            stack.up(self.place)
        self.starts += 1
        self.api_url = stages.addresses(self.place.folder)["API_URL"]
        made = stacks.outputs(provision.stack_name(stages.LOCAL_STAGE))
        self._queue, self._dead_letters = made["ProjectionQueueUrl"], made["DeadLetterQueueUrl"]
        self._hurry_the_queue()
        self.chaos.stand_between()
        self.look_at_the_counters()
        self.chaos.begin()

    def stop(self) -> None:
        """Shut the system down cleanly, even while it is working."""
        self.look_at_the_counters()
        self.chaos.pause()
        with contextlib.redirect_stdout(io.StringIO()):
            stack.down(self.place)

    def stop_for_good(self) -> None:
        """Close the proxies and stop the system."""
        self.chaos.close()
        with contextlib.redirect_stdout(io.StringIO()):
            stack.down(self.place)

    def look_at_the_counters(self) -> None:
        """
        Check that no value exceeds the log's sum, and that no value decreased since the last call.

        Raises:
            AssertionError: a value exceeds the sum, or decreased.
        """
        for counter_id in versions(client):
            self.watchers.setdefault(counter_id, Watcher(client, counter_id)).check_meanwhile()

    def settle(self, events: int) -> None:
        """
        Stop injecting faults and wait until this number of events is counted and all queues are empty.

        Raises:
            AssertionError: the wait takes longer than `eventually` permits.
        """
        self.chaos.pause()
        eventually(
            lambda: self._sent_back() == 0 and self._on_the_queue() == 0 and sum(versions(client).values()) >= events
        )

    def _sent_back(self) -> int:
        """Send the dead letters without a reason back, note the parked ones, and return the number of both."""
        found = client("sqs").receive_message(
            QueueUrl=self._dead_letters, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        messages: list[Any] = found.get("Messages", [])
        for message in messages:
            if reason := message.get("MessageAttributes", {}).get("reason"):
                self.parked.append(f"{reason['StringValue']}: {message['Body'][:200]}")
            else:
                client("sqs").send_message(QueueUrl=self._queue, MessageBody=message["Body"])
                self.sent_back += 1
            client("sqs").delete_message(QueueUrl=self._dead_letters, ReceiptHandle=message["ReceiptHandle"])
        return len(messages)

    def _on_the_queue(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = client("sqs").get_queue_attributes(QueueUrl=self._queue, AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)

    def _hurry_the_queue(self) -> None:
        found = client("sqs").get_queue_attributes(QueueUrl=self._queue, AttributeNames=["RedrivePolicy"])
        redrive = {**json.loads(found["Attributes"]["RedrivePolicy"]), "maxReceiveCount": DELIVERIES}
        attributes = {"VisibilityTimeout": str(VISIBLE_AGAIN_AFTER_S), "RedrivePolicy": json.dumps(redrive)}
        client("sqs").set_queue_attributes(QueueUrl=self._queue, Attributes=attributes)


def versions(client: Any) -> dict[str, int]:
    """Return every counter of the read model and its number of counted events."""
    pages = client("dynamodb").get_paginator("scan").paginate(TableName=settings.current().counters_table)
    return {item["counter_id"]["S"]: int(item["version"]["N"]) for page in pages for item in page["Items"]}
