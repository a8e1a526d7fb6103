"""Run the whole system on one machine: an embedded AWS, the stage `local` deployed on it, and the page."""

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import click

from ops import stages
from ops.cli import interrupts
from ops.cli.errors import OperatorError
from ops.deployment import deploy, provision
from ops.local import credentials, guard, ministack_gaps
from ops.local.page_server import PageServer

_READY_WITHIN_S = 120
_AWS_STOPS_WITHIN_S = 60
_SYSTEM_STOPS_WITHIN_S = 90

#: Processes that `up` started from this process, kept until `down` waits for them.
_background: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class LocalSystem:
    """The folder and ports of a local system."""

    folder: Path
    aws_port: int
    page_port: int

    @property
    def aws_url(self) -> str:
        """The address of all AWS services."""
        return f"http://127.0.0.1:{self.aws_port}"

    @property
    def lock(self) -> Path:
        """The file with the system's process id, locked while the system runs."""
        return self.folder / "lock"

    @property
    def environment(self) -> Path:
        """The file with a shell's environment, which exists while the system is ready."""
        return self.folder / "env"

    @property
    def temporary_folder(self) -> Path:
        """The folder for temporary files. A shutdown removes it. After a killed run, the next start removes it."""
        return self.folder.resolve() / "tmp"

    @property
    def log(self) -> Path:
        """The log of the embedded AWS and its functions."""
        return self.folder / "aws.log"


def run(system: LocalSystem) -> None:
    """Run the system until SIGINT, SIGTERM or SIGHUP, then shut it down cleanly."""
    with _lock(system):
        interrupts.handle_signals()
        system.environment.unlink(missing_ok=True)
        try:
            with run_aws(system) as aws:
                # So that the shutdown also removes the temporary files of packaging.
                os.environ["TMPDIR"] = tempfile.tempdir = str(system.temporary_folder)
                api_url = _deploy(system)
                maximum = stages.read_settings(stages.LOCAL_STAGE).max_increment
                with contextlib.closing(PageServer(system.page_port, api_url, maximum)) as page:
                    write_environment(system, api_url, page.url)
                    click.echo(f"Page: {page.url}\nAPI: {api_url}\nPress Ctrl-C to stop.")
                    status = aws.wait()
                raise OperatorError(f"The embedded AWS exited unexpectedly with status {status}; see {system.log}")
        except KeyboardInterrupt:
            click.echo("Stopped. The state is kept.")
        finally:
            system.environment.unlink(missing_ok=True)


def up(system: LocalSystem) -> None:
    """Start the system in the background, unless it is running, and wait until it is ready."""
    system.folder.mkdir(parents=True, exist_ok=True)
    if _pid(system) is None:
        _start_in_background(system)
    else:
        _wait_until(system.environment.exists, "The running system was not ready", _READY_WITHIN_S)
    addresses = _find_addresses(system)
    click.echo(
        f"Page: {addresses['PAGE_URL']}\nAPI: {addresses['API_URL']}\nStop it with `make down`."
        "\nIn each new shell, run: . .venv/bin/activate && . .local/env"
    )


def _start_in_background(system: LocalSystem) -> None:
    system.environment.unlink(missing_ok=True)  # left behind by a killed run
    output = system.folder / "up.log"
    with output.open("w") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "ops.local", "run"],
            cwd=stages.PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _background.append(child)
    try:
        _wait_until(
            lambda: system.environment.exists() or child.poll() is not None, "The system was not ready", _READY_WITHIN_S
        )
    except BaseException:
        child.terminate()
        raise
    if (status := child.poll()) is not None:
        click.echo(f"Error: {output.read_text(encoding='utf-8').strip().rpartition('Error: ')[2]}", err=True)
        raise click.exceptions.Exit(max(status, 1))  # a signal's status is negative


def down(system: LocalSystem) -> None:
    """Stop the system, if it is running. The state is kept."""
    pid = _pid(system)
    if pid is None:
        click.echo("Not running.")
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    _wait_until(lambda: _pid(system) is None, f"Process {pid} did not stop", _SYSTEM_STOPS_WITHIN_S)
    for child in [process for process in _background if process.pid == pid]:
        child.wait(_AWS_STOPS_WITHIN_S)
        _background.remove(child)
    click.echo("Stopped. The state is kept.")


def run_chalice_local(system: LocalSystem, port: int) -> None:
    """Replace this process with Chalice's development server, which uses the running system's tables and queues."""
    local = stages.read_settings(stages.LOCAL_STAGE)
    if unchecked := {local.writers, local.readers} - {"anyone"}:
        raise OperatorError(
            f"Chalice's server does not check {' or '.join(sorted(unchecked))}: use the API of `make up`, or set "
            "WRITERS and READERS of stage local to anyone."
        )
    stages.use_embedded_aws(_find_addresses(system))
    _check_free(port, "PORT")
    os.chdir(stages.PROJECT)
    # Chalice's own reloader watches the whole checkout, including .local and the policies that `provision` writes.
    watch = str(Path(sys.executable).parent / "watchfiles")
    server = shlex.join([sys.executable, "-m", "ops.local.chalice_local", str(port)])
    os.execve(watch, [watch, server, "app.py", "chalicelib", ".chalice/config.json"], os.environ)  # noqa: S606


