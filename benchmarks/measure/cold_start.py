"""
Measure the start time of each function, as a multiple of the time of `import boto3`.

Each start runs in a separate process. As on Lambda, Python does not write bytecode into our package's folder, and boto3
includes its bytecode. The programs take turns, so other load on the machine affects all of them equally.
"""

import compileall
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

from benchmarks.measure import environment, scope
from chalicelib import cold_start
from chalicelib.projections import READ_MODEL
from ops import stages
from ops.deployment import package as packaging

_ENVIRONMENT: Final = {
    "STAGE": stages.LOCAL_STAGE,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "PYTHONDONTWRITEBYTECODE": "1",
}

_TIMED: Final = """
import json, sys, time
before = time.perf_counter()
{program}
print(json.dumps([time.perf_counter() - before, len(sys.modules)]))
"""

#: A route that reads from DynamoDB, with and without Chalice.
_MINIMAL_APP: Final = """
import boto3
from chalice import Chalice

app = Chalice(app_name="minimal")
database = boto3.client("dynamodb")


@app.route("/counters/{counter_id}")
def counter(counter_id):
    return database.get_item(TableName="counters", Key={"counter_id": {"S": counter_id}})["Item"]
"""
_BARE_HANDLER: Final = """
import json

import boto3

database = boto3.client("dynamodb")


def handler(event, context):
    key = {"counter_id": {"S": event["pathParameters"]["counter_id"]}}
    return {"statusCode": 200, "body": json.dumps(database.get_item(TableName="counters", Key=key)["Item"])}
"""


def measure(*, quick: bool) -> dict[str, Any]:
    """Return the start times as multiples of `import boto3`, and the sizes of the packages in bytes."""
    rounds = 3 if quick else 25
    with tempfile.TemporaryDirectory(dir=os.environ["LOCAL_FOLDER"]) as root:
        folder = Path(root)
        sizes = _make_packages(folder)
        programs = {name: (program, folder / "task") for name, program in _list_programs().items()}
        programs |= {name: ("import app", folder / name) for name in (scope.MINIMAL, scope.WITH_BYTECODE, scope.BARE)}
        starts: dict[str, list[tuple[float, int]]] = {name: [] for name in programs}
        for _ in environment.show_progress(range(rounds), "Starts"):
            for name, (program, package) in programs.items():
                starts[name].append(json.loads(run_python(["-c", _TIMED.format(program=program)], package)))
    unit = [seconds for seconds, _ in starts[scope.START_UNIT]]
    return {"times": rounds, "starts": {name: _summarize(each, unit) for name, each in starts.items()}, "bytes": sizes}


def _list_programs() -> dict[str, str]:
    """Return the programs by name: `import boto3` without and with a client, and each function's imports and start."""
    programs = {
        scope.START_UNIT: "import boto3",
        f"{scope.START_UNIT}, with a client": "import boto3; boto3.client('dynamodb')",
    }
    for function, modules in cold_start.list_functions([READ_MODEL]).items():
        imports = ["app", *(f"chalicelib.{module}" for module in modules)]
        if modules[-1] == "aws.sqs":
            imports.append("boto3")  # which creates the client
        programs[f"`{function}`, imports"] = f"import {', '.join(imports)}"
        programs[f"`{function}`, with its client"] = f"import os; os.environ['_HANDLER'] = '{function}'; import app"
    return programs


def compile_sdk() -> None:
    """Compile the bytecode of the SDK, which Lambda's runtime includes."""
    for name in ("boto3", "botocore", "s3transfer", "jmespath", "urllib3", "dateutil"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        compileall.compile_dir((spec.submodule_search_locations or [""])[0], quiet=1)


def make_package(stage: str, folder: Path, **changes: Any) -> Path:
    """Return the archive of our package for this stage, with changed settings."""
    return packaging.package(replace(stages.read_settings(stage), **changes), folder) / "deployment.zip"


def _make_packages(folder: Path) -> dict[str, int]:
    """
    Make the packages, and return the sizes of their archives.

    Unpack the packages that are started: ours, with SQL, into `task`, and each other package into a folder with its
    name.
    """
    os.environ.update(_ENVIRONMENT)
    compile_sdk()
    (folder / "bare").mkdir()
    (folder / "bare" / "app.py").write_text(_BARE_HANDLER, encoding="utf-8")
    with_sql = make_package(stages.LOCAL_STAGE, folder / "work")
    packages = {
        scope.OURS: make_package("dev", folder / "dev", counters=("*",)),
        f"{scope.OURS}, with SQL": with_sql,
        scope.MINIMAL: _package_minimal_app(folder / "minimal"),
        scope.BARE: Path(shutil.make_archive(str(folder / "bare"), "zip", folder / "bare")),
    }
    unpacked = {name: packages[name] for name in (scope.MINIMAL, scope.BARE)}
    unpacked |= {"task": with_sql, scope.WITH_BYTECODE: packages[scope.MINIMAL]}
    for name, archive in unpacked.items():
        shutil.unpack_archive(archive, folder / name)
    compileall.compile_dir(folder / scope.WITH_BYTECODE, quiet=1)
    return {name: archive.stat().st_size for name, archive in packages.items()}


def _package_minimal_app(project: Path) -> Path:
    (project / ".chalice").mkdir(parents=True)
    config = {"version": "2.0", "app_name": "minimal", "stages": {"dev": {"api_gateway_stage": "api"}}}
    (project / ".chalice" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (project / "app.py").write_text(_MINIMAL_APP, encoding="utf-8")
    (project / "requirements.txt").touch()
    run_python(["-c", "from chalice.cli import main; main()", "package", "build"], project)
    return project / "build" / "deployment.zip"


def run_python(arguments: list[str], folder: Path) -> str:
    """Run Python in this folder, and return its output."""
    command, variables = [sys.executable, *arguments], {**os.environ, **_ENVIRONMENT}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=True).stdout


def _summarize(starts: list[tuple[float, int]], unit: list[float]) -> dict[str, float]:
    """
    Return the number of modules, and the median, minimum and quartiles of these times.

    The minimum is a multiple of the minimum of `unit`; the others are multiples of its median.
    """
    seconds = [each for each, _ in starts]
    low, middle, high = (round(quarter / median(unit), 3) for quarter in quantiles(seconds, n=4))
    least = round(min(seconds) / min(unit), 3)
    return {"median": middle, "least": least, "low": low, "high": high, "modules": starts[-1][1]}
