"""Render the IAM policies of a stage: one for each function, and one for operators."""

import json
import re
from pathlib import Path
from typing import Any

from chalicelib.projections import SQL, Projection
from chalicelib.settings import Settings
from ops import stages

_FOLDER = stages.PROJECT / "infrastructure" / "policies"

#: An additional statement for traced functions. X-Ray does not support resource-level permissions for these actions.
_TRACING = {
    "Sid": "Trace",
    "Effect": "Allow",
    "Action": ["xray:PutTelemetryRecords", "xray:PutTraceSegments"],
    "Resource": "*",
}

#: The host name of an Aurora DSQL cluster.
_CLUSTER = re.compile(r"([a-z0-9]+)\.dsql\.([a-z0-9-]+)\.on\.aws")


def function_policies(settings: Settings, *, traced: bool) -> dict[str, dict[str, Any]]:
    """
    Return the policies of the stage's functions, by file name.

    Each optional projection adds a function, and lets `publish` send to its queue. With SQL, `project_sql` may connect
    to the database of SQL_URL, and the API to the database of SQL_READER_URL. With tokens, there is also a policy for
    `authorize`.
    """
    functions = (*stages.FUNCTIONS.values(), *(["authorize"] if settings.has_authorizer else []))
    policies = {f"{function}.json": _read(settings, _FOLDER / f"{function}.json") for function in functions}
    for projection in settings.projections[1:]:
        own = policies[f"{projection.function}.json"] = _read_projection_policy(settings, projection, "project")
        own["Statement"] += _allow_tables(settings, projection, "project")
        policies["publish.json"]["Statement"] += _read_projection_policy(settings, projection, "publish")["Statement"]
        for function in ("api", "check"):
            policies[f"{function}.json"]["Statement"] += _allow_tables(settings, projection, function)
    if SQL in settings.projections:
        policies[f"{SQL.function}.json"]["Statement"] += _allow_connect(settings.sql_url)
        policies["api.json"]["Statement"] += _allow_connect(settings.sql_reader_url)
    if traced:
        for policy in policies.values():
            policy["Statement"].append(_TRACING)
    return policies


def operator_policy(settings: Settings) -> dict[str, Any]:
    """Return the policy that operators of this stage need. The help of `policy` lists the allowed commands."""
    policy = _read(settings, _FOLDER / "operator.json")
    if "api-key" in (settings.writers, settings.readers):
        policy["Statement"] += _read(settings, _FOLDER / "operator-keys.json")["Statement"]
    for projection in settings.projections[1:]:
        policy["Statement"] += _read_projection_policy(settings, projection, "operator")["Statement"]
        policy["Statement"] += _allow_tables(settings, projection, "operator")
    owner, reader = stages.find_sql_url(settings), settings.sql_reader_url
    policy["Statement"] += _allow_connect(owner)
    if _allow_connect(reader) != _allow_connect(owner):
        policy["Statement"] += _allow_connect(reader, "ConnectToRead")
    return policy


def _allow_tables(settings: Settings, projection: Projection, role: str) -> list[dict[str, Any]]:
    """Return a statement for each table of this projection that the function, or the operator, uses."""
    return [
        {
            "Sid": f"Use{projection.prefix}{number}",
            "Effect": "Allow",
            "Action": [f"dynamodb:{action}" for action in sorted(table.actions[role])],
            "Resource": f"arn:aws:dynamodb:*:*:table/{table.full_name(settings.stage)}",
        }
        for number, table in enumerate(projection.tables, start=1)
        if role in table.actions
    ]


def _allow_connect(address: str, sid: str = "Connect") -> list[dict[str, Any]]:
    """
    Return the statement that allows connecting to an Aurora DSQL cluster; no statement for other databases.

    A role other than `admin` has only the privileges granted to it in the database.
    """
    if not (match := _CLUSTER.search(address)):
        return []
    cluster, region = match.groups()
    is_admin = address.partition("://")[2].partition("@")[0] == "admin"
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
    for name, policy in function_policies(settings, traced=is_traced(settings.stage, configuration)).items():
        (folder / name).write_text(json.dumps(policy, indent=2), encoding="utf-8")


def is_traced(stage: str, configuration: Path) -> bool:
    """Check whether the Chalice configuration in this folder enables X-Ray for the stage."""
    content = json.loads((configuration / "config.json").read_text(encoding="utf-8"))
    return bool(content["stages"][stage].get("xray", content.get("xray", False)))


def _read(settings: Settings, source: Path, **names: str) -> dict[str, Any]:
    """Read a policy, and replace the placeholders with the names of this stage."""
    text = source.read_text(encoding="utf-8").replace("counter-STAGE", f"counter-{settings.stage}")
    for placeholder, name in names.items():
        text = text.replace(placeholder, name)
    policy: dict[str, Any] = json.loads(text)
    return policy


def _read_projection_policy(settings: Settings, projection: Projection, role: str) -> dict[str, Any]:
    """Read the policy that a projection adds for its function, for `publish`, or for operators."""
    source = _FOLDER / "projection" / f"{role}.json"
    names = {"FUNCTION": projection.function, "PREFIX": projection.prefix, "NAME": projection.name}
    return _read(settings, source, **names)
