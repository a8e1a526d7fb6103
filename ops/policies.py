"""The functions' permissions: one policy for each function, in the words of one stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops import stages

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = stages.PROJECT / "infrastructure" / "policies"

#: Stands for the stage's name in the sources. No name that AWS takes has capital letters here.
_PLACEHOLDER = "STAGE"


def of_stage(stage: str) -> dict[str, str]:
    """The policies that the stage's functions have, as JSON texts, by the names of their files."""
    return {
        source.name: source.read_text(encoding="utf-8").replace(f"counter-{_PLACEHOLDER}", f"counter-{stage}")
        for source in sorted(SOURCE.glob("*.json"))
    }


def write(stage: str, configuration: Path) -> None:
    """The policies of the stage lie where the Chalice configuration in this folder names them."""
    folder = configuration / "policies" / stage
    folder.mkdir(parents=True, exist_ok=True)
    for name, policy in of_stage(stage).items():
        (folder / name).write_text(policy, encoding="utf-8")
