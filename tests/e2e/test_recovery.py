"""The steps of docs/recovery.md and docs/moving.md, followed on a deployed stage after each loss, and under load."""

import json
import os
import random
import re
import shlex
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from chalicelib.domain.events import choose_part
from testkit.builders import a_counter_id
from tests.doc_pages import section
from tests.e2e.conftest import Client, configure, copy_project, eventually, ops

pytestmark = pytest.mark.exhaustive

STAGE = "damaged"
SHARDS = 3
LOG = f"counter-{STAGE}-event-log"


@dataclass
class Stage:
    """A deployed stage, the project's folder from which it is operated, and a client of its API."""

    folder: Path
    client: Client

    def run(self, command: str) -> str:
        """Run one of the operator's commands as the page has it, and return its output."""
        done = ops(*shlex.split(command.removeprefix("python -m ops ")), at=self.folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def count(self, counter_id: str, *amounts: int) -> list[str]:
        """Increment the counter, wait until it is counted, and return the ids of the events."""
        before = self.client.counter(counter_id)["version"]
        ids = [str(self.client.increment(counter_id, by).json()["event_id"]) for by in amounts]
        eventually(lambda: self.client.counter(counter_id)["version"] == before + len(amounts))
        return ids


def operate(folder: Path, *arguments: str) -> str:
    done = ops(*arguments, at=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def damaged(place, tmp_path_factory) -> Iterator[Stage]:
    """Provision and deploy a stage that can be damaged, with three parts of each counter."""
    folder = copy_project(tmp_path_factory.mktemp("damaged"))
    configure(folder, STAGE, SHARDS=str(SHARDS), COUNTERS="*")
    operate(folder, "provision", "--stage", STAGE)
    (api_id,) = re.findall(r"^ApiId: (\S+)$", operate(folder, "deploy", "--stage", STAGE), re.MULTILINE)
    address = f"{os.environ['AWS_ENDPOINT_URL']}/restapis/{api_id}/api/_user_request_"
    with httpx.Client(base_url=address, timeout=60) as http:
        yield Stage(folder, Client(http))
    operate(folder, "destroy", "--stage", STAGE, "--data", "--confirm", STAGE)


def read_steps(title: str, **values: str) -> list[str]:
    """Return the commands of a section of the page, for this stage."""
    block = "".join(re.findall(r"```sh\n(.*?\n) *```", section(title), re.DOTALL))
    for name, value in values.items():
        assert name in block
        block = block.replace(name, value)
    return block.replace("prod", STAGE).splitlines()


def follow(stage: Stage, title: str, backup: str = "", **values: str) -> list[str]:
    """Run the commands of a section in order, and return their output."""
    outputs = []
    for command in read_steps(title, **values):
        if command.startswith("aws "):
            outputs.append(str(run_aws(*shlex.split(command)[1:], backup=backup)))
        else:
            outputs.append(stage.run(command))
    return outputs


def run_aws(service: str, operation: str, *words: str, backup: str) -> Any:
    """
    Make the request of a command of the AWS CLI.

    The embedded AWS has no point-in-time recovery, so a backup replaces it.
    """
    session: Any = boto3.Session()
    client = session.client(service)
    waited, words = (words[0], words[1:]) if operation == "wait" else ("", words)
    names = ["".join(map(str.capitalize, name.removeprefix("--").split("-"))) for name in words[::2]]
    parameters = dict(zip(names, words[1::2], strict=True))
    if waited:
        return client.get_waiter(waited.replace("-", "_")).wait(**parameters)
    if operation == "restore-table-to-point-in-time":
        assert parameters.pop("SourceTableName") == LOG
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", parameters.pop("RestoreDateTime"))
        return client.restore_table_from_backup(BackupArn=backup, **parameters)
    return getattr(client, operation.replace("-", "_"))(**parameters)


def back_up_log() -> str:
    """Back up the log, and return the backup's ARN."""
    backup = boto3.client("dynamodb").create_backup(TableName=LOG, BackupName="before")
    return backup["BackupDetails"]["BackupArn"]


def delete_table(name: str) -> None:
    client = boto3.client("dynamodb")
    client.update_table(TableName=name, DeletionProtectionEnabled=False)
    client.delete_table(TableName=name)


def delete_events(counter_id: str, event_ids: list[str]) -> None:
    for event_id in event_ids:
        partition = f"{counter_id}#{choose_part(event_id, SHARDS)}"
        key: Any = {"partition": {"S": partition}, "event_id": {"S": event_id}}
        boto3.client("dynamodb").delete_item(TableName=LOG, Key=key)


def test_lost_log_is_restored_and_counts_again(damaged):
    counter_id = a_counter_id()
    damaged.count(counter_id, 2, 3)
    first = damaged.client.increment(counter_id, 5, Idempotency_Key="once")
    backup = back_up_log()
    delete_table(LOG)
    refused = damaged.client.increment(counter_id, 7, Idempotency_Key="later")

    outputs = follow(damaged, "The log table is gone", BACKUP_ARN=backup)
    again = damaged.client.increment(counter_id, 5, Idempotency_Key="once")
    later = damaged.client.increment(counter_id, 7, Idempotency_Key="later")

    assert (first.status_code, refused.status_code) == (202, 503)
    assert backup in outputs[0]
    assert (again.json(), again.headers["Idempotency-Replayed"]) == (first.json(), "true")
    assert later.status_code == 202
    eventually(lambda: damaged.client.counter(counter_id)["value"] == 17)
    damaged.run(f"python -m ops verify --stage {STAGE}")


def test_deleted_events_are_restored_next_to_later_ones(damaged):
    counter_id, other = a_counter_id(), a_counter_id()
    ids = damaged.count(counter_id, 1, 2, 4)
    lost = damaged.count(other, 8)
    backup = back_up_log()
    delete_events(counter_id, ids[:2])
    delete_events(other, lost)
    damaged.run(f"python -m ops rebuild --stage {STAGE}")  # by an operator who has not noticed the loss yet
    assert damaged.client.counter(counter_id)["value"] == 4
    damaged.count(counter_id, 16)

    outputs = follow(damaged, "Events were deleted", backup=backup, TIME="2026-01-31T12:00:00Z")

    assert outputs[2].startswith("3 events would be appended (3 Incremented)")
    assert outputs[3].startswith("3 events appended (3 Incremented)")
    assert damaged.client.counter(counter_id) | {"value": 23, "version": 4} == damaged.client.counter(counter_id)
    assert damaged.client.counter(other)["value"] == 8
    damaged.run(f"python -m ops verify --stage {STAGE}")


def test_lost_read_model_is_filled_from_the_log(damaged):
    counter_id = a_counter_id()
    damaged.count(counter_id, 1, 2)
    for table in ("counters", "archive"):
        delete_table(f"counter-{STAGE}-{table}")
    accepted = damaged.client.increment(counter_id, 4)

    follow(damaged, "The read model is gone")

    assert accepted.status_code == 202
    eventually(lambda: damaged.client.counter(counter_id)["value"] == 7)
    damaged.run(f"python -m ops verify --stage {STAGE}")


def test_standby_stage_takes_over_and_gets_the_missing_events(damaged):
    """The region comes back with events that were not copied before. Clients repeat one of them."""
    counter_id = a_counter_id()
    ids = damaged.count(counter_id, 1, 2)
    steps = [line.strip() for line in read_steps("The region is gone")]
    before, after, later = steps[:3], steps[3:5], steps[5:]

    outputs = [run_elsewhere(damaged, command) for command in before]
    ids += damaged.count(counter_id, 4)
    run_elsewhere(damaged, after[0])
    show = f"AWS_DEFAULT_REGION=eu-west-1 python -m ops show {counter_id} --stage standby --json"
    shown = json.loads(run_elsewhere(damaged, show))
    for command in later:
        run_elsewhere(damaged, command)
    shown_later = json.loads(run_elsewhere(damaged, show))

    assert "0 problems" in outputs[2]
    assert (shown["value"], shown["version"]) == (3, 2)
    assert (shown_later["value"], shown_later["version"]) == (7, 3)
    assert {event["event_id"] for event in shown_later["events"]} == {*ids}


def run_elsewhere(stage: Stage, command: str) -> str:
    """Run a command with its variable. The standby stage is not deployed."""
    variable, _, command = command.partition(" ")
    name, _, value = variable.partition("=")
    if " deploy " in command:
        return ""
    done = ops(*shlex.split(command.removeprefix("python -m ops ")), at=stage.folder, **{name: value})
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass
class Load:
    """Clients that increment a counter, each increment with its own key, until it is accepted."""

    counter_id: str
    address: httpx.Client
    accepted: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, seed: int) -> None:
        """Send one increment after the other. Send some again, as after a lost response, also to the new address."""
        chance = random.Random(seed)
        while not self.stopped.is_set():
            key, by = uuid.uuid4().hex, chance.randint(1, 9)
            while not self.send(key, by):
                self.stopped.wait(0.2)
            with self.lock:
                self.accepted[key] = by
                repeated = chance.choice([*self.accepted.items()])
            if chance.random() < 0.5:
                self.send(*repeated)

    def send(self, key: str, by: int) -> bool:
        sent = Client(self.address).increment(self.counter_id, by, Idempotency_Key=key)
        self.refused += sent.status_code == 403
        return sent.status_code == 202


def test_stage_is_moved_under_load(damaged, client):
    """Follow the steps from the damaged stage to stage local, which has another number of parts."""
    commands = [
        line.strip().replace("prod", STAGE).replace("wide", "local")
        for line in "".join(re.findall(r"```sh\n(.*?\n) *```", section("Switch over"), re.DOTALL)).splitlines()
    ]
    create, (copy, close, copy_rest, rebuild, copy_once_more) = commands[:2], commands[2:]
    load = Load(a_counter_id(), damaged.client.http)
    assert [command.split()[3] for command in create] == ["provision", "deploy"]  # by the fixtures

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(load.run, seed) for seed in range(4)]
        damaged.run(copy)
        damaged.run(close)
        eventually(lambda: load.refused > 0)
        damaged.run(copy_rest)
        damaged.run(f"{rebuild} --counter {load.counter_id}")  # other tests share the stage
        load.address = client.http
        moved = len(load.accepted)
        eventually(lambda: len(load.accepted) > moved + 20)
        load.stopped.set()
        for each in running:
            each.result()
    damaged.run(copy_once_more)

    total = {"value": sum(load.accepted.values()), "version": len(load.accepted)}
    eventually(lambda: client.counter(load.counter_id).items() >= total.items())
    damaged.run(f"python -m ops verify --stage local --counter {load.counter_id}")
    log = damaged.run(f"python -m ops export --stage local --counter {load.counter_id} -").splitlines()
    assert (len(log), len({json.loads(line)["event_id"] for line in log})) == (len(load.accepted),) * 2
    damaged.run(f"python -m ops counters reopen '*' --stage {STAGE}")
