"""
The whole system on one machine: an embedded AWS, the stage `local` deployed on it, and the page.

    python -m ops.local run     in the foreground, until Ctrl-C
    python -m ops.local up      in the background; returns when it is ready
    python -m ops.local down    stops what `up` or `run` started
    python -m ops.local local   Chalice's development server, on what `up` started

Everything listens on 127.0.0.1 only. State lies in the folder `.local` and is kept over an orderly stop.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from ops import stages
from ops.cli.errors import OperatorError
from ops.deployment import deploy, provision
from ops.local import ministack_gaps
from ops.local.page_server import PageServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_READY_WITHIN_S = 120
_STOPS_WITHIN_S = 60
_ALL_STOPS_WITHIN_S = 90

#: What `up` started in this process: kept, so that nobody takes it for a forgotten child.
_background: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class Place:
    """Where one system lives: its folder and its two ports."""

    folder: Path
    aws_port: int
    page_port: int

    @property
    def aws_url(self) -> str:
        """The one address of every AWS service."""
        return f"http://127.0.0.1:{self.aws_port}"

    @property
    def lock(self) -> Path:
        """Held, with the process id inside, for as long as the system runs."""
        return self.folder / "lock"

    @property
    def environment(self) -> Path:
        """Written when the system is ready, gone when it is not: what a shell needs to use it."""
        return self.folder / "env"

    @property
    def state(self) -> Path:
        """What the embedded AWS keeps over a stop."""
        return self.folder / "state"

    @property
    def log(self) -> Path:
        """What the embedded AWS and the functions in it say."""
        return self.folder / "aws.log"

    @property
    def own_log(self) -> Path:
        """What `up` would have said in the foreground."""
        return self.folder / "up.log"


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command("run")
def run_command() -> None:
    """In the foreground, until Ctrl-C."""
    with _clear_errors():
        run(_place())


@main.command("up")
def up_command() -> None:
    """In the background; returns when it is ready."""
    with _clear_errors():
        up(_place())


@main.command("down")
def down_command() -> None:
    """Stops what `up` or `run` started."""
    with _clear_errors():
        down(_place())


@main.command("local")
@click.option("--port", default=8000, show_default=True, help="Where the development server listens, on 127.0.0.1.")
def local_command(port: int) -> None:
    """`chalice local` with reload, against the embedded AWS that `up` started."""
    with _clear_errors():
        local(_place(), port)


def run(place: Place) -> None:
    """
    The system runs until this process is interrupted or told to end, and is then stopped in order.

    Raises:
        OperatorError: it runs already, a port is in use, or a part of it does not start.
    """
    with _lock(place):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        place.environment.unlink(missing_ok=True)
        try:
            with aws_of(place) as aws:
                api_url = _deploy(place)
                with contextlib.closing(PageServer(place.page_port, api_url)) as page:
                    write_environment(place, api_url, page.url)
                    click.echo(f"Page: {page.url}\nAPI: {api_url}\nCtrl-C stops it.")
                    status = aws.wait()
                raise OperatorError(f"The embedded AWS ended by itself with status {status}; see {place.log}")
        except KeyboardInterrupt:
            click.echo("Stopped. State is kept for the next start.")
        finally:
            place.environment.unlink(missing_ok=True)


def up(place: Place) -> None:
    """
    The system runs in the background and is ready. If it was, nothing changes.

    Raises:
        OperatorError: it does not start, or not in time.
    """
    place.folder.mkdir(parents=True, exist_ok=True)
    if _pid(place) is None:
        _start_in_background(place)
    else:
        _wait_until(place.environment.exists, "The running system is not ready", _READY_WITHIN_S)
    found = stages.addresses(place.folder)
    click.echo(f"Page: {found['PAGE_URL']}\nAPI: {found['API_URL']}\n`make down` stops it.")


def _start_in_background(place: Place) -> None:
    place.environment.unlink(missing_ok=True)  # of a run that was killed
    with place.own_log.open("w") as log:
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
            lambda: place.environment.exists() or child.poll() is not None, "The system was not ready", _READY_WITHIN_S
        )
    except BaseException:
        child.terminate()
        raise
    if child.poll() is not None:
        said = place.own_log.read_text(encoding="utf-8").strip()
        raise OperatorError(said.rpartition("Error: ")[2])


def down(place: Place) -> None:
    """
    The system does not run, and its state is kept.

    Raises:
        OperatorError: it does not stop in time.
    """
    pid = _pid(place)
    if pid is None:
        click.echo("Nothing is running here.")
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    _wait_until(lambda: _pid(place) is None, f"Process {pid} did not stop", _ALL_STOPS_WITHIN_S)
    for child in [one for one in _background if one.pid == pid]:
        child.wait(_STOPS_WITHIN_S)
        _background.remove(child)
    click.echo("Stopped. State is kept for the next start.")


def local(place: Place, port: int) -> None:
    """
    Chalice's development server takes over this process, on the running system's tables and queues.

    Raises:
        OperatorError: nothing is running to serve from.
    """
    environment = {**os.environ, **stages.addresses(place.folder)}
    _check_free(port, "PORT")
    os.chdir(stages.PROJECT)
    # Chalice's own reloader watches the whole checkout, and so every line that the embedded AWS writes into .local. Nor
    # does it matter here that `provision` writes policies.
    watch = str(Path(sys.executable).parent / "watchfiles")
    server = shlex.join([sys.executable, "-m", "ops.local.chalice_local", str(port)])
    os.execve(watch, [watch, server, "app.py", "chalicelib", ".chalice/config.json"], environment)  # noqa: S606


def _place() -> Place:
    place = Place(stages.local_folder(), _port("AWS_PORT", 4566), _port("PAGE_PORT", 8080))
    if place.aws_port == place.page_port:
        raise OperatorError(f"AWS_PORT and PAGE_PORT are both {place.aws_port}; they must differ.")
    return place


def _port(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise OperatorError(f"{name} must be a port number from 1 to 65535, not {text!r}.")
    return int(text)


@contextlib.contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except (OperatorError, OSError) as error:
        raise click.ClickException(str(error)) from error


@contextlib.contextmanager
def _lock(place: Place) -> Iterator[None]:
    place.folder.mkdir(parents=True, exist_ok=True)
    with place.lock.open("a+") as file:
        if not _locked(file):
            raise OperatorError(f"It is running already (process {_pid(place)}). `make down` stops it.")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid(place: Place) -> int | None:
    """The process that holds the lock, or None. The lock, not the number in it, says whether one does."""
    if not place.lock.exists():
        return None
    with place.lock.open("r+") as file:
        if _locked(file):
            return None
        text = file.read()
    return int(text) if text.isdecimal() else None


@contextlib.contextmanager
def aws_of(place: Place, program: str = "ops.local.ministack_process") -> Iterator[subprocess.Popen[bytes]]:
    """
    The embedded AWS, or the variant of it that `program` is, answers.

    Afterwards it is stopped in order, which is when it writes its state down.
    """
    _check_free(place.aws_port, "AWS_PORT")
    _check_free(place.page_port, "PAGE_PORT")
    click.echo("Starting the embedded AWS ...")
    os.environ.update(_credentials(place))
    ministack_gaps.forget_stream_positions(place.state)
    with place.log.open("a") as log:
        process = subprocess.Popen(  # noqa: S603  (our own program)
            [sys.executable, "-m", program],
            cwd=stages.PROJECT,
            env={
                **os.environ,
                # IAM is enforced, as AWS does: a permission that a function lacks shows here.
                "AUTH": "true",
                "BIND_HOST": "127.0.0.1",
                "GATEWAY_PORT": str(place.aws_port),
                "IOT_MTLS_ENABLED": "0",
                "PERSIST_STATE": "1",
                "S3_PERSIST": "1",
                "STATE_DIR": str(place.state.resolve()),
                "S3_DATA_DIR": str((place.folder / "s3").resolve()),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            # Held by us alone, so that it ends when we do, however we end.
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # Of its own, so that Ctrl-C reaches it only through us, and after the page is gone.
            start_new_session=True,
        )
    try:
        _wait_until(
            lambda: process.poll() is not None or _answers(f"{place.aws_url}/_ministack/health"),
            "The embedded AWS did not answer",
            _READY_WITHIN_S,
        )
        if process.poll() is not None:
            raise OperatorError(f"The embedded AWS did not start; see {place.log}")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _credentials(place: Place) -> dict[str, str]:
    # Nobody's: without them boto3 looks for real ones, and with real ones it might find the real AWS.
    return {
        "AWS_ENDPOINT_URL": place.aws_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _deploy(place: Place) -> str:
    local = stages.settings_of(stages.LOCAL_STAGE)
    os.environ.update(stages.environment_of(stages.LOCAL_STAGE))
    click.echo("Provisioning tables and queues ...")
    provision.provision(local)
    click.echo("Packaging and deploying the application ...")
    deployed = deploy.deploy(local, place.folder)
    ministack_gaps.fill_in_api(deployed.api_id, "api", deployed.definition)
    if again := ministack_gaps.deliver_again(local):
        click.echo(f"Delivering {again} events again: some were not counted at the last stop ...")
    return deployed.url


def write_environment(place: Place, api_url: str, page_url: str) -> None:
    """A shell, and the operators' program, find the system that runs at this place."""
    lines = {"API_URL": api_url, "PAGE_URL": page_url, **_credentials(place)}
    ready = place.folder / "env.new"
    ready.write_text("".join(f"{name}={value}\n" for name, value in lines.items()), encoding="utf-8")
    ready.rename(place.environment)


def _check_free(port: int, variable: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise OperatorError(
                f"Port {port} is in use: stop what uses it, or choose another, as in {variable}={port + 1} make run"
            ) from error


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310  (our own address)
            return True
    except OSError:
        return False


def _wait_until(condition: Callable[[], bool], otherwise: str, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise OperatorError(f"{otherwise} within {within_s} seconds.")
        time.sleep(0.1)
