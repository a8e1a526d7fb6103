"""Signals interrupt a command, after the work that must complete."""

from __future__ import annotations

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


def run(number, *before):
    command = [*before, sys.executable, "-c", PROGRAM, str(number.value)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_interrupts_the_process_once(number):
    assert run(number) == "cleaned up\n"


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
