"""
The folder of each test process, in `.local/tests`. The process removes it at exit.

If the process is killed, the next test process removes it.

`make clean` runs `python -m testkit.run_folder`, which removes the folders of killed processes.
"""

import atexit
import contextlib
import fcntl
import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

ALL = Path(__file__).parent.parent / ".local" / "tests"


def create() -> Path:
    """Create a folder that exists as long as this process. Remove the folders of killed processes."""
    with _exclude_other_processes():
        _remove_leftovers()
        folder = Path(tempfile.mkdtemp(dir=ALL))
        lock = _lock(folder / "owner")  # held until the process ends, even if it is killed
    atexit.register(_remove, folder, lock)
    return folder


def _remove(folder: Path, lock: IO[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.close()


def remove_leftovers() -> None:
    """Stop local systems that killed processes left running, and remove the folders of these processes."""
    with _exclude_other_processes():
        _remove_leftovers()


def _remove_leftovers() -> None:
    for folder in [path for path in ALL.iterdir() if path.is_dir()]:
        with contextlib.suppress(BlockingIOError), _lock(folder / "owner"):
            # Imported late: most processes find no such folder, and the tests' environment must be set first.
            from ops.local import stack

            with contextlib.redirect_stdout(io.StringIO()):
                stack.down(stack.LocalSystem(folder, 0, 0))
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _exclude_other_processes() -> Iterator[None]:
    ALL.mkdir(parents=True, exist_ok=True)
    with (ALL / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock(path: Path) -> IO[str]:
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise
    return file


if __name__ == "__main__":
    remove_leftovers()
