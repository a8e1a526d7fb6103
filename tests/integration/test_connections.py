"""Connections to AWS: one for each client, opened on demand and reused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from testkit import aws_requests
from testkit.builders import a_counter_id, an_event, api_event, message_body, queue_batch, stream_batch, stream_record

PROJECT = Path(__file__).parent.parent.parent

#: A program that starts a function as Lambda does, sends it events, and prints the number of connections at each step.
PROGRAM = """
import json, sys
opened = 0
def note(event, arguments):
    global opened
    opened += event == "socket.connect"
sys.addaudithook(note)
import app
counts = [opened]
for event in json.load(sys.stdin):
    getattr(app, sys.argv[1])(event, None)
    counts.append(opened)
print(counts)
"""


def connections_of(function, *events):
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, function],
        cwd=PROJECT,
        env={**os.environ, "_HANDLER": f"app.{function}"},
        input=json.dumps(events),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(process.stdout.splitlines()[-1])


def test_the_api_opens_one_connection_at_its_first_request_and_keeps_it(stage):
    path = {"counter_id": a_counter_id()}
    swap = api_event("POST", "/counters/{counter_id}/increments", path=path, headers={"If-Match": '"0"'})
    query = api_event("GET", "/counters/{counter_id}/events", path=path)

    assert connections_of("app", swap, query, query) == [0, 1, 1, 1]


def test_publish_opens_one_connection_at_its_first_batch_and_keeps_it(stage):
    batches = [stream_batch([stream_record(an_event()), "no record of a stream"]) for _ in range(2)]

    assert connections_of("publish", *batches) == [0, 1, 1]


def test_project_opens_a_second_connection_only_to_park(stage):
    batches = [queue_batch([message_body(an_event(counter_id=a_counter_id()))]) for _ in range(2)]
    poison = queue_batch(["poison"])

    assert connections_of("project", *batches, poison, poison) == [0, 1, 1, 2, 2]


def test_idle_connections_are_kept_alive(stage):
    clients: list[Any] = [*aws_requests.clients()]

    assert all(client.meta.config.tcp_keepalive for client in clients)
