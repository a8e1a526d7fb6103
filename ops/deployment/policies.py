"""Permissions in the words of one stage: a policy for each function, and one for who operates the stage."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ops import stages

if TYPE_CHECKING:
    from pathlib import Path

    from chalicelib.settings import Settings

FUNCTIONS = stages.PROJECT / "infrastructure" / "policies"
WITH_SQL = FUNCTIONS / "sql"
OPERATOR = stages.PROJECT / "infrastructure" / "operator-policy.json"
OPERATOR_WITH_SQL = stages.PROJECT / "infrastructure" / "operator-policy-sql.json"

#: Stands for the stage's name in the sources. No name that AWS takes has capital letters here.
_PLACEHOLDER = "STAGE"

#: What a function whose requests are traced needs besides. Traces are no resources that a policy could name.
_TRACING = {
    "Sid": "Trace",
    "Effect": "Allow",
    "Action": ["xray:PutTelemetryRecords", "xray:PutTraceSegments"],
    "Resource": "*",
}

#: A cluster of Aurora DSQL, by the host name that it has.
_CLUSTER = re.compile(r"([a-z0-9]+)\.dsql\.([a-z0-9-]+)\.on\.aws")


def of_functions(stage: str, *, traced: bool, sql_url: str = "", sql_reader_url: str = "") -> dict[str, dict[str, Any]]:
    """
    The policies that the stage's functions have, by the names of their files.

    Where SQL is on, there is one function more, and others may do more. Without an address of its own, the API reads by
    the one by which is written.
    """
    found = {source.name: _in_words_of(stage, source) for source in sorted(FUNCTIONS.glob("*.json"))}
    for source in sorted(WITH_SQL.glob("*.json")) if sql_url else ():
        added = _in_words_of(stage, source)
        found.setdefault(source.name, {**added, "Statement": []})["Statement"] += added["Statement"]
    if sql_url:
        found["project_sql.json"]["Statement"] += _connecting(sql_url)
        found["api.json"]["Statement"] += _connecting(sql_reader_url or sql_url)
    if traced:
        for policy in found.values():
            policy["Statement"].append(_TRACING)
    return found


def of_operator(stage: str, *, sql_url: str = "", sql_reader_url: str = "") -> dict[str, Any]:
    """
    The policy that suffices to verify, replay, rebuild, redrive and adjust on this stage, and to ask in SQL.

    Where SQL is on, for both projections, by who connects to the databases at these addresses.
    """
    found = _in_words_of(stage, OPERATOR)
    if sql_url:
        found["Statement"] += [*_in_words_of(stage, OPERATOR_WITH_SQL)["Statement"], *_connecting(sql_url)]
    if _connecting(sql_reader_url) != _connecting(sql_url):
        found["Statement"] += _connecting(sql_reader_url, "ConnectToRead")
    return found


def _connecting(sql_url: str, sid: str = "Connect") -> list[dict[str, Any]]:
    """
    What it takes to connect to a database at this address, if it is one of Aurora DSQL, of any other nothing.

    Whoever connects as another role than `admin` has only the rights that this role was granted in the database.
    """
    if not (found := _CLUSTER.search(sql_url)):
        return []
    cluster, region = found.groups()
    is_admin = sql_url.partition("://")[2].partition("@")[0] == "admin"
    return [
        {
            "Sid": sid,
            "Effect": "Allow",
            "Action": "dsql:DbConnectAdmin" if is_admin else "dsql:DbConnect",
            "Resource": f"arn:aws:dsql:{region}:*:cluster/{cluster}",
        }
    ]


def write(settings: Settings, configuration: Path) -> None:
    """The policies of the stage's functions lie where the Chalice configuration in this folder names them."""
    folder = configuration / "policies" / settings.stage
    folder.mkdir(parents=True, exist_ok=True)
    traced = is_traced(settings.stage, configuration)
    addresses = {"sql_url": settings.sql_url, "sql_reader_url": settings.sql_reader_url}
    for name, policy in of_functions(settings.stage, traced=traced, **addresses).items():
        (folder / name).write_text(json.dumps(policy, indent=2), encoding="utf-8")


def is_traced(stage: str, configuration: Path) -> bool:
    """Whether X-Ray traces the stage, as the Chalice configuration in this folder says."""
    of_all = json.loads((configuration / "config.json").read_text(encoding="utf-8"))
    return bool(of_all["stages"][stage].get("xray", of_all.get("xray", False)))


def _in_words_of(stage: str, source: Path) -> dict[str, Any]:
    text = source.read_text(encoding="utf-8").replace(f"counter-{_PLACEHOLDER}", f"counter-{stage}")
    found: dict[str, Any] = json.loads(text)
    return found
