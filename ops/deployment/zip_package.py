"""
Finish the package: remove files that no function loads, and add bytecode for the modules that functions load.

Functions run in a read-only folder, so Python cannot cache bytecode there and would compile all modules at each cold
start. Bytecode that ships with its source need not be checked against the source. The Python that runs this command
compiles the bytecode. Chalice deploys to the Lambda runtime of the same version; any other version ignores the
bytecode.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from ops.cli.errors import OperatorError

#: Where Lambda unpacks a package.
_UNPACKED = "/var/task"

#: Assets of the router of Powertools, which the application does not use: a third of a megabyte.
_NEVER_LOADED = "aws_lambda_powertools/event_handler/openapi/swagger_ui/swagger-ui"

#: The package's cryptography is compiled for the functions' processor. This machine loads its own environment's copy.
_LIST_LOADED = """
import os, sys
if os.path.isdir("cryptography"):
    paths = sys.path[:]
    sys.path[:] = [path for path in paths if os.path.abspath(path) != os.getcwd()]
    import cryptography.hazmat.bindings._rust
    sys.path[:] = paths
import app
from chalicelib import cold_start
for function in sys.argv[1:]:
    cold_start.preload(function)
files = {getattr(module, "__file__", None) or "" for module in sys.modules.values()}
ours = {os.path.relpath(file) for file in files if file.startswith(os.getcwd() + os.sep) and file.endswith(".py")}
names = [name.replace(".", "/") for name in sys.modules if name.startswith("cryptography.")] + ["cryptography"]
ours.update(file for name in names for file in (f"{name}.py", f"{name}/__init__.py") if os.path.isfile(file))
print(*sorted(ours), sep="\\n")
"""


def finish(package: Path, functions: Iterable[str], environment: Mapping[str, str]) -> None:
    """
    Finish Chalice's package in place, for these functions in this environment.

    Reproducible: the same input gives the same bytes.
    """
    with tempfile.TemporaryDirectory(dir=package.parent) as name:
        folder = Path(name).resolve()
        with ZipFile(package) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if not name.startswith(_NEVER_LOADED)])
        loaded = _python(folder, environment, "-c", _LIST_LOADED, *functions).splitlines()
        options = ["-q", "--invalidation-mode", "unchecked-hash", "-p", _UNPACKED]
        _python(folder, environment, "-m", "compileall", *options, *loaded)
        _pack(folder, package)


def _pack(folder: Path, package: Path) -> None:
    with ZipFile(package, "w") as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = ZipInfo(file.relative_to(folder).as_posix())  # dated 1980, so the archive is reproducible
            member.external_attr = 0o644 << 16
            archive.writestr(member, file.read_bytes(), ZIP_DEFLATED, compresslevel=7)


def _python(folder: Path, environment: Mapping[str, str], *arguments: str) -> str:
    overrides = {
        # Creating a client requires a region, although no request is sent.
        "AWS_DEFAULT_REGION": os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, *arguments]
    return run(command, "The package cannot be loaded", folder, {**environment, **overrides})


def run(command: list[str], failure: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Run a command in this folder, with these environment variables added, and return its output."""
    process = subprocess.run(  # noqa: S603  (our own command line)
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if process.returncode:
        raise OperatorError(f"{failure}:\n{process.stdout}{process.stderr}".rstrip())
    return process.stdout
