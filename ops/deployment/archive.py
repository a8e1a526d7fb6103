"""
The package that Chalice made, as it ships: without what no function can load, and with bytecode for what all load.

The folder in which functions run is read-only, so Python cannot keep bytecode there, and would compile all it loads at
each start. Bytecode that travels with its source needs no check against it. It is made by the Python that packages,
whose version is that of the runtime that Chalice chooses; another would ignore it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from ops.cli.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Where Lambda unpacks a package.
_UNPACKED = "/var/task"

#: The pages of Powertools' own routes, which Chalice's take the place of: a third of a megabyte.
_NEVER_LOADED = "aws_lambda_powertools/event_handler/openapi/swagger_ui/swagger-ui"

_LOADED = """
import os, sys, app
from chalicelib import cold_start
for function in sys.argv[1:]:
    cold_start.preload(function)
files = {getattr(module, "__file__", None) or "" for module in sys.modules.values()}
print(*sorted(file for file in files if file.startswith(os.getcwd() + os.sep) and file.endswith(".py")), sep="\\n")
"""


def finish(package: Path, functions: Iterable[str], environment: Mapping[str, str]) -> None:
    """
    The package is as it ships, for these functions in this environment. The same becomes the same file, byte by byte.

    Raises:
        OperatorError: a function of the stage cannot be loaded from the package.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        with ZipFile(package) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if not name.startswith(_NEVER_LOADED)])
        loaded = _python(folder, environment, "-c", _LOADED, *functions).splitlines()
        options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", _UNPACKED]
        _python(folder, environment, "-m", "compileall", *options, *loaded)
        _pack(folder, package)


def _pack(folder: Path, package: Path) -> None:
    with ZipFile(package, "w") as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = ZipInfo(file.relative_to(folder).as_posix())  # of 1980, whenever it was made
            member.external_attr = 0o644 << 16
            archive.writestr(member, file.read_bytes(), ZIP_DEFLATED, compresslevel=9)


def _python(folder: Path, environment: Mapping[str, str], *arguments: str) -> str:
    alike = {
        # A client wants to know where it would ask, though it asks nobody here.
        "AWS_DEFAULT_REGION": os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(  # noqa: S603  (our own command line)
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **environment, **alike},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OperatorError(f"What was packaged cannot be loaded:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout
