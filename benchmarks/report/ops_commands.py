"""The section on operators' commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.report.markdown import Section, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def readme_table(raw: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of operators' commands, which README has, too."""
    rows = [
        [
            f"{row['events']:,}{' (earlier)' if 'earlier' in row else ''}",
            row["command"],
            f"{row['a_second']:,}",
            f"{row['cpu_s']:,.1f} s",
            f"{row['peak_mb']:,} MB",
        ]
        for row in raw
    ]
    return table(["events", "command", "events a second", "its own CPU time", "peak memory"], rows)


def _says(raw: Sequence[Mapping[str, Any]]) -> str:
    return (
        "The operators' commands on logs of so many events, of a hundred counters; the embedded AWS does most of the "
        "work. *Earlier* rows are from another run of `make bench`, possibly on a busier machine. Within a run, time "
        "grows no faster than the log, and memory hardly grows.\n\n"
        f"{readme_table(raw)}"
    )


SECTION: Final = Section("Verify, replay and rebuild", _says)
