"""
What it takes to start each function, next to `import boto3` alone: python -m bench.starting

Each start is a process of its own. The package is the one that ships, unpacked where nothing is written, as Lambda does
it, and boto3 comes with its bytecode, as in Lambda's runtime. What is compared takes turns, so that what else this
machine does meets all of it alike. Prints a table in Markdown, of ratios: milliseconds are another machine's.
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

import boto3
import click

from chalicelib import starting
from ops import package as packaging
from ops import progress, stages

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


@click.command(help=__doc__)
@click.argument("times", type=click.IntRange(2), default=40)
@click.option("--most", type=float, help="Exit with 1 if an import takes more than so many times that of boto3.")
def main(times: int, most: float | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        package = _unpacked(Path(folder))
        programs = _programs()
        found: dict[str, list[tuple[float, int]]] = {name: [] for name in programs}
        with progress.shown("Starting", times) as advance:
            for _ in range(times):
                for name, program in programs.items():
                    found[name].append(_measured(program, package))
                advance(1)
    click.echo("| | import boto3 = 1: median | least | middle half | modules |\n|---|---|---|---|---|")
    unit = [seconds for seconds, _ in found["boto3"]]
    ratios = {name: _row(name, measured, unit) for name, measured in found.items()}
    if most is not None and any(ratios[f"{function}, imports"] > most for function in starting.FUNCTIONS):
        sys.exit(1)


def _programs() -> dict[str, str]:
    """What is measured. Of each function: what it imports; and all of its start, in which it makes its client, too."""
    found = {"boto3": _BOTO3, "boto3, with a client": f"{_BOTO3}; boto3.client('dynamodb')"}
    for function, (room, clients) in starting.FUNCTIONS.items():
        sdk = f"; {_BOTO3}" if clients == "queues" else ""
        found[f"{function}, imports"] = f"import app, chalicelib.{room}, chalicelib.{clients}{sdk}"
        found[f"{function}, with its client"] = f"import os; os.environ['_HANDLER'] = '{function}'; import app"
    return found


def _unpacked(folder: Path) -> Path:
    os.environ.update(_ENVIRONMENT)
    for name in ("boto3", "botocore", "s3transfer", "jmespath", "urllib3", "dateutil"):
        (place,) = importlib.util.find_spec(name).submodule_search_locations  # type: ignore[union-attr, misc]
        compileall.compile_dir(place, quiet=1)
    packaged = packaging.package(stages.settings_of(stages.LOCAL_STAGE), folder / "work")
    size = (packaged / "deployment.zip").stat().st_size
    click.echo(f"The package has {size:,} bytes. boto3 is {boto3.__version__}.", err=True)
    with zipfile.ZipFile(packaged / "deployment.zip") as archive:
        archive.extractall(folder / "task")
    return folder / "task"


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


def _row(name: str, measured: list[tuple[float, int]], unit: list[float]) -> float:
    """Prints how it compares with the unit, and returns the ratio of their medians."""
    seconds = [one for one, _ in measured]
    low, _, high = (quarter / median(unit) for quarter in quantiles(seconds, n=4))
    ratio = median(seconds) / median(unit)
    least = min(seconds) / min(unit)
    click.echo(f"| {name} | {ratio:.2f} | {least:.2f} | {low:.2f} to {high:.2f} | {measured[-1][1]} |")
    return ratio


if __name__ == "__main__":
    main()
