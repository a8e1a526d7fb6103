"""
What it takes to start each function, next to `import boto3` alone: python -m benchmarks.measure.cold_start

Each start is a process of its own. The package is the one that ships, unpacked where nothing is written, as Lambda does
it, and boto3 comes with its bytecode, as in Lambda's runtime. Beside it a minimal Chalice app is started, as `chalice
package` packs it and with bytecode as we add it, and a handler without any framework. What is compared takes turns, so
that what else this machine does meets all of it alike. Prints a table in Markdown, of ratios: milliseconds are another
machine's.
"""

from __future__ import annotations

import compileall
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import click

from benchmarks.measure import scope
from chalicelib import cold_start
from ops import stages
from ops.cli import progress
from ops.deployment import package as packaging

if TYPE_CHECKING:
    from collections.abc import Callable

_ENVIRONMENT = {
    "STAGE": stages.LOCAL_STAGE,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "PYTHONDONTWRITEBYTECODE": "1",
}

_TIMED = """
import json, sys, time
before = time.perf_counter()
{program}
print(json.dumps([time.perf_counter() - before, len(sys.modules)]))
"""
_BOTO3 = "import boto3"


#: What people begin with: a route that asks DynamoDB for something, and the same without Chalice.
_MINIMAL_APP = """
import boto3
from chalice import Chalice

app = Chalice(app_name="minimal")
database = boto3.client("dynamodb")


@app.route("/counters/{counter_id}")
def counter(counter_id):
    return database.get_item(TableName="counters", Key={"counter_id": {"S": counter_id}})["Item"]
"""
_BARE_HANDLER = """
import json

import boto3

database = boto3.client("dynamodb")


def handler(event, context):
    key = {"counter_id": {"S": event["pathParameters"]["counter_id"]}}
    return {"statusCode": 200, "body": json.dumps(database.get_item(TableName="counters", Key=key)["Item"])}
"""


@click.command(help=__doc__)
@click.argument("times", type=click.IntRange(2), default=40)
@click.option("--most", type=float, help="Exit with 1 if an import takes more than so many times that of boto3.")
def main(times: int, most: float | None) -> None:
    with progress.bar("Starting", times) as advance:
        found = measured(times, advance)
    click.echo("| | import boto3 = 1: median | least | middle half | modules |\n|---|---|---|---|---|")
    for name, row in found["starts"].items():
        spread = f"{row['low']:.2f} to {row['high']:.2f}"
        click.echo(f"| {name} | {row['median']:.2f} | {row['least']:.2f} | {spread} | {row['modules']} |")
    slow = [one for one in cold_start.FUNCTIONS if most and found["starts"][f"{one}, imports"]["median"] > most]
    sys.exit(1 if slow else 0)


def measured(times: int, advance: Callable[[int], None]) -> dict[str, Any]:
    """
    Starts as multiples of `import boto3`, from so many of each, and the sizes of packages in bytes.

    `advance` is told each time that all have been started once more.
    """
    with tempfile.TemporaryDirectory() as folder:
        task, sizes = _packages(Path(folder))
        programs = {name: (program, task) for name, program in _programs().items()}
        for name in (scope.MINIMAL, scope.WITH_BYTECODE, scope.BARE):
            programs[name] = ("import app", Path(folder) / name)
        found: dict[str, list[tuple[float, int]]] = {name: [] for name in programs}
        for _ in range(times):
            for name, (program, package) in programs.items():
                found[name].append(_measured(program, package))
            advance(1)
    unit = [seconds for seconds, _ in found[scope.START_UNIT]]
    return {"times": times, "starts": {name: _row(starts, unit) for name, starts in found.items()}, "bytes": sizes}


def _programs() -> dict[str, str]:
    """What is measured. Of each function: what it imports; and all of its start, in which it makes its client, too."""
    found = {scope.START_UNIT: _BOTO3, "boto3, with a client": f"{_BOTO3}; boto3.client('dynamodb')"}
    for function, (room, clients) in cold_start.FUNCTIONS.items():
        sdk = f"; {_BOTO3}" if clients == "queues" else ""
        found[f"{function}, imports"] = f"import app, chalicelib.{room}, chalicelib.{clients}{sdk}"
        found[f"{function}, with its client"] = f"import os; os.environ['_HANDLER'] = '{function}'; import app"
    return found


def _packages(folder: Path) -> tuple[Path, dict[str, int]]:
    """Where our package is unpacked, beside the others, each in a folder of its name; and what they weigh, zipped."""
    os.environ.update(_ENVIRONMENT)
    for name in ("boto3", "botocore", "s3transfer", "jmespath", "urllib3", "dateutil"):
        (place,) = importlib.util.find_spec(name).submodule_search_locations  # type: ignore[union-attr, misc]
        compileall.compile_dir(place, quiet=1)
    packaged = packaging.package(stages.settings_of(stages.LOCAL_STAGE), folder / "work") / "deployment.zip"
    without_sql = packaging.package(stages.settings_of("dev"), folder / "dev") / "deployment.zip"
    minimal = _packaged_by_chalice(folder / "minimal")
    sizes = {
        scope.OURS: without_sql.stat().st_size,
        f"{scope.OURS}, with SQL": packaged.stat().st_size,
        scope.MINIMAL: minimal.stat().st_size,
    }
    for name, archive in (("task", packaged), (scope.MINIMAL, minimal), (scope.WITH_BYTECODE, minimal)):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder / name)
    compileall.compile_dir(folder / scope.WITH_BYTECODE, quiet=1)
    (folder / scope.BARE).mkdir()
    (folder / scope.BARE / "app.py").write_text(_BARE_HANDLER, encoding="utf-8")
    with zipfile.ZipFile(folder / "bare.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.write(folder / scope.BARE / "app.py", "app.py")
    return folder / "task", {**sizes, scope.BARE: (folder / "bare.zip").stat().st_size}


def _packaged_by_chalice(project: Path) -> Path:
    (project / ".chalice").mkdir(parents=True)
    config = {"version": "2.0", "app_name": "minimal", "stages": {"dev": {"api_gateway_stage": "api"}}}
    (project / ".chalice" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (project / "app.py").write_text(_MINIMAL_APP, encoding="utf-8")
    (project / "requirements.txt").touch()
    subprocess.run(
        [sys.executable, "-c", "from chalice.cli import main; main()", "package", "build"],
        cwd=project,
        env={**os.environ, **_ENVIRONMENT},
        check=True,
        capture_output=True,
    )
    return project / "build" / "deployment.zip"


def _measured(program: str, package: Path) -> tuple[float, int]:
    """Seconds, and how many modules are loaded then, of one process."""
    done = subprocess.run(
        [sys.executable, "-c", _TIMED.format(program=program)],
        cwd=package,
        env={**os.environ, **_ENVIRONMENT},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, modules = json.loads(done.stdout)
    return seconds, modules


def _row(starts: list[tuple[float, int]], unit: list[float]) -> dict[str, float]:
    """How these starts compare with the unit's: median, least and middle half; and how many modules were loaded."""
    seconds = [one for one, _ in starts]
    low, _, high = (quarter / median(unit) for quarter in quantiles(seconds, n=4))
    return {
        "median": round(median(seconds) / median(unit), 3),
        "least": round(min(seconds) / min(unit), 3),
        "low": round(low, 3),
        "high": round(high, 3),
        "modules": starts[-1][1],
    }


if __name__ == "__main__":
    main()