def _find_addresses(system: LocalSystem) -> dict[str, str]:
    """Check that the running system has the ports that the environment sets, and return its addresses."""
    addresses = stages.addresses(system.folder)
    for variable, port, name in (
        ("AWS_PORT", system.aws_port, "AWS_ENDPOINT_URL"),
        ("PAGE_PORT", system.page_port, "PAGE_URL"),
    ):
        running = urlsplit(addresses[name]).port
        if variable in os.environ and port != running:
            raise OperatorError(
                f"{variable} is {port}, but the system runs on {running}: stop it with `make down` first."
            )
    return addresses


@contextlib.contextmanager
def _lock(system: LocalSystem) -> Iterator[None]:
    system.folder.mkdir(parents=True, exist_ok=True)
    with system.lock.open("a+") as file:
        if not _try_lock(file):
            raise OperatorError(f"Already running (process {_pid(system)}). Stop it with `make down`.")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid(system: LocalSystem) -> int | None:
    """Return the id of the process that holds the lock, or None. A killed run leaves an unlocked file behind."""
    if not system.lock.exists():
        return None
    with system.lock.open("r+") as file:
        if _try_lock(file):
            return None
        text = file.read()
    return int(text) if text.isdecimal() else None


@contextlib.contextmanager
def run_aws(system: LocalSystem, program: str = "ops.local.ministack_process") -> Iterator[subprocess.Popen[bytes]]:
    """
    Run the embedded AWS while the block runs. `program` may name a variant of the embedded AWS.

    At the end of the block, the embedded AWS is shut down cleanly, so that it writes its state.
    """
    _check_free(system.aws_port, "AWS_PORT")
    _check_free(system.page_port, "PAGE_PORT")
    click.echo("Starting the embedded AWS ...")
    stages.use_embedded_aws(_access(system))
    state = system.folder / "state"
    ministack_gaps.reset_stream_positions(state)
    # The embedded AWS unpacks the functions into temporary folders and leaves them there.
    shutil.rmtree(system.temporary_folder, ignore_errors=True)
    system.temporary_folder.mkdir()
    with system.log.open("a") as log:
        process = subprocess.Popen(  # noqa: S603  (our own program)
            [sys.executable, "-m", program],
            cwd=stages.PROJECT,
            env={
                **os.environ,
                # Enforce IAM, as AWS does, so that missing permissions are noticed locally.
                "AUTH": "true",
                "BIND_HOST": "127.0.0.1",
                "GATEWAY_PORT": str(system.aws_port),
                "IOT_MTLS_ENABLED": "0",
                "PERSIST_STATE": "1",
                "S3_PERSIST": "1",
                "STATE_DIR": str(state.resolve()),
                "S3_DATA_DIR": str((system.folder / "s3").resolve()),
                "TMPDIR": str(system.temporary_folder),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            # The pipe closes when this process ends, even if it is killed; then the child ends, too.
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # In its own session, so that Ctrl-C does not reach it before the page server has stopped.
            start_new_session=True,
            # Its files contain secrets of functions and users.
            umask=0o077,
        )
    try:
        _wait_until(
            lambda: process.poll() is not None or _is_reachable(f"{system.aws_url}{guard.HEALTH}"),
            "The embedded AWS did not respond",
            _READY_WITHIN_S,
        )
        if process.poll() is not None:
            raise OperatorError(f"The embedded AWS did not start; see {system.log}")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_AWS_STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(system.temporary_folder, ignore_errors=True)


def _access(system: LocalSystem) -> dict[str, str]:
    # Without credentials, boto3 would look for real credentials, and requests might reach the real AWS.
    return {
        "AWS_ENDPOINT_URL": system.aws_url,
        **credentials.read_or_create(system.folder),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
    }


def _deploy(system: LocalSystem) -> str:
    local = stages.read_settings(stages.LOCAL_STAGE)
    os.environ.update(stages.read_environment(stages.LOCAL_STAGE))
    click.echo("Provisioning tables and queues ...")
    provision.provision(local)
    click.echo("Packaging and deploying the application ...")
    deployed = deploy.deploy(local, system.folder)
    if deployed.api_id:
        ministack_gaps.complete_api(deployed.api_id, "api", deployed.definition)
    if number := ministack_gaps.replay_uncounted(local):
        click.echo(f"Replaying {number} events: some were not counted at the last stop ...")
    return deployed.urls[local.front[0]]


def write_environment(system: LocalSystem, api_url: str, page_url: str) -> None:
    """
    Write the file that tells shells and operators' commands how to reach the running system.

    A shell that sources the file exports the variables. Only the user may read it, because it contains the credentials.
    """
    variables = {"API_URL": api_url, "PAGE_URL": page_url, **_access(system), **stages.bypass_proxies()}
    lines = [*(f"{name}={value}" for name, value in variables.items()), stages.EXPORT + " ".join(variables)]
    temporary = system.folder / "env.new"
    temporary.touch(mode=0o600)
    temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    temporary.rename(system.environment)


def _check_free(port: int, variable: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise OperatorError(
                f"Port {port} is in use: stop the other program, or set {variable} to another port."
            ) from error


def _is_reachable(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310  (our own address)
            return True
    except OSError:
        return False


def _wait_until(condition: Callable[[], bool], failure: str, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise OperatorError(f"{failure} within {within_s} seconds.")
        time.sleep(0.1)
