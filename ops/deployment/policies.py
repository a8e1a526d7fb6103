"""IAM policies of one stage: one for each function, and one for operators."""

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

#: The placeholder for the stage's name in the source files.
_PLACEHOLDER = "STAGE"

#: An additional statement for traced functions. X-Ray does not support resource-level permissions for these actions.
_TRACING = {
    "Sid": "Trace",
    "Effect": "Allow",
    "Action": ["xray:PutTelemetryRecords", "xray:PutTraceSegments"],
    "Resource": "*",
}

#: The host name of an Aurora DSQL cluster.
_CLUSTER = re.compile(r"([a-z0-9]+)\.dsql\.([a-z0-9-]+)\.on\.aws")


def function_policies(
    stage: str, *, traced: bool, sql_url: str = "", sql_reader_url: str = ""
) -> dict[str, dict[str, Any]]:
    """
    Return the policies of the stage's functions, by file name.

    With SQL, there is one more function, and other functions get more permissions. Without `sql_reader_url`, the API
    reads through `sql_url`.
    """
    policies = {source.name: _read_for(stage, source) for source in sorted(FUNCTIONS.glob("*.json"))}
    for source in sorted(WITH_SQL.glob("*.json")) if sql_url else ():
        added = _read_for(stage, source)
        policies.setdefault(source.name, {**added, "Statement": []})["Statement"] += added["Statement"]
    if sql_url:
        policies["project_sql.json"]["Statement"] += _allow_connect(sql_url)
        policies["api.json"]["Statement"] += _allow_connect(sql_reader_url or sql_url)
    if traced:
        for policy in policies.values():
            policy["Statement"].append(_TRACING)
    return policies


def operator_policy(stage: str, *, sql_url: str = "", sql_reader_url: str = "") -> dict[str, Any]:
    """Return the policy that allows verify, replay, rebuild, redrive, adjust and, with SQL, sql on this stage."""
    policy = _read_for(stage, OPERATOR)
    if sql_url:
        policy["Statement"] += [*_read_for(stage, OPERATOR_WITH_SQL)["Statement"], *_allow_connect(sql_url)]
    if _allow_connect(sql_reader_url) != _allow_connect(sql_url):
        policy["Statement"] += _allow_connect(sql_reader_url, "ConnectToRead")
    return policy


def _allow_connect(sql_url: str, sid: str = "Connect") -> list[dict[str, Any]]:
    """
    Return the statement that allows connecting to an Aurora DSQL cluster; no statement for other databases.

    A role other than `admin` has only the privileges granted to it in the database.
    """
    if not (match := _CLUSTER.search(sql_url)):
        return []
    cluster, region = match.groups()
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
    """Write the functions' policies to the files that the Chalice configuration in this folder names."""
    folder = configuration / "policies" / settings.stage
    folder.mkdir(parents=True, exist_ok=True)
    traced = is_traced(settings.stage, configuration)
    addresses = {"sql_url": settings.sql_url, "sql_reader_url": settings.sql_reader_url}
    for name, policy in function_policies(settings.stage, traced=traced, **addresses).items():
        (folder / name).write_text(json.dumps(policy, indent=2), encoding="utf-8")


def is_traced(stage: str, configuration: Path) -> bool:
    """Check whether the Chalice configuration in this folder enables X-Ray for the stage."""
    content = json.loads((configuration / "config.json").read_text(encoding="utf-8"))
    return bool(content["stages"][stage].get("xray", content.get("xray", False)))


def _read_for(stage: str, source: Path) -> dict[str, Any]:
    text = source.read_text(encoding="utf-8").replace(f"counter-{_PLACEHOLDER}", f"counter-{stage}")
    policy: dict[str, Any] = json.loads(text)
    return policy
