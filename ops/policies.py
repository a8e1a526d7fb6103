"""Permissions in the words of one stage: a policy for each function, and one for who operates the stage."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ops import stages

if TYPE_CHECKING:
    from pathlib import Path

FUNCTIONS = stages.PROJECT / "infrastructure" / "policies"
OPERATOR = stages.PROJECT / "infrastructure" / "operator-policy.json"

#: Stands for the stage's name in the sources. No name that AWS takes has capital letters here.
_PLACEHOLDER = "STAGE"

#: What a function whose requests are traced needs besides. Traces are no resources that a policy could name.
_TRACING = {
    "Sid": "Trace",
    "Effect": "Allow",
    "Action": ["xray:PutTelemetryRecords", "xray:PutTraceSegments"],
    "Resource": "*",
}


def of_functions(stage: str, *, traced: bool) -> dict[str, dict[str, Any]]:
    """The policies that the stage's functions have, by the names of their files."""
    found = {source.name: _in_words_of(stage, source) for source in sorted(FUNCTIONS.glob("*.json"))}
    if traced:
        for policy in found.values():
            policy["Statement"].append(_TRACING)
    return found


def of_operator(stage: str) -> dict[str, Any]:
    """The policy that suffices to verify, replay, rebuild, redrive and adjust on this stage."""
    return _in_words_of(stage, OPERATOR)


def write(stage: str, configuration: Path) -> None:
    """The policies of the stage's functions lie where the Chalice configuration in this folder names them."""
    folder = configuration / "policies" / stage
    folder.mkdir(parents=True, exist_ok=True)
    for name, policy in of_functions(stage, traced=is_traced(stage, configuration)).items():
        (folder / name).write_text(json.dumps(policy, indent=2), encoding="utf-8")


def is_traced(stage: str, configuration: Path) -> bool:
    """Whether X-Ray traces the stage, as the Chalice configuration in this folder says."""
    of_all = json.loads((configuration / "config.json").read_text(encoding="utf-8"))
    return bool(of_all["stages"][stage].get("xray", of_all.get("xray", False)))


def _in_words_of(stage: str, source: Path) -> dict[str, Any]:
    text = source.read_text(encoding="utf-8").replace(f"counter-{_PLACEHOLDER}", f"counter-{stage}")
    found: dict[str, Any] = json.loads(text)
    return found
