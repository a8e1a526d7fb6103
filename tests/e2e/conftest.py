"""The deployed system over HTTP, as clients and operators use it."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from mypy_boto3_sqs.type_defs import MessageTypeDef

from chalicelib.domain.events import Incremented
from ops.local import ministack_gaps
from testkit.builders import a_counter_id, an_event

PROJECT = Path(__file__).parent.parent.parent

#: The longest wait for an expected state or a response, on the slowest machine. It must exceed the queues' visibility
#: timeout (180 seconds), after which a message that a function failed to count is received again.
PATIENCE_S = 300

#: The statuses of refusals that may be temporary.
_TEMPORARY = (429, 502, 503, 504)


@dataclass
class Client:
    """A client with its own connection pool."""

    http: httpx.Client

    def increment(self, counter_id: str, by: int | None = None, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        body: dict[str, Any] = {} if by is None else {"json": {"by": by}}
        return self.http.post(f"/counters/{counter_id}/increments", headers=sent, **body)

    def counter(self, counter_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/counters/{counter_id}").raise_for_status().json()
        return found


@dataclass
class Operator:
    """An operator with AWS credentials for the queues and for the function behind the stream."""

    queue_url: str
    dead_letter_url: str
    publish_function: str

    def send(self, *bodies: str) -> None:
        for body in bodies:
            boto3.client("sqs").send_message(QueueUrl=self.queue_url, MessageBody=body)

    def invoke_publish(self, event: str) -> None:
        answer = boto3.client("lambda").invoke(FunctionName=self.publish_function, Payload=event)
        assert "FunctionError" not in answer, answer["Payload"].read()

    def parked(self) -> list[MessageTypeDef]:
        return (
            boto3.client("sqs")
            .receive_message(
                QueueUrl=self.dead_letter_url,
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                VisibilityTimeout=0,
            )
            .get("Messages", [])
        )


def make_environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return this process's environment with these variables; None removes a variable."""
    return {name: value for name, value in {**os.environ, **changes}.items() if value is not None}


def ops(
    *arguments: str, stdin: str = "", at: Path = PROJECT, **environment: str | None
) -> subprocess.CompletedProcess[str]:
    """Run a checkout's operators' CLI to its end, with this standard input."""
    return run(sys.executable, "-m", "ops", *arguments, stdin=stdin, at=at, **environment)


def run(*command: str | Path, stdin: str = "", at: Path, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Run a command in this folder to its end, with this standard input. The caller checks the exit status."""
    return subprocess.run(
        command,
        cwd=at,
        env=make_environment(environment),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def copy_project(folder: Path) -> Path:
    """Copy the files that an operator needs into this folder: the committed project and the downloaded wheels."""
    left = shutil.ignore_patterns("__pycache__", "deployed", "deployments", "policies")
    for name in ("chalicelib", "ops", ".chalice"):
        shutil.copytree(PROJECT / name, folder / name, ignore=left)
    for name in ("infrastructure", "requirements"):
        shutil.copytree(PROJECT / name, folder / name)
    for name in ("app.py", "requirements.txt"):
        shutil.copy(PROJECT / name, folder)
    (folder / ".local").mkdir()
    for wheels in (PROJECT / ".local").glob("wheels-*"):
        (folder / ".local" / wheels.name).symlink_to(wheels)
    return folder


def configure(project: Path, stage: str, /, parameters: Any = None, **variables: str | None) -> None:
    """
    Set parameters and variables of a stage in a copy of the project; None removes a variable.

    A stage that the project lacks begins as a copy of `dev`.
    """
    file = project / ".chalice" / "config.json"
    configuration = json.loads(file.read_text(encoding="utf-8"))
    stages = configuration["stages"]
    if stage not in stages:
        text = json.dumps(stages["dev"]).replace('"dev"', f'"{stage}"').replace("/dev/", f"/{stage}/")
        stages[stage] = json.loads(text)
    changed = stages[stage]["environment_variables"] | variables
    stages[stage]["environment_variables"] = {name: text for name, text in changed.items() if text is not None}
    if parameters:
        stages[stage]["template_parameters"] = parameters
    file.write_text(json.dumps(configuration), encoding="utf-8")


def deploy(project: Path, stage: str) -> dict[str, Any]:
    """Deploy the stage, and complete its API, which the embedded AWS imports only partly. Return the JSON output."""
    deployed = ops("deploy", "--stage", stage, "--json", at=project)
    assert deployed.returncode == 0, deployed.stderr
    facts: dict[str, Any] = json.loads(deployed.stdout)
    template = Path(os.environ["LOCAL_FOLDER"], f"package-{stage}", "result", "sam.json")
    definition = json.loads(template.read_text(encoding="utf-8"))["Resources"]["RestAPI"]["Properties"]
    ministack_gaps.complete_api(facts["ApiId"], "api", definition)
    return facts


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until the condition holds. Try again if the API does not respond, or is throttled or unavailable."""
    deadline = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while True:
        try:
            if holds():
                return
        except httpx.HTTPStatusError as error:
            if error.response.status_code not in _TEMPORARY or time.monotonic() > deadline:
                raise
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, "the condition did not become true"
        pause.wait(0.05)


@pytest.fixture
def new_client(api_url: str) -> Iterator[Callable[[], Client]]:
    """Create clients."""
    made: list[httpx.Client] = []

    def make() -> Client:
        made.append(httpx.Client(base_url=api_url, timeout=PATIENCE_S))
        return Client(made[-1])

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(new_client: Callable[[], Client]) -> Client:
    """Create one client."""
    return new_client()


@pytest.fixture
def operator(api_url: str) -> Operator:
    """Return the operator of the deployed stage."""
    from ops.deployment import deploy, provision, stacks

    data = stacks.outputs(provision.stack_name("local"))
    function = boto3.client("cloudformation").describe_stack_resource(
        StackName=deploy.stack_name("local"), LogicalResourceId="Publish"
    )
    return Operator(
        data["ProjectionQueueUrl"],
        data["DeadLetterQueueUrl"],
        function["StackResourceDetail"].get("PhysicalResourceId", ""),
    )


@pytest.fixture
def counter_id() -> str:
    """Return a counter id that no other test uses."""
    return a_counter_id()


@pytest.fixture
def an_event_of() -> Callable[[str, int], Incremented]:
    """Create events of a counter, recorded now."""

    def make(counter_id: str, by: int) -> Incremented:
        return an_event(counter_id=counter_id, by=by, recorded_at_ms=time.time_ns() // 1_000_000)

    return make
