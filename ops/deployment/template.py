"""Render the templates of a stage's stacks: its data, each optional projection, and its CDN."""

import json
import re
from typing import Any

from chalicelib.projections import Projection, Table
from ops import stages

FOLDER = stages.PROJECT / "infrastructure"


def render_data() -> str:
    """Return the template of a stage's data stack: its tables, queues, buckets, log groups and alarms."""
    return _strip_comments((FOLDER / "template.yaml").read_text(encoding="utf-8"))


def render_projection(projection: Projection) -> str:
    """Return the template of an optional projection, with its tables."""
    template = _strip_comments((FOLDER / "projection.yaml").read_text(encoding="utf-8"))
    ids = {f"{table.name.title().replace('-', '')}Table": table for table in projection.tables}
    tables = (f"  {logical_id}: {json.dumps(_describe(table))}\n" for logical_id, table in ids.items())
    return template.replace("\nResources:\n", "\nResources:\n" + "".join(tables))  # JSON is valid in YAML


def render_cdn() -> str:
    """Return the template of a stage's CloudFront distribution."""
    return _strip_comments((FOLDER / "cdn.yaml").read_text(encoding="utf-8"))


def _strip_comments(template: str) -> str:
    """Remove comments and empty lines, which count towards CloudFormation's 51,200-byte limit."""
    return re.sub(r"(?m)^ *(#.*)?\n", "", template)


def _describe(table: Table) -> dict[str, Any]:
    """Describe a table that is deleted with its stack. A replay can fill it again from the log."""
    kinds = ("HASH", "RANGE")
    return {
        "Type": "AWS::DynamoDB::Table",
        "DeletionPolicy": "Delete",
        "UpdateReplacePolicy": "Delete",
        "Properties": {
            "TableName": {"Fn::Sub": table.full_name("${Stage}")},
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": key, "AttributeType": kind} for key, kind in table.keys.items()],
            "KeySchema": [
                {"AttributeName": key, "KeyType": kind} for key, kind in zip(table.keys, kinds, strict=False)
            ],
        },
    }
