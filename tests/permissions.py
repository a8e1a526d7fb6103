"""The permissions that each function and the operator need."""

from collections.abc import Iterable, Mapping
from typing import Any

from chalicelib import settings
from ops.deployment import policies

#: The end of each resource's ARN, by the resource's name in the table below.
_RESOURCES = {
    "event log": "table/counter-{stage}-event-log",
    "restored log": "table/counter-{stage}-event-log-restored",
    "stream": "table/counter-{stage}-event-log/stream/*",
    "counters": "table/counter-{stage}-counters",
    "archive": "table/counter-{stage}-archive",
    "catalog": "table/counter-{stage}-catalog",
    "projection queue": "counter-{stage}-projection",
    "dead-letter queue": "counter-{stage}-projection-dead-letter",
    "SQL projection queue": "counter-{stage}-sql-projection",
    "SQL dead-letter queue": "counter-{stage}-sql-projection-dead-letter",
}

TABLES = ("event log", "counters", "archive", "catalog")
QUEUES = ("projection queue", "dead-letter queue")
SQL_QUEUES = ("SQL projection queue", "SQL dead-letter queue")
FUNCTIONS = ("api", "publish", "project", "check")

#: The actions on each resource that each function, and the operator of a stage, need. All others are refused.
NEEDED: Mapping[str, Mapping[str, frozenset[str]]] = {
    "api": {
        "event log": frozenset({"BatchGetItem", "GetItem", "PutItem", "Query"}),
        "counters": frozenset({"ConditionCheckItem", "GetItem", "Query", "Scan", "UpdateItem"}),
        "archive": frozenset({"PutItem", "Query"}),
        "catalog": frozenset({"GetItem"}),
    },
    "publish": {
        "stream": frozenset({"DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"}),
        "projection queue": frozenset({"GetQueueUrl", "SendMessage"}),
        "dead-letter queue": frozenset({"GetQueueUrl", "SendMessage"}),
    },
    "project": {
        "counters": frozenset({"GetItem", "UpdateItem"}),
        "archive": frozenset({"PutItem", "Query"}),
        "projection queue": frozenset({"DeleteMessage", "GetQueueAttributes", "ReceiveMessage"}),
        "dead-letter queue": frozenset({"GetQueueUrl", "SendMessage"}),
    },
    "check": {
        "event log": frozenset({"BatchGetItem", "Query", "Scan"}),
        "counters": frozenset({"GetItem", "Scan", "UpdateItem"}),
        "archive": frozenset({"GetItem", "PutItem", "Query"}),
        "dead-letter queue": frozenset({"GetQueueAttributes", "GetQueueUrl"}),
    },
    "operator": {
        "event log": frozenset({"BatchGetItem", "DescribeTable", "GetItem", "PutItem", "Query", "Scan"}),
        "restored log": frozenset({"DescribeTable", "Scan"}),
        "counters": frozenset(
            {"ConditionCheckItem", "DeleteItem", "DescribeTable", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"}
        ),
        "archive": frozenset({"DeleteItem", "DescribeTable", "PutItem", "Query", "Scan"}),
        "catalog": frozenset({"GetItem", "UpdateItem"}),
        "projection queue": frozenset({"GetQueueAttributes", "GetQueueUrl", "SendMessage"}),
        "dead-letter queue": frozenset(
            {"ChangeMessageVisibility", "DeleteMessage", "GetQueueAttributes", "GetQueueUrl", "ReceiveMessage"}
        ),
    },
}

#: The additional permissions of a stage with SQL.
NEEDED_FOR_SQL: Mapping[str, Mapping[str, frozenset[str]]] = {
    "publish": {
        "SQL projection queue": frozenset({"GetQueueUrl", "SendMessage"}),
        "SQL dead-letter queue": frozenset({"GetQueueUrl", "SendMessage"}),
    },
    "project_sql": {
        "SQL projection queue": frozenset({"DeleteMessage", "GetQueueAttributes", "ReceiveMessage"}),
        "SQL dead-letter queue": frozenset({"GetQueueUrl", "SendMessage"}),
    },
    "operator": {
        "SQL projection queue": NEEDED["operator"]["projection queue"],
        "SQL dead-letter queue": NEEDED["operator"]["dead-letter queue"],
    },
}

#: The functions that connect to the database, and the settings that contain its address.
CONNECT: Mapping[str, str] = {"project_sql": "sql_url", "api": "sql_reader_url"}

#: The actions that Lambda itself takes with a function's permissions, before and after the function runs.
BY_LAMBDA: Mapping[str, Mapping[str, frozenset[str]]] = {
    "publish": {"stream": NEEDED["publish"]["stream"]},
    "project": {"projection queue": NEEDED["project"]["projection queue"]},
}


def arn(resource: str, stage: str) -> str:
    """Return the resource's ARN as policies name it, for any region and account."""
    service = "sqs" if resource in (*QUEUES, *SQL_QUEUES) else "dynamodb"
    return f"arn:aws:{service}:*:*:{_RESOURCES[resource].format(stage=stage)}"


def granted(policy: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return the actions, with their services, that a policy allows for each ARN."""
    found: dict[str, set[str]] = {}
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow", statement
        assert statement.keys() <= {"Sid", "Effect", "Action", "Resource"}, statement
        for one in _listed(statement["Resource"]):
            found.setdefault(one, set()).update(_listed(statement["Action"]))
    return found


def needed(who: str, *, with_sql: bool) -> dict[str, frozenset[str]]:
    """Return the actions that a function or the operator needs, by resource."""
    return {**NEEDED.get(who, {}), **(NEEDED_FOR_SQL.get(who, {}) if with_sql else {})}


def of(who: str, stage: str, sql_url: str = "") -> dict[str, Any]:
    """Return the policy of this function, or of the stage's operator."""
    of_stage = settings.read({"STAGE": stage, "SQL_URL": sql_url})
    if who == "operator":
        return policies.operator_policy(of_stage)
    return policies.function_policies(of_stage, traced=False)[f"{who}.json"]


def function_name(function: str, stage: str) -> str:
    """Return the function's name on AWS, which is also the end of its log group's name."""
    return f"counter-{stage}" if function == "api" else f"counter-{stage}-{function}"


def _listed(one_or_more: str | Iterable[str]) -> Iterable[str]:
    return [one_or_more] if isinstance(one_or_more, str) else one_or_more
