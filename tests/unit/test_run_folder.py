"""Remove folders of killed test processes, and keep folders in use."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testkit import run_folder
from tests import databases
from tests.doc_pages import PROJECT
from tests.e2e.conftest import eventually


@pytest.fixture
def start(tmp_path):
    """Start processes that create a folder and wait. Stop them after the test."""
    started = []
    program = (
        "import pathlib, sys; from testkit import run_folder; run_folder.ALL = pathlib.Path(sys.argv[1]); "
        "print(run_folder.create(), flush=True); sys.stdin.read()"
    )

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout
        return process, tmp_path / process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_folder_of_a_killed_process_is_removed(start, tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "ALL", tmp_path)
    living, kept = start()
    killed, left = start()
    (left / "tmp").mkdir()
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()

    run_folder.remove_leftovers()

    assert (left.exists(), kept.exists(), living.poll()) == (False, True, None)


def test_folder_is_removed_at_exit(start):
    process, folder = start()

    process.communicate("")

    assert not folder.exists()


def test_database_of_a_killed_process_stops_and_removes_its_files():
    if (programs := databases.binaries()) is None:
        pytest.skip("PostgreSQL is not installed")
    program = (
        "import os, signal, sys; from pathlib import Path; from tests import databases; "
        "running = databases.run_postgresql(Path(sys.argv[1])); "
        "print(running.__enter__().folder, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )

    killed = subprocess.run(
        [sys.executable, "-c", program, programs], cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=False
    )

    folder = Path(killed.stdout.strip())
    assert killed.returncode == -signal.SIGKILL
    eventually(lambda: not folder.exists())
