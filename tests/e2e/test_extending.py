"""The code of docs/extending.md and docs/another-domain.md, applied, checked, deployed and used."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from chalicelib import command_handlers
from chalicelib.domain.commands import Increment
from tests.doc_pages import section
from tests.e2e import conftest
from tests.e2e.conftest import PROJECT, Client, configure, copy_project, eventually, ops

STAGE = "extended"

#: The maximum numbers of lines of code and of files in each tutorial. Documents and blank lines do not count.
GOALS = {"Add an event type": (40, 4), "Change an event type": (20, 2), "Add a projection": (120, 6)}

#: Tests that compare lists of routes, settings, metrics, permissions and files with the code.
COMPARISONS = [f"tests/unit/test_{name}.py" for name in ("openapi", "projections", "readme", "settings", "stages")]


@dataclass(frozen=True)
class Tutorial:
    """The changes of a tutorial: diffs, and the text of each new file."""

    diffs: tuple[str, ...]
    new_files: dict[str, str]

    def lines(self) -> dict[str, int]:
        """Return the number of added lines of code, by file."""
        numbers = {path: len(re.findall(r"^.*\S", text, re.MULTILINE)) for path, text in self.new_files.items()}
        for path, hunks in re.findall(r"^\+\+\+ b/(\S+\.py)$(.*?)(?=^--- |\Z)", "\n".join(self.diffs), re.M | re.S):
            numbers[path] = len(re.findall(r"^\+.*\S", hunks, re.MULTILINE))
        return numbers

    def apply(self, folder: Path) -> None:
        """Apply the changes to the project in this folder."""
        for diff in self.diffs:
            run("git", "apply", "-", at=folder, stdin=diff)
        for path, text in self.new_files.items():
            (folder / path).write_text(text, encoding="utf-8")


def run(*command: str | Path, at: Path, stdin: str = "", **environment: str) -> str:
    done = conftest.run(*command, stdin=stdin, at=at, **environment)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def read_tutorial(title: str) -> Tutorial:
    text = section(title)
    new = re.findall(r"New file \*\*(\S+)\*\*:\n\n```python\n(.*?)```", text, re.DOTALL)
    return Tutorial(tuple(re.findall(r"```diff\n(.*?)```", text, re.DOTALL)), dict(new))


def tool(name: str) -> Path:
    return Path(sys.executable).with_name(name)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Apply the tutorials to a copy of the project, and generate the API's description."""
    folder = copy_project(tmp_path_factory.mktemp("extended"))
    without_caches = shutil.ignore_patterns("__pycache__")
    for name in ("tests", "testkit", "docs", "scripts", "benchmarks", "web", ".ci"):
        shutil.copytree(PROJECT / name, folder / name, ignore=without_caches)
    for file in PROJECT.iterdir():
        if file.is_file() and file.name != ".git" and not (folder / file.name).exists():
            shutil.copy(file, folder)
    for title in GOALS:
        read_tutorial(title).apply(folder)
    run(sys.executable, "-m", "ops.openapi.document", at=folder, STAGE="local")
    return folder


@pytest.mark.parametrize("title", GOALS)
def test_tutorial_keeps_its_goals_for_lines_and_files(title):
    lines = read_tutorial(title).lines()

    assert lines
    assert (sum(lines.values()) <= GOALS[title][0], len(lines) <= GOALS[title][1]) == (True, True), lines


def test_extended_project_passes_lint_and_layers(project):
    run(tool("ruff"), "check", "--no-cache", ".", at=project)
    run(tool("ruff"), "format", "--no-cache", "--check", ".", at=project)
    run(sys.executable, "scripts/lint_prose.py", at=project)
    run(tool("lint-imports"), "--no-logo", at=project)


@pytest.mark.exhaustive
def test_extended_project_passes_type_checks(project):
    run(tool("mypy"), "app.py", "chalicelib", "ops", "tests/integration/test_active.py", at=project, STAGE="local")


@pytest.mark.exhaustive
def test_extended_project_passes_its_tests_at_the_first_run(project):
    """No test may compare the code with a list to which a tutorial would have to add an item."""
    pytest_ = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    run(*pytest_, *COMPARISONS, "tests/integration/test_active.py", at=project)


@pytest.fixture(scope="module")
def extended(place, project) -> Iterator[Client]:
    """Provision and deploy a stage of the extended project, with the projection on."""
    configure(project, STAGE, ACTIVE="1", COUNTERS="*")
    operate(project, "provision")
    api_id = json.loads(operate(project, "deploy", "--json"))["ApiId"]
    address = f"{os.environ['AWS_ENDPOINT_URL']}/restapis/{api_id}/api/_user_request_"
    with httpx.Client(base_url=address, timeout=60) as http:
        yield Client(http)
    operate(project, "destroy", "--data", "--confirm", STAGE)


def operate(project: Path, command: str, *arguments: str) -> str:
    done = ops(command, "--stage", STAGE, *arguments, at=project)
    assert done.returncode == 0, done.stderr
    return done.stdout


def count_messages(queue: str) -> int:
    """Return the number of messages on the queue, in flight or not."""
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return sum(int(text) for name, text in attributes.items() if name.startswith("ApproximateNumberOfMessages"))


