"""Signals interrupt a command, after the work that must complete."""

import signal
import subprocess
import sys

import pytest

from ops.cli import interrupts
from ops.stages import PROJECT

#: A program that starts as the operators' CLI does, and receives a signal twice.
PROGRAM = """
import signal, sys
from ops.cli import interrupts
interrupts.handle_signals()
number = int(sys.argv[1])
try:
    signal.raise_signal(number)
    print("not interrupted")
except KeyboardInterrupt:
    signal.raise_signal(number)
    print("cleaned up")
"""

#: A program that runs a local system in a folder, and receives a signal twice as soon as the system is ready.
LOCAL_SYSTEM = """
import contextlib, pathlib, signal, sys
from ops.local import stack

@contextlib.contextmanager
def run_aws(system):
    system.environment.touch()
    try:
        signal.raise_signal(int(sys.argv[1]))
    finally:
        signal.raise_signal(int(sys.argv[1]))
        print("shut down")
    yield

stack.run_aws = run_aws
stack.run(stack.LocalSystem(pathlib.Path(sys.argv[2]), 1, 2))
"""


@pytest.fixture(autouse=True)
def heed_hangup():
    """Let the programs receive SIGHUP, even if the tests run under nohup, whose children ignore it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def run(number, *before):
    command = [*before, sys.executable, "-c", PROGRAM, str(number.value)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_interrupts_the_process_once(number):
    assert run(number) == "cleaned up\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_shuts_the_local_system_down_once(tmp_path, number):
    command = [sys.executable, "-c", LOCAL_SYSTEM, str(number.value), str(tmp_path)]

    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "shut down\nStopped. The state is kept.\n")
    assert not (tmp_path / "env").exists()


def test_hangup_is_ignored_under_nohup():
    assert run(signal.SIGHUP, "nohup") == "not interrupted\n"


def test_deferred_block_completes_before_it_is_interrupted():
    steps, handler = [], signal.getsignal(signal.SIGINT)

    def work():
        with interrupts.defer():
            signal.raise_signal(signal.SIGINT)
            steps.append("completed")
        steps.append("not interrupted")

    with pytest.raises(KeyboardInterrupt):
        work()

    assert (steps, signal.getsignal(signal.SIGINT)) == (["completed"], handler)


def test_deferred_block_that_fails_restores_the_handler():
    handler = signal.getsignal(signal.SIGINT)

    with pytest.raises(ZeroDivisionError), interrupts.defer():
        _ = 1 / 0

    assert signal.getsignal(signal.SIGINT) is handler
