"""`make run`, `up`, `down` and `local` start, keep, stop and refuse as documented."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.local.stack import LocalSystem
from ops.stages import addresses
from testkit.process_environment import free_ports
from tests.e2e.conftest import PATIENCE_S, eventually, ops, run

pytestmark = pytest.mark.exhaustive

PROJECT = Path(__file__).parent.parent.parent


def command(place, verb, **environment):
    """Run one of the commands with this folder and ports, and wait until it ends."""
    return subprocess.run(
        [sys.executable, "-m", "ops.local", *verb.split()],
        cwd=PROJECT,
        env=at(place) | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def at(place):
    ports = {"AWS_PORT": str(place.aws_port), "PAGE_PORT": str(place.page_port), "LOCAL_FOLDER": str(place.folder)}
    return {**os.environ, **ports}


@pytest.fixture
def elsewhere(tmp_path):
    """Return a folder and ports on which nothing runs before and after the test."""
    place = LocalSystem(tmp_path, *free_ports(2))
    yield place
    command(place, "down")


def test_state_survives_a_stop_and_pending_events_are_counted(elsewhere):
    assert command(elsewhere, "up").returncode == 0
    with httpx.Client(base_url=addresses(elsewhere.folder)["API_URL"], timeout=60) as client:
        for _ in range(10):
            client.post("/counters/kept/increments", headers={"Idempotency-Key": "first"})
            client.post("/counters/kept/increments")
    down = command(elsewhere, "down")
    files_when_down = elsewhere.environment.exists()

    assert command(elsewhere, "up").returncode == 0
    with httpx.Client(base_url=addresses(elsewhere.folder)["API_URL"], timeout=60) as client:
        again = client.post("/counters/kept/increments", headers={"Idempotency-Key": "first"})
        client.post("/counters/kept/increments")
        eventually(lambda: client.get("/counters/kept").raise_for_status().json()["version"] >= 12)
        found = client.get("/counters/kept").json()
    assert (down.returncode, files_when_down) == (0, False)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (found["value"], found["version"]) == (12, 12)


def test_second_start_is_refused_in_one_line(place):
    second = command(place, "run")

    assert second.returncode == 1
    assert second.stderr == f"Error: Already running (process {place.lock.read_text()}). Stop it with `make down`.\n"


def test_second_up_prints_the_running_systems_address(place, api_url, page_url):
    second = command(place, "up")

    assert (second.returncode, second.stdout.splitlines()[:2]) == (0, [f"Page: {page_url}", f"API: {api_url}"])


@pytest.mark.parametrize(("variable", "name"), [("AWS_PORT", "aws_port"), ("PAGE_PORT", "page_port")])
@pytest.mark.parametrize("verb", ["up", "local"])
def test_other_port_than_the_running_systems_is_refused(place, variable, name, verb):
    (other,) = free_ports(1)

    refused = command(place, verb, **{variable: str(other)})

    message = f"{variable} is {other}, but the system runs on {getattr(place, name)}: stop it with `make down` first."
    assert (refused.returncode, refused.stderr) == (1, f"Error: {message}\n")


def test_up_without_port_variables_accepts_the_running_system(place, page_url):
    environment = {name: value for name, value in at(place).items() if name not in ("AWS_PORT", "PAGE_PORT")}

    second = run(sys.executable, "-m", "ops.local", "up", at=PROJECT, **environment, AWS_PORT=None, PAGE_PORT=None)

    assert (second.returncode, second.stdout.splitlines()[0]) == (0, f"Page: {page_url}")


def test_down_without_a_running_system_succeeds(elsewhere):
    assert command(elsewhere, "down").returncode == 0


@pytest.mark.parametrize(("variable", "number"), [("AWS_PORT", 0), ("PAGE_PORT", 1)])
@pytest.mark.parametrize("verb", ["run", "up"])
def test_port_in_use_prints_one_line_that_names_the_variable(elsewhere, variable, number, verb):
    port = (elsewhere.aws_port, elsewhere.page_port)[number]

    with socket.create_server(("127.0.0.1", port)):
        refused = command(elsewhere, verb)

    message = f"Port {port} is in use: stop the other program, or set {variable} to another port."
    assert (refused.returncode, refused.stderr) == (1, f"Error: {message}\n")


@pytest.mark.parametrize(
    ("verb", "environment", "message"),
    [
        ("run", {"AWS_PORT": "many"}, "AWS_PORT must be a port number from 1 to 65535, got 'many'."),
        ("run", {"AWS_PORT": "4567", "PAGE_PORT": "4567"}, "AWS_PORT and PAGE_PORT must differ, got 4567 for both."),
        ("local", {}, "The embedded AWS is not running: start it with `make up`."),
        *(
            (f"local --port={port}", {}, f"PORT must be a port number from 1 to 65535, got {port!r}.")
            for port in ("80000", "0", "-1", "many", "")
        ),
    ],
)
def test_impossible_start_is_refused_in_one_line(elsewhere, verb, environment, message):
    refused = command(elsewhere, verb, **environment)

    assert (refused.returncode, refused.stderr) == (1, f"Error: {message}\n")


def test_port_in_use_of_local_prints_one_line(place):
    refused = command(place, f"local --port={place.page_port}")

    message = f"Port {place.page_port} is in use: stop the other program, or set PORT to another port."
    assert (refused.returncode, refused.stderr) == (1, f"Error: {message}\n")


def test_system_works_with_proxies_and_profiles_in_the_environment(place, elsewhere, tmp_path):
    """
    Ignore proxies, profiles and addresses of single services. Leave no files outside the system's folder.

    `place` has already downloaded the packages, which requires the proxy.
    """
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (tmp_path / "config").write_text("[default]\nignore_configured_endpoint_urls = true\nregion = eu-west-2\n")
    elsewhere_url = "http://127.0.0.1:9"
    misleading: dict[str, Any] = {
        **dict.fromkeys(["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"], elsewhere_url),
        "no_proxy": "",
        "NO_PROXY": "",
        "AWS_PROFILE": "missing",
        "AWS_REGION": "eu-west-2",
        "AWS_ENDPOINT_URL_SQS": elsewhere_url,
        "AWS_ENDPOINT_URL_DYNAMODB": elsewhere_url,
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "TMPDIR": str(temporary),
    }

    up = command(elsewhere, "up", **misleading)
    assert (up.returncode, up.stderr) == (0, "")
    count = f". {elsewhere.environment} && curl -s -X POST $API_URL/counters/a/increments"
    recorded = run("bash", "-c", count, at=PROJECT, **misleading)
    with httpx.Client(base_url=addresses(elsewhere.folder)["API_URL"], timeout=60) as client:
        eventually(lambda: client.get("/counters/a").raise_for_status().json()["version"] == 1)
        # The SQL projection may still be starting. `verify` would then report that it waits.
        eventually(
            lambda: (
                client.get("/reports/top_counters", params={"counter_id": "a"}).raise_for_status().json()["rows"] != []
            )
        )
    verified = ops("verify", "--stage", "local", LOCAL_FOLDER=str(elsewhere.folder), **misleading)
    command(elsewhere, "down", **misleading)

    assert (recorded.returncode, json.loads(recorded.stdout)["by"]) == (0, 1)
    assert (verified.returncode, verified.stderr) == (0, "")
    assert [*temporary.iterdir()] == []


def test_damaged_state_file_prints_one_line_and_is_not_overwritten(elsewhere):
    state = elsewhere.folder / "state"
    state.mkdir()
    damaged = state / "dynamodb.json"
    damaged.write_text('{"payload": {"tab')

    refused = command(elsewhere, "run")

    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith(f"Error: {damaged} is damaged")
    assert damaged.read_text() == '{"payload": {"tab'


def test_impossible_folder_prints_one_line(elsewhere):
    refused = command(elsewhere, "up", LOCAL_FOLDER="/dev/null/x")

    assert (refused.returncode, refused.stderr.count("\n")) == (3, 1)
    assert "/dev/null/x" in refused.stderr


def test_failure_of_the_started_system_has_its_exit_status(elsewhere):
    """A folder takes the place of a file that the system writes."""
    (elsewhere.folder / "aws.log").mkdir()

    refused = command(elsewhere, "up")

    assert (refused.returncode, refused.stderr.count("\n")) == (3, 1)
    assert refused.stderr.startswith(f"Error: Is a directory: {elsewhere.folder / 'aws.log'}. ")


def test_up_succeeds_after_the_system_was_killed(elsewhere):
    assert command(elsewhere, "up").returncode == 0
    os.kill(int(elsewhere.lock.read_text()), signal.SIGKILL)
    eventually(lambda: all(is_free(port) for port in (elsewhere.aws_port, elsewhere.page_port)))

    again = command(elsewhere, "up")

    assert again.returncode == 0
    assert httpx.get(addresses(elsewhere.folder)["API_URL"], timeout=60).status_code == 200


def is_free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_local_serves_the_counters_of_the_running_system(place, client, counter_id):
    (port,) = free_ports(1)
    client.increment(counter_id, 3, If_Match='"0"')

    server = subprocess.Popen(
        [sys.executable, "-m", "ops.local", "local", "--port", str(port)],
        cwd=PROJECT,
        env=at(place),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as local:
            eventually(lambda: answers(local))
            local.post(f"/counters/{counter_id}/increments", json={"by": 4})
            malformed = local.post(f"/counters/{counter_id}/increments", json={"by": 0})
            chunked = local.post(f"/counters/{counter_id}/increments", content=iter([b'{"by": 5}']))
            eventually(lambda: local.get(f"/counters/{counter_id}").raise_for_status().json()["version"] == 2)
            found = local.get(f"/counters/{counter_id}").json()
    finally:
        os.killpg(server.pid, signal.SIGINT)  # as Ctrl-C does
        printed, _ = server.communicate()
    assert (found["value"], malformed.status_code, chunked.status_code) == (7, 400, 501)
    assert "Serving on" in printed
    assert "Traceback" not in printed


def test_local_reads_the_sqlite_file_of_the_functions(place):
    program = (
        "from ops import stages; from ops.local import chalice_local; "
        "chalice_local.factory().create_config_obj('local').chalice_app"
    )
    environment = at(place) | {"EVENT_LOG_STREAM_ARN": "arn"}

    output = subprocess.run(
        [sys.executable, "-c", f"{program}; import os; print(os.environ['SQL_URL'], os.environ['STAGE'])"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert output.split() == [f"sqlite:///{place.folder.resolve() / 'counter.sqlite'}", "local"]
    assert (place.folder / "counter.sqlite").exists()


def answers(client):
    try:
        return client.get("/").status_code == 200
    except httpx.TransportError:
        return False


def test_system_listens_only_on_localhost(place):
    for port in (place.aws_port, place.page_port):
        with socket.socket() as probe:
            # All of 127.0.0.0/8 is this machine: a server that listens on every address would also answer here.
            assert probe.connect_ex(("127.0.0.2", port)) != 0