@pytest.mark.exhaustive
def test_extended_project_works_on_the_embedded_aws(project, extended):
    """Increment and decrement over HTTP, query the projection, deliver everything again, and verify."""
    decrement = {"json": {"by": 2}, "headers": {"Idempotency-Key": "undo"}}
    recorded = extended.increment("clicks", 5).json()
    extended.increment("visits")
    accepted = [extended.http.post("/counters/clicks/decrements", **decrement) for _ in range(2)]
    day, event = recorded["recorded_at"][:10], accepted[0].json()

    eventually(lambda: extended.counter("clicks")["value"] == 3)
    eventually(
        lambda: extended.http.get(f"/active/{day}").raise_for_status().json()["counter_ids"] == ["clicks", "visits"]
    )

    assert [response.status_code for response in accepted] == [202, 202]
    assert accepted[1].json() == event
    shown = extended.http.get(f"/counters/clicks/events/{event['event_id']}").json()
    assert shown == {**event, "by": -2, "type": "Decremented", "status": "counted"}
    page = extended.http.get(f"/active/{day}", params={"limit": 1}).json()
    following = extended.http.get(f"/active/{day}", params={"limit": 1, "cursor": page["next_cursor"]}).json()
    assert (page["counter_ids"], following) == (["clicks"], {"counter_ids": ["visits"], "next_cursor": None})
    assert extended.http.get("/active/yesterday").status_code == 400
    described = extended.http.get("/openapi.json").json()["paths"]
    assert {"/counters/{counter_id}/decrements", "/active/{day}"} <= described.keys()

    operate(project, "replay")
    eventually(
        lambda: not any(count_messages(f"counter-{STAGE}-{name}") for name in ("projection", "active-projection"))
    )
    assert extended.counter("clicks")["version"] == 2
    assert extended.http.get(f"/active/{day}").json()["counter_ids"] == ["clicks", "visits"]
    operate(project, "verify", "--projection", "read-model")


@pytest.mark.exhaustive
def test_event_of_version_1_is_read_as_version_2(project, extended):
    """An event that the code of the first tutorial recorded is counted, repeated by its client, and exported."""
    older = Increment("stock", 2, "sold")
    item: Any = {
        "partition": "stock",
        "event_id": command_handlers.choose_event_id(older, 0),
        "type": "Decremented",
        "version": 1,
        "by": -2,
        "recorded_at": 1_700_000_000_123,
    }
    boto3.resource("dynamodb").Table(f"counter-{STAGE}-event-log").put_item(Item=item)
    eventually(lambda: extended.counter("stock")["value"] == -2)

    again = extended.http.post("/counters/stock/decrements", json={"by": 2}, headers={"Idempotency-Key": "sold"})
    extended.http.post("/counters/stock/decrements", json={"by": 3})
    eventually(lambda: extended.counter("stock")["value"] == -5)

    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
    shown = extended.http.get(f"/counters/stock/events/{item['event_id']}").json()
    assert (shown["by"], shown["recorded_at"], "who" in shown) == (-2, "2023-11-14T22:13:20.123Z", False)
    exported = [json.loads(line) for line in operate(project, "export", "--counter", "stock", "-").splitlines()]
    assert [(event["version"], event["by"], event["who"]) for event in exported] == [
        (2, -2, "unknown"),
        (2, -3, "anyone"),
    ]
    operate(project, "verify", "--counter", "stock", "--projection", "read-model")


@pytest.mark.exhaustive
def test_lost_projection_is_filled_by_a_replay(project, extended):
    day = extended.increment("restored").json()["recorded_at"][:10]
    eventually(lambda: "restored" in extended.http.get(f"/active/{day}").raise_for_status().json()["counter_ids"])
    table = boto3.resource("dynamodb").Table(f"counter-{STAGE}-active")
    table.delete_item(Key={"day": day, "counter_id": "restored"})

    operate(project, "replay", "--projection", "active")

    eventually(lambda: "restored" in extended.http.get(f"/active/{day}").raise_for_status().json()["counter_ids"])


@pytest.mark.exhaustive
@pytest.mark.parametrize("command", ["verify", "rebuild"])
@pytest.mark.parametrize("selection", [("--projection", "active"), ()], ids=["selected", "all"])
def test_command_refuses_a_projection_that_does_not_support_it(project, extended, command, selection):
    refused = ops(command, "--stage", STAGE, *selection, at=project)

    assert refused.returncode != 0
    assert f"must support {command}, got active" in refused.stderr


#: Withdraw from an account with a balance of 100: first sequentially, with a repeated key, then 30 eight times at once.
WITHDRAWALS = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from chalicelib import command_handlers
from chalicelib.domain.commands import Increment
from chalicelib.read_model import queries

def attempt(account, amount, key):
    try:
        return withdraw(Withdraw(account, amount, key)).counter.value
    except OverdrawnError as error:
        return str(error)

def race(key):
    barrier.wait()
    return attempt(second, 30, key)

first, second = sys.argv[1:]
for account in (first, second):
    command_handlers.record(Increment(account, 100, count_at_once=True))
one_by_one = [attempt(first, amount, key) for amount, key in ((60, "a"), (60, "b"), (60, "a"), (40, "c"))]
barrier = Barrier(8)
with ThreadPoolExecutor(8) as pool:
    raced = list(pool.map(race, "abcdefgh"))
print(json.dumps([one_by_one, sorted(map(str, raced)), queries.get_counter(second).value]))
"""


def test_withdrawals_never_take_a_balance_below_zero(stage, counter_id):
    blocks = re.findall(r"```python\n(.*?)```", section("A withdrawal"), re.DOTALL)

    output = run(
        sys.executable, "-c", "\n".join([*blocks, WITHDRAWALS]), f"{counter_id}-1", f"{counter_id}-2", at=PROJECT
    )

    one_by_one, raced, balance = json.loads(output.splitlines()[-1])
    assert one_by_one == [40, "The amount must be at most 40, got 60.", 40, 0]
    assert raced == ["10", "40", "70", *["The amount must be at most 10, got 30."] * 5]
    assert balance == 10
