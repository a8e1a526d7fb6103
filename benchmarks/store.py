"""Read and write docs/figures.json: the raw figures of each section, with the date and the machine."""

import contextlib
import datetime
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import click

PROJECT: Final = Path(__file__).parent.parent
DOCS: Final = PROJECT / "docs"

#: The sections in the order in which they are measured: `scale` and `batching_windows` use `function_steps`.
SECTIONS: Final = (
    "request_costs",
    "faults",
    "cpu_time",
    "throughput",
    "latency",
    "function_steps",
    "fronts",
    "batching_windows",
    "cold_start",
    "ops_commands",
    "scale",
    "validation",
)


def read(folder: Path = DOCS) -> dict[str, Any]:
    """
    Return all sections that are stored in this folder.

    Raises:
        ClickException: the folder has no figures.json.
    """
    try:
        stored: dict[str, Any] = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise click.ClickException(f"No such file: {folder / 'figures.json'}. Run `make bench` first.") from error
    return stored


def write(folder: Path, section: str, raw: Any, machine: dict[str, Any]) -> None:
    """Store one section, measured today. Other sections stay unchanged."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = read(folder) if (folder / "figures.json").exists() else {}
    if section == "ops_commands" and section in stored:
        raw = keep_other_sizes(raw, stored[section]["raw"])
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    stored[section] = {"measured_on": today, "machine": machine, "raw": raw}
    ordered = {name: stored[name] for name in SECTIONS if name in stored}
    (folder / "figures.json").write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


def keep_other_sizes(raw: list[dict[str, Any]], before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the earlier rows for logs of other sizes, because measuring such logs again can take an hour."""
    sizes = {row["events"] for row in raw}
    earlier = [{**row, "earlier": True} for row in before if row["events"] not in sizes]
    return sorted([*raw, *earlier], key=lambda row: row["events"])


def describe_machine() -> dict[str, Any]:
    """Describe the machine, its load, and the versions of software that affect times."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor)
    return {
        "cpus": os.cpu_count(),
        "processor": processor,
        "load": round(os.getloadavg()[0], 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "boto3": metadata.version("boto3"),
    }
