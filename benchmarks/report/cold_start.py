"""The section on how functions start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.measure import scope
from benchmarks.report.markdown import DASH, Section, table

if TYPE_CHECKING:
    from collections.abc import Mapping


def _says(raw: Mapping[str, Any]) -> str:
    rows = [
        [
            _started(name),
            f"{row['median']:.2f}",
            f"{row['least']:.2f}",
            f"{row['low']:.2f} to {row['high']:.2f}",
            f"{row['modules']}",
        ]
        for name, row in raw["starts"].items()
    ]
    sizes = [[name, f"{size:,}"] for name, size in raw["bytes"].items()]
    return "\n\n".join(
        (
            f"The time from the start of a new process until it can take its first event, as multiples of that of "
            f"`import boto3`: {raw['times']} starts of each, in turn. *Median* and *middle half* are those of the "
            "starts over the median of `import boto3`, *least* is the shortest start over its shortest, and *modules* "
            "is the number of loaded modules. The minimal app is a route that queries DynamoDB, as `chalice package` "
            "packs it, and with bytecode as our package has it; the bare handler does the same without a framework. "
            "Both create a "
            "client of DynamoDB.",
            table(["process", "median", "least", "middle half", "modules"], rows),
            table(["package", "bytes"], sizes),
        )
    )


def _started(name: str) -> str:
    function, comma, what = name.partition(", ")
    return (
        {scope.START_UNIT: "`import boto3`"}.get(function, f"`{function}`" if "." in function else function)
        + comma
        + what
    )


_FUNCTIONS: Final = {
    "app.app": "the API",
    "app.publish": "`publish`",
    "app.project": "`project`",
    "app.check": "`check`",
}


def readme_table(raw: Mapping[str, Any]) -> str:
    """Return the table of starts of docs/deploying.md."""

    def row(name: str, imports: str, with_client: str) -> list[str]:
        starts = raw["starts"]
        first, second = (f"{starts[start]['median']:.2f}" for start in (imports, with_client))
        return [name, "1" if imports == scope.START_UNIT else first, second, f"{starts[with_client]['modules']}"]

    rows = [row("`import boto3`, and a client of DynamoDB", scope.START_UNIT, f"{scope.START_UNIT}, with a client")]
    rows += [row(name, f"{start}, imports", f"{start}, with its client") for start, name in _FUNCTIONS.items()]
    rows += [
        [name, DASH, f"{raw['starts'][name]['median']:.2f}", f"{raw['starts'][name]['modules']}"]
        for name in (scope.MINIMAL, scope.BARE)
    ]
    return table(["", "imports", "and makes its client", "modules"], rows)


SECTION: Final = Section("Cold starts", _says)
