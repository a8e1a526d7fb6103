"""Operators' commands, told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bench.telling.writing import Section, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def readme_table(raw: Sequence[Mapping[str, Any]]) -> str:
    """The table of operators' commands, as it stands in README, too."""
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
        "work. *Earlier* is what was measured in another run of `make bench` than the rest, and maybe beside other "
        "work. Within one run, time grows no faster than the log, and memory hardly.\n\n"
        f"{readme_table(raw)}"
    )


SECTION: Final = Section("Verifying, replaying, rebuilding", _says)
